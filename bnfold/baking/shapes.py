"""Shapes that are written into a model: sizes of inputs, through to the outputs by inference.

    shaped(read, options)   what `read` reads, with --fix-shape and --dynamic-batch

A Caffe or darknet reader computes every size itself, so that it is asked for the shape. An ONNX model gets
the sizes, and everything that is declared behind them is derived anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ..errors import Malformed, Mismatch, UsageError, telling
from ..inference import Shapes
from ..ir.foreign_types import cloned
from ..ir.graph import ir, is_op, label, nodes, source_text
from ..results.model_names import check_baking, fed
from ..results.options import ReadOptions, spelled
from ..results.plan import Loaded
from ..verifying.inputs.dry_run import DryRun
from .batch import with_dynamic_batch

Read = Callable[[ReadOptions], Loaded]
Dims = tuple[int, ...]
_WINDOWS = ("Conv", "MaxPool", "AveragePool", "LpPool")


def shaped(read: Read, options: ReadOptions) -> Loaded:
    """The model in the shapes that are asked for. Raises UsageError, Mismatch where the graph contradicts
    one, Unsupported for a batch that cannot be left open."""
    asked = replace(options, input_shapes=_with(options.input_shapes, options.fix_shape))
    first = _read(read, options, asked)
    with telling(first.findings):
        check_baking(first.model, replace(options, bake_input=(), input_type=(), input_layout=()))
        if first.format == "onnx":
            return replace(first, model=fixed(first.model, dict(options.fix_shape)), as_read=False)
        found = read(asked) if options.fix_shape else first
        return with_dynamic_batch(read, asked, found) if options.dynamic_batch else found


def _read(read: Read, options: ReadOptions, asked: ReadOptions) -> Loaded:
    """The model as its files state it, so that names are those of its inputs; a network that states no shape
    is read in those that are asked for."""
    try:
        return read(options)
    except Malformed:
        return read(asked)


def _with(
    shapes: tuple[tuple[str, Dims], ...], more: tuple[tuple[str, Dims], ...]
) -> tuple[tuple[str, Dims], ...]:
    """The shapes, those to be written before those that are only for comparing."""
    return tuple({**dict(shapes), **dict(more)}.items())


def fixed(model: ir.Model, asked: Mapping[str, Dims]) -> ir.Model:
    """A clone of an ONNX model whose inputs have these shapes. Raises UsageError for another rank, Mismatch
    with the node that contradicts a size."""
    copy = cloned(model)
    inputs = fed(copy)
    sizes: dict[str, int] = {}
    for name, dims in asked.items():
        one = inputs[name] if name else next(iter(inputs.values()))
        _check_rank(one, dims)
        for old, new in zip(one.shape or (), dims, strict=False):
            if isinstance(old, ir.SymbolicDim) and old.value:
                _remember(sizes, str(old.value), new, one)
        one.shape = ir.Shape(list(dims))
    for one in inputs.values():
        one.shape = _filled(one.shape, sizes)
    _check_run(copy)
    _derive(copy)
    return copy


def _check_run(model: ir.Model) -> None:
    """A dry run at these sizes gets through. Raises Mismatch."""
    inputs = {name: tuple(value.shape or ()) for name, value in fed(model).items() if value.shape is not None}
    if any(not isinstance(d, int) for dims in inputs.values() for d in dims):
        return
    found = DryRun(model)(inputs, {}).contradiction  # type: ignore[arg-type]  # all of them are numbers
    if found is not None:
        raise _contradiction(found.node, found.reason)


def _check_rank(one: ir.Value, dims: Dims) -> None:
    if one.shape is not None and len(one.shape) != len(dims):
        raise UsageError(
            f"{spelled('fix_shape')} gives '{one.name}' the shape {list(dims)}",
            expected=f"{len(one.shape)} dims, as the model declares",
        )


def _remember(sizes: dict[str, int], symbol: str, size: int, one: ir.Value) -> None:
    if sizes.setdefault(symbol, size) != size:
        raise Mismatch(
            f"'{symbol}' would be {sizes[symbol]} and {size}",
            where=f"input '{one.name}'",
            expected="one size, since the model gives both dims one name",
            way_out=f"give {spelled('fix_shape')} shapes that agree",
        )


def _filled(shape: ir.Shape | None, sizes: Mapping[str, int]) -> ir.Shape | None:
    if shape is None:
        return None
    return ir.Shape([d if isinstance(d, int) else sizes.get(str(d.value), d.value) for d in shape])


def _derive(model: ir.Model) -> None:
    """What is declared behind the inputs, derived anew; what cannot be derived is left open. Raises
    Mismatch."""
    outputs = {value: value.shape for value in model.graph.outputs}
    inner = [value for node in nodes(model) for value in node.outputs]
    for value in inner:
        value.shape = None
    shapes = Shapes(model)
    for node in nodes(model):
        if shapes.contradicts(node) or _leaves_nothing(node, shapes):
            read = [v for v in node.inputs if v is not None and v.name]
            raise _contradiction(node, ", ".join(f"'{v.name}' is {_words(shapes, v)}" for v in read))
    for value in inner:
        if value.type is not None:  # a file declares no shape without a type
            value.shape = _declared(shapes, value)
    for value, declared in outputs.items():
        if value.shape is None and declared is not None:
            value.shape = ir.Shape([None] * len(declared))


def _leaves_nothing(node: ir.Node, shapes: Shapes) -> bool:
    """Does a window not fit into what it slides over? Then nothing, or no size, comes out of known sizes."""
    if not is_op(node, *_WINDOWS):
        return False
    before, after = shapes.of(node.inputs[0]), shapes.of(node.outputs[0])
    known = before is not None and all(isinstance(d, int) for d in before)
    return known and after is not None and any(d == 0 or isinstance(d, str) for d in after)


def _declared(shapes: Shapes, value: ir.Value) -> ir.Shape | None:
    found = shapes.of(value)
    if found is None:
        return None
    return ir.Shape([d if isinstance(d, int) or not d.startswith("?") else None for d in found])


def _contradiction(node: ir.Node, reason: str) -> Mismatch:
    return Mismatch(
        f"{node.op_type} '{label(node)}' does not take what {spelled('fix_shape')} leads to: {reason}",
        where=source_text(node) or None,
        way_out="give sizes that fit this node",
    )


def _words(shapes: Shapes, value: ir.Value) -> str:
    found = shapes.of(value)
    return "of unknown shape" if found is None else "x".join(str(d) for d in found) or "(one value)"
