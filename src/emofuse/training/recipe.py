"""A recipe: everything that decides the numbers of a run, in one YAML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import Field, field_validator, model_validator

from emofuse.augment.policy import AugmentOptions
from emofuse.encoders.contract import EncoderSpec
from emofuse.errors import EmofuseError, OptionError, UsageError, nearest_hint, shorten
from emofuse.evaluation.rules import ScoreOptions
from emofuse.features.augmented import check_augmentation
from emofuse.features.store import DEFAULT_STORE
from emofuse.labels import LabelScheme, get_scheme
from emofuse.losses.objective import parse_terms
from emofuse.manifest import Modality
from emofuse.models import MODELS
from emofuse.models.build import parse_model_options
from emofuse.options import Options, apply_overrides, load_yaml, parse_yaml
from emofuse.protocols import PROTOCOLS
from emofuse.training.builtin import recipe_files, transfer_files
from emofuse.training.options import TrainerOptions

__all__ = [
    "DataOptions",
    "Published",
    "Recipe",
    "load_recipe",
    "parse_kind",
    "parse_recipe",
    "recipe_mapping",
]

MAX_SEEDS = 1000


class DataOptions(Options):
    """What to learn from.

    Attributes:
        manifest: path of a manifest, or several.
        root: where the media are, when not where the manifest says.
        scheme: a built-in label scheme by name, the path of one's own in YAML, or one written out.
        store: folder of the feature store, the one `emofuse encode` fills unless told.
    """

    manifest: tuple[str, ...] = Field(min_length=1)
    root: str | None = None
    scheme: str | LabelScheme
    store: str = str(DEFAULT_STORE)

    @field_validator("manifest", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("scheme", mode="after")
    @classmethod
    def _known(cls, value: str | LabelScheme) -> str | LabelScheme:
        if isinstance(value, LabelScheme):
            return value
        scheme = get_scheme(value)
        return scheme if value.endswith((".yaml", ".yml")) else value

    @property
    def label_scheme(self) -> LabelScheme:
        """The scheme itself."""
        return self.scheme if isinstance(self.scheme, LabelScheme) else get_scheme(self.scheme)


class Published(Options):
    """The figure that a paper reports for a configuration, kept apart from any measured here.

    Attributes:
        figure: as printed, with its metric (``"UA 80.10, WA 79.45"``).
        protocol: how the paper split its data.
        source: paper, table, or where else it was read.
        caveat: why it may not be comparable.
    """

    figure: str
    protocol: str = ""
    source: str = ""
    caveat: str = ""


class Recipe(Options):
    """Everything that decides the numbers of a run.

    Attributes:
        name: what to call the run.
        about: what the recipe is for, in a line.
        data: manifests, label scheme, feature store.
        encoders: modality -> encoder, written out or in short (``logmel:pooling=mean+std``); null
            takes a modality out (``encoders.text=null``).
        model: ``name`` and the model's own options, resolved.
        objective: the loss terms: ``name``, ``weight`` and the loss's own options, resolved.
        protocol: ``name`` and the protocol's own options, resolved.
        augment: how training items are changed; nothing else ever is.
        trainer: how the model is fitted.
        scores: what is fitted on dev after training: calibration, sets of emotions, silence.
        seeds: one training a fold and seed.
        published: what the paper reports for this configuration.
        ablations: row of the switch table -> ``key=value`` overrides that make it; `emofuse ablate`
            runs them all.
    """

    name: str = Field(min_length=1, max_length=200)
    about: str = ""
    data: DataOptions
    encoders: dict[Modality, EncoderSpec] = Field(min_length=1)
    model: dict[str, Any] = Field(default_factory=lambda: {"name": "linear"})
    objective: tuple[dict[str, Any], ...] = ({"name": "cross-entropy"},)
    protocol: dict[str, Any]
    augment: AugmentOptions = AugmentOptions()
    trainer: TrainerOptions = TrainerOptions()
    scores: ScoreOptions = ScoreOptions()
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, max_length=MAX_SEEDS)
    published: Published | None = None
    ablations: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @field_validator("encoders", mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {
            name: EncoderSpec.from_text(spec) if isinstance(spec, str) else spec
            for name, spec in value.items()
            if spec is not None
        }

    @field_validator("model", mode="after")
    @classmethod
    def _model(cls, value: dict[str, Any]) -> dict[str, Any]:
        name = _named(value, "model", MODELS.names())
        rest = {key: inner for key, inner in value.items() if key != "name"}
        return {"name": name, **parse_model_options(name, rest).model_dump(mode="json")}

    @field_validator("objective", mode="after")
    @classmethod
    def _terms(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        return tuple(
            {**term.model_dump(mode="json"), **options.model_dump(mode="json")}
            for term, options in parse_terms(value)
        )

    @field_validator("protocol", mode="after")
    @classmethod
    def _protocol(cls, value: dict[str, Any]) -> dict[str, Any]:
        name = _named(value, "protocol", PROTOCOLS.names())
        options = PROTOCOLS.load(name).options_type.parse(value, f"protocol {name!r}")
        found: dict[str, Any] = options.model_dump(mode="json")
        return found

    @field_validator("seeds", mode="before")
    @classmethod
    def _one_seed(cls, value: object) -> object:
        return (value,) if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        check_augmentation(self.augment, self.encoders, self.trainer.optimiser)
        learns = [stage.name for stage in self.trainer.stages if stage.kind != "features"]
        if learns and (self.augment.makes_views or self.augment.specaugment):
            raise ValueError(
                f"augment changes features of a fixed encoder; stage {learns[0]!r} learns the "
                "encoder: set augment.policy=off, augment.specaugment and augment.word_dropout off"
            )
        wrong = [seed for seed in self.seeds if not 0 <= seed < 1 << 32]
        if wrong:
            raise ValueError(f"seed {wrong[0]} is outside 0 to {(1 << 32) - 1}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is listed twice")
        return self

    @property
    def model_options(self) -> dict[str, Any]:
        """The model's own options, without its name."""
        return {key: value for key, value in self.model.items() if key != "name"}

    def to_yaml(self) -> str:
        """Write the resolved recipe; reading it gives an equal one."""
        return yaml.safe_dump(
            self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
        )


