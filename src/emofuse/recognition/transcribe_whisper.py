"""Whisper through transformers: a local folder or a hub name.

Word times come from the cross attention (dynamic time warping over the model's alignment heads;
where a checkpoint names none, over all heads of the upper half of the decoder, as OpenAI's code
does). The confidence of a word is the mean probability of its tokens.
"""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emofuse.encoders.contract import EncoderSpec
from emofuse.encoders.hf_folder import ModelFolder, find_folder, quiet_transformers, read_model
from emofuse.errors import EncoderError, OptionError
from emofuse.recognition.answer import Transcript, Word
from emofuse.recognition.transcribe import (
    HEARING_RATE,
    at_hearing_rate,
    join,
    split_at_pauses,
)

__all__ = ["Whisper"]

FloatArray = NDArray[np.float32]
FRAME = 0.02  # seconds of one encoder frame, the grid of word times
LEAST = 400  # samples; less is nothing to hear
TOKENS_A_SECOND = 12  # fast speech has about 6
PROMPT = 8  # tokens kept free for what comes before the words
ADVICE = "give --transcribe the folder of a Whisper model, or a hub name where the hub is reachable"


class Whisper:
    """Hears words; weights are read at the first call.

    Args:
        name: local folder or hub name.
        device: where it runs.
        language: code of what is spoken; None = the model finds out where it can.

    Raises:
        EncoderError: the model cannot be had, or is no Whisper.
        OptionError: a language for a model of English alone.
    """

    def __init__(self, name: str, device: str = "cpu", language: str | None = None) -> None:
        try:
            self._folder = find_folder(EncoderSpec(name=name))
        except (EncoderError, OptionError) as error:
            raise EncoderError(f"no transcripts from {name!r}: {error}; {ADVICE}") from error
        if self._folder.kind != "whisper":
            raise EncoderError(
                f"{name} is a {self._folder.kind or 'nameless'!r} model, not Whisper; {ADVICE}"
            )
        self.name = self._folder.name
        self._device, self._language = device, language
        self._turn = threading.Lock()
        self._model: Any = None
        self._features: Any = None
        self._tokenizer: Any = None

    def transcribe(self, waveform: FloatArray, sample_rate: int) -> Transcript:
        """Write down what is said (see `Transcriber`); over 30 s it is cut at pauses."""
        wave = at_hearing_rate(waveform, sample_rate)
        spans = [(a, b) for a, b in split_at_pauses(wave) if b - a >= LEAST]
        with self._turn, torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # transformers warns of its own defaults
            self._open()
            parts = [self._hear(wave[a:b]) for a, b in spans]
        return join(parts, [a / HEARING_RATE for a, _ in spans], self.name)

    def _open(self) -> None:
        if self._model is not None:
            return
        from transformers import WhisperForConditionalGeneration

        self._features, self._tokenizer = _read_ears(self._folder)
        model = read_model(
            self._folder, WhisperForConditionalGeneration, attn_implementation="eager"
        )
        settings = model.generation_config
        if self._language is not None and not getattr(settings, "lang_to_id", None):
            raise OptionError(f"{self.name} knows English alone: leave the language out")
        if getattr(settings, "alignment_heads", None) is None:
            layers = int(model.config.decoder_layers)
            heads = int(model.config.decoder_attention_heads)
            settings.alignment_heads = [
                [layer, head] for layer in range(layers // 2, layers) for head in range(heads)
            ]
        self._model = model.to(self._device)

    def _hear(self, wave: FloatArray) -> Transcript:
        given = self._features(
            wave, sampling_rate=HEARING_RATE, return_tensors="pt", return_attention_mask=True
        )
        multilingual = bool(getattr(self._model.generation_config, "lang_to_id", None))
        features = given.input_features.to(self._device)
        chosen: dict[str, Any] = {}
        language = "en"
        if multilingual:
            language = self._language or self._detect(features)
            chosen = {"language": language, "task": "transcribe"}
        frames = int(given.attention_mask.sum())
        with quiet_transformers():
            found = self._model.generate(
                features,
                return_dict_in_generate=True,
                output_scores=True,
                return_token_timestamps=True,
                num_frames=frames,
                max_new_tokens=self._most(len(wave) / HEARING_RATE),
                do_sample=False,
                num_beams=1,
                **chosen,
            )
        words = self._words(found, len(wave) / HEARING_RATE)
        text = " ".join(word.text for word in words)
        mean = sum(word.confidence for word in words) / len(words) if words else 1.0
        return Transcript(
            text=text, words=tuple(words), language=language, confidence=mean, model=self.name
        )

    def _most(self, seconds: float) -> int:
        """Tokens that a clip may have: more than anybody says, so that a loop ends."""
        room = int(self._model.config.max_target_positions) - PROMPT
        return min(room, round(24 + TOKENS_A_SECOND * seconds))

    def _detect(self, features: torch.Tensor) -> str:
        token = int(self._model.detect_language(input_features=features)[0])
        table: dict[str, int] = self._model.generation_config.lang_to_id
        names = {number: name.strip("<|>") for name, number in table.items()}
        return names.get(token, "en")

    def _words(self, found: Any, seconds: float) -> list[Word]:
        ids = found["sequences"][0].tolist()
        scores = [torch.log_softmax(one[0].float(), dim=-1) for one in found["scores"]]
        times = found["token_timestamps"][0].tolist()
        first = len(ids) - len(scores)
        special = set(self._tokenizer.all_special_ids)
        words: list[tuple[list[int], list[int]]] = []  # places and ids of the tokens of each word
        for place in range(max(first, 0), len(ids)):
            token = ids[place]
            if token in special or token >= min(special, default=token + 1):
                continue
            piece = self._tokenizer.decode([token])
            if not words or piece.startswith(" "):
                words.append(([], []))
            words[-1][0].append(place)
            words[-1][1].append(token)
        result: list[Word] = []
        for number, (places, tokens) in enumerate(words):
            text = self._tokenizer.decode(tokens).strip()
            if not text:
                continue
            start = min(float(times[places[0]]), seconds)
            after = words[number + 1][0][0] if number + 1 < len(words) else places[-1] + 1
            end = float(times[after]) if after < len(times) else seconds
            shares = [float(scores[p - first][ids[p]].exp()) for p in places]
            result.append(
                Word(
                    start=start,
                    end=min(max(end, start + FRAME), max(seconds, start)),
                    text=text,
                    confidence=min(sum(shares) / len(shares), 1.0),
                )
            )
        return result


def _read_ears(folder: ModelFolder) -> tuple[Any, Any]:
    from transformers import AutoTokenizer, WhisperFeatureExtractor

    try:
        with quiet_transformers():
            return (
                WhisperFeatureExtractor.from_pretrained(str(folder.path), local_files_only=True),
                AutoTokenizer.from_pretrained(
                    str(folder.path), local_files_only=True, trust_remote_code=False
                ),
            )
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise EncoderError(f"{folder.path} is no whole Whisper model: {reason}") from error
