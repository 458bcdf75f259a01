"""Make of an exported bundle the one that comes along.

python finish.py ONNX CROSS EGEMAPS [NAME=RUN ...]: the encoder goes by its public name, and the
card and ``figures.json`` hold the figures of the runs: UA, with its 95 % interval over speakers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emofuse.models.bundle_config import CONFIG_NAME
from emofuse.storage import write_json, write_text

PUBLIC = "openai/whisper-tiny.en"
DRAWS = 2000
JUDGED = ("emodb", "ravdess", "nemo")

LIMITS = """
## What it cannot do

- It knows four emotions, those that all four corpora of voices share. Fear, surprise, disgust,
  boredom and calm are answered as one of the four, or not at all.
- All voices it learned from act, in German, English, Polish and Amharic. How far it is right on
  unacted speech was not measured. Of Polish (nEMO), left out, it hears most as neutral.
- It gives no arousal and no valence: no corpus here rates them.
- Noise, rooms and telephone lines lower its figures. Copies with noise, rooms and bands were tried
  in training; they helped in rooms and cost more on clean speech, so that it learned without.
- Its words are English and weak: by words alone it is little better than guessing on dialogue.
- It never heard children or the old.

Answers without text can be relied on as much as those with it: 1,964 of its utterances have a
voice alone and 2,732 words alone.
"""


def recalls(table: pd.DataFrame) -> float:
    """Give UA in per cent: the mean over classes of the share that is right."""
    right = table["gold"] == table["predicted"]
    return 100.0 * float(right.groupby(table["gold"]).mean().mean())


def interval(table: pd.DataFrame) -> list[float]:
    """Give UA and its 95 % interval, drawing speakers with replacement."""
    random = np.random.default_rng(0)
    groups = [part for _, part in table.groupby("speaker")]
    drawn = [
        recalls(pd.concat([groups[k] for k in random.integers(len(groups), size=len(groups))]))
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return [round(value, 1) for value in (recalls(table), float(low), float(high))]


def figures(run: Path, corpora: tuple[str, ...]) -> dict[str, list[float]]:
    """Give the figures of each corpus of a run, and by gender."""
    table = pd.read_parquet(run / "predictions.parquet")
    found = {name: interval(table[table["corpus"] == name]) for name in corpora}
    for gender in ("female", "male"):
        part = table[(table["gender"] == gender) & table["corpus"].isin(corpora)]
        found[gender] = interval(part)
    means = [found[name][0] for name in corpora]
    return {"mean": [round(float(np.mean(means)), 1)], **found}


def rows(name: str, found: dict[str, list[float]]) -> list[str]:
    """Write table rows."""
    return [
        f"| {name} | {what} | {one[0]:.1f} | {f'{one[1]:.1f} to {one[2]:.1f}' if one[1:] else ''} |"
        for what, one in found.items()
    ]


def main(folder: Path, cross: Path, egemaps: Path, more: dict[str, Path]) -> None:
    """Change the bundle."""
    config: dict[str, Any] = json.loads((folder / CONFIG_NAME).read_text("utf-8"))
    local = config["encoders"]["audio"]["spec"]["name"]
    config["encoders"]["audio"]["spec"]["name"] = PUBLIC
    config["trained_with_dropout"] = True
    found = {"left out": figures(cross, JUDGED), "eGeMAPS": figures(egemaps, JUDGED)}
    for name, run in more.items():
        table = pd.read_parquet(run / "predictions.parquet")
        found[name] = {part: interval(t) for part, t in table.groupby("corpus")}
    card = (folder / "README.md").read_text("utf-8").replace(local, PUBLIC)
    card = card.replace(
        "It was trained with every modality present; it may answer when one is missing, but "
        "such an answer is less reliable, and it says so.\n\n",
        "",
    )
    lines = [
        "## On corpora it never heard",
        "",
        "UA in per cent, four classes (guessing: 25), each corpus left out in turn, voice alone,",
        "no statistics of the corpus that is judged; 95 % intervals over speakers. `left out` is",
        "this bundle's voice, `eGeMAPS` a linear classifier on eGeMAPS, trained on the same data.",
        "",
        "| model | judged | UA | 95 % interval |",
        "|---|---|---|---|",
        *[line for name, one in found.items() for line in rows(name, one)],
    ]
    place = card.index("## What its probabilities mean")
    text_block = "\n".join(lines) + "\n" + LIMITS + "\n"
    write_text(folder / "README.md", card[:place] + text_block + card[place:])
    write_json(folder / "figures.json", found)
    write_json(folder / CONFIG_NAME, config)


if __name__ == "__main__":
    pairs = dict(pair.split("=", 1) for pair in sys.argv[4:])
    paths = [Path(one) for one in sys.argv[1:4]]
    main(paths[0], paths[1], paths[2], {name: Path(run) for name, run in pairs.items()})
