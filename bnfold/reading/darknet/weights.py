"""The weights file: a header, then float32 arrays without names or sizes, in the order in which the sections
ask for them.

    bytes 0-11    int32 major, minor, revision
    bytes 12-     images seen: 8 bytes, or 4 in old files (the forks disagree where major or minor is above
                  1000)
    then          arrays

`Arrays` hands them out: windows on the mapped file, or seeded numbers where there is no file. It never stops
at the end of the file: what is missing is noted, so that the error can say how much the whole network needs.

Rule 1: nothing is read or allocated here; an array is a window, and a window exists only where the file has
        the bytes.
Rule 2: every byte is accounted for.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from ...errors import Malformed, Mismatch, UsageError
from ...ir.graph import ir
from ...ir.provenance import Source
from ...ir.tensor import BLOCK, FileMap, Recipe, Window
from ...records import dataclass
from .dialects import Fork
from .syntax import INT_MAX

FLOAT = ir.DataType.FLOAT
MOST_BILLIONS = 3  # how often 2^32 pictures a network may have seen
HIGHEST_VERSION = 1_000_000  # of any file ever written: 1001; a text read as a number is above 2^28


@dataclass(frozen=True)
class Header:
    """What the first 16 or 20 bytes say. `transposed`: connected weights are stored [inputs][outputs]."""

    major: int
    minor: int
    revision: int
    seen: int
    size: int

    @property
    def version(self) -> str:
        """The version in words."""
        return f"{self.major}.{self.minor}.{self.revision}"

    @property
    def told(self) -> str:
        """What to say where the size is not the one that the version says."""
        return (
            f"version {self.version} has a header of {36 - self.size} bytes, but the file fits exactly with "
            f"one of {self.size}, so bnfold reads it with that"
        )

    @property
    def transposed(self) -> bool:
        """Are connected weights stored by columns?"""
        return self.major > 1000 or self.minor > 1000


def header(file: FileMap, fork: Fork, other: bool = False) -> Header:
    """The header as this fork reads it, or in the `other` form. Errors: Malformed for a file that cannot be a
    darknet weights file."""
    if len(file) < 16:
        raise Malformed(
            f"the file has {len(file)} bytes",
            where=file.path,
            expected="a darknet weights file, whose header has 16 or 20",
        )
    major, minor, revision = struct.unpack_from("<iii", file.view)
    if not all(0 <= n <= HIGHEST_VERSION for n in (major, minor, revision)):
        text = bytes(file.view[:12])
        hint = (
            "this looks like text"
            if text.isascii() and text.decode("ascii").replace("\n", "").isprintable()
            else ""
        )
        raise Malformed(
            f"the first 12 bytes are version {major}.{minor}.{revision}",
            where=f"{file.path} @0",
            expected="a darknet weights file, whose versions are small numbers (0.2.5)",
            way_out=hint,
        )
    wide = major * 10 + minor >= 2
    if fork is Fork.PJREDDIE:
        wide = wide and major < 1000 and minor < 1000
    wide ^= other
    if wide and len(file) < 20:
        raise Malformed(
            f"the file has {len(file)} bytes",
            where=file.path,
            expected=f"20 for the header of version {major}.{minor}.{revision}",
        )
    seen = struct.unpack_from("<Q" if wide else "<I", file.view, 12)[0]
    return Header(major, minor, revision, seen, 20 if wide else 16)


def leaves_header_open(file: FileMap) -> bool:
    """May the header be longer than its version says? Other programs write versions below 0.2 and count
    pictures in 8 bytes all the same; the upper four are next to nothing then, which no first bias is."""
    if len(file) < 20:
        return False
    major, minor, _, _, upper = struct.unpack_from("<iiiII", file.view)
    return bool(major == 0 and 0 <= minor < 2 and upper <= MOST_BILLIONS)


def revision(file: FileMap | None) -> int | None:
    """The revision number in the header, None where there is no file."""
    return struct.unpack_from("<i", file.view, 8)[0] if file and len(file) >= 12 else None


@dataclass(frozen=True)
class Taken:
    """One array that a section asked for: floats at a byte offset of the file."""

    where: Source
    what: str
    offset: int
    floats: int


class Missing(Recipe):
    """An array that is not there. Harmless as long as nobody needs its numbers."""

    def __init__(self, shape: tuple[int, ...], where: Source, why: str) -> None:
        self.where, self.why = where, why
        super().__init__(FLOAT, shape, self._refuse)

    def _refuse(self) -> Iterator[np.ndarray]:
        raise Mismatch(f"{self.why}, and its numbers are needed", where=self.where)


class ArraySource(Protocol):
    """Where arrays come from. `left` counts bytes that no section asked for."""

    transposed: bool
    missing: list[Missing]
    taken: list[Taken]

    @property
    def left(self) -> int:
        """Bytes that no section asked for; negative where the sections ask for more than the file has."""

    def take(self, shape: tuple[int, ...], what: str, where: Source) -> ir.TensorProtocol:
        """The next array. Errors: Malformed for a size beyond darknet's own integers."""

    def absent(self, shape: tuple[int, ...], where: Source, why: str) -> ir.TensorProtocol:
        """An array that no file holds."""


