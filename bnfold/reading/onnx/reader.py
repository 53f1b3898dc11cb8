"""ONNX: a path, bytes, a ModelProto, an onnx_ir model, or an exporter's result that carries one, into the IR.

    path, bytes   mapped, walked on the wire (onnx_skeleton.py), parsed without the weights; windows stand for
                  the tensors
    ModelProto    taken over by onnx_ir as it is; its tensors are read where protobuf has them
    ir.Model      cloned, so that the caller's is never touched

Rule 1: what onnx_ir would drop in silence is refused here with a sentence (sparse initializers,
        training_info, sparse attributes).
Rule 2: every tensor's claimed size is held against its bytes here, so that nothing later meets a wrong claim.
Rule 3: external data stays inside the model's folder: no absolute path, no `..`, no link that leads out.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import (
    InputError,
    Malformed,
    Mismatch,
    Unreadable,
    Unsupported,
    UsageError,
    blamed_on,
    root_cause,
)
from ...files import names as file_names
from ...files import onnx_skeleton
from ...ir import tensor
from ...ir.foreign_types import TYPES_KEY, cloned, without_foreign_types
from ...ir.graph import Names, graphs, initializers, ir, label, nodes, uncollected
from ...ir.provenance import SOURCE_KEY, Source
from ...operators.table import op
from ...results.options import ReadOptions
from ...results.plan import Loaded
from .functions import bodies
from .validation import check_door

if TYPE_CHECKING:
    import onnx

MAX_RANK = 32  # axes that numpy can broadcast; networks have six


@uncollected()
def read(source: Any, options: ReadOptions | None = None) -> Loaded:
    """A complete model of the IR. `source` is a path, bytes, onnx.ModelProto, onnx_ir.Model, or an object
    with `.model_proto` or `.model`. Raises Unreadable, Malformed, Mismatch (exit 3) and Unsupported (exit
    4)."""
    if isinstance(source, (str, os.PathLike)):
        loaded = _from_path(Path(source))
    elif isinstance(source, (bytes, bytearray, memoryview)):
        loaded = _from_bytes(memoryview(bytes(source) if isinstance(source, bytearray) else source))
    elif isinstance(source, ir.Model):
        loaded = _from_ir(source)
    elif (proto := _proto_of(source)) is not None:
        loaded = Loaded(
            model=_deserialised(_own(proto), "model", _refuse_external), format="onnx", name="model"
        )
    elif isinstance(inner := getattr(source, "model", None), ir.Model):
        loaded = _from_ir(inner)
    else:
        raise UsageError(
            f"an object of type {type(source).__name__} is no model",
            expected="a path, bytes, an onnx.ModelProto, an onnx_ir.Model, or an object with .model_proto "
            "or .model",
        )
    _stamp(loaded.model, loaded.name)
    return loaded


def _proto_of(source: Any) -> onnx.ModelProto | None:
    """The ModelProto that an object is or carries. A ModelProto in hand means that onnx is imported
    already."""
    import onnx

    for candidate in (source, getattr(source, "model_proto", None), getattr(source, "model", None)):
        if isinstance(candidate, onnx.ModelProto):
            return candidate
    return None


def _own(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The caller's message, or a copy of it where the door will write types into attributes that have
    none."""
    waiting = [proto.graph, *proto.functions]
    while waiting:
        for node in waiting.pop().node:
            if any(attribute.type == 0 and not attribute.ref_attr_name for attribute in node.attribute):
                copy = type(proto)()
                copy.CopyFrom(proto)
                return copy
            waiting += bodies(node)
    return proto


def _from_path(path: Path) -> Loaded:
    if path.is_dir():
        raise Unreadable("is a folder", where=path, expected="a model file")
    with blamed_on(path):
        file = tensor.FileMap(path)
        maps: dict[Path, tensor.FileMap] = {}
        model = _parsed(file.view, path.name, lambda t: _external(t, path.parent, maps))
    return Loaded(model=model, format="onnx", name=path.name, files=(path, *maps))


def _from_bytes(data: memoryview) -> Loaded:
    with blamed_on("model"):
        if not len(data):
            raise Unreadable("the model is empty")
        return Loaded(model=_parsed(data, "model", _refuse_external), format="onnx", name="model")


def _parsed(view: memoryview, name: str, external: Callable[[ir.ExternalTensor], tensor.Window]) -> ir.Model:
    import onnx
    from google.protobuf.message import DecodeError

    token = os.urandom(16).hex()
    try:
        proto = onnx.ModelProto.FromString(onnx_skeleton.skeleton(view, token))
    except DecodeError as error:
        raise Malformed(
            "the file is not a whole ONNX model: it is cut off, damaged or of another kind "
            "(protobuf cannot parse it)",
            expected="a file written by an ONNX exporter",
        ) from error

    def window(found: ir.ExternalTensor) -> tensor.Window:
        return _window(found, view, found.offset or 0) if found.location == token else external(found)

    return _deserialised(proto, name, window)


