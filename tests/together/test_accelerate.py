"""`accelerate launch` starts two processes that end with the numbers of one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import yaml
from tests.together.launching import TOLERANCE, compare, finish, mlp

from emofuse.errors import UsageError
from emofuse.training.recipe import parse_recipe
from emofuse.training.run import train
from emofuse.training.together.place import together


def launch(program, recipe, folder, *flags):
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
    command += ["--num_machines", "1", "--main_process_port", str(port), "--dynamo_backend", "no"]
    command += ["--mixed_precision", "no", *flags, str(program)]
    command += ["train", str(path), "-o", str(folder), "--json"]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--multi_gpu"], ["--use_fsdp", "--fsdp_version", "2"]])
def test_two_processes(two_modalities, program, tmp_path, flags):
    recipe = mlp(two_modalities)
    finish(launch(program, recipe, tmp_path / "two", *flags))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "two") < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--multi_gpu"], ["--use_fsdp", "--fsdp_version", "2"]])
def test_fine_tuning(raw, program, tmp_path, flags):
    recipe = raw({"audio": "whisper"}, freeze_layers=1)
    finish(launch(program, recipe, tmp_path / "two", *flags))
    alone = train(parse_recipe(recipe), tmp_path / "one")
    assert compare(alone.folder, tmp_path / "two") < TOLERANCE
    found = [folder / "bundle/encoders/audio" for folder in (alone.folder, tmp_path / "two")]
    assert all((one / "model.safetensors").exists() for one in found)


def test_what_accelerate_says_decides(two_modalities, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    recipe = parse_recipe(mlp(two_modalities))
    assert together(recipe).trainer.sharding == "none"
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert together(recipe).trainer.sharding == "fsdp"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(UsageError, match=r"set trainer\.precision=bf16"):
        together(recipe)
