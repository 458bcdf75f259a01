"""Low-rank updates (LoRA) put into an encoder, and merged into plain weights at the end."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from emofuse.errors import MissingExtraError, OptionError
from emofuse.models.build import seeded
from emofuse.training.finetuning.options import LoraOptions

__all__ = ["inject", "merge", "require_peft"]

USUAL = ("q_proj", "v_proj", "query", "value", "q_lin", "v_lin", "q", "v")


def require_peft() -> None:
    """Make sure that PEFT is there.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("peft", "lora") from error


def inject(module: nn.Module, layers: Sequence[nn.Module], options: LoraOptions, seed: int) -> None:
    """Put updates beside the linear maps of some layers; nothing else of them learns.

    Args:
        module: the encoder, changed in place.
        layers: which of its layers get updates.
        options: rank and targets.
        seed: of the initial updates (which change nothing: one of their two factors is zero).

    Raises:
        MissingExtraError: PEFT is not installed.
        OptionError: a target that no layer has.
    """
    require_peft()
    from peft import LoraConfig, inject_adapter_in_model

    names = {id(part): name for name, part in module.named_modules()}
    linear = [
        names[id(part)]
        for layer in layers
        for part in layer.modules()
        if isinstance(part, nn.Linear)
    ]
    ends = sorted({name.rpartition(".")[2] for name in linear})
    wanted = options.targets or [end for end in USUAL if end in ends]
    strange = [one for one in wanted if one not in ends]
    if strange or not wanted:
        first = strange[0] if strange else "of the usual ones"
        raise OptionError(f"lora.targets: no layer has {first!r}; legal: {', '.join(ends)}")
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=[name for name in linear if name.rpartition(".")[2] in wanted],
    )
    with seeded(seed):
        inject_adapter_in_model(config, module)


def merge(module: nn.Module) -> None:
    """Add the updates to the weights they stand beside, and take them out; without any, nothing.

    Raises:
        MissingExtraError: there are updates, and PEFT is gone.
    """
    for name, part in list(module.named_modules()):
        if not hasattr(part, "lora_A"):
            continue
        owner, _, attribute = name.rpartition(".")
        part.merge()
        setattr(module.get_submodule(owner), attribute, part.get_base_layer())
