"""[net]: the input."""

from __future__ import annotations

from ....errors import Malformed
from ..network import Input
from ..schema import section


@section("net", "network")
def net(
    *, width: int = 0, height: int = 0, channels: int = 0, inputs: int | None = None, time_steps: int = 1
) -> Input:
    """The input of the network; everything else in [net] is about training."""
    if width < 0 or height < 0 or channels < 0:
        raise Malformed(f"width={width} height={height} channels={channels}", expected="sizes of at least 1")
    flat = width * height * channels if inputs is None else inputs
    if flat < 1 and not (width and height and channels):
        raise Malformed(
            f"no input: width={width} height={height} channels={channels} inputs={flat}",
            expected="width, height and channels, or inputs for flat numbers",
        )
    return Input(channels, height, width, flat, max(1, time_steps))
