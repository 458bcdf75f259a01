"""A manifest lists utterances: one JSON object a line, paths relative to a root.

The first line may be a header, ``{"manifest": {"root": "/data/emodb"}}``; every other line is an
`Utterance`. Without a header the root is the folder that holds the manifest.
"""

from emofuse.manifest.file import ManifestFile
from emofuse.manifest.listing import Manifest
from emofuse.manifest.reading import MAX_LINE
from emofuse.manifest.utterance import VAD, Modality, Seconds, Utterance, check_relative

__all__ = [
    "MAX_LINE",
    "VAD",
    "Manifest",
    "ManifestFile",
    "Modality",
    "Seconds",
    "Utterance",
    "check_relative",
]
