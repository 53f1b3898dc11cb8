"""The user's own inputs: arrays in memory, and files, one reader per kind of file, found by suffix.

    .npy  .npz     arrays; a .npz without a name in front serves all inputs by their names
    .pb            a TensorProto, as the onnx test data sets have them
    .bin           raw values in the input's type and shape
    images         .png .jpg .jpeg .bmp .webp, one or a folder of them; resized to the input, 0 to 255, then
                   (x - mean)/std per channel

A file may hold several samples: (N, 3, 224, 224) for an input of (1, 3, 224, 224) is N of them. With several
inputs the shorter lists start again.
"""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from ...errors import BnfoldError, Malformed, Mismatch, Unreadable, UsageError, reason, root_cause
from ...ir.graph import ir
from ...records import dataclass
from ...results.model_names import IMAGES, images
from ...results.options import RecalibrateOptions, VerifyOptions, spelled
from ...results.value_kinds import Given
from ..truth.number_formats import is_float, numpy_type
from .samples import Feeds, Input

VALUES_PER_BYTE = 4  # of a tensor: its smallest types have two bits
UNPACKED, PER_BYTE = 256 << 20, 100  # bytes that an archive may unpack to: so many, and for each of its own


@dataclass(frozen=True)
class Declared:
    """One input as the model and the user declare it: type, concrete shape where that is known, the user's
    options."""

    one: Input
    shape: tuple[int, ...] | None
    options: VerifyOptions | RecalibrateOptions


def read_feeds(inputs: Sequence[Input], options: VerifyOptions) -> list[Feeds]:
    """Every sample that the user gave; an empty list if there are none. Inputs that were left out are absent
    from the feeds. That the names are the model's is checked already (results/model_names.py)."""
    lists: dict[str, list[np.ndarray]] = {}
    for name, given in options.inputs:
        if not name and isinstance(given, str) and Path(given).suffix == ".npz":
            lists.update({one.name: samples(array, one, given) for one, array in _named(given, inputs)})
            continue
        one = next(one for one in inputs if name in (one.name, ""))
        if isinstance(given, Given):
            lists[one.name] = _in_memory(given, one)
            continue
        arrays = _arrays(Path(given), Declared(one, _shape(one, options), options))
        lists[one.name] = [x for array in arrays for x in samples(array, one, given)]
    count = max((len(found) for found in lists.values()), default=0)
    return [{name: found[i % len(found)] for name, found in lists.items()} for i in range(count)]


def _in_memory(given: Given, one: Input) -> list[np.ndarray]:
    """The samples of an array; one that does not fit is no file's fault."""
    try:
        return samples(given.array, one, None)
    except Mismatch as error:
        raise UsageError(
            f"{spelled('inputs')} gives '{one.name}' {given}: {error.found}", expected=error.expected
        ) from error


def _shape(one: Input, options: VerifyOptions) -> tuple[int, ...] | None:
    table = dict(options.input_shapes)
    if (given := table.get(one.name, table.get(""))) is not None:
        return given
    return tuple(one.dims) if one.dims and all(isinstance(d, int) for d in one.dims) else None  # type: ignore[arg-type]


def _named(place: str, inputs: Sequence[Input]) -> list[tuple[Input, np.ndarray]]:
    arrays = npz(Path(place))
    known = {one.name: one for one in inputs}
    if unknown := [name for name in arrays if name not in known]:
        raise Mismatch(
            f"the file holds an array '{unknown[0]}'",
            where=Path(place),
            expected=f"arrays named {', '.join(known)}",
        )
    return [(known[name], array) for name, array in arrays.items()]


def samples(array: np.ndarray, one: Input, place: object) -> list[np.ndarray]:
    """An array as samples of an input: of its type, of its rank, cut along the first axis where it holds
    several."""
    array = converted(array.reshape(fitting(array.dtype, array.shape, one, place)), one)
    if not one.dims or not isinstance(one.dims[0], int) or array.shape[0] == one.dims[0]:
        return [array]
    batch = one.dims[0]
    if batch <= 0 or array.shape[0] % batch:
        raise Mismatch(
            f"the array has {array.shape[0]} rows",
            where=place,
            expected=f"a multiple of {batch}, the batch of input '{one.name}'",
        )
    return list(array.reshape(-1, batch, *array.shape[1:]))


