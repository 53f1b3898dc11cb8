"""Replacing a file in one step: every file that bnfold makes for its user gets its name here.

    place(path)                     the file that a path means, if it is ours to write
    place_below(folder, name)       a file in a folder, proved to lie in it
    with Stage(target) as stage:    a hidden folder beside the target
        ... fill and sync stage.path() ...
        stage.commit()              rename it to the target
    replace(path, text)             all of it, for reports
    with workplace(folder, begin):  a hidden folder of one run, for files that are moved from there later

Rule 1: the target is its old self or a complete new file at every moment, whatever ends the run.
Rule 2: what stands beside a file (external data) is in place, and its folder synced, before the file that
        points to it.
Rule 3: a stage is locked as long as its run lives. A run that finds one of its target unlocked knows that
        nobody will finish it, and removes it. Locks do not reach other machines, so its name tells where it
        was made, and those of others are left alone, as are all where the system has no such lock.
Rule 4: files that get their names together do so by a note that outlives the run (journal.py); whoever
        finds a stage with one carries it out before the stage is removed.
Rule 5: a link is written through; permissions, and where the system allows it the owner, of a file that is
        replaced are kept. A file that may not be written is not replaced either.
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath
from types import TracebackType

from ..errors import WriteError, reason
from . import journal, names, supervision

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]
_CAN_LOCK = fcntl is not None
_NOBODYS = 2 * 24 * 3600  # seconds after which a folder whose run nobody here can ask after is nobody's


class Stage:
    """A hidden folder `.<name>.<16 hex digits>.tmp` beside the target, for files that are not finished.
    `target` is what `place` gave."""

    def __init__(self, target: Path) -> None:
        self.target = target
        with failing(target):
            _sweep(target.parent, _prefix(target), _remove)
            self.folder, self._lock = _locked_folder(target.parent, _prefix(target))

    def path(self, name: str | None = None) -> Path:
        """A place in the stage; by default under the target's own name."""
        return self.folder / (name or self.target.name)

    def commit(self, beside: Path | None = None) -> None:
        """Put the file of the target's name in place, and before it the file `beside` it under its own name.
        Raises WriteError; then nothing has changed."""
        path, target = self.path(), place(self.target)
        with failing(target):
            for file in (path, beside):
                if file is not None:
                    _resemble(file, target)
            if beside is None:
                path.replace(target)
            else:
                _commit_pair(path, target, beside)
            _sync(target.parent)

    def commit_together(self, moves: journal.Moves) -> None:
        """Put several finished files, this stage's or others', in place as one: all of them get their names,
        or none does. Raises WriteError; then nothing has changed."""
        with failing(self.target):
            before = [_kept_beside(finished, place(name)) for finished, name in moves]
            for finished, name in moves:
                _resemble(finished, name)
            _sync(self.folder)
            with _alone_in(self.target.parent), supervision.undisturbed():
                journal.write(self.folder, moves)
                try:
                    journal.finish(self.folder)
                except BaseException:
                    _restore(moves, before)
                    (self.folder / journal.NAME).unlink(missing_ok=True)
                    raise
            for folder in {name.parent for _, name in moves}:
                _sync(folder)

    def close(self) -> None:
        """Remove what is left. Harmless when it is gone."""
        _remove(self.folder)
        if self._lock is not None:
            os.close(self._lock)
        self._lock = None

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def place(path: Path) -> Path:
    """The real file behind the path, whether it is there or not. Raises WriteError for what cannot be
    written, or is no file of ours to replace: a folder, a device, a pipe, a file without permission to write,
    a name that this system cannot have."""
    if "\0" in str(path):
        raise WriteError(
            "a null byte in the name, which is no name for a file", where=path, way_out="choose another name"
        )
    with failing(path):
        target = names.extended(Path(os.path.realpath(path)))
        refused = names.refused(target.name)
        if refused:
            raise WriteError(
                f"{refused}, which is no name for a file here", where=path, way_out="choose another name"
            )
        if not target.parent.is_dir():
            raise WriteError("the folder does not exist", where=target.parent, way_out="make it first")
        try:
            mode = target.stat().st_mode
        except FileNotFoundError:
            return target
    if not stat.S_ISREG(mode):
        raise WriteError(
            "is a folder" if stat.S_ISDIR(mode) else "is not a regular file",
            where=path,
            expected="the name of a file to write",
        )
    if not os.access(target, os.W_OK):
        raise WriteError(
            "cannot be written (it is read-only)",
            where=path,
            way_out="allow writing to it, or choose another name",
        )
    return target


