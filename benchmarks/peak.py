"""The most memory a process held; as a program, ``emofuse`` with that told at the end.

python benchmarks/peak.py encode m.jsonl --audio logmel
"""

from __future__ import annotations

import sys
from pathlib import Path


def peak_kib() -> int:
    """Most memory this process held, in KiB: ``ru_maxrss`` would count its parent's as well."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM:"))
        return int(line.split()[1])
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most


if __name__ == "__main__":
    from emofuse.cli.app import app

    try:
        app(sys.argv[1:])
    finally:
        sys.stderr.write(f"peak {peak_kib()}\n")
