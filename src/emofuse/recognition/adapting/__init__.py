"""Speaker adaptation: a speaker's voice is moved to where the voices of training lie."""
