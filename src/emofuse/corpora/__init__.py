"""Corpora: one small file each turns a folder into a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from emofuse.registry import Registry

if TYPE_CHECKING:
    from emofuse.corpora.contract import Prepared

__all__ = ["CORPORA", "prepare"]

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


def prepare(corpus: str, root: Path | str, **options: Any) -> Prepared:
    """Turn a corpus folder into a manifest, with everything that is amiss in it.

    Args:
        corpus: name of a reader (``emofuse list corpora``).
        root: where the corpus lies.
        options: options of the reader.

    Raises:
        OptionError: no such reader or option.
        CorpusError: the folder is not that corpus.
    """
    found: Prepared = CORPORA.load(corpus).prepare(Path(root), **options)
    return found
