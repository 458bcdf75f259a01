"""Training: recipes, trainer, runs."""
