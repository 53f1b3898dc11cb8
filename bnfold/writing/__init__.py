"""Writing models: one canonical ONNX file, or a pair of text and weights; streamed, and in place only when
all is whole."""

from .onnx import Written, to_proto, write
from .pair import WrittenPair, write_pair

__all__ = ["Written", "WrittenPair", "to_proto", "write", "write_pair"]
