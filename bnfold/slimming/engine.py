"""Slim a model: trace its channels, select the groups that leave, rewrite.

    exact        what does nothing leaves
    threshold    channels of small scale count as multiplied by zero first; those that stay all the same get
                 their scale back, until the rest leaves as a whole

The caller's model is never touched: everything happens on a clone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from ..inference import Shapes
from ..ir.foreign_types import cloned
from ..ir.functions import all_inlinable, inline
from ..ir.graph import ir, label, source_text, uncollected
from ..records import dataclass
from ..results.norm_channels import NormChannels
from ..results.options import SlimOptions
from ..results.slimming import LayerChannels, Slimming, Stays
from ..results.stay_reasons import STAY_CODES
from .groups import Mask, Reason
from .linear_rules import constant_taken, is_depthwise
from .rewriting import Rewriting, overflows
from .rules import RULES
from .selection import Selection, select
from .threshold import chosen, largest, multiply_by_zero, same, still_leaving
from .trace import Norm, Trace

NEARLY = 1e-2  # of a layer's largest |gamma|
BINS = 8
_ELSEWHERE = Reason("stays.read-elsewhere", STAY_CODES["stays.read-elsewhere"])


@dataclass(frozen=True)
class Slimmed:
    """A slimmed clone of a model, what was done, and the model that it has to be the same as: the one that
    was given, or that with the chosen channels multiplied by zero."""

    model: ir.Model
    slimming: Slimming
    reference: ir.Model


@uncollected()
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def slim(model: ir.Model, options: SlimOptions | None = None) -> Slimmed:
    """The model without the channels that do nothing, or that the options choose. Raises Malformed where a
    batch norm or a weight contradicts its input (exit 3)."""
    options = options or SlimOptions()
    found = _slimmed(model, options)
    if (inlined := _without_functions(model)) is not None:
        other = _slimmed(inlined, options)
        if other.slimming.channels > found.slimming.channels:
            return replace(other, reference=model) if other.reference is inlined else other
    return found


def _slimmed(model: ir.Model, options: SlimOptions) -> Slimmed:
    refused: set[str] = set()
    while True:
        plan = _Plan(cloned(model), options, refused)
        smaller = Rewriting(plan.trace, plan.selection, plan.taken).run() if plan.changes else {}
        wrong = _of_other_sizes(plan.trace.model, smaller, plan.names, options)
        if not wrong - refused:
            return Slimmed(plan.trace.model, plan.slimming, plan.reference(model))
        refused |= wrong


def _without_functions(model: ir.Model) -> ir.Model | None:
    """The model with the bodies of functions in the place of their calls; None where there are none."""
    chosen = all_inlinable(model) if model.functions else set()
    if not chosen:
        return None
    inlined = cloned(model)
    inline(inlined, chosen)
    return inlined


def survey(model: ir.Model, options: SlimOptions | None = None) -> Slimming:
    """What would leave, and what not; nothing is made."""
    with np.errstate(all="ignore"):
        return _Plan(cloned(model), options or SlimOptions(), set()).slimming


def _of_other_sizes(
    model: ir.Model,
    smaller: dict[ir.Value, tuple[int, int]],
    names: dict[ir.Value, str],
    options: SlimOptions,
) -> set[str]:
    """Values that do not have the size, by the shapes of the slimmed model, that they were given: some size
    that was computed does not follow."""
    if not smaller:
        return set()
    shapes = Shapes(model, options.freeze_initializers)
    found = set()
    for value, (axis, size) in smaller.items():
        derived = shapes.dim(value, axis)
        node = value.producer()
        if (derived is not None and derived != size) or (node is not None and shapes.contradicts(node)):
            found.add(names[value])
    return found


class _Plan:
    """What leaves a clone of the model. `refused` are values whose channels were seen to be unable to."""

    def __init__(self, clone: ir.Model, options: SlimOptions, refused: set[str]) -> None:
        self.options, self.refused = options, refused
        self.clone = clone
        self.shapes = Shapes(clone, options.freeze_initializers)
        self.doubted: dict[ir.Node, Mask] = {}
        self.trace = self._traced({})
        self.names = {value: value.name or "" for value in self.trace.channels}
        masks = chosen(self.trace.norms, options)
        self.reasons: dict[tuple[int, int], Reason] = {}
        while True:
            self.selection = self._settled(masks)
            left = still_leaving(self.trace, masks, [self.selection.gone(n.ids) for n in self.trace.norms])
            self._remember(masks)
            if same(left, masks):
                break
            masks = left
        self.masks = masks
        self.slimming = self._summary()

    @property
    def changes(self) -> bool:
        """Does any channel leave?"""
        return bool(self.selection.leaves.any())

    def reference(self, model: ir.Model) -> ir.Model:
        """The model that the slimmed one has to be the same as."""
        if not self.masks:
            return model
        copy = cloned(model)
        shapes = Shapes(copy, self.options.freeze_initializers)
        multiply_by_zero(Trace(copy, shapes, RULES).run(), self.masks)
        return copy

    def _settled(self, masks: dict[int, Mask]) -> Selection:
        """The selection with these masks, where no channel is a constant because of constants that stay: the
        gate proves every place for all numbers that may come to it, and these might be others."""
        if masks or self.doubted or self.trace.masks:  # otherwise the first trace is the right one
            self.doubted = {}
            self.trace = self._traced(masks)
        while True:
            found = self._selected()
            doubted = self._doubts(found)
            if doubted.keys() == self.doubted.keys() and all(
                (doubted[node] == self.doubted[node]).all() for node in doubted
            ):
                return found
            self.doubted = doubted
            self.trace = self._traced(masks)

    def _doubts(self, found: Selection) -> dict[ir.Node, Mask]:
        doubted = dict(self.doubted)
        for node, (_, data, made) in self.trace.linears.items():
            if data is None or not made.constant.any():
                continue
            stay = data.constant & ~found.gone(data.ids)
            if stay.any():
                doubted[node] = stay | doubted.get(node, False)
        return doubted

    def _traced(self, masks: dict[int, Mask]) -> Trace:
        trace = Trace(self.clone, self.shapes, RULES, masks, self.options.keep, self.doubted).run()
        withdrawn = dict(self.options.withdrawn)
        for value, channels in trace.channels.items():
            node = value.producer()
            if value.name in self.refused:
                words = f"the size of '{value.name}' is computed in a way that does not follow"
                trace.groups.block(channels.ids, "stays.shape", words)
            if node is not None and label(node) in withdrawn:
                trace.groups.block(channels.ids, "stays.withdrawn", withdrawn[label(node)])
        return trace

    def _selected(self) -> Selection:
        """The selection without what would overflow a bias; `taken` is what all biases take."""
        while True:
            found = select(self.trace)
            self.taken: dict[ir.Node, np.ndarray] = {}
            too_large = False
            for node, (linear, data, _) in self.trace.linears.items():
                if data is None or is_depthwise(linear) or not found.gone(data.ids).any():
                    continue
                gone = found.gone(data.ids)
                taken = constant_taken(linear, data, gone)
                index = linear.bias
                bias = node.inputs[index] if index is not None and len(node.inputs) > index else None
                if overflows(linear, self.shapes.constants.tensor(bias), taken):
                    self.trace.groups.block(data.ids[gone & (data.constants != 0)], "stays.overflow")
                    too_large = True
                self.taken[node] = taken
            if not too_large:
                return found

    # -- what is told

    def _remember(self, masks: dict[int, Mask]) -> None:
        """Why channels that were chosen stay."""
        for norm in self.trace.norms:
            mask = masks.get(norm.place)
            if mask is None:
                continue
            for channel in np.flatnonzero(mask & ~self.selection.gone(norm.ids)).tolist():
                reason = self.selection.reason(int(norm.ids[channel])) or _ELSEWHERE
                self.reasons.setdefault((norm.place, channel), reason)

    def _summary(self) -> Slimming:
        trace = self.trace
        read, alive = trace.groups.is_read(), trace.groups.alive()
        fixed = read & ~alive
        norms = tuple(self._norm(norm, fixed) for norm in trace.norms)
        layers = tuple(
            LayerChannels(label(node), node.op_type, made.size, int(self.selection.kept(made).sum()))
            for node, (_, _, made) in trace.linears.items()
        )
        threshold = largest(trace.norms, self.masks) if self.options.approximates else None
        return Slimming(norms, layers, tuple(self._stays(fixed)), threshold)

    def _norm(self, norm: Norm, fixed: Mask) -> NormChannels:
        gamma = norm.gamma
        top = float(gamma.max(initial=0.0))
        dead, masked = gamma == 0, self.masks.get(norm.place, np.zeros(gamma.size, np.bool_))
        edges = np.linspace(0.0, top or 1.0, BINS + 1) if np.isfinite(top) else np.arange(BINS + 1.0)
        return NormChannels(
            node=label(norm.node),
            source=source_text(norm.node),
            channels=gamma.size,
            dead=int(dead.sum()),
            nearly_dead=int((~dead & (gamma <= NEARLY * top)).sum()),
            constant=int((~dead & ~masked & fixed[norm.ids]).sum()),
            gone=int(self.selection.gone(norm.ids).sum()),
            smallest=float(gamma.min(initial=np.inf)),
            largest=top,
            histogram=tuple(np.histogram(gamma[np.isfinite(gamma)], edges)[0].tolist()),
        )

    def _stays(self, fixed: Mask) -> list[Stays]:
        """Channels that do nothing, or were chosen, and stay."""
        counts: Counter[tuple[ir.Node, Reason]] = Counter()
        told = np.zeros(len(fixed), np.bool_)
        for norm in self.trace.norms:
            told[norm.ids] = True
            for channel, entry in enumerate(norm.ids.tolist()):
                chosen_once = self.reasons.get((norm.place, channel))
                idle = norm.constant[channel] or fixed[entry]
                if self.selection.gone(np.array([entry]))[0] or not (idle or chosen_once):
                    continue
                reason = chosen_once or self.selection.reason(entry) or _ELSEWHERE
                counts[norm.node, reason] += 1
        for node, (_, _, made) in self.trace.linears.items():
            idle = made.constant & ~told[made.ids] & ~self.selection.gone(made.ids)
            for entry in made.ids[idle].tolist():
                counts[node, self.selection.reason(entry) or _ELSEWHERE] += 1
        for node, count, reason in self.trace.unseen:
            counts[node, reason] += count
        return [
            Stays(label(node), node.op_type, source_text(node), count, reason.code, reason.words)
            for (node, reason), count in counts.items()
        ]
