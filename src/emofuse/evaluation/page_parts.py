"""Parts of a run's page that rest on more than its scores."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emofuse.errors import WorkError
from emofuse.evaluation.listening import Recordings
from emofuse.evaluation.page_plots import class_curves_png, forest_png, reliability_png
from emofuse.evaluation.runs import RunFolder
from emofuse.evaluation.shown_errors import ShownError, choose_errors
from emofuse.evaluation.stress_plot import stress_png
from emofuse.evaluation.stress_table import read_stress, stress_table
from emofuse.evaluation.tables import p_value, percent
from emofuse.storage import read_json

__all__ = [
    "calibration_part",
    "curves_part",
    "errors_part",
    "fairness_part",
    "png_uri",
    "stress_part",
]

LARGEST_PICTURE = 400_000
LARGEST_PICTURES = 6_000_000
MOST_EXPLAINED = 24
Numbers = Mapping[str, Any]


def png_uri(png: bytes) -> str:
    """Give a picture as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def measured(value: Any, scale: float = 100.0, digits: int = 1) -> str:
    """Show a figure with its interval, as ``74.2 (70.1 to 78.0)``."""
    if not isinstance(value, Mapping) or value.get("value") is None:
        return "–"
    shown = f"{scale * value['value']:.{digits}f}"
    interval = value.get("interval") or {}
    low, high = interval.get("low"), interval.get("high")
    if low is None or high is None:
        return shown
    return f"{shown} ({scale * low:.{digits}f} to {scale * high:.{digits}f})"


def calibration_part(figures: Numbers) -> dict[str, Any]:
    """Reliability before and after calibration, sets and silences."""
    found = figures["calibration"]
    named = [("as the model gave them", found["raw"])]
    if isinstance(found.get("calibrated"), Mapping):
        named.append(("calibrated on dev", found["calibrated"]))
    rows = [
        (
            name,
            measured(one.get("calibration_error")),
            measured(one.get("brier"), 1.0, 3),
            measured(one.get("likelihood"), 1.0, 3),
        )
        for name, one in named
    ]
    facts = []
    sets, silence = found.get("sets"), found.get("silence")
    if isinstance(sets, Mapping):
        facts += [
            ("sets of emotions that hold the right one, %", measured(sets.get("coverage"))),
            ("emotions in a set", measured(sets.get("size"), 1.0, 2)),
        ]
    if isinstance(silence, Mapping):
        facts += [
            ("answered when the unsure are left out, %", measured(silence.get("answered"))),
            ("of these wrong, %", measured(silence.get("risk"))),
        ]
    pictures = [
        (name, png_uri(reliability_png(name, one["bins"])), row[1])
        for (name, one), row in zip(named, rows, strict=True)
    ]
    return {"rows": rows, "facts": facts, "pictures": pictures}


def curves_part(figures: Numbers) -> dict[str, Any]:
    """ROC and precision-recall of each class."""
    found = figures["discrimination"]
    classes = [one for one in found.get("classes", ()) if isinstance(one, Mapping)]
    mean = found.get("mean")
    listed = [*classes, *([mean] if isinstance(mean, Mapping) else [])]
    rows = [(str(o["name"]), measured(o.get("auc")), measured(o.get("ap"))) for o in listed]
    kinds = (("ROC", "roc"), ("Precision and recall", "precision_recall"))
    pictures = [(name, class_curves_png(classes, kind)) for name, kind in kinds]
    return {"rows": rows, "pictures": [(n, png_uri(p)) for n, p in pictures if p is not None]}


def fairness_part(figures: Numbers) -> list[dict[str, Any]]:
    """Groups of every attribute: a picture, and on what each figure rests."""
    found = figures.get("fairness")
    parts = []
    for attribute, one in (found if isinstance(found, Mapping) else {}).items():
        groups = [g for g in one.get("groups", ()) if isinstance(g, Mapping)]
        if len(groups) < 2:
            continue
        rows, drawn = [], []
        for group in groups:
            interval = group["intervals"]["ua"]
            low, high = interval["low"], interval["high"]
            ends = "none" if low is None or high is None else f"{percent(low)} to {percent(high)}"
            speakers = "unknown" if group["speakers"] is None else f"{group['speakers']:,}"
            value = group["metrics"]["ua"]
            small = "few" if group["small"] else ""
            rows.append(
                (group["name"], percent(value), ends, f"{group['utterances']:,}", speakers, small)
            )
            drawn.append((str(group["name"]), 100 * value, _scaled(low), _scaled(high)))
        drawn.sort(key=lambda row: row[1])
        parts.append(
            {
                "attribute": str(attribute),
                "rows": rows,
                "verdict": _verdict(one),
                "notes": [str(note) for note in one.get("notes", ())],
                "picture": png_uri(forest_png(drawn, "UA, %", 100 * figures_ua(figures))),
            }
        )
    return parts


