"""Paths and URLs alike: list them, fetch from them, deliver to them, tell whether they have changed.

    store_of(place)    this machine's disk, or what fsspec makes of the URL
    redacted(text)     the text without credentials that URLs in it carry

Rule 1: what is delivered stands under its name only when it is whole: a rename on disks, one put in object
        stores, and elsewhere a put under another name that is then moved.
Rule 2: a file is what its content is. A store that vouches for the content by a tag of its own (ETag, MD5) is
        believed; modification times are not.
Rule 3: whatever goes wrong in a store is Unreadable or WriteError with the place, and no credential in the
        sentence.
Rule 4: `deliver` is the one place where outputs of a batch get their names. Names come from strangers, so it
        proves that the file lies below the folder of all outputs.
Rule 5: what is read from a store has a bound (downloads.py), and is one version of a file, whole.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import quote, unquote, urlsplit

from ..errors import BnfoldError, Unreadable, UsageError, WriteError, one_line, reason, root_cause, root_of
from ..files import atomic, names
from ..files.discovery import DISK, Storage, bare, is_url
from . import downloads

_BLOCK = 1 << 20
_TAGS = ("ETag", "etag", "Content-MD5", "md5Hash", "Digest")  # what stores call their tags of the content
_PUT_IS_ATOMIC = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "memory"}
_WEB = {"http", "https"}
_SCHEMES = {*_WEB, *_PUT_IS_ATOMIC, "adl", "hf", "hdfs", "webhdfs", "sftp", "ssh", "ftp"}
_SLOWEST = 120.0  # seconds for a small file
_USER = re.compile(r"(?<=://)[^/\s@'\"]*@")
_QUERY = re.compile(r"(://[^\s'\"?#]*)\?(?!\.\.\.)[^\s'\"]*?(?=[:;,.)]*(?:[\s'\"]|$))")


class Store(Storage, Protocol):
    """A storage that files can be taken from and put on."""

    def identity(self, place: str) -> str:
        """What changes when the content does. Raises Unreadable."""

    def read(self, place: str, limit: int) -> bytes | None:
        """A small file; None where there is none, or more than `limit` bytes."""

    def fetch(self, place: str, target: Path, most: int) -> str:
        """Copy at most so many bytes to a new file on this machine; the identity of what was copied. Raises
        Unreadable."""

    def deliver(self, source: Path, folder: str, name: str) -> None:
        """Move a finished local file to its place: `name`, relative and with forward slashes, below the
        folder of all outputs. Raises WriteError."""


class _Disk:
    """This machine's files, or what is mounted like them."""

    exists, is_file, is_folder, walk, matches = (
        DISK.exists,
        DISK.is_file,
        DISK.is_folder,
        DISK.walk,
        DISK.matches,
    )

    def identity(self, place: str) -> str:
        with _reading(place), Path(place).open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def read(self, place: str, limit: int) -> bytes | None:
        try:
            with Path(place).open("rb") as file:
                data = file.read(limit + 1)
        except OSError:
            return None
        return data if len(data) <= limit else None

    def fetch(self, place: str, target: Path, most: int) -> str:
        with _reading(place), Path(place).open("rb") as source, target.open("xb") as copy:
            return f"sha256:{_drained(source, most, copy)[1]}"

    def deliver(self, source: Path, folder: str, name: str) -> None:
        with _writing(joined(folder, name)):
            target = atomic.place_below(Path(folder), name)
            try:
                source.replace(target)
            except OSError:  # another file system: a copy beside the target, then the rename
                beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
                try:
                    shutil.copyfile(source, beside)
                    beside.replace(target)
                except BaseException:
                    beside.unlink(missing_ok=True)
                    raise


