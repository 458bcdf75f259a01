"""The clipped linear model against scikit-learn, NumPy and the contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tests.models.conformance import conform, fitted_model

from emofuse.errors import OptionError
from emofuse.features.table import FeatureTable, Ragged
from emofuse.losses.contract import Targets
from emofuse.models.build import build_model
from emofuse.models.contract import Batch, ModelSpec, Sequences
from emofuse.training.fit import Blueprint
from emofuse.training.options import TrainerOptions
from emofuse.training.parts import Part
from emofuse.training.trainer import Trainer

DIMS = {"audio": 6, "text": 5}


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_it_conforms(pooling):
    lengths = None if pooling == "mean" else {"audio": 7, "text": 4}
    conform("clipped-linear", {"pooling": pooling, "clip": 1.0}, DIMS, lengths)


def pooled(values):
    mask = torch.ones(len(values), 1, dtype=torch.bool)
    return Batch({"audio": Sequences(torch.as_tensor(values)[:, None], mask)})


def test_it_is_the_formula():
    random = np.random.default_rng(0)
    values = random.standard_t(2, size=(40, 6)).astype(np.float32)
    model = fitted_model("clipped-linear", {"clip": 1.5}, {"audio": 6}, pooled(values))
    scaled = np.clip((values - values.mean(axis=0)) / values.std(axis=0), -1.5, 1.5)
    weight, bias = model.heads["audio"].weight.detach().numpy(), model.bias.detach().numpy()
    found = model.eval()(pooled(values)).logits.detach().numpy()
    np.testing.assert_allclose(found, scaled @ weight.T + bias, atol=1e-4)


def test_a_wild_figure_changes_no_more_than_the_clip():
    values = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)
    model = fitted_model("clipped-linear", {}, {"audio": 6}, pooled(values)).eval()
    wild, wilder = values[:1].copy(), values[:1].copy()
    wild[0, 2], wilder[0, 2] = 1e3, 1e6
    torch.testing.assert_close(model(pooled(wild)).logits, model(pooled(wilder)).logits)


def test_lbfgs_gives_scikit_learns_probabilities():
    random = np.random.default_rng(2)
    labels = np.arange(150) % 3
    values = (random.standard_t(2, size=(150, 8)) + labels[:, None] * 0.4).astype(np.float32)
    decay = 0.05
    reference = make_pipeline(
        StandardScaler(),
        FunctionTransformer(lambda x: np.clip(x, -2.0, 2.0)),
        LogisticRegression(C=1 / (150 * decay), tol=1e-8, max_iter=5000),
    ).fit(values, labels)
    blueprint = Blueprint(
        "clipped-linear", {"clip": 2.0}, ({"name": "cross-entropy"},), ("a", "b", "c")
    )
    options = TrainerOptions.parse(
        {"optimiser": "lbfgs", "weight_decay": decay, "epochs": 500, "device": "cpu"}
    )
    parts = FeatureTable(
        tuple(map(str, range(150))), {"audio": Ragged.from_arrays(list(values[:, None]), 8)}, {}
    )
    everything = Part(torch.arange(150), Targets(torch.from_numpy(labels)), torch.arange(150))
    model = Trainer(blueprint, options).fit(parts, everything).model
    shown = model(pooled(values)).logits.softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(shown, reference.predict_proba(values), atol=2e-3)


@pytest.mark.parametrize("clip", [0.0, -1.0, float("inf"), float("nan")])
def test_the_clip_is_a_positive_number(clip):
    with pytest.raises(OptionError, match="clip"):
        build_model("clipped-linear", {"clip": clip}, ModelSpec({"audio": 2}, 2))
