"""What there is to choose from: (name, about) rows of every registry, for ``emofuse list``."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from emofuse.corpora import CORPORA
from emofuse.encoders import ENCODERS
from emofuse.encoders.contract import Provenance
from emofuse.encoders.provenance import LEDGER
from emofuse.labels import SCHEMES
from emofuse.losses import LOSSES
from emofuse.models import MODELS
from emofuse.protocols import PROTOCOLS
from emofuse.registry import Registry
from emofuse.training.builtin import builtin_recipes
from emofuse.training.recipe import recipe_mapping

__all__ = [
    "RecipeEntry",
    "corpora",
    "encoders",
    "ledger",
    "losses",
    "models",
    "protocols",
    "recipe_entries",
    "recipes",
    "schemes",
    "transfers",
]

Rows = list[tuple[str, str]]
PUBLISHED = ("figure", "protocol", "source", "caveat")


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


def ledger() -> list[tuple[str, Provenance]]:
    """What well-known encoders saw before: pattern of the name, and the published facts."""
    return list(LEDGER.items())


def models() -> Rows:
    """Fusion models."""
    return _about(MODELS)


def losses() -> Rows:
    """Loss terms."""
    return _about(LOSSES)


def protocols() -> Rows:
    """Ways to cut a manifest into folds."""
    return _about(PROTOCOLS)


@dataclass(frozen=True)
class RecipeEntry:
    """A recipe of the package.

    Attributes:
        name: ``name`` or ``system/name``.
        about: its first line, what it is.
        protocol: name of the protocol, with what it is cut by.
        published: the paper's figure: ``figure``, ``protocol``, ``source``, ``caveat``; empty
            where there is none.
        ablations: names of its rows, for ``emofuse ablate``.
    """

    name: str
    about: str
    protocol: str
    published: Mapping[str, str]
    ablations: tuple[str, ...]

    @property
    def figure(self) -> str:
        """The published figure and why it may not be comparable, in words."""
        told = str(self.published.get("figure", ""))
        caveat = str(self.published.get("caveat", ""))
        return f"{told} ({caveat})" if told and caveat else told


def recipes() -> Rows:
    """Recipes that come with the package."""
    return [(one.name, one.about) for one in recipe_entries()]


def recipe_entries() -> list[RecipeEntry]:
    """Recipes that come with the package, with protocol and published figure."""
    about = builtin_recipes()
    found = []
    for name in about:
        raw = recipe_mapping(name)
        published = raw.get("published") or {}
        found.append(
            RecipeEntry(
                name,
                about[name],
                _protocol(raw.get("protocol")),
                {key: str(published.get(key) or "") for key in PUBLISHED} if published else {},
                tuple(raw.get("ablations") or ()),
            )
        )
    return found


def _protocol(value: object) -> str:
    if not isinstance(value, Mapping):
        return ""
    by = f" by {value['by']}" if "by" in value else ""
    return f"{value.get('name', '')}{by}"


def transfers() -> Rows:
    """Transfer recipes that come with the package."""
    return list(builtin_recipes(transfer=True).items())


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
