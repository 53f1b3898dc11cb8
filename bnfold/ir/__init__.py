"""The intermediate representation: graphs and tensors of onnx_ir, where a node came from, and whether two
models are the same."""
