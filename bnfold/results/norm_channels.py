"""The channels of batch norms in numbers, as `inspect` lists them and slimming goes by them."""

from __future__ import annotations

from ..records import dataclass


@dataclass(frozen=True, kw_only=True)
class NormChannels:
    """The channels of one batch norm.

    dead         its scale gamma is 0
    nearly_dead  its |gamma| is at most a hundredth of the layer's largest, and not 0
    constant     it is not dead, and everything that reads it reads one number all the same
    gone         it leaves
    histogram    how many |gamma| lie in each of equal ranges from 0 to `largest`
    """

    node: str
    source: str
    channels: int
    dead: int
    nearly_dead: int
    constant: int
    gone: int
    smallest: float
    largest: float
    histogram: tuple[int, ...]
