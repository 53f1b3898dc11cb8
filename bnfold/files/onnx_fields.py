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

MODEL_GRAPH = 7  # ModelProto
GRAPH_NODE, GRAPH_NAME, GRAPH_INITIALIZER, GRAPH_DOC_STRING, GRAPH_INPUT, GRAPH_OUTPUT = 1, 2, 5, 10, 11, 12
GRAPH_VALUE_INFO, GRAPH_ANNOTATION, GRAPH_METADATA = 13, 14, 16
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP_TYPE, NODE_ATTRIBUTE, NODE_DOC_STRING = 1, 2, 3, 4, 5, 6
NODE_DOMAIN, NODE_OVERLOAD, NODE_METADATA = 7, 8, 9
ANNOTATION_NAME, ANNOTATION_TENSORS = 1, 2  # TensorAnnotation
VALUE_NAME, VALUE_TYPE = 1, 2  # ValueInfoProto

# TensorProto
DIMS, TENSOR_NAME, TENSOR_DOC_STRING, TENSOR_METADATA = 1, 8, 12, 16
DATA_TYPE, FLOAT_DATA, RAW_DATA, DOUBLE_DATA, EXTERNAL_DATA, DATA_LOCATION = 2, 4, 9, 10, 13, 14
FLOAT, STRING, DOUBLE = 1, 8, 11  # values of data_type
EXTERNAL = 1  # value of data_location
KEY, VALUE = 1, 2  # StringStringEntryProto

INLINE = 1 << 10  # payloads up to this many bytes stay where protobuf puts them
MAX_DEPTH = 100  # protobuf's own limit on nesting
