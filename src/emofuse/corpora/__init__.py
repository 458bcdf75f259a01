"""Corpora: one small file each turns a folder into a manifest."""

from emofuse.registry import Registry

CORPORA = Registry(
    "corpus",
    {
        name: f"emofuse.corpora.{name}:CORPUS"
        for name in (
            "iemocap",
            "esd",
            "meld",
            "cremad",
            "ravdess",
            "emodb",
            "savee",
            "tess",
            "nemo",
            "ased",
            "table",
            "scp",
            "audformat",
            "synthetic",
        )
    },
    group="emofuse.corpora",
)
"""Every corpus reader, by name."""
