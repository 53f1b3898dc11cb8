"""Tensors that leave their bytes where they are until somebody asks.

    FileMap   one read-only map of one file; every window of that file shares it
    Window    so many bytes of a map (or of any buffer), seen as a tensor
    Recipe    a function of other tensors, evaluated block by block when the writer asks

Both are onnx_ir tensors, so the IR carries them like any other. Data is little-endian, as ONNX, Caffe and
darknet store it.

Rule 1: nothing but the writer (and verification) asks a large tensor for its bytes.
Rule 2: a window checks its size against its shape when it is made, so a wrong claim is found at the door.
Rule 3: while the writer lays out a file it asks for stand-ins (`standing_in`); then `tobytes` gives a few
        bytes that name the tensor, and the payload is streamed into their place later.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from . import lazy_sympy  # noqa: F401  (before onnx_ir)

import onnx_ir as ir  # isort: skip

from ..errors import Malformed, Unreadable, reason

BLOCK = 1 << 16  # elements in one block: as float64 it fits a core's second-level cache
# A tensor in its proto. Most are just that, and `type(x) is` is ten times faster than `isinstance`, which
# asks the protocols of onnx_ir.
InProto = ir.serde.TensorProtoTensor
_FLOAT = ir.DataType.FLOAT.value
_StandIn = Callable[["Deferred"], bytes | None]
_stand_in: ContextVar[_StandIn | None] = ContextVar("stand_in", default=None)


class FileMap:
    """One file, mapped read-only. `view` is its bytes; `path` its place. The map lives as long as a window of
    it does."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            if self.path.exists() and not (
                self.path.is_file() or self.path.is_dir()
            ):  # a pipe would wait for a writer
                raise Unreadable("is not a regular file", where=self.path)
            with self.path.open("rb") as file:
                if not os.fstat(file.fileno()).st_size:
                    raise Unreadable("the file is empty", where=self.path)
                self.view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise Unreadable(f"cannot be read ({reason(error)})", where=self.path) from error

    def __len__(self) -> int:
        return len(self.view)


class Deferred(ir.LazyTensor):
    """What windows and recipes share: a dtype and a static shape known now, blocks of bytes known later."""

    def __init__(
        self,
        dtype: ir.DataType,
        shape: Sequence[int],
        name: str | None = None,
        doc_string: str | None = None,
        metadata_props: dict[str, str] | None = None,
    ) -> None:
        self.dims = tuple(int(d) for d in shape)
        super().__init__(
            self._whole,
            ir.DataType(dtype),
            ir.Shape(self.dims, frozen=True),
            name=name,
            doc_string=doc_string,
            metadata_props=metadata_props,
        )

    def _whole(self) -> ir.TensorProtocol:
        return ir.Tensor(self.numpy(), dtype=self.dtype, name=self.name)

    def blocks(self) -> Iterator[memoryview]:
        """The tensor's bytes in order, piece by piece."""
        raise NotImplementedError

    def numpy(self) -> np.ndarray:
        """The whole tensor as an array of its dtype and shape."""
        raise NotImplementedError

    def tobytes(self) -> bytes:
        """All of its bytes, or what stands in for them (`standing_in`)."""
        maker = _stand_in.get()
        token = maker(self) if maker else None
        return token if token is not None else b"".join(self.blocks())

    def tofile(self, file: Any) -> None:
        """Its bytes, block by block, into a file that is open for writing."""
        for block in self.blocks():
            file.write(block)

    def __repr__(self) -> str:
        return f"{self._repr_base()}(name={self.name!r})"


class Window(Deferred):
    """`dtype[shape]` at `offset` of a buffer. `buffer` is a memoryview that keeps its map alive; nothing is
    copied."""

    def __init__(
        self,
        buffer: memoryview | bytes,
        offset: int,
        dtype: ir.DataType,
        shape: Sequence[int],
        name: str | None = None,
        doc_string: str | None = None,
        metadata_props: dict[str, str] | None = None,
    ) -> None:
        super().__init__(dtype, shape, name, doc_string, metadata_props)
        size = nbytes(self.dtype, shape)
        view = memoryview(buffer)
        if any(d < 0 for d in shape):
            raise Malformed(
                f"tensor '{name}' has the shape {tuple(shape)}", expected="dimensions that are not negative"
            )
        if offset < 0 or offset + size > len(view):
            raise Malformed(
                f"tensor '{name}' needs {size:,} bytes at offset {offset:,}, the file has "
                f"{len(view):,} in all",
                expected="a whole file: it is cut off or damaged",
            )
        self.offset = offset
        self.bytes = view[offset : offset + size]

    def blocks(self) -> Iterator[memoryview]:
        """Slices of the map."""
        step = BLOCK * 16
        for start in range(0, len(self.bytes), step):
            yield self.bytes[start : start + step]

    def numpy(self) -> np.ndarray:
        """A view of the map; types below one byte are unpacked into a copy."""
        shape = self.shape.numpy()
        if self.dtype.bitwidth < 8:
            packed = np.frombuffer(self.bytes, np.uint8)
            return ir.PackedTensor(packed, self.dtype, shape=shape).numpy()
        return np.frombuffer(self.bytes, self.dtype.numpy()).reshape(shape)