class _Remote:
    """What fsspec reaches."""

    def __init__(self, scheme: str) -> None:
        self._atomic = scheme in _PUT_IS_ATOMIC

    def exists(self, place: str) -> bool:
        with _reading(place):
            fs, path = _file_system(place)
            return bool(fs.exists(path))

    def is_file(self, place: str) -> bool:
        with _reading(place):
            fs, path = _file_system(place)
            return bool(fs.isfile(path))

    def is_folder(self, place: str) -> bool:
        with _reading(place):
            fs, path = _file_system(place)
            return bool(fs.isdir(path))

    def walk(self, folder: str) -> list[str]:
        with _reading(folder):
            fs, path = _file_system(folder)
            return sorted(fs.unstrip_protocol(found) for found in fs.find(path))

    def matches(self, pattern: str) -> list[str]:
        with _reading(pattern):
            fs, path = _file_system(pattern)
            return sorted(fs.unstrip_protocol(found) for found in fs.glob(path))

    def identity(self, place: str) -> str:
        with _reading(place):
            fs, path = _file_system(place)
            fs.invalidate_cache()
            tag, size = _facts(fs, path)
            if tag:
                return tag
            most = downloads.rules().bound
            _check_size(size, most)
            with fs.open(path, "rb") as file:
                return f"sha256:{_drained(file, most)[1]}"

    def read(self, place: str, limit: int) -> bytes | None:
        with _reading(place):
            fs, path = _file_system(place)
            fs.invalidate_cache()
            try:
                with fs.open(path, "rb") as file:
                    data = b"".join(_pieces(file, limit + 1, _SLOWEST))
            except FileNotFoundError:
                return None
            return data if len(data) <= limit else None

    def fetch(self, place: str, target: Path, most: int) -> str:
        with _reading(place):
            fs, path = _file_system(place)
            fs.invalidate_cache()
            tag, size = _facts(fs, path)
            _check_size(size, most)
            with fs.open(path, "rb") as source, target.open("xb") as copy:
                copied, digest = _drained(source, most, copy)
            if size not in (None, copied):
                raise Unreadable(f"{copied:,} bytes came of the {size:,} that were announced")
            fs.invalidate_cache()
            if tag and _facts(fs, path)[0] != tag:
                raise Unreadable("the file changed while it was read", way_out="try again")
            return tag or f"sha256:{digest}"

    def deliver(self, source: Path, folder: str, name: str) -> None:
        place = joined(folder, name)
        with _writing(place):
            if not names.inside(name):
                raise WriteError(f"the name '{name}' leads out of the folder of the outputs")
            fs, path = _file_system(place)
            parent, _, own = path.rpartition("/")
            if not self._atomic:
                fs.makedirs(parent, exist_ok=True)
            goal = path if self._atomic else f"{parent}/.{own}.{secrets.token_hex(6)}.tmp"
            fs.put_file(os.fspath(source), goal)
            if goal != path:
                fs.mv(goal, path)
            source.unlink()


_DISK = _Disk()


def store_of(place: str) -> Store:
    """Where a place is."""
    return _Remote(scheme_of(place)) if is_url(place) else _DISK


def scheme_of(place: str) -> str:
    """`s3` of `s3://bucket/net.onnx`."""
    return place.partition("://")[0].rpartition("::")[2] if is_url(place) else ""


def check_drivers(places: Iterable[str]) -> None:
    """Is there a driver for each URL? Found before the work, and once. Raises UsageError."""
    for url in {scheme_of(place): place for place in places if is_url(place)}.values():
        _file_system(url)


def plain(place: str) -> str:
    """A file:// URL as the path that it is; anything else as it stands."""
    if not place.startswith("file://"):
        return place
    from urllib.request import url2pathname  # brings an HTTP client, which every worker would wait for

    return url2pathname(unquote(urlsplit(place).path))


def joined(folder: str, name: str) -> str:
    """A file in a folder; `name` is relative and has forward slashes."""
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else os.fspath(Path(folder) / name)


def beside(place: str, name: str) -> str:
    """The file that a model names relative to its own folder. In a web address no sign of the name is an
    escape or begins a query."""
    return joined(folder_of(place), quote(name, errors="replace") if scheme_of(place) in _WEB else name)


def folder_of(place: str) -> str:
    """The folder that a file is in."""
    return bare(place).rpartition("/")[0] if is_url(place) else os.path.dirname(place)  # noqa: PTH120 - as it was given


def absolute(place: str) -> str:
    """As every process finds it, wherever it was started."""
    return place if is_url(place) else os.path.abspath(place)  # noqa: PTH100 - a link counts where it lies


