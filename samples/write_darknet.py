"""The sample network as darknet: a cfg and a weights file.

The weights file has neither names nor sizes, only an order: a header of version and images seen, then for a
convolution beta, gamma, mean, variance and weights, for a connected layer its bias (or beta), its weights,
and only then gamma, mean and variance.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .network import IMAGE, NETWORK, Conv, Dense, Layer, MaxPool, Parameters, Shortcut, normalised

VERSION = (0, 2, 5)


def darknet_files(parameters: Parameters, seen: int) -> tuple[str, bytes]:
    """The text of the cfg and the bytes of the weights file, after training on `seen` images."""
    channels, height, width = IMAGE
    text = f"[net]\nbatch=1\nheight={height}\nwidth={width}\nchannels={channels}\n" + "".join(
        section(layer) for layer in NETWORK
    )
    arrays = (parameters[key].astype("<f4").tobytes() for layer in NETWORK for key in stored(layer))
    return text, struct.pack("<3iQ", *VERSION, seen) + b"".join(arrays)


def section(layer: Layer) -> str:
    """A layer as a section of the cfg, under a comment with its name."""
    kind, options = options_of(layer)
    return f"\n# {layer.name}\n[{kind}]\n" + "".join(f"{key}={value}\n" for key, value in options.items())


def options_of(layer: Layer) -> tuple[str, dict[str, object]]:
    """darknet's name of a layer's section, and its options."""
    norm = {"batch_normalize": 1} if normalised(layer) else {}
    if isinstance(layer, Conv):
        groups = {"groups": layer.groups} if layer.groups > 1 else {}
        return "convolutional", {
            **norm,
            "filters": layer.filters,
            "size": layer.size,
            "stride": layer.stride,
            "pad": 1,
            **groups,
            "activation": layer.activation,
        }
    if isinstance(layer, Dense):
        return "connected", {**norm, "output": layer.outputs, "activation": layer.activation}
    if isinstance(layer, Shortcut):
        names = [each.name for each in NETWORK]
        return "shortcut", {
            "from": names.index(layer.source) - names.index(layer.name),
            "activation": layer.activation,
        }
    if isinstance(layer, MaxPool):
        return "maxpool", {"size": layer.size, "stride": layer.size}
    return "softmax", {}


def stored(layer: Layer) -> Iterator[str]:
    """The names of a layer's parameters in the order of the file."""
    norm = [f"{layer.name}/{what}" for what in ("beta", "gamma", "mean", "variance")]
    weight = f"{layer.name}/weight"
    if isinstance(layer, Conv):
        yield from (*norm, weight)
    elif isinstance(layer, Dense):
        yield from (norm[0], weight, *norm[1:]) if layer.batch_norm else (f"{layer.name}/bias", weight)
