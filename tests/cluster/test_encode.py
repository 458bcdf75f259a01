"""Encoding by workers: the same features, byte for byte, whoever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emofuse.cli.app import app
from emofuse.cluster.engine import Engine
from emofuse.encoders.build import load_encoder
from emofuse.encoders.contract import EncoderSpec
from emofuse.errors import MediaError
from emofuse.features.encode import encode_manifest
from emofuse.features.keys import FeatureKey, encoder_space
from emofuse.features.plan import make_plans
from emofuse.features.spread import encode_spread
from emofuse.features.store import FeatureStore
from emofuse.manifest import Manifest, ManifestFile, Utterance

SPEC = EncoderSpec.from_text("logmel:pooling=mean+std")
PROCESSES = Engine(workers=2)
RAY = Engine("ray", workers=2)
TWO_NODES = """
import json
import os
import sys
from pathlib import Path
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_register_timeout_seconds": "600"}
from ray.cluster_utils import Cluster
from emofuse.cluster.engine import Engine
from emofuse.encoders.contract import EncoderSpec
from emofuse.features.spread import encode_spread
from emofuse.features.store import FeatureStore
from emofuse.manifest import ManifestFile

if __name__ == "__main__":
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=1)
        nodes = len(cluster.list_all_nodes())
        spec = EncoderSpec.from_text("logmel:pooling=mean+std")
        engine, store = Engine("ray", cluster.address), FeatureStore(Path(sys.argv[2]))
        found = encode_spread(
            ManifestFile(Path(sys.argv[1])), "audio", spec, store, engine=engine
        )
    finally:
        cluster.shutdown()
    print(json.dumps([nodes, found.done, list(found.quarantined)]))
