"""Weights that Caffe saved as HDF5: dataset /data/<layer>/<blob index>. Needs h5py, an extra of the package.

A slash in a layer name is HDF5's own separator, so such a layer lies in nested groups. A blob that a layer
shares may be stored once, with its owner: a hole in a layer's numbering stands for it.

HDF5 can do more than Caffe asks of it, and a file comes from anywhere. Only what lies in the file itself is
read: no link to another place or file, no values kept in other files or computed from them. Values are read
once all of them together are known to be of a size that the file may hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import Malformed, Unreadable, Unsupported, root_cause
from .blob import Blob, Piece, Stored

UNPACKED, PER_BYTE = (
    64 << 20,
    100,
)  # bytes that compressed blobs may come to: so many, and so many for each byte of the file
DEEPEST = 32  # groups within groups: slashes in a layer's name


def load_h5(path: Path) -> list[Stored]:
    """The layers of a .caffemodel.h5. Unsupported without h5py, Unreadable or Malformed for a broken file."""
    try:
        import h5py
    except ImportError as error:
        raise Unsupported(
            "the weights are in HDF5, which needs h5py", where=path, way_out="install it: pip install h5py"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            data = file.get("data")
            if not isinstance(data, h5py.Group):
                raise Malformed(
                    "no group /data in it", where=path, expected="a .caffemodel.h5 as Caffe writes it"
                )
            layers = _checked(data, path, h5py)
            return [
                Stored(name, "", [_blob(d, path, name, i) for i, d in enumerate(found)], True)
                for name, found in layers
            ]
    except (
        OSError,
        RuntimeError,
        KeyError,
        ValueError,
        TypeError,
    ) as error:  # whatever HDF5 says of a damaged file
        raise Unreadable(f"cannot be read as HDF5 ({root_cause(error)})", where=path) from error


def _checked(group: Any, path: Path, h5py: Any) -> list[tuple[str, list[Any]]]:
    """The layers, once everything that is not values has been looked at."""
    found = list(_layers(group, path, h5py))
    claimed = sum(d.size * d.dtype.itemsize for _, datasets in found for d in datasets if d is not None)
    limit = UNPACKED + PER_BYTE * path.stat().st_size
    if claimed > limit:
        raise Malformed(
            f"its blobs claim {claimed:,} bytes",
            where=path,
            expected=f"at most {limit:,} from a file of its size",
        )
    return found


def _layers(group: Any, path: Path, h5py: Any) -> Iterator[tuple[str, list[Any]]]:
    """(name, its datasets by index; None for a hole) of every layer."""
    open_: list[tuple[str, Any, int]] = [("", group, 0)]
    seen = {group.id.__hash__()}
    while open_:
        name, here, depth = open_.pop()
        items = [(key, _item(here, key, path, h5py)) for key in here]
        blobs = {key: item for key, item in items if isinstance(item, h5py.Dataset)}
        groups = [
            (f"{name}/{key}" if name else key, item, depth + 1)
            for key, item in items
            if isinstance(item, h5py.Group)
        ]
        again = next((inner for inner, item, _ in groups if item.id.__hash__() in seen), None)
        if again is not None or depth > DEEPEST:
            raise Malformed(
                f"group '{again or name}' contains itself, or is nested too deeply",
                where=path,
                expected="a group for each layer",
            )
        seen.update(item.id.__hash__() for _, item, _ in groups)
        open_.extend(reversed(groups))
        if name and (blobs or not groups):
            yield name, [blobs.get(str(i)) for i in range(_count(blobs, path, name))]


def _item(group: Any, key: str, path: Path, h5py: Any) -> Any:
    """What a group holds under a name, if it is really there."""
    if not isinstance(group.get(key, getlink=True), h5py.HardLink):
        raise Malformed(
            f"'{group.name}/{key}' is a link to another place", where=path, expected="the values themselves"
        )
    item = group[key]
    if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
        raise Malformed(
            f"'{group.name}/{key}' has its values in other files",
            where=path,
            expected="the values themselves",
        )
    return item


def _count(blobs: dict[str, Any], path: Path, name: str) -> int:
    if stray := next((key for key in blobs if not key.isdecimal() or len(key) > 3), None):
        raise Malformed(f"dataset '{stray}' of layer '{name}'", where=path, expected="the index of a blob")
    return max((int(key) + 1 for key in blobs), default=0)


def _blob(dataset: Any, path: Path, name: str, index: int) -> Blob:
    if dataset is None:
        return Blob(memoryview(b""), hole=True)
    if dataset.dtype.kind != "f":
        raise Malformed(
            f"blob {index} of layer '{name}' has type {dataset.dtype}",
            where=path,
            expected="floating-point values",
        )
    values = np.ascontiguousarray(dataset[()], "<f4")
    return Blob(
        memoryview(values.tobytes()),
        tuple(int(d) for d in dataset.shape),
        pieces=[Piece(0, values.size, "<f4", 4)],
    )
