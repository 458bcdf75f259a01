import struct

import numpy as np
import pytest

from emofuse.evaluation.plots import confusion_png, curves_png
from emofuse.evaluation.runs import History


def size(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


@pytest.mark.parametrize("classes", [2, 7, 12])
def test_a_confusion_matrix_grows_with_its_classes(classes):
    counts = np.random.default_rng(0).integers(0, 50, (classes, classes))
    width, height = size(confusion_png(counts, [f"class {c}" for c in range(classes)]))
    assert min(width, height) >= max(400, 90 * classes)


def test_pictures_are_deterministic_and_leave_pyplot_alone():
    import sys

    counts = np.eye(3, dtype=int)
    names = ["a", "b", "c"]
    assert confusion_png(counts, names) == confusion_png(counts, names)
    assert confusion_png(counts, names) != confusion_png(counts[::-1], names)
    histories = [History("f-0", {"epoch": (1.0, 2.0), "loss": (0.5, 0.4)})]
    assert curves_png(histories) == curves_png(histories)
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize("name", ["$x^$", "$\\frac{", "感情", "a\nb", "_hidden", "x" * 200, "😀"])
def test_strange_class_names_can_be_drawn(name):
    assert min(size(confusion_png(np.zeros((2, 2), int), [name, "b"]))) > 100
    history = History(name, {"epoch": (1.0,), "loss": (1.0,), f"dev_{name}": (0.5,)})
    assert min(size(curves_png([history]))) > 100


def test_holes_and_unequal_lengths_are_drawn():
    nan = float("nan")
    histories = [
        History(
            "a", {"epoch": (1.0, 2.0, 3.0), "loss": (nan, nan, nan), "dev_ua": (0.1, nan, 0.3)}
        ),
        History("b", {"epoch": (1.0, nan), "loss": (1.0, float("inf"))}),
    ]
    assert min(size(curves_png(histories))) > 100


def test_without_losses_or_metrics_there_is_no_picture():
    assert curves_png([]) is None
    assert curves_png([History("a", {"epoch": (1.0,), "lr": (0.1,)})]) is None