def _deserialised(
    proto: onnx.ModelProto, name: str, window: Callable[[ir.ExternalTensor], tensor.Window]
) -> ir.Model:
    with blamed_on(name):
        ordered = check_door(proto)
        plain, types = without_foreign_types(proto)
        try:
            model = ir.from_proto(plain)
        except (
            Exception
        ) as error:  # onnx_ir wraps whatever it meets in a chain of its own errors; the root says what it was
            raise Malformed(f"onnx_ir cannot take the model ({root_cause(error)})") from error
        if not ordered:
            _sort(model)
        _name_outputs(model)
        _replace_tensors(model, window)
        if types:
            model.meta[TYPES_KEY] = types
    return model


def _sort(model: ir.Model) -> None:
    """Put nodes behind those that they read, as ONNX asks and some tools forget."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        try:
            graph.sort()
        except ValueError as error:
            raise Malformed(f"the nodes of graph '{graph.name or ''}' read each other in a circle") from error


def _name_outputs(model: ir.Model) -> None:
    """A name for every output of a list: onnx_ir leaves nameless ones at the end out, and a Split into fewer
    parts is another one."""
    nameless = [
        node for node in nodes(model) if op(node).variadic and not all(value.name for value in node.outputs)
    ]
    names = Names(model) if nameless else None
    for node in nameless:
        for index, value in enumerate(node.outputs):
            if not value.name and names is not None:
                value.name = names.value(f"{label(node)}/unused{index}")


def _from_ir(source: ir.Model) -> Loaded:
    """A clone, with the caller's external tensors as windows on one map a file."""
    maps: dict[Path, tensor.FileMap] = {}
    model = cloned(source)
    _replace_tensors(model, lambda t: _external(t, Path(t.base_dir), maps))
    return Loaded(model=model, format="onnx", name=source.graph.name or "model", files=tuple(maps))


def _stamp(model: ir.Model, name: str) -> None:
    """Remember where each node came from, in memory. A node that was stamped in its file keeps the first
    run's story."""
    for index, node in enumerate(model.graph):
        if SOURCE_KEY not in node.metadata_props:
            node.meta[SOURCE_KEY] = str(Source(name, index=index, name=node.name or "", type=node.op_type))


# Tensors: windows for what lies elsewhere, size checks for what lies in the proto.


def _replace_tensors(model: ir.Model, window: Callable[[ir.ExternalTensor], tensor.Window]) -> None:
    def sound(found: ir.TensorProtocol) -> ir.TensorProtocol:
        if type(found) is tensor.InProto:
            return found if _is_plain(found.raw) else _checked(found)
        return window(found) if isinstance(found, ir.ExternalTensor) else _checked(found)

    for graph in graphs(model):
        for value in initializers(graph):
            if (given := value.const_value) is not None and (replaced := sound(given)) is not given:
                value.const_value = replaced
        for node in graph:
            for name, attribute in list(node.attributes.items()):
                holds = not attribute.is_ref() and attribute.type == ir.AttributeType.TENSOR
                if holds and (replaced := sound(attribute.value)) is not attribute.value:
                    node.attributes[name] = ir.Attr(
                        name, ir.AttributeType.TENSOR, replaced, doc_string=attribute.doc_string
                    )


def _window(found: ir.ExternalTensor, view: memoryview, offset: int) -> tensor.Window:
    """The tensor's bytes in a buffer; a length that disagrees with type and shape is refused."""
    _check_shape(found, tuple(found.shape))
    shape = found.shape.numpy()
    need = tensor.nbytes(found.dtype, shape)
    if found.length is not None and found.length != need:
        raise Mismatch(
            f"tensor '{found.name}' holds {found.length:,} bytes",
            expected=f"{need:,} bytes for {found.dtype.name}{list(shape)}",
        )
    return tensor.Window(
        view,
        offset,
        found.dtype,
        shape,
        name=found.name,
        doc_string=found.doc_string,
        metadata_props=dict(found.metadata_props) or None,
    )


def _check_shape(found: ir.TensorProtocol, dims: Sequence[Any]) -> None:
    if any(not isinstance(d, int) or d < 0 for d in dims):
        raise Malformed(
            f"tensor '{found.name}' has the shape {list(dims)}", expected="dimensions that are not negative"
        )
    if len(dims) > MAX_RANK:
        raise Unsupported(f"tensor '{found.name}' has {len(dims)} dimensions", expected=f"at most {MAX_RANK}")
    if found.dtype == ir.DataType.UNDEFINED:
        raise Malformed(f"tensor '{found.name}' has no data type")


