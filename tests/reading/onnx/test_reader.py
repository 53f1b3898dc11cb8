"""ONNX in: every source, nothing lost, weights left where they are, nothing hostile let through."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from bnfold.errors import BnfoldError, Malformed, Mismatch, Unreadable, Unsupported, UsageError
from bnfold.files import protobuf
from bnfold.ir import tensor
from bnfold.ir.provenance import SOURCE_KEY
from bnfold.reading.onnx.reader import read

TEXT = """<ir_version: 9, opset_import: ["" : 17, "com.example" : 1], producer_name: "maker", producer_version: "1.2", model_version: 7,
 doc_string: "about", metadata_props: ["k" : "v"]>
net (float[N, 3] x) => (float[N, 400] y) { h = MatMul (x, w)
  y = com.example.Mystery <strength = 0.5> (h) }"""


def model(rows: int = 3) -> onnx.ModelProto:
    proto = parser.parse_model(TEXT)
    values = np.arange(rows * 400, dtype=np.float32).reshape(rows, 400)
    proto.graph.initializer.append(numpy_helper.from_array(values, "w"))
    proto.graph.doc_string = "graph"
    proto.graph.node[0].doc_string = "node"
    proto.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["N", 400]))
    return proto


def weight(model_: ir.Model) -> ir.TensorProtocol:
    found = model_.graph.initializers["w"].const_value
    assert found is not None
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(model(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def external(folder: Path, **save: object) -> Path:
    onnx.save(
        model(),
        folder / "net.onnx",
        save_as_external_data=True,
        location="net.data",
        size_threshold=0,
        **save,
    )
    return folder / "net.onnx"


def test_weights_of_a_file_are_windows(path: Path) -> None:
    found = weight(read(path).model)
    assert isinstance(found, tensor.Window)
    assert np.array_equal(found.numpy(), np.arange(1200, dtype=np.float32).reshape(3, 400))


def test_every_source_gives_the_same_model(path: Path) -> None:
    proto = onnx.load(path)
    sources = [
        path,
        str(path),
        path.read_bytes(),
        proto,
        ir.from_proto(proto),
        SimpleNamespace(model_proto=proto),
        SimpleNamespace(model=ir.from_proto(proto)),
    ]
    wanted = ir.to_proto(read(path).model).SerializeToString(deterministic=True)
    for source in sources:
        assert ir.to_proto(read(source).model).SerializeToString(deterministic=True) == wanted


def test_nothing_is_lost(path: Path) -> None:
    found = read(path).model
    assert (found.producer_name, found.producer_version, found.model_version, found.doc_string) == (
        "maker",
        "1.2",
        7,
        "about",
    )
    assert dict(found.metadata_props) == {"k": "v"}
    assert (found.graph.name, found.graph.doc_string, found.ir_version) == ("net", "graph", 9)
    assert dict(found.opset_imports) == {"": 17, "com.example": 1}
    first, second = found.graph
    assert (first.doc_string, second.domain, second.attributes["strength"].value) == (
        "node",
        "com.example",
        0.5,
    )
    assert first.outputs[0].shape is not None


def test_nodes_know_where_they_came_from(path: Path) -> None:
    assert [n.meta[SOURCE_KEY] for n in read(path).model.graph] == [
        "net.onnx#0 (MatMul)",
        "net.onnx#1 (Mystery)",
    ]


@pytest.mark.parametrize("field", ["float_data", "double_data", "raw_data"])
def test_contiguous_fields_are_windows_too(tmp_path: Path, field: str) -> None:
    proto = model()
    values = numpy_helper.to_array(proto.graph.initializer[0])
    del proto.graph.initializer[:]
    stored = TensorProto(
        name="w",
        dims=values.shape,
        data_type=TensorProto.DOUBLE if field == "double_data" else TensorProto.FLOAT,
    )
    if field == "raw_data":
        stored.raw_data = values.tobytes()
    else:
        getattr(stored, field).extend(values.reshape(-1).tolist())
    proto.graph.initializer.append(stored)
    onnx.save(proto, tmp_path / "net.onnx")
    found = weight(read(tmp_path / "net.onnx").model)
    assert isinstance(found, tensor.Window)
    assert np.array_equal(found.numpy(), values)


@pytest.mark.parametrize(
    "dtype", ["FLOAT16", "BFLOAT16", "INT8", "INT4", "UINT4", "BOOL", "INT64", "FLOAT8E4M3FN"]
)
def test_every_type_is_read_as_onnx_reads_it(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 2, 4000).astype(np.float32)
    stored = helper.make_tensor("w", getattr(TensorProto, dtype), [4000], values)
    proto = model()
    proto.graph.initializer[0].CopyFrom(stored)
    onnx.save(proto, tmp_path / "net.onnx")
    found = weight(read(tmp_path / "net.onnx").model).numpy()
    assert np.array_equal(found.astype(np.float32), numpy_helper.to_array(stored).astype(np.float32))


def test_large_constants_in_nodes_bodies_and_functions_are_windows(tmp_path: Path) -> None:
    big = numpy_helper.from_array(np.ones(1000, np.float32), "big")
    constant = helper.make_node("Constant", [], ["c"], value=big)
    body = helper.make_graph(
        [constant, helper.make_node("Identity", ["c"], ["z"])],
        "b",
        [],
        [helper.make_tensor_value_info("z", 1, [1000])],
    )
    function = helper.make_function("f", "Ones", [], ["c"], [constant], [helper.make_opsetid("", 17)])
    graph = helper.make_graph(
        [
            constant,
            helper.make_node("Constant", [], ["t"], value_int=1),
            helper.make_node("Cast", ["t"], ["b"], to=TensorProto.BOOL),
            helper.make_node("If", ["b"], ["y"], then_branch=body, else_branch=body),
            helper.make_node("Ones", [], ["o"], domain="f"),
        ],
        "g",
        [],
        [helper.make_tensor_value_info(n, 1, [1000]) for n in ("y", "o", "c")],
    )
    onnx.save(
        helper.make_model(
            graph,
            functions=[function],
            opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("f", 1)],
        ),
        tmp_path / "m.onnx",
    )
    found = read(tmp_path / "m.onnx").model
    nodes = [
        *ir.traversal.RecursiveGraphIterator(found.graph),
        *(n for f in found.functions.values() for n in f),
    ]
    constants = [
        n.attributes["value"].value for n in nodes if n.op_type == "Constant" and "value" in n.attributes
    ]
    assert len(constants) == 4
    assert all(isinstance(c, tensor.Window) for c in constants)


def test_external_data_is_windows_on_one_map(tmp_path: Path) -> None:
    loaded = read(external(tmp_path))
    assert np.array_equal(weight(loaded.model).numpy(), numpy_helper.to_array(model().graph.initializer[0]))
    assert [f.name for f in loaded.files] == ["net.onnx", "net.data"]


def test_tensor_metadata_does_not_double(tmp_path: Path) -> None:
    proto = model()
    small = proto.graph.initializer.add()
    small.CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), "small"))
    small.metadata_props.add(key="a", value="b")
    once = ir.to_proto(read(proto).model)
    assert [len(t.metadata_props) for t in ir.to_proto(read(once).model).graph.initializer] == [0, 1]


# The door.


def damaged(folder: Path, **change: object) -> Path:
    """A model with external data whose entry is changed."""
    path = external(folder)
    proto = onnx.load(path, load_external_data=False)
    entries = {e.key: e for e in proto.graph.initializer[0].external_data}
    for key, value in change.items():
        if key not in entries:
            entries[key] = proto.graph.initializer[0].external_data.add(key=key)
        entries[key].value = str(value)
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize(
    "location", ["/etc/hostname", "../outside", "a/../../outside", "C:\\windows\\x", "..\\outside", ""]
)
def test_external_data_stays_inside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "outside").write_bytes(bytes(5000))
    (tmp_path / "in").mkdir()
    with pytest.raises(BnfoldError, match="'w'"):
        read(damaged(tmp_path / "in", location=location))


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(bytes(5000))
    (tmp_path / "in").mkdir()
    path = damaged(tmp_path / "in", location="link")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(Malformed, match="is a link"):
        read(path)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"length": 12}, Mismatch, "12 bytes; expected 4,800 bytes for FLOAT"),
        ({"offset": 100_000}, Malformed, "at offset 100,000"),
        ({"offset": -8}, Malformed, "offset '-8'"),
        ({"location": "missing.data"}, Unreadable, "missing.data"),
    ],
)
def test_external_data_that_does_not_fit(
    tmp_path: Path, change: dict[str, object], error: type[BnfoldError], words: str
) -> None:
    with pytest.raises(error, match="'w'") as caught:
        read(damaged(tmp_path, **change))
    assert words in str(caught.value)


def test_external_data_that_is_too_short(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "net.data").write_bytes(bytes(100))
    with pytest.raises(Malformed, match="needs 4,800 bytes at offset 0, the file has 100"):
        read(path)


def test_a_model_in_memory_has_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"net\.data"):
        read(external(tmp_path).read_bytes())


@pytest.mark.parametrize("cut", [1, 10, 100, 1000, 4000])
def test_a_file_that_is_cut_off_says_so(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(Malformed, match=r"net\.onnx"):
        read(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello world, this is no model", b"\x00" * 100, b"\xff" * 100, b"\x08\x08"]
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises((Malformed, Unreadable), match=r"x\.onnx"):
        read(tmp_path / "x.onnx")


def test_folders_missing_files_and_other_objects(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="is a folder"):
        read(tmp_path)
    with pytest.raises(Unreadable, match="no such file"):
        read(tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="int"):
        read(3)


def test_a_size_that_disagrees_with_its_bytes(tmp_path: Path) -> None:
    for dims in ([3, 401], [2, 400]):
        proto = model()
        del proto.graph.initializer[0].dims[:]
        proto.graph.initializer[0].dims.extend(dims)
        onnx.save(proto, tmp_path / "net.onnx")
        with pytest.raises(Mismatch, match=r"'w' holds 4,800 bytes"):
            read(tmp_path / "net.onnx")
    proto = model()
    proto.graph.initializer.append(
        TensorProto(name="s", dims=[3], data_type=TensorProto.FLOAT, float_data=[1, 2])
    )
    with pytest.raises(Mismatch, match=r"'s' holds 2 values; expected 3 values"):
        read(proto)


def test_what_would_be_lost_is_refused() -> None:
    proto = model()
    proto.graph.sparse_initializer.add().values.name = "sparse"
    with pytest.raises(Unsupported, match=r"sparse initializers \(sparse\)"):
        read(proto)
    proto = model()
    proto.training_info.add()
    with pytest.raises(Unsupported, match="training_info"):
        read(proto)


def test_deep_nesting_is_bounded(tmp_path: Path) -> None:
    inner = b"d" * 2000
    for _ in range(60):  # graph { node { attribute { g { ... } } } }
        inner = protobuf.bytes_field(1, protobuf.bytes_field(5, protobuf.bytes_field(6, inner)))
    (tmp_path / "deep.onnx").write_bytes(protobuf.number_field(1, 8) + protobuf.bytes_field(7, inner))
    with pytest.raises(Malformed):
        read(tmp_path / "deep.onnx")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g.node[0].input.__setitem__(1, "nowhere"), "reads 'nowhere', which nothing produces"),
        (
            lambda g: g.output[0].__setattr__("name", "nowhere"),
            "has the output 'nowhere', which nothing in it produces",
        ),
        (lambda g: g.node[1].output.__setitem__(0, "h"), "produce 'h'"),
        (lambda g: g.initializer.add().CopyFrom(g.initializer[0]), "produce 'w'"),
        (lambda g: g.input.add().CopyFrom(g.input[0]), "two inputs of 'net' are named 'x'"),
        (
            lambda g: g.initializer[0].__setattr__("data_type", 524295),
            "tensor 'w' has the element type 524295; expected a number that ONNX has given to a type",
        ),
        (
            lambda g: g.node.append(onnx.helper.make_node("Cast", ["h"], ["cast"], to=99)),
            "attribute 'to' of .*element type 99",
        ),
    ],
)
def test_a_graph_whose_values_do_not_fit_together_is_malformed(change, words: str) -> None:  # type: ignore[no-untyped-def]
    proto = model()
    change(proto.graph)
    with pytest.raises(Malformed, match=words):
        read(proto)


@pytest.mark.parametrize("domains", [(), ("com.example",)])
def test_standard_operators_of_no_version_are_malformed(domains: tuple[str, ...]) -> None:
    """Without an import IR versions 1 and 2 mean the first version; later, runtimes take the newest that they
    know, or none."""
    proto = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Relu (x) }"""
    )
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(domain, 1) for domain in domains)
    with pytest.raises(Malformed, match="imports no version"):
        read(proto)
    proto.graph.node[0].domain = "com.example"
    read(proto)
    proto.graph.node[0].domain, proto.ir_version = "", 2
    read(proto)


def test_text_that_is_no_utf8_is_malformed(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"Mystery", b"Myst\xe9ry"))
    with pytest.raises(Malformed, match="not UTF-8"):
        read(path)


OVERRIDING = """<ir_version: 10, opset_import: ["" : 20, "loc" : 1]>
    g (float[1] x) => (float[1] y) { y = loc.Relu(x) }
    <domain: "loc", opset_import: ["" : 20]> Relu (x) => (y) { y = Neg(x) }"""


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_a_function_in_the_name_of_a_standard_operator_is_refused(domain: str) -> None:
    """onnxruntime runs the operator, onnx's reference the function."""
    proto = onnx.parser.parse_model(OVERRIDING)
    assert read(proto).model.functions  # in a domain of its own it may have any name
    proto.functions[0].domain = proto.graph.node[0].domain = domain
    with pytest.raises(Unsupported, match="a function of its own for the standard operator 'Relu'"):
        read(proto)
