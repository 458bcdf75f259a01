from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from emofuse.encoders.contract import Item
from emofuse.explain.attributions import attribute, frames_panel
from emofuse.explain.opening import open_run
from emofuse.explain.options import ExplainOptions
from emofuse.explain.panel import NotApplicable
from emofuse.explain.scores import score_of
from emofuse.explain.spoken import words_panel
from emofuse.explain.trajectory import trace
from emofuse.explain.unpooled import read_inputs
from emofuse.explain.utterance import utterance_panels
from emofuse.explain.words import by_word, embedded_tokens, leave_one_out, words_of
from emofuse.models.contract import Batch, EmotionOutput, Sequences
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train

from .conftest import BURST, CLASSES, FILLER, WORDS, recipe_for

QUICK = ExplainOptions(draws=1, steps=16, most_steps=64)


def test_the_telling_word_comes_first(mlp_run):
    """Left out, no other word costs as much; checked by hand against the model itself."""
    subject = open_run(mlp_run)
    hits, tried = 0, 0
    for name in subject.table.ids[::3]:
        case = subject.case(name)
        if case.predicted != case.gold:
            continue
        words = words_of(case.utterance.text)
        drops = leave_one_out(case, words, "logit")
        tried += 1
        hits += words[int(drops.argmax())].text == WORDS[case.gold]
    assert tried >= 8
    assert hits >= 0.9 * tried
    left = " ".join(case.utterance.text.replace(words[0].text, "", 1).split())
    values = torch.from_numpy(case.encoder("text").encode([Item("x", text=left)])[0])[None]
    mask = torch.ones(values.shape[:2], dtype=torch.bool)
    batch = Batch({**case.batch.modalities, "text": Sequences(values, mask)})
    with torch.no_grad():
        expected = score_of(case.model(case.batch).logits, case.target, "logit") - score_of(
            case.model(batch).logits, case.target, "logit"
        )
    assert float(drops[0]) == pytest.approx(float(expected[0]), abs=1e-6)


def test_pooled_sound_is_opened_up_to_frames(mlp_run):
    """Attribution goes through mean and deviation to frames that pool to the stored feature."""
    case = open_run(mlp_run).case("s1-sadness-1")
    readings = {one.modality: one for one in read_inputs(case)}
    assert readings["audio"].frames > 50
    assert readings["audio"].pooling == "mean+std"
    assert readings["text"].frames == 1
    assert "one vector" in readings["text"].note
    found = attribute(case, list(readings.values()), ExplainOptions())
    assert found.closed
    panel = frames_panel(case, QUICK)
    names = [one.name for one in panel.pictures]
    assert names == ["frames-audio"]
    assert any("feature" in one.title for one in panel.tables)
    assert any(note.startswith("completeness") for note in panel.notes)


def test_an_only_word_left_out_is_no_text(mlp_run):
    case = open_run(mlp_run).case("s1-sadness-1")
    (word,) = words_of("lonely")
    case.utterance.__dict__["text"] = "lonely"  # frozen options: for this test alone
    drops = leave_one_out(case, [word], "logit")
    with torch.no_grad():
        alone = case.model(case.batch.only("audio")).logits
        both = case.model(case.batch).logits
    expected = score_of(both, case.target, "logit") - score_of(alone, case.target, "logit")
    assert float(drops[0]) == pytest.approx(float(expected[0]), abs=1e-6)