def figures_ua(figures: Numbers) -> float:
    """UA of the whole run."""
    return float(figures["metrics"]["ua"]["mean"])


def _scaled(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _verdict(one: Numbers) -> str:
    """Worst and best group, the gap, and what chance alone would make of it."""
    if one.get("gap") is None:
        return ""
    said = (
        f"worst: {one['worst']}; best: {one['best']}; gap {percent(one['gap'])} points, where "
        f"{percent(one.get('gap_by_chance'))} are to be expected if groups do not differ"
    )
    p = one.get("p_holm")
    return said if p is None else f"{said} (p = {p_value(p)}, Holm)"


def stress_part(run: RunFolder, notes: list[str]) -> dict[str, Any] | None:
    """What `evaluate --stress` found; None where it was not run. Damage goes to ``notes``."""
    try:
        found = read_stress(run.path)
        if found is None:
            return None
        table = stress_table(found)
        picture = png_uri(stress_png(found))
    except (WorkError, KeyError, TypeError, ValueError, AttributeError) as error:
        notes.append(f"the figures of stress cannot be shown: {error}")
        return None
    worst = min(found["conditions"], key=lambda row: row["difference"])
    measured_notes = [
        f"{row['label']}: {row['note']}" for row in found["conditions"] if row["note"]
    ]
    return {
        "table": table,
        "picture": picture,
        "worst": f"{worst['label']}, {100 * worst['difference']:+.1f} points",
        "skipped": [f"{label}: {reason}" for label, reason in found.get("skipped", {}).items()],
        "notes": measured_notes,
    }


def errors_part(run: RunFolder, audio: bool) -> dict[str, Any]:
    """Mistakes with what is known of them: words, sound, explanations."""
    recordings = Recordings(run.recipe, audio)
    explained, images = _explanations(run.path), [0]
    shown = [
        _error(one, recordings, explained.pop(one.id, None), images)
        for one in choose_errors(run.predictions, run.classes)
    ]
    others = [
        {"title": str(note.get("title") or name), **_explanation(note, images)}
        for name, note in list(explained.items())[:MOST_EXPLAINED]
    ]
    return {
        "errors": shown,
        "explained": others,
        "refused": list(recordings.refused),
        "licences": [f"{name}: {text}" for name, text in recordings.licences.items()],
    }


def _error(
    one: ShownError, recordings: Recordings, note: Numbers | None, images: list[int]
) -> dict[str, Any]:
    utterance = recordings.find(one.id)
    return {
        "error": one,
        "text": None if utterance is None else utterance.text,
        "audio": None if utterance is None else recordings.uri(utterance),
        "bars": [(name, f"{100 * p:.1f}", round(100 * p, 1)) for name, p in one.probabilities[:4]],
        "weights": ", ".join(f"{name} {share:.0%}" for name, share in one.weights if share > 0),
        **({"images": [], "notes": []} if note is None else _explanation(note, images)),
    }


def _explanations(run: Path) -> dict[str, dict[str, Any]]:
    """Id -> what `emofuse explain` left of it; what cannot be read is passed over."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((run / "explanations").glob("*/summary.json")):
        try:
            note = read_json(path)
        except WorkError:
            continue
        if isinstance(note, dict) and isinstance(note.get("id"), str):
            found[note["id"]] = {**note, "folder": path.parent}
    return found


def _explanation(note: Numbers, images: list[int]) -> dict[str, Any]:
    """Pictures of an explanation as data URIs, up to a bounded size in all."""
    shown = []
    listed = note.get("images")
    for one in listed if isinstance(listed, list) else []:
        if not isinstance(one, dict):
            continue
        path = Path(note["folder"]) / Path(str(one.get("file", ""))).name
        data = _picture(path)
        if data is None or images[0] + len(data) > LARGEST_PICTURES:
            continue
        images[0] += len(data)
        shown.append((png_uri(data), str(one.get("caption") or path.stem)))
    notes = note.get("notes")
    return {"images": shown, "notes": [str(n) for n in notes] if isinstance(notes, list) else []}


def _picture(path: Path) -> bytes | None:
    try:
        if path.suffix != ".png" or path.stat().st_size > LARGEST_PICTURE:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    return data if data.startswith(b"\x89PNG") else None
