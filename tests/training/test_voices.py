"""What a bundle says of the voices of its training, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emofuse.corpora import CORPORA
from emofuse.features.table import FeatureTable, Ragged
from emofuse.labels import LabelScheme
from emofuse.models.bundle import read_bundle
from emofuse.models.voices_note import unpack
from emofuse.recognition.inputs import manifest_queries
from emofuse.recognition.recognizer import Recognizer
from emofuse.training.centring import speaker_means
from emofuse.training.recipe import load_recipe
from emofuse.training.run import train
from emofuse.training.voices import voices_note

SCHEME = LabelScheme(name="three", classes=("anger", "happiness", "sadness"))


def test_mean_moods_and_half_are_those_of_numpy(make_parts):
    table, part, _, _ = make_parts()
    note = voices_note(table, part, SCHEME)
    audio = table.modalities["audio"]
    values = audio.gather(part.rows).values[:, 0].double().numpy()
    groups, labels = part.groups.numpy(), part.targets.labels.numpy()
    names = sorted(set(groups.tolist()))
    means = np.stack(
        [
            np.mean(
                [
                    values[(groups == g) & (labels == k)].mean(axis=0)
                    for k in sorted(set(labels[groups == g].tolist()))
                ],
                axis=0,
            )
            for g in names
        ]
    )
    np.testing.assert_allclose(unpack(note.mean, note.dim), values.mean(axis=0), rtol=1e-6)
    own = values - means[[names.index(g) for g in groups]]
    for number, name in enumerate(SCHEME.classes):
        mood = own[labels == number].mean(axis=0)
        np.testing.assert_allclose(unpack(note.moods[name], note.dim), mood, atol=1e-6)
    within = np.mean([values[groups == g].var(axis=0) for g in names], axis=0).sum()
    assert note.half == pytest.approx(within / means.var(axis=0).sum(), rel=1e-6)
    assert (note.utterances, note.speakers) == (len(values), len(names))


def test_means_of_speakers_weigh_labels_alike():
    values = torch.tensor([[0.0], [2.0], [10.0], [5.0]])
    found = speaker_means(values, torch.tensor([3, 3, 3, 7]), torch.tensor([0, 0, 1, 1]))
    assert found.tolist() == [[5.5], [5.0]]


def test_a_class_that_nobody_has_is_nowhere(make_parts):
    table, part, _, _ = make_parts()
    four = LabelScheme(name="four", classes=("anger", "happiness", "sadness", "fear"))
    note = voices_note(table, part, four)
    assert not unpack(note.moods["fear"], note.dim).any()


def test_frames_one_speaker_or_no_sound_say_nothing(make_parts):
    table, part, _, _ = make_parts()
    one = part.take(torch.nonzero(part.groups == part.groups[0]).flatten())
    assert voices_note(table, one, SCHEME) is None
    deaf = FeatureTable(table.ids, {"text": table.modalities["audio"]}, {})
    assert voices_note(deaf, part, SCHEME) is None
    audio = table.modalities["audio"]
    double = Ragged(audio.values.repeat_interleave(2, dim=0), audio.offsets * 2)
    assert voices_note(FeatureTable(table.ids, {"audio": double}, {}), part, SCHEME) is None


def test_a_trained_run_can_be_adapted(tmp_path):
    prepared = CORPORA.load("synthetic").prepare(tmp_path / "c", speakers=4, per_emotion=2)
    prepared.manifest.save(tmp_path / "m.jsonl")
    changes = [
        f"data.manifest={tmp_path / 'm.jsonl'}",
        f"data.store={tmp_path / 'store'}",
        "data.scheme=basic4",
        "protocol={name: group-kfold, by: speaker, k: 2, dev: 0.0}",
        "trainer.select={weight_decay: [0.1], folds: 2}",
    ]
    run = train(load_recipe("logmel-linear", changes), tmp_path / "run")
    note = read_bundle(run.bundle)[1].voices
    assert (note.utterances, note.speakers) == (len(prepared.manifest) // 2, 2)
    recognizer = Recognizer.load(run.bundle)
    queries = manifest_queries(prepared.manifest)
    answers = recognizer.recognise_many(queries, adapt=True)
    assert {one.adapted.utterances for one in answers} == {len(prepared.manifest) / 4}
    plain = recognizer.recognise_many(queries)
    assert [one.probabilities for one in plain] != [one.probabilities for one in answers]
