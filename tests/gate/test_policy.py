"""The policy file: what its keys come to, which models it is for, and that a wrong one is refused at its
line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnfold.errors import BnfoldError, Malformed, Unreadable
from bnfold.gate import policy
from bnfold.gate.policy import Policies, Policy


def of(folder: Path, text: str, name: str = "bnfold.toml") -> Policies:
    path = folder / name
    path.write_text(text)
    return policy.read(path, {})


def test_every_key(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        """
        allow-kept = ["kept.training-mode", "kept.*"]
        max-size = "95 MiB"
        against = ["net.cfg", "net.weights"]
        providers = ["cpu", "cuda"]
        noise-limit = 3
        require-certificate = true
    """,
    ).of(tmp_path / "net.onnx")
    against = tmp_path / "net.cfg", tmp_path / "net.weights"
    assert found == Policy(
        ("kept.training-mode", "kept.*"), 95 * 2**20, *against, ("cpu", "cuda"), 3.0, require_certificate=True
    )
    assert (found.comparing.providers, found.comparing.noise_limit) == (("cpu", "cuda"), 3.0)


def test_the_policy_of_the_docs_has_every_key(tmp_path: Path) -> None:
    text, _ = re.findall(  # the second is for `bnfold fold`
        r"```toml\n(.*?)```", (Path(__file__).resolve().parents[2] / "docs" / "ci.md").read_text(), re.S
    )
    found = of(tmp_path, text)
    assert found.of(tmp_path / "models" / "yolo.onnx").max_size == 300 * 10**6
    assert all(re.search(rf"^{key} = ", text, re.M) for key in policy.KEYS)


def test_an_empty_policy_is_the_default(tmp_path: Path) -> None:
    assert of(tmp_path, "").of(tmp_path / "a.onnx") == Policy() == Policies().of(Path("a.onnx"))


@pytest.mark.parametrize(
    ("size", "count"),
    [("100", 100), ('"100"', 100), ('"3 kB"', 3000), ('"3KiB"', 3072), ('"2 GB"', 2 * 10**9)],
)
def test_sizes(tmp_path: Path, size: str, count: int) -> None:
    assert of(tmp_path, f"max-size = {size}").of(Path("a.onnx")).max_size == count


@pytest.mark.parametrize(
    ("pattern", "model", "hit"),
    [
        ("a.onnx", "a.onnx", True),
        ("a.onnx", "sub/a.onnx", True),
        ("sub/*.onnx", "sub/a.onnx", True),
        ("sub/*.onnx", "a.onnx", False),
        ("*", "sub/a.onnx", True),
        ("sub/*.onnx", "../elsewhere/a.onnx", False),
    ],
)
def test_a_table_is_for_the_models_that_its_path_matches(
    tmp_path: Path, pattern: str, model: str, hit: bool
) -> None:
    found = of(tmp_path, f'max-size = 1\n[[models]]\npath = "{pattern}"\nmax-size = 2\n')
    assert found.of(tmp_path / model).max_size == (2 if hit else 1)


def test_later_tables_win_and_the_command_line_wins_over_all(tmp_path: Path) -> None:
    path = tmp_path / "bnfold.toml"
    path.write_text(
        'max-size = 1\n[[models]]\npath = "*"\nmax-size = 2\nnoise-limit = 2\n[[models]]\npath = '
        '"a*"\nmax-size = 3\n'
    )
    assert policy.read(path, {}).of(tmp_path / "a.onnx") == Policy(max_size=3, noise_limit=2.0)
    assert policy.read(path, {"max_size": 4}).of(tmp_path / "a.onnx").max_size == 4


def test_where_it_is_found(tmp_path: Path) -> None:
    assert policy.find(tmp_path) is None
    (tmp_path / "pyproject.toml").write_text("[tool.other]\n")
    assert policy.find(tmp_path) is None
    (tmp_path / "pyproject.toml").write_text("[tool.bnfold]\nmax-size = 5\n")
    assert policy.find(tmp_path) == tmp_path / "pyproject.toml"
    assert policy.read(tmp_path / "pyproject.toml", {}).of(Path("a.onnx")).max_size == 5
    (tmp_path / "bnfold.toml").write_text("")
    assert policy.find(tmp_path) == tmp_path / "bnfold.toml"


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("noise-limit = 4\nmax-sise = 1", ":2", "unknown key 'max-sise'.*did you mean 'max-size'"),
        ("noise_limit = 4", ":1", "did you mean 'noise-limit'"),
        (
            "\n\nnoise-limit = -1",
            ":3",
            "'noise-limit' cannot be -1; expected a finite number, greater than 0",
        ),
        ("noise-limit = nan", ":1", "a finite number"),
        ("noise-limit = true", ":1", "a finite number"),
        ("max-size = -5", ":1", "'max-size' cannot be -5; expected a whole number of bytes, at least 0"),
        ('max-size = "5 parsec"', ":1", "bytes"),
        ("max-size = true", ":1", "bytes"),
        ('allow-kept = ["kept.training-mod"]', ":1", "did you mean 'kept.training-mode'"),
        ('allow-kept = "kept.x"', ":1", "a list of codes"),
        ('allow-kept = ["training-mode"]', ":1", "did you mean 'kept.training-mode'"),
        ("against = []", ":1", "a model"),
        ("providers = [1]", ":1", "names of execution providers"),
        ('require-certificate = "yes"', ":1", "true or false"),
        ("models = 3", ":1", "no list of tables"),
        ("[[models]]\nmax-size = 3", "", "has the path None"),
        ('[[models]]\npath = "a"\nmax-sise = 3', ":3", "unknown key"),
        ("a = ", "", "is not TOML"),
        ("a = " + "[" * 10_000, "", "is not TOML"),
        ("# " + "x" * (1 << 20), "", "has more than"),
    ],
)
def test_a_wrong_policy_is_refused_at_its_line(tmp_path: Path, text: str, line: str, sentence: str) -> None:
    with pytest.raises(Malformed, match=sentence) as raised:
        of(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'bnfold.toml'}{line}: ")
    assert raised.value.exit_code == 3


@pytest.mark.parametrize("text", ["", "tool = 3", "[tool]\nbnfold = 3"])
def test_a_pyproject_without_our_table(tmp_path: Path, text: str) -> None:
    with pytest.raises(Malformed, match="has no table"):
        of(tmp_path, text, "pyproject.toml")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    for path, error in (
        (tmp_path / "absent.toml", Unreadable),
        (tmp_path, Unreadable),
        (tmp_path / "latin.toml", Malformed),
    ):
        with pytest.raises(error):
            policy.read(path, {})


_VALUES = st.recursive(
    st.booleans() | st.integers() | st.text("abk.*-\\u0000 MB9", max_size=8).map(lambda t: '"' + t + '"'),
    lambda inner: st.lists(inner, max_size=3).map(lambda v: "[" + ", ".join(map(str, v)) + "]"),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.dictionaries(st.sampled_from([*policy.KEYS, "models", "tool", "x"]), _VALUES, max_size=4),
    noise=st.binary(max_size=4),
)
def test_no_policy_ends_in_anything_but_a_policy_or_a_sentence(
    tmp_path: Path, rows: dict[str, object], noise: bytes
) -> None:
    path = tmp_path / "bnfold.toml"
    path.write_bytes(
        "\n".join(f"{k} = {str(v).lower() if isinstance(v, bool) else v}" for k, v in rows.items()).encode()
        + noise
    )
    try:
        found = policy.read(path, {}).of(tmp_path / "a.onnx")
    except BnfoldError as error:
        assert error.exit_code == 3 and str(error).startswith(str(path))
    else:
        assert isinstance(found, Policy)
