"""Weights that Caffe saved as HDF5: dataset /data/<layer>/<blob index>. Needs h5py, an extra of the package.

A slash in a layer name is HDF5's own separator, so such a layer lies in nested groups. A blob that a layer shares may be stored
once, with its owner: a hole in a layer's numbering stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import Malformed, Unreadable, Unsupported
from .blob import Blob, Piece, Stored


def load_h5(path: Path) -> list[Stored]:
    """The layers of a .caffemodel.h5. Unsupported without h5py, Unreadable or Malformed for a broken file."""
    try:
        import h5py
    except ImportError as error:
        raise Unsupported("weights in HDF5", where=path, way_out="install h5py: pip install 'bnfold[h5]'") from error
    try:
        with h5py.File(path, "r") as file:
            data = file.get("data")
            if not isinstance(data, h5py.Group):
                raise Malformed("no group /data in it", where=path, expected="a .caffemodel.h5 as Caffe writes it")
            return list(_layers(data, path, h5py))
    except (OSError, RuntimeError, KeyError) as error:
        raise Unreadable(f"cannot be read as HDF5 ({error})", where=path) from error


def _layers(group: Any, path: Path, h5py: Any) -> Iterator[Stored]:
    open_: list[tuple[str, Any]] = [("", group)]
    while open_:
        name, here = open_.pop()
        blobs = {key: item for key, item in here.items() if isinstance(item, h5py.Dataset)}
        groups = [(f"{name}/{key}" if name else key, item) for key, item in here.items() if isinstance(item, h5py.Group)]
        open_.extend(reversed(groups))
        if name and (blobs or not groups):
            yield Stored(name, "", [_blob(blobs.get(str(i)), path, name, i) for i in range(_count(blobs, path, name))], True)


def _count(blobs: dict[str, Any], path: Path, name: str) -> int:
    if stray := next((key for key in blobs if not key.isdecimal() or len(key) > 3), None):
        raise Malformed(f"dataset '{stray}' of layer '{name}'", where=path, expected="the index of a blob")
    return max((int(key) + 1 for key in blobs), default=0)


def _blob(dataset: Any, path: Path, name: str, index: int) -> Blob:
    if dataset is None:
        return Blob(memoryview(b""), hole=True)
    if dataset.dtype.kind != "f":
        raise Malformed(f"blob {index} of layer '{name}' has type {dataset.dtype}", where=path, expected="floating-point values")
    if dataset.size * dataset.dtype.itemsize > max(path.stat().st_size, 1 << 20) * 1024:  # compressed at most about a thousandfold
        raise Malformed(
            f"blob {index} of layer '{name}' claims {dataset.size:,} values", where=path, expected="no more than the file can hold"
        )
    values = np.ascontiguousarray(dataset[()], "<f4")
    return Blob(memoryview(values.tobytes()), tuple(int(d) for d in dataset.shape), pieces=[Piece(0, values.size, "<f4", 4)])
