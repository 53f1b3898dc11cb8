"""The truth: a model run in float64 by kernels of our own, or by onnx's reference implementation."""
