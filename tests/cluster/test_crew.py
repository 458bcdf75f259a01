"""Tasks for workers: the same contract for this process, for processes, and for Ray."""

from __future__ import annotations

import os

import pytest

from emofuse.cluster.crew import map_tasks, open_crew
from emofuse.cluster.engine import Engine
from emofuse.errors import MediaError, MissingExtraError, OptionError, WorkError

LOCAL = [Engine(), Engine(workers=2)]
RAY = Engine("ray", workers=2)


def check_contract(engine, tasks, tmp_path):
    with open_crew(engine, tasks.setup) as crew:
        told = []
        assert crew.map(tasks.slow_square, range(6), lambda *a: told.append(a)) == [
            n * n for n in range(6)
        ]
        assert told == [(n, 6) for n in range(1, 7)]
        assert crew.map(tasks.square, []) == []
        seen = crew.map(tasks.who, range(8))
        assert all(made == own for made, own, _ in seen)
        assert {folder for *_, folder in seen} == {str(tmp_path)}
        assert len({own for _, own, _ in seen}) <= crew.size
        if not engine.alone:
            assert os.getpid() not in {own for _, own, _ in seen}
            assert {p for p, *_ in crew.map(tasks.who, range(8))} <= {p for p, *_ in seen}


def check_errors(engine, tasks):
    with pytest.raises(MediaError, match="^two is no sound$"):
        map_tasks(tasks.fail, [1, 2], engine=engine)
    with pytest.raises(MissingExtraError, match=r"pip install 'emofuse\[extra\]'"):
        map_tasks(tasks.fail, [3], engine=engine)
    with pytest.raises(WorkError, match="KeyError"):
        map_tasks(tasks.fail, [4], engine=engine)
    with pytest.raises(MediaError, match="no such encoder"):
        map_tasks(tasks.fail, [1], engine=engine, setup=tasks.no_setup)


def check_kills(engine, tasks, tmp_path):
    mark = tmp_path / "mark"
    items = [(str(mark), number) for number in range(4)]
    assert map_tasks(tasks.die_once, items, engine=engine) == [0, 1, 2, 3]
    assert mark.exists()
    with pytest.raises(WorkError, match="task 2 of 3 lost 4 workers"):
        map_tasks(tasks.die_always, [0, 1, 2], engine=engine)


@pytest.mark.parametrize("engine", LOCAL)
def test_contract(engine, tasks, tmp_path):
    check_contract(engine, tasks, tmp_path)


def test_errors_come_back_as_they_are(tasks):
    check_errors(Engine(workers=2), tasks)


def test_a_killed_process_loses_nothing(tasks, tmp_path):
    check_kills(Engine(workers=2), tasks, tmp_path)


def test_ray_quietly(tasks, tmp_path, capfd):
    before = dict(os.environ)
    with open_crew(RAY, tasks.setup) as crew:
        assert crew.size == 2
        assert crew.map(tasks.square, range(5)) == [0, 1, 4, 9, 16]
        mark = tmp_path / "mark"
        items = [(str(mark), number) for number in range(3)]
        assert crew.map(tasks.die_once, items) == [0, 1, 2]
        assert mark.exists()
        import ray

        assert ray.is_initialized()
    assert not ray.is_initialized()
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_ray_keeps_the_contract(tasks, tmp_path):
    check_contract(RAY, tasks, tmp_path)
    check_errors(RAY, tasks)
    check_kills(RAY, tasks, tmp_path)


def test_no_cluster_at_an_address(tasks):
    with pytest.raises(WorkError, match="no Ray at 127.0.0.1:1: "):
        map_tasks(tasks.square, [1], engine=Engine("ray", address="127.0.0.1:1"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rey",), "did you mean 'ray'"),
        (("local", "head:6379"), "add --engine ray"),
        (("local", None, 0), "0 workers"),
    ],
)
def test_an_engine_that_is_none(arguments, said):
    with pytest.raises(OptionError, match=said):
        Engine(*arguments)
