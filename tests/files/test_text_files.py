"""Text files of people and tools: what is no JSON document is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnfold.errors import Malformed
from bnfold.files.text_files import read_json


@pytest.mark.parametrize(
    "number", ["1" + "0" * 400, "-1" + "0" * 400, "1" + "0" * 5000, "1e999", "NaN", "Infinity"]
)
def test_a_number_that_no_double_holds_is_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(f'{{"low": {number}}}')
    with pytest.raises(Malformed, match=r"result\.json: is not JSON"):
        read_json(path, 1 << 20, "a result")


def test_numbers_stay_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("[1, -9007199254740993, 1e308, 0.5, 1e-999]")
    found = read_json(path, 1 << 20, "a result")
    assert found == [1, -9007199254740993, 1e308, 0.5, 0.0]
    assert [type(number) for number in found] == [int, int, float, float, float]
