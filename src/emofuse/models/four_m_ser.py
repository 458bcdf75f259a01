"""4M-SER: text tokens and audio frames in one sequence that looks at itself, then one vector.

Tran et al., "Comprehensive Study of Multi-Feature Embeddings and Multi-Loss Functions with
Multi-Head Self-Attention Fusion for Multi-Modal SER" (2024). Its forerunners are architectures of
the same file: 3M-SER (INISCOM 2023), the same network with one hidden layer behind it, and SERVER
(ICIIT 2023), two vectors side by side. Its feature losses are ``center``, ``contrastive-center``,
``arcface``, ``cosface`` and ``focal``.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from emofuse.errors import FeatureError, OptionError
from emofuse.layers.frame_norm import FrameNormKind
from emofuse.layers.head import classifier_head
from emofuse.layers.joined import Joined, Masked
from emofuse.layers.joint_attention import FusionKind, JointAttention
from emofuse.layers.sequence_input import SequenceInput
from emofuse.layers.token_pooling import TokenPooling
from emofuse.layers.vectors_and_sum import VectorsAndSum
from emofuse.layers.vggish import PATCH, VGGish, VGGishOptions
from emofuse.models.contract import Batch, EmotionOutput, FusionModel, ModelSpec, Sequences
from emofuse.models.parts import Taken, fit_inputs, shares
from emofuse.options import Options

__all__ = ["FourMSER", "FourMSEROptions"]

ATTENTION = frozenset({"pooling", "audio_norm", "fusion", "residual", "heads"})
"""What the architectures with attention read, and SERVER does not."""
ALONE = frozenset({"audio_norm", "fusion", "residual", "heads", "width", "architecture"})
"""What a single modality does not read."""
NOT_RELEASED = frozenset({"residual", "normalise", "width"})
WIDTH = 128  # of SERVER's text vector, and of VGGish's embeddings
Ready = dict[str, tuple[Tensor, Tensor]]


class FourMSEROptions(Options):
    """Options of `FourMSER`. None = the default in brackets; one that is not read is an error.

    Attributes:
        variant: ``described``, or ``published``: the released network, which knows no masks.
        architecture: ``4m-ser``, ``3m-ser`` or ``server`` [4m-ser]; with one modality, that is
            pooled and classified, and there is none to choose.
        pooling: what the classifier reads of the sequence: ``cls`` (its first position, a text
            token), ``mean``, ``max`` or ``attention`` [cls; mean with one modality].
        audio_norm: how audio frames are levelled: ``layer`` norm, ``minmax`` or ``none`` [layer].
        fusion: ``self-attention``, ``concat`` (two vectors side by side) or ``none`` (no second
            attention) [self-attention].
        residual: what goes into an attention is added to what comes out [true; published false].
        heads: heads of each attention [8].
        dropout: share of attention weights, and of the vector before the classifier, dropped.
        head: widths of the hidden layers behind it [64 up to 128 values a frame and in the
            forerunners, else 128 and 64].
        width: size inside [that of the audio frames; SERVER 128].
        normalise: standardise inputs by the training items [true; published false].
        vggish: give the model a VGGish of its own; the audio features are ``vggish-patches`` then.
    """

    variant: Literal["described", "published"] = "described"
    architecture: Literal["4m-ser", "3m-ser", "server"] | None = None
    pooling: Literal["cls", "mean", "max", "attention"] | None = None
    audio_norm: FrameNormKind | None = None
    fusion: FusionKind | None = None
    residual: bool | None = None
    heads: int | None = Field(default=None, ge=1, le=1024)
    dropout: float = Field(default=0.5, ge=0.0, lt=1.0)
    head: tuple[int, ...] | None = Field(default=None, max_length=16)
    width: int | None = Field(default=None, ge=1, le=1 << 16)
    normalise: bool | None = None
    vggish: VGGishOptions | None = None

    @model_validator(mode="after")
    def _all_read(self) -> Self:
        given = self.given()
        if self.architecture == "server" and given & ATTENTION:
            raise ValueError(f"architecture 'server' does not read {min(given & ATTENTION)!r}")
        if self.head is not None and min(self.head, default=1) < 1:
            raise ValueError("head lists widths of 1 or more")
        if self.fusion == "none" and self.pooling in (None, "cls"):
            raise ValueError(
                "fusion 'none' with pooling 'cls' never looks at audio; pool otherwise"
            )
        if self.variant == "published":
            self._check_published(given)
        return self

    def _check_published(self, given: set[str]) -> None:
        if given & NOT_RELEASED:
            raise ValueError(f"the released code has no {min(given & NOT_RELEASED)!r}")
        if self.pooling == "max":
            raise ValueError("the released code stops with a TypeError at pooling 'max': described")
        if self.pooling == "attention" or self.fusion in ("concat", "none"):
            raise ValueError("the released code has no such pooling or fusion: described")

    def given(self) -> set[str]:
        """Names of the options that are not left to their default."""
        names = set(type(self).model_fields) - {"variant", "dropout"}
        return {name for name in names if getattr(self, name) is not None}


class FourMSER(FusionModel):
    """4M-SER, 3M-SER or SERVER: attention over tokens and frames (see `FourMSEROptions`).

    The ``described`` variant reads masks everywhere and answers with either modality. The
    ``published`` one attends to padding as if it were speech, and needs both.
    """

    options_type = FourMSEROptions

    def __init__(self, spec: ModelSpec, options: FourMSEROptions) -> None:
        super().__init__(spec, options)
        self.chosen = options
        self.published = options.variant == "published"
        sizes = _sizes(spec, options)
        self.names = tuple(sizes)
        self.vggish = _vggish(options, published=self.published)
        normalise = not self.published and options.normalise is not False
        together = len(self.names) > 1
        self.inputs = nn.ModuleDict(
            {
                name: SequenceInput(
                    size,
                    normalise=normalise and not (name == "audio" and self.vggish is not None),
                    absent=together and not self.published,
                )
                for name, size in sizes.items()
            }
        )
        self.network: nn.Module
        usual: tuple[int, ...] = (64,)
        if not together:
            self.network = TokenPooling(options.pooling or "mean", sizes[self.names[0]])
            fused = sizes[self.names[0]]
        elif options.architecture == "server":
            self.network = VectorsAndSum(sizes["text"], options.width or WIDTH)
            fused = (options.width or WIDTH) + sizes["audio"]
        else:
            self.network = _joint(sizes, options)
            fused = self.network.outputs
            short = options.architecture == "3m-ser" or sizes["audio"] <= WIDTH
            usual = (64,) if short else (128, 64)
        head = usual if options.head is None else options.head
        flat = self.published and options.architecture == "server"
        self.head = classifier_head(fused, head, spec.classes, options.dropout, linear=flat)

    def needs(self) -> frozenset[str]:
        """The published variant needs both modalities."""
        return frozenset(self.names) if self.published else frozenset()

    def fit_normalisation(self, batch: Batch) -> None:
        """Take mean and standard deviation of the training items; read the weights of VGGish."""
        if self.vggish is not None:
            self.vggish.load()
        fit_inputs(self.inputs, batch)

    def condense(self, batch: Batch) -> Batch:
        """Embed the audio in advance, while nothing of VGGish learns."""
        part = batch.modalities.get("audio")
        if part is None or self.vggish is None or self.vggish.learns:
            return batch
        embedded = Sequences(self.vggish(part.values, part.mask), part.mask)
        return Batch({**batch.modalities, "audio": embedded})

    def forward(self, batch: Batch) -> EmotionOutput:
        """Recognise a batch.

        Raises:
            FeatureError: the batch has none of the model's modalities, or the published variant
                lacks one.
        """
        ready, present = self._take_in(batch)
        if len(self.names) == 1:
            return self._alone(ready, present)
        # Inputs are zero outside the mask either way; the published network is not told.
        parts = {
            name: Masked(values, None if self.published else mask)
            for name, (values, mask) in ready.items()
        }
        joined: Joined = self.network(parts["text"], parts["audio"])
        taken = {name: Taken(joined.fused, there, None) for name, there in present.items()}
        return EmotionOutput(
            self.head(joined.fused),
            embeddings={**joined.embeddings, "fused": joined.fused},
            weights={} if self.training else shares(joined.sizes, taken),
            attention={} if self.training else joined.attention,
            extras={f"present:{name}": there for name, there in present.items()},
        )

    def _alone(self, ready: Ready, present: dict[str, Tensor]) -> EmotionOutput:
        name = self.names[0]
        vector = self.network(*ready[name])
        return EmotionOutput(
            self.head(vector),
            embeddings={name: vector, "fused": vector},
            weights={} if self.training else {name: present[name].float()},
            extras={f"present:{name}": present[name]},
        )

    def _take_in(self, batch: Batch) -> tuple[Ready, dict[str, Tensor]]:
        held = [name for name in self.names if name in batch.modalities]
        if not held or not self.needs() <= set(held):
            known, found = ", ".join(self.names), ", ".join(batch.modalities) or "nothing"
            raise FeatureError(f"the model knows {known}; the batch holds {found}")
        ready: Ready = {}
        present: dict[str, Tensor] = {}
        for name, layer in self.inputs.items():
            part = batch.modalities.get(name)
            values = None if part is None else part.values
            mask = None if part is None else part.mask
            if name == "audio" and self.vggish is not None and values is not None:
                values = self.vggish(values, mask)
            states, real, present[name] = layer(values, mask, batch.count)
            ready[name] = states, real
        return ready, present


def _vggish(options: FourMSEROptions, *, published: bool) -> VGGish | None:
    if options.vggish is None:
        return None
    return VGGish(options.vggish, "quantised" if published else "none")


def _sizes(spec: ModelSpec, options: FourMSEROptions) -> dict[str, int]:
    """Sizes of tokens and frames as the network reads them, text first.

    Raises:
        OptionError: modalities or options that the network does not have.
    """
    strange = sorted(set(spec.dims) - {"text", "audio"})
    if strange:
        raise OptionError(f"model 'four-m-ser' takes text and audio, not {strange[0]}")
    sizes = {name: spec.dims[name] for name in ("text", "audio") if name in spec.dims}
    if len(sizes) == 1:
        unread = options.given() & ALONE
        if unread or options.variant == "published":
            what = f"{min(unread)!r} is not read" if unread else "variant 'published' needs two"
            raise OptionError(f"model 'four-m-ser' with {next(iter(sizes))} alone: {what}")
    if options.vggish is not None:
        if sizes.get("audio") != PATCH:
            raise OptionError(
                f"model 'four-m-ser': vggish reads audio of {PATCH} values a frame (the encoder "
                f"vggish-patches with granularity=frames); the encoders give {dict(spec.dims)}"
            )
        sizes["audio"] = WIDTH
    return sizes


def _joint(sizes: dict[str, int], options: FourMSEROptions) -> JointAttention:
    width = options.width or sizes["audio"]
    heads = 8 if options.heads is None else options.heads
    for what, size in (("text tokens", sizes["text"]), ("width", width)):
        if size % heads:
            raise OptionError(
                f"model 'four-m-ser': {heads} heads do not divide {what} of {size}; set heads"
                + (" or width" if what == "width" else "")
            )
    published = options.variant == "published"
    return JointAttention(
        sizes["text"],
        sizes["audio"],
        width,
        heads=heads,
        dropout=options.dropout,
        audio_norm=options.audio_norm or "layer",
        fusion=options.fusion or "self-attention",
        pooling=options.pooling or "cls",
        residual=not published and options.residual is not False,
    )
