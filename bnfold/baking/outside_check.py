"""The other proof: the written model on what comes in, against the network as it was read on what numpy
makes of the same in float64.

Nothing of the nodes, the engine or the proof of the gate is asked here: only what was asked for, and files.
The truth is the network without preprocessing, in float64, on values that were never rounded; the yardstick
is the network in its own type on the same values, rounded once. The two round in another order, so that the
limit is wider than the gate's: right ones measure a few units, a wrong order or a forgotten scale many
thousands.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path

import numpy as np

from ..ir.graph import ir, nodes
from ..ir.provenance import BAKED_KEY
from ..reading.caffe.mean_file import read_mean
from ..records import dataclass
from ..results.baking import IMAGE_ORDER, Baked, Preprocessing
from ..results.comparison import DECIDED, Figures, Side
from ..results.options import VerifyOptions
from ..results.outside import Outside
from ..results.plan import Loaded
from ..verifying.engines.engines import REFUSALS, Engine, Onnxruntime, Simulated, Truth, Values
from ..verifying.gate import Demands, Triple, failed, judge
from ..verifying.inputs import user_files
from ..verifying.inputs.samples import Input, Unfillable, inputs_of, sample
from ..verifying.inputs.sizes import Search
from ..verifying.nondeterminism import behind_a_decision, deciding, random_nodes
from ..verifying.precision import is_narrow, stores
from ..verifying.truth.number_formats import numpy_type, storage_of

LIMIT = 64.0
MOST = 4  # samples of the user's, and as many generated
SLOW_S = 2.0  # one run beyond which float64, some ten times slower, is not asked
INTO_NETWORK = {"NHWC": (0, 3, 1, 2), "NCHW": (0, 2, 3, 1)}


def outside(loaded: Loaded, candidate: Side, options: VerifyOptions) -> Outside | None:
    """Does the written model give what preprocessing outside gives? None where nothing was baked in."""
    if loaded.unbaked is None:
        return None
    if random_nodes(loaded.unbaked):
        return Outside(passed=False, reason="the network draws random numbers")
    run = _Run(loaded, Side(loaded.unbaked, None, loaded.name), candidate, options)
    reason = ""
    for engine in (Onnxruntime(), Simulated(options.seed)):
        try:
            return run.judged(engine)
        except (*REFUSALS, Unfillable) as error:
            reason = str(error)
    return Outside(passed=False, reason=f"it cannot be run here: {reason}")


def preprocessed(raw: np.ndarray, baked: Baked) -> np.ndarray:
    """What preprocessing outside makes of what comes in, in float64."""
    asked = baked.preprocessing
    order = channel_order(asked)
    values = np.asarray(raw).astype(np.float64)
    if baked.layout:
        values = values.transpose(INTO_NETWORK[baked.layout])
    values = np.moveaxis(values, baked.axis, -1) if values.ndim > baked.axis else values
    if asked.mean:
        values = values - _for_channels(asked.mean)
    elif asked.mean_file:
        values = values - _mean_image(asked.mean_file, order, baked, values)
    values = values / _for_channels(asked.std or (1.0,)) * (1.0 if asked.scale is None else asked.scale)
    if order:
        values = values[..., list(order)]
    return np.moveaxis(values, -1, baked.axis) if values.ndim > baked.axis else values


def _for_channels(values: tuple[float, ...]) -> np.ndarray:
    """One for each, on the last axis, or one for all."""
    return np.asarray(values if len(values) > 1 else values[0])


def channel_order(asked: Preprocessing) -> tuple[int, ...]:
    """Which channel that comes in is each that the network reads: told from the letters, once more."""
    return tuple(IMAGE_ORDER.find(letter) for letter in asked.order)


def _mean_image(file: str, order: tuple[int, ...], baked: Baked, values: np.ndarray) -> np.ndarray:
    """The file's own values, channels last, its middle where it is larger than the picture."""
    image = np.moveaxis(read_mean(Path(file)), 0, -1)
    if order:
        ordered = np.empty_like(image)
        ordered[..., list(order)] = image
        image = ordered
    if not baked.mean_shape:
        return np.asarray(image[0, 0])
    height, width = values.shape[1:3]
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.asarray(image[top : top + height, left : left + width])