class Recipe(Deferred):
    """A tensor that `arrays` makes: a function that yields arrays of the dtype, in storage order, filling the
    shape. They are made while numpy is silent: what is not finite in a file stays so."""

    def __init__(
        self,
        dtype: ir.DataType,
        shape: Sequence[int],
        arrays: Callable[[], Iterator[np.ndarray]],
        name: str | None = None,
    ) -> None:
        super().__init__(dtype, shape, name)
        self.arrays = arrays

    def blocks(self) -> Iterator[memoryview]:
        """The bytes of one array after the other."""
        for array in self._made():
            yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data

    def numpy(self) -> np.ndarray:
        """All arrays in one of the whole shape. Raises ValueError where they do not fill it: a bug of the
        recipe's author."""
        flat = np.empty(math.prod(self.shape.numpy()), self.dtype.numpy())
        at = 0
        for array in self._made():
            flat[at : at + array.size] = array.reshape(-1)
            at += array.size
        if at != flat.size:
            raise ValueError(f"recipe '{self.name}' made {at} of {flat.size} values")
        return flat.reshape(self.shape.numpy())

    def _made(self) -> Iterator[np.ndarray]:
        """Array after array. numpy's state is left as it was wherever a reader stops in between."""
        with np.errstate(all="ignore"):
            arrays = self.arrays()
        while True:
            with np.errstate(all="ignore"):
                array = next(arrays, None)
            if array is None:
                return
            yield array


def nbytes(dtype: ir.DataType, shape: Sequence[int]) -> int:
    """Bytes that a dense tensor takes; types below one byte are packed."""
    return -(-math.prod(shape) * dtype.bitwidth // 8)


def dims(tensor: ir.TensorProtocol) -> tuple[int, ...]:
    """A tensor's dims as plain numbers. onnx_ir makes an object of every dim at each look at a shape; a proto
    has them as they are, and what is deferred knows them."""
    if type(tensor) is InProto:
        return tuple(tensor.raw.dims)
    known: tuple[int, ...] | None = getattr(tensor, "dims", None)
    return tuple(tensor.shape.numpy()) if known is None else known


def elements(tensor: ir.TensorProtocol) -> int:
    """How many elements a tensor has."""
    return math.prod(tensor.raw.dims if type(tensor) is InProto else dims(tensor))


def vector_of_floats(tensor: ir.TensorProtocol | None) -> bytes:
    """The bytes of a vector of float32 that lies in its proto; b"" for every other tensor."""
    if type(tensor) is not InProto or tensor.raw.data_type != _FLOAT or len(tensor.raw.dims) != 1:
        return b""
    return tensor.raw.raw_data


def array(tensor: ir.TensorProtocol) -> np.ndarray:
    """A tensor's values."""
    if type(tensor) is InProto and tensor.raw.data_type == _FLOAT and (raw := tensor.raw.raw_data):
        return np.frombuffer(raw, "<f4").reshape(tensor.raw.dims)
    return tensor.numpy()


def blocks(tensor: ir.TensorProtocol) -> Iterator[memoryview | bytes]:
    """A tensor's bytes piece by piece, whatever kind of tensor it is."""
    if isinstance(tensor, Deferred):
        yield from tensor.blocks()
    else:
        yield tensor.tobytes()


def from_array(
    values: np.ndarray, name: str | None = None, dtype: ir.DataType | None = None
) -> ir.Tensor[np.ndarray]:
    """An in-memory tensor of an array's own type (or of `dtype`, whose numpy type it must have)."""
    values = np.ascontiguousarray(values).reshape(np.shape(values))
    return ir.Tensor(values, dtype=dtype or ir.DataType.from_numpy(values.dtype), name=name)


@contextmanager
def standing_in(maker: _StandIn) -> Iterator[None]:
    """While this is open, `tobytes` of a deferred tensor gives what `maker(tensor)` says (None: its real
    bytes)."""
    token = _stand_in.set(maker)
    try:
        yield
    finally:
        _stand_in.reset(token)


if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("bnfold reads little-endian files where they lie; this machine is big-endian")
