"""Features: the content-keyed store and the tables a run holds in memory."""