def place_below(folder: Path, name: str) -> Path:
    """The file of a name that others have chosen, as in `zoo/net.onnx`, in the folder of all outputs. The
    folders between the two are made. The file is proved to lie in the folder after every link is resolved,
    before folders are made and once more after that; a file that is a link is what a rename replaces. Raises
    WriteError."""
    with failing(folder / name):
        if not names.inside(name):
            raise WriteError(
                f"the name '{name}' leads out of the folder of the outputs",
                where=folder,
                expected="a name below that folder",
            )
        root, parent = Path(os.path.realpath(folder)), (folder / name).parent
        _prove_below(root, parent)
        parent.mkdir(parents=True, exist_ok=True)
        return _prove_below(root, parent) / PurePosixPath(name).name


def _prove_below(root: Path, folder: Path) -> Path:
    """The folder behind all links. Raises WriteError where it is neither the root nor below it."""
    real = Path(os.path.realpath(folder))
    if not real.is_relative_to(root):
        raise WriteError(
            f"a link leads out of the folder of the outputs, to {real}",
            where=folder,
            way_out="remove the link, or give a folder without links as --out",
        )
    return real


def replace(path: Path, text: str) -> None:
    """A whole text file in UTF-8. What is no regular file (a pipe, a terminal, /dev/stdout) is written to as
    it is. Raises WriteError."""
    data = text.encode("utf-8", errors="backslashreplace")
    with failing(path):
        if is_stream(path):
            with path.open("wb") as stream:
                stream.write(data)
            return
        with Stage(place(path)) as stage:
            with stage.path().open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            stage.commit()


def is_stream(path: Path) -> bool:
    """Is it there, and neither a file nor a folder? Raises OSError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def replaceable(path: Path) -> None:
    """Nothing that can be known now keeps `replace` from writing there. Raises WriteError."""
    with failing(path):
        if not is_stream(path):
            place(path)


@contextmanager
def failing(where: object) -> Iterator[None]:
    """What the system refuses is a WriteError with its reason."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"cannot be written ({reason(error)})", where=where) from error


# Stages: made and locked, found again and removed.


@contextmanager
def workplace(parent: Path, begin: str) -> Iterator[Path]:
    """A folder of this run alone, whose name begins so, for what is unfinished in many files. It goes with
    all that is in it; first go those that dead runs of this machine left behind, and those that runs of
    others have not touched for two days. Raises WriteError."""
    with failing(parent):
        _sweep(parent, begin + _here(), _remove_tree)
        for old in parent.glob(f"{begin}*"):
            if not old.name.startswith(begin + _here()) and time.time() - old.stat().st_mtime > _NOBODYS:
                _remove_tree(old)
        folder, lock = _locked_folder(parent, begin + _here())
    try:
        yield folder
    finally:
        _remove_tree(folder)
        if lock is not None:
            os.close(lock)


def _locked_folder(parent: Path, prefix: str) -> tuple[Path, int | None]:
    """A new stage with its lock. Another run may take it for a stale one before it is locked, and remove it;
    then the next is tried."""
    while True:
        folder = parent / f"{prefix}{os.urandom(4).hex()}.tmp"
        supervision.remember(
            str(folder)
        )  # first, for it takes a while, in which a signal would leave the folder behind
        folder.mkdir(mode=0o700)
        try:
            lock = _lock(folder, wait=True)
        except FileNotFoundError:
            continue
        if lock is None or _is_still(folder, lock):
            return folder, lock
        os.close(lock)


def _sweep(parent: Path, prefix: str, remove: Callable[[Path], None]) -> None:
    """Remove the stages with this prefix whose runs are dead."""
    with suppress(OSError), os.scandir(parent) as entries:  # a folder may be one to write in, and not to read
        for entry in entries:
            if entry.name.startswith(prefix) and re.fullmatch(r"[0-9a-f]{8}\.tmp", entry.name[len(prefix) :]):
                _remove_if_dead(parent / entry.name, remove)


