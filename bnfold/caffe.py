"""Teach bnfold a type of Caffe layer, by the mechanism that the built-in layers use.

    import bnfold

    @bnfold.caffe.layer("Scaled", param="scaled_param")
    def scaled(at, x, *, factor: float = 1.0):
        '''factor times x'''
        return at.op("Mul", x, at.constant([factor], "factor"))

    bnfold.fold_file("net.prototxt", "net.caffemodel", out="net.onnx")

The function's positional parameters are the layer's bottoms, its keyword-only ones the fields of
`scaled_param { ... }` with their types and defaults, its result the top (or a tuple of tops). `at` is the
Layer: it makes operators and constants, and gives blobs.
"""

from __future__ import annotations

from .reading.caffe.layer import Layer
from .reading.caffe.registry import layer

__all__ = ["Layer", "layer"]
