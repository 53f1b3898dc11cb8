"""What values of options are right: one class for each kind of value, whatever door the value comes through.

    kind.check(value)    the value in its normal form; raises Wrong, which says what is right
    kind.parse(text)     the same for a value that was written down: on the command line, in a manifest
    refusal, cannot_be   the one sentence that every door says of a wrong value

Rule 1: a kind changes the form of a value alone, never its meaning: "3" is no number, and 1 is no switch.
        Texts become values in `parse` only, which the doors call that have nothing but text.
Rule 2: what `check` returns passes `check` again, unchanged, so that frozen options can be copied with
        changes.
Rule 3: what depends on a model (names of inputs, of outputs) is checked where the model is known:
        model_names.py.
"""

from __future__ import annotations

import math
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from fnmatch import fnmatchcase
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import UsageError
from ..files.memory import UNITS, size_of
from ..records import dataclass
from .baking import FROM_MODEL, IMAGE_ORDER, Preprocessing
from .kept_reasons import CODES

if TYPE_CHECKING:
    import numpy as np

LARGEST = 2**31 - 1  # of whole numbers: dims, counts
LARGEST_SEED = 2**63 - 1  # what JSON documents of ours hold
_LONGEST = 80  # characters of a value that a message shows


class Wrong(Exception):
    """A value is not of its kind. `expected` says what is right, `way_out` what may be meant."""

    def __init__(self, expected: str, way_out: str = "") -> None:
        super().__init__(expected)
        self.expected, self.way_out = expected, way_out


def refusal(spelled: str, value: object, wrong: Wrong) -> UsageError:
    """The error of a wrong value; `spelled` is the option as its user writes it."""
    return UsageError(cannot_be(spelled, value), expected=wrong.expected, way_out=wrong.way_out)


def cannot_be(spelled: str, value: object) -> str:
    """What every door says of a wrong value, before it says what is right."""
    return f"{spelled} cannot be {shown(value)}"


def shown(value: object) -> str:
    """A value in a message, in one line and not too long, whatever it is."""
    if isinstance(value, Given) or (hasattr(value, "shape") and hasattr(value, "dtype")):
        return _array_in_words(value)
    try:
        text = repr(value)
    except Exception:  # the value is the user's own object, and anything may happen in it
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The name that a slip is closest to, as a question; nothing where none is close."""
    by_case = {one.casefold(): one for one in known}
    from difflib import get_close_matches

    near = get_close_matches(name.casefold(), by_case, 1)
    return f"did you mean '{by_case[near[0]]}'?" if near else ""


class _Unfit(ValueError):
    """Why exactly a value does not fit, where the kind's general words do not say it."""

    def __init__(self, expected: str = "", way_out: str = "") -> None:
        super().__init__(expected)
        self.expected, self.way_out = expected, way_out


class Kind(ABC):
    """What values are right. `repeatable` kinds hold several, of which each may be given on its own.

    A subclass says what is right (`_expected`, and `_written` where text looks different), makes the normal
    form of a value (`_normal`), and a value of a text (`_value`). What is wrong ends in ValueError, TypeError
    or OverflowError there, whoever raises it.
    """

    repeatable: ClassVar[bool] = False

    @property
    def expected(self) -> str:
        """What is right, in words."""
        return self._expected()

    @property
    def written(self) -> str:
        """What is right as text, in words."""
        return self._written()

    def check(self, value: Any) -> Any:
        """The value in its normal form. Raises Wrong."""
        with _wrong(self.expected):
            return self._normal(value)

    def parse(self, text: str) -> Any:
        """The value that a text means; of a repeatable kind a tuple of those that it adds. Raises Wrong."""
        with _wrong(self.written):
            return self._normal(self._value(text))

    @abstractmethod
    def _expected(self) -> str: ...

    def _written(self) -> str:
        return self._expected()

    @abstractmethod
    def _normal(self, value: Any) -> Any: ...

    def _value(self, text: str) -> Any:
        return text


@contextmanager
def _wrong(expected: str) -> Iterator[None]:
    try:
        yield
    except _Unfit as error:
        raise Wrong(error.expected or expected, error.way_out) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise Wrong(expected) from error


