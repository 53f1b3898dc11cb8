"""One process, measured from outside: wall time, CPU time, and memory split into its own and that of mapped
files.

Memory is read from /proc while the process runs, so peaks shorter than the interval can be missed. Of file
pages the kernel counts those that the process has touched and that are still cached, shared with everybody
who maps the file.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.01  # seconds between two looks at memory
MB = 1e6


@dataclass(frozen=True)
class Run:
    """Seconds, and peaks in bytes: `own` is anonymous memory, `mapped` pages of files. `failure` is "" or the
    reason."""

    wall: float
    cpu: float
    own: int
    mapped: int
    failure: str = ""


def compile_package() -> None:
    """What pip does when it installs. A checkout where no bytecode is written (PYTHONDONTWRITEBYTECODE) would
    compile at every start."""
    import bnfold

    compileall.compile_dir(Path(bnfold.__file__).parent, quiet=1)


def measured(
    command: list[str],
    limit: float,
    extra_environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Run:
    """Run a command (in a folder) to its end, or to the end of `limit` seconds."""
    own = mapped = 0
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd=folder,
            env={**os.environ, **(extra_environment or {})},
        )
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done or time.perf_counter() - start > limit:
                break
            sample = memory_of(process.pid)
            own, mapped = max(own, sample[0]), max(mapped, sample[1])
            time.sleep(INTERVAL)
        wall = time.perf_counter() - start
        if not done:
            process.kill()
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        failure = (
            ""
            if done and process.returncode == 0
            else reason(process.returncode, errors.read(), bool(done), limit)
        )
    return Run(wall, usage.ru_utime + usage.ru_stime, own, mapped, failure)


def memory_of(pid: int) -> tuple[int, int]:
    """(anonymous, file-backed) resident bytes now, of a process and all that it started; zeros for one that
    has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    fields = dict(line.split(":", 1) for line in lines)
    own, mapped = (int(fields.get(key, "0 kB").split()[0]) * 1024 for key in ("RssAnon", "RssFile"))
    below = [memory_of(int(child)) for child in children]
    return own + sum(b[0] for b in below), mapped + sum(b[1] for b in below)


def reason(code: int, errors: bytes, ended: bool, limit: float) -> str:
    if not ended:
        return f"no end in {limit:.0f} s"
    last = (errors.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
    return f"exit {code}: {last[:90]}"
