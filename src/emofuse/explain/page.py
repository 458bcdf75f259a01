"""Files of an explanation: pictures, numbers, and pages that need nothing but themselves."""

from __future__ import annotations

import base64
import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emofuse.explain.draw import picture_files
from emofuse.explain.panel import Panel, Sheet
from emofuse.storage import read_json, write_bytes, write_json, write_text

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["INDEX", "SET_FOLDER", "slugs_of", "write_index", "write_panels", "write_utterance"]

INDEX = "index.html"
SET_FOLDER = "_set"
PANELS = "panels.json"


def slugs_of(names: Sequence[str]) -> dict[str, str]:
    """Give every id a folder name of its own, the same whatever else is explained.

    Plain ids keep their name; others are cut down and end in a hash.

    >>> slugs_of(["03a01Fa", "a/b"])
    {'03a01Fa': '03a01Fa', 'a/b': 'a-b-c14cddc0'}
    """
    import hashlib

    found = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_.=+-]+", "-", name).strip("-._")[:80]
        if plain != name:
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            plain = f"{plain or 'utterance'}-{digest}"
        found[name] = plain
    return found


def write_panels(folder: Path, panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """Write pictures (PNG, SVG), sheets (CSV) and ``panels.json``; give what the page shows.

    Raises:
        WorkError: the folder cannot be written.
    """
    shown = []
    for panel in panels:
        pictures = []
        for picture in panel.pictures:
            for suffix, data in picture_files(picture.figure).items():
                write_bytes(folder / f"{picture.name}.{suffix}", data)
            pictures.append({"file": f"{picture.name}.png", "caption": picture.caption})
        for sheet in panel.sheets:
            write_text(folder / f"{sheet.name}.csv", _csv(sheet))
        shown.append(_shown(panel, pictures))
    write_json(folder / PANELS, {"panels": shown})
    numbers = {panel.key: plain(panel.numbers) for panel in panels}
    write_json(folder / "numbers.json", numbers)
    return shown


def _shown(panel: Panel, pictures: list[dict[str, str]]) -> dict[str, Any]:
    most = max((abs(v) for _, v in panel.spans if v is not None), default=0.0)
    return {
        "key": panel.key,
        "title": panel.title,
        "about": panel.about,
        "refused": panel.refused,
        "pictures": pictures,
        "tables": [
            {
                "title": one.title,
                "columns": list(one.columns),
                "rows": [list(row) for row in one.rows],
                "numeric": one.numeric,
            }
            for one in panel.tables
        ],
        "files": [f"{one.name}.csv" for one in panel.sheets],
        "notes": list(panel.notes),
        "spans": [
            {
                "text": text,
                "value": value,
                "strength": 0 if value is None or not most else value / most,
            }
            for text, value in panel.spans
        ],
    }


def _csv(sheet: Sheet) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(sheet.columns)
    writer.writerows(sheet.rows)
    return stream.getvalue()


def plain(value: Any) -> Any:
    """Turn numbers of any kind into JSON's; what is no finite number becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, float):
        return number if math.isfinite(number) else None
    return number


def write_utterance(
    folder: Path, facts: Mapping[str, Any], panels: Sequence[Panel], audio: bytes | None
) -> None:
    """Write everything of one utterance.

    ``summary.json`` comes last: a reader that finds it finds all it names.

    Args:
        folder: of the utterance.
        facts: ``id``, ``gold``, ``predicted``, ``confidence``, ``title`` and what the template
            shows besides.
        panels: its explanations.
        audio: a WAV file to play, or None.
    """
    shown = write_panels(folder, panels)
    page = (
        _environment()
        .get_template("utterance.html.j2")
        .render(
            facts=facts,
            panels=_embedded(folder, shown),
            spans=next((one["spans"] for one in shown if one["spans"]), []),
            audio=None if audio is None else _uri(audio, "audio/wav"),
        )
    )
    write_text(folder / INDEX, page)
    images = [one for panel in shown for one in panel["pictures"]]
    keys = ("id", "gold", "predicted", "confidence", "title")
    notes = [*facts["notes"], *(note for panel in shown for note in panel["notes"])]
    write_json(
        folder / "summary.json",
        {key: facts[key] for key in keys} | {"images": images, "notes": notes},
    )


def write_index(folder: Path, title: str, notes: Sequence[str]) -> Path:
    """Write the page over everything that lies in a folder of explanations."""
    summaries = []
    for path in sorted(folder.glob("*/summary.json")):
        one = read_json(path)
        if isinstance(one, dict) and {"id", "gold", "predicted", "confidence"} <= set(one):
            summaries.append({**one, "slug": path.parent.name})
    summaries.sort(key=lambda one: (one["gold"] == one["predicted"], -one["confidence"]))
    stored = folder / SET_FOLDER / PANELS
    panels = read_json(stored)["panels"] if stored.is_file() else []
    page = (
        _environment()
        .get_template("index.html.j2")
        .render(
            title=title,
            notes=list(notes),
            summaries=summaries,
            panels=_embedded(folder / SET_FOLDER, panels),
            set_folder=SET_FOLDER,
        )
    )
    write_text(folder / INDEX, page)
    return folder / INDEX


def _embedded(folder: Path, shown: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Put the pictures of panels into the page itself."""
    return [
        {
            **panel,
            "pictures": [
                {**one, "uri": _uri((folder / one["file"]).read_bytes(), "image/png")}
                for one in panel["pictures"]
            ],
        }
        for panel in shown
    ]


def _uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64," + base64.b64encode(data).decode("ascii")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("emofuse.explain", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
