"""A transfer recipe: a recipe with sources, targets, shots and methods."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from emofuse.errors import OptionError, UsageError, nearest_hint, shorten
from emofuse.options import apply_overrides, load_yaml, parse_yaml
from emofuse.training.builtin import transfer_files
from emofuse.training.recipe import Recipe, parse_kind
from emofuse.training.transferring.methods import LABEL, MethodOptions, parse_method
from emofuse.training.transferring.shots import Shots

__all__ = ["JOIN", "TransferRecipe", "load_transfer", "slug"]

JOIN = "+"
"""Between the names of corpora that are one source together."""


class TransferRecipe(Recipe):
    """Everything that decides the numbers of a transfer matrix, beside what `Recipe` holds.

    ``data.manifest`` lists every corpus; corpora go by the names in the manifests. ``protocol``
    cuts the targets; a source is used whole.

    Attributes:
        sources: corpora to learn from; ``a+b`` is two of them together.
        targets: corpora to be judged on; the sources' corpora unless told.
        shots: labelled target items: ``0``, ``5`` (that many a class), ``"10%"`` (of target train).
        methods: what to do with them: a name, or a name with options.
        standardise: ``source``: the model's own statistics come from source train; ``corpus``: each
            corpus is standardised by its own train items first, a use of unlabelled target data.
        choose: what the epoch is chosen by where there are shots: ``target``, a dev part cut from
            the shots, or ``source``, source dev. Without shots it is source dev.
        shots_dev: share of the shots that becomes dev.
        source_dev: share of the source that becomes dev, cut by group.
        keep_models: keep the weights of every training, not of the source models alone.
    """

    sources: tuple[str, ...] = Field(min_length=1, max_length=200)
    targets: tuple[str, ...] = Field(default=(), max_length=200)
    shots: tuple[str, ...] = Field(default=("0",), min_length=1, max_length=100)
    methods: tuple[dict[str, Any], ...] = Field(min_length=1, max_length=100)
    standardise: Literal["source", "corpus"] = "source"
    choose: Literal["target", "source"] = "target"
    shots_dev: float = Field(default=0.2, gt=0.0, le=0.5)
    source_dev: float = Field(default=0.15, gt=0.0, le=0.5)
    keep_models: bool = False

    @field_validator("sources", "targets", "methods", mode="before")
    @classmethod
    def _one(cls, value: object) -> object:
        return (value,) if isinstance(value, str | Mapping) else value

    @field_validator("shots", mode="before")
    @classmethod
    def _shots(cls, value: object) -> object:
        several = value if isinstance(value, list | tuple) else (value,)
        return tuple(str(Shots.parse(one)) for one in several)

    @field_validator("methods", mode="before")
    @classmethod
    def _methods(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        found = []
        for entry in value:
            options, alignment = parse_method(entry)
            inner = {} if alignment is None else alignment.model_dump(mode="json")
            found.append({**options.model_dump(mode="json"), **inner})
        return tuple(found)

    @model_validator(mode="after")
    def _matrix(self) -> Self:
        _refuse_twice("shots", self.shots)
        _refuse_twice("methods", [one["label"] for one in self.methods])
        _refuse_twice("sources", [slug(one) for one in self.sources])
        _refuse_twice("targets", [slug(one) for one in self.judged])
        for one in self.methods:
            if not re.fullmatch(LABEL, one["label"]):
                raise ValueError(f"label {one['label']!r} may hold letters, digits and ._+- alone")
        self._check_trainer()
        return self

    def _check_trainer(self) -> None:
        if self.augment.makes_views or self.augment.specaugment:
            raise ValueError("augment: changed copies are not part of a transfer matrix; leave out")
        if self.trainer.tracking:
            raise ValueError(
                "trainer.tracking: the cells of a matrix are not tracked; leave it out"
            )
        if any(stage.kind != "features" for stage in self.trainer.stages):
            raise ValueError("trainer.stages: a transfer matrix learns on features, not encoders")
        for one in self.methods:
            kind = parse_method(one)[0]
            own = isinstance(kind, MethodOptions) and kind.trains
            if own and (self.trainer.stages or self.trainer.select is not None):
                raise ValueError(
                    f"method {one['name']} has a training of its own, to which neither "
                    "trainer.stages nor trainer.select apply; leave them out"
                )
            if "share" in one and self.trainer.optimiser == "lbfgs":
                raise ValueError(
                    f"method {one['name']} draws batches, which trainer.optimiser lbfgs does not; "
                    "legal: adamw, adam, sgd"
                )
            for key in ("feature_noise", "mixup", "curriculum"):
                if "share" in one and getattr(self.trainer, key) is not None:
                    raise ValueError(
                        f"method {one['name']} draws its own batches, to which trainer.{key} does "
                        "not apply; leave it out"
                    )

    @property
    def judged(self) -> tuple[str, ...]:
        """The targets in force."""
        parts = (part for source in self.sources for part in source.split(JOIN))
        return self.targets or tuple(dict.fromkeys(parts))

    def method(self, label: str) -> dict[str, Any]:
        """Give the resolved options of a method by its label."""
        return next(one for one in self.methods if one["label"] == label)


def slug(name: str) -> str:
    """Make a name fit for a folder."""
    return re.sub(r"[^\w.=+-]+", "-", name, flags=re.ASCII).strip("-.")[:60].lower() or "corpus"


def _refuse_twice(what: str, names: Iterable[str]) -> None:
    listed = list(names)
    doubles = [name for name in listed if listed.count(name) > 1]
    if doubles:
        raise ValueError(f"{what}: {doubles[0]!r} is listed twice")


def load_transfer(path_or_name: str | Path, overrides: Iterable[str] = ()) -> TransferRecipe:
    """Read a transfer recipe, apply ``key=value`` overrides, validate it.

    Args:
        path_or_name: path of a YAML file, or a built-in name (``open-corpora``, also
            ``transfer/open-corpora``).
        overrides: such as ``seeds=[0]``.

    Raises:
        UsageError: no such recipe, no YAML.
        OptionError: an unknown key or an illegal value, with the nearest legal one.
    """
    where = f"transfer recipe {path_or_name}"
    data = apply_overrides(_mapping(_read(path_or_name), where), overrides)
    return parse_kind(TransferRecipe, data, where)


def _read(path_or_name: str | Path) -> Any:
    text = str(path_or_name)
    if isinstance(path_or_name, Path) or text.endswith((".yaml", ".yml")):
        return load_yaml(Path(path_or_name))
    known = transfer_files()
    name = text if text.startswith("transfer/") else f"transfer/{text}"
    if name not in known:
        hint = nearest_hint(name, known)
        raise UsageError(f"no transfer recipe {shorten(text)}; {hint}; or the path of a .yaml file")
    return parse_yaml(known[name].read_text(encoding="utf-8"), name)


def _mapping(data: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise OptionError(f"{where}: expected keys and values, got {shorten(data)}")
    return data
