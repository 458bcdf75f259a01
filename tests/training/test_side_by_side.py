"""Who trains what, and when another process is worth its start; the numbers never depend on it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from emofuse.errors import OptionError, TrainingError
from emofuse.training import crew, schedule_jobs
from emofuse.training.crew import Crew, Setup
from emofuse.training.options import TrainerOptions
from emofuse.training.schedule_jobs import Pace, may_spawn, most_processes, processors


def options(**changes):
    return TrainerOptions.parse({"epochs": 10, "device": "cpu", **changes})


def test_processors_are_those_this_process_may_use(monkeypatch, tmp_path):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(schedule_jobs, "CPU_QUOTA", quota)
    monkeypatch.setattr(
        schedule_jobs.os, "sched_getaffinity", lambda _: set(range(8)), raising=False
    )
    assert processors() == 8
    for text, expected in (("max 100000", 8), ("300000 100000", 3), ("5000 100000", 1), ("?", 8)):
        quota.write_text(text)
        assert processors() == expected


def test_as_many_as_processors_jobs_and_memory_allow(monkeypatch, tmp_path):
    monkeypatch.setattr(schedule_jobs, "processors", lambda: 8)
    monkeypatch.setattr(schedule_jobs, "may_spawn", lambda: True)
    memory = tmp_path / "meminfo"
    monkeypatch.setattr(schedule_jobs, "MEMORY", memory)
    assert most_processes(options(), 25, "cpu") == 8
    assert most_processes(options(), 3, "cpu") == 3
    assert most_processes(options(threads=4), 25, "cpu") == 2
    assert most_processes(options(), 25, "cuda") == 1
    assert most_processes(options(workers=0), 25, "cpu") == 1
    assert most_processes(options(workers=40), 25, "cuda") == 25
    memory.write_text("MemTotal: 9 kB\nMemAvailable:    1500000 kB\n")
    assert most_processes(options(), 25, "cpu") == 3
    with pytest.raises(OptionError, match="workers"):
        options(workers="many")


@pytest.mark.parametrize(
    ("text", "legal"),
    [
        ("import emofuse\nemofuse.train(1, 2)\n", False),
        ("def main(): ...\nif __name__ == '__main__':\n    main()\n", True),
    ],
)
def test_a_script_that_would_run_twice_stays_in_one_process(monkeypatch, tmp_path, text, legal):
    path = tmp_path / "script.py"
    path.write_text(text)
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__file__=str(path), __spec__=None))
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert may_spawn() is legal
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=None))  # a notebook
    assert may_spawn()
    worker = SimpleNamespace(__file__="/x/ray/default_worker.py", __spec__=None)
    monkeypatch.setitem(sys.modules, "__main__", worker)
    assert not may_spawn()
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=None))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not may_spawn()


def test_time_left_is_estimated_from_epochs_then_from_jobs():
    pace = Pace(options(patience=None), jobs=5)
    assert pace.left(0, 3.0) == 0.0
    assert pace.left(2, 4.0) == 2.0 * 10 * 5 - 4.0
    pace.job_done(12.0)
    assert pace.left(0, 0.0) == 48.0
    assert Pace(options(patience=3, refit=True), 1).left(1, 1.0) == 9.0


def test_tiny_runs_start_no_process(make_parts, tmp_path, monkeypatch):
    from emofuse.protocols.contract import Fold
    from emofuse.training.fit import Blueprint
    from emofuse.training.jobs import Job
    from emofuse.training.parallel import Task, run_tasks

    monkeypatch.setattr(Crew, "hire", lambda *_: pytest.fail("a process was started"))
    monkeypatch.setattr(schedule_jobs, "START_SECONDS", 1e6)
    table, train, dev, test = make_parts()
    jobs = [Job(Fold("f", ("a",), (), ("b",)), seed, tmp_path / str(seed)) for seed in range(3)]
    tasks = [Task(job, train, dev, test.rows) for job in jobs]
    blueprint = Blueprint("mlp", {"hidden": 4}, ({"name": "cross-entropy"},), ("a", "b", "c"))
    run_tasks(tasks, blueprint, options(epochs=2), table, lambda *_: None)
    assert all(job.finished for job in jobs)


def test_too_little_shared_memory_is_said_or_passed_over(make_parts, monkeypatch, tmp_path):
    table, *_ = make_parts()
    monkeypatch.setattr(crew, "SHARED", tmp_path)
    monkeypatch.setattr(crew.shutil, "disk_usage", lambda _: SimpleNamespace(free=16), raising=True)
    made = Crew(Setup(None, options(), table), [])
    with pytest.raises(TrainingError, match=r"room for 0 MB .*trainer\.workers=0"):
        made.hire(1)
    assert not table.modalities["audio"].values.is_shared()
    assert torch.is_tensor(table.modalities["audio"].values)