@dataclass
class _Run:
    """Both models, and what was computed on the same pictures."""

    loaded: Loaded
    reference: Side
    candidate: Side
    options: VerifyOptions
    feeds: list[Values] = field(default_factory=list)
    given: int = 0
    truth: str = "float64"

    def judged(self, engine: Engine) -> Outside:
        """The verdict, with both models run in one engine. Raises one of REFUSALS."""
        self.feeds, seconds = self._feeds(engine)
        self.truth = "unfolded" if seconds > SLOW_S or self.options.truth == "unfolded" else "float64"
        outputs = [value.name or "" for value in self.reference.model.graph.outputs]
        figures = [self._decided(engine, f) for f in self._figures(engine, outputs)]
        wrong = next((f for f in figures if not f.passed), None)
        return Outside(
            passed=wrong is None,
            samples=len(self.feeds),
            images=self.given,
            truth=self.truth,
            noise=max((f.noise for f in figures if not f.decided), default=1.0),
            outputs=tuple(figures),
            reason=f"{wrong.value}: {wrong.reason}" if wrong is not None else "",
        )

    def _feeds(self, engine: Engine) -> tuple[list[Values], float]:
        """The user's samples and generated pictures, of the first sizes at which the network runs; and how
        long a run takes."""
        model = self.loaded.model
        inputs = inputs_of(model)
        given = user_files.read_feeds(inputs, self.options)[:MOST]
        asked = {name or inputs[0].name: dims for name, dims in self.options.input_shapes}
        asked |= {name: tuple(value.shape) for name, value in (given[0] if given else {}).items()}
        last: Exception | None = None
        with engine.open(self.reference) as runner:
            for choice in Search(model, inputs, asked).first():
                first = self._picture(inputs, choice.shapes, 0)
                began = time.perf_counter()
                try:
                    runner.run(self._prepared(first))
                except REFUSALS as error:
                    last = last or error
                    continue
                seconds = time.perf_counter() - began
                count = 1 if seconds > SLOW_S else min(self.options.samples, MOST)
                seeded = [self._picture(inputs, choice.shapes, i) for i in range(count)]
                self.given = len(given)
                return [*({**seeded[0], **feed} for feed in given), *seeded], seconds
        assert last is not None
        raise last

    def _picture(self, inputs: list[Input], shapes: Mapping[str, tuple[int, ...]], index: int) -> Values:
        """A generated sample, with pixels where preprocessing was baked in."""
        feed = sample(inputs, shapes, self.options.seed, index)
        random = np.random.default_rng([self.options.seed, index])
        baked = {one.input for one in self.loaded.baked}
        drawn = PICTURES[index % len(PICTURES)]
        return {
            name: drawn(random, value.shape).astype(value.dtype) if name in baked else value
            for name, value in feed.items()
        }

    def _prepared(self, feed: Values, *, exact: bool = False) -> Values:
        """The feed of the network as it was read."""
        made = dict(feed)
        kinds = {one.name: one.kind for one in inputs_of(self.reference.model)}
        for one in self.loaded.baked:
            values = preprocessed(feed[one.input], one)
            made[one.input] = values if exact else values.astype(numpy_type(kinds[one.input]))
        return made

    def _figures(self, engine: Engine, names: list[str], watch: tuple[str, ...] = ()) -> list[Figures]:
        with engine.open(self.reference, watch) as runner:
            references = [runner.run(self._prepared(feed)) for feed in self.feeds]
        with engine.open(self.candidate, watch) as runner:
            candidates = [runner.run(feed) for feed in self.feeds]
        truths = references if self.truth == "unfolded" else self._in_float64(watch)
        expected = self._expected(watch)
        return [
            self._judged(
                name,
                [
                    (t[name], r[name], c[name], e.get(name))
                    for t, r, c, e in zip(truths, references, candidates, expected, strict=True)
                    if name in t and name in r and name in c
                ],
            )
            for name in names
        ]

    def _in_float64(self, watch: tuple[str, ...]) -> list[Values]:
        with Truth(self.options.seed, stand_ins=False).open(self.reference, watch) as runner:
            return [runner.run(self._prepared(feed, exact=True)) for feed in self.feeds]

    def _expected(self, watch: tuple[str, ...]) -> list[Values]:
        """What rounding every node does, where a run in the engine says nothing of the network's own type."""
        model = self.reference.model
        if not stores(model, lambda kind: is_narrow(kind) or kind == ir.DataType.DOUBLE):
            return [{} for _ in self.feeds]
        with Simulated(self.options.seed, stand_ins=False, weights=True).open(
            self.reference, watch
        ) as runner:
            return [runner.run(self._prepared(feed)) for feed in self.feeds]

    def _judged(
        self,
        name: str,
        values: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]],
        count: int | None = None,
    ) -> Figures:
        if len(values) != (len(self.feeds) if count is None else count):
            return failed(name, (), "", "only one of the models has this output")
        triples = [Triple(*each) for each in values]
        weaker = self.truth == "unfolded"
        if any(t.truth.shape != t.reference.shape for t in triples):  # a size that follows from values
            triples, weaker = [replace(t, truth=t.reference, expected=None) for t in triples], True
        least = math.sqrt(max(sum(1 for _ in nodes(self.reference.model)), 1)) if weaker else 1.0
        return judge(name, triples, storage_of(triples[0].reference, None), Demands(LIMIT, least=least))

    def _decided(self, engine: Engine, figures: Figures) -> Figures:
        """An output behind a decision (NonMaxSuppression, TopK ...) that may flip: what decides is judged, or
        else what reads the input."""
        if figures.passed or not behind_a_decision(self.reference.model, figures.value):
            return figures
        known = set(_made(self.candidate.model))
        names = [name for name in deciding(self.reference.model, figures.value) if name in known]
        found = self._figures(engine, names, tuple(names)) if names else self._fronts()
        if wrong := next((f for f in found if not f.passed), None):
            return wrong
        reason = f"{DECIDED}: {', '.join(f.value for f in found) or 'what decides'} agree within the noise"
        return replace(figures, passed=True, noise=max((f.noise for f in found), default=1.0), reason=reason)

    def _fronts(self) -> list[Figures]:
        """What the preprocessing in front of the unfolded network makes of the first picture; the rest is the
        gate's, whose reference it is."""
        ends = {
            one.input: value.name or ""
            for one in self.loaded.baked
            for value in _behind(self.loaded.model, one.input)
        }
        side, feed = Side(self.loaded.model, None, self.loaded.name), self.feeds[0]
        with Truth(self.options.seed, stand_ins=False).open(side, tuple(ends.values())) as runner:
            values = runner.run(feed)
        exact, rounded = self._prepared(feed, exact=True), self._prepared(feed)
        return [
            self._judged(
                name, [(exact[one], rounded[one], values[name].astype(rounded[one].dtype), None)], count=1
            )
            for one, name in ends.items()
        ]


