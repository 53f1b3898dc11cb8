"""The audit: every bit of a certified model counts, and a forged certificate is found by deriving the weights
again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnfold.errors import BnfoldError, Unreadable, UsageError
from bnfold.gate import certificate
from bnfold.gate.audit import audit
from bnfold.ir.difference import beyond_rounding
from bnfold.ir.tensor import from_array
from bnfold.pipeline import pipeline
from bnfold.pipeline.job import Job
from bnfold.results.comparison import Check, Comparison

from ..certified import FORMATS, Certified, certify, flip, sample
from ..models import TWO_BLOCKS, saved


@pytest.fixture(scope="module", params=FORMATS)
def certified(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Certified:
    folder = tmp_path_factory.mktemp(request.param)
    return certify(folder, sample(folder, request.param))


def faults(checks: list[Check]) -> list[str]:
    return [c.detail for c in checks if not c]


def forge(certified: Certified, model: Path) -> Path:
    """A certificate with the hash of another model, and a digest to match."""
    found = certificate.read(certified.certificate)
    forged = dataclasses.replace(
        found, output=(dataclasses.replace(certificate.entry(model, model.parent), path=model.name),)
    )
    path = certified.certificate.with_name("forged.cert.json")
    path.write_text(certificate.text(dataclasses.replace(forged, digest=certificate.digest(forged))))
    return path


def test_what_was_certified_passes(certified: Certified) -> None:
    checks = audit(certified.certificate, certified.model)
    assert all(checks) and [c.name for c in checks][-3:] == ["graph", "weights", "obligations"]
    assert "derived again" in checks[-2].detail and "rounding" not in checks[-2].detail
    assert (checks[-1].level, "proved again from the sources" in checks[-1].detail) == ("ok", True)
    assert audit(certified.certificate, certified.model, certified.sources) == checks


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, 1 << 24))
def test_any_flipped_bit_of_the_model_fails(certified: Certified, tmp_path: Path, bit: int) -> None:
    model = Path(shutil.copy(certified.model, tmp_path))
    flip(model, bit)
    assert any(
        "SHA-256 differs" in text for text in faults(audit(certified.certificate, model, certified.sources))
    )


@pytest.mark.parametrize("which", [0, -1])
def test_a_flipped_bit_of_a_source_fails(certified: Certified, tmp_path: Path, which: int) -> None:
    sources = [Path(shutil.copy(f, tmp_path)) for f in certified.sources]
    flip(sources[which], 8 * 1000)
    checks = audit(certified.certificate, certified.model, sources)
    assert faults(checks) == [f"{sources[which]}: changed since it was certified (SHA-256 differs)"]
    assert checks[-1].detail == "not derived again: the sources are not the certified ones"


def test_a_forged_certificate_is_found_by_the_weights(certified: Certified, tmp_path: Path) -> None:
    proto = onnx.load(certified.model)
    tensor = max(proto.graph.initializer, key=lambda t: len(t.raw_data))
    values = np.frombuffer(tensor.raw_data, np.float32).copy()
    values[7] = np.nextafter(
        np.nextafter(values[7], np.float32(9)), np.float32(9)
    )  # two units in the last place
    tensor.raw_data = values.tobytes()
    model = tmp_path / certified.model.name
    model.write_bytes(proto.SerializeToString())
    reader = next(n for n in proto.graph.node if tensor.name in n.input)
    (found,) = faults(audit(forge(certified, model), model, certified.sources))
    assert found.startswith(
        f"{model}: 1 of {values.size:,} values of '{tensor.name}' of node '{reader.name}' "
        f"({certified.sources[0].name}"
    )
    assert found.endswith(") are not what the sources give")


def test_a_forged_graph_is_found(certified: Certified, tmp_path: Path) -> None:
    proto = onnx.load(certified.model)
    node = next(n for n in proto.graph.node if n.op_type in ("Relu", "LeakyRelu", "PRelu", "MaxPool", "Conv"))
    node.name = "another"
    model = tmp_path / certified.model.name
    model.write_bytes(proto.SerializeToString())
    assert (
        "what the sources give differs in node"
        in faults(audit(forge(certified, model), model, certified.sources))[0]
    )


def test_a_changed_weight_is_named(certified: Certified, tmp_path: Path) -> None:
    proto = onnx.load(certified.model)
    tensor = max(proto.graph.initializer, key=lambda t: len(t.raw_data))
    tensor.raw_data = bytes(len(tensor.raw_data))
    model = tmp_path / certified.model.name
    model.write_bytes(proto.SerializeToString())
    assert any(
        f"values of '{tensor.name}'" in text
        for text in faults(audit(certified.certificate, model, certified.sources))
    )


def test_a_model_that_is_gone_cut_or_another(certified: Certified, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="no such file"):
        audit(certified.certificate, tmp_path / "absent.onnx")
    with pytest.raises(Unreadable, match="no such file"):
        audit(certified.certificate, certified.model, [tmp_path / "absent", *certified.sources[1:]])
    (tmp_path / "cut.onnx").write_bytes(certified.model.read_bytes()[:-1])
    assert "bytes" in faults(audit(certified.certificate, tmp_path / "cut.onnx"))[0]
    (tmp_path / "folder.onnx").mkdir()
    assert "not a regular file" in faults(audit(certified.certificate, tmp_path / "folder.onnx"))[0]


def test_without_the_sources_the_hash_alone_counts(certified: Certified, tmp_path: Path) -> None:
    model, path = (Path(shutil.copy(f, tmp_path)) for f in (certified.model, certified.certificate))
    checks = audit(path, model)
    assert all(checks) and checks[-1].level == "note" and "is not there" in checks[-1].detail


def test_a_wrong_number_of_sources(certified: Certified) -> None:
    with pytest.raises(UsageError, match="3 source files"):
        audit(
            certified.certificate,
            certified.model,
            [*certified.sources, *certified.sources, *certified.sources][:3],
        )


def test_a_network_alone_brings_its_weights(certified: Certified) -> None:
    named = audit(certified.certificate, certified.model, certified.sources)
    assert audit(certified.certificate, certified.model, certified.sources[:1]) == named


def test_a_network_without_its_weights_is_too_few(tmp_path: Path) -> None:
    whole = certify(tmp_path, sample(tmp_path, "darknet"))
    alone = shutil.copy(whole.sources[0], tmp_path / "alone.cfg")
    with pytest.raises(UsageError, match="1 source files; expected the network and its weights"):
        audit(whole.certificate, whole.model, [Path(alone)])


def test_a_pair_under_another_name_is_held_with_the_weights_of_that_name(tmp_path: Path) -> None:
    network, weights = sample(tmp_path, "darknet")
    job = Job(source=network, weights=weights, out=tmp_path / "net.cfg")
    path = tmp_path / "net.cert.json"
    path.write_text(certificate.text(certificate.made(job, pipeline.fold_file(job), path)))
    moved = [Path(shutil.copy(tmp_path / f"net{s}", tmp_path / f"moved{s}")) for s in (".cfg", ".weights")]
    assert all(audit(path, moved[0]))
    flip(moved[1], 5000)
    assert any("moved.weights: changed" in fault for fault in faults(audit(path, moved[0])))
    moved[1].unlink()
    assert all(audit(path, moved[0]))  # those of the certificate, beside it


def test_data_files_count_on_both_sides(tmp_path: Path) -> None:
    """An ONNX source with its weights in a file beside it, folded into another such pair."""
    source = tmp_path / "source"
    source.mkdir()
    proto = onnx.load(sample(tmp_path, "onnx")[0])
    onnx.save(proto, source / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    done = certify(tmp_path, (source / "net.onnx",), external_data=True)
    assert all(audit(done.certificate, done.model))
    data = tmp_path / certificate.read(done.certificate).output[1].path
    for file in (data, source / "net.data"):
        flip(file, 12345)
        assert (
            faults(audit(done.certificate, done.model))[0]
            == f"{file}: changed since it was certified (SHA-256 differs)"
        )
        flip(file, 12345)
    assert all(audit(done.certificate, done.model))


_OPTIONS: dict[str, dict[str, list[object]]] = {
    "read": {
        "opset": [-1, 0, 10**9, 1 << 62],
        "heads": ["x", "raw"],
        "dialect": ["x"],
        "batch": [0, -1, 1 << 40],
        "level": [1 << 60],
        "cut_at": [("",), ("nope",)],
        "phase": ["XX", "TRAIN"],
        "random_weights": [-1, 1 << 62],
        "strict": [True],
        "input_shapes": [
            (("", ()),),
            (("", (-1,)),),
            (("", (1 << 40, 1 << 40, 1 << 40, 4)),),
            (("nope", (1,)),),
        ],
    },
    "fold": {
        "keep": [("[",), ("*",)],
        "withdrawn": [(("x", "y"),)],
        "merge_branches": [False],
        "simplify_leftovers": [True],
    },
}


@pytest.mark.parametrize(
    ("part", "name"), [(part, name) for part, table in _OPTIONS.items() for name in table]
)
def test_forged_options_end_in_a_verdict_or_a_sentence(certified: Certified, part: str, name: str) -> None:
    document = json.loads(certified.certificate.read_text())
    for value in _OPTIONS[part][name]:
        document[part][name] = value
        content = {key: inner for key, inner in document.items() if key not in ("made", "digest")}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        document["digest"] = hashlib.sha256(canonical.encode()).hexdigest()
        path = certified.certificate.with_name("forged.cert.json")
        path.write_text(json.dumps(document))
        try:
            assert audit(path, certified.model)[0].level == "ok"
        except BnfoldError as error:
            assert error.exit_code in (2, 3, 4), error


def test_what_verification_took_back_is_taken_back_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first verdict blames a fold, so the fold is withdrawn; the audit folds as the pipeline did in the
    end."""
    from bnfold import verifying

    verdicts = []
    compare = verifying.compare

    def suspicious(*arguments: Any) -> Comparison:
        report = compare(*arguments)
        verdicts.append(report)
        blamed = dataclasses.replace(report.folds[0], passed=False, reason="blamed")
        return (
            report
            if len(verdicts) > 1
            else dataclasses.replace(report, equivalent=False, folds=(blamed, *report.folds[1:]))
        )

    monkeypatch.setattr(verifying, "compare", suspicious)
    done = certify(tmp_path, (saved(tmp_path, TWO_BLOCKS, "source.onnx"),))
    found = certificate.read(done.certificate)
    assert len(verdicts) > 1 and len(found.withdrawn) == 1 and len(found.folded) == 1
    assert all(audit(done.certificate, done.model))


@pytest.mark.parametrize(
    ("kind", "mine", "theirs", "off"),
    [
        (np.float32, [1.0, 0.0, -2.0], [np.nextafter(np.float32(1), np.float32(2)), -0.0, -2.0], 0),
        (np.float32, [1.0, 1e-45, np.nan], [1.0, -1e-45, 1.0], 2),
        (np.float16, [1.0, 65504.0], [1.0009765625, np.inf], 1),
        (np.float64, [1.0, 1e-13], [1.0 + 4e-16, 0.0], 0),
        (np.float64, [1.0, 1e-11], [1.0, 0.0], 1),
        (np.int64, [1, 2], [1, 3], 1),
    ],
)
def test_beyond_rounding(kind: type, mine: list[float], theirs: list[float], off: int) -> None:
    assert beyond_rounding(from_array(np.array(mine, kind)), from_array(np.array(theirs, kind))) == off
