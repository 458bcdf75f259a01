"""Encoders and model that learn together, from raw audio and text."""