def _behind(model: ir.Model, name: str) -> Iterator[ir.Value]:
    """The value that the network reads in the place of an input."""
    waiting = [value for value in model.graph.inputs if value.name == name]
    while waiting:
        for user, _ in waiting.pop().uses():
            if BAKED_KEY not in user.metadata_props:
                continue
            value = user.outputs[0]
            if all(BAKED_KEY in use.node.metadata_props for use in value.uses()):
                waiting.append(value)
            else:
                yield value


def _made(model: ir.Model) -> Iterator[str]:
    return (value.name for node in model.graph for value in node.outputs if value.name)


# What generated pictures show: pixels from 0 to 255.


def _noise(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.integers(0, 256, shape)


def _slope(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rising along every axis, so that an axis or a channel in another's place shows."""
    grid = np.indices(shape, sparse=True)
    total = sum(
        index * random.uniform(20, 60) / max(size - 1, 1) for index, size in zip(grid, shape, strict=True)
    )
    return np.asarray(np.clip(np.round(np.broadcast_to(total, shape)), 0, 255))


def _channels(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One colour for each position of a short axis, with little noise."""
    colour = random.integers(16, 240, [size if size <= 4 else 1 for size in shape])
    return np.asarray(np.clip(colour + random.integers(-8, 9, shape), 0, 255))


PICTURES: tuple[Callable[[np.random.Generator, tuple[int, ...]], np.ndarray], ...] = (
    _noise,
    _slope,
    _channels,
)
