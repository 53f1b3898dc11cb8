"""Writing ONNX files: one canonical file, streamed, in place only when it is whole."""

from .onnx import Written, to_proto, write

__all__ = ["Written", "to_proto", "write"]
