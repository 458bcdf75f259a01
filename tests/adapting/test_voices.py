"""The shift by itself, against NumPy, and the voices of many speakers in a batch."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from tests.adapting.conftest import HALF
from tests.timeline.conftest import make_bundle

from emofuse.encoders.contract import Item
from emofuse.errors import BundleError, OptionError, WorkError
from emofuse.media.audio import read_audio
from emofuse.models.bundle import CONFIG_NAME, read_bundle
from emofuse.models.contract import Batch, Sequences
from emofuse.models.voices_note import pack, unpack
from emofuse.recognition.adapting.meter import Meter, shift
from emofuse.recognition.adapting.profile import Heard, VoiceProfile
from emofuse.recognition.adapting.reference import Reference, check_moods, read_reference
from emofuse.recognition.inputs import find_queries
from emofuse.recognition.recognizer import Recognizer


def named(clips):
    """Queries of all clips, each with its speaker."""
    return [replace(one, speaker=one.audio.parent.name) for one in find_queries([str(clips)])]


def by_id(answers):
    return {one.id: one for one in answers}


def shares(answer):
    return np.array(list(answer.probabilities.values()))


def expected(recognizer, bundle, queries, moods):
    """Shifted by plain NumPy and asked of the trainer's own model: id -> probabilities."""
    encoder = recognizer._encoders.get("audio")
    vectors = {
        one.id: encoder.encode([Item(one.id, waveform=read_audio(one.audio, 16_000))])[0][0]
        for one in queries
    }
    model, config = read_bundle(bundle)
    note = config.voices
    target = unpack(note.mean, note.dim)
    usual = {name: unpack(one, note.dim) for name, one in note.moods.items()}

    def say(vector):
        values = torch.tensor(vector, dtype=torch.float32)[None, None]
        part = Sequences(values, torch.ones(1, 1, dtype=torch.bool))
        with torch.no_grad():
            return model(Batch({"audio": part})).logits.softmax(dim=1)[0].numpy()

    found = {}
    for one in queries:
        mine = [vectors[o.id] for o in queries if o.speaker == one.speaker]
        away = np.mean(mine, axis=0) - target
        if moods == "any":
            for vector in mine:
                for name, share in zip(config.scheme.classes, say(vector), strict=True):
                    away = away - share * usual[name] / len(mine)
        found[one.id] = say(vectors[one.id] - len(mine) / (len(mine) + HALF) * away)
    return found


def reference_of(mean, half, moods=None):
    return Reference(np.array(mean), np.array(moods or [[0.0] * len(mean)]), half, "x")


@pytest.mark.parametrize(("count", "weight"), [(0, 0.0), (1, 0.25), (3, 0.5), (1e12, 1.0)])
def test_the_shift_is_a_share_of_the_way(count, weight):
    mean, target, moods = np.random.default_rng(0).normal(size=(3, 7))
    reference = reference_of(target, 3.0)
    offset, share = shift(Heard(count, mean, moods), reference, "mixed")
    assert share == pytest.approx(weight)
    np.testing.assert_allclose(offset, weight * (mean - target), rtol=1e-9)
    offset, share = shift(Heard(count, mean, moods), reference, "any")
    np.testing.assert_allclose(offset, weight * (mean - target - moods), rtol=1e-9)


def test_nothing_to_shrink_by_moves_all_the_way_and_nothing_heard_moves_nothing():
    reference = reference_of([5.0], 0.0)
    assert shift(Heard(1, np.array([2.0]), None), reference)[0].tolist() == [-3.0]
    offset, share = shift(Heard(0, np.array([2.0]), None), reference)
    assert (offset.tolist(), share) == ([0.0], 0.0)


def test_a_mood_that_is_heard_rightly_is_not_taken_for_the_voice():
    """A usual voice in one mood: by `mixed` the mood is moved away, by `any` nothing is."""
    mood = np.array([[0.0, 4.0], [3.0, 0.0]])
    reference = reference_of([1.0, 1.0], 0.0, mood.tolist())
    meter = Meter(reference, "x")
    for _ in range(5):
        meter.hear((reference.mean + mood[1])[None].astype(np.float32), np.array([0.0, 1.0]))
    np.testing.assert_allclose(meter.voice("any").offset, 0.0, atol=1e-6)
    np.testing.assert_allclose(meter.voice("mixed").offset, mood[1], atol=1e-6)


def test_numbers_survive_the_bundle():
    values = np.random.default_rng(0).normal(size=9).astype(np.float32)
    np.testing.assert_array_equal(unpack(pack(values), 9), values)


