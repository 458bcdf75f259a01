"""Examples for the OpenAPI document: what goes in and what comes out."""

from __future__ import annotations

import base64
import io
import math
import wave
from functools import cache
from typing import Any

__all__ = ["ANSWER", "BATCH", "MODELS", "TIMELINE", "tone"]

_SHARES = {"anger": 0.93, "happiness": 0.05, "neutral": 0.01, "sadness": 0.01}
ANSWER: dict[str, Any] = {
    "id": "utterance",
    "emotion": "anger",
    "probabilities": _SHARES,
    "confidence": 0.93,
    "calibrated": True,
    "emotion_set": ["anger"],
    "too_unsure": False,
    "modalities": ["audio", "text"],
    "weights": {"audio": 0.6, "text": 0.4},
    "missing": [],
    "vad": None,
    "seconds": 1.53,
    "start": 0.0,
    "end": 1.53,
    "channel": None,
    "transcript": None,
    "model": "late-fusion 0a1b2c3d4e5f",
    "licence": "data: CC0-1.0; encoders: MIT",
    "notes": [],
    "error": None,
}
BATCH: dict[str, Any] = {
    "answers": [
        ANSWER,
        {"id": "two", "error": "the audio is not audio that can be read: Format not recognised"},
    ]
}
TIMELINE: dict[str, Any] = {
    "id": "recording",
    "seconds": 6.4,
    "classes": list(_SHARES),
    "segments": [
        {
            "start": 0.31,
            "end": 2.84,
            "emotion": "anger",
            "probabilities": _SHARES,
            "confidence": 0.93,
            "weights": {"audio": 1.0},
        }
    ],
    "model": "late-fusion 0a1b2c3d4e5f",
}
MODELS: dict[str, Any] = {
    "version": "0.1.0",
    "models": [
        {
            "id": "late-fusion 0a1b2c3d4e5f",
            "classes": list(_SHARES),
            "modalities": ["audio", "text"],
            "needs": [],
            "sample_rate": 16000,
            "scale": [1.0, 5.0],
            "calibrated": True,
            "precision": "fp32",
            "transcriber": None,
            "licence": "data: CC0-1.0; encoders: MIT",
            "corpora": ["synthetic"],
            "languages": ["en"],
        }
    ],
    "limits": {
        "max_upload_bytes": 26214400,
        "max_seconds": 120.0,
        "max_items": 32,
        "max_text": 10000,
        "timeline_seconds": 1800.0,
        "stream_seconds": 3600.0,
    },
}


@cache
def tone() -> str:
    """A WAV file of a tenth of a second in base64."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        levels = (round(9000 * math.sin(n / 4)) for n in range(800))
        file.writeframes(b"".join(level.to_bytes(2, "little", signed=True) for level in levels))
    return base64.b64encode(buffer.getvalue()).decode()