@pytest.fixture(scope="module")
def bert_run(tmp_path_factory):
    """A run over the tokens of a tiny BERT with random weights, text alone."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("bert")
    words = sorted({*FILLER, *WORDS.values()} - {"lonely"})
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {w: i for i, w in enumerate([*marks, *words, "lone", "##ly"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=marks[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("pad", "unk", "cls", "sep", "mask")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=32,
        **{f"{n}_token": m for n, m in zip(names, marks, strict=True)},
    ).save_pretrained(folder / "model")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    model = transformers.BertModel(config)
    torch.nn.init.normal_(model.embeddings.word_embeddings.weight)
    model.save_pretrained(folder / "model")
    random = np.random.default_rng(0)
    lines = []
    for place in range(72):
        emotion = CLASSES[place % 3]
        said = [*random.choice(FILLER, 3, replace=False), WORDS[emotion]]
        random.shuffle(said)
        lines.append(
            {
                "id": f"u{place}",
                "text": " ".join(said),
                "emotion": emotion,
                "speaker": f"s{place // 3 % 4}",
            }
        )
    manifest = folder / "texts.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)) + "\n")
    data = recipe_for(
        manifest,
        encoders={"text": {"name": str(folder / "model"), "granularity": "frames"}},
        model={"name": "mlp", "hidden": 16},
        seeds=[0],
    )
    data["trainer"]["modality_dropout"] = 0.0
    train(parse_recipe(data, "bert"), folder / "run")
    return folder / "run"


def test_gradients_find_the_telling_word_through_the_encoder(bert_run):
    subject = open_run(bert_run)
    hits, tried = 0, 0
    for name in subject.table.ids[::8]:
        case = subject.case(name)
        if case.predicted != case.gold:
            continue
        words = words_of(case.utterance.text)
        tokens, values, found, baseline = embedded_tokens(case, ExplainOptions())
        assert "token 4" in baseline  # [MASK]
        assert found.relative < 0.05
        special = [float(v) for t, v in zip(tokens, values, strict=True) if t.special]
        assert special == [0.0, 0.0]  # the markers stay as they are
        summed = by_word(tokens, values, words)
        assert float(summed.sum()) == pytest.approx(found.total, abs=1e-5)
        tried += 1
        hits += words[int(summed.argmax())].text == WORDS[case.gold]
    assert tried >= 6
    assert hits >= 0.8 * tried


def test_pieces_of_a_word_are_summed(bert_run):
    subject = open_run(bert_run)
    case = subject.case("u2")
    assert "lonely" in case.utterance.text
    tokens = case.encoder("text").named_tokens(case.utterance.text)
    assert "##ly" in [one.piece for one in tokens]
    words = words_of(case.utterance.text)
    values = torch.arange(len(tokens), dtype=torch.double)
    found = by_word(tokens, values, words)
    place = [one.piece for one in tokens].index("lone")
    telling = [word.text for word in words].index("lonely")
    assert float(found[telling]) == place + place + 1


def test_the_words_panel_colours_the_transcript(bert_run):
    subject = open_run(bert_run)
    cases = (subject.case(name) for name in subject.table.ids)
    case = next(one for one in cases if one.gold == one.predicted)
    panel = words_panel(case, ExplainOptions())
    assert "".join(text for text, _ in panel.spans) == case.utterance.text
    assert panel.tables[0].columns == ("word", "gradients", "left out")
    best = max((v, t) for t, v in panel.spans if v is not None)[1]
    assert best == WORDS[case.predicted]


def test_text_alone_says_what_does_not_apply(bert_run):
    panels = {one.key: one for one in utterance_panels(open_run(bert_run).case("u1"), QUICK)}
    assert "no convolution" in panels["grad-cam"].refused
    assert "gives no attention" in panels["attention"].refused
    assert "one modality" in panels["modalities"].refused
    assert "no audio" in panels["trajectory"].refused
    assert not panels["frames"].refused
    assert not panels["words"].refused


def test_a_trajectory_is_the_model_asked_about_each_window(mlp_run):
    case = open_run(mlp_run).case("s1-sadness-1")
    found = trace(case, 0.5, 0.2)
    np.testing.assert_allclose(found.times, [0.25, 0.45, 0.65, 0.85, 0.95])
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0)
    assert found.kept == ("text",)
    assert found.vad == {}
    from emofuse.media.audio import read_audio

    wave = read_audio(case.subject.manifest.path(case.utterance.audio), 16_000)
    cut = wave[round(0.2 * 16_000) : round(0.7 * 16_000)]
    values = case.encoder("audio").encode([Item("x", waveform=cut)])[0]
    part = Sequences(torch.from_numpy(values)[None], torch.ones(1, 1, dtype=torch.bool))
    with torch.no_grad():
        logits = case.model(Batch({**case.batch.modalities, "audio": part})).logits.double()
    np.testing.assert_allclose(found.probabilities[1], torch.softmax(logits, 1)[0].numpy())


class Feeling(torch.nn.Module):
    """Says how loud a window is, as arousal."""

    def forward(self, batch):
        loud = torch.tanh(batch.modalities["audio"].values[:, 0, :64].mean(dim=1) / 10)
        vad = torch.stack([torch.full_like(loud, 0.5), loud, torch.zeros_like(loud)], dim=1)
        return EmotionOutput(torch.zeros(len(loud), 3), vad=vad)


def test_a_trajectory_is_on_the_schemes_scale(mlp_run):
    case = open_run(mlp_run).case("s1-sadness-1")
    found = trace(replace(case, model=Feeling()), 0.4, 0.1)
    assert set(found.vad) == {"valence", "arousal"}  # the scheme has no scale of dominance
    np.testing.assert_allclose(found.vad["valence"], 4.0)
    start = case.utterance.extra["start"]
    loudest = found.times[int(found.vad["arousal"].argmax())]
    assert start - 0.2 <= loudest <= start + BURST + 0.2
    assert found.vad["arousal"].max() - found.vad["arousal"].min() > 0.02
    with pytest.raises(NotApplicable, match="not longer than one window"):
        trace(case, 1.5, 0.1)


def test_without_captum_the_rest_goes_on(bert_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    panels = {one.key: one for one in utterance_panels(open_run(bert_run).case("u1"), QUICK)}
    assert "pip install 'emofuse[explain]'" in panels["frames"].refused
    words = panels["words"]
    assert words.tables[0].columns == ("word", "left out")
    assert any("captum is not installed" in note for note in words.notes)
