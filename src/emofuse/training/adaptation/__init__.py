"""Encoders that learn on one fold's train part before anything else does."""
