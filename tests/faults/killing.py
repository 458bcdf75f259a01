"""Killing a command at drawn moments, and letting it go on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

# Results are stored all the time, so that a kill has something in between to hit.
COMMAND = (
    "import emofuse.features.session as s; s.FLUSH_SECONDS = 0.0; s.WINDOW_SECONDS = 2.0; "
    "from emofuse.cli.app import main; main()"
)


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def live(arguments, begun, most):
    """Run to the end, or ``most`` seconds after ``begun`` holds; give status and seconds of work.

    The status is that of the process, -9 where it was killed.
    """
    process, first = start(*arguments), None
    while process.poll() is None:
        if first is None and begun():
            first = time.monotonic()
        if first is not None and time.monotonic() - first >= most:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors.decode()
    return process.returncode, 0.0 if first is None else time.monotonic() - first


def kill_again_and_again(arguments_for, begun_in, check, folder, kills, seed):
    """Kill so often, at moments drawn over the work of an undisturbed run; check every end."""
    draw = random.Random(seed)
    status, whole = live(arguments_for(folder / "whole"), lambda: begun_in(folder / "whole"), 1e9)
    assert status == 0
    done = rounds = finished = 0
    while done < kills or not finished:
        here = folder / f"round-{rounds}"
        most = draw.uniform(0.0, 0.9 * whole) if done < kills else 1e9
        known = begun_in(here)
        status, took = live(arguments_for(here), lambda h=here, k=known: k or begun_in(h), most)
        if status == 0:
            whole = whole if known else min(whole, took)  # the machine was busier at first
            check(folder / "whole", here)
            rounds, finished = rounds + 1, finished + 1
        else:
            done += 1
    return finished
