"""The methods of a transfer recipe: what each does with the shots, and its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from emofuse.errors import OptionError, nearest_hint, shorten
from emofuse.losses.alignment import ALIGNMENTS
from emofuse.options import Options

__all__ = ["METHODS", "MethodOptions", "parse_method"]

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
LABEL = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"


class MethodOptions(Options):
    """Options of every method.

    Attributes:
        name: the method.
        label: what tables call it; the name unless told. Two entries of one method need two.
        shots: whether it goes with labelled target items: ``never``, ``may``, ``must``.
        unlabelled: whether it looks at target train items without their labels.
        source: whether it learns from the source.
        trains: whether it has a training of its own, beside the source model's.
    """

    name: str
    label: str = Field(default="", max_length=40)

    shots: ClassVar[Literal["never", "may", "must"]] = "may"
    unlabelled: ClassVar[bool] = False
    source: ClassVar[bool] = True
    trains: ClassVar[bool] = True


class _Trained(MethodOptions):
    """Options of the methods with a training of their own.

    Attributes:
        epochs: most passes over the training items; the trainer's unless told.
        learning_rate: highest step size; the trainer's unless told.
    """

    epochs: int | None = Field(default=None, ge=1, le=1_000_000)
    learning_rate: Positive | None = None


class NoneOptions(MethodOptions):
    """Options of ``none``: the source model as it is."""

    shots = "never"
    trains = False


class FinetuneOptions(_Trained):
    """Options of ``finetune``: the source model goes on learning on the shots.

    Attributes:
        train: parts of the model that learn (module names, or their beginnings); empty = all.
        freeze: parts that do not; in evaluation mode throughout.
    """

    train: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()

    shots = "must"


class PrototypesOptions(MethodOptions):
    """Options of ``prototypes``: the class whose mean embedding is nearest.

    Attributes:
        distance: ``euclidean`` (squared) or ``cosine``.
        temperature: what the distances are divided by before the softmax; it moves probabilities,
            not decisions.
    """

    distance: Literal["euclidean", "cosine"] = "euclidean"
    temperature: Positive = 1.0

    trains = False


class _Mixed(_Trained):
    """Options of the methods that learn from source and shots together.

    Attributes:
        share: share of the draws that are shots, whatever the sizes.
    """

    share: float = Field(default=0.5, gt=0.0, lt=1.0)


class CombinedOptions(_Mixed):
    """Options of ``combined``: source and shots in one training, drawn in fixed shares."""

    shots = "must"


class TargetOptions(_Trained):
    """Options of ``target``: the shots alone, which any other method should beat."""

    shots = "must"
    source = False


class AlignedOptions(_Mixed):
    """Options of ``dann``, ``mmd`` and ``coral``, beside those of the alignment itself.

    Attributes:
        settle: share of the training after which the first epoch may be chosen, so that the
            schedule has risen by then.
    """

    settle: float = Field(default=0.3, ge=0.0, lt=1.0)

    unlabelled = True


METHODS: Mapping[str, type[MethodOptions]] = {
    "none": NoneOptions,
    "finetune": FinetuneOptions,
    "prototypes": PrototypesOptions,
    "dann": AlignedOptions,
    "mmd": AlignedOptions,
    "coral": AlignedOptions,
    "combined": CombinedOptions,
    "target": TargetOptions,
}
"""Every method, by name."""


def parse_method(entry: object) -> tuple[MethodOptions, Options | None]:
    """Validate an entry of ``methods``: a name, or a name with options.

    Returns:
        The method's options, and those of its alignment where it has one.

    Raises:
        OptionError: an unknown method, key or value.
    """
    given = {"name": entry} if isinstance(entry, str) else entry
    name = given.get("name") if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or not isinstance(name, str) or name not in METHODS:
        raise OptionError(f"method {shorten(name or entry)}; {nearest_hint(str(name), METHODS)}")
    kind = METHODS[name]
    if name not in ALIGNMENTS:
        return _labelled(kind.parse(given, f"method {name}")), None
    inner: type[Options] = ALIGNMENTS.load(name).options_type
    known = {*kind.model_fields, *inner.model_fields}
    for key in given:
        if key not in known:
            hint = nearest_hint(str(key), known)
            raise OptionError(f"method {name}: unknown key {str(key)!r}; {hint}")
    own: dict[str, Any] = {key: given[key] for key in given if key in kind.model_fields}
    rest: dict[str, Any] = {key: given[key] for key in given if key in inner.model_fields}
    where = f"method {name}"
    return _labelled(kind.parse(own, where)), inner.parse(rest, where)


def _labelled(options: MethodOptions) -> MethodOptions:
    return options.model_copy(update={"label": options.label or options.name})
