"""Conditions and what they draw: typed, seeded, alike over levels; voices of train alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from emofuse.augment.draw import Noise, Voices
from emofuse.augment.sources import Sources
from emofuse.augment.stress import GROUPS, StressOptions, choose_groups, conditions_of
from emofuse.augment.stress_draw import StressDraw, Surroundings, draw_stress
from emofuse.errors import OptionError
from emofuse.manifest import Manifest
from emofuse.media.audio import write_wav
from emofuse.options import parse_yaml
from emofuse.training.builtin import builtin_recipes, stress_files


@pytest.fixture
def noises(tmp_path):
    for name in ("rain/a.wav", "rain/b.wav", "engine/c.wav", "siren.wav"):
        path = tmp_path / "noise" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_wav(path, np.random.default_rng(len(name)).standard_normal(9000).astype("f4") * 0.1)
    return tmp_path / "noise"


def around(toy, options, noise=None):
    manifest = Manifest.load(toy / "corpus" / "manifest.jsonl")
    train, test = manifest[8:], manifest[:8]
    sources = Sources(noise, None, manifest.root)
    return Surroundings(options, sources, "fold 0", train, test), test


def test_conditions_are_named_once_and_for_good():
    found = conditions_of(StressOptions())
    labels = [one.label for one in found]
    assert len(set(labels)) == len(labels)
    assert len({one.slug for one in found}) == len(labels)  # gain -20 dB and gain 20 dB, too
    assert tuple(dict.fromkeys(one.group for one in found)) == GROUPS
    assert "noise babble 0 dB" in labels
    assert "gain -20 dB" in labels
    assert "transcript 5 %" in labels


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"noise": {"types": ["rain"]}}, "needs noise.folder"),
        ({"words": [1.5]}, "between 0 and 1"),
        ({"wrods": [0.1]}, "did you mean 'words'"),
        ({"groups": ["noises"]}, "noise"),
    ],
)
def test_wrong_options_are_told(data, said):
    with pytest.raises(OptionError, match=said):
        StressOptions.parse(data)


def test_groups_are_chosen_by_name():
    assert choose_groups(StressOptions(), "swap,noise").groups == ("noise", "swap")
    assert choose_groups(StressOptions(), "all").groups == GROUPS
    with pytest.raises(OptionError, match="did you mean 'noise'"):
        choose_groups(StressOptions(), "nosie")
    with pytest.raises(OptionError, match="listed twice"):
        conditions_of(StressOptions(rt60=(0.3, 0.3)))


def test_lists_that_come_with_the_package_can_be_read():
    known = stress_files()
    assert set(known) == {"fleser-noise", "quick"}
    for name, file in known.items():
        options = StressOptions.parse(parse_yaml(file.read_text(encoding="utf-8")), name)
        assert conditions_of(options)
        assert not any(one.startswith("stress") for one in builtin_recipes())
    study = StressOptions.parse(parse_yaml(known["fleser-noise"].read_text(encoding="utf-8")))
    assert len(conditions_of(study)) == 20  # five noises at four ratios


def test_same_seed_same_draw_whatever_the_order(toy):
    options = StressOptions()
    place, test = around(toy, options)
    forward = [draw_stress(c, u, place) for c in conditions_of(options) for u in test]
    again, _ = around(toy, options)
    backward = [draw_stress(c, u, again) for c in reversed(conditions_of(options)) for u in test]
    key = lambda draw: (draw.condition, draw.utterance)  # noqa: E731
    assert sorted(forward, key=key) == sorted(backward, key=key)
    other, _ = around(toy, StressOptions(seed=1))
    assert forward != [draw_stress(c, u, other) for c in conditions_of(options) for u in test]


def test_draws_are_written_and_read_back(toy):
    options = StressOptions()
    place, test = around(toy, options)
    for condition in conditions_of(options):
        draw = draw_stress(condition, test[0], place)
        line = draw.model_dump_json(exclude_none=True)
        assert StressDraw.parse(json.loads(line)) == draw


def test_levels_of_a_noise_share_file_and_offset(toy, noises):
    options = StressOptions.parse(
        {"noise": {"types": ["files", "white", "babble"], "folder": str(noises)}}
    )
    place, test = around(toy, options, noises)
    found = {}
    for condition in conditions_of(choose_groups(options, "noise")):
        step = draw_stress(condition, test[0], place).steps[0]
        plain = step.model_dump()
        assert plain.pop("snr") == condition.level
        found.setdefault(condition.kind, []).append(plain)
    assert all(one == levels[0] for levels in found.values() for one in levels)
    offsets = {draw_stress(conditions_of(options)[0], u, place).steps[0].offset for u in test}
    assert len(offsets) == len(test)  # a place of its own for each utterance


def test_noises_are_found_by_folder_and_by_name(toy, noises):
    for kind, files in (("rain", {"rain/a.wav", "rain/b.wav"}), ("siren", {"siren.wav"})):
        options = StressOptions.parse({"noise": {"types": [kind], "folder": str(noises)}})
        place, test = around(toy, options, noises)
        steps = [draw_stress(conditions_of(options)[0], u, place).steps[0] for u in test]
        assert {step.file for step in steps if isinstance(step, Noise)} == files
    options = StressOptions.parse({"noise": {"types": ["rian"], "folder": str(noises)}})
    place, test = around(toy, options, noises)
    with pytest.raises(OptionError, match="did you mean 'rain'"):
        draw_stress(conditions_of(options)[0], test[0], place)


def test_babble_takes_voices_of_the_train_part_alone(toy):
    options = StressOptions.parse({"noise": {"types": ["babble"], "talkers": 4}})
    place, test = around(toy, options)
    own = {u.audio for u in test}
    for utterance in test:
        step = draw_stress(conditions_of(options)[0], utterance, place).steps[0]
        assert isinstance(step, Voices)
        files = [talker.file for talker in step.talkers]
        assert len(set(files)) == 4
        assert not own & set(files)


def test_a_swapped_transcript_says_something_else(toy):
    options = choose_groups(StressOptions(), "swap")
    place, test = around(toy, options)
    for utterance in test:
        draw = draw_stress(conditions_of(options)[0], utterance, place)
        assert draw.text_of != utterance.id
        assert draw.read(utterance.text) != utterance.text
        assert draw.read(utterance.text) in {u.text for u in test}
