"""The package as a whole: what is public, what is light, what depends on what."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import emofuse

PUBLIC = {
    "EmofuseError",
    "LabelScheme",
    "Manifest",
    "Recognition",
    "Recognizer",
    "Utterance",
    "__version__",
    "get_scheme",
    "load_recipe",
    "prepare",
    "train",
}
HEAVY = ("torch", "transformers", "sklearn", "matplotlib", "pandas", "accelerate")


def test_the_public_names_are_these_and_all_resolve() -> None:
    assert set(emofuse.__all__) == PUBLIC
    assert list(emofuse.__all__) == sorted(emofuse.__all__)
    for name in PUBLIC:
        assert getattr(emofuse, name) is not None
        assert name in dir(emofuse)


def test_public_objects_say_where_they_are_imported_from() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Manifst'"):
        emofuse.Manifst  # noqa: B018


def test_version_is_the_installed_one() -> None:
    assert version("emofuse") == emofuse.__version__


@pytest.mark.parametrize(
    "code",
    [
        "import emofuse",
        "import emofuse; emofuse.Manifest, emofuse.get_scheme",
        (
            "import sys; from emofuse.cli.app import app; sys.argv = ['emofuse', '--help']\n"
            "try: app()\nexcept SystemExit: pass"
        ),
    ],
)
def test_import_and_help_are_light(code: str) -> None:
    probe = f"{code}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
