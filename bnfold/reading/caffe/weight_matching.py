"""Which stored blob belongs to which layer: by layer name, as Caffe does it.

    matched    the first layer of a name takes the last stored layer of that name; types are not compared
    shared     blobs under one `param { name }` are one; of the sharers' copies the last one in the file wins
    missing    an explicit constant or bilinear filler gives the values, anything else is an error
    random     without a weights file, on demand: seeded values with healthy statistics

Disagreements are collected, and raised together when the whole network has been seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import InputError, Mismatch, Unsupported
from ...ir.graph import ir
from ...ir.tensor import BLOCK, Deferred, Recipe
from .blob import Blob, Stored, shown
from .layer import Layer, Shape, Value, Wanted
from .moments import GAIN, NORMAL, Moments
from .schema import Node

SPREAD = {
    "bias": 0.1,
    "shift": 0.1,
    "mean": 0.1,
}  # standard deviations of random blobs; weights go by their fan-in
BETWEEN = {"variance": (0.5, 1.5), "scale": (0.5, 1.5)}
ALWAYS = {"factor": 1.0, "slope": 0.25}
LARGEST_BILINEAR = 4096  # real ones upsample by 32 at most: 64 by 64
SHOWN_PROBLEMS = 8


@dataclass
class Source:
    """Where one learned blob gets its values from, whatever shape it is seen in."""

    shape: Shape
    number: int
    stored: Blob | None = None
    filler: tuple[str, float] = ("constant", 0.0)
    meets: Moments = NORMAL
    views: dict[Shape, Value] = field(default_factory=dict)


class Weights:
    """The weights of one network. `layers` are its layers after filtering, in file order."""

    def __init__(
        self, layers: Sequence[Node], stored: Sequence[Stored] | None, path: Path | None, seed: int | None
    ) -> None:
        self.path = path
        self.seed = seed
        self.given = stored is not None
        self.problems: list[str] = []
        self.dialects: dict[int, tuple[str, str]] = {}  # layer -> batch norm dialect and why
        by_name = {entry.name: (place, entry) for place, entry in enumerate(stored or ())}
        self.matches: dict[int, tuple[int, Stored]] = {}
        self.names: list[str] = [str(node.get("name") or "") for node in layers]
        seen: set[str] = set()
        for index, name in enumerate(self.names):
            if name in by_name and name not in seen:
                self.matches[index] = by_name[name]
            seen.add(name)
        self.unmatched = [entry for entry in stored or () if entry.blobs and entry.name not in seen]
        self.shared = self._sharers(layers)
        self.sources: dict[object, Source] = {}

    @staticmethod
    def _sharers(layers: Sequence[Node]) -> dict[tuple[int, int], tuple[str, list[tuple[int, int]]]]:
        """(layer, blob) -> the name of the parameter and everybody who uses it."""
        groups: dict[str, list[tuple[int, int]]] = {}
        for index, node in enumerate(layers):
            for i, spec in enumerate(node.all("param")):
                if spec.get("name"):
                    groups.setdefault(spec.get("name"), []).append((index, i))
        return {user: (name, users) for name, users in groups.items() for user in users}

    def count(self, layer: Layer) -> int | None:
        """How many blobs the file has for a layer; None when it has no such layer."""
        match = self.matches.get(layer.index)
        return len(match[1].blobs) if match else None

    def stored(self, layer: Layer, index: int) -> Blob | None:
        """One stored blob, for questions about its values."""
        match = self.matches.get(layer.index)
        return match[1].blobs[index] if match and index < len(match[1].blobs) else None

    def value(self, layer: Layer, index: int, what: str, want: Wanted, view: Shape) -> Value:
        """A blob as a graph value; one value for everybody who shares the blob and sees it alike."""
        source = self._source(layer, index, what, want)
        if view not in source.views:
            source.views[view] = layer.initializer(self._tensor(source, view, what), what)
        return source.views[view]

    def tensor(self, layer: Layer, index: int, what: str, want: Wanted) -> Deferred:
        """A blob's values, not in the graph: for values that are derived of them."""
        return self._tensor(self._source(layer, index, what, want), want.shape, what)

    def _source(self, layer: Layer, index: int, what: str, want: Wanted) -> Source:
        """Where a blob comes from. A disagreement is noted, and a stand-in takes the blob's place until it is
        raised."""
        self._hold(layer, index, what, want)
        name, users = self.shared.get((layer.index, index), ("", []))
        key: object = name or (layer.index, index)
        if key not in self.sources:
            self.sources[key] = Source(
                want.shape,
                len(self.sources),
                *self._origin(layer, index, what, want, users),
                meets=want.meets,
            )
        source = self.sources[key]
        if source.shape == want.shape or (
            math.prod(source.shape) == math.prod(want.shape) and self._permissive(layer, index)
        ):
            return source
        self._problem(
            layer,
            f"blob {index} ({what}) is {shown(want.shape)}, and shares parameter '{name}' of shape "
            f"{shown(source.shape)}",
        )
        return Source(want.shape, 0)

    @staticmethod
    def _permissive(layer: Layer, index: int) -> bool:
        """Does a sharer ask for as many values alone, whatever their shape?"""
        return bool(layer.node.all("param")[index].get("share_mode") == "PERMISSIVE")

    def _hold(self, layer: Layer, index: int, what: str, want: Wanted) -> None:
        """Hold the layer's own stored blob against the shape that the layer expects."""
        blob = self.stored(layer, index)
        if blob is None or blob.hole:
            return
        try:
            blob.check()
        except InputError as error:
            self._problem(layer, f"blob {index} ({what}): {error}")
            return
        if not any(blob.fits(form) for form in (want.shape, *want.forms)):
            self._problem(
                layer,
                f"blob {index} ({what}) is {shown(blob.shape)} in the weights file, the network "
                f"wants {shown(want.shape)}",
            )

    def _origin(
        self, layer: Layer, index: int, what: str, want: Wanted, users: list[tuple[int, int]]
    ) -> tuple[Blob | None, tuple[str, float]]:
        """(the stored blob, or None and a filler with its value)"""
        copies, nothing, filler, shape = [], ("constant", 0.0), want.filler, want.shape
        for user, i in users or [(layer.index, index)]:
            match = self.matches.get(user)
            if match and i < len(match[1].blobs) and not match[1].blobs[i].hole:
                copies.append((match[0], match[1].blobs[i]))
        if copies:
            blob = max(copies, key=lambda copy: copy[0])[1]
            if blob.count != math.prod(shape) and blob is not self.stored(
                layer, index
            ):  # its own is told by _hold()
                self._problem(
                    layer,
                    f"blob {index} ({what}) is {shown(shape)}, and the layer that shares it stores "
                    f"{blob.count:,} values",
                )
            return blob, nothing
        kind = str(filler.get("type")) if filler is not None else "constant"
        if self.seed is not None and not self.given and kind != "bilinear":
            return None, ("random", 0.0)
        if kind == "bilinear" and len(shape) == 4 and shape[2] == shape[3]:
            return None, ("bilinear", 0.0)
        value = float(filler.get("value")) if filler is not None else want.default
        if kind != "constant" or value is None:
            count = self.count(layer)
            if count is None or index < count:  # a wrong count is told by finish()
                self._problem(
                    layer,
                    f"blob {index} ({what}) of shape {shown(shape)} "
                    + ("has no weights" if self.given else "needs weights"),
                )
            return None, nothing
        if self.given or filler is not None:
            layer.note(
                "caffe.filler", f"{what} is not in the weights file; its filler makes it {value:g} everywhere"
            )
        return None, ("constant", value)

    def _tensor(self, source: Source, view: Shape, what: str) -> Deferred:
        if source.stored is not None and source.stored.count == math.prod(view):
            return source.stored.tensor(view)
        kind, value = source.filler
        if kind == "random":
            return random(view, what, self.seed or 0, source)
        return bilinear(source.shape, view) if kind == "bilinear" else _constant(view, value)

    def finish(self, layer: Layer) -> None:
        """After a layer has asked for its blobs: are there as many in the file, and no more `param` than
        blobs?"""
        match, count = self.matches.get(layer.index), self.count(layer)
        told = range(count or 0, layer.blobs_used)
        shares = (
            match is not None
            and match[1].partial
            and bool(told)
            and all((layer.index, i) in self.shared for i in told)
        )
        if count is not None and count != layer.blobs_used and not shares:
            self._problem(layer, f"{count} blobs in the weights file, the network wants {layer.blobs_used}")
        if len(layer.node.all("param")) > layer.blobs_used > 0:
            raise layer.malformed(
                f"{len(layer.node.all('param'))} param blocks for {layer.blobs_used} blobs",
                "no more than one for each blob",
            )

    def _problem(self, layer: Layer, text: str) -> None:
        self.problems.append(f"{layer.place()}: {text}")

    def settle(self) -> None:
        """Raise what has been collected, as one error."""
        if not self.problems:
            return
        if not self.given:
            raise Mismatch(
                f"no weights are given, and {len(self.problems)} blobs need them, first {self.problems[0]}",
                way_out="give the .caffemodel, or --random-weights SEED to try the network alone",
            )
        more = len(self.problems) - SHOWN_PROBLEMS
        text = " | ".join(self.problems[:SHOWN_PROBLEMS]) + (f" | and {more} more" if more > 0 else "")
        raise Mismatch(text, where=self.path, expected="the weights of this network")


