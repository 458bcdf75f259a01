"""Recognition: a bundle answers for the user's own file."""