"""


@pytest.fixture
def corpus(tmp_path):
    """Forty voices of 2 to 8 s; one is a copy, one slices another, one is no sound."""
    random = np.random.default_rng(0)
    utterances = []
    for number in range(40):
        name = f"{number:02d}.wav"
        wave = random.normal(size=int(16_000 * random.uniform(2, 8))) * 0.1
        soundfile.write(tmp_path / name, wave, 16_000)
        utterances.append(Utterance(id=f"u{number:02d}", audio=name, text=f"sentence {number}"))
    (tmp_path / "copy.wav").write_bytes((tmp_path / "03.wav").read_bytes())
    (tmp_path / "broken.wav").write_bytes(b"no sound at all")
    utterances += [
        Utterance(id="copy", audio="copy.wav"),
        Utterance(id="slice", audio="05.wav", start=0.5, end=1.5),
        Utterance(id="broken", audio="broken.wav"),
        Utterance(id="silent", text="no voice"),
    ]
    Manifest(utterances, tmp_path).save(tmp_path / "m.jsonl")
    return ManifestFile(tmp_path / "m.jsonl")


def arrays(corpus, store, modality="audio", spec=SPEC):
    """Content -> bytes, of all that the store should hold."""
    space = encoder_space(load_encoder(modality, spec, "cpu"))
    opened = FeatureStore(store)
    contents = [work.content for plan in make_plans(corpus, modality) for work in plan.works]
    found = opened.get_many([FeatureKey(space, content) for content in contents])
    return {c: None if a is None else a.tobytes() for c, a in zip(contents, found, strict=True)}


def plain(report):
    return (report.done, report.skipped, report.absent, dict(report.quarantined))


def check_same(corpus, tmp_path, engine):
    alone = encode_manifest(corpus, "audio", SPEC, FeatureStore(tmp_path / "alone"))
    told = []
    spread = encode_spread(
        corpus, "audio", SPEC, FeatureStore(tmp_path / "spread"), told.append, engine=engine
    )
    assert plain(spread) == plain(alone)
    assert spread.audio_seconds == pytest.approx(alone.audio_seconds)
    assert list(spread.quarantined) == ["broken"]
    found = arrays(corpus, tmp_path / "spread")
    assert found == arrays(corpus, tmp_path / "alone")
    assert None not in found.values()
    assert {event.stage for event in told} == {"check audio", "encode audio"}
    again = encode_spread(corpus, "audio", SPEC, FeatureStore(tmp_path / "spread"), engine=engine)
    assert (again.done, again.skipped) == (0, alone.done + alone.skipped)


def children(parent, depth):
    """Processes below one, so many steps down."""
    found = {int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()}
    level = {parent}
    for _ in range(depth):
        level = {pid for pid in found if _parent(pid) in level}
    return level


def _parent(pid):
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return -1


def title(pid):
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def check_killed(corpus, tmp_path, engine, workers):
    """A worker is killed when the first task is done: the other one, or the same, works on."""
    killed = []

    def kill(event):
        if event.stage == "encode audio" and not killed:
            pid = sorted(workers())[-1]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    report = encode_spread(
        corpus, "audio", SPEC, FeatureStore(tmp_path / "spread"), kill, engine=engine
    )
    alone = encode_manifest(corpus, "audio", SPEC, FeatureStore(tmp_path / "alone"))
    assert killed
    assert list(report.quarantined) == list(alone.quarantined)
    assert arrays(corpus, tmp_path / "spread") == arrays(corpus, tmp_path / "alone")


def test_processes_give_the_same(corpus, tmp_path):
    check_same(corpus, tmp_path, PROCESSES)


def test_a_killed_process_loses_nothing(corpus, tmp_path):
    def workers():
        return {pid for pid in children(os.getpid(), 1) if b"spawn_main" in title(pid)}

    check_killed(corpus, tmp_path, PROCESSES, workers)


@pytest.mark.slow
def test_ray_gives_the_same(corpus, tmp_path):
    check_same(corpus, tmp_path, RAY)


@pytest.mark.slow
def test_a_killed_ray_worker_loses_nothing(corpus, tmp_path):
    def workers():
        return {pid for pid in children(os.getpid(), 2) if b"ray::_Actor" in title(pid)}

    check_killed(corpus, tmp_path, RAY, workers)


@pytest.mark.slow
def test_a_cluster_of_two_nodes_by_address(corpus, tmp_path):
    """In a process of its own: a Ray that ran in this one before leaves traces that a new cluster
    of several nodes stumbles over."""
    pytest.importorskip("ray")
    run = subprocess.run(
        [sys.executable, "-c", TWO_NODES, str(tmp_path / "m.jsonl"), str(tmp_path / "spread")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    told = json.loads(run.stdout.splitlines()[-1])
    alone = encode_manifest(corpus, "audio", SPEC, FeatureStore(tmp_path / "alone"))
    assert told == [2, alone.done, ["broken"]]
    assert arrays(corpus, tmp_path / "spread") == arrays(corpus, tmp_path / "alone")


@pytest.mark.slow
def test_the_command_says_the_same(corpus, tmp_path):
    manifest = str(tmp_path / "m.jsonl")
    reports = []
    for name, more in [("one", []), ("two", ["--engine", "ray", "--workers", "2"])]:
        store = ["--store", str(tmp_path / name), "--json"]
        shown = CliRunner().invoke(
            app, ["encode", manifest, "--audio", "logmel", "--text", "ngrams", *store, *more]
        )
        assert shown.exit_code == 1  # one is no sound
        found = json.loads(shown.stdout)
        for one in found.values():
            del one["seconds"]
            one["audio_seconds"] = round(one["audio_seconds"], 6)  # added up in another order
        reports.append(found)
    assert reports[0] == reports[1]


def test_strict_and_alone(corpus, tmp_path):
    with pytest.raises(MediaError, match="broken"):
        encode_spread(
            corpus,
            "audio",
            SPEC,
            FeatureStore(tmp_path / "s"),
            engine=PROCESSES,
            strict=True,
        )
    report = encode_spread(
        corpus,
        "text",
        EncoderSpec.from_text("ngrams"),
        FeatureStore(tmp_path / "t"),
        engine=Engine(),
    )
    assert report.done == 41
