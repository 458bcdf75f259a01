"""Multimodal speech emotion recognition: believable numbers, models that run on your file.

A **Manifest** lists **Utterances**. A **Protocol** turns it into audited **Folds**. **Encoders**
turn utterances into cached **Features**. A **FusionModel** maps features to an
**EmotionOutput**. The **Trainer** fits it against an **Objective** and writes a **Run**. A
**Recognizer** loads a run's **bundle** and serves it.

The names below load on first use: ``import emofuse`` costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emofuse.corpora import prepare
    from emofuse.errors import EmofuseError
    from emofuse.labels import LabelScheme, get_scheme
    from emofuse.manifest import Manifest, Utterance
    from emofuse.recognition.recognizer import Recognition, Recognizer
    from emofuse.training.recipe import load_recipe
    from emofuse.training.run import train

__version__ = "0.1.0"

__all__ = [
    "EmofuseError",
    "LabelScheme",
    "Manifest",
    "Recognition",
    "Recognizer",
    "Utterance",
    "__version__",
    "get_scheme",
    "load_recipe",
    "prepare",
    "train",
]

_HOMES = {
    "EmofuseError": "emofuse.errors",
    "LabelScheme": "emofuse.labels",
    "Manifest": "emofuse.manifest",
    "Recognition": "emofuse.recognition.recognizer",
    "Recognizer": "emofuse.recognition.recognizer",
    "Utterance": "emofuse.manifest",
    "get_scheme": "emofuse.labels",
    "load_recipe": "emofuse.training.recipe",
    "prepare": "emofuse.corpora",
    "train": "emofuse.training.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'emofuse' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
