"""Any number of the user's inputs, a batch at a time; memory does not grow with how many there are.

    streams       what the user gave, as one Stream of rows for each input of the model
    Batches       the streams side by side: how many inputs there are, and batch after batch of feeds

Every file says how many rows it has before any of them is read: a .npy is mapped, an array of a .npz is
unpacked as far as it is wanted, a folder of images is decoded one by one. The other kinds of files hold a
sample or a few, and are read whole (user_files.py).

Rule 1: a number that is NaN or infinite is refused, with its file and row.
Rule 2: inputs of a network that takes a fixed batch go through it so many at a time; what is left over in the
        end is left out, and counted.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import Malformed, Mismatch, Unreadable, UsageError
from ...records import dataclass
from ...results.model_names import IMAGES, images
from ...results.options import RecalibrateOptions
from ...results.value_kinds import Given
from ..truth.number_formats import is_float
from .samples import Feeds, Input
from .user_files import (
    READERS,
    Declared,
    array_header,
    check_unpacked,
    converted,
    fitting,
    image,
    npz,
    parsed,
    regular,
)

BLOCK = 1 << 20  # bytes that are read at a time, where rows are smaller
LARGE = 1 << 20  # elements of all inputs of a batch whose size bnfold chooses
MOST_ROWS = 32  # of such a batch


class Block(NamedTuple):
    """So many rows, which are made when they are wanted."""

    rows: int
    make: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Part:
    """One file, folder or array: `rows` rows of the shape `row`. `blocks` gives them in order; `files` are
    those of a folder, one for each row."""

    place: object
    rows: int
    row: tuple[int, ...]
    blocks: Callable[[], Iterator[Block]]
    files: tuple[Path, ...] = ()

    def where(self, row: int) -> tuple[object, str]:
        """(what an error names, which of its rows)."""
        return (self.files[row], "the image") if self.files else (self.place, f"input {row}")


@dataclass(frozen=True)
class Stream:
    """All rows of one input. `batch` is how many of them the model takes at a time, None where that is
    free."""

    one: Input
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(part.rows for part in self.parts)

    @property
    def batch(self) -> int | None:
        """How many the model takes at a time."""
        first = self.one.dims[0] if self.one.dims else None
        return first if isinstance(first, int) else None

    @property
    def is_whole(self) -> bool:
        """Is it a single number, which no axis counts?"""
        return self.one.ranked and not self.one.dims

    @property
    def borders(self) -> set[int]:
        """Rows from which on they have another shape."""
        found, at = set(), 0
        for part, following in pairwise(self.parts):
            at += part.rows
            if part.row != following.row:
                found.add(at)
        return found


def streams(inputs: Sequence[Input], options: RecalibrateOptions) -> list[Stream]:
    """A stream for every input of the model. That the names are the model's is checked already
    (results/model_names.py). Raises UsageError where an input gets nothing, and what reading files raises."""
    parts: dict[str, list[Part]] = {one.name: [] for one in inputs}
    for name, given in options.recalibrate:
        if not name and isinstance(given, str) and Path(given).suffix.lower() == ".npz":
            for found, part in _parts_of_npz(Path(given), inputs):
                parts[found].append(part)
            continue
        one = next(one for one in inputs if name in (one.name, ""))
        parts[one.name].append(_part(given, Declared(one, _shape(one, options), options)))
    if lacking := next((name for name, found in parts.items() if not found), None):
        raise UsageError(
            f"nothing is given for the input '{lacking}'",
            expected=f"a file, a folder or an array for it, as in {lacking}:data.npy",
        )
    return [Stream(one, tuple(parts[one.name])) for one in inputs]


class Batches:
    """Streams side by side. `count` is how many inputs go through the network, `left_out` how many do not
    because they fill no batch. The unit of a stream are the rows that belong together: the batch that the
    model fixes, or one."""

    def __init__(self, found: Sequence[Stream], size: int | None) -> None:
        self.streams = found
        self.fixed = [s for s in found if s.batch is not None and s.rows > s.batch]
        self.long = self.fixed + [s for s in found if s.batch is None and s.rows > 1 and not s.is_whole]
        leading = (self.long or list(found))[0] if found else None
        self.units = self._count(leading)
        self.per = {s.one.name: self._unit(s) for s in found}
        self.count = self.units * (self.per[leading.one.name] if leading is not None else 1)
        self.left_out = leading.rows - self.count if leading is not None and leading in self.long else 0
        self.size = 1 if self.fixed or not self.long else size or self._chosen()

    def __call__(self, every: int = 1) -> Iterator[tuple[int, Feeds]]:
        """(number of the first unit, the feeds) of each batch, or of each `every`-th batch alone. Raises what
        reading files raises, Malformed or UsageError for a number that is not finite."""
        readers = {s.one.name: _Reader(s, repeated=s not in self.long) for s in self.streams}
        for number, (start, stop) in enumerate(self.spans()):
            rows = {s.one.name: self._rows(s, stop - start) for s in self.streams}
            if number % every == 0:
                yield start, {name: reader.take(rows[name]) for name, reader in readers.items()}
            else:
                for name, reader in readers.items():
                    reader.skip(rows[name])

    def where(self, unit: int) -> object:
        """The file of a unit's first row, or the array."""
        stream = (self.long or self.streams)[0]
        row = unit * self.per[stream.one.name] if stream in self.long else 0
        for part in stream.parts:
            if row < part.rows:
                return part.where(row)[0]
            row -= part.rows
        return stream.parts[-1].place

    def spans(self) -> Iterator[tuple[int, int]]:
        """The units of each batch: as many as fit, none with rows of different shapes, and none with rows of
        both halves."""
        borders = {0, self.units // 2, self.units}
        for stream in self.long:
            unit = self.per[stream.one.name]
            for border in stream.borders:
                if border % unit:
                    raise Mismatch(
                        f"the inputs change their shape at row {border}",
                        where=stream.parts[0].place,
                        expected=f"batches of {unit} of one shape, as '{stream.one.name}' takes them",
                    )
                borders.add(border // unit)
        marks = sorted(b for b in borders if b <= self.units)
        for start, stop in pairwise(marks):
            for at in range(start, stop, self.size):
                yield at, min(at + self.size, stop)

    def _count(self, leading: Stream | None) -> int:
        """How many units there are, the same in every stream."""
        if leading is None or leading not in self.long:
            self._check_filled()
            return 1
        units = leading.rows // (leading.batch or 1)
        for other in self.long:
            have = other.rows // (other.batch or 1)
            if have != units and (other.batch is not None or not self.fixed or other.rows % units):
                raise Mismatch(
                    f"'{other.one.name}' has {other.rows} rows, and '{leading.one.name}' has {leading.rows}",
                    where=other.parts[0].place,
                    expected="as many of each input, or one for all",
                )
        self._check_filled()
        return units

    def _check_filled(self) -> None:
        for stream in self.streams:
            if stream.batch is not None and stream.rows < stream.batch:
                raise Mismatch(
                    f"{stream.rows} rows in all",
                    where=stream.parts[0].place,
                    expected=f"at least {stream.batch}, the batch of input '{stream.one.name}'",
                )

    def _unit(self, stream: Stream) -> int:
        if stream.batch is not None:
            return stream.batch
        return stream.rows // self.units if stream in self.long and self.fixed else 1

    def _rows(self, stream: Stream, units: int) -> int:
        """How many rows of a stream a batch of so many units has. One row for all meets each of them where
        the model says that both have the same batch."""
        if stream in self.long:
            return units * self.per[stream.one.name]
        same = any(s.batch is None and s.one.dims[:1] == stream.one.dims[:1] for s in self.long)
        named = bool(stream.one.dims) and isinstance(stream.one.dims[0], str)
        return units if same and named else self.per[stream.one.name]

    def _chosen(self) -> int:
        largest = sum(max(math.prod(part.row) for part in s.parts) for s in self.long)
        return max(1, min(MOST_ROWS, LARGE // max(1, largest)))


class _Reader:
    """The rows of one stream in order, as many at a time as are asked for; a stream that is `repeated` begins
    anew each time."""

    def __init__(self, stream: Stream, *, repeated: bool) -> None:
        self.stream, self.repeated = stream, repeated
        self._blocks = ((part, at, block) for part in stream.parts for at, block in _placed(part))
        self._rest: np.ndarray | None = None
        self._skipped = 0
        self._first: np.ndarray | None = None

    def take(self, rows: int) -> np.ndarray:
        """The next rows, in the type of the input."""
        if not self.repeated:
            return self._next(rows)
        if self._first is None:
            self._first = self._next(self.stream.batch or 1)
        if self.stream.is_whole:
            return self._first.reshape(())
        return np.repeat(self._first, rows, axis=0) if len(self._first) == 1 != rows else self._first

    def skip(self, rows: int) -> None:
        """Pass over the next rows; what they hold is not even read, where that is possible."""
        if not self.repeated:
            self._skipped += rows

    def _next(self, rows: int) -> np.ndarray:
        found: list[np.ndarray] = []
        while missing := rows - sum(map(len, found)):
            block = self._block()
            found.append(block[:missing])
            self._rest = block[missing:]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _block(self) -> np.ndarray:
        """Rows that are not taken yet, at least one."""
        while True:
            if self._rest is not None:
                block = self._rest[self._skipped :]
                self._skipped -= len(self._rest) - len(block)
                self._rest = None
                if len(block):
                    return block
            part, at, (rows, make) = next(self._blocks)
            if rows <= self._skipped:
                self._skipped -= rows
                continue
            self._rest = converted(make(), self.stream.one)
            _check_finite(self._rest, part, at)


def _placed(part: Part) -> Iterator[tuple[int, Block]]:
    """The blocks of a part, each with the number of its first row."""
    at = 0
    for block in part.blocks():
        yield at, block
        at += block.rows


def _check_finite(array: np.ndarray, part: Part, at: int) -> None:
    """Raises Malformed, or UsageError for an array in memory, which is no file's fault."""
    if not is_float(array.dtype) or np.isfinite(array).all():
        return
    row = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=1)))
    where, what = part.where(at + row)
    values = np.atleast_1d(array[row])
    value = values[~np.isfinite(values)][0]
    words = f"{what} holds a number that is not finite ({value})"
    if isinstance(where, Given):
        raise UsageError(f"{words}, in {where}", expected="finite numbers")
    raise Malformed(words, where=where, expected=f"finite numbers, as {array.dtype} holds them")


# What the user gave, as parts.


def _shape(one: Input, options: RecalibrateOptions) -> tuple[int, ...] | None:
    """The shape of one row, with a batch of one where that is free; None where a size is not known."""
    table = dict(options.input_shapes)
    if (given := table.get(one.name, table.get(""))) is not None:
        return given
    dims = (1, *one.dims[1:]) if one.dims and not isinstance(one.dims[0], int) else one.dims
    return tuple(d for d in dims if isinstance(d, int)) if dims and None not in _numbers(dims) else None


def _numbers(dims: Sequence[int | str | None]) -> list[int | None]:
    return [d if isinstance(d, int) else None for d in dims]


def _part(given: str | Given, declared: Declared) -> Part:
    if isinstance(given, Given):
        try:
            return _of_array(given.array, declared.one, given)
        except Mismatch as error:
            raise UsageError(
                f"the data of '{declared.one.name}' is {given}: {error.found}", expected=error.expected
            ) from error
    place = Path(given)
    if place.is_dir():
        return _of_folder(place, declared)
    suffix = place.suffix.lower()
    if suffix == ".npz":
        return _one_of_npz(place, declared.one)
    if suffix not in READERS:
        raise UsageError(
            f"cannot read inputs from '{place.name}'",
            expected=f"one of {', '.join(READERS)} or a folder of images",
        )
    return _of_array(READERS[suffix](place, declared), declared.one, place)


def _of_array(array: np.ndarray, one: Input, place: object) -> Part:
    shape = fitting(array.dtype, array.shape, one, place)
    rows = array.reshape(shape if shape else (1,))
    return Part(place, rows.shape[0], rows.shape[1:], partial(_slices, rows))


def _slices(array: np.ndarray) -> Iterator[Block]:
    step = _rows_of_block(array.shape[1:], array.dtype)
    for start in range(0, len(array), step):
        block = array[start : start + step]
        yield Block(len(block), lambda block=block: block)  # type: ignore[misc]


def _rows_of_block(row: tuple[int, ...], dtype: np.dtype) -> int:
    return max(1, BLOCK // max(1, math.prod(row) * dtype.itemsize))


def _of_folder(place: Path, declared: Declared) -> Part:
    """The images of a folder, in the order of their names."""
    with parsed(place, "a folder"):
        files = tuple(images(place))
    if not files:
        raise Unreadable(f"the folder has no images ({', '.join(IMAGES)})", where=place)
    first = image(files[0], declared)
    row = fitting(first.dtype, first.shape, _of_one_row(declared.one), files[0])[1:]
    blocks = [Block(1, partial(image, file, declared)) for file in files]
    return Part(place, len(files), row, lambda: iter(blocks), files)


def _of_one_row(one: Input) -> Input:
    return Input(one.name, one.kind, (None, *one.dims[1:]) if one.dims else one.dims, ranked=one.ranked)


def _parts_of_npz(place: Path, inputs: Sequence[Input]) -> Iterator[tuple[str, Part]]:
    """(name of an input, its rows) for the arrays of an archive that serves all inputs: by their names, or
    the only array for the only input."""
    headers = _headers(place)
    known = {one.name: one for one in inputs}
    if len(inputs) == 1 and len(headers) == 1:
        headers = {inputs[0].name: next(iter(headers.values()))}
    if unknown := [name for name in headers if name not in known]:
        raise Mismatch(
            f"the file holds an array '{unknown[0]}'",
            where=place,
            expected=f"arrays named {', '.join(known)}",
        )
    for name, header in headers.items():
        yield name, _of_member(place, header, known[name])


def _one_of_npz(place: Path, one: Input) -> Part:
    headers = _headers(place)
    header = headers.get(one.name) or (next(iter(headers.values())) if len(headers) == 1 else None)
    if header is None:
        raise Mismatch(
            f"the file holds {', '.join(headers) or 'nothing'}",
            where=place,
            expected=f"an array named '{one.name}', or a single array",
        )
    return _of_member(place, header, one)


@dataclass(frozen=True)
class _Header:
    member: str
    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype


def _headers(place: Path) -> dict[str, _Header]:
    """The arrays of an archive by their names, without their values."""
    with parsed(place, "a .npz file"), zipfile.ZipFile(regular(place)) as archive:
        check_unpacked(archive, place)
        found = {}
        for member in archive.namelist():
            with archive.open(member) as stream:
                found[member.removesuffix(".npy")] = _Header(member, *array_header(stream))
    return found


def _of_member(place: Path, header: _Header, one: Input) -> Part:
    if (header.by_columns and len(header.shape) > 1) or header.dtype.hasobject:
        return _of_array(npz(place)[header.member.removesuffix(".npy")], one, place)
    shape = fitting(header.dtype, header.shape, one, place)
    rows, row = (shape[0], shape[1:]) if shape else (1, ())
    return Part(place, rows, row, partial(_unpacked, place, header, rows, row))


def _unpacked(place: Path, header: _Header, rows: int, row: tuple[int, ...]) -> Iterator[Block]:
    """The rows of an array in an archive, a block at a time."""
    step = _rows_of_block(row, header.dtype)
    with zipfile.ZipFile(regular(place)) as archive, archive.open(header.member) as stream:
        array_header(stream)
        for start in range(0, rows, step):
            count = min(step, rows - start)
            size = count * math.prod(row) * header.dtype.itemsize
            with parsed(place, "a .npz file"):
                values = stream.read(size)
            if len(values) < size:
                raise Malformed("the archive ends within an array", where=place)
            block = np.frombuffer(values, header.dtype).reshape(count, *row)
            yield Block(count, lambda block=block: block)  # type: ignore[misc]
