"""One function per section; importing this package fills schema.SECTIONS."""

from . import convolution, detection, joining, network, normalising, pointwise, pooling, recurrent, reshaping

__all__ = [
    "convolution",
    "detection",
    "joining",
    "network",
    "normalising",
    "pointwise",
    "pooling",
    "recurrent",
    "reshaping",
]