# Plain values.


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number in a range, both ends included."""

    low: int
    high: int = LARGEST

    def _expected(self) -> str:
        return f"a whole number from {self.low:,} to {self.high:,}"

    def _normal(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise _Unfit
        number = int(value)
        if not self.low <= number <= self.high:
            raise _Unfit
        return number

    def _value(self, text: str) -> int:
        return int(text)


@dataclass(frozen=True)
class Number(Kind):
    """A finite number, greater than `above`, or from `low` on, up to `high`."""

    above: float = -math.inf
    low: float = -math.inf
    high: float = math.inf

    def _expected(self) -> str:
        bounds = (
            f"greater than {self.above:g}" if self.above > -math.inf else "",
            f"at least {self.low:g}" if self.low > -math.inf else "",
            f"at most {self.high:,.10g}" if self.high < math.inf else "",
        )
        return ", ".join(["a finite number", *filter(None, bounds)])

    def _normal(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise _Unfit
        number = float(value)  # OverflowError for a whole number beyond them all
        if not math.isfinite(number) or not self.low <= number <= self.high or number <= self.above:
            raise _Unfit
        return number

    def _value(self, text: str) -> float:
        return float(text)


@dataclass(frozen=True)
class Switch(Kind):
    """On or off. Nothing else is taken for one of the two: the text "no" is true in Python."""

    _WORDS: ClassVar[dict[str, bool]] = {
        "true": True,
        "yes": True,
        "1": True,
        "false": False,
        "no": False,
        "0": False,
    }

    def _expected(self) -> str:
        return "true or false"

    def _normal(self, value: Any) -> bool:
        if not isinstance(value, bool) and not _is_numpy_bool(value):
            raise _Unfit
        return bool(value)

    def _value(self, text: str) -> bool | None:
        return self._WORDS.get(text.strip().lower())


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few names."""

    names: tuple[str, ...]

    def _expected(self) -> str:
        return f"one of {', '.join(self.names)}"

    def _normal(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.names:
            raise _Unfit(way_out=did_you_mean(value, self.names) if isinstance(value, str) else "")
        return str(value)


@dataclass(frozen=True)
class Name(Kind):
    """A name that only its reader knows to be right; `what` it names, in words."""

    what: str

    def _expected(self) -> str:
        return self.what

    def _normal(self, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise _Unfit
        return str(value)


@dataclass(frozen=True)
class Size(Kind):
    """Bytes."""

    low: int = 1

    def _expected(self) -> str:
        return f"a whole number of bytes, at least {self.low}"

    def _written(self) -> str:
        units = ", ".join(filter(None, UNITS))
        return f"bytes, at least {self.low}, as a number or as in 500MB (units: {units})"

    def _normal(self, value: Any) -> int:
        return Whole(self.low, LARGEST_SEED)._normal(value)

    def _value(self, text: str) -> int | None:
        return size_of(text)


@dataclass(frozen=True)
class File(Kind):
    """The path of one file; not its content."""

    def _expected(self) -> str:
        return "a path, as text or as a pathlib.Path"

    def _normal(self, value: Any) -> Path:
        path = os.fspath(value)
        if not isinstance(path, str) or not path:
            raise _Unfit
        return Path(path)


# Several values.


@dataclass(frozen=True)
class Names(Kind):
    """Names, or patterns of names; one alone may stand for itself. `what` they name, in words."""

    what: str
    repeatable: ClassVar[bool] = True

    def _expected(self) -> str:
        return self.what

    def _normal(self, value: Any) -> tuple[str, ...]:
        if isinstance(value, (set, frozenset)):
            value = sorted(value)
        names = (value,) if isinstance(value, str) else _several(value)
        if not all(isinstance(name, str) and name.strip() and "\0" not in name for name in names):
            raise _Unfit
        return tuple(map(str, names))


@dataclass(frozen=True)
class Providers(Names):
    """Execution providers; onnxruntime knows which there are."""

    what: str = "names of execution providers, at least one, as in ['cpu', 'cuda']"
    repeatable: ClassVar[bool] = False

    def _written(self) -> str:
        return "names of execution providers, as in cpu,cuda"

    def _normal(self, value: Any) -> tuple[str, ...]:
        names = super()._normal(value)
        if not names:
            raise _Unfit
        return names

    def _value(self, text: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())


@dataclass(frozen=True)
class Codes(Names):
    """Patterns of codes of kept_reasons.py; one that matches none would let everything or nothing pass."""

    what: str = "codes of reasons to keep a batch norm, as in kept.training-mode or kept.*"

    def _normal(self, value: Any) -> tuple[str, ...]:
        patterns = super()._normal(value)
        for pattern in patterns:
            if not any(fnmatchcase(code, pattern) for code in CODES):
                raise _Unfit(way_out=did_you_mean(pattern, CODES))
        return patterns


@dataclass(frozen=True)
class Channels(Kind):
    """A finite number for each channel of an image, or one for all; `divides` leaves zero out."""

    divides: bool = False

    def _expected(self) -> str:
        return f"finite numbers{' other than 0' if self.divides else ''}, one for each channel or one for all"

    def _written(self) -> str:
        return f"{self._expected()}, as in 58.4,57.1,57.4"

    def _normal(self, value: Any) -> tuple[float, ...]:
        given = (value,) if isinstance(value, Real) else _several(value)
        numbers = tuple(map(Number()._normal, given))
        if self.divides and 0 in numbers:
            raise _Unfit
        return numbers

    def _value(self, text: str) -> tuple[float, ...]:
        return tuple(float(part) for part in text.split(","))


@dataclass(frozen=True)
class Pairs(Kind):
    """(text, text) pairs that only bnfold itself makes."""

    def _expected(self) -> str:
        return "pairs of texts"

    def _normal(self, value: Any) -> tuple[tuple[str, str], ...]:
        if not _is_table(value) or not all(isinstance(text, str) for pair in value for text in pair):
            raise _Unfit
        return tuple((one, other) for one, other in value)


# Values by a name of the model: (name, value) pairs, the name "" for the only one, or for all.


class Table(Kind):
    """A value for each of several names; what stands alone has the name ""."""

    repeatable: ClassVar[bool] = True
    several_without_name: ClassVar[bool] = False

    def _normal(self, value: Any) -> tuple[tuple[str, Any], ...]:
        pairs = self._pairs(value)
        if not all(isinstance(name, str) for name, _ in pairs):
            raise _Unfit
        counts = Counter(name for name, _ in pairs if name or not self.several_without_name)
        for name, count in counts.items():
            if count > 1:
                raise _Unfit(f"one value for '{name}'" if name else "one value without a name")
        return tuple((str(name), self._item(one)) for name, one in pairs)

    def _pairs(self, value: Any) -> list[tuple[Any, Any]]:
        if isinstance(value, Mapping):
            return list(value.items())
        return list(value) if _is_table(value) else [("", value)]

    @abstractmethod
    def _item(self, value: Any) -> Any: ...


@dataclass(frozen=True)
class Shapes(Table):
    """Dims of inputs."""

    def _expected(self) -> str:
        sizes = f"whole numbers from 1 to {LARGEST:,}"
        return f"{sizes}, as in (1, 3, 224, 224) for the only input, or a dict of them by input name"

    def _written(self) -> str:
        return f"name:1,3,224,224 or 1x3x224x224, whole numbers from 1 to {LARGEST:,}"

    def _item(self, value: Any) -> tuple[int, ...]:
        return tuple(map(Whole(1)._normal, _several(value)))

    def _value(self, text: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
        name, _, dims = text.rpartition(":")
        if not re.fullmatch(r"\d+([,x]\d+)*", dims):
            raise _Unfit
        return ((name, tuple(int(d) for d in re.split("[,x]", dims))),)


@dataclass(frozen=True)
class Choices(Table):
    """One of a few names, for each of several inputs."""

    names: tuple[str, ...]

    def _expected(self) -> str:
        return f"one of {', '.join(self.names)}, or a dict of them by input name"

    def _written(self) -> str:
        return f"one of {', '.join(self.names)}, as in {self.names[0]} or name:{self.names[0]}"

    def _item(self, value: Any) -> str:
        return Choice(self.names)._normal(value)

    def _value(self, text: str) -> tuple[tuple[str, str], ...]:
        name, _, choice = text.rpartition(":")
        return ((name, choice),)


@dataclass(frozen=True)
class BakeInputs(Table):
    """Preprocessing by input name; what stands alone is for the only input."""

    _FORM: ClassVar[str] = "mean=R,G,B,std=R,G,B,scale=S,order=bgr,mean_file=PATH with any of these"

    def _expected(self) -> str:
        fields = ", ".join(_BAKED)
        return f"'{FROM_MODEL}', a dict with any of {fields}, or a dict of these by input name"

    def _written(self) -> str:
        return f"{self._FORM}, or {FROM_MODEL}; for one of several inputs name: in front"

    def _pairs(self, value: Any) -> list[tuple[Any, Any]]:
        if isinstance(value, Mapping) and not any(map(_is_preprocessing, value.values())):
            return [("", value)] if value else []
        return super()._pairs(value)

    def _item(self, value: Any) -> Preprocessing:
        if isinstance(value, Preprocessing):
            value = {
                name: getattr(value, name)
                for name in _BAKED
                if getattr(value, name) not in (None, (), "", False)
            }
        if value == FROM_MODEL:
            value = {"from_model": True}
        if not isinstance(value, Mapping) or not value:
            raise _Unfit
        for name in value:
            if name not in _BAKED:
                way_out = did_you_mean(name, _BAKED) if isinstance(name, str) else ""
                raise _Unfit(f"any of {', '.join(_BAKED)}", way_out)
        return Preprocessing(**{name: _baked(name, one) for name, one in value.items()})

    def _value(self, text: str) -> tuple[tuple[str, dict[str, Any]], ...]:
        """`name:key=value,value,key=value`: a name may hold colons, a path may, too."""
        found = re.fullmatch(rf"(?:(.*?):)?((?:{FROM_MODEL}(?:,|$)|[\w-]+=).*)", text, re.S)
        if found is None:
            raise _Unfit
        fields: dict[str, list[str]] = {}
        last = ""
        for part in found[2].split(","):
            key, sign, first = part.partition("=")
            key = key.strip().replace("-", "_")
            if sign and (not last or last != "mean_file" or key in _BAKED):
                if key in fields:
                    raise _Unfit(f"'{key}' once")
                last, fields[key] = key, [first]
            elif part == FROM_MODEL and not fields:
                fields["from_model"] = [part]
            elif last:
                fields[last].append(part)
            else:
                raise _Unfit
        return ((found[1] or "", {key: _baked_of_text(key, parts) for key, parts in fields.items()}),)


def _is_preprocessing(value: Any) -> bool:
    return isinstance(value, (Mapping, Preprocessing)) or value == FROM_MODEL


@dataclass(frozen=True)
class _Order(Kind):
    """The channels of an image in the order that a network reads."""

    def _expected(self) -> str:
        return f"the letters of {IMAGE_ORDER} in the order that the network reads, as in bgr"

    def _normal(self, value: Any) -> str:
        if not isinstance(value, str) or sorted(value.lower()) != sorted(IMAGE_ORDER):
            raise _Unfit
        return value.lower()


@dataclass(frozen=True)
class _Single(Number):
    """A number that 32 bits hold."""

    def _normal(self, value: Any) -> float:
        number = super()._normal(value)
        if abs(number) > _LARGEST_FLOAT:
            raise _Unfit
        return number


@dataclass(frozen=True)
class _Factor(_Single):
    """What a value of 32 bits is multiplied by."""

    def _expected(self) -> str:
        return "a finite number other than 0"

    def _normal(self, value: Any) -> float:
        number = super()._normal(value)
        if not number:
            raise _Unfit
        return number


@dataclass(frozen=True)
class _Values(Kind):
    """A number of 32 bits for each channel, or one for all."""

    each: Number

    def _expected(self) -> str:
        return f"{self.each.expected}, for each channel or one for all"

    def _normal(self, value: Any) -> tuple[float, ...]:
        given = (value,) if isinstance(value, Real) else _several(value)
        if not given:
            raise _Unfit
        return tuple(map(self.each._normal, given))


_LARGEST_FLOAT = 3.4e38  # of 32 bits
_BAKED: dict[str, Kind] = {
    "from_model": Switch(),
    "mean": _Values(_Single()),
    "std": _Values(_Single(above=0)),
    "scale": _Factor(),
    "order": _Order(),
    "mean_file": File(),
}


def _baked(name: str, value: Any) -> Any:
    """A part of a preprocessing in its normal form."""
    with _wrong(f"{name} as {_BAKED[name].expected}"):
        made = _BAKED[name]._normal(value)
    return os.fspath(made) if name == "mean_file" else made


def _baked_of_text(name: str, parts: list[str]) -> Any:
    """The value of a part that was written down; what is no number is left for `_baked` to refuse."""
    if name == "from_model":
        return parts == [FROM_MODEL]
    if name not in _BAKED or name in ("order", "mean_file"):
        return ",".join(parts)
    with _wrong(f"{name} as {_BAKED[name].expected}"):
        numbers = [float(part) for part in parts]
    return numbers[0] if name == "scale" and len(numbers) == 1 else numbers


@dataclass(frozen=True)
class Tolerances(Table):
    """Numbers by output; what stands alone is for all outputs."""

    _NUMBER: ClassVar[Number] = Number(low=0)

    def _expected(self) -> str:
        return f"{self._NUMBER.expected}, or a dict of them by output name"

    def _written(self) -> str:
        return f"{self._NUMBER.expected}, as in 1e-4 or output:1e-4"

    def _item(self, value: Any) -> float:
        return self._NUMBER._normal(value)

    def _value(self, text: str) -> tuple[tuple[str, float], ...]:
        name, _, number = text.rpartition(":")
        return ((name, float(number)),)


@dataclass(frozen=True)
class Renamings(Table):
    """Names in one model, each with its name in another."""

    several_without_name: ClassVar[bool] = True

    def _expected(self) -> str:
        return "a dict of names: those in the reference, with those in the candidate"

    def _written(self) -> str:
        return "A=B, the name in the reference and that in the candidate"

    def _normal(self, value: Any) -> tuple[tuple[str, Any], ...]:
        pairs = super()._normal(value)
        if not all(name for name, _ in pairs):
            raise _Unfit
        return pairs

    def _item(self, value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise _Unfit
        return value

    def _value(self, text: str) -> tuple[tuple[str, str], ...]:
        one, sign, other = text.partition("=")
        if not sign:
            raise _Unfit
        return ((one, other),)


@dataclass(frozen=True, eq=False)
class Given:
    """An array that the user gave in memory: a copy, so that nothing that happens to theirs changes it."""

    array: np.ndarray = field(repr=False)

    def __str__(self) -> str:
        return _array_in_words(self.array)

    __repr__ = __str__


@dataclass(frozen=True)
class Inputs(Table):
    """Files, or arrays in memory, by input name; what stands alone is for the only input, or a .npz for all.

    An array is anything with `__array__` or `__dlpack__`: of numpy, of a framework.
    """

    several_without_name: ClassVar[bool] = True

    def _expected(self) -> str:
        return "a file or an array for the only input, or a dict of them by input name"

    def _written(self) -> str:
        return "name:file.npy, or a .npz with all inputs"

    def _item(self, value: Any) -> str | Given:
        if isinstance(value, Given):
            return value
        if isinstance(value, (str, os.PathLike)):
            File()._normal(value)
            return os.fspath(value)
        if not hasattr(value, "__array__") and not hasattr(value, "__dlpack__"):
            raise _Unfit
        return Given(_copied(value))

    def _value(self, text: str) -> tuple[tuple[str, str], ...]:
        """`name:file`; a path that exists is never split."""
        name, colon, rest = text.partition(":")
        return ((name, rest),) if colon and not Path(text).exists() else (("", text),)


@dataclass(frozen=True)
class Data(Inputs):
    """Any number of files, folders or arrays by input name, each name as often as there is data for it."""

    def _expected(self) -> str:
        return "a file, a folder or an array for the only input, a list of them, or a dict by input name"

    def _written(self) -> str:
        return "data.npy or name:data.npy, a .npz with all inputs, or a folder of images"

    def _normal(self, value: Any) -> tuple[tuple[str, Any], ...]:
        pairs = self._pairs(value)
        if not all(isinstance(name, str) for name, _ in pairs):
            raise _Unfit
        return tuple((name, self._item(one)) for name, one in pairs)

    def _pairs(self, value: Any) -> list[tuple[Any, Any]]:
        return [
            (name, one)
            for name, given in super()._pairs(value)
            for one in (given if isinstance(given, (list, tuple)) else (given,))
        ]


# What values are, whatever library they come from. numpy is imported by those who use it alone.


def _several(value: Any) -> tuple[Any, ...]:
    """The items of a list, a tuple, an array of one axis."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        return tuple(value)
    if hasattr(value, "__array__") and getattr(value, "ndim", 0) == 1:
        return tuple(value)
    raise _Unfit


def _is_table(value: Any) -> bool:
    """Pairs that begin with a name: the normal form of a table."""
    return isinstance(value, (tuple, list)) and all(
        isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], str) for pair in value
    )


def _is_numpy_bool(value: Any) -> bool:
    return type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")


def _copied(value: Any) -> np.ndarray:
    """As numpy's array, of memory of its own."""
    import numpy as np

    ways: list[Callable[[Any], Any]] = [np.asarray] if hasattr(value, "__array__") else []
    ways += [np.from_dlpack] if hasattr(value, "__dlpack__") else []
    says = ""
    for way in ways:
        try:
            array = np.array(way(value))
        except Exception as error:  # a framework's own: the values are on a device, or in need of a gradient
            says = says or str(error)
            continue
        if array.dtype.hasobject:
            raise _Unfit("an array of numbers")
        return array
    raise _Unfit(f"an array that numpy can read (it says: {says})", "copy it to the CPU as a numpy array")


def _array_in_words(value: Any) -> str:
    array = getattr(value, "array", value)
    return f"an array of {array.dtype}, shape {tuple(array.shape)}"
