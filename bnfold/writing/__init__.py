"""Writing models: one canonical ONNX file, or a pair of text and weights; streamed, and in place only when
all is whole. A pair is written by pair.py, which a single file has no need of."""

from .onnx import Written, to_proto, write

__all__ = ["Written", "to_proto", "write"]
