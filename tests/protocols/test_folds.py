"""What every protocol promises, on a fixed corpus and on random ones."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emofuse.errors import OptionError, ProtocolError
from emofuse.manifest import Manifest, Utterance
from emofuse.protocols.audit import audit
from emofuse.protocols.build import load_protocol, make_folds
from emofuse.protocols.contract import Fold
from emofuse.protocols.groups import group_key

KFOLDS: list[dict[str, Any]] = [
    {"name": "leave-one-session-out"},
    {"name": "leave-one-speaker-out"},
    {"name": "group-kfold", "by": "speaker", "k": 3},
    {"name": "group-kfold", "by": "dialogue", "k": 4},
    {"name": "group-kfold", "by": "session", "k": 3},
    {"name": "group-kfold", "by": "text", "k": 2},
    {"name": "text-disjoint", "k": 5},
    {"name": "random", "k": 5},
    {"name": "legacy-foal-net"},
]
SINGLES: list[dict[str, Any]] = [
    {"name": "random", "share": 0.3},
    {"name": "legacy-copenhagen"},
    {"name": "legacy-4m-ser"},
    {"name": "legacy-fleser"},
    {"name": "legacy-vga-fusion"},
]


def promised(spec: dict[str, Any]) -> set[str]:
    protocol = load_protocol(spec)
    return {"speaker", "session", "dialogue", "text"} - set(protocol.declared)


def values(manifest: Manifest, ids: tuple[str, ...], by: Any) -> set[object]:
    return {group_key(manifest[one], by) for one in ids}


@pytest.mark.parametrize("spec", KFOLDS, ids=str)
def test_test_parts_partition_the_corpus(spec: dict[str, Any], make: Any) -> None:
    manifest = make()
    _, folds = make_folds(manifest, spec)
    tested = [one for fold in folds for one in fold.test]
    assert sorted(tested) == sorted(manifest.ids)
    for fold in folds:
        assert {*fold.train, *fold.dev, *fold.test} == set(manifest.ids)


@pytest.mark.parametrize("spec", KFOLDS + SINGLES, ids=str)
def test_order_of_the_manifest_does_not_matter(spec: dict[str, Any], make: Any) -> None:
    manifest = make()
    shuffled = list(manifest)
    random.Random(1).shuffle(shuffled)
    _, folds = make_folds(manifest, spec)
    _, others = make_folds(Manifest(shuffled, manifest.root), spec)
    assert folds == others


@pytest.mark.parametrize("spec", KFOLDS + SINGLES, ids=str)
def test_a_seed_is_a_split(spec: dict[str, Any], make: Any) -> None:
    manifest = make()
    first = make_folds(manifest, {**spec, "seed": 3})[1]
    again = make_folds(manifest, {**spec, "seed": 3})[1]
    other = make_folds(manifest, {**spec, "seed": 4})[1]
    assert first == again
    assert first != other


@pytest.mark.parametrize("spec", KFOLDS, ids=str)
def test_what_is_promised_is_not_shared(spec: dict[str, Any], make: Any) -> None:
    manifest = make()
    _, folds = make_folds(manifest, spec)
    for fold in folds:
        learnt = (*fold.train, *fold.dev)
        for by in promised(spec):
            assert not values(manifest, learnt, by) & values(manifest, fold.test, by)


@pytest.mark.parametrize("spec", [s for s in KFOLDS if s["name"] != "random"], ids=str)
def test_dev_is_cut_by_speaker(spec: dict[str, Any], make: Any) -> None:
    manifest = make()
    _, folds = make_folds(manifest, spec)
    for fold in folds:
        assert fold.dev_by == "speaker"
        assert fold.dev
        train = values(manifest, fold.train, "speaker")
        assert train
        assert not train & values(manifest, fold.dev, "speaker")


@st.composite
def corpora(draw: st.DrawFn) -> Manifest:
    size = draw(st.integers(2, 40))
    few = st.integers(0, draw(st.integers(1, 8)))
    return Manifest(
        (
            Utterance(
                id=f"u{number}",
                corpus=draw(st.sampled_from(["a", "b"])),
                text=f"text {draw(few)}",
                emotion=draw(st.sampled_from(["anger", "neutral", "sadness"])),
                speaker=draw(st.sampled_from([None, "x"])) or f"s{draw(few)}",
                session=f"{draw(few)}",
                dialogue=f"d{draw(few)}",
                split=draw(st.sampled_from([None, "train", "dev", "test"])),
            )
            for number in range(size)
        ),
        Path(),
    )


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    manifest=corpora(),
    spec=st.sampled_from(
        [*KFOLDS, *SINGLES, {"name": "leave-one-corpus-out"}, {"name": "official"}]
    ),
    dev=st.sampled_from([0.0, 0.15, 0.9]),
    by=st.sampled_from(["auto", "speaker", "dialogue", "text", "none"]),
)
def test_any_corpus_is_cut_soundly_or_refused(
    manifest: Manifest, spec: dict[str, Any], dev: float, by: str
) -> None:
    try:
        protocol, folds = make_folds(manifest, {**spec, "dev": dev, "dev_by": by})
    except ProtocolError:
        return
    for fold in folds:
        parts = [set(fold.train), set(fold.dev), set(fold.test)]
        assert sum(map(len, parts)) == len(set.union(*parts))
        assert parts[0]
        assert parts[2]
        if fold.dev_by in ("speaker", "session", "dialogue", "text"):
            assert not values(manifest, fold.train, fold.dev_by) & values(
                manifest, fold.dev, fold.dev_by
            )
    result = audit(manifest, protocol, folds, audio=False)
    gap = {"speaker", "session", "dialogue", "text"} - set(protocol.declared)
    by_group = {"speaker", "session", "dialogue", "text"} & {
        str(spec.get("by")),
        *({"text"} if spec["name"] == "text-disjoint" else ()),
        *({"session"} if spec["name"] in ("leave-one-session-out", "legacy-foal-net") else ()),
        *({"speaker"} if spec["name"] == "leave-one-speaker-out" else ()),
    }
    for fold in result.folds:
        assert all(not fold.test[aspect].utterances for aspect in by_group)
    assert {v.aspect for v in result.violations} <= gap
    json.dumps(result.model_dump(mode="json"), allow_nan=False)


def test_group_folds_are_balanced_like_scikit_learn(iemocap: Manifest) -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    utterances = sorted(iemocap, key=lambda u: u.id)
    labels = [u.emotion for u in utterances]
    groups = [u.dialogue for u in utterances]

    def imbalance(tests: list[list[str | None]]) -> float:
        names = sorted(set(labels))
        shares = np.array([[test.count(n) / labels.count(n) for n in names] for test in tests])
        return float(np.abs(shares - 1 / len(tests)).max())

    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    reference = [
        [labels[i] for i in test] for _, test in splitter.split(utterances, labels, groups)
    ]
    _, folds = make_folds(iemocap, {"name": "group-kfold", "by": "dialogue", "k": 5})
    ours = [[iemocap[one].emotion for one in fold.test] for fold in folds]
    assert imbalance(ours) <= max(imbalance(reference), 0.02)


def test_random_is_stratified(make: Any) -> None:
    manifest = make(speakers=5, sentences=5)  # 25 of each class
    _, folds = make_folds(manifest, {"name": "random", "k": 5})
    for fold in folds:
        counts = [
            sum(manifest[one].emotion == e for one in fold.test) for e in ("anger", "sadness")
        ]
        assert counts == [5, 5]
    _, (single,) = make_folds(manifest, {"name": "random", "share": 0.2})
    assert len(single.test) == 20


def test_speakers_of_two_corpora_are_two_speakers(make: Any) -> None:
    both = Manifest([*make(2, corpus="a", prefix="a"), *make(2, corpus="b", prefix="b")], Path())
    _, folds = make_folds(both, {"name": "leave-one-speaker-out"})
    assert [fold.name for fold in folds] == [
        "speaker a/s00",
        "speaker a/s01",
        "speaker b/s00",
        "speaker b/s01",
    ]
    protocol, folds = make_folds(both, {"name": "leave-one-corpus-out"})
    assert [fold.name for fold in folds] == ["corpus a", "corpus b"]
    result = audit(both, protocol, folds)
    assert result.speaker_independent == "yes"
    assert not result.violations


def test_sessions_come_in_natural_order() -> None:
    manifest = Manifest(
        (
            Utterance(id=f"{s}-{e}", text="x", emotion=e, session=str(s), speaker=f"s{s}")
            for s in range(1, 12)
            for e in ("anger", "neutral")
        ),
        Path(),
    )
    _, folds = make_folds(manifest, {"name": "leave-one-session-out"})
    assert [fold.name for fold in folds][:2] == ["session 1", "session 2"]
    assert folds[-1].name == "session 11"


def test_utterances_without_emotion_stay_out_and_are_counted(make: Any) -> None:
    manifest = Manifest([*make(3), Utterance(id="new", text="hm", speaker="s99")], Path())
    protocol, folds = make_folds(manifest, {"name": "leave-one-speaker-out"})
    assert all("new" not in (*f.train, *f.dev, *f.test) for f in folds)
    result = audit(manifest, protocol, folds)
    assert result.unlabelled == 1
    assert any("1 of 61 utterances have no emotion" in warning for warning in result.warnings)


def test_official_takes_the_corpus_split(make: Any) -> None:
    split = {"s00": "train", "s01": "train", "s02": "dev", "s03": "test"}
    manifest = Manifest(
        (u.model_copy(update={"split": split.get(u.speaker or "")}) for u in make(5)), Path()
    )
    protocol, (fold,) = make_folds(manifest, {"name": "official"})
    assert (len(fold.train), len(fold.dev), len(fold.test)) == (40, 20, 20)
    assert fold.dev_by == "given"
    assert audit(manifest, protocol, [fold]).folds[0].sizes["unused"] == 20
    without = manifest.filter(lambda u: u.split != "dev")
    _, (fold,) = make_folds(without, {"name": "official"})
    assert (len(fold.train), len(fold.dev), fold.dev_by) == (20, 20, "speaker")
    with pytest.raises(ProtocolError, match="split train and with split test"):
        make_folds(make(), {"name": "official"})


def test_dev_falls_back_visibly(make: Any) -> None:
    manifest = make(speakers=2)
    protocol, folds = make_folds(manifest, {"name": "leave-one-speaker-out", "dev_by": "speaker"})
    assert {fold.dev_by for fold in folds} == {"dialogue"}  # one speaker, one session are left
    result = audit(manifest, protocol, folds)
    assert any("dev is cut by dialogue, not by speaker" in one for one in result.warnings)
    assert any("dev shares speakers with train" in one for one in result.warnings)
    _, folds = make_folds(manifest, {"name": "leave-one-speaker-out", "dev": 0})
    assert all(fold.dev == () and fold.dev_by == "" for fold in folds)


def test_dev_covers_every_class(iemocap: Manifest) -> None:
    _, folds = make_folds(iemocap, {"name": "leave-one-session-out"})
    for fold in folds:
        assert {iemocap[one].emotion for one in fold.dev} == {u.emotion for u in iemocap}
        share = len(fold.dev) / (len(fold.dev) + len(fold.train))
        assert 0.08 < share < 0.22


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "leave-one-speker-out"}, "did you mean 'leave-one-speaker-out'"),
        ({"name": "random", "kk": 3}, "unknown key 'kk'; did you mean 'k'"),
        ({"name": "random", "k": 1}, "k = 1"),
        ({"name": "random", "share": 1.0}, "share"),
        ({"name": "group-kfold", "by": "mood"}, "by = 'mood'"),
        ({"name": "random", "allow": ["speakers"]}, "allow"),
        ({"name": "random", "dev": 1.0}, "dev"),
        ({}, "expected a name"),
        ({"name": 3}, "expected a name"),
        ({"name": "given"}, "key 'path' is missing"),
    ],
)
def test_wrong_specifications(spec: dict[str, Any], message: str, make: Any) -> None:
    with pytest.raises(OptionError, match=message):
        make_folds(make(), spec)


def test_manifests_that_cannot_be_cut(make: Any) -> None:
    manifest = make(speakers=1)
    with pytest.raises(ProtocolError, match="needs two or more speaker groups"):
        make_folds(manifest, {"name": "leave-one-speaker-out"})
    with pytest.raises(ProtocolError, match=r"5 text groups cannot make k=6 .* legal k: 2 to 5"):
        make_folds(manifest, {"name": "text-disjoint", "k": 6})
    with pytest.raises(ProtocolError, match="all utterances share one speaker"):
        make_folds(manifest, {"name": "group-kfold"})
    nobody = Manifest((u.model_copy(update={"speaker": None}) for u in make()), Path())
    with pytest.raises(ProtocolError, match="120 of 120 utterances have no speaker"):
        make_folds(nobody, {"name": "leave-one-speaker-out"})
    with pytest.raises(ProtocolError, match="dev_by=speaker: .* have no speaker"):
        make_folds(nobody, {"name": "random", "dev_by": "speaker"})
    unlabelled = Manifest((u.model_copy(update={"emotion": None}) for u in make()), Path())
    with pytest.raises(ProtocolError, match="0 of 120 utterances have an emotion"):
        make_folds(unlabelled, {"name": "random"})
    with pytest.raises(ProtocolError, match="is in two of"):
        Fold("x", ("a",), ("a",), ("b",))


# ---------------------------------------------------------------- given lists


def write(folder: Path, value: object) -> str:
    path = folder / "folds.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return str(path)


def test_given_reads_test_lists_by_stem(tmp_path: Path, make: Any) -> None:
    manifest = Manifest(
        (u.model_copy(update={"audio": f"wav/{u.id}.wav", "id": f"x/{u.id}"}) for u in make(3)),
        tmp_path,
    )
    test = [u.id.removeprefix("x/") for u in manifest if u.speaker == "s00"]
    path = write(tmp_path, {"corpus": "toy", "folds": [{"fold": 1, "test": test}]})
    protocol, (fold,) = make_folds(manifest, {"name": "given", "path": path})
    assert fold.name == "fold 1"
    assert {manifest[one].speaker for one in fold.test} == {"s00"}
    assert fold.dev_by == "speaker"
    assert audit(manifest, protocol, [fold]).speaker_independent == "yes"


def test_given_takes_back_what_was_made(tmp_path: Path, make: Any) -> None:
    manifest = make()
    _, folds = make_folds(manifest, {"name": "leave-one-speaker-out"})
    listed = [
        {"name": f.name, "train": f.train, "dev": f.dev, "test": f.test, "hash": "..."}
        for f in folds
    ]
    path = write(tmp_path, {"folds": listed})
    _, again = make_folds(manifest, {"name": "given", "path": path})
    assert [(f.name, f.train, f.dev, f.test) for f in again] == [
        (f.name, f.train, f.dev, f.test) for f in folds
    ]


def test_given_allows_nothing_by_itself(tmp_path: Path, make: Any) -> None:
    manifest = make()
    path = write(tmp_path, {"folds": [{"test": list(manifest.ids[::7])}]})
    protocol, folds = make_folds(manifest, {"name": "given", "path": path})
    result = audit(manifest, protocol, folds)
    assert {v.aspect for v in result.violations} == {"speaker", "session", "dialogue"}
    with pytest.raises(ProtocolError, match=r"allow=\[speaker, session, dialogue\]"):
        result.enforce()
    allow = ["speaker", "session", "dialogue"]
    protocol, folds = make_folds(manifest, {"name": "given", "path": path, "allow": allow})
    result = audit(manifest, protocol, folds)
    result.enforce()
    assert "allowed by the user: dialogue, session, speaker" in result.stamp


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "lists no folds"),
        ([], "lists no folds"),
        ({"folds": []}, "lists no folds"),
        ({"folds": [3]}, 'expected an object with "test"'),
        ({"folds": [{"train": []}]}, 'expected an object with "test"'),
        ({"folds": [{"test": "abc"}]}, "test must be a list of ids"),
        ({"folds": [{"test": [1]}]}, "test must be a list of ids"),
        ({"folds": [{"test": []}]}, "no listed test id"),
        ({"folds": [{"test": ["nobody", "00-anger-0"]}]}, "lists 1 ids .* missing=skip"),
        (
            {"folds": [{"test": ["00-anger-0"], "train": ["00-anger-0", "00-anger-1"]}]},
            "is in train and in test",
        ),
        ({"folds": [{"test": ["00-anger-0"]}, {"test": ["00-anger-1"], "fold": 1}]}, "named"),
    ],
)
def test_wrong_lists(value: object, message: str, tmp_path: Path, make: Any) -> None:
    with pytest.raises(ProtocolError, match=message):
        make_folds(make(), {"name": "given", "path": write(tmp_path, value)})


def test_given_skips_on_demand_and_refuses_doubtful_stems(tmp_path: Path, make: Any) -> None:
    path = write(tmp_path, {"folds": [{"test": ["nobody", "00-anger-0"]}]})
    _, (fold,) = make_folds(make(), {"name": "given", "path": path, "missing": "skip"})
    assert fold.test == ("00-anger-0",)
    twins = Manifest(
        (
            Utterance(id=f"{i}", audio=f"{i}/take.wav", emotion="anger", speaker=str(i))
            for i in range(3)
        ),
        tmp_path,
    )
    path = write(tmp_path, {"folds": [{"test": ["take"]}]})
    with pytest.raises(ProtocolError, match="file stem of 3 utterances"):
        make_folds(twins, {"name": "given", "path": path})


# ---------------------------------------------------------------- the papers' splits


def sizes(fold: Fold) -> tuple[int, int, int]:
    return len(fold.train), len(fold.dev), len(fold.test)


def test_4m_ser_sizes(iemocap: Manifest) -> None:
    _, (fold,) = make_folds(iemocap, {"name": "legacy-4m-ser"})
    assert sizes(fold) == (4479, 498, 554)
    esd = Manifest(
        (
            Utterance(id=f"{n:05d}", corpus="esd", text="x", emotion=e, speaker=str(n % 10))
            for e, start in (("anger", 0), ("happiness", 1), ("neutral", 2), ("sadness", 3))
            for n in range(start * 3500, start * 3500 + 3500)
        ),
        Path(),
    )
    _, (fold,) = make_folds(esd, {"name": "legacy-4m-ser"})
    assert sizes(fold) == (10080, 1120, 2800)


def test_fleser_sizes(iemocap: Manifest) -> None:
    kept = [
        u.model_copy(update={"audio": "a.wav", "start": 0.0, "end": 0.97 if n < 22 else 0.976})
        for n, u in enumerate(iemocap)
    ]
    protocol, (fold,) = make_folds(Manifest(kept, Path()), {"name": "legacy-fleser"})
    assert sizes(fold) == (4407, 551, 551)
    result = audit(Manifest(kept, Path()), protocol, [fold], audio=False)
    assert result.folds[0].sizes["unused"] == 22
    assert result.stamp.startswith("legacy-fleser · SPEAKER-DEPENDENT (10 of 10 test speakers")
    result.enforce()


def test_fleser_esd_is_stratified() -> None:
    names = ("anger", "happiness", "neutral", "sadness", "surprise")
    esd = Manifest(
        (
            Utterance(id=f"{e}{n:05d}", corpus="esd", text="x", emotion=e, speaker=str(n % 10))
            for e in names
            for n in range(3499)
        ),
        Path(),
    )
    _, (fold,) = make_folds(esd, {"name": "legacy-fleser"})
    assert sizes(fold) == (13996, 1749, 1750)
    assert {sum(esd[o].emotion == e for o in fold.test) for e in names} == {350}
    assert {sum(esd[o].emotion == e for o in fold.train) for e in names} <= {2799, 2800}


def test_fleser_meld_leaves_two_broken_clips_out() -> None:
    meld = Manifest(
        (
            Utterance(id=i, corpus="meld", text="x", emotion="anger", split=s)
            for i, s in (
                ("train-dia125_utt3", "train"),
                ("train-dia125_utt30", "train"),
                ("dev-dia125_utt3", "dev"),
                ("dev-dia110_utt7", "dev"),
                ("test-dia0_utt0", "test"),
            )
        ),
        Path(),
    )
    _, (fold,) = make_folds(meld, {"name": "legacy-fleser"})
    assert (fold.train, fold.dev) == (("train-dia125_utt30",), ("dev-dia125_utt3",))


def test_vga_sizes(iemocap: Manifest) -> None:
    protocol, (fold,) = make_folds(iemocap, {"name": "legacy-vga-fusion"})
    assert sizes(fold) == (1085 + 1023 + 1151, 1031, 1241)
    assert audit(iemocap, protocol, [fold]).speaker_independent == "yes"
    cremad = Manifest(
        (
            Utterance(id=f"{n:05d}", corpus="cremad", text="x", emotion=e, speaker=str(n % 91))
            for n, e in enumerate(
                ["anger"] * 1271 + ["happiness"] * 1271 + ["neutral"] * 1087 + ["sadness"] * 1271
            )
        ),
        Path(),
    )
    _, (fold,) = make_folds(cremad, {"name": "legacy-vga-fusion"})
    assert sizes(fold) == (3920, 490, 490)
    rows = sorted(cremad.ids)
    random.Random(42).shuffle(rows)
    assert set(fold.test) == set(rows[int(4900 * 0.9) :])
    with pytest.raises(ProtocolError, match="5 sessions, the manifest 1"):
        make_folds(iemocap.filter(lambda u: u.session == "1"), {"name": "legacy-vga-fusion"})


def test_copenhagen_and_foal_net_say_what_the_papers_chose_by(iemocap: Manifest) -> None:
    protocol, (fold,) = make_folds(iemocap, {"name": "legacy-copenhagen"})
    assert len(fold.test) == 1106
    assert len(fold.train) + len(fold.dev) == 4425
    result = audit(iemocap, protocol, [fold])
    assert "SPEAKER-DEPENDENT (10 of 10" in result.stamp
    assert "the paper chose its epoch on the test part, this run did not" in result.stamp
    protocol, folds = make_folds(iemocap, {"name": "legacy-foal-net"})
    assert [len(f.test) for f in folds] == [1085, 1023, 1151, 1031, 1241]
    result = audit(iemocap, protocol, folds)
    assert result.speaker_independent == "yes"
    assert "the paper chose its epoch on the test part" in result.stamp


def test_only_some_groups_are_judged_and_all_others_learned_from() -> None:
    corpora = {name: [f"{name}{i}" for i in range(3)] for name in ("ased", "emodb", "nemo")}
    whole = Manifest(
        [
            Utterance(id=one, corpus=name, text=one, emotion="anger", speaker=one)
            for name, ids in corpora.items()
            for one in ids
        ],
        Path(),
    )
    spec = {"name": "leave-one-corpus-out", "dev": 0.0}
    _, every = make_folds(whole, spec)
    _, some = make_folds(whole, {**spec, "judged": ["nemo", "emodb"]})
    assert [fold.name for fold in some] == ["corpus emodb", "corpus nemo"]
    assert some == [fold for fold in every if fold.name != "corpus ased"]
    with pytest.raises(ProtocolError, match=r"no corpus 'nemos' to judge; did you mean 'nemo'"):
        make_folds(whole, {**spec, "judged": ["nemos"]})
