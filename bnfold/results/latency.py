"""How fast two models run, as frozen values.

Spread      median and quartiles
Measured    one model in one runtime
Latency     both models in one runtime, and their ratio
Latencies   all runtimes
"""

from __future__ import annotations

from collections.abc import Sequence

from ..records import dataclass

FASTER, SLOWER, ALIKE = "faster", "slower", "alike"
LIKE_ITSELF = 0.02  # by how much one model differs from itself in another process


@dataclass(frozen=True)
class Spread:
    """Median, first and third quartile."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of some measurements."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        import statistics  # it takes a while, and most runs measure nothing

        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Measured:
    """One model in one runtime.

    latency   seconds of one run
    load      seconds from the file to a model that can run
    memory    bytes of its own that the process took to load and run it; None where the system does not say
    """

    latency: Spread
    load: float
    memory: int | None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Both models in one runtime.

    runtime, version   "onnxruntime", "openvino" or "opencv"
    provider           what it ran on: "cpu", or another execution provider of onnxruntime
    before, after      None where a model cannot be run there, or where there is none
    ratio              latency after over latency before, of runs beside each other
    reason             why something could not be measured
    """

    runtime: str
    version: str
    provider: str
    before: Measured | None = None
    after: Measured | None = None
    ratio: Spread | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """The runtime, and what it ran on where that is not the CPU."""
        return self.runtime if self.provider == "cpu" else f"{self.runtime}-{self.provider}"

    @property
    def verdict(self) -> str:
        """What the ratio says beyond its own spread, and beyond what two processes of one model differ by."""
        if self.ratio is None:
            return ""
        fast, slow = self.ratio.high < 1 - LIKE_ITSELF, self.ratio.low > 1 + LIKE_ITSELF
        return FASTER if fast else SLOWER if slow else ALIKE


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """All runtimes, with what was asked for: threads, runs that do not count, runs that do, and the inputs as
    (name, shape)."""

    rows: tuple[Latency, ...]
    threads: int
    warm_up: int
    runs: int
    inputs: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