class Arrays:
    """The arrays of a mapped file."""

    def __init__(self, file: FileMap, fork: Fork, other_header: bool = False) -> None:
        self.file = file
        self.header = header(file, fork, other_header)
        self.transposed = self.header.transposed
        self.offset = self.header.size
        self.taken: list[Taken] = []
        self.missing: list[Missing] = []
        self.cut: Source | None = None  # the first layer that the file does not cover

    def take(self, shape: tuple[int, ...], what: str, where: Source) -> ir.TensorProtocol:
        """The next array of the file, a window."""
        count = floats(shape)
        offset, self.offset = self.offset, self.offset + 4 * count
        self.taken.append(Taken(where, what, offset, count))
        if self.offset <= len(self.file):
            return Window(self.file.view, offset, FLOAT, shape)
        self.cut = self.cut or where
        return self.absent(
            shape,
            where,
            f"the weights file ends at byte {len(self.file):,}, before '{what}' of this layer is complete",
        )

    def absent(self, shape: tuple[int, ...], where: Source, why: str) -> ir.TensorProtocol:
        """An array that no file holds."""
        self.missing.append(Missing(shape, where, why))
        return self.missing[-1]

    @property
    def left(self) -> int:
        """Bytes that no section asked for; negative where the sections ask for more than the file has."""
        return len(self.file) - self.offset


class Seeded:
    """Arrays out of a seed: healthy weights and statistics for a network without its file.

    Kernels are normal with the variance that keeps activations in range (2 / inputs); scales are below one,
    so that residual stacks of any depth stay in range.
    """

    transposed = False
    left = 0

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.count = 0
        self.missing: list[Missing] = []
        self.taken: list[Taken] = []

    def take(self, shape: tuple[int, ...], what: str, where: Source) -> ir.TensorProtocol:
        """The next array: a recipe, so nothing is drawn before somebody asks."""
        floats(shape)
        self.count += 1
        role, key = what.rpartition("/")[2], (self.seed, self.count)
        return Recipe(FLOAT, shape, lambda: _drawn(shape, role, key))

    def absent(self, shape: tuple[int, ...], where: Source, why: str) -> ir.TensorProtocol:
        """An array that no file holds is drawn like any other."""
        return self.take(shape, "weights", where)


class NoFile:
    """No weights file, which is right for a network that has no weights; `error` is raised where one has."""

    transposed = False
    left = 0

    def __init__(self, error: UsageError) -> None:
        self.error = error
        self.missing: list[Missing] = []
        self.taken: list[Taken] = []

    def take(self, shape: tuple[int, ...], what: str, where: Source) -> ir.TensorProtocol:
        """There is none."""
        raise self.error

    def absent(self, shape: tuple[int, ...], where: Source, why: str) -> ir.TensorProtocol:
        """An array that no file would hold either."""
        self.missing.append(Missing(shape, where, why))
        return self.missing[-1]


def floats(shape: tuple[int, ...]) -> int:
    """How many numbers an array has. Errors: Malformed beyond darknet's own integers."""
    count = math.prod(shape)
    if count > INT_MAX:
        raise Malformed(
            f"an array of {' x '.join(f'{d:,}' for d in shape)} numbers",
            expected=f"at most {INT_MAX:,}, as darknet counts in 32 bits",
        )
    return count


def _drawn(shape: tuple[int, ...], role: str, key: tuple[int, int]) -> Iterator[np.ndarray]:
    generator = np.random.Generator(np.random.Philox(key=[key[0] % 2**64, key[1]]))
    spread = math.sqrt(2 / max(1, math.prod(shape[1:]))) if len(shape) > 1 else 0.1
    for size in _blocks(math.prod(shape)):
        if role in ("scales", "variance"):
            low, high = (0.3, 0.9) if role == "scales" else (0.5, 1.5)
            yield generator.random(size, dtype=np.float32) * np.float32(high - low) + np.float32(low)
        else:
            yield generator.standard_normal(size, dtype=np.float32) * np.float32(spread)


def filled(shape: tuple[int, ...], value: float) -> Recipe:
    """A tensor of one number, made when somebody asks."""
    return Recipe(FLOAT, shape, lambda: (np.full(size, value, np.float32) for size in _blocks(floats(shape))))


def repeated(pattern: np.ndarray, times: int) -> Recipe:
    """`pattern` again and again along its first axis, made when somebody asks."""
    pattern = pattern.astype(np.float32)
    step = max(1, BLOCK // max(1, pattern.size))
    return Recipe(
        FLOAT,
        (len(pattern) * times, *pattern.shape[1:]),
        lambda: (
            np.tile(pattern, (min(step, times - at), *[1] * (pattern.ndim - 1)))
            for at in range(0, times, step)
        ),
    )


def _blocks(count: int) -> Iterator[int]:
    while count > 0:
        yield min(count, BLOCK)
        count -= BLOCK


def transposed(tensor: ir.TensorProtocol, shape: tuple[int, ...]) -> Recipe:
    """Rows of a matrix that is stored by columns: `tensor` is [columns][rows], the result has rows first,
    seen as `shape`."""
    if isinstance(tensor, Missing):
        return Missing(shape, tensor.where, tensor.why)
    columns, rows = tensor.shape.numpy()
    step = max(1, BLOCK // max(1, columns))
    return Recipe(FLOAT, shape, lambda: (tensor.numpy()[:, at : at + step].T for at in range(0, rows, step)))


def by_rows(tensor: ir.TensorProtocol, function: Callable[[np.ndarray], np.ndarray]) -> Recipe:
    """`function` of a tensor's rows (axis 0, the rest flat), a block of rows at a time, in the same shape."""
    shape = tuple(tensor.shape.numpy())
    if isinstance(tensor, Missing):
        return Missing(shape, tensor.where, tensor.why)
    width = max(1, math.prod(shape[1:]))
    step = max(1, BLOCK // width)

    def arrays() -> Iterator[np.ndarray]:
        rows = tensor.numpy().reshape(shape[0], width)
        for at in range(0, shape[0], step):
            yield function(rows[at : at + step])

    return Recipe(FLOAT, shape, arrays)
