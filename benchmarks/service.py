"""The service under load, on loopback alone: against a plain handler, full queues, ten thousand.

    python benchmarks/service.py RUN CLIPS

``RUN`` is a run or a bundle, ``CLIPS`` a folder of WAV files. The plain handler is what one writes
first: FastAPI, the file of the request, the same recogniser, one request at a time; once with one
thread for the model, once with the libraries' defaults. ``--fast`` names what else is served: a run
or a bundle, or ``auto``, the same with ``--precision auto``. All run in processes of their own and
take turns; clients are coroutines of this process that each send the next request when the last is
answered. Processor time is that of the server's process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
LEVELS = (1, 8, 32)
PLAIN = ("plain, 1 thread", "plain")


@dataclass
class Load:
    """What clients saw of a server."""

    seconds: float = 0.0
    processor: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds within which so many of the answers came."""
        return sorted(self.latencies)[
            min(int(share * len(self.latencies)), len(self.latencies) - 1)
        ]


def plain(run: str, device: str) -> None:
    """Serve as one does first."""
    import uvicorn
    from fastapi import FastAPI, UploadFile

    from emofuse import Recognizer

    recognizer = Recognizer.load(run, device)
    app = FastAPI()

    async def recognise(file) -> dict[str, object]:  # type: ignore[no-untyped-def]
        return recognizer.recognise(await file.read()).model_dump()

    recognise.__annotations__["file"] = UploadFile  # FastAPI reads it; the import is local
    app.add_api_route("/v1/recognize", recognise, methods=["POST"])
    config = uvicorn.Config(app, port=0, access_log=False, log_level="info")
    uvicorn.Server(config).run()


