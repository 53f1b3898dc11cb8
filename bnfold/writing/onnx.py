"""Writing one canonical .onnx file, tensor by tensor in blocks.

    with write(model, path) as written:      a temporary file in the target's folder, complete, not yet in place
        ... verify written.path ...
        written.commit()                     fsync, then an atomic rename; leaving without it removes everything

Rule 1: the target is replaced in one step by a finished file, or not at all.
Rule 2: the same model gives the same bytes.
Rule 3: an external data file carries the hash of its content in its name and is in place before the .onnx that points to it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Protocol

from ..errors import Unsupported, WriteError
from ..graph import ir
from . import layout
from .stream import streamed

if TYPE_CHECKING:
    import onnx

_ALIGN_LARGE, _LARGE = 4096, 1 << 16  # large tensors begin on a page, so that a runtime can map them
_ALIGN_SMALL = 64


class Written:
    """A finished file under a temporary name. `path` is that name, `target` the final one, `size` all bytes written."""

    def __init__(self, path: Path, target: Path, size: int, data: Path | None, fresh_data: bool) -> None:
        self.path = path
        self.target = target
        self.size = size
        self.data = data
        self._fresh_data = fresh_data
        self._open = True

    def commit(self, target: Path | None = None) -> Path:
        """Give the file its name (or another one in the same folder). Raises WriteError."""
        goal = target or self.target
        try:
            self.path.replace(goal)
            _sync_folder(goal.parent)
        except OSError as error:
            raise WriteError(f"cannot be written ({_reason(error)})", where=goal) from error
        self._open = False
        return goal

    def discard(self) -> None:
        """Remove everything that was written. Harmless after a commit."""
        if self._open:
            self.path.unlink(missing_ok=True)
            if self.data is not None and self._fresh_data:
                self.data.unlink(missing_ok=True)
        self._open = False

    def __enter__(self) -> Written:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.discard()


def write(model: ir.Model, path: str | os.PathLike[str], *, external_data: bool = False) -> Written:
    """Write the model under a temporary name beside `path`. Above 2 GB, or when asked, large tensors go to one data file beside it.
    Raises WriteError where the target cannot be written, Unsupported where the model cannot be laid out."""
    target = _target(Path(path))
    bones = layout.skeleton(model)
    if bones.tensors and (external_data or len(bones.data) + bones.payload + 16 * len(bones.tensors) > layout.LIMIT):
        return _with_data(bones, target)
    pieces = layout.inline(bones)
    temporary = _stream(pieces, target.parent, target.name)
    return Written(temporary, target, layout.size(pieces), None, False)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The model in memory, weights included. Raises Unsupported above protobuf's 2 GB."""
    bones = layout.skeleton(model)
    if len(bones.data) + bones.payload > layout.LIMIT:
        raise Unsupported(
            f"the model takes {len(bones.data) + bones.payload:,} bytes, a ModelProto holds at most {layout.LIMIT:,}",
            way_out="save it to a file: large weights then go beside it",
        )
    return ir.to_proto(model)


def _with_data(bones: layout.Skeleton, target: Path) -> Written:
    """The data file first, under the hash of its content; then the model that points to it."""
    pieces, offsets = _data_pieces(bones)
    digest = hashlib.sha256()
    temporary = _stream(pieces, target.parent, target.name + ".data", digest)
    data = target.parent / f"{target.stem}.{digest.hexdigest()[:16]}.data"
    fresh = not data.exists()
    try:
        temporary.replace(data)
        model = layout.external(bones, data.name, offsets)
        path = _stream(model, target.parent, target.name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        if fresh:
            data.unlink(missing_ok=True)
        raise
    return Written(path, target, layout.size(model) + layout.size(pieces), data, fresh)


def _data_pieces(bones: layout.Skeleton) -> tuple[list[layout.Piece], dict[int, int]]:
    """The data file's content, each tensor once and aligned, and where each begins."""
    pieces: list[layout.Piece] = []
    offsets: dict[int, int] = {}
    at = 0
    for t in bones.tensors:
        if id(t) in offsets:
            continue
        gap = -at % (_ALIGN_LARGE if t.nbytes >= _LARGE else _ALIGN_SMALL)
        pieces += [bytes(gap), t] if gap else [t]
        offsets[id(t)] = at + gap
        at += gap + t.nbytes
    return pieces, offsets


class _Digest(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...


def _stream(pieces: list[layout.Piece], folder: Path, name: str, digest: _Digest | None = None) -> Path:
    """Write the pieces to a new file in the folder and sync it; on any failure nothing stays behind."""
    temporary = folder / f".{name[:100]}.{secrets.token_hex(6)}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                _fill(file, pieces, digest)
                os.fsync(descriptor)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WriteError(f"cannot be written ({_reason(error)})", where=folder / name) from error
    return temporary


def _fill(file: BinaryIO, pieces: list[layout.Piece], digest: _Digest | None) -> None:
    for block in streamed(pieces):
        if digest is not None:
            digest.update(block)
        rest = memoryview(block)
        while rest:
            rest = rest[file.write(rest) :]


def _target(path: Path) -> Path:
    """The real file behind the path; what is there and is no regular file is not ours to replace."""
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise WriteError("the folder does not exist", where=target.parent, way_out="make it first") from None
        return target
    except OSError as error:
        raise WriteError(f"cannot be written ({_reason(error)})", where=path) from error
    if not stat.S_ISREG(mode):
        raise WriteError(
            "is a folder" if stat.S_ISDIR(mode) else "is not a regular file", where=path, expected="the name of a file to write"
        )
    return target


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can sync folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
