"""``emofuse explain``: what does the model look at?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emofuse.cli.console import emit_json, print_table, progress_bar, say

if TYPE_CHECKING:
    from emofuse.explain.explained import Explained

EXAMPLE = (
    "Example: emofuse explain runs/emodb 03a01Fa --errors 3. Every utterance is explained by the "
    "model of the fold in which it was test. Without ids the test set is explained as a whole."
)


Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Utterances that were test.")
]
Errors = Annotated[
    int, typer.Option(min=0, max=1000, help="The N most and the N least certain mistakes.")
]
Whole = Annotated[bool | None, typer.Option("--set/--no-set", help="The test set as a whole, too.")]
Steps = Annotated[int, typer.Option(help="Steps at first; doubled while the gap is open.")]
Score = Annotated[str, typer.Option(help="What is attributed: logit or probability.")]
Baseline = Annotated[str, typer.Option(help="Integrated gradients start from: mean or zeros.")]
Tolerance = Annotated[float, typer.Option(help="Largest completeness gap, as a share.")]
Window = Annotated[float, typer.Option(help="Sliding window of a trajectory, seconds.")]
Draws = Annotated[int, typer.Option(help="Networks of other weights that a map is compared with.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Where to; RUN/explanations unless told.")
]
Only = Annotated[
    str,
    typer.Option(
        help="Some explanations alone: grad-cam,attention,frames,words,modalities,gates,"
        "trajectory,embeddings,correlation."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("explain", epilog=EXAMPLE)(explain)


def explain(  # noqa: PLR0917 (options of a command line)
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a finished run.")],
    ids: Ids = None,
    errors: Errors = 0,
    whole: Whole = None,
    out: Output = None,
    seed: Annotated[int | None, typer.Option(help="Which seed of the run.")] = None,
    fold: Annotated[str | None, typer.Option(help="Which fold of the run.")] = None,
    target: Annotated[str | None, typer.Option(help="Class to explain; the answer.")] = None,
    score: Score = "logit",
    layer: Annotated[str | None, typer.Option(help="Layer of Grad-CAM; the last.")] = None,
    baseline: Baseline = "mean",
    steps: Steps = 32,
    most_steps: Annotated[int, typer.Option(help="Where doubling ends.")] = 512,
    tolerance: Tolerance = 0.01,
    window: Window = 1.0,
    hop: Annotated[float, typer.Option(help="From window to window, seconds.")] = 0.25,
    projection: Annotated[str, typer.Option(help="auto, umap or tsne.")] = "auto",
    draws: Draws = 4,
    only: Only = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, full precision.")] = False,
) -> None:
    """Show what a model looks at: pages, pictures and numbers.

    Grad-CAM, attention maps, integrated gradients with their completeness gap, words, Shapley
    values of modalities, gates and memberships, trajectories; for a test set also embeddings and
    how audio and text go together. What does not apply is said with the reason.
    """
    from emofuse.explain.explained import explain as work
    from emofuse.explain.options import ExplainOptions

    options = ExplainOptions.parse(
        {
            "seed": seed,
            "fold": fold,
            "target": target,
            "score": score,
            "layer": layer,
            "baseline": baseline,
            "steps": steps,
            "most_steps": most_steps,
            "tolerance": tolerance,
            "window": window,
            "hop": hop,
            "projection": projection,
            "draws": draws,
            "only": [name.strip() for name in only.split(",") if name.strip()],
        },
        "explain",
    )
    with progress_bar() as progress:
        found = work(
            run, ids or [], options, errors=errors, whole=whole, out=out, progress=progress
        )
    if as_json:
        _print_json(found)
    else:
        _print(found)
    say(f"wrote {found.index}")


def _print_json(found: Explained) -> None:
    from emofuse.explain.page import plain

    emit_json(
        plain(
            {
                "index": str(found.index),
                "test_openings": found.openings,
                "utterances": list(found.utterances),
                "set": found.whole,
            }
        )
    )


def _print(found: Explained) -> None:
    if found.utterances:
        rows = [
            (
                one["id"],
                one["predicted"],
                f"{100 * one['confidence']:.1f}",
                one["gold"],
                _gap(one["numbers"]),
                one["page"],
            )
            for one in found.utterances
        ]
        heads = ("utterance", "answer", "certainty %", "gold", "completeness gap", "page")
        print_table("explained", heads, rows, numeric=6)
    for key, numbers in (found.whole or {}).items():
        reason = numbers.get("not_applicable") if isinstance(numbers, dict) else None
        say(f"{key}: does not apply: {reason}" if reason else f"{key}: done")
    refused: dict[tuple[str, str], list[str]] = {}
    for one in found.utterances:
        for key, numbers in one["numbers"].items():
            if "not_applicable" in numbers:
                refused.setdefault((key, numbers["not_applicable"]), []).append(one["id"])
    for (key, reason), names in refused.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(f"{names[0]}{more}: {key} does not apply: {reason}")


def _gap(numbers: Mapping[str, Any]) -> str:
    """Write the completeness gap of the integrated gradients."""
    frames = numbers.get("frames", {})
    if "gap_share" not in frames:
        return "–"
    line = f"{100 * frames['gap_share']:.2f} % in {frames['steps']} steps"
    return line if frames["closed"] else f"{line}, open"