@contextmanager
def started(command: Sequence[str], threads: int | None = None) -> Iterator[tuple[int, int]]:
    """Start a server with so many threads, or as many as it likes; give process and port."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    env |= {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found:
                break
        else:
            raise SystemExit("the server did not start")
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        yield process.pid, int(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def request_of(clip: bytes) -> bytes:
    head = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    body = head.encode() + b"Content-Type: audio/wav\r\n\r\n" + clip + b"\r\n--x--\r\n"
    return (
        b"POST /v1/recognize HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


async def one_client(port: int, work: Iterator[bytes], load: Load) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in work:
        begun = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert length is not None, head
        await reader.readexactly(int(length[1]))
        load.latencies.append(time.perf_counter() - begun)
        load.statuses[int(head[9:12])] += 1
        if b"connection: close" in head.lower():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()


async def crowd(port: int, clients: int, requests: Sequence[bytes], load: Load) -> None:
    work = iter(requests)
    await asyncio.gather(*(one_client(port, work, load) for _ in range(clients)))


def press(pid: int, port: int, clients: int, requests: Sequence[bytes]) -> Load:
    load = Load()
    before, begun = processor_of(pid), time.perf_counter()
    asyncio.run(crowd(port, clients, requests, load))
    load.seconds, load.processor = time.perf_counter() - begun, processor_of(pid) - before
    return load


def processor_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_of(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def compare(options: argparse.Namespace, clips: Sequence[bytes]) -> None:
    """Throughput and latency of all ways at every level; the ways take turns."""
    requests = [request_of(clips[n % len(clips)]) for n in range(options.requests)]
    found: dict[tuple[str, int], list[Load]] = {}
    with ExitStack() as stack:
        ways = begun(options, stack)
        for pid, port in ways.values():
            press(pid, port, 8, requests[:32])
        for _ in range(options.rounds):
            for clients in LEVELS:
                some = requests if clients > 1 else requests[: len(requests) // 4]
                for way, (pid, port) in ways.items():
                    found.setdefault((way, clients), []).append(press(pid, port, clients, some))
    print("clients way              requests/s   p50 ms   p95 ms   processor ms   statuses")
    for clients in LEVELS:
        for way in ways:
            tell(way, clients, found[way, clients])
        for way in [one for one in ways if one not in PLAIN]:
            for other in PLAIN:
                pairs = zip(found[way, clients], found[other, clients], strict=True)
                ratios = [round(one.rate / two.rate, 2) for one, two in pairs]
                print(f"{clients:7d} {way}: throughput, times {other!r}: {ratios}")


def begun(options: argparse.Namespace, stack: ExitStack) -> dict[str, tuple[int, int]]:
    """Start every way; give its process and port."""
    naive = [__file__, options.run, str(options.clips), "--plain", "--device", options.device]
    ours = serving(options, options.run)
    ways = {
        PLAIN[0]: stack.enter_context(started(naive, 1)),
        PLAIN[1]: stack.enter_context(started(naive)),
        "emofuse": stack.enter_context(started(ours)),
    }
    if options.fast is not None:
        same = options.fast == "auto"
        quick = [*ours, "--precision", "auto"] if same else serving(options, options.fast)
        ways["emofuse, fast"] = stack.enter_context(started(quick))
    return ways


def serving(options: argparse.Namespace, run: str) -> list[str]:
    ours = ["-m", "emofuse", "serve", run, "--port", "0", "--device", options.device]
    return [*ours, *options.set]


def tell(way: str, clients: int, loads: Sequence[Load]) -> None:
    def middle(values: Iterator[float]) -> float:
        return statistics.median(values)

    statuses: Counter[int] = sum((one.statuses for one in loads), Counter())
    each = middle(1000 * one.processor / len(one.latencies) for one in loads)
    print(
        f"{clients:7d} {way:16s} {middle(one.rate for one in loads):10.1f} "
        f"{middle(1000 * one.quantile(0.5) for one in loads):8.1f} "
        f"{middle(1000 * one.quantile(0.95) for one in loads):8.1f} {each:14.1f}   {dict(statuses)}"
    )


def endure(options: argparse.Namespace, clips: Sequence[bytes]) -> None:
    """Memory over many requests, and what a crowd beyond the queue gets."""
    with started(serving(options, options.run)) as (pid, port):
        step = max(options.endure // 10, 1)
        requests = [request_of(clips[n % len(clips)]) for n in range(step)]
        statuses: Counter[int] = Counter()
        print("requests    MiB")
        for turn in range(11):
            print(f"{turn * step:8d} {memory_of(pid):6.0f}", flush=True)
            if turn < 10:
                statuses += press(pid, port, 32, requests).statuses
        print("statuses", dict(statuses))
        load = press(pid, port, 128, requests[:1000])
        print("128 clients, queue of 64:", dict(load.statuses), f"{memory_of(pid):.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", help="A run or a bundle; trained on EmoDB unless told.")
    parser.add_argument("clips", nargs="?", type=Path, help="A folder of WAV files; EmoDB's.")
    parser.add_argument("--fast", help="What else is served: a run, a bundle, or auto.")
    parser.add_argument("--plain", action="store_true", help="Be the plain handler.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--endure", type=int, default=0, help="Requests to look at memory over.")
    parser.add_argument("--set", type=json.loads, default=[], help="JSON list for emofuse serve.")
    options = parser.parse_args()
    if options.plain:
        plain(options.run, options.device)
        return
    if options.run is None or options.clips is None:
        assets = os.environ.get("EMOFUSE_ASSETS")
        if assets is None:
            print("skipped: give RUN and CLIPS, or set EMOFUSE_ASSETS")
            return
        with tempfile.TemporaryDirectory() as folder:
            options.run = options.run or trained(Path(assets), Path(folder))
            options.clips = options.clips or Path(assets) / "data" / "emodb" / "wav"
            measure(options)
        return
    measure(options)


def trained(assets: Path, home: Path) -> str:
    """Train what the figures of the manual were measured with: Whisper tiny.en, EmoDB."""
    emofuse = [sys.executable, "-m", "emofuse"]
    manifest, run = home / "emodb.jsonl", home / "run"
    prepare = [*emofuse, "prepare", "emodb", str(assets / "data" / "emodb"), "-o", str(manifest)]
    train = [*emofuse, "train", "whisper-linear", f"data.manifest={manifest}", "-o", str(run)]
    train += ["data.scheme=basic4", "trainer.select=null", "trainer.weight_decay=0.01"]
    train += [f"encoders.audio.name={assets / 'models' / 'whisper-tiny.en'}"]
    for command in (prepare, train):
        subprocess.run(command, check=True, capture_output=True)
    return str(run)


def measure(options: argparse.Namespace) -> None:
    files = sorted(options.clips.glob("*.wav"))[:64]
    clips = [file.read_bytes() for file in files]
    if not clips:
        raise SystemExit(f"{options.clips} holds no WAV file")
    print(f"{len(clips)} clips, {sum(map(len, clips)) / len(clips) / 1024:.0f} kB each, mean")
    if options.endure:
        endure(options, clips)
    else:
        compare(options, clips)


if __name__ == "__main__":
    main()
