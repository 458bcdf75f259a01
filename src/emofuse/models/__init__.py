"""Models: a paper is one file; the plain baselines."""

from emofuse.registry import Registry

MODELS = Registry(
    "model",
    {
        "linear": "emofuse.models.linear:Linear",
        "clipped-linear": "emofuse.models.clipped_linear:ClippedLinear",
        "evidence": "emofuse.models.evidence:Evidence",
        "mlp": "emofuse.models.mlp:MLP",
        "late-fusion": "emofuse.models.late_fusion:LateFusion",
        "fleser": "emofuse.models.fleser:FleSER",
        "four-m-ser": "emofuse.models.four_m_ser:FourMSER",
        "memocmt": "emofuse.models.memocmt:MemoCMT",
        "foal-net": "emofuse.models.foal_net:FoalNet",
        "copenhagen": "emofuse.models.copenhagen:Copenhagen",
        "vga-fusion": "emofuse.models.vga_fusion:VGAFusion",
    },
)
"""Every fusion model, by name."""