def _remove_if_dead(folder: Path, remove: Callable[[Path], None]) -> None:
    with suppress(OSError):  # a live run's, another user's, or gone by now: nothing to do
        lock = _lock(folder)
        if lock is None:
            return
        try:
            remove(folder)
        finally:
            os.close(lock)


def _lock(folder: Path, wait: bool = False) -> int | None:
    """The descriptor that locks a stage, None where the system cannot lock folders. Raises OSError where
    another has it, or it is gone."""
    if not _CAN_LOCK:
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        if wait:
            return None
        raise
    return descriptor


def _is_still(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove(folder: Path) -> None:
    """The files in a stage, and it. Never what is inside a folder or behind a link: a stage has none. What
    is noted there to be done is done first."""
    with suppress(OSError, ValueError):
        journal.finish(folder)
    with suppress(FileNotFoundError):
        for entry in list(folder.iterdir()):
            entry.unlink(missing_ok=True)
        folder.rmdir()


def _remove_tree(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _prefix(target: Path) -> str:
    """What the names of all stages of a target begin with that this machine makes: short, and readable for
    every library whatever the target's name holds."""
    return "." + re.sub(r"[^A-Za-z0-9_+=@.-]", "_", target.name)[:80] + "." + _here()


@cache
def _here() -> str:
    """8 hex digits for the kernel that runs now, which all containers on it share as they share its locks."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        name = platform.node().encode("utf-8", "surrogateescape")
    return hashlib.sha256(name).hexdigest()[:8]


# The moment of truth.


def _commit_pair(path: Path, goal: Path, beside: Path) -> None:
    """Data first, then the file that points to it. The data's name says its content, so that runs that make
    the same may put it there one after the other; a run that fails takes back its own alone."""
    data = goal.parent / beside.name
    fresh = _put(beside, data)
    try:
        _sync(goal.parent)
        path.replace(goal)
    except BaseException:
        if fresh:
            _take_back(data, beside)
        raise


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No other run puts files of several names in place there meanwhile, where the system can lock
    folders."""
    try:
        lock = _lock(folder, wait=True)
    except OSError:  # a folder to write in, not to read
        lock = None
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _kept_beside(finished: Path, name: Path) -> Path | None:
    """The old file under a second name beside the new one, until all is done; None where there is none, or
    the system has no such names."""
    kept = finished.with_name(f"{finished.name}.old")
    try:
        kept.hardlink_to(name)
    except OSError:
        return None
    return kept


def _restore(moves: journal.Moves, before: list[Path | None]) -> None:
    """Take back what has been put in place."""
    for (finished, name), kept in zip(moves, before, strict=True):
        if finished.exists():
            continue  # it never got its name
        with suppress(OSError):
            if kept is not None:
                kept.replace(name)
            else:
                name.replace(finished)


def _put(file: Path, name: Path) -> bool:
    """Give a file its name; was the name free?"""
    try:
        name.hardlink_to(file)  # of two runs, one learns that it was first
        return True
    except OSError:  # the name is taken, or the system has no hard links
        free = not name.exists()
        file.replace(name)
        return free


def _take_back(data: Path, mine: Path) -> None:
    """Move data that nobody points to back into the stage, unless another run has put its own there by
    now."""
    away = mine.with_name(mine.name + ".back")
    ours = mine.stat() if mine.exists() else data.stat()
    data.replace(away)
    if not os.path.samestat(away.stat(), ours):
        away.replace(data)


def _resemble(file: Path, old: Path) -> None:
    """The permissions of the file that is replaced, and its owner. Where the system keeps the owner from us,
    a group that was not the file's gets no more than everybody has."""
    try:
        was = old.stat()
    except FileNotFoundError:
        return
    mode = stat.S_IMODE(was.st_mode) & 0o777
    now = file.stat()
    if (now.st_uid, now.st_gid) != (was.st_uid, was.st_gid) and hasattr(os, "chown"):
        try:
            os.chown(file, was.st_uid, was.st_gid)
        except OSError:
            if now.st_gid != was.st_gid:
                mode &= ~0o070 | (mode & 0o007) << 3
    file.chmod(mode)


def _sync(folder: Path) -> None:
    """Make renames survive a power cut, where the system can sync folders and this one may be opened."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder to write in, not to read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
