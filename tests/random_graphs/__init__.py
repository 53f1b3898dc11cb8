"""Random graphs over every operator that folding knows, folded and held against onnxruntime's run of the
original.

    net.py         a graph that grows node by node; onnxruntime says what shape, and which values, come out
    constants.py   a constant in its disguises: computed, rearranged, quantised, overridable
    operators.py   one row an operator: which inputs, attributes and constants it gets
    bodies.py      If, Loop, Scan and calls of functions, each of them a row
    generator.py   one graph from one seed
    oracle.py      fold it, run both, compare: the judgement of one graph
    shrinking.py   the smallest graph in which the same still goes wrong
    __main__.py    `python -m tests.random_graphs -s SECONDS`

What it finds becomes a small case in `tests/folding/test_found_by_random_graphs.py`.
"""
