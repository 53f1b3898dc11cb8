"""A mean image: what Caffe's compute_image_mean writes (a BlobProto, mean.binaryproto), or a .npy.

read_mean(path) -> (C, H, W) in float64. Raises Unreadable, Malformed, Mismatch.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import Malformed, Unreadable, blamed_on, root_cause
from ...files.protobuf import BYTES, Field
from ...ir.tensor import FileMap
from .blob import shown
from .caffemodel import blob_of

_LARGEST = 1 << 28  # bytes
_EXPECTED = "a mean image: a .binaryproto with one blob, or a .npy of shape (C, H, W)"


def read_mean(path: Path) -> np.ndarray:
    """The values of the file, in the order of the network's channels."""
    if path.is_dir():
        raise Unreadable("is a folder", where=path, expected=_EXPECTED)
    with blamed_on(path):
        values = _of_numpy(path) if path.suffix.lower() == ".npy" else _of_blob(path)
        shape = values.shape
        while values.ndim > 3 and values.shape[0] == 1:
            values = values[0]
        if values.ndim == 2:
            values = values[None]
        if values.ndim != 3 or not values.size:
            raise Malformed(f"values of shape {shown(shape)}", where=path, expected=_EXPECTED)
        if not np.isfinite(values).all():
            raise Malformed("values that are not finite", where=path, expected=_EXPECTED)
    return values


def _of_blob(path: Path) -> np.ndarray:
    view = FileMap(path).view
    if len(view) > _LARGEST:
        raise Malformed(f"{len(view):,} bytes", expected=_EXPECTED)
    blob = blob_of(view, Field(0, BYTES, 0, 0, len(view), 0))
    if not blob.pieces:
        raise Malformed("no values in it", expected=_EXPECTED)
    blob.check()
    return blob.values().reshape(blob.shape)


def _of_numpy(path: Path) -> np.ndarray:
    FileMap(path)  # a pipe, or an empty file, is no array
    try:
        values = np.load(path, allow_pickle=False, mmap_mode="r")
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.nbytes > _LARGEST:
            raise ValueError("no array of numbers")
        return np.asarray(values, np.float64)
    except OSError as error:
        raise Unreadable(f"cannot be read ({root_cause(error)})", where=path) from error
    except Exception as error:  # numpy raises what it meets in a damaged header
        raise Malformed(f"is no .npy file ({root_cause(error)})", where=path, expected=_EXPECTED) from error