def fitting(dtype: np.dtype, shape: tuple[int, ...], one: Input, place: object) -> tuple[int, ...]:
    """The shape of an array as rows of an input: one that has an axis less than the input is a single row.
    Raises Mismatch where its type, its rank or a size does not fit."""
    if not _converts(dtype, numpy_type(one.kind)):
        raise Mismatch(
            f"the array has the type {dtype}",
            where=place,
            expected=f"{one.kind.name.lower()}, as the input '{one.name}' is",
        )
    rank = len(one.dims)
    if one.dims and len(shape) == rank - 1:
        shape = (1, *shape)
    fixed = [(axis, d) for axis, d in enumerate(one.dims) if isinstance(d, int)]
    if one.dims and (len(shape) != rank or any(shape[axis] != d for axis, d in fixed if axis)):
        raise Mismatch(
            f"the array has the shape {shape}",
            where=place,
            expected=f"{list(one.dims)}, as the input '{one.name}' is",
        )
    if shape and not shape[0] and one.dims[:1] != (0,):
        raise Mismatch(
            "it holds no row", where=place, expected=f"at least one sample of the input '{one.name}'"
        )
    return shape


def converted(array: np.ndarray, one: Input) -> np.ndarray:
    """An array in the type of an input; what is too large for the type is infinite."""
    with np.errstate(all="ignore"):
        return array.astype(numpy_type(one.kind), copy=False)


def _converts(found: np.dtype, kind: np.dtype) -> bool:
    """Can numbers of one type be given as another? Numpy saves types that are not its own (bfloat16) as so
    many bytes each: those are taken for the type of the input alone, and only where they fill it."""
    if found.type is np.void:
        return kind.kind == "V" and found.names is None and found.itemsize == kind.itemsize
    return found.kind in "biufV" and (is_float(kind) or not is_float(found))


def _arrays(place: Path, declared: Declared) -> list[np.ndarray]:
    if place.is_dir():
        files = images(place)
        if not files:
            raise Unreadable(f"the folder has no images ({', '.join(IMAGES)})", where=place)
        return [image(path, declared) for path in files]
    reader = READERS.get(place.suffix.lower())
    if reader is None:
        raise UsageError(
            f"cannot read inputs from '{place.name}'",
            expected=f"one of {', '.join(READERS)} or a folder of images",
        )
    return [reader(place, declared)]


