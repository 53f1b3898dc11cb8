"""The public names are exactly those that README documents, each exists and explains itself, and only ours
leave as errors."""

import inspect
import re
from pathlib import Path

import pytest

import bnfold
from bnfold import errors

README = Path(__file__).resolve().parents[1] / "README.md"


def documented() -> list[str]:
    """The names in the first column of the tables of README's section on the Python API."""
    section = re.search(r"^## Python API\n(.*?)^## ", README.read_text(), re.M | re.S).group(1)
    first_columns = re.findall(r"^\| *(`[^|]*`) *\|", section, re.M)
    return [name for column in first_columns for name in re.findall(r"`(\w+)`", column)]


def test_the_documentation_and_all_agree():
    assert sorted(documented()) == sorted(bnfold.__all__)


def test_dir_shows_them():
    assert set(bnfold.__all__) <= set(dir(bnfold))


@pytest.mark.parametrize("name", documented())
def test_each_exists_and_explains_itself(name):
    thing = getattr(bnfold, name)
    assert inspect.getdoc(thing)
    assert thing.__module__.split(".")[0] == "bnfold"


def test_every_error_is_public():
    ours = {
        name
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.BnfoldError)
    }
    assert ours <= set(bnfold.__all__)


def test_what_is_not_public_is_not_there():
    with pytest.raises(AttributeError, match="unfold"):
        bnfold.unfold  # noqa: B018
