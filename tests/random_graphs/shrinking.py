"""The smallest graph in which the same still goes wrong.

Three moves, tried until none helps: keep one output, make a value an input (fed with what it was), read a
node's input in the place of its output.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx
from onnx import helper

from .generator import Sample, prune
from .net import bodies
from .oracle import Finding, NoGraph, judge, run

CUT = "_before"  # what a value was called that became an input
MOST = 400  # judgements of one finding


def shrunk(sample: Sample, finding: Finding) -> tuple[Sample, Finding]:
    """A smaller sample with a finding of the same kind."""
    tried = 0
    progress = True
    while progress:
        progress = False
        for smaller in _smaller(sample):
            tried += 1
            if tried > MOST:
                return sample, finding
            try:
                found = judge(smaller).finding
            except NoGraph:
                continue
            if found is not None and found.kind == finding.kind:
                sample, finding, progress = smaller, found, True
                break
    return sample, finding


def _copied(sample: Sample) -> Sample:
    model = onnx.ModelProto()
    model.CopyFrom(sample.model)
    del model.graph.value_info[:]
    return replace(sample, model=model)


def _smaller(sample: Sample) -> Iterator[Sample]:
    for output in sample.model.graph.output if len(sample.model.graph.output) > 1 else []:
        one = _copied(sample)
        del one.model.graph.output[:]
        one.model.graph.output.append(output)
        prune(one.model)
        yield _without_unread(one)
    yield from _cut(sample)
    yield from _bypassed(sample)


def _cut(sample: Sample) -> Iterator[Sample]:
    """One inner value becomes an input: the late ones first."""
    ends = {output.name for output in sample.model.graph.output}
    every = _copied(sample)
    given = {value.name for value in sample.model.graph.input}
    made = [
        name
        for node in sample.model.graph.node
        for name in node.output
        if name.removesuffix(CUT) not in given
    ]
    inner = [name for name in made if name and name not in ends]
    every.model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    try:
        runs = run(every.model, sample.feeds)
    except NoGraph:
        return
    for at in reversed(range(len(inner))):
        arrays = [values[len(ends) + at] for values in runs]
        if any(not hasattr(a, "dtype") for a in arrays) or all(a.size < 2 for a in arrays):
            continue
        one = _copied(sample)
        for node in one.model.graph.node:
            for k, name in enumerate(node.output):
                if name == inner[at]:
                    node.output[k] = f"{name}{CUT}"
        kind = helper.np_dtype_to_tensor_dtype(arrays[0].dtype)
        sizes = [{a.shape[axis] for a in arrays} for axis in range(arrays[0].ndim)]
        dims = [s.pop() if len(s) == 1 else None for s in sizes]
        one.model.graph.input.append(helper.make_tensor_value_info(inner[at], kind, dims))
        feeds = [{**feed, inner[at]: array} for feed, array in zip(sample.feeds, arrays, strict=True)]
        prune(one.model)
        yield _without_unread(replace(one, feeds=feeds))


def _bypassed(sample: Sample) -> Iterator[Sample]:
    """A node is gone, and its reader reads its input: in the main graph, in bodies and in functions."""
    for scope in range(len(_scopes(sample.model))):
        for at in range(len(_scopes(sample.model)[scope])):
            node = _scopes(sample.model)[scope][at]
            for name in [n for n in node.input if n][:2]:
                one = _copied(sample)
                nodes = _scopes(one.model)[scope]
                gone = nodes[at]
                _renamed(one.model, gone.output[0], name)
                del nodes[at]
                prune(one.model)
                yield _without_unread(one)


def _scopes(model: onnx.ModelProto) -> list:  # type: ignore[type-arg]
    found, waiting = [], [model.graph.node, *(function.node for function in model.functions)]
    while waiting:
        nodes = waiting.pop(0)
        found.append(nodes)
        waiting.extend(body.node for node in nodes for body in bodies(node))
    return found


def _renamed(model: onnx.ModelProto, old: str, new: str) -> None:
    for nodes in _scopes(model):
        for node in nodes:
            for k, name in enumerate(node.input):
                if name == old:
                    node.input[k] = new
            for body in bodies(node):
                for output in body.output:
                    output.name = new if output.name == old else output.name
    for output in model.graph.output:
        output.name = new if output.name == old else output.name


def _without_unread(sample: Sample) -> Sample:
    """Drop inputs that nothing reads."""
    read: set[str] = set()
    for nodes in _scopes(sample.model):
        for node in nodes:
            read.update(node.input)
            read.update(output.name for body in bodies(node) for output in body.output)
    read.update(output.name for output in sample.model.graph.output)
    wanted = [i for i in sample.model.graph.input if i.name in read]
    del sample.model.graph.input[:]
    sample.model.graph.input.extend(wanted)
    return sample
