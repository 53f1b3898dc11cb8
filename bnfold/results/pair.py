"""A model as the pair of files that it was read from, text and weights: what the writer of a pair has to know
of the reader.

Unit      one layer or section: the nodes that it became, those that vanish with it, its stored arrays
Pair      all of them; folding asks it what the format can hold (folding/formats.py)
CaffePair, DarknetPair   the same with the places in the text and in the weights file (writing/)

Nodes are named, not pointed at, so that the answer holds for every clone of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..records import dataclass

if TYPE_CHECKING:
    import onnx_ir as ir

NodeInput = tuple[str, int]  # a node's name, and the number of one of its inputs
ArrayKey = tuple[object, ...]  # one stored array of the weights file


class Word(NamedTuple):
    """A value as it stands in the text: what it says, and where (offsets of characters)."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One layer or section.

    label    how the user calls it
    leaves   its nodes that may vanish; all of them do, or none
    arrays   inputs of nodes whose constants the format stores, or has a place for
    inside   what its leaves do has to go into its other nodes
    """

    label: str
    leaves: tuple[str, ...] = ()
    arrays: Mapping[NodeInput, ArrayKey] = field(default_factory=dict)
    inside: bool = False

    @property
    def holders(self) -> set[str]:
        """Its nodes that can hold something."""
        return {node for node, _ in self.arrays}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """All units of a network, and the name of the format."""

    format: str
    units: tuple[Unit, ...]

    @cached_property
    def leaves(self) -> dict[str, Unit]:
        """The nodes that may vanish, each with its unit."""
        return {node: unit for unit in self.units for node in unit.leaves}

    @cached_property
    def arrays(self) -> dict[NodeInput, ArrayKey]:
        """Every input that the format has a place for."""
        return {place: key for unit in self.units for place, key in unit.arrays.items()}


@dataclass(frozen=True)
class BlobPlace:
    """One learned blob of a layer: the shape that Caffe gives it, and the name of the value that it became;
    "" where that has other numbers now."""

    shape: tuple[int, ...]
    value: str


@dataclass(frozen=True)
class Made:
    """What a top became: an output of a node (node "": a graph input, or the value below), under a name."""

    node: str
    output: int
    value: str


@dataclass(frozen=True, kw_only=True)
class CaffeLayer(Unit):
    """One layer of a prototxt.

    name, type      as written
    start, end      where it stands in the text, -1 for the layer that `input` fields stand for
    bottoms, tops   the names in it
    made            what each top became; None where the layer is carried as it is
    source          its tops are inputs of the network
    live            it exists in the state (phase, level, stages) that was read
    twin            of a layer of another state: the number of the unit that it is the other form of
    blobs           learned blobs by number
    divisor         the number of the blob that its stored statistics are divided by, where there is one
    bias            the value of `bias_term: false`, where a bias would need a place
    params          the shared name of each blob, None where it has none
    stored          its number among the layers of the weights file, None where it is not there
    """

    name: str
    type: str
    start: int
    end: int
    bottoms: tuple[Word, ...] = ()
    tops: tuple[Word, ...] = ()
    made: tuple[Made, ...] | None = None
    source: bool = False
    live: bool = True
    twin: int | None = None
    blobs: Mapping[int, BlobPlace] = field(default_factory=dict)
    divisor: int | None = None
    bias: Word | None = None
    params: tuple[Word | None, ...] = ()
    stored: int | None = None

    @property
    def carried(self) -> bool:
        """Is it none of the graph's, so that every name that it reads must keep its value?"""
        return self.made is None


@dataclass(frozen=True, kw_only=True)
class StoredLayer:
    """One layer of a weights file that is no protobuf: its name, type, and blobs with their shapes."""

    name: str
    type: str
    blobs: tuple[tuple[tuple[int, ...], ir.TensorProtocol], ...]


@dataclass(frozen=True, kw_only=True)
class CaffePair(Pair):
    """A prototxt and its weights. `prefix` is a byte order mark, or nothing; `rest` the layers of a weights
    file that is not a caffemodel (HDF5), which the writer makes one of."""

    format: str = "caffe"
    units: tuple[CaffeLayer, ...] = ()
    text: str = ""
    prefix: bytes = b""
    weights: Path | None = None
    rest: tuple[StoredLayer, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class DarknetSection(Unit):
    """One section of a cfg.

    lines    the lines (from 0) that say that there is a batch norm
    norms    byte ranges (offset, bytes) of the weights file that vanish with the batch norm
    """

    lines: tuple[int, ...] = ()
    norms: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class DarknetPair(Pair):
    """A cfg and its weights. An array's key is (offset, floats, columns): a matrix that is stored by columns
    says so by their number, else it is 0. `companions` are further files that the cfg names."""

    format: str = "darknet"
    units: tuple[DarknetSection, ...] = ()
    text: bytes = b""
    weights: Path | None = None
    companions: tuple[Path, ...] = ()
