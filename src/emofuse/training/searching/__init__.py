"""Search over a recipe's values, within train and dev."""