def _named(value: Mapping[str, Any], what: str, legal: tuple[str, ...]) -> str:
    name = value.get("name")
    if not isinstance(name, str):
        raise OptionError(f"{what}.name = {shorten(name)}; {nearest_hint(str(name), legal)}")
    return name


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def load_recipe(path_or_name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe, apply ``key=value`` overrides, validate every part by its own type.

    Args:
        path_or_name: path of a YAML file, or the name of a built-in recipe.
        overrides: such as ``trainer.epochs=5``; values are read as YAML.

    Raises:
        UsageError: no such recipe, no YAML.
        OptionError: an unknown key or an illegal value, with the nearest legal one.
    """
    return parse_recipe(recipe_mapping(path_or_name, overrides), f"recipe {path_or_name}")


def recipe_mapping(path_or_name: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Read a recipe and apply overrides, without validating what it says.

    Raises:
        UsageError: no such recipe, no YAML.
        OptionError: an override that is none.
    """
    return apply_overrides(_mapping(_read(path_or_name), str(path_or_name)), overrides)


def parse_recipe(data: Any, where: str = "recipe") -> Recipe:
    """Validate a recipe that was read already.

    Raises:
        OptionError: the first mistake, in one line that starts with ``where``.
    """
    return parse_kind(Recipe, data, where)


def parse_kind(kind: type[AnyRecipe], data: Any, where: str) -> AnyRecipe:
    """Validate a recipe of some kind.

    Raises:
        OptionError: the first mistake, in one line that starts with ``where``.
    """
    try:
        return kind.parse(data, where)
    except EmofuseError as error:
        message = str(error)
        if message.startswith(where):
            raise
        raise OptionError(f"{where}: {message}") from error


def _read(path_or_name: str | Path) -> Any:
    text = str(path_or_name)
    if isinstance(path_or_name, Path) or text.endswith((".yaml", ".yml")):
        return load_yaml(Path(path_or_name))
    known = recipe_files()
    if text in transfer_files():
        raise UsageError(f"{text} is a transfer recipe; run: emofuse transfer {text} -o FOLDER")
    if text not in known:
        hint = nearest_hint(text, known)
        raise UsageError(f"no recipe {shorten(text)}; {hint}; or the path of a .yaml file")
    return parse_yaml(known[text].read_text(encoding="utf-8"), f"recipe {text}")


def _mapping(data: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise OptionError(f"recipe {where}: expected keys and values, got {shorten(data)}")
    return data
