"""The matrix end to end: what is in it, what it may see, and that it survives a kill."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tests.transfer.toys import CLASSES, utterances

from emofuse.errors import OptionError, ProtocolError, TrainingError, UsageError
from emofuse.evaluation.openings import count_openings
from emofuse.evaluation.predictions import read_predictions
from emofuse.evaluation.runs import read_run
from emofuse.evaluation.summary import summarise
from emofuse.evaluation.transfer_table import Matrix
from emofuse.manifest import Manifest
from emofuse.training.transferring.cells import Cell, transfer_cells
from emofuse.training.transferring.data import set_up, standardised
from emofuse.training.transferring.recipe import TransferRecipe, load_transfer
from emofuse.training.transferring.run import run_cell
from emofuse.training.transferring.transfer import transfer


def parse(data, **changes):
    return TransferRecipe.parse({**data, **changes}, "recipe")


def hashes(folder):
    """Hash of every model of a matrix: those of sources, and those of every fold of every cell."""
    found = {}
    for path in sorted(folder.glob("*/*/result.json")):
        note = json.loads(path.read_text())
        folds = note.get("folds", [note])
        found[path.parent.name] = [fold["model_sha256"] for fold in folds]
    return found


def answers(folder):
    """Bytes of everything that a cell says of test."""
    paths = sorted(folder.glob("cells/*/fold-*.safetensors"))
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One finished matrix for the tests that only look at it."""
    from tests.transfer.conftest import matrix_recipe

    root = tmp_path_factory.mktemp("matrix")
    recipe = parse(matrix_recipe(root))
    events = []
    found = transfer(recipe, root / "out", events.append)
    return recipe, found, events


def test_cells(finished):
    recipe, found, events = finished
    cells = transfer_cells(recipe)
    kinds = Counter(cell.method for cell in cells)
    # pairs x seeds (x shots); target knows no source: targets x seeds x shots above 0
    assert kinds == {
        "": 4,
        "none": 4,
        "prototypes": 8,
        "dann": 8,
        "mmd": 8,
        "coral": 8,
        "finetune": 4,
        "combined": 4,
        "target": 4,
    }
    assert all(cell.finished(found.folder) for cell in cells)
    assert len({cell.folder(found.folder) for cell in cells}) == len(cells)
    told = [event for event in events if event.stage == "transfer"]
    assert told[-1].done == told[-1].total == len(cells)


def test_the_table_is_the_predictions(finished):
    _, found, _ = finished
    matrix = found.matrix
    assert len(matrix.rows) == 2 * (1 + 2 + 2 + 2 + 2 + 1 + 1 + 1)
    for row in matrix.rows:
        frame, classes = read_predictions(found.folder / row.folder / "predictions.parquet")
        estimate = summarise(frame, classes).metrics["ua"]
        assert row.ua == pytest.approx(estimate.mean)
        assert (row.low, row.high) == (estimate.interval.low, estimate.interval.high)
        assert set(frame["corpus"]) == {row.target}
        assert len(frame) == 54 * 2
        assert row.stamp == "speaker-independent"
        run = read_run(found.folder / row.folder)
        assert run.problems == ()
        assert run.stamp.sound
    assert Matrix.from_json(json.loads((found.folder / "transfer.json").read_text())) == matrix
    none = {row.target: row.ua for row in matrix.rows if row.method == "none"}
    for row in matrix.rows:
        if row.source and row.method != "none":
            assert row.over_none.difference == pytest.approx(row.ua - none[row.target], abs=1e-9)
            assert row.over_none.low <= row.over_none.difference <= row.over_none.high
        assert (row.over_target is None) == (row.shots == "0" or row.method == "target")


