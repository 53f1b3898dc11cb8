"""Every error that leaves bnfold, and the exit code of each.

    BnfoldError
    ├── UsageError            2   the call itself is wrong
    │   └── WouldReplace          it would write over what it reads, or twice to one file
    ├── InputError            3   whose fault: the file's
    │   ├── Unreadable            it cannot be opened or read at all
    │   ├── Malformed             its bytes contradict its format
    │   └── Mismatch              two files, or a file and its own claims, do not belong together
    ├── Unsupported           4   a construct that we do not know, or that ONNX cannot express
    ├── ProviderUnavailable   5   a requested execution provider is not there
    ├── NotEquivalent         1   verification failed, so nothing was written
    ├── WriteError            3   the target cannot be written
    └── Stopped               6   a model's own process ended before its work: out of time or memory, or it
                              crashed

Rule 1: an error is built from fields (where, found, expected, way out); its sentence is made here and nowhere
        else.
Rule 2: the class says whose fault it is, the exit code follows from the class.
Rule 3: inner functions raise plain facts; `blamed_on` adds the place where it is known.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
CLOSED = (
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
    errno.EIO,
    errno.ENODEV,
    errno.ESTALE,
    errno.EBUSY,
)
OK, NOT_EQUIVALENT, USAGE, INPUT, UNSUPPORTED, NO_PROVIDER, STOPPED, BUG = 0, 1, 2, 3, 4, 5, 6, 70


class BnfoldError(Exception):
    """`where: found; expected ...; way_out` with the parts that are known.

    where     a Source, a path or a path with an offset: anything whose str() names a place
    found     what is there, a clause without a full stop
    expected  what should be there instead, as it reads after the word "expected"
    way_out   what the user can do now
    findings  what a reader had noticed before (results.plan.Finding), which may name the cause
    """

    exit_code: ClassVar[int] = BUG
    findings: tuple[Any, ...] = ()

    def __init__(self, found: str, *, where: object = None, expected: str = "", way_out: str = "") -> None:
        self.found = found
        self.where = where
        self.expected = expected
        self.way_out = way_out
        super().__init__(found)

    def __str__(self) -> str:
        where = os.fspath(self.where) if isinstance(self.where, os.PathLike) else str(self.where)
        place = f"{one_line(where)}: " if self.where is not None else ""
        expected = f"expected {self.expected}" if self.expected else ""
        return place + "; ".join(one_line(part) for part in (self.found, expected, self.way_out) if part)


class UsageError(BnfoldError):
    """The call is wrong: an option, an argument, a combination of them."""

    exit_code = USAGE


class WouldReplace(UsageError):
    """A file that is read, or that something else is to go to, would be written over. Then no file at all is
    written, nor a report of this error."""


class InputError(BnfoldError):
    """A file is at fault. Raised through one of its three children."""

    exit_code = INPUT


class Unreadable(InputError):
    """A file that cannot be opened or read."""


class Malformed(InputError):
    """A file whose bytes contradict its format."""


class Mismatch(InputError):
    """Two files, or two statements of one file, that do not belong together."""


class Unsupported(BnfoldError):
    """A construct that bnfold does not know or that the target cannot express."""

    exit_code = UNSUPPORTED


class ProviderUnavailable(BnfoldError):
    """A requested execution provider is not available on this machine."""

    exit_code = NO_PROVIDER


class NotEquivalent(BnfoldError):
    """Verification failed. `report` carries every figure."""

    exit_code = NOT_EQUIVALENT

    def __init__(self, found: str, *, report: object = None, **fields: object) -> None:
        super().__init__(found, **fields)  # type: ignore[arg-type]
        self.report = report


class WriteError(BnfoldError):
    """The target cannot be written."""

    exit_code = INPUT


class Stopped(BnfoldError):
    """The worker process of a model was killed or timed out: it took too long or too much memory, or
    it crashed."""

    exit_code = STOPPED


def reason(error: Exception) -> str:
    """Why the operating system refused, in its own words; those of the error itself where the system did not
    even try (ValueError)."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def of_system(error: OSError) -> BnfoldError | None:
    """What an error of the operating system means that no inner function expected: nobody's bug where the
    disk is full, a folder closed, a limit reached. None for any other."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else None
    words = reason(error)
    if error.errno in FULL:
        return WriteError(f"cannot be written ({words})", where=name)
    return Unreadable(f"cannot be used ({words})", where=name) if error.errno in CLOSED else None


_LONGEST = 600  # characters of one part of a sentence


def one_line(text: str) -> str:
    """Names come from untrusted files: control characters are shown escaped and long ones cut, so that an
    error stays one line."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def root_of(error: BaseException) -> BaseException:
    """What stands at the bottom of a chain of errors, as libraries that wrap their own raise it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def root_cause(error: BaseException) -> str:
    """The root of a chain of errors in at most 200 characters."""
    root = root_of(error)
    return f"{type(root).__name__}: {root}"[:200]


@contextmanager
def blamed_on(where: object) -> Iterator[None]:
    """Add the place to an error that does not carry one yet.

    >>> with blamed_on("net.cfg:12"):
    ...     raise Malformed("stride is -1", expected="a positive number")
    Traceback (most recent call last):
    ...
    bnfold.errors.Malformed: net.cfg:12: stride is -1; a positive number
    """
    try:
        yield
    except BnfoldError as error:
        if error.where is None:
            error.where = where
        raise


@contextmanager
def telling(findings: Sequence[object]) -> Iterator[None]:
    """Give what a reader has noticed so far to an error that ends the reading, so that it is not lost."""
    try:
        yield
    except BnfoldError as error:
        error.findings = error.findings or tuple(findings)
        raise
