"""Augmentation: changes of training items, drawn from a seed, recorded, replayed bit for bit."""
