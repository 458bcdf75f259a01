"""What models have seen of the utterances that they are to be judged on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emofuse.encoders.build import describe_encoder, load_encoder
from emofuse.manifest import Manifest, Utterance
from emofuse.progress import Progress
from emofuse.protocols.overlap import MEASURES, Overlap, audio_keys, measure_overlap, text_keys
from emofuse.training.again.examine import OpenedRun
from emofuse.training.jobs import Job

__all__ = ["Seen", "what_was_seen"]

LEARNT, JUDGED = "learnt:", "judged:"


@dataclass(frozen=True)
class Seen:
    """What judged utterances share with those that the models learnt from.

    Attributes:
        protocol: what to call this way of judging.
        speaker_independent: ``no`` where a judged speaker was learnt from, ``unknown`` where a
            manifest does not name every speaker.
        stamp: one line, for every table that shows a score.
        overlaps: measure -> what is shared.
        warnings: what the reader of the score must know.
    """

    protocol: str
    speaker_independent: Literal["yes", "no", "unknown"]
    stamp: str
    overlaps: Mapping[str, Overlap]
    warnings: tuple[str, ...]

    def audit(self) -> dict[str, Any]:
        """Give what goes into ``audit.json``."""
        return {
            "protocol": self.protocol,
            "speaker_independent": self.speaker_independent,
            "stamp": self.stamp,
            "warnings": list(self.warnings),
            "overlaps": {name: one.model_dump(mode="json") for name, one in self.overlaps.items()},
        }


def what_was_seen(
    run: OpenedRun, jobs: Sequence[Job], judged: Manifest, progress: Progress
) -> Seen:
    """Compare judged utterances with all that the models learnt from or chose by.

    Args:
        run: whose models answer.
        jobs: the trainings that gave the models.
        judged: labelled.
        progress: told of ``compare audio``.
    """
    ids = {name for job in jobs for name in (*job.fold.train, *job.fold.dev)}
    learnt = run.data.manifest.filter(lambda u: u.id in ids)
    both = _joined(learnt, judged)
    keys: dict[str, Any] = dict(text_keys(both))
    heard = audio_keys(both, None, progress)
    keys |= {"audio": heard.exact, "near audio": heard.near}
    train = [name for name in both.ids if name.startswith(LEARNT)]
    test = [name for name in both.ids if name.startswith(JUDGED)]
    found = {name: measure_overlap(keys[name], train, (), test) for name in MEASURES}
    corpora = sorted({u.corpus for u in judged if u.corpus})
    protocol = f"trained on {run.data.note['corpora'] or ['?']}, judged on {corpora or ['?']}"
    protocol = protocol.replace("['", "").replace("']", "").replace("', '", "+")
    speakers = found["speaker"]
    independent: Literal["yes", "no", "unknown"] = "yes"
    if speakers.utterances:
        independent = "no"
    elif speakers.known < len(test) or any(u.speaker is None for u in learnt):
        independent = "unknown"
    warnings = _warnings(found, len(test), _contaminated(run, corpora))
    return Seen(protocol, independent, _stamp(independent, found, warnings), found, warnings)


def _joined(learnt: Manifest, judged: Manifest) -> Manifest:
    """Put two manifests side by side under their common root, told apart by their ids."""
    roots = [str(one.root.resolve()) for one in (learnt, judged)]
    common = Path(os.path.commonpath(roots))

    def moved(utterance: Utterance, root: str, mark: str) -> Utterance:
        update: dict[str, Any] = {"id": mark + utterance.id}
        for kind in ("audio", "video"):
            path = getattr(utterance, kind)
            if path is not None:
                update[kind] = (Path(root).relative_to(common) / path).as_posix()
        return utterance.model_copy(update=update)

    pairs = ((learnt, roots[0], LEARNT), (judged, roots[1], JUDGED))
    return Manifest((moved(u, root, mark) for one, root, mark in pairs for u in one), common)


def _warnings(
    found: Mapping[str, Overlap], judged: int, contaminated: Sequence[str]
) -> tuple[str, ...]:
    lines = list(contaminated)
    copies, speakers, texts = (found[name] for name in ("near audio", "speaker", "text"))
    if copies.utterances:
        lines.append(
            f"{copies.utterances:,} of {judged:,} utterances are copies of recordings that the "
            "models learnt from: their score is no test"
        )
    if speakers.utterances:
        lines.append(
            f"{speakers.shared} of {speakers.values} speakers were learnt from; they speak "
            f"{speakers.utterances:,} of {judged:,} utterances"
        )
    if texts.utterances:
        lines.append(
            f"{texts.utterances:,} of {judged:,} utterances share their text with training"
        )
    return tuple(lines)


def _contaminated(run: OpenedRun, corpora: Sequence[str]) -> list[str]:
    """Say which encoder saw a judged corpus with labels."""
    judged = {name.lower() for name in corpora}
    lines = []
    for modality, spec in run.recipe.encoders.items():
        described = run.data.table.encoders.get(modality, {})
        if not described:
            described = describe_encoder(load_encoder(modality, spec))
        provenance = described.get("provenance")
        labelled = provenance.get("labelled_on", ()) if isinstance(provenance, Mapping) else ()
        hit = sorted({str(name).lower() for name in labelled} & judged)
        if hit:
            lines.append(f"CONTAMINATED: the {modality} encoder saw {', '.join(hit)} with labels")
    return lines


def _stamp(independent: str, found: Mapping[str, Overlap], warnings: Sequence[str]) -> str:
    speakers = found["speaker"]
    parts = {
        "yes": "speaker-independent: yes",
        "no": f"SPEAKER-DEPENDENT ({speakers.shared} of {speakers.values} speakers in train)",
        "unknown": "speaker-independent: unknown (not every speaker is named)",
    }
    said = [parts[independent]]
    if found["near audio"].utterances:
        said.append(
            f"{found['near audio'].utterances:,} test utterances are copies of training audio"
        )
    said += [line for line in warnings if line.startswith("CONTAMINATED")]
    return " · ".join(said)
