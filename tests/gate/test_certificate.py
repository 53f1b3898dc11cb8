"""Certificates: what they hold, that they are the same each time, and that a spoilt one is refused in a
sentence."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnfold.errors import BnfoldError, Malformed, Mismatch, Unreadable, UsageError
from bnfold.gate import certificate
from bnfold.results.certificate import FileEntry

from ..certified import Certified, certify, flip, sample
from ..models import TWO_BLOCKS, saved


@pytest.fixture(scope="module")
def caffe(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    folder = tmp_path_factory.mktemp("certified")
    return certify(folder, sample(folder, "caffe"))


def test_it_holds_the_evidence(caffe: Certified) -> None:
    found = certificate.read(caffe.certificate)
    assert [e.path for e in found.sources] == ["caffe/digits.prototxt", "caffe/digits.caffemodel"]
    assert [e.sha256 for e in found.sources] == [
        hashlib.sha256(f.read_bytes()).hexdigest() for f in caffe.sources
    ]
    assert found.output == (
        FileEntry(
            "net.onnx", hashlib.sha256(caffe.model.read_bytes()).hexdigest(), caffe.model.stat().st_size
        ),
    )
    assert (found.format, found.dialect) == ("caffe", "bvlc")
    norms = [f for f in found.folded if f.fold.op == "BatchNormalization"]
    assert len(norms) == 6 and all(f.epsilon == pytest.approx(1e-5) and f.condition for f in norms)
    assert norms[0].fold.source == "digits.prototxt:15 conv1/bn (BatchNorm)"
    assert norms[0].fold.into == ("conv1",)
    assert found.verification is not None
    assert [(p.provider, p.passed) for p in found.verification.providers] == [("cpu", True)]
    assert (found.verification.seed, found.verification.samples) == (0, 3)


def test_it_holds_what_was_proved(caffe: Certified) -> None:
    evidence = certificate.read(caffe.certificate).verification
    assert evidence is not None and evidence.proof is not None
    assert evidence.proof.complete and evidence.proof.unseen == 0 < evidence.proof.proved
    assert any(o.folds for o in evidence.proof.obligations)


def of_an_earlier_version(new: Path, old: Path, room: str, name: str) -> Path:
    """The same certificate without a field that came later."""
    document = json.loads(new.read_text())
    del document[room][name]
    content = {k: v for k, v in document.items() if k not in ("made", "digest")}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    document["digest"] = hashlib.sha256(canonical.encode()).hexdigest()
    old.write_text(json.dumps(document))
    return old


def test_one_of_a_version_that_proved_nothing_is_read(caffe: Certified, tmp_path: Path) -> None:
    path = of_an_earlier_version(caffe.certificate, tmp_path / "old.cert.json", "verification", "proof")
    found = certificate.read(path)
    assert found.verification is not None and found.verification.proof is None


def test_a_version_without_the_option_folded_patterns(caffe: Certified, tmp_path: Path) -> None:
    assert not certificate.read(caffe.certificate).fold.fold_patterns
    path = of_an_earlier_version(caffe.certificate, tmp_path / "old.cert.json", "fold", "fold_patterns")
    assert certificate.read(path).fold.fold_patterns


def test_kept_nodes_stand_in_it_with_their_codes(tmp_path: Path) -> None:
    text = TWO_BLOCKS.replace("y = BatchNormalization (c2,", "r2 = Relu(c2)\n  y = BatchNormalization (r2,")
    found = certificate.read(certify(tmp_path, (saved(tmp_path, text, "source.onnx"),)).certificate)
    assert [(k.op, k.code) for k in found.kept] == [("BatchNormalization", "kept.shift-does-not-pass")]
    assert len(found.folded) == 1


def test_the_same_fold_gives_the_same_certificate_but_for_its_time(
    caffe: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    first = json.loads(caffe.certificate.read_text())
    second = json.loads(certify(caffe.model.parent, caffe.sources).certificate.read_text())
    assert second["made"] == "1970-01-02T00:00:00Z" != first["made"]
    assert {k for k in first if first[k] != second[k]} == {"made"}


@pytest.mark.parametrize("epoch", ["yesterday", "1e9", "9" * 30])
def test_a_time_that_is_none(epoch: str, caffe: Certified, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        certify(caffe.model.parent, caffe.sources)


def test_data_files_are_in_it(tmp_path: Path) -> None:
    done = certify(tmp_path, sample(tmp_path, "onnx"), external_data=True)
    model, data = certificate.read(done.certificate).output
    assert (model.path, data.sha256) == (
        "net.onnx",
        hashlib.sha256((tmp_path / data.path).read_bytes()).hexdigest(),
    )


def spoilt(path: Path, **changes: Any) -> Path:
    document = json.loads(path.read_text())
    document.update(changes)
    target = path.with_name("spoilt.cert.json")
    target.write_text(json.dumps({k: v for k, v in document.items() if v is not ...}))
    return target


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"schema": "bnfold.certificate/2"}, Malformed, "the schema is 'bnfold.certificate/2'"),
        ({"schema": 7}, Malformed, "names no schema"),
        ({"dialect": "caffe2"}, Mismatch, "changed after it was made"),
        ({"unchanged": True}, Mismatch, "changed after it was made"),
        ({"surprise": 1}, Malformed, "unknown field 'surprise'"),
        ({"output": ...}, Malformed, "no field 'output'"),
        ({"output": {}}, Malformed, "'output' is {}, not a list"),
        ({"weights_apart": 1}, Malformed, "'weights_apart' is 1, not true or false"),
        ({"kept": [{"node": "a"}]}, Malformed, "no field 'op'"),
    ],
)
def test_another_one_is_refused(
    caffe: Certified, changes: dict[str, Any], error: type[BnfoldError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence) as raised:
        certificate.read(spoilt(caffe.certificate, **changes))
    assert raised.value.exit_code == 3


@pytest.mark.parametrize(
    "output", [[], [("../net.onnx", "0" * 64, 1)], [("net.onnx", "0" * 63, 1)], [("net.onnx", "0" * 64, -1)]]
)
def test_a_certificate_with_a_right_digest_may_still_be_nonsense(
    caffe: Certified, output: list[tuple[str, str, int]]
) -> None:
    forged = dataclasses.replace(
        certificate.read(caffe.certificate), output=tuple(FileEntry(*e) for e in output)
    )
    path = caffe.certificate.with_name("forged.cert.json")
    path.write_text(certificate.text(dataclasses.replace(forged, digest=certificate.digest(forged))))
    with pytest.raises(Malformed, match=r"output is not named|has no path"):
        certificate.read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b"1" * 10_000,
    ],
)
def test_what_is_no_certificate(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(Malformed):
        certificate.read(tmp_path / "x.json")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(Unreadable):
            certificate.read(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, 1 << 20))
def test_any_flipped_bit_of_a_certificate_is_found_or_harmless(
    caffe: Certified, tmp_path: Path, bit: int
) -> None:
    """Harmless: white space that became other white space, or a digit of the time."""
    path = tmp_path / "x.cert.json"
    path.write_bytes(caffe.certificate.read_bytes())
    flip(path, bit)
    try:
        found = certificate.read(path)
    except BnfoldError as error:
        assert error.exit_code == 3
    else:
        assert dataclasses.replace(found, made="") == dataclasses.replace(
            certificate.read(caffe.certificate), made=""
        )
