"""Losses: pure function first, thin module second."""

from emofuse.registry import Registry

LOSSES = Registry(
    "loss",
    {
        "cross-entropy": "emofuse.losses.cross_entropy:CrossEntropy",
        "nt-xent": "emofuse.losses.nt_xent:NTXent",
        "focal": "emofuse.losses.focal:Focal",
        "center": "emofuse.losses.center:Center",
        "contrastive-center": "emofuse.losses.contrastive_center:ContrastiveCenter",
        "arcface": "emofuse.losses.margin:ArcFace",
        "cosface": "emofuse.losses.margin:CosFace",
        "uncertainty": "emofuse.losses.uncertainty:Uncertainty",
        "avel": "emofuse.losses.avel:AVEL",
        "mem": "emofuse.losses.mem:MEM",
        "micl": "emofuse.losses.micl:MICL",
        "supcon": "emofuse.losses.supcon:SupCon",
        "vad": "emofuse.losses.vad:VADLoss",
        "focal-smooth": "emofuse.losses.focal_smooth:FocalSmooth",
    },
    group="emofuse.losses",
)
"""Every loss term, by name."""
