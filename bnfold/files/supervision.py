"""A parent process that supervises the working process: whatever kills a run becomes a message and an exit
code, and no unfinished files stay behind.

A file that is truncated while it is mapped (SIGBUS), a crash in a native library, a system that is out of
memory: a process cannot catch these itself. So the command line works in a child that is forked before
anything is imported. The parent waits, forwards signals, and exits in the same way as the child.

Rule 1: whatever ends the parent also ends a child that has begun to write. A child that is asked to end and
        goes on is killed after a while, by a second signal at once, and so it is at the end of its time.
Rule 2: where no child can be started (systems other than Linux, a limit on processes), or none is requested
        (BNFOLD_DEBUG), the work is done in this process.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Clean = Callable[[list[str]], None]
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGFPE", "SIGILL", "SIGSYS", "SIGTRAP")
_HANDED_ON = ("SIGINT", "SIGTERM", "SIGHUP")
WHOLE = "what stands under the output's name is whole"
LATE = "the run took longer than --timeout allows"
_PR_SET_PDEATHSIG = 1
_PATIENCE = 1.0  # seconds after a signal before the next one means that the user will not wait
_GRACE = 5.0  # seconds after a signal for which the child may tidy up
_told_to: list[
    tuple[int, int, int]
] = []  # in the child: the pipe by which it tells of its folders, the parent's number, its own


def guarded(work: Callable[[], int], clean: Clean) -> int:
    """The exit code of `work`, which is done in a child. `clean` removes folders that a child left behind
    which was killed or asked to end. The signals that ask for it are blocked while `work` begins: it unblocks
    them when it is ready for them."""
    if sys.platform != "linux" or os.environ.get("BNFOLD_DEBUG"):
        return work()
    reading, writing = os.pipe()
    waited = {signal.SIGCHLD, *(getattr(signal, name) for name in _HANDED_ON)}
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    parent = os.getpid()
    try:
        child = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)
        return work()
    if not child:
        os.close(reading)
        os.set_blocking(writing, False)
        _told_to.append((writing, parent, os.getpid()))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        return work()
    os.close(writing)
    status, asked = _wait(child, waited)
    if status < 0 or asked:  # a signal may come between the making of a folder and whoever would remove it
        clean(_names_from(reading))
    return _verdict(-status, asked) if status < 0 else status


def remember(folder: str) -> None:
    """Tell the parent, if there is one, of a folder that must not outlive this run. From here on the child
    dies with its parent: what only reads may end by itself, and needs no ctypes."""
    for pipe, parent, worker in _told_to:
        if os.getpid() == worker:  # a process that the work has forked has another parent
            _end_with(parent)
        with suppress(BlockingIOError):  # full: the next run finds the folder
            os.write(pipe, os.fsencode(folder) + b"\0")


@contextmanager
def undisturbed() -> Iterator[None]:
    """A few renames that belong together: no signal that can be held back, and no end of the parent, comes
    between them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, {getattr(signal, name) for name in _HANDED_ON})
    parents = [parent for _, parent, worker in _told_to if os.getpid() == worker]
    try:
        if parents:
            _die_with_parent(0)
        yield
    finally:
        for parent in parents:
            _end_with(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)


def end_after(seconds: float) -> bool:
    """Have the system end this process when the time is over, whatever native code does then; the parent
    finds the words. False where there is no parent."""
    if not any(os.getpid() == worker for _, _, worker in _told_to):
        return False
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return True


def _die_with_parent(number: int) -> None:
    """Ask the system for this signal when the parent ends; 0 for none."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def _end_with(parent: int) -> None:
    _die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def _wait(child: int, waited: set[signal.Signals]) -> tuple[int, int]:
    """(exit code or minus the signal that killed the child, the signal that asked it to end or 0)."""
    asked, since = 0, 0.0
    while True:
        got = _next_signal(waited, since + _GRACE if asked else None)
        if got is None:
            os.kill(child, signal.SIGKILL)
            since = time.monotonic()
        elif got.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status), asked
        elif asked and time.monotonic() - since > _PATIENCE:
            os.kill(child, signal.SIGKILL)
        else:
            if not asked:
                asked, since = got.si_signo, time.monotonic()
            if got.si_code <= 0:  # sent by a process; a terminal sends to the child, too
                os.kill(child, got.si_signo)


def _next_signal(waited: set[signal.Signals], until: float | None) -> signal.struct_siginfo | None:
    """The next signal, or None where none comes until then."""
    if until is None:
        return signal.sigwaitinfo(waited)
    return signal.sigtimedwait(waited, max(0.0, until - time.monotonic()))


def _names_from(reading: int) -> list[str]:
    with os.fdopen(reading, "rb") as pipe:
        return [os.fsdecode(name) for name in pipe.read().split(b"\0") if name]


def _verdict(number: int, asked: int) -> int:
    """Say what killed the child; the exit code that this means."""
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if asked:
        code, words = 128 + asked, f"interrupted; {WHOLE}"
    elif name == "SIGBUS":
        code, words = (
            3,
            f"a file changed while it was read: it became shorter, or its disk failed; {WHOLE}; run "
            "again when it is finished",
        )
    elif name in _CRASHES:
        code, words = (
            4,
            f"a native library crashed on this model ({name}); {WHOLE}; --no-verify runs no network",
        )
    elif name == "SIGALRM":
        code, words = 6, f"{LATE}; {WHOLE}"
    elif name == "SIGKILL":
        code, words = 6, f"the system ended the run ({name}), most likely for want of memory; {WHOLE}"
    else:
        code, words = 128 + number, f"ended by {name}; {WHOLE}"
    with suppress(OSError):  # where nobody hears, the code tells
        os.write(2, f"bnfold: ERROR code={code} {words}\n".encode())
    return code
