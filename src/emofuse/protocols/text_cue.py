"""Can the text carry the emotion at all? Ask a table of transcripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from emofuse.manifest import Utterance
from emofuse.options import Options
from emofuse.protocols.balance import class_counts, deal, spread
from emofuse.protocols.groups import Key, group_key, group_utterances
from emofuse.protocols.words import foretell

__all__ = ["TextCue", "Verdict", "measure_text_cue"]

Verdict = Literal["no text", "none (scripted)", "some", "gives the label away", "cannot tell"]

GIVES_AWAY = 0.25  # chance-corrected UA of the table over all utterances
GIVES_AWAY_SHARE = 0.2  # share of utterances whose sentence has one label only
SOME = 0.03  # chance-corrected UA of the table where it knows the sentence
STANDARD_ERRORS = 3.0
RECURS = 0.5  # share of utterances whose sentence the table knows, to call a corpus scripted
TELLING_TIMES, TELLING_PURITY = 5, 0.95


class TextCue(Options):
    """How well the majority label of a transcript foretells the emotion, cross-validated.

    Attributes:
        verdict: ``none (scripted)``: sentences recur under every emotion, the words tell nothing;
            ``some``: sentences or words help; ``gives the label away``: many sentences
            belong to one emotion; ``cannot tell``: sentences hardly recur and words do not
            help; ``no text``.
        note: the verdict in words, with its figures.
        utterances, sentences: how many have text, and how many different ones (by their words).
        folds: of the cross-validation.
        grouped_by: ``speaker`` where no speaker is on both sides, else ``none``.
        known: share of utterances whose sentence the table knew.
        accuracy, baseline: of the table (the commonest class where it does not know the sentence)
            and of the commonest class alone.
        ua, chance: unweighted average recall of the table, and one over the number of classes.
        ua_known: the same among utterances whose sentence the table knew.
        ua_words: unweighted average recall of naive Bayes over single words.
        several_labels: share of utterances whose sentence occurs under more than one label.
        one_label: share of utterances whose sentence occurs five times or more, 95 % under one
            label.
        telling: up to three such sentences with their label.
    """

    verdict: Verdict
    note: str
    utterances: int = 0
    sentences: int = 0
    folds: int = 0
    grouped_by: Literal["speaker", "none"] = "none"
    known: float = 0.0
    accuracy: float = 0.0
    baseline: float = 0.0
    ua: float = 0.0
    chance: float = 0.0
    ua_known: float = 0.0
    ua_words: float = 0.0
    several_labels: float = 0.0
    one_label: float = 0.0
    telling: tuple[str, ...] = ()


@dataclass
class _Tally:
    """Right and wrong answers of the table."""

    right: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, label: str, correct: bool) -> None:
        self.seen[label] += 1
        self.right[label] += correct

    @property
    def accuracy(self) -> float:
        return sum(self.right.values()) / max(sum(self.seen.values()), 1)

    def recalls(self) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
        seen = np.array([self.seen[name] for name in sorted(self.seen)], dtype=np.float64)
        right = np.array([self.right[name] for name in sorted(self.seen)], dtype=np.float64)
        return right / np.maximum(seen, 1.0), seen

    @property
    def ua(self) -> float:
        recalls, _ = self.recalls()
        return float(recalls.mean()) if recalls.size else 0.0

    def beats_chance(self) -> bool:
        """Whether UA is above chance by more than its noise and by a share that matters."""
        recalls, seen = self.recalls()
        if recalls.size < 2:
            return False
        chance = 1.0 / recalls.size
        error = float(np.sqrt((recalls * (1 - recalls) / seen).sum())) / recalls.size
        above = float(recalls.mean()) - chance
        return above > STANDARD_ERRORS * error and above / (1 - chance) > SOME


def measure_text_cue(utterances: Iterable[Utterance], seed: int = 0) -> TextCue:
    """Foretell each emotion by the majority label of the same words elsewhere.

    Five folds, grouped by speaker where every speaker is known and there are two or more.
    """
    listed = sorted(
        (u for u in utterances if u.emotion is not None and group_key(u, "text") is not None),
        key=lambda u: u.id,
    )
    classes = {u.emotion for u in listed}
    if len(listed) < 10 or len(classes) < 2:
        note = f"{len(listed):,} labelled utterances with text: nothing to measure"
        return TextCue(verdict="no text", note=note)
    folds, by_speaker = _fold_of(listed, seed)
    everything, known, baseline = _look_up(listed, folds)
    words = _words(listed, folds)
    table: dict[Key, Counter[str]] = {}
    for utterance in listed:
        table.setdefault(_text(utterance), Counter())[str(utterance.emotion)] += 1
    chance = 1.0 / len(classes)
    telling = _telling(table)
    figures = {
        "utterances": len(listed),
        "sentences": len(table),
        "folds": len(set(folds.values())),
        "grouped_by": "speaker" if by_speaker else "none",
        "known": sum(known.seen.values()) / len(listed),
        "accuracy": everything.accuracy,
        "baseline": baseline,
        "ua": everything.ua,
        "chance": chance,
        "ua_known": known.ua,
        "ua_words": words.ua,
        "several_labels": _share(table, [t for t, c in table.items() if len(c) > 1]),
        "one_label": _share(table, telling),
        "telling": tuple(f"{t[1][:80]} = {table[t].most_common(1)[0][0]}" for t in telling[:3]),
    }
    verdict = _verdict(figures, known.beats_chance(), words.beats_chance())
    return TextCue.model_validate({**figures, "verdict": verdict, "note": _note(verdict, figures)})


def _text(utterance: Utterance) -> Key:
    return group_key(utterance, "text") or ("", "")


def _fold_of(utterances: Sequence[Utterance], seed: int) -> tuple[dict[str, int], bool]:
    rng = np.random.default_rng(seed)
    if all(group_key(u, "speaker") is not None for u in utterances):
        groups = list(group_utterances(utterances, "speaker", "text cue").values())
        if len(groups) > 1:
            assigned = spread(class_counts(groups), min(5, len(groups)), rng)
            pairs = zip(groups, assigned, strict=True)
            return {u.id: int(fold) for group, fold in pairs for u in group}, True
    hands = deal(utterances, 5, rng)
    return {name: fold for fold, hand in enumerate(hands) for name in hand}, False


def _look_up(
    utterances: Sequence[Utterance], folds: Mapping[str, int]
) -> tuple[_Tally, _Tally, float]:
    """Answer every utterance from the other folds: all, those known, and the baseline's share."""
    total: dict[Key, Counter[str]] = {}
    inside: dict[tuple[int, Key], Counter[str]] = {}
    prior: Counter[str] = Counter()
    prior_inside: dict[int, Counter[str]] = {}
    for utterance in utterances:
        label, fold, text = str(utterance.emotion), folds[utterance.id], _text(utterance)
        total.setdefault(text, Counter())[label] += 1
        inside.setdefault((fold, text), Counter())[label] += 1
        prior[label] += 1
        prior_inside.setdefault(fold, Counter())[label] += 1
    everything, known, guessed = _Tally(), _Tally(), 0
    for utterance in utterances:
        label, fold, text = str(utterance.emotion), folds[utterance.id], _text(utterance)
        rest = prior - prior_inside[fold]
        common = _top(rest or prior, rest)
        answers = total[text] - inside[fold, text]
        answer = _top(answers, rest) if answers else common
        guessed += common == label
        everything.add(label, answer == label)
        if answers:
            known.add(label, answer == label)
    return everything, known, guessed / len(utterances)


