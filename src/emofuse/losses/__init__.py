"""Losses: pure function first, thin module second."""

from emofuse.registry import Registry

LOSSES = Registry(
    "loss",
    {
        "cross-entropy": "emofuse.losses.cross_entropy:CrossEntropy",
        "avel": "emofuse.losses.avel:AVEL",
        "mem": "emofuse.losses.mem:MEM",
    },
    group="emofuse.losses",
)
"""Every loss term, by name."""
