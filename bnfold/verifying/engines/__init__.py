"""The engines that run a model in its own precision: onnxruntime with its execution providers, and the
interpreter."""
