"""Files: protobuf on the wire, the skeleton of an ONNX file, atomic replacement, names, time stamps,
temporary folders, supervision, memory."""
