"""Write synthetic videos."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

FPS, SIZE, TONE, RATE = 20, (64, 48), 440.0, 22_050


def frame_at(number: int) -> np.ndarray:
    """A grey frame whose brightness is its number, with a red left half."""
    image = np.full((SIZE[1], SIZE[0], 3), 20 + 5 * number, np.uint8)
    image[:, : SIZE[0] // 2, 1:] = 0
    return image


def write_clip(path: Path, frames: int = 30, *, sound: bool = True) -> Path:
    """Write ``frames`` frames at 20 a second, and a tone of 440 Hz of the same length."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=FPS)
        picture.width, picture.height, picture.pix_fmt = *SIZE, "yuv420p"
        picture.bit_rate = 4_000_000
        tone = container.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for number in range(frames):
            image = av.VideoFrame.from_ndarray(frame_at(number), format="rgb24")
            container.mux(picture.encode(image))
        container.mux(picture.encode())
        if tone is not None:
            times = np.arange(int(frames / FPS * RATE)) / RATE
            wave = (0.5 * np.sin(2 * np.pi * TONE * times)).astype(np.float32)[None]
            for start in range(0, wave.shape[1], 1024):
                block = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(wave[:, start : start + 1024]), "fltp", "mono"
                )
                block.sample_rate, block.pts = RATE, start
                container.mux(tone.encode(block))
            container.mux(tone.encode())
    return path
