"""Recipes: YAML, one for each published configuration."""
