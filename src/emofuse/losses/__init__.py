"""Losses: pure function first, thin module second."""

from emofuse.registry import Registry

LOSSES = Registry(
    "loss",
    {"cross-entropy": "emofuse.losses.cross_entropy:CrossEntropy"},
    group="emofuse.losses",
)
"""Every loss term, by name."""