def test_what_is_written(finished):
    _, found, _ = finished
    folder = found.folder
    assert (folder / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    svg = (folder / "heatmap.svg").read_text()
    assert svg.lstrip().startswith("<?xml")
    assert "red → blue" in (folder / "transfer.md").read_text()
    assert r"\begin{tabular}" in (folder / "transfer.tex").read_text()
    assert count_openings(folder) == 1
    assert json.loads((folder / "audit.json").read_text())["speaker_independent"] == "yes"


def test_again_reads_and_another_recipe_is_refused(finished):
    recipe, found, _ = finished
    before = (found.folder / "transfer.json").stat().st_mtime_ns
    assert transfer(recipe, found.folder).matrix == found.matrix
    assert (found.folder / "transfer.json").stat().st_mtime_ns == before
    assert count_openings(found.folder) == 1
    other = recipe.model_copy(update={"shots_dev": 0.3})
    with pytest.raises(UsageError, match="shots_dev is 0.2 there and 0.3 here"):
        transfer(other, found.folder)


def test_the_order_of_cells_and_a_fresh_process_change_nothing(finished, tmp_path):
    """Any cell alone, in a folder of its own and from a pickle, gives the same bytes."""
    import pickle

    recipe, found, _ = finished
    data = pickle.loads(pickle.dumps(set_up(recipe).data))
    cells = [cell for cell in transfer_cells(recipe) if cell.seed == 1 and not cell.is_source]
    for method in ("target", "dann", "finetune", "prototypes"):
        cell = [one for one in cells if one.method == method][-1]
        run_cell(cell, recipe, data, tmp_path)
        mine = {p.name: p.read_bytes() for p in cell.folder(tmp_path).iterdir()}
        theirs = {p.name: p.read_bytes() for p in cell.folder(found.folder).iterdir()}
        assert mine == theirs


@pytest.mark.slow
def test_side_by_side_gives_the_same(finished, tmp_path):
    recipe, found, _ = finished
    trainer = recipe.trainer.model_copy(update={"workers": 2})
    few = {"methods": recipe.methods[:2], "seeds": (0,), "trainer": trainer}
    transfer(recipe.model_copy(update=few), tmp_path / "out")
    mine, theirs = answers(tmp_path / "out"), answers(found.folder)
    assert len(mine) == 2 * (1 + 2) * 2
    assert all(theirs[name] == data for name, data in mine.items())


def official(tmp_path, swap):
    """Two corpora with official splits; ``swap`` gives every test item another label."""
    others = dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True))
    for name in ("red", "blue"):
        items = utterances(name, splits=("train", "train", "test"))
        if swap and name == "blue":
            items = [
                u.model_copy(update={"emotion": others[u.emotion]}) if u.split == "test" else u
                for u in items
            ]
        Manifest(items, tmp_path).save(tmp_path / f"{name}.jsonl")


@pytest.mark.parametrize(("choose", "standardise"), [("target", "source"), ("source", "corpus")])
def test_test_labels_change_no_byte_of_any_model(recipe_data, tmp_path, choose, standardise):
    changes = {
        "protocol": {"name": "official"},
        "sources": ["red"],
        "targets": ["blue"],
        "seeds": [0],
        "choose": choose,
        "standardise": standardise,
    }
    recipe = parse(recipe_data, **changes)
    tested = []
    for root in (tmp_path / "true", tmp_path / "swapped"):
        official(tmp_path, swap=root.name == "swapped")
        setup = set_up(recipe)
        for cell in transfer_cells(recipe):
            run_cell(cell, recipe, setup.data, root)
        fold = setup.data.targets["blue"][0]
        tested.append([u.emotion for u in Manifest.load(tmp_path / "blue.jsonl").select(fold.test)])
        assert not set(fold.test) & set(setup.data.known)
    assert not any(one == other for one, other in zip(*tested, strict=True))
    assert hashes(tmp_path / "true") == hashes(tmp_path / "swapped")
    assert answers(tmp_path / "true") == answers(tmp_path / "swapped")
    assert len(answers(tmp_path / "true")) == 12


@pytest.mark.parametrize("standardise", ["source", "corpus"])
def test_test_features_change_no_byte_of_any_model(recipe_data, standardise):
    recipe = parse(recipe_data, seeds=[0], sources=["red"], targets=["blue"], keep_models=True)
    recipe = recipe.model_copy(update={"standardise": standardise})
    setup = set_up(recipe)
    fold = setup.data.targets["blue"][0]
    table = setup.data.table
    part = table.modalities["text"]
    values = part.values.clone()
    values[table.rows(fold.test)] += 3.0
    moved = replace(table, modalities={"text": replace(part, values=values)})
    one_fold = {"blue": (fold,)}
    true = replace(setup.data, targets=one_fold)
    changed = replace(true, table=moved)
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as name:
        roots = [Path(name) / "true", Path(name) / "moved"]
        for data, root in zip((true, changed), roots, strict=True):
            for cell in transfer_cells(recipe):
                run_cell(cell, recipe, data, root)
        assert hashes(roots[0]) == hashes(roots[1])
        assert answers(roots[0]) != answers(roots[1])
        models = [sorted(p.relative_to(r) for p in r.rglob("*model.safetensors")) for r in roots]
        assert models[0] == models[1]
        for path in models[0]:
            assert (roots[0] / path).read_bytes() == (roots[1] / path).read_bytes()