@pytest.mark.parametrize("moods", ["any", "mixed"])
def test_answers_are_those_of_numpy(recognizer, bundle, clips, moods):
    queries = named(clips)
    answers = by_id(recognizer.recognise_many(queries, adapt=True, moods=moods))
    for name, probabilities in expected(recognizer, bundle, queries, moods).items():
        np.testing.assert_allclose(shares(answers[name]), probabilities, atol=1e-5)
    heard = {one.adapted.speaker: one.adapted for one in answers.values()}
    counts = {name: one.utterances for name, one in heard.items()}
    assert counts == {"anna": 5.0, "bert": 3.0, "carl": 1.0}
    assert heard["carl"].weight == 0.25
    assert {one.moods for one in heard.values()} == {moods}


def test_it_is_off_unless_asked_for(recognizer, clips):
    queries = named(clips)
    plain = recognizer.recognise_many([replace(one, speaker=None) for one in queries])
    assert recognizer.recognise_many(queries) == plain
    assert all(one.adapted is None for one in plain)
    adapted = recognizer.recognise_many(queries, adapt=True)
    far = [np.abs(shares(a) - shares(b)).max() for a, b in zip(plain, adapted, strict=True)]
    assert min(far) > 1e-3


def test_neither_order_nor_other_speakers_count(recognizer, clips):
    queries = named(clips)
    whole = by_id(recognizer.recognise_many(queries, adapt=True))
    mixed = [queries[n] for n in np.random.default_rng(1).permutation(len(queries))]
    for answer in recognizer.recognise_many(mixed, adapt=True):
        np.testing.assert_allclose(shares(answer), shares(whole[answer.id]), atol=1e-6)
    anna = [one for one in queries if one.speaker == "anna"]
    for answer in recognizer.recognise_many(anna, adapt=True):
        np.testing.assert_allclose(shares(answer), shares(whole[answer.id]), atol=1e-6)


def test_without_a_speaker_it_is_answered_as_it_is_and_says_so(recognizer, clips):
    queries = [replace(one, speaker=None) if n else one for n, one in enumerate(named(clips))]
    answers = recognizer.recognise_many(queries, adapt=True)
    plain = recognizer.recognise_many(queries)
    assert shares(answers[1]).tolist() == pytest.approx(shares(plain[1]).tolist(), abs=1e-6)
    assert any("nobody says who speaks" in note for note in answers[1].notes)
    assert answers[0].adapted is not None


def test_few_utterances_are_warned_of(recognizer, clips):
    many = named(clips) * 2
    many = [replace(one, id=f"{n}") for n, one in enumerate(many)]
    for answer in recognizer.recognise_many(many, adapt=True):
        warned = any("fewer than" in note for note in answer.notes)
        assert warned == (answer.adapted.utterances < 8)


def test_a_bad_clip_is_told_and_counts_for_nobody(recognizer, clips, tmp_path):
    (tmp_path / "bad.wav").write_text("no sound")
    queries = named(clips)
    bad = replace(queries[0], id="bad", audio=tmp_path / "bad.wav")
    answers = by_id(recognizer.recognise_many([bad, *queries], adapt=True))
    assert answers["bad"].error is not None
    assert answers[queries[0].id].adapted.utterances == 5.0
    with pytest.raises(WorkError, match="bad"):
        recognizer.recognise_many([*queries, bad], adapt=True, strict=True)


def test_each_channel_is_a_speaker_and_silence_is_none(recognizer, clips, tmp_path):
    wave, rate = soundfile.read(clips / "anna" / "0.wav", dtype="float32")
    both = np.stack([wave, wave[::-1]], axis=1)
    soundfile.write(tmp_path / "both.wav", both, rate, subtype="FLOAT")
    soundfile.write(tmp_path / "none.wav", np.zeros((rate, 2), np.float32), rate, subtype="FLOAT")
    names = [tmp_path / "both.wav", tmp_path / "none.wav"]
    queries = [replace(one, speaker="x") for one in find_queries([str(n) for n in names])]
    found = recognizer.recognise_many(queries, adapt=True, channels="each")
    assert [one.adapted.speaker for one in found] == ["x#0", "x#1"] * 2
    assert {one.adapted.utterances for one in found} == {1.0}


def test_a_voice_that_was_kept_serves_single_clips(recognizer, clips, tmp_path):
    anna = [one for one in named(clips) if one.speaker == "anna"]
    profile = recognizer.enrol(anna, "anna")
    profile.save(tmp_path / "anna.json")
    again = VoiceProfile.load(tmp_path / "anna.json")
    assert again == profile
    together = by_id(recognizer.recognise_many(anna, adapt=True))
    for one in anna:
        answer = recognizer.recognise_many([one], voice=again)[0]
        np.testing.assert_allclose(shares(answer), shares(together[one.id]), atol=1e-6)
        assert answer.adapted == together[one.id].adapted
    more = recognizer.recognise_many([replace(anna[0], id="x")], adapt=True, voice=again)[0]
    assert more.adapted.utterances == 6.0


