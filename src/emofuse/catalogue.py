"""What there is to choose from: (name, about) rows of every registry, for ``emofuse list``."""

from __future__ import annotations

import ast
import inspect
from importlib.util import find_spec
from pathlib import Path

from emofuse.corpora import CORPORA
from emofuse.encoders import ENCODERS
from emofuse.labels import SCHEMES
from emofuse.losses import LOSSES
from emofuse.models import MODELS
from emofuse.protocols import PROTOCOLS
from emofuse.registry import Registry
from emofuse.training.builtin import builtin_recipes

__all__ = ["corpora", "encoders", "losses", "models", "protocols", "recipes", "schemes"]

Rows = list[tuple[str, str]]


def corpora() -> Rows:
    """Corpus readers."""
    return [(name, str(CORPORA.load(name).about)) for name in CORPORA.names()]


def encoders() -> Rows:
    """Built-in encoders; any other name is a Hugging Face hub name or a local folder."""
    return [
        *_about(ENCODERS),
        ("NAME or FOLDER", "any Hugging Face speech or text encoder, by hub name or local folder"),
        ("imported:NAME", "vectors brought in by: emofuse import"),
    ]


def models() -> Rows:
    """Fusion models."""
    return _about(MODELS)


def losses() -> Rows:
    """Loss terms."""
    return _about(LOSSES)


def protocols() -> Rows:
    """Ways to cut a manifest into folds."""
    return _about(PROTOCOLS)


def recipes() -> Rows:
    """Built-in recipes: the first comment line of each file says what it is."""
    return list(builtin_recipes().items())


def schemes() -> Rows:
    """Label schemes."""
    return [(scheme.name, ", ".join(scheme.classes)) for scheme in SCHEMES.values()]


def _about(registry: Registry) -> Rows:
    """First docstring line of what each name stands for, read without importing it."""
    return [(name, _doc(target)) for name, target in sorted(registry.targets().items())]


def _doc(target: str) -> str:
    module, _, attribute = target.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
            return inspect.cleandoc(ast.get_docstring(node) or "").split("\n", 1)[0]
    return ""
