"""The baseline: what was known passes, what got worse fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnfold.errors import Malformed, Unreadable
from bnfold.gate import baseline
from bnfold.reporting import json as documents
from bnfold.results.fold_result import Checked, Violation

SIZE = Violation("check.size", "a.onnx", "too large", amount=100)
NOISE = Violation("check.not-equivalent", "a.onnx", "differs", amount=10.0)


def noise(ratio: float) -> Violation:
    return Violation("check.not-equivalent", "", "", amount=ratio)


def foldable(subject: str, where: str = "a.prototxt:3") -> Violation:
    return Violation("check.foldable", where, "could be folded", subject)


def known(folder: Path, then: list[Violation], now: list[Violation]) -> list[bool]:
    path = folder / "last.json"
    before = documents.document("check", 1, **documents.of_checks([Checked(folder / "a.onnx", tuple(then))]))
    path.write_text(documents.text(before))
    (held,) = baseline.held([Checked(folder / "a.onnx", tuple(now))], baseline.read(path, documents.SCHEMA))
    return [v.known for v in held.violations]


@pytest.mark.parametrize(
    ("then", "now", "marks"),
    [
        ([foldable("bn1")], [foldable("bn1", "a.prototxt:9")], [True]),  # lines move
        ([foldable("bn1")], [foldable("bn1"), foldable("bn2")], [True, False]),
        ([foldable("")], [foldable(""), foldable("")], [True, False]),
        ([SIZE], [Violation("check.size", "", "", amount=100)], [True]),
        ([SIZE], [Violation("check.size", "", "", amount=101)], [False]),
        ([NOISE], [noise(12.0)], [True]),
        ([NOISE], [noise(13.0)], [False]),
        ([NOISE], [noise(float("inf"))], [False]),
        ([noise(float("inf"))], [noise(float("nan"))], [True]),
        ([], [SIZE], [False]),
    ],
)
def test_what_is_known(
    tmp_path: Path, then: list[Violation], now: list[Violation], marks: list[bool]
) -> None:
    assert known(tmp_path, then, now) == marks


def test_a_model_with_known_violations_alone_passes() -> None:
    marked = Violation("check.unreadable", "", "", exit_code=3, known=True)
    assert Checked(Path("a"), (marked,)).code == 0
    assert Checked(Path("a"), (marked, SIZE)).code == 1


def test_a_later_version_may_have_added_fields(tmp_path: Path) -> None:
    document = documents.document("check", 1, **documents.of_checks([Checked(tmp_path / "a.onnx", (SIZE,))]))
    document["models"][0]["violations"][0]["colour"] = "red"
    (tmp_path / "x.json").write_text(documents.text(document))
    (held,) = baseline.held(
        [Checked(tmp_path / "a.onnx", (SIZE,))], baseline.read(tmp_path / "x.json", documents.SCHEMA)
    )
    assert held.code == 0


def test_another_folder_is_another_model(tmp_path: Path) -> None:
    (tmp_path / "last.json").write_text(
        documents.text(
            documents.document(
                "check", 1, **documents.of_checks([Checked(tmp_path / "b" / "a.onnx", (SIZE,))])
            )
        )
    )
    (held,) = baseline.held(
        [Checked(tmp_path / "a.onnx", (SIZE,))], baseline.read(tmp_path / "last.json", documents.SCHEMA)
    )
    assert held.code == 1


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"schema": "bnfold.result/2"}, "the schema is 'bnfold.result/2'"),
        ([], "the schema is None"),
        ({"schema": documents.SCHEMA, "command": "fold"}, "holds no models"),
        ({"schema": documents.SCHEMA, "command": "check", "models": [3]}, "holds no models"),
        (
            {"schema": documents.SCHEMA, "command": "check", "models": [{"path": "a"}]},
            "no field 'violations'",
        ),
        (
            {
                "schema": documents.SCHEMA,
                "command": "check",
                "models": [{"path": "a", "violations": [{"code": 1}]}],
            },
            "no field 'where'",
        ),
    ],
)
def test_what_is_no_baseline(tmp_path: Path, document: object, sentence: str) -> None:
    (tmp_path / "x.json").write_text(json.dumps(document))
    with pytest.raises(Malformed, match=sentence):
        baseline.read(tmp_path / "x.json", documents.SCHEMA)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        baseline.read(tmp_path, documents.SCHEMA)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(Malformed, match="is not JSON"):
        baseline.read(tmp_path / "x.json", documents.SCHEMA)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["path", "violations", "code", "where", "text", "subject", "amount", "known"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


_VIOLATION = st.fixed_dictionaries(
    {
        "code": st.sampled_from(["check.size", "x"]),
        "where": st.text(max_size=2),
        "text": _JSON,
        "amount": _JSON,
    }
)
_MODEL = st.fixed_dictionaries({"path": st.text(max_size=3), "violations": st.lists(_VIOLATION, max_size=3)})


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(models=_JSON | st.lists(_MODEL, max_size=2))
def test_no_document_ends_in_anything_but_a_baseline_or_a_sentence(tmp_path: Path, models: object) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"schema": documents.SCHEMA, "command": "check", "models": models}))
    try:
        found = baseline.read(path, documents.SCHEMA)
    except Malformed as error:
        assert str(error).startswith(str(path))
    else:
        (held,) = baseline.held([Checked(tmp_path / "a.onnx", (SIZE,))], found)
        assert held.code == 1
