"""Statistics of batch norms from real inputs.

    for each level of batch norms, from the inputs on:
        run the inputs through the network as far as the level, pool the moments of what its norms work on,
        give the norms their new statistics
    run some of the inputs through the network before and after, and compare the outputs

With one pass (PreciseBN: Wu, Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3.1) the norms divide
by the statistics of the batch meanwhile, as in training, and all of them are measured at once:

    mean = E[mean_B]        variance = E[mean_B² + variance_B] - E[mean_B]²

which are the pooled moments of what each norm saw, batches weighted by their size; those of a batch are what
the network itself computes and divides by, in its own precision. Variances are those of the
values that were seen, as a population: M2 / n. Frameworks multiply by n/(n-1) in training; with the numbers
of values there are here that is a difference in the last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np

from ..errors import Mismatch, Unsupported, blamed_on
from ..ir.foreign_types import cloned
from ..ir.graph import ir, source_text
from ..results.model_names import check_data
from ..results.options import RecalibrateOptions
from ..results.recalibration import ChangedOutput, LeftAlone, Recalibrated, Renewed
from ..verifying.inputs.samples import Input, Unfillable, inputs_of
from ..verifying.inputs.streams import Batches, streams
from .batch_statistics import Computed, by_batches
from .figures import renewed
from .moments import Moments, moments
from .norms import Norm, Prepared, prepared
from .outputs import Changes
from .passes import Network, NoEngine, network
from .warnings import warnings

Report = Callable[[str, float], None]
# Inputs on which outputs are compared: two more runs each, so that they are few beside those of the passes.
FEWEST_COMPARED, MOST_COMPARED, SHARE_COMPARED = 32, 256, 16


def recalibrate(
    model: ir.Model, options: RecalibrateOptions, report: Report | None = None
) -> tuple[ir.Model, Recalibrated]:
    """A clone with statistics from the data, and what changed. `report` hears what is being done and which
    share of it is. Raises UsageError and InputErrors of the data, Unsupported where no engine runs the
    network."""
    check_data(model, options)
    batches = Batches(streams(_fed(model), options), options.batch_size)
    work = _Work(prepared(model), batches, options, report or _silent)
    work.run()
    return work.found.model, work.result()


def _silent(what: str, share: float) -> None:
    """Nobody wants to hear it."""


def _fed(model: ir.Model) -> list[Input]:
    try:
        return inputs_of(model)
    except Unfillable as error:
        raise Unsupported(str(error)) from error


class _Work:
    """One recalibration. `found` is the model that takes the new statistics."""

    def __init__(
        self, found: Prepared, batches: Batches, options: RecalibrateOptions, report: Report
    ) -> None:
        self.found, self.batches, self.options, self.report = found, batches, options, report
        self.rows: dict[Norm, Renewed] = {}
        self.left = list(found.left)
        self.outputs: tuple[ChangedOutput, ...] = ()
        self.engine = ""
        self.computed: dict[Norm, Computed] = {}

    @property
    def passes(self) -> list[list[Norm]]:
        """The norms that each pass measures."""
        if not self.options.one_pass:
            return self.found.levels
        return [self.found.norms] if self.found.norms else []

    def run(self) -> None:
        """Measure every norm, give them what was measured, and compare the outputs."""
        model, before = self.found.model, cloned(self.found.model)
        statistics = [name for norm in self.found.norms for name in norm.statistics]
        measured = model
        if self.options.one_pass:
            measured, self.computed = by_batches(self.found)
        with network(measured, statistics) as net:
            for number, norms in enumerate(self.passes):
                self._renew_all(net, norms, number)
            self.engine = " and ".join(net.engines)
            if not self.options.one_pass:
                self._compare(net.of(before), net)
        if self.options.one_pass:
            with network(model, statistics) as net:
                self._compare(net.of(before), net)

    def _renew_all(self, net: Network, norms: Sequence[Norm], number: int) -> None:
        """Measure the norms of a pass together; where no engine runs what is before some of them, each on its
        own."""
        try:
            self._renew(norms, self._measured(net, norms, number))
        except NoEngine as error:
            if len(norms) > 1:
                for norm in norms:
                    self._renew_all(net, [norm], number)
            else:
                self._leave(norms[0], str(error))

    def _leave(self, norm: Norm, why: str) -> None:
        """Raises Unsupported for one that has no statistics worth keeping."""
        if norm.was_training:
            raise Unsupported(f"'{norm.name}' was exported in training mode and gets no statistics: {why}")
        self.left.append(LeftAlone(norm.name, source_text(norm.node), why))

    def _measured(self, net: Network, norms: Sequence[Norm], number: int) -> dict[Norm, list[Moments | None]]:
        """The moments of what each norm works on, over the first and over the second half of the inputs."""
        run = net.part([name for norm in norms for name in self.computed.get(norm, (norm.value,))])
        pooled: dict[Norm, list[Moments | None]] = {norm: [None, None] for norm in norms}
        for start, feeds in self.batches():
            with blamed_on(self.batches.where(start)):
                values = run(feeds)
                half = int(start >= self.batches.units // 2)
                for norm in norms:
                    found = self._moments(norm, values)
                    pooled[norm][half] = found.pooled(pooled[norm][half])
            self._tell(number, start, len(norms))
        return pooled

    def _moments(self, norm: Norm, values: Mapping[str, np.ndarray]) -> Moments:
        """Of what a norm works on: as the network computed them, or of the values themselves. Raises Mismatch
        for what no statistics can be taken of."""
        if (names := self.computed.get(norm)) is None:
            found = _of_values(norm, values[norm.value])
        else:
            mean, variance = (
                np.asarray(values[name], np.float64).reshape(-1) for name in (names.mean, names.variance)
            )
            count = int(values[names.size]) // len(mean)
            found = Moments(count, mean, variance * count)
        if not found.finite:
            raise Mismatch(
                f"the values that the batch norm '{norm.name}' works on are not finite with these inputs",
                expected="inputs like those that the network was trained on",
            )
        return found

    def _tell(self, number: int, start: int, norms: int) -> None:
        share = (number + start / self.batches.units) / (len(self.passes) + 1)
        what = f"{norms} batch norm{'s' if norms > 1 else ''}"
        self.report(f"pass {number + 1} of {len(self.passes)}: {what}", share)

    def _renew(self, norms: Sequence[Norm], pooled: dict[Norm, list[Moments | None]]) -> None:
        for norm in norms:
            first, second = pooled[norm]
            both = second.pooled(first) if second is not None else first
            assert both is not None
            row = renewed(norm, both, (first, second))
            if refused := norm.take(both.mean, both.variance):
                self._leave(norm, refused)
            else:
                self.rows[norm] = row

    def _compare(self, before: Network, after: Network) -> None:
        """The outputs before and after, on some of the inputs. What normalised with the statistics of the
        batch had no outputs that depended on its input alone, and has nothing to be compared with."""
        if not self.rows or any(norm.was_training for norm in self.rows):
            return
        names = [value.name for value in self.found.model.graph.outputs if value.name]
        changes = Changes(names)
        wanted = min(max(self.batches.count // SHARE_COMPARED, FEWEST_COMPARED), MOST_COMPARED)
        every = max(1, self.batches.count // wanted)
        old, new = before.part(names), after.part(names)
        with suppress(NoEngine):
            for start, feeds in self.batches(every):
                with blamed_on(self.batches.where(start)):
                    changes.add(old(feeds), new(feeds))
                share = (len(self.passes) + start / self.batches.units) / (len(self.passes) + 1)
                self.report("comparing outputs", share)
            self.outputs = changes.found

    def result(self) -> Recalibrated:
        """Everything that happened."""
        rows = tuple(self.rows[norm] for norm in self.found.norms if norm in self.rows)
        return Recalibrated(
            inputs=self.batches.count,
            passes=len(self.passes),
            one_pass=self.options.one_pass,
            layers=rows,
            left=tuple(self.left),
            outputs=self.outputs,
            engine=self.engine,
            data=tuple(str(given) for _, given in self.options.recalibrate),
            findings=tuple(warnings(self.batches, rows, self.left)),
        )


def _of_values(norm: Norm, values: np.ndarray) -> Moments:
    """Raises Mismatch for what no statistics can be taken of."""
    values = norm.seen(values)
    channels = values.shape[1] if values.ndim > 1 else 1
    if channels != len(norm.mean) or not values.size:
        raise Mismatch(
            f"the batch norm '{norm.name}' works on values of shape {list(values.shape)} with these inputs",
            expected=f"{len(norm.mean)} channels, as it has statistics",
        )
    return moments(values)