def redacted(text: str) -> str:
    """URLs in the text without user, password and query, which may be a signature."""
    return _QUERY.sub(r"\1?...", _USER.sub("", text)) if "://" in text else text


def _file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path in it. Raises UsageError for a scheme that is not on the
    list, and where the extra or the driver is not installed."""
    schemes = set(url.partition("://")[0].split("::"))
    if not schemes <= _SCHEMES:
        raise UsageError(
            f"{redacted(url)} has the scheme {', '.join(sorted(schemes - _SCHEMES))}",
            expected=f"a path, or a URL that fsspec knows with one of {', '.join(sorted(_SCHEMES))}",
        )
    try:
        from fsspec.core import url_to_fs

        if schemes <= _WEB:
            from . import web

            url_to_fs = web.file_system
    except ImportError as error:
        raise UsageError(
            f"{redacted(url)} needs fsspec", way_out="pip install fsspec aiohttp requests"
        ) from error
    try:
        fs, path = url_to_fs(url)
    except ImportError as error:
        raise UsageError(
            f"{redacted(url)} needs a driver that is not installed ({error})",
            way_out="pip install what it names",
        ) from error
    except ValueError as error:
        raise UsageError(
            f"{redacted(url)}: {redacted(str(error))}", expected="a URL that fsspec knows"
        ) from error
    return fs, str(path)


def _facts(fs: Any, path: str) -> tuple[str, int | None]:
    """(the identity by which a store vouches for a file, "" where it does not; its size where it is known)"""
    facts = fs.info(path)
    size = facts.get("size")
    tag = next((str(facts[name]) for name in _TAGS if facts.get(name)), "")
    vouched = tag and not tag.startswith("W/")  # a weak tag promises no equal bytes
    return f"etag:{tag}:{size}" if vouched else "", size if isinstance(size, int) else None


def _check_size(size: int | None, most: int) -> None:
    if size is not None and size > most:
        raise _too_much(f"the file has {size:,} bytes", most)


def _too_much(found: str, most: int) -> Unreadable:
    return Unreadable(
        f"{found}, and at most {most:,} more may be downloaded for a model",
        way_out="--max-download allows more",
    )


def _drained(source: Any, most: int, copy: IO[bytes] | None = None) -> tuple[int, str]:
    """(bytes, SHA-256) of a stream that is read to its end, and copied where that is wanted. Raises
    Unreadable where there is no end in sight, WriteError where the copy finds no room."""
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(source, most + 1):
        size += len(piece)
        digest.update(piece)
        if copy is not None:
            _store(piece, copy)
    if size > most:
        raise _too_much("the file does not end before", most)
    return size, digest.hexdigest()


def _store(piece: bytes, copy: IO[bytes]) -> None:
    try:
        copy.write(piece)
    except OSError as error:
        raise WriteError(f"its copy cannot be written ({reason(error)})") from error


def _pieces(source: Any, most: int, seconds: float | None = None) -> Iterator[bytes]:
    """A stream, up to so many bytes, within so many seconds. Raises Unreadable."""
    end = None if seconds is None else time.monotonic() + seconds
    while most and (piece := source.read(min(_BLOCK, most))):
        most -= len(piece)
        yield piece
        if end is not None and time.monotonic() > end:
            raise Unreadable(f"the file does not end in {seconds:g} s")


def _reading(place: str) -> Any:
    return _blamed(place, Unreadable, "read")


def _writing(place: str) -> Any:
    return _blamed(place, WriteError, "written")


@contextmanager
def _blamed(place: str, kind: Callable[..., BnfoldError], done: str) -> Iterator[None]:
    try:
        yield
    except BnfoldError as error:
        error.where = error.where or redacted(place)
        raise
    except MemoryError:
        raise
    except OSError as error:
        if isinstance(root_of(error), BnfoldError):  # ours, in what a driver made of it
            raise kind(one_line(str(root_of(error))), where=redacted(place)) from error
        said = root_cause(error) if is_url(place) else reason(error)
        raise kind(f"cannot be {done} ({redacted(one_line(said))})", where=redacted(place)) from error
    except Exception as error:  # drivers raise classes of their own, which share no base
        raise kind(
            f"cannot be {done} ({redacted(one_line(root_cause(error)))})", where=redacted(place)
        ) from error