def test_unlabelled_target_data_only_where_the_method_says_so(recipe_data, tmp_path):
    """Other features of target train, beside the shots: only dann, mmd and coral may notice."""
    recipe = parse(recipe_data, seeds=[0], sources=["red"], targets=["blue"])
    data = set_up(recipe).data
    fold = data.targets["blue"][0]
    data = replace(data, targets={"blue": (fold,)})
    for cell in transfer_cells(recipe):
        run_cell(cell, recipe, data, tmp_path / "true")
    from emofuse.training.transferring.shots import Shots, draw_shots

    shots = draw_shots(data.pool("blue", 0), Shots.parse("50%"), 0, f"blue\n{fold.name}")
    kept = {u.id for u in shots}
    rows = data.table.rows([name for name in fold.pool if name not in kept])
    part = data.table.modalities["text"]
    values = part.values.clone()
    values[rows] = torch.randn(len(rows), part.dim, generator=torch.Generator().manual_seed(0))
    moved = replace(data.table, modalities={"text": replace(part, values=values)})
    changed = replace(data, table=moved)
    for cell in transfer_cells(recipe):
        run_cell(cell, recipe, changed, tmp_path / "moved")
    true, other = hashes(tmp_path / "true"), hashes(tmp_path / "moved")
    noticed = {name.split("-")[-3] for name in true if true[name] != other[name]}
    assert noticed == {"dann", "mmd", "coral"}


def test_class_order_is_names(recipe_data, tmp_path):
    """A scheme in another order: every label still means the same, to the last decimal."""
    recipe_data["model"] = {"name": "linear"}
    recipe_data["trainer"] = {"optimiser": "lbfgs", "epochs": 200, "device": "cpu"}
    recipe_data["methods"] = ["none", "finetune", "prototypes", "target"]
    recipe_data["sources"], recipe_data["targets"] = ["red"], ["blue"]
    recipe_data["shots"] = ["50%"]
    recipe_data["seeds"] = [0]
    orders = [list(CLASSES), [CLASSES[2], CLASSES[0], CLASSES[1]]]
    frames = []
    for number, order in enumerate(orders):
        recipe_data["data"]["scheme"] = {"name": "toy", "classes": order}
        found = transfer(parse(recipe_data), tmp_path / str(number))
        frames.append(
            {
                row.folder: read_predictions(found.folder / row.folder / "predictions.parquet")[0]
                for row in found.matrix.rows
            }
        )
    assert frames[0].keys() == frames[1].keys()
    columns = [f"p:{name}" for name in CLASSES]
    for name, frame in frames[0].items():
        other = frames[1][name]
        assert list(frame["gold"]) == list(other["gold"])
        assert np.allclose(frame[columns], other[columns], atol=2e-3), name


def test_corpora_whose_labels_come_in_another_order(recipe_data, tmp_path):
    """A manifest whose first label is another corpus's last; swapped integers would score 0."""
    for name, turn in (("red", 0), ("blue", 1)):
        items = utterances(name, speakers=6, each=30)
        items = sorted(items, key=lambda u: ((CLASSES.index(u.emotion) + turn) % 3, u.id))
        Manifest(items, tmp_path).save(tmp_path / f"{name}.jsonl")
    recipe_data["trainer"]["epochs"] = 30
    found = transfer(parse(recipe_data, methods=["none"], seeds=[0]), tmp_path / "out")
    assert min(row.ua for row in found.matrix.rows) > 0.8


def test_none_is_the_source_model_by_an_independent_road(recipe_data, tmp_path):
    """Logistic regression of scikit-learn on source train gives the same predictions."""
    recipe_data["model"] = {"name": "linear"}
    recipe_data["trainer"] = {
        "optimiser": "lbfgs",
        "epochs": 1000,
        "weight_decay": 0.05,
        "device": "cpu",
    }
    recipe = parse(recipe_data, methods=["none"], seeds=[0], sources=["red"], targets=["blue"])
    found = transfer(recipe, tmp_path / "out")
    data = set_up(recipe).data
    train = data.part(data.sources["red"][0])
    values = data.table.modalities["text"].values.double().numpy()
    x, y = values[train.rows], train.targets.labels.numpy()
    mean, std = x.mean(axis=0), x.std(axis=0)
    std[std < 1e-6] = 1.0
    model = LogisticRegression(C=1 / (len(x) * 0.05), max_iter=5000, tol=1e-8)
    model.fit((x - mean) / std, y)
    frame, _ = read_predictions(found.folder / "settings/red-to-blue-none-0/predictions.parquet")
    rows = data.table.rows(list(frame["id"]))
    shares = model.predict_proba((values[rows] - mean) / std)
    assert np.allclose(frame[[f"p:{name}" for name in CLASSES]], shares, atol=2e-3)


