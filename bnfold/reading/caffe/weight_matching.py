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
from dataclasses import field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import InputError, Mismatch, Unsupported
from ...ir.graph import ir
from ...ir.tensor import BLOCK, Deferred, Recipe
from ...records import dataclass
from ...results.plan import Finding
from .blob import Blob, Shape, Stored, shown
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


@dataclass(frozen=True)
class Slot:
    """One learned blob that a layer asks for: the number of the layer, the number of the blob, what the blob
    is, and where the layer stands in the prototxt."""

    layer: int
    blob: int
    what: str
    place: str

    def __str__(self) -> str:
        return f"blob {self.blob} ({self.what})"


class BlobSpec(NamedTuple):
    """The blob that a layer expects: its shape, other shapes that a file may store it in, what fills it when
    it is missing, and, for random statistics, the distribution of the values that it is applied to."""

    shape: Shape
    forms: Sequence[Shape] = ()
    filler: Node | None = None
    default: float | None = None
    meets: Moments = NORMAL


@dataclass
class BlobSource:
    """Where one learned blob gets its values from, whatever shape it is seen in. `views` holds the graph
    values that layers have made of it, by their shape."""

    shape: Shape
    number: int
    stored: Blob | None = None
    filler: tuple[str, float] = ("constant", 0.0)
    meets: Moments = NORMAL
    views: dict[Shape, ir.Value] = field(default_factory=dict)