def _constant(shape: Shape, value: float) -> Recipe:
    def arrays() -> Iterator[np.ndarray]:
        for begin in range(0, math.prod(shape), BLOCK):
            yield np.full(min(BLOCK, math.prod(shape) - begin), value, np.float32)

    return Recipe(ir.DataType.FLOAT, shape, arrays)


def bilinear(shape: Shape, view: Shape) -> Recipe:
    """Caffe's bilinear filler for square kernels: every (out, in) pair gets the same upsampling kernel."""
    size = shape[-1]
    if size > LARGEST_BILINEAR:
        raise Unsupported(
            f"a bilinear filler of {size:,} by {size:,}", expected=f"at most {LARGEST_BILINEAR:,}"
        )
    factor = math.ceil(size / 2)
    centre = (size - 1) / (2.0 * factor)
    line = 1 - np.abs(np.arange(size) / factor - centre)
    kernel = np.outer(line, line).astype(np.float32)

    def arrays() -> Iterator[np.ndarray]:
        for _ in range(shape[0] * shape[1]):
            yield kernel

    return Recipe(ir.DataType.FLOAT, view, arrays)


def random(view: Shape, what: str, seed: int, source: Source) -> Recipe:
    """Seeded values: weights that keep the size of activations, variances and scales around 1, the rest
    around 0."""
    spread = SPREAD.get(what, math.sqrt(GAIN / max(1, math.prod(source.shape[1:]))))
    size = {"variance": source.meets.variance, "mean": math.sqrt(source.meets.variance)}.get(what, 1.0)
    centre = source.meets.mean if what == "mean" else 0.0

    def arrays() -> Iterator[np.ndarray]:
        generator = np.random.Generator(np.random.Philox(key=[seed & 0xFFFFFFFFFFFFFFFF, source.number]))
        for begin in range(0, math.prod(view), BLOCK):
            count = min(BLOCK, math.prod(view) - begin)
            if what in ALWAYS:
                yield np.full(count, ALWAYS[what], np.float32)
            elif what in BETWEEN:
                low, high = BETWEEN[what]
                yield generator.random(count, np.float32) * np.float32((high - low) * size) + np.float32(
                    low * size
                )
            else:
                yield generator.standard_normal(count, np.float32) * np.float32(spread * size) + np.float32(
                    centre
                )

    return Recipe(ir.DataType.FLOAT, view, arrays)