def _words(utterances: Sequence[Utterance], folds: Mapping[str, int]) -> _Tally:
    names = sorted({str(u.emotion) for u in utterances})
    answers = foretell(
        [_text(u)[1] for u in utterances],
        [names.index(str(u.emotion)) for u in utterances],
        [folds[u.id] for u in utterances],
    )
    tally = _Tally()
    for utterance, answer in zip(utterances, answers, strict=True):
        tally.add(str(utterance.emotion), names[int(answer)] == utterance.emotion)
    return tally


def _top(counts: Counter[str], prior: Counter[str]) -> str:
    return max(sorted(counts), key=lambda name: (counts[name], prior[name]))


def _telling(table: Mapping[Key, Counter[str]]) -> list[Key]:
    found = [
        text
        for text, counts in table.items()
        if counts.total() >= TELLING_TIMES
        and max(counts.values()) >= TELLING_PURITY * counts.total()
    ]
    return sorted(found, key=lambda text: (-table[text].total(), text))


def _share(table: Mapping[Key, Counter[str]], texts: Iterable[Key]) -> float:
    total = sum(counts.total() for counts in table.values())
    return sum(table[text].total() for text in texts) / total


def _verdict(figures: Mapping[str, object], sentences: bool, words: bool) -> Verdict:
    ua, chance = float(str(figures["ua"])), float(str(figures["chance"]))
    if sentences:
        corrected = (ua - chance) / (1 - chance)
        clear = float(str(figures["one_label"])) >= GIVES_AWAY_SHARE
        return "gives the label away" if corrected >= GIVES_AWAY or clear else "some"
    if float(str(figures["known"])) >= RECURS:
        return "none (scripted)"
    return "some" if words else "cannot tell"


def _note(verdict: Verdict, figures: Mapping[str, object]) -> str:
    meaning = {
        "none (scripted)": "the words carry no emotion; a text-only score above chance is a leak",
        "some": "words foretell some of the emotion",
        "gives the label away": "sentences belong to one emotion each; cut by text "
        "(text-disjoint), or a model learns the script",
        "cannot tell": "sentences hardly recur, and single words foretell nothing",
        "no text": "nothing to measure",
    }[verdict]
    return (
        f"{meaning}: UA {figures['ua']:.1%} by the sentence, {figures['ua_words']:.1%} by its "
        f"words (chance {figures['chance']:.1%}); {figures['known']:.1%} of utterances have a "
        f"sentence met elsewhere, {figures['several_labels']:.1%} one under several emotions, "
        f"{figures['one_label']:.1%} one under a single emotion"
    )
