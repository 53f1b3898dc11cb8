"""Field numbers of onnx.proto that the reader and the writer of ONNX files need on the wire. The only place
that has them."""

from __future__ import annotations

# message -> field number -> what lies there. Only the way down to tensors is listed.
PATH_TO_TENSORS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
}

# TensorProto
DATA_TYPE, FLOAT_DATA, RAW_DATA, DOUBLE_DATA, EXTERNAL_DATA, DATA_LOCATION = 2, 4, 9, 10, 13, 14
FLOAT, STRING, DOUBLE = 1, 8, 11  # values of data_type
EXTERNAL = 1  # value of data_location
KEY, VALUE = 1, 2  # StringStringEntryProto

INLINE = 1 << 10  # payloads up to this many bytes stay where protobuf puts them
MAX_DEPTH = 100  # protobuf's own limit on nesting
