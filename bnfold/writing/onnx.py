"""Writing one canonical .onnx file, tensor by tensor in blocks.

    with write(model, path) as written:      finished files in a stage beside the target, not yet in place
        ... verify written.path ...
        written.commit()                     an atomic rename; leaving without it removes everything

Rule 1: the target is replaced in one step by a finished file, or not at all (atomic.py).
Rule 2: the same model gives the same bytes.
Rule 3: an external data file carries the hash of its content in its name and is in place before the .onnx
        that points to it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import Unsupported
from ..files import atomic, names
from ..ir.graph import ir
from . import layout
from .stream import write_pieces

if TYPE_CHECKING:
    import onnx

_ALIGN_LARGE, _LARGE = 4096, 1 << 16  # large tensors begin on a page, so that a runtime can map them
_ALIGN_SMALL = 64


class Written:
    """A finished model in a stage. `path` is where it lies now, `target` its final name, `size` all bytes
    written, `data` the final name of its data file."""

    def __init__(self, stage: atomic.Stage, size: int, data: Path | None) -> None:
        self.path = stage.path()
        self.target = stage.target
        self.size = size
        self.data = None if data is None else self.target.parent / data.name
        self._staged_data = data
        self._stage = stage

    def commit(self) -> Path:
        """Give the file its name. Raises WriteError."""
        self._stage.commit(self._staged_data)
        self._stage.close()
        return self.target

    def discard(self) -> None:
        """Remove everything that was written. Harmless after a commit."""
        self._stage.close()

    def __enter__(self) -> Written:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def write(model: ir.Model, path: str | os.PathLike[str], *, external_data: bool = False) -> Written:
    """Write the model under a temporary name beside `path`. Above 2 GB, or when asked, large tensors go to
    one data file beside it. Raises WriteError where the target cannot be written, Unsupported where the model
    cannot be laid out."""
    target = atomic.place(Path(path))
    bones = layout.skeleton(model)
    stage = atomic.Stage(target)
    try:
        if bones.tensors and (
            external_data or len(bones.data) + bones.payload + 16 * len(bones.tensors) > layout.LIMIT
        ):
            return _with_data(bones, stage)
        pieces = layout.inline(bones)
        write_pieces(pieces, stage.path(), target)
        return Written(stage, layout.size(pieces), None)
    except BaseException:
        stage.close()
        raise


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The model in memory, weights included. Raises Unsupported above protobuf's 2 GB."""
    bones = layout.skeleton(model)
    if len(bones.data) + bones.payload > layout.LIMIT:
        raise Unsupported(
            f"the model takes {len(bones.data) + bones.payload:,} bytes, a ModelProto holds at most "
            f"{layout.LIMIT:,}",
            way_out="save it to a file: large weights then go beside it",
        )
    return layout.message(model)


def _with_data(bones: layout.Skeleton, stage: atomic.Stage) -> Written:
    """The data file first, under the hash of its content; then the model that points to it."""
    pieces, offsets = _data_pieces(bones)
    digest = hashlib.sha256()
    unnamed = stage.path("data")
    write_pieces(pieces, unnamed, stage.target, digest)
    name = f"{names.portable(stage.target.stem)}.{digest.hexdigest()[:16]}.data"
    data = unnamed.rename(stage.path(names.stored(name)))
    model = layout.external(bones, name, offsets)
    write_pieces(model, stage.path(), stage.target)
    return Written(stage, layout.size(model) + layout.size(pieces), data)


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
