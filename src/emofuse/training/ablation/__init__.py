"""The switch table of a recipe, row by row."""