@contextmanager
def parsed(place: Path, kind: str) -> Iterator[None]:
    """A library takes the file apart. What it raises of a damaged one depends on where the damage is, and on
    its version, so every error that is not the system's is the file's. Raises Unreadable, Malformed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (BnfoldError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise Unreadable(f"cannot be read ({reason(error)})", where=place) from error
        raise Malformed(f"the file is not {kind} ({root_cause(error)})", where=place) from error


def _bytes(place: Path) -> bytes:
    with parsed(place, "readable"):
        return regular(place).read_bytes()


def _npy(place: Path, declared: Declared) -> np.ndarray:
    del declared
    with parsed(place, "a .npy file"):
        return np.asarray(np.lib.format.open_memmap(regular(place), mode="r"))


def npz(place: Path) -> dict[str, np.ndarray]:
    """Every array of the archive."""
    with parsed(place, "a .npz file"):
        with zipfile.ZipFile(regular(place)) as archive:
            check_unpacked(archive, place)
        with np.load(place, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


def check_unpacked(archive: zipfile.ZipFile, place: Path) -> None:
    """What the arrays unpack to, as their headers say, is held against the size of the file. Raises
    Malformed."""
    limit = UNPACKED + PER_BYTE * place.stat().st_size
    claimed = sum(_claimed(archive, name) for name in archive.namelist())
    if claimed > limit:
        raise Malformed(
            f"the archive unpacks to {claimed:,} bytes",
            where=place,
            expected=f"at most {limit:,} from a file of its size",
        )


def _claimed(archive: zipfile.ZipFile, name: str) -> int:
    """The bytes of an array, as its header in the archive says. Raises ValueError where it is no array."""
    with archive.open(name) as member:
        shape, _, dtype = array_header(member)
    return math.prod(shape) * dtype.itemsize


def array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether its columns come first, type) of an array, as numpy writes them in front of its values.
    Raises ValueError where it is no array."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in read:
        raise ValueError(f"an array of format version {version}")
    return read[version](stream)


def regular(place: Path) -> Path:
    """The path of a regular file: opening a pipe would wait for whoever writes into it."""
    if place.exists() and not place.is_file():
        raise Unreadable("is not a regular file", where=place)
    return place


def _one_of_npz(place: Path, declared: Declared) -> np.ndarray:
    arrays = npz(place)
    if declared.one.name in arrays:
        return arrays[declared.one.name]
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    raise Mismatch(
        f"the file holds {', '.join(arrays) or 'nothing'}",
        where=place,
        expected=f"an array named '{declared.one.name}', or a single array",
    )


def _tensor(place: Path, declared: Declared) -> np.ndarray:
    del declared
    import onnx

    proto = onnx.TensorProto()
    with parsed(place, "a TensorProto"):
        proto.ParseFromString(_bytes(place))
        if proto.external_data:
            raise Malformed(
                "the values of the tensor are in another file",
                where=place,
                expected="a tensor with its values in it",
            )
        found = ir.serde.deserialize_tensor(proto)
        # a type without a field for its values has zeros made for it, as many as it claims
        claimed, most = math.prod(proto.dims), VALUES_PER_BYTE * proto.ByteSize()
        if claimed > most:
            raise Malformed(
                f"the tensor claims {claimed:,} values",
                where=place,
                expected=f"at most {most:,} in a file of its size",
            )
        return np.asarray(found.numpy())


def _raw(place: Path, declared: Declared) -> np.ndarray:
    if declared.shape is None:
        raise UsageError(
            f"'{place.name}' has no shape", expected=spelled("input_shapes", f"{declared.one.name}:...")
        )
    values = _bytes(place)
    kind = numpy_type(declared.one.kind)
    each = int(np.prod(declared.shape, dtype=np.int64)) * kind.itemsize
    if not each or len(values) % each or not values:
        raise Mismatch(
            f"the file has {len(values):,} bytes",
            where=place,
            expected=f"a multiple of {each:,} for shape {declared.shape}",
        )
    return np.frombuffer(values, kind).reshape(-1, *declared.shape[1:])


def image(place: Path, declared: Declared) -> np.ndarray:
    """(1, C, H, W) or (1, H, W, C), float, after mean and std."""
    try:
        from PIL import Image  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise UsageError("images need Pillow", way_out="pip install pillow") from error
    channels, height, width = _layout(declared)
    with parsed(place, "an image that Pillow can read"):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(regular(place)) as picture:
            values = picture.convert("L" if channels == 1 else "RGB").resize(
                (width, height), Image.Resampling.BILINEAR
            )
            pixels = np.asarray(values, np.float64).reshape(height, width, channels)
    for name, given in (("mean", declared.options.mean), ("std", declared.options.std)):
        if given and len(given) not in (1, channels):
            raise UsageError(
                f"{spelled(name)} has {len(given)} values",
                expected=f"{channels}, one per channel, or one for all",
            )
    pixels = (pixels - np.array(declared.options.mean or (0.0,))) / np.array(declared.options.std or (1.0,))
    return np.asarray(pixels[None] if declared.options.layout == "NHWC" else pixels.transpose(2, 0, 1)[None])


def _layout(declared: Declared) -> tuple[int, int, int]:
    shape = declared.shape
    if shape is None or len(shape) != 4:
        raise UsageError(
            f"input '{declared.one.name}' has no fixed shape of four dims",
            expected=f"{spelled('input_shapes')}, to resize images to",
        )
    channels, height, width = (
        (shape[3], shape[1], shape[2]) if declared.options.layout == "NHWC" else shape[1:]
    )
    if channels not in (1, 3):
        raise UsageError(
            f"input '{declared.one.name}' has {channels} channels in layout {declared.options.layout}",
            expected="1 or 3 for images",
            way_out=f"try NHWC or NCHW for {spelled('layout')}",
        )
    return channels, height, width


READERS: Mapping[str, Callable[[Path, Declared], np.ndarray]] = {
    ".npy": _npy,
    ".npz": _one_of_npz,
    ".pb": _tensor,
    ".bin": _raw,
    **dict.fromkeys(IMAGES, image),
}