# The field in which ONNX stores a type without raw_data; every type that is not here is in int32_data.
_TYPED_FIELDS = {
    ir.DataType.FLOAT: "float_data",
    ir.DataType.COMPLEX64: "float_data",
    ir.DataType.DOUBLE: "double_data",
    ir.DataType.COMPLEX128: "double_data",
    ir.DataType.INT64: "int64_data",
    ir.DataType.UINT32: "uint64_data",
    ir.DataType.UINT64: "uint64_data",
    ir.DataType.STRING: "string_data",
}
_ALL_TYPED_FIELDS = ("int32_data", *sorted(set(_TYPED_FIELDS.values())))


_FLOAT = ir.DataType.FLOAT.value


def _is_plain(proto: Any) -> bool:
    """Is it what most tensors are: float numbers in raw_data, as many as it claims?"""
    dims = tuple(proto.dims)
    return (
        proto.data_type == _FLOAT
        and len(proto.raw_data) == 4 * math.prod(dims) > 0
        and len(dims) <= MAX_RANK
        and (len(dims) < 2 or min(dims) > 0)
        and not proto.metadata_props
    )


def _checked(found: ir.TensorProtocol) -> ir.TensorProtocol:
    """A tensor in the proto, its claim held against its bytes. One with metadata_props is taken out of its
    proto, because onnx_ir writes those twice."""
    proto: Any = getattr(found, "raw", None)
    if not hasattr(proto, "raw_data"):
        _check_shape(found, tuple(found.shape))
        if isinstance(found, ir.StringTensor) and len(proto) != math.prod(found.shape.numpy()):
            raise Mismatch(
                f"tensor '{found.name}' holds {len(proto):,} strings",
                expected=f"as many as its shape {found.shape} says",
            )
        return found
    dims = tuple(
        proto.dims
    )  # the IR's shape makes an object of every dim: too slow for ten thousands of small tensors
    _check_shape(found, dims)
    if proto.HasField("raw_data"):
        have, need, unit = len(proto.raw_data), tensor.nbytes(found.dtype, dims), "bytes"
    else:
        field = _TYPED_FIELDS.get(found.dtype, "int32_data")
        if odd := next(
            (other for other in _ALL_TYPED_FIELDS if other != field and getattr(proto, other)), None
        ):
            raise Malformed(
                f"tensor '{found.name}' of type {found.dtype.name} has its values in {odd}", expected=field
            )
        have, need, unit = len(getattr(proto, field)), _typed_size(found.dtype, math.prod(dims)), "values"
    if have != need:
        raise Mismatch(
            f"tensor '{found.name}' holds {have:,} {unit}",
            expected=f"{need:,} {unit} for {found.dtype.name}{list(dims)}",
        )
    if not proto.metadata_props:
        return found
    return ir.Tensor(
        found.numpy(),
        dtype=found.dtype,
        name=found.name,
        doc_string=found.doc_string,
        metadata_props=dict(found.metadata_props),
    )


def _typed_size(dtype: ir.DataType, size: int) -> int:
    """How many numbers a typed field holds: complex numbers take two, types below one byte share one."""
    if dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128):
        return 2 * size
    return -(-size * dtype.bitwidth // 8) if dtype.bitwidth < 8 else size


def _refuse_external(found: ir.ExternalTensor) -> tensor.Window:
    raise Unreadable(
        f"tensor '{found.name}' lies in the file '{found.location}', and a model in memory has no folder",
        way_out="load the model from its path, or with its external data",
    )


def _external(found: ir.ExternalTensor, folder: Path, maps: dict[Path, tensor.FileMap]) -> tensor.Window:
    """A window on external data, which must be a regular file inside the model's folder."""
    location = os.fspath(found.location)
    if not file_names.inside(location):
        raise Malformed(
            f"the external data of tensor '{found.name}' is at '{location}'",
            expected="a path inside the model's folder",
        )
    path = folder / file_names.stored(location.replace("\\", "/"))
    if not _inside(path, folder):
        raise Malformed(
            f"the external data of tensor '{found.name}' at '{location}' is a link, or leads out of "
            "the model's folder",
            expected="a regular file inside it",
        )
    if path not in maps:
        try:
            maps[path] = tensor.FileMap(path)
        except InputError as error:
            raise Unreadable(
                f"the external data of tensor '{found.name}' at '{location}': {error.found}",
                way_out="put the data file beside the model",
            ) from error
    return _window(found, maps[path].view, found.offset or 0)


def _inside(path: Path, folder: Path) -> bool:
    """Does the path stay in the folder, through no symbolic link on the way? One that no system takes does
    not."""
    try:
        linked = any(
            step.is_symlink() for step in (path, *path.parents) if step != folder and folder in step.parents
        )
        return not linked and path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a name too long, links in a circle
        return False
