"""Make of an exported bundle the one that comes along.

python finish.py ONNX [FIGURES]: in the folder of `default.sh`'s runs. The encoder goes by its
public name; the card and ``figures.json`` hold the runs' figures (see `figures.py`). What a run
that is not there would tell is taken from FIGURES, those of an earlier bundle by the same recipes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import figures

from emofuse.models.bundle_config import CONFIG_NAME
from emofuse.storage import write_json, write_text

PUBLIC = "openai/whisper-tiny.en"
UNTRAINED = (
    "It was trained with every modality present; it may answer when one is missing, but "
    "such an answer is less reliable, and it says so.\n\n"
)
PARTS: tuple[tuple[str, str, str, Callable[[Path], dict[str, Any]]], ...] = (
    ("corpora", "left out", "cross", figures.by_corpus),
    ("corpora", "left out, nothing chosen by it", "cross-ased", figures.by_corpus),
    ("corpora", "left out, learned from clean speech", "cross-clean", figures.by_corpus),
    ("corpora", "eGeMAPS", "egemaps", figures.by_corpus),
    ("corpora", "folds of speakers", "final", figures.by_corpus),
    ("stress", "as shipped", "cross", figures.stress),
    ("stress", "learned from clean speech", "cross-clean", figures.stress),
    ("words", "the bundle's lines, 4 classes", "words4", figures.words),
    ("words", "all of train, 7 classes", "words7", figures.words),
    ("in one corpus", "emodb", "emobox-emodb", figures.words),
    ("in one corpus", "ravdess", "emobox-ravdess", figures.words),
)


def measured(earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Gather the figures of the runs in this folder; earlier ones of those that are not there."""
    found: dict[str, Any] = {}
    for part, name, run, make in PARTS:
        told = earlier.get(part, {}).get(name)
        known = told if not Path(run).exists() and told is not None else make(Path(run))
        found.setdefault(part, {})[name] = known
    return {**found, "fairness": figures.fairness(Path("cross"))}


def shown(entry: list[float]) -> str:
    """Write an entry with its interval."""
    if len(entry) < 3:
        return f"{entry[0]:.1f}"
    return f"{entry[0]:.1f} ({entry[1]:.1f} to {entry[2]:.1f})"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Write a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def corpora(found: Mapping[str, Any]) -> str:
    """Write what is said of each corpus by each run."""
    rows = [
        (name, corpus, shown(entry))
        for name, parts in found["corpora"].items()
        for corpus, entry in parts.items()
    ]
    return table(("model", "judged", "UA (95 %)"), rows)


def stress(found: Mapping[str, Any]) -> str:
    """Write what each condition leaves."""
    ours, plain = found["stress"].values()
    rows = [
        (
            label,
            shown(one["mean of the three"]),
            shown(one[key]) if (key := "all judged together, less clean") in one else "",
            shown(plain[label]["mean of the three"]),
        )
        for label, one in ours.items()
    ]
    head = ("condition", "UA, mean of the three", "less clean, all together")
    return table((*head, "learned from clean speech"), rows)


def fairness(found: Mapping[str, Any]) -> str:
    """Write who is served worst and best."""
    rows = []
    for one in found["fairness"]:
        (worst, low), (best, high) = (next(iter(one[end].items())) for end in ("worst", "best"))
        said = f"{worst} {shown(low)}", f"{best} {shown(high)}"
        rows.append((one["by"], *said, shown(one["gap"]), shown(one["by chance"]), str(one["p"])))
    return table(("by", "worst", "best", "gap", "gap by chance", "p (Holm)"), rows)


def words(found: Mapping[str, Any]) -> str:
    """Write what words alone are worth."""
    rows = [(name, shown(one["UA"]), shown(one["WF1"])) for name, one in found["words"].items()]
    return table(("learned from", "UA", "WF1"), rows)


def main(folder: Path, earlier: Mapping[str, Any]) -> None:
    """Change the bundle."""
    config: dict[str, Any] = json.loads((folder / CONFIG_NAME).read_text("utf-8"))
    local = config["encoders"]["audio"]["spec"]["name"]
    config["encoders"]["audio"]["spec"]["name"] = PUBLIC
    config["trained_with_dropout"] = True
    found = measured(earlier)
    text = (Path(__file__).parent / "card.md").read_text("utf-8")
    for name, make in (
        ("CORPORA", corpora),
        ("STRESS", stress),
        ("FAIRNESS", fairness),
        ("WORDS", words),
    ):
        text = text.replace(f"<{name}>\n", make(found))
    card = (folder / "README.md").read_text("utf-8").replace(local, PUBLIC).replace(UNTRAINED, "")
    place = card.index("## What its probabilities mean")
    write_text(folder / "README.md", card[:place] + text + "\n" + card[place:])
    write_json(folder / "figures.json", found)
    write_json(folder / CONFIG_NAME, config)


if __name__ == "__main__":
    known = json.loads(Path(sys.argv[2]).read_text("utf-8")) if len(sys.argv) > 2 else {}
    main(Path(sys.argv[1]), known)