class Weights:
    """The weights of one network. `layers` are its layers after filtering, in file order."""

    def __init__(
        self,
        layers: Sequence[Node],
        *,
        stored: Sequence[Stored] | None,
        path: Path | None,
        seed: int | None,
        findings: list[Finding],
    ) -> None:
        self.layers = layers
        self.path = path
        self.seed = seed
        self.findings = findings
        self.given = stored is not None
        self.problems: list[str] = []
        self.dialects: dict[int, tuple[str, str]] = {}  # layer -> batch norm dialect and why
        self.file = list(stored or ())
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
        self.sources: dict[object, BlobSource] = {}

    @staticmethod
    def _sharers(layers: Sequence[Node]) -> dict[tuple[int, int], tuple[str, list[tuple[int, int]]]]:
        """(layer, blob) -> the name of the parameter and everybody who uses it."""
        groups: dict[str, list[tuple[int, int]]] = {}
        for index, node in enumerate(layers):
            for i, spec in enumerate(node.all("param")):
                if spec.get("name"):
                    groups.setdefault(spec.get("name"), []).append((index, i))
        return {user: (name, users) for name, users in groups.items() for user in users}

    def count(self, layer: int) -> int | None:
        """How many blobs the file has for a layer; None when it has no such layer."""
        match = self.matches.get(layer)
        return len(match[1].blobs) if match else None

    def stored(self, layer: int, index: int) -> Blob | None:
        """One stored blob of a layer; None where the file has none."""
        match = self.matches.get(layer)
        return match[1].blobs[index] if match and index < len(match[1].blobs) else None

    def follower(self, layer: int, type_: str) -> Stored | None:
        """The stored layer of a type that follows a layer's own in the file and that the network does not
        have; None where there is none. It counts as placed."""
        match = self.matches.get(layer)
        following = self.file[match[0] + 1 : match[0] + 2] if match else []
        found = next((s for s in following if s.type == type_ and s.blobs and s in self.unmatched), None)
        self.unmatched = [entry for entry in self.unmatched if entry is not found]
        return found

    def source(self, slot: Slot, spec: BlobSpec) -> BlobSource:
        """Where a blob comes from; layers that share the blob get the same source. A disagreement is noted,
        and a stand-in takes the blob's place until it is raised."""
        self._check_stored(slot, spec)
        name, users = self.shared.get((slot.layer, slot.blob), ("", [(slot.layer, slot.blob)]))
        key: object = name or (slot.layer, slot.blob)
        if key not in self.sources:
            stored, filler = self._origin(slot, spec, users)
            self.sources[key] = BlobSource(spec.shape, len(self.sources), stored, filler, spec.meets)
        source = self.sources[key]
        if source.shape == spec.shape or (
            math.prod(source.shape) == math.prod(spec.shape) and self._permissive(slot)
        ):
            return source
        self._problem(
            slot.place,
            f"{slot} is {shown(spec.shape)}, and shares parameter '{name}' of shape {shown(source.shape)}",
        )
        return BlobSource(spec.shape, 0)

    def _permissive(self, slot: Slot) -> bool:
        """Does a layer that shares a blob require only the number of its values, whatever the shape?"""
        return bool(self.layers[slot.layer].all("param")[slot.blob].get("share_mode") == "PERMISSIVE")

    def _check_stored(self, slot: Slot, spec: BlobSpec) -> None:
        """Compare the layer's own stored blob with the shape that the layer expects."""
        blob = self.stored(slot.layer, slot.blob)
        if blob is None or blob.hole:
            return
        try:
            blob.check()
        except InputError as error:
            self._problem(slot.place, f"{slot}: {error}")
            return
        if not any(blob.fits(form) for form in (spec.shape, *spec.forms)):
            self._problem(
                slot.place,
                f"{slot} is {shown(blob.shape)} in the weights file, but the network wants "
                f"{shown(spec.shape)}",
            )

    def _origin(
        self, slot: Slot, spec: BlobSpec, users: list[tuple[int, int]]
    ) -> tuple[Blob | None, tuple[str, float]]:
        """(the stored blob, or None and a filler with its value)"""
        blob = self._last_copy(users)
        if blob is None:
            return None, self._filler(slot, spec)
        own = self.stored(slot.layer, slot.blob)
        if blob is not own and blob.count != math.prod(spec.shape):  # _check_stored() has compared its own
            self._problem(
                slot.place,
                f"{slot} is {shown(spec.shape)}, and the layer that shares it stores {blob.count:,} values",
            )
        return blob, ("constant", 0.0)

    def _last_copy(self, users: list[tuple[int, int]]) -> Blob | None:
        """The copy of a shared blob that comes last in the weights file; None where the file has none."""
        copies = []
        for layer, index in users:
            blob = self.stored(layer, index)
            if blob is not None and not blob.hole:
                copies.append((self.matches[layer][0], blob))
        return max(copies, key=lambda copy: copy[0])[1] if copies else None

    def _filler(self, slot: Slot, spec: BlobSpec) -> tuple[str, float]:
        """What gives a blob its values when no file has them, and the value of a constant filler."""
        filler, shape = spec.filler, spec.shape
        kind = str(filler.get("type")) if filler is not None else "constant"
        if self.seed is not None and not self.given and kind != "bilinear":
            return "random", 0.0
        if kind == "bilinear" and len(shape) == 4 and shape[2] == shape[3]:
            return "bilinear", 0.0
        value = float(filler.get("value")) if filler is not None else spec.default
        if kind != "constant" or value is None:
            count = self.count(slot.layer)
            if count is None or slot.blob < count:  # check_count() reports a wrong number of blobs
                missing = "has no weights" if self.given else "needs weights"
                self._problem(slot.place, f"{slot} of shape {shown(shape)} {missing}")
            return "constant", 0.0
        if self.given or filler is not None:
            text = f"{slot.what} is not in the weights file; its filler makes it {value:g} everywhere"
            level = "warning" if self.given else "note"
            self.findings.append(Finding(level, "caffe.filler", slot.place, text))
        return "constant", value

    def tensor(self, source: BlobSource, view: Shape, what: str) -> Deferred:
        """The values of a blob, seen in the shape `view`."""
        if source.stored is not None and source.stored.count == math.prod(view):
            return source.stored.tensor(view)
        kind, value = source.filler
        if kind == "random":
            return random(view, what, self.seed or 0, source)
        return bilinear(source.shape, view) if kind == "bilinear" else _constant(view, value)

    def check_count(self, layer: int, used: int, place: str) -> None:
        """Note a problem unless the file has as many blobs for a layer as the layer has used. A file in which
        the layer's last blobs are another layer's may leave these out."""
        match = self.matches.get(layer)
        if match is None:
            return
        stored = match[1]
        count = len(stored.blobs)
        missing = range(count, used)
        shares = stored.partial and bool(missing) and all((layer, i) in self.shared for i in missing)
        if count != used and not shares:
            self._problem(place, f"the weights file has {count} blobs, but the network wants {used}")

    def _problem(self, place: str, text: str) -> None:
        self.problems.append(f"{place}: {text}")

    def raise_problems(self) -> None:
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


def random(view: Shape, what: str, seed: int, source: BlobSource) -> Recipe:
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
