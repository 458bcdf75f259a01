"""Any Hugging Face text encoder, by hub name or local folder: BERT, RoBERTa, MiniLM and their kin.

``granularity: frames`` gives one row a token, the special tokens among them; ``pooling: mean`` is
the mean over the same rows, ``cls`` the first of them. A text longer than the model takes is cut,
and `HFText.take_warnings` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from emofuse.encoders.adapted import folder_provenance
from emofuse.encoders.batching import make_batches
from emofuse.encoders.contract import Encoder, EncoderSpec, FloatArray, Item
from emofuse.encoders.hf_folder import ModelFolder, find_folder, quiet_transformers, read_model
from emofuse.encoders.hidden import choose_layer
from emofuse.encoders.pooling import pooled_dim, reduced
from emofuse.encoders.precision import resolve_precision
from emofuse.encoders.settings import CutTexts, refuse_options, require_text
from emofuse.errors import EncoderError, OptionError

__all__ = ["HFText", "Token"]

CPU_TOKENS = 2048  # tokens of a batch, padding counted
GPU_TOKENS = 65_536
UNBOUNDED = 1 << 20  # tokenizers without a limit name an absurd one
NOT_TEXT = ("hubert", "wav2vec2", "wavlm", "whisper", "data2vec-audio", "unispeech")


@dataclass(frozen=True)
class Token:
    """A token of a text.

    Attributes:
        piece: as the tokenizer writes it.
        number: in its vocabulary.
        special: whether it marks a place (``[CLS]``) and is no part of the text.
        span: characters of the text, from and up to; None where that is not known.
    """

    piece: str
    number: int
    special: bool
    span: tuple[int, int] | None


class HFText(Encoder):
    """A text encoder of the Hugging Face hub, frozen.

    Args:
        spec: what of it; every option but ``dim`` counts.
        device: where it runs.
    """

    modality = "text"
    reentrant = True

    def __init__(self, spec: EncoderSpec, device: str = "cpu") -> None:
        refuse_options(spec, "dim", texts=True)
        self.folder = find_folder(spec)
        self.spec, self.revision = spec, self.folder.revision
        self.precision = resolve_precision(spec, device)
        self.provenance = folder_provenance(self.folder)
        self._device = device
        width, count = _size(self.folder)
        wanted = choose_layer(spec, count)
        if isinstance(wanted, tuple):
            raise OptionError(f"{spec.name}: a text encoder takes one layer, last or mean")
        self._wanted, self._layers = wanted, count
        self.dim = pooled_dim(spec.pooling, width) if spec.granularity == "pooled" else width
        self._cut = CutTexts()
        self._model: Any = None
        self._tokenizer: Any = None
        self.longest = 0
        self.prefix = ""

    def encode(self, items: Sequence[Item]) -> list[FloatArray]:
        """Give one ``(tokens, dim)`` or ``(1, dim)`` array an item (see `Encoder.encode`)."""
        self.open()
        tokens = [self.tokens(item) for item in items]
        budget = CPU_TOKENS if torch.device(self._device).type == "cpu" else GPU_TOKENS
        found: list[FloatArray] = [np.empty((0, 0), np.float32)] * len(items)
        with torch.inference_mode():
            for batch in make_batches([len(ids) for ids in tokens], budget):
                states = self.states([tokens[place] for place in batch])
                for place, state in zip(batch, states, strict=True):
                    found[place] = state.cpu().numpy()
        return [reduced(frames, self.spec) for frames in found]

    def take_warnings(self) -> tuple[str, ...]:
        """Say which texts were cut at the model's length since the last call."""
        return self._cut.take(self.longest)

    def tokens(self, item: Item) -> list[int]:
        """Give the numbers of a text's tokens, the special ones among them (after `open`).

        Raises:
            EncoderError: there is no text, or no token in it.
        """
        text = require_text(item, strip_events=self.spec.strip_events)
        ids: list[int] = self._tokenizer(text, verbose=False)["input_ids"]
        if len(ids) <= self.longest:
            if not ids:
                raise EncoderError(f"{item.id}: the tokenizer finds no token in the text")
            return ids
        self._cut.note(item.id)
        cut: list[int] = self._tokenizer(
            text, truncation=True, max_length=self.longest, verbose=False
        )["input_ids"]
        return cut

    def states(self, tokens: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Encode token numbers together into ``(tokens, dim)`` float32 each (after `open`)."""
        lengths = torch.tensor([len(ids) for ids in tokens], device=self._device)
        longest = int(lengths.max())
        pad = self._tokenizer.pad_token_id or 0
        grid = [list(ids) + [pad] * (longest - len(ids)) for ids in tokens]
        mask = torch.arange(longest, device=self._device)[None, :] < lengths[:, None]
        state = self.run(torch.tensor(grid, device=self._device), mask.long())
        return [state[row, : len(ids)] for row, ids in enumerate(tokens)]

    def run(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run the network (after `open`).

        Args:
            tokens: ``(batch, tokens)`` numbers.
            mask: ``(batch, tokens)``, 1 on what is no padding.

        Returns:
            ``(batch, tokens, dim)`` float32 of the hidden layer that is wanted.
        """
        output = self._model(
            input_ids=tokens,
            attention_mask=mask,
            output_hidden_states=self._wanted != self._layers,
        )
        return self._choose(output)

    def tokenizer_json(self) -> str:
        """Give the tokenizer as the library ``tokenizers`` writes it (after `open`).

        Raises:
            EncoderError: it is one of Python alone.
        """
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise EncoderError(f"the tokenizer of {self.folder.path} has no tokenizer.json")
        return str(backend.to_str())

    def named_tokens(self, text: str) -> list[Token]:
        """Give the tokens that a text is read as, one for each row of its frames.

        Raises:
            EncoderError: the text has no token.
        """
        self.open()
        ids = self.tokens(Item("text", text=text))
        special = set(self._tokenizer.all_special_ids)
        spans: list[tuple[int, int]] | None = None
        if self._tokenizer.is_fast:
            spans = self._tokenizer(
                text,
                truncation=True,
                max_length=self.longest,
                return_offsets_mapping=True,
                verbose=False,
            )["offset_mapping"]
        pieces = self._tokenizer.convert_ids_to_tokens(ids)
        self._cut.take(self.longest)
        return [
            Token(
                str(piece),
                number,
                number in special,
                None if spans is None or number in special else (spans[p][0], spans[p][1]),
            )
            for p, (piece, number) in enumerate(zip(pieces, ids, strict=True))
        ]

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Give the vectors by which token numbers enter the network, ``(tokens, width)``."""
        self.open()
        table = self._model.get_input_embeddings()
        return torch.as_tensor(table(torch.tensor(ids, device=self._device))).float()

    def blank(self) -> int:
        """Give the number of the token that stands for no word: mask, else unknown, else pad."""
        self.open()
        names = ("mask_token_id", "unk_token_id", "pad_token_id")
        known = [getattr(self._tokenizer, name, None) for name in names]
        return next((int(one) for one in known if one is not None), 0)

    def states_from(self, embedded: torch.Tensor) -> torch.Tensor:
        """Run the network from embedded tokens on, open to gradients.

        Args:
            embedded: ``(batch, tokens, width)``, no padding.

        Returns:
            ``(batch, tokens, dim)`` of the chosen layer, not pooled.
        """
        self.open()
        mask = torch.ones(embedded.shape[:2], dtype=torch.long, device=self._device)
        output = self._model(
            inputs_embeds=embedded.to(self._device, self._model.dtype),
            attention_mask=mask,
            output_hidden_states=self._wanted != self._layers,
        )
        return self._choose(output)

    def _choose(self, output: Any) -> torch.Tensor:
        last: torch.Tensor = output.last_hidden_state
        if self._wanted == self._layers:
            return last.float()
        states = (*output.hidden_states[:-1], last)
        if self._wanted is not None:
            return torch.as_tensor(states[self._wanted]).float()
        return torch.stack([state.float() for state in states]).mean(dim=0)

    @property
    def layers(self) -> list[torch.nn.Module]:
        """The transformer layers below the hidden layer that is wanted (after `open`).

        Raises:
            EncoderError: the model keeps them in a way not known here.
        """
        stacks = (m for m in self._model.modules() if isinstance(m, torch.nn.ModuleList))
        stack = next((one for one in stacks if len(one) == self._layers), None)
        if stack is None:
            raise EncoderError(f"{self.folder.name}: no stack of {self._layers} layers is found")
        return list(stack)[: self._layers if self._wanted is None else self._wanted]

    def open(self) -> torch.nn.Module:
        """Give the model, whose weights are read at the first call.

        Raises:
            EncoderError: they cannot be read.
        """
        if self._model is None:
            self._load()
        module: torch.nn.Module = self._model
        return module

    def _load(self) -> None:
        self._tokenizer = _read_tokenizer(self.folder)
        model = read_model(self.folder)
        if model.config.is_encoder_decoder:
            model, self.prefix = model.get_encoder(), "encoder."
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.longest = _longest(self.folder, self._tokenizer)
        self._model = model.to(self._device, dtype)


def _size(folder: ModelFolder) -> tuple[int, int]:
    """Give a model's width and its number of layers, whatever its config calls them."""
    config = folder.config
    if folder.kind in NOT_TEXT:
        raise EncoderError(
            f"{folder.name} is a {folder.kind} model: an audio encoder, not a text one"
        )
    width = next((config[key] for key in ("hidden_size", "dim", "d_model") if key in config), None)
    keys = ("num_hidden_layers", "n_layers", "num_layers", "encoder_layers")
    count = next((config[key] for key in keys if key in config), None)
    if width is None or count is None:
        raise EncoderError(
            f"{folder.path}/config.json ({folder.kind or 'no model_type'}) names no hidden size "
            "or number of layers: not a text encoder"
        )
    return int(width), int(count)


def _read_tokenizer(folder: ModelFolder) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(
                str(folder.path), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EncoderError(f"the tokenizer of {folder.path} cannot be loaded: {reason}") from error


def _longest(folder: ModelFolder, tokenizer: Any) -> int:
    """Tokens that a model takes: what its tokenizer and its position table both allow."""
    limits = [int(tokenizer.model_max_length)]
    positions = folder.config.get("max_position_embeddings")
    if positions:
        # RoBERTa counts positions from its padding number on.
        offset = int(folder.config.get("pad_token_id") or 0) + 1 if "roberta" in folder.kind else 0
        limits.append(int(positions) - offset)
    return min(limit for limit in (*limits, UNBOUNDED) if limit > 0)
