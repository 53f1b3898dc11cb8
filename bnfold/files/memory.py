"""Limits on memory: sizes in words, and a limit on this process's own memory while something runs.

    size_of("2GB")           bytes
    with bounded(limit):     keeps own (anonymous) memory below the limit; pages of mapped files do not count
    with also(nbytes):       raises the limit for private maps of files, which the kernel counts although they
                             take no memory of their own
    limit()                  the limit that is in force, for code that can do with less
    at_most(nbytes)          the size of a block: so many bytes, or fewer if the limit requires it
    is_lack(error)           was memory short?

The kernel enforces the limit (RLIMIT_DATA, Linux): an allocation beyond it fails, in numpy with MemoryError,
in onnxruntime with an error of its own. Address space that is reserved but never touched counts too, so the
memory in use stays below the limit, never above it. On other systems the limit only makes blocks smaller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ..errors import UsageError

UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
SHORT = "not enough memory"
SMALLEST_BLOCK = 1 << 20
SHARE = 16  # a block is at most this part of the bound: several are alive at a time
_limit: ContextVar[int | None] = ContextVar("limit", default=None)


def size_of(text: str) -> int | None:
    """Bytes of `512MB`, `2 GiB`, `1000`; None for what is no size."""
    match = re.fullmatch(r"(\d{1,15}) ?([A-Za-z]*)", text)
    return int(match[1]) * UNITS[match[2]] if match and match[2] in UNITS else None


def limit() -> int | None:
    """The bound that holds now, in bytes; None where there is none."""
    return _limit.get()


def at_most(nbytes: int) -> int:
    """A block size of at most so many bytes."""
    bound = limit()
    return nbytes if bound is None else max(SMALLEST_BLOCK, min(nbytes, bound // SHARE))


def is_lack(error: BaseException) -> bool:
    """Was memory short? Libraries wrap a MemoryError in errors of their own (onnx_ir does)."""
    at: BaseException | None = error
    while at is not None and not isinstance(at, MemoryError):
        at = at.__cause__
    return at is not None


@contextmanager
def bounded(nbytes: int | None, name: str = "the limit on memory") -> Iterator[None]:
    """Keep this process's own memory below `nbytes`. Raises UsageError where it takes more already; `name` is
    what the user calls the limit."""
    if nbytes is None:
        yield
        return
    token = _limit.set(nbytes)
    try:
        with _enforced(nbytes, name):
            yield
    finally:
        _limit.reset(token)


@contextmanager
def _enforced(nbytes: int, name: str) -> Iterator[None]:
    _warm_up()
    used = _own()
    if used is None:
        yield
        return
    resident, reserved = used
    if nbytes <= resident:
        raise UsageError(
            f"{name} cannot be {nbytes:,} bytes",
            expected=f"more than the {resident:,} that are in use already",
        )
    with _soft_limit(reserved + nbytes - resident):
        yield


@contextmanager
def also(nbytes: int) -> Iterator[None]:
    """Raise the bound while files are mapped writable and private, as onnxruntime maps weights."""
    if limit() is None or _own() is None:
        yield
        return
    import resource

    now = resource.getrlimit(resource.RLIMIT_DATA)[0]
    with _soft_limit(now + nbytes if now != resource.RLIM_INFINITY else now):
        yield


@contextmanager
def _soft_limit(nbytes: int) -> Iterator[None]:
    """The kernel's limit on data segments, never above its hard one."""
    import resource

    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(
        resource.RLIMIT_DATA, (nbytes if hard == resource.RLIM_INFINITY else min(nbytes, hard), hard)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _warm_up() -> None:
    """BLAS takes its buffers at the first product that needs its threads, and ends the process if it then
    gets none."""
    import numpy as np

    some = np.ones((512, 512))
    np.matmul(some, some)


def resident() -> int | None:
    """Anonymous memory that this process has in use, in bytes; None where the system does not say."""
    used = _own()
    return None if used is None else used[0]


def _own() -> tuple[int, int] | None:
    """(anonymous memory in use, data segments reserved) of this process in bytes; None where the system does
    not say: not Linux."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        resident, reserved = (int(fields[key].split()[0]) * 1024 for key in ("RssAnon", "VmData"))
    except (OSError, KeyError, ValueError, IndexError):
        return None
    return resident, reserved
