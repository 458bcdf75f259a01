"""``emofuse import``: features that others extracted."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from emofuse.cli import import_options as options
from emofuse.cli.console import emit_json, print_table, progress_bar, say
from emofuse.errors import FeatureError, OptionError, nearest_hint, shorten

if TYPE_CHECKING:
    from emofuse.features.import_sources import ImportSource
    from emofuse.features.imports import ImportReport
    from emofuse.manifest import Modality, Utterance

EXAMPLE = (
    "Example: emofuse import dev.csv --features audio=audio.npy --features text=text.npy "
    "--name meld -o meld.jsonl   |   emofuse import IEMOCAP_BERT_HUBERT_train.pkl --name iemocap "
    "--classes anger,happiness,neutral,sadness -o train.jsonl   |   emofuse import faces.csv "
    "--columns 'video=*_mean,*_std' --column id=file --join ravdess.jsonl --match '0.-([0-9-]+)' "
    "--name faces -o both.jsonl"
)
PICKLES = (".pkl", ".pickle", ".p")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("import", epilog=EXAMPLE)(import_)


def import_(
    source: options.Source,
    *,
    output: options.Output,
    name: options.Name,
    features: options.Features = None,
    columns: options.Columns = None,
    column: options.Column = None,
    join: options.Join = None,
    match: options.Match = None,
    classes: options.Classes = "",
    corpus: options.Corpus = None,
    split: options.Split = None,
    labelled_on: options.LabelledOn = None,
    licence: options.Licence = "unknown",
    store: options.Store = None,
    replace: options.Replace = False,
    strict: options.Strict = False,
    as_json: options.AsJson = False,
) -> None:
    """Import vectors into the feature store and write a manifest that names them.

    Pickles are read without executing them; labels become names; NaN, dead columns, wrong
    sizes and wrong row counts are found and reported.
    """
    from emofuse.features.imports import store_import
    from emofuse.features.store import DEFAULT_STORE, FeatureStore

    read = _read(source, features or [], columns or [], column or [])
    root, owners = source.resolve().parent, None
    if join is not None:
        read, owners, root = _join(read, join, match, (corpus, split, classes))
    elif match is not None:
        raise OptionError("--match belongs to --join MANIFEST")
    seen = [part.strip() for part in labelled_on or [] if part.strip()]
    provenance = {"licence": licence, "labelled_on": seen, "known": bool(seen)}
    with progress_bar() as progress:
        report = store_import(
            read,
            FeatureStore(store or DEFAULT_STORE),
            name,
            corpus=corpus,
            classes=[part.strip() for part in classes.split(",") if part.strip()],
            split=split,
            root=root,
            owners=owners,
            provenance=provenance,
            replace=replace,
            strict=strict,
            progress=progress,
        )
    report.manifest.save(output)
    _show(report, output, as_json)


def _join(
    read: ImportSource, join: Path, match: str | None, told: tuple[str | None, str | None, str]
) -> tuple[ImportSource, list[Utterance], Path]:
    from emofuse.features.import_columns import join_rows
    from emofuse.manifest import Manifest

    if any(told):
        raise OptionError("--corpus, --split and --classes come from the manifest of --join")
    manifest = Manifest.load(join)
    return *join_rows(read, manifest, match), manifest.root.resolve()


def _read(source: Path, features: list[str], columns: list[str], column: list[str]) -> ImportSource:
    from emofuse.features.import_columns import read_columns
    from emofuse.features.import_sources import read_pickled, read_rows

    if source.suffix.lower() in PICKLES:
        if features or column or columns:
            raise OptionError(
                "--features, --columns and --column belong to a table, not to a pickle"
            )
        return read_pickled(source)
    arrays = {modality: Path(path) for modality, path in _by_modality(features, "--features")}
    patterns = {m: given.split(",") for m, given in _by_modality(columns, "--columns")}
    if bool(arrays) == bool(patterns):
        raise OptionError(
            "a table needs either --features MODALITY=FILE.npy or --columns MODALITY=PATTERN; "
            "a pickle ends in " + ", ".join(PICKLES)
        )
    rows, fields = _read_table(source), dict(_pairs(column, "--column"))
    return read_rows(rows, arrays, fields) if arrays else read_columns(rows, patterns, fields)


def _by_modality(texts: list[str], option: str) -> list[tuple[Modality, str]]:
    from emofuse.features.import_sources import PICKLED

    given = _pairs(texts, option)
    for key, _ in given:
        if key not in PICKLED:
            raise OptionError(f"{option} {key!r} is no modality; {nearest_hint(key, PICKLED)}")
    return [(modality, value) for modality in PICKLED for key, value in given if key == modality]


def _pairs(texts: Iterable[str], option: str) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise OptionError(f"{option} {shorten(text)} is not of the form KEY=VALUE")
        pairs.append((key, value))
    return pairs


def _read_table(path: Path) -> list[dict[str, str]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            header = next(reader, [])
            rows = []
            for cells in reader:
                if len(cells) != len(header):
                    raise FeatureError(
                        f"{path}:{reader.line_num}: {len(cells)} cells where the header has "
                        f"{len(header)}"
                    )
                rows.append(dict(zip(header, cells, strict=True)))
    except OSError as error:
        raise FeatureError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FeatureError(f"{path} is not UTF-8 text: {error.reason}") from error
    except csv.Error as error:
        raise FeatureError(f"{path} is no table: {error}") from error
    if not rows or len(set(header)) < len(header):
        raise FeatureError(f"{path} has no rows, or two columns of one name")
    return rows


def _show(report: ImportReport, output: Path, as_json: bool) -> None:
    counts: dict[str, int] = {}
    for utterance in report.manifest:
        label = utterance.emotion or "(none)"
        counts[label] = counts.get(label, 0) + 1
    data: dict[str, Any] = {
        "manifest": str(output),
        "utterances": len(report.manifest),
        "stored": report.stored,
        "dims": dict(report.dims),
        "classes": counts,
        "findings": list(report.findings),
    }
    if as_json:
        emit_json(data)
        return
    print_table("", ("class", "utterances"), sorted(counts.items()))
    for finding in report.findings:
        say(f"note: {finding}")
    sizes = ", ".join(f"{modality} {dim}" for modality, dim in report.dims.items())
    say(f"{len(report.manifest):,} utterances ({sizes}), {report.stored:,} new vectors; {output}")