def test_finetune_trains_the_parts_it_is_told(recipe_data, tmp_path):
    methods = [
        {"name": "finetune", "train": ["head"], "label": "head"},
        {"name": "finetune", "freeze": ["projections"], "label": "above"},
    ]
    recipe = parse(recipe_data, methods=methods, seeds=[0], keep_models=True)
    data = set_up(recipe).data
    cells = [cell for cell in transfer_cells(recipe) if cell.target == "blue" or cell.is_source]
    for cell in cells:
        run_cell(cell, recipe, data, tmp_path)
    from safetensors.torch import load_file

    start = load_file(tmp_path / "sources/red-0/model.safetensors")
    for method, learnt in (("head", ("head",)), ("above", ("fusion", "head"))):
        end = load_file(tmp_path / f"cells/red-to-blue-{method}-50pct-0/fold-1-model.safetensors")
        moved = {name for name in start if not torch.equal(start[name], end[name])}
        assert moved
        assert {name.split(".")[0] for name in moved} == set(learnt)
    wrong = parse(recipe_data, methods=[{"name": "finetune", "train": ["haed"]}], seeds=[0])
    with pytest.raises(OptionError, match="no part 'haed'; did you mean 'head'"):
        run_cell(Cell("red", "blue", "finetune", "50%", 0), wrong, data, tmp_path / "wrong")
    nothing = parse(
        recipe_data,
        methods=[{"name": "finetune", "freeze": ["fusion", "head", "projections", "inputs"]}],
    )
    with pytest.raises(OptionError, match=r"no part 'inputs'|nothing that learns"):
        run_cell(Cell("red", "blue", "finetune", "50%", 0), nothing, data, tmp_path / "wrong")


def test_shots_help_and_prototypes_of_all_shots_are_class_means(recipe_data, tmp_path):
    recipe = parse(recipe_data, shots=["100%"], methods=["prototypes"], seeds=[0], keep_models=True)
    data = set_up(recipe).data
    cell = Cell("red", "blue", "prototypes", "100%", 0)
    run_cell(cell, recipe, data, tmp_path)
    from safetensors.torch import load_file

    from emofuse.models.build import build_model
    from emofuse.models.contract import ModelSpec

    model = build_model("mlp", recipe.model_options, ModelSpec(data.table.dims, 3))
    model.load_state_dict(load_file(tmp_path / "sources/red-0/model.safetensors"))
    model.eval()
    with torch.no_grad():
        every = model(data.table.batch(torch.arange(len(data.table.ids)))).embeddings["fused"]
    fold = data.targets["blue"][0]
    rows = every.numpy()
    labels = np.array([CLASSES.index(data.known[name].emotion) for name in fold.pool])
    pool, test = rows[data.table.rows(fold.pool)], rows[data.table.rows(fold.test)]
    means = np.stack([pool[labels == place].mean(axis=0) for place in range(3)])
    expected = -((test[:, None] - means[None]) ** 2).sum(axis=2)
    logits = load_file(cell.folder(tmp_path) / "fold-1.safetensors")["logits"].numpy()
    assert np.allclose(logits, expected, atol=1e-4)


def test_standardised_by_corpus(recipe_data):
    data = set_up(parse(recipe_data)).data
    fold = data.targets["blue"][0]
    pool, test = data.table.rows(fold.pool), data.table.rows(fold.test)
    found = standardised(data.table, [(torch.cat([pool, test]), pool)])
    before, after = (table.modalities["text"].values.double() for table in (data.table, found))
    mean, std = before[pool].mean(dim=0), before[pool].std(dim=0, correction=0)
    spread = std > 1e-5
    expected = (before[test] - mean) / torch.where(spread, std, torch.ones_like(std))
    assert torch.allclose(after[test], expected, atol=1e-4)
    others = torch.ones(len(before), dtype=torch.bool)
    others[torch.cat([pool, test])] = False
    assert torch.equal(after[others], before[others])


def test_several_corpora_are_one_source(make_corpora, recipe_data, tmp_path):
    recipe_data["data"]["manifest"] = make_corpora(("red", "blue", "green"))
    recipe = parse(recipe_data, sources=["red+blue", "red"], targets=["green", "blue"], seeds=[0])
    pairs = {
        (cell.source, cell.target) for cell in transfer_cells(recipe) if cell.source and cell.target
    }
    assert pairs == {("red+blue", "green"), ("red", "green"), ("red", "blue")}
    recipe = recipe.model_copy(
        update={"methods": parse(recipe_data, methods=["none"]).methods, "standardise": "corpus"}
    )
    found = transfer(recipe, tmp_path / "out")
    assert {row.source for row in found.matrix.rows} == {"red+blue", "red"}