def test_what_was_heard_is_counted_by_its_weight(recognizer):
    reference = recognizer.reference
    one, two = np.random.default_rng(2).normal(size=(2, 1, len(reference.mean))).astype(np.float32)
    meter = Meter(reference, "x")
    shares = np.array([[0.7, 0.1, 0.2, 0.0], [0.0, 0.5, 0.2, 0.3]])
    meter.hear(one, shares[0], 0.5)
    meter.hear(two, shares[1], 1.5)
    away = (0.5 * one[0] + 1.5 * two[0]) / 2.0 - reference.mean
    weight = 2.0 / (2.0 + HALF)
    np.testing.assert_allclose(meter.voice("mixed").offset, weight * away, rtol=1e-6)
    moods = (0.5 * shares[0] + 1.5 * shares[1]) / 2.0 @ reference.moods
    np.testing.assert_allclose(meter.voice("any").offset, weight * (away - moods), rtol=1e-6)
    assert meter.profile().utterances == 2.0
    meter.hear(one)
    assert meter.profile().moods is None


def damaged(bundle, tmp_path, change):
    shutil.copytree(bundle, tmp_path / "damaged")
    path = tmp_path / "damaged" / CONFIG_NAME
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    return tmp_path / "damaged"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": "!!"}, "not base64"),
        ({"mean": pack(np.ones(3))}, "instead of"),
        ({"mean": pack(np.full(160, np.nan)), "dim": 160}, "NaN"),
        ({"half": -1.0}, "half"),
        ({"half": "inf"}, "half"),
        ({"utterances": 0}, "utterances"),
        ({"moods": {}}, "moods"),
        ({"moods": {"anger": "AAAA"}}, "instead of"),
        ({"strange": 1}, "unknown key"),
    ],
)
def test_a_damaged_note_is_one_clear_line(bundle, tmp_path, change, message):
    folder = damaged(bundle, tmp_path, lambda config: config["voices"].update(change))
    with pytest.raises(BundleError, match=message) as caught:
        Recognizer.load(folder)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_adapted_says_why(bundle, tmp_path, clips):
    older = Recognizer.load(damaged(bundle, tmp_path, lambda config: config.pop("voices")))
    with pytest.raises(OptionError, match="train it again"):
        older.recognise_many(named(clips), adapt=True)
    assert older.recognise_many(named(clips)[:1])[0].error is None

    def learn(config):
        config.pop("voices")
        config["encoders"]["audio"]["learnt"] = {"how": ["finetune"], "corpora": [], "labels": True}

    learned = Recognizer.load(damaged(bundle, tmp_path / "learned", learn))
    with pytest.raises(OptionError, match="learned along with it"):
        learned.recognise_many(named(clips), adapt=True)
    with pytest.raises(OptionError, match="moods 'some' is not legal"):
        Recognizer.load(bundle).recognise_many(named(clips), adapt=True, moods="some")
    deaf = Recognizer.load(make_bundle(tmp_path / "deaf", "text"))
    with pytest.raises(OptionError, match="does not hear"):
        deaf.recognise_many(named(clips), adapt=True)
    config = Recognizer.load(bundle).config
    with pytest.raises(OptionError, match="hears no mood in the sound alone"):
        check_moods(config, {"text", "audio"}, "any")
    check_moods(config, {"text", "audio"}, "mixed")
    spec = {**config.encoders["audio"]["spec"], "granularity": "frames"}
    audio = {**config.encoders["audio"], "spec": spec}
    framed = config.model_copy(update={"encoders": {"audio": audio}})
    with pytest.raises(OptionError, match="frame by frame"):
        read_reference(framed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": ""}, "instead of"),
        ({"moods": "AAAA"}, "instead of"),
        ({"utterances": 0}, "utterances"),
        ({"format": 9}, "format"),
        ({"speaker": ""}, "speaker"),
        ({"code": "x"}, "unknown key"),
    ],
)
def test_a_damaged_voice_is_one_clear_line(recognizer, clips, tmp_path, change, message):
    profile = recognizer.enrol(named(clips)[:2], "anna")
    record = {**profile.model_dump(mode="json"), **change}
    (tmp_path / "v.json").write_text(json.dumps(record))
    with pytest.raises(WorkError, match=message) as caught:
        VoiceProfile.load(tmp_path / "v.json")
    assert "\n" not in str(caught.value)
    (tmp_path / "v.json").write_text("[" * 5000)
    with pytest.raises(WorkError, match="not JSON"):
        VoiceProfile.load(tmp_path / "v.json")
    (tmp_path / "v.json").write_text("[]")
    with pytest.raises(WorkError, match="expected keys"):
        VoiceProfile.load(tmp_path / "v.json")


def test_a_voice_of_another_hearing_is_refused(recognizer, clips):
    profile = recognizer.enrol(named(clips)[:2], "anna")
    other = profile.model_copy(update={"hearing": "0" * 16})
    with pytest.raises(OptionError, match="hears otherwise"):
        recognizer.recognise_many(named(clips), voice=other)
    with pytest.raises(OptionError, match="hears otherwise"):
        recognizer.stream(16_000, voice=other)
