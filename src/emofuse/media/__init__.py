"""Reading media: audio, text; checks of what was read."""
