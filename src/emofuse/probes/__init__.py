"""Does your fusion do anything? Probes of a recipe or a run; each is a pure function first."""
