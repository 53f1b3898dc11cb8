"""Facts about operators of the standard ONNX domain, each in one place.

`table` has one row an operator; `arguments` decodes what nodes say about shapes.
"""
