"""A finished run looked at again: its own test, other manifests, stress."""