def test_a_failing_cell_leaves_the_others(recipe_data, tmp_path):
    recipe_data["trainer"]["learning_rate"] = 1e-2
    methods = ["none", {"name": "finetune", "learning_rate": 1e30}]
    recipe = parse(recipe_data, methods=methods, seeds=[0])
    with pytest.raises(TrainingError, match=r"2 of 6 cells failed, the others are kept.*finetune"):
        transfer(recipe, tmp_path / "out")
    assert len(list((tmp_path / "out/cells").glob("*none*/result.json"))) == 2
    assert count_openings(tmp_path / "out") == 0
    assert not (tmp_path / "out/transfer.json").exists()


def test_an_alignment_needs_something_to_move(recipe_data, tmp_path):
    recipe = parse(recipe_data, model={"name": "linear"}, methods=["mmd"], seeds=[0])
    with pytest.raises(TrainingError, match="mmd moves what the classifier reads"):
        transfer(recipe, tmp_path / "out")


def test_a_contaminated_encoder_is_stamped(recipe_data, tmp_path, monkeypatch):
    import emofuse.training.transferring.data as module

    real = module.gather

    def gather(*arguments):
        run = real(*arguments)
        encoders = {
            name: {**one, "provenance": {"labelled_on": ["blue"], "adapted_on": []}}
            for name, one in run.table.encoders.items()
        }
        return replace(run, table=replace(run.table, encoders=encoders))

    monkeypatch.setattr(module, "gather", gather)
    recipe = parse(recipe_data, methods=["none"], seeds=[0])
    found = transfer(recipe, tmp_path / "out")
    stamps = {row.target: row.stamp for row in found.matrix.rows}
    assert stamps == {"blue": "speaker-independent, CONTAMINATED", "red": "speaker-independent"}
    run = read_run(found.folder / "settings/red-to-blue-none-0")
    assert run.stamp.contaminated == ("the text encoder saw blue with labels",)


def test_a_speaker_in_both_halves_stops_the_matrix(recipe_data, tmp_path):
    """Folds by session promise new speakers; here every speaker is in every session."""
    for name in ("red", "blue"):
        items = enumerate(utterances(name))
        dressed = [u.model_copy(update={"session": f"{name}-{n % 4}"}) for n, u in items]
        Manifest(dressed, tmp_path).save(tmp_path / f"{name}.jsonl")
    recipe = parse(recipe_data, protocol={"name": "group-kfold", "by": "session", "k": 2})
    with pytest.raises(ProtocolError, match="share their speaker"):
        transfer(recipe, tmp_path / "out")
    assert not (tmp_path / "out/cells").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": ["rde", "blue"]}, "no utterance of corpus 'rde'; did you mean 'red'"),
        ({"methods": ["dan"]}, "did you mean 'dann'"),
        ({"methods": [{"name": "mmd", "multiplier": 1}]}, "unknown key 'multiplier'"),
        ({"methods": ["mmd", "mmd"]}, "'mmd' is listed twice"),
        ({"shots": ["110%"]}, "0% to 100%"),
        ({"shot": [1]}, "unknown key 'shot'; did you mean 'shots'"),
        ({"standardise": "target"}, "standardise"),
        ({"sources": ["red"], "targets": ["red"]}, "nothing to transfer"),
        ({"shots": [0], "methods": ["finetune"]}, "no method goes with these shots"),
        ({"trainer": {"optimiser": "lbfgs"}}, "draws batches"),
        (
            {"trainer": {"select": {"weight_decay": [0.1, 1.0]}}},
            "neither trainer.stages nor trainer.select apply",
        ),
        ({"augment": {"policy": "basic"}}, "augment"),
        ({"trainer": {"tracking": ["csv"]}}, "not tracked"),
    ],
)
def test_one_clear_line(recipe_data, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message.replace("(", r"\(")) as error:
        transfer(parse(recipe_data, **changes), tmp_path / "out")
    assert "\n" not in str(error.value)


def test_the_recipes_of_the_package():
    recipe = load_transfer("open-corpora", ["seeds=[0]", "shots=[0, 1, '20%']"])
    assert recipe == load_transfer("transfer/open-corpora", ["seeds=[0]", "shots=[0, 1, 20%]"])
    assert recipe.shots == ("0", "1", "20%")
    assert TransferRecipe.parse(recipe.model_dump(mode="json")) == recipe
    with pytest.raises(UsageError, match="did you mean 'transfer/open-corpora'"):
        load_transfer("open-corpra")
    from emofuse.training.recipe import load_recipe

    with pytest.raises(UsageError, match="emofuse transfer transfer/open-corpora"):
        load_recipe("transfer/open-corpora")
