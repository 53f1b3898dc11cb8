"""Every field of every options class, with wrong values through every door. The tables go by the kind of
value, so that a new option is covered by itself, and a new kind fails until it has its rows here."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnfold as api
from bnfold.cli import manifest
from bnfold.cli import options as rows
from bnfold.errors import Malformed, UsageError
from bnfold.gate import policy
from bnfold.results import options, value_kinds
from bnfold.results.baking import Preprocessing
from bnfold.results.from_json import Unfit, decoded
from bnfold.results.options import (
    OPTIONS,
    FoldKeywords,
    FoldOptions,
    ReadKeywords,
    ReadOptions,
    RecalibrateKeywords,
    RecalibrateOptions,
    VerifyKeywords,
    VerifyOptions,
    schema,
)
from bnfold.results.value_kinds import (
    BakeInputs,
    Channels,
    Choice,
    Choices,
    Codes,
    Data,
    File,
    Inputs,
    Kind,
    Name,
    Names,
    Number,
    Pairs,
    Providers,
    Renamings,
    Shapes,
    Size,
    Switch,
    Tolerances,
    Whole,
    Wrong,
    did_you_mean,
)

from ..certified import sample

CLASSES: dict[type[Any], Any] = {
    ReadOptions: ReadKeywords,
    FoldOptions: FoldKeywords,
    VerifyOptions: VerifyKeywords,
    RecalibrateOptions: RecalibrateKeywords,
}
FIELDS = [(cls, name, option) for cls in CLASSES for name, option in schema(cls).items()]
NAN, INF = float("nan"), float("inf")


class Hostile:
    """A value of the user's own, in which everything fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


# Values that no kind takes, and those that a kind does not take: as Python's, and as text.
NEVER: tuple[Any, ...] = (object(), Hostile(), lambda: 1, b"x", 1j)
WRONG: dict[type[Kind], tuple[Any, ...]] = {
    Whole: ("3", 2.0, NAN, True, [1], None, -(2**70), 2**70, np.float32(3), np.array([3])),
    Number: ("4", NAN, INF, -INF, -3, True, [1.0], None, np.float64("nan"), 10**400),
    Switch: ("no", "yes", 0, 1, 2.0, [], None),
    Choice: ("abc", "", 5, True, ["abc"], None),
    Name: ("", " ", 5, True, ["x"], None),
    Size: ("1GB", 1.5, -1, True, NAN, [1], 2**63),
    File: ("", 5, ["x"], None, b"x"),
    Names: (5, [5], [""], ("a", None), {"a": "b"}, None, ["a\0b"]),
    Providers: (5, [5], [], "", (), None, {"cpu": 1}),
    Codes: ("kept.nothing", ["kept.graph-inptu"], 5, "training-mode", [""]),
    Channels: ("1,2,3", ["a"], [NAN], INF, True, [True], {"r": 1}, None, np.ones((2, 2))),
    Shapes: (5, "1,3", {"x": ["N", 3]}, {"x": [0, 3]}, (1, -1), {"x": 3}, {1: (1,)}, [1.0], [True], None),
    Tolerances: ("x", NAN, INF, -1e-3, {"y": "1"}, {"y": -1}, {3: 1.0}, True, [1e-3], None),
    Renamings: (5, "x", {"x": 5}, {"": "y"}, {"x": ""}, {3: "y"}, [("x", 1)], None),
    Inputs: (5, [1, 2], {"x": 5}, {"x": [[1.0]]}, {3: "x.npy"}, "", None, ["a.npy"], np.array([None])),
    Data: (5, [1, 2], {"x": 5}, {"x": [[1.0]]}, {3: "x.npy"}, "", None, [""], ["a.npy", 5], np.array([None])),
    Pairs: ("ab", [("a",)], [("a", 5)], 5),
    Choices: ("abc", "", 5, True, {"x": "abc"}, {3: "uint8"}, [("x", 5)], None),
    BakeInputs: (
        5,
        "mean=1",
        "from-modell",
        None,
        [1, 2],
        {"x": {}},
        {"x": {"foo": 1}},
        {"foo": 1},
        {3: {"mean": 1}},
        {"mean": NAN},
        {"mean": "1"},
        {"mean": []},
        {"mean": 1e39},
        {"std": 0},
        {"std": [1, -1]},
        {"scale": 0},
        {"scale": INF},
        {"scale": [1]},
        {"order": "rgbx"},
        {"order": "rgg"},
        {"order": 5},
        {"mean_file": ""},
        {"from_model": "yes"},
        [("x", {"mean": 1}), ("x", {"mean": 2})],
    ),
}
WRONG_TEXT: dict[type[Kind], tuple[str, ...]] = {
    Whole: ("", "x", "1.0", "1e3", "nan", "-99999999999", "9" * 30, "9" * 5000, "0x10"),
    Number: ("", "x", "nan", "inf", "-3", "1e400", "1,5"),
    Switch: ("", "perhaps", "2"),
    Choice: ("", "abc"),
    Name: ("", " "),
    Size: ("", "5 parsec", "-1", "1.5GB", "nan", "999999999999999GiB", "1gb"),
    Names: ("",),
    Providers: ("", ",", " , "),
    Codes: ("", "kept.graph-inptu", "training-mode"),
    Channels: ("", "a", "1,,2", "nan", "1,inf"),
    Shapes: ("", "x:", "x:1,,3", "N,3", "0,1,8,8", "x:-1", "1.5x2", "x:1;3", "9" * 30),
    Tolerances: ("", "x", "y:nan", "inf", "-1", "y:"),
    Renamings: ("", "x", "=y", "x="),
    Inputs: ("", "x:"),
    Choices: ("", "abc", "x:", "x:abc"),
    BakeInputs: (
        "",
        "x:",
        "mean",
        "mean=",
        "mean=a",
        "mean=1,,2",
        "mean=nan",
        "mean=1e39",
        "mean=1,mean=2",
        "foo=1",
        "std=0",
        "std=-1",
        "std=inf",
        "scale=0",
        "scale=1,2",
        "order=rgbx",
        "order=rgg",
        "order=",
        "from-modell",
        "mean_file=",
        "x:foo=1",
    ),
    Data: ("", "x:"),
}
# A right value that is no default, and its normal form.
RIGHT: dict[type[Kind], tuple[tuple[Any, Any], ...]] = {
    Whole: ((8, 8), (np.int64(8), 8), (np.uint8(9), 9)),
    Number: ((2, 2.0), (np.float32(2.5), 2.5), (3.25, 3.25)),
    Switch: ((True, True), (np.True_, True), (np.bool_(False), False)),
    Name: (("bvlc", "bvlc"),),
    Size: ((10**9, 10**9), (np.int64(5), 5)),
    Names: (("a*", ("a*",)), (["a", "b"], ("a", "b")), ([], ()), ({"b", "a"}, ("a", "b"))),
    Providers: (("cuda", ("cuda",)), (["cpu", "cuda"], ("cpu", "cuda"))),
    Channels: ((1, (1.0,)), ([1, 2.5], (1.0, 2.5)), (np.array([1.0, 2.0]), (1.0, 2.0)), ((), ())),
    Shapes: (
        ((1, 3), (("", (1, 3)),)),
        ({"x": [np.int64(2), 3]}, (("x", (2, 3)),)),
        ({}, ()),
        (np.array([1, 3]), (("", (1, 3)),)),
    ),
    Renamings: (({"a": "b"}, (("a", "b"),)), ([("a", "b")], (("a", "b"),)), ({}, ())),
    Tolerances: ((1e-3, (("", 1e-3),)), ({"y": 1, "z": 0}, (("y", 1.0), ("z", 0.0))), ({}, ())),
    Inputs: (("x.npy", (("", "x.npy"),)), ({"x": Path("x.npy")}, (("x", "x.npy"),)), ({}, ())),
    Data: (
        ("x.npy", (("", "x.npy"),)),
        (["a.npy", Path("b.npy")], (("", "a.npy"), ("", "b.npy"))),
        ({"x": ["a.npy", "b.npy"], "y": "c"}, (("x", "a.npy"), ("x", "b.npy"), ("y", "c"))),
        ([], ()),
    ),
    Pairs: (((("a", "b"),), (("a", "b"),)), ([["a", "b"]], (("a", "b"),))),
    Choices: (({}, ()),),
    BakeInputs: (
        ("from-model", (("", Preprocessing(from_model=True)),)),
        ({"mean": 1, "order": "BGR"}, (("", Preprocessing(mean=(1.0,), order="bgr")),)),
        ({"x": {"std": [1, 2]}}, (("x", Preprocessing(std=(1.0, 2.0))),)),
        ({"x": "from-model"}, (("x", Preprocessing(from_model=True)),)),
        ({"mean": {"scale": np.float32(0.5)}}, (("mean", Preprocessing(scale=0.5)),)),
        ({"mean_file": Path("m.npy")}, (("", Preprocessing(mean_file="m.npy")),)),
        ({}, ()),
    ),
}


def wrong_values() -> Iterator[Any]:
    for cls, name, option in FIELDS:
        optional = cls.__dataclass_fields__[name].default is None
        for value in (*WRONG[type(option.kind)], *NEVER):
            if not (optional and value is None):
                yield pytest.param(cls, name, value, id=f"{cls.__name__}-{name}-{type(value).__name__}")


def wrong_texts() -> Iterator[Any]:
    seen = set()
    for _, name, option in FIELDS:
        if option.flag and name not in seen:
            seen.add(name)
            for text in WRONG_TEXT[type(option.kind)]:
                yield pytest.param(name, text, id=f"{name}-{text[:12]}")


ROWS = {row.flag: row for group in (rows.READ, rows.FOLD, rows.VERIFY, rows.RECALIBRATE) for row in group}


def written(name: str, text: str) -> tuple[rows.Row, Any]:
    """A text as click passes it."""
    row = ROWS[OPTIONS[name].flag]
    return row, (text,) if row.option.kind.repeatable else text


# -- the tables themselves


def test_every_kind_has_its_wrong_values() -> None:
    kinds = {
        kind
        for kind in vars(value_kinds).values()
        if isinstance(kind, type) and issubclass(kind, Kind) and kind not in (Kind, value_kinds.Table)
        if not kind.__name__.startswith("_")  # a part of another kind, and tried with it
    }
    assert kinds == set(WRONG)
    assert kinds - {File, Pairs} == set(WRONG_TEXT)
    assert kinds - {File, Choice, Codes} == set(RIGHT)


@pytest.mark.parametrize("cls", CLASSES)
def test_keywords_are_the_fields(cls: type[Any]) -> None:
    """What has no flag is bnfold's own."""
    public = {name for name, option in schema(cls).items() if option.flag}
    assert set(CLASSES[cls].__annotations__) == public
    assert set(schema(cls)) - public <= {"withdrawn"}


def test_an_option_of_several_classes_is_one() -> None:
    for cls, name, option in FIELDS:
        assert OPTIONS[name] is option, (cls, name)


@pytest.mark.parametrize(("cls", "name", "option"), FIELDS)
def test_every_option_explains_itself(cls: type[Any], name: str, option: options.Option) -> None:
    assert option.kind.expected and option.kind.written
    if option.flag:
        assert option.flag.startswith("--") and option.help.endswith(".")
        assert isinstance(option.kind, (Switch, Choice)) or option.metavar


@pytest.mark.parametrize(("cls", "name", "option"), FIELDS)
def test_defaults_are_right_values(cls: type[Any], name: str, option: options.Option) -> None:
    default = cls.__dataclass_fields__[name].default
    assert default is None or option.kind.check(default) == default


# -- values


@pytest.mark.parametrize(("cls", "name", "value"), list(wrong_values()))
def test_a_wrong_value_is_named(cls: type[Any], name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"^'{name}' cannot be ") as caught:
        cls(**{name: value})
    assert caught.value.expected
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("cls", "name", "option"), FIELDS)
def test_a_right_value_is_brought_to_its_form_once(cls: type[Any], name: str, option: options.Option) -> None:
    choices = option.kind.names if isinstance(option.kind, Choice) else ()
    for value, normal in RIGHT.get(type(option.kind), tuple((one, one) for one in choices)):
        made = cls(**{name: value})
        assert getattr(made, name) == normal
        assert type(getattr(made, name)) is type(normal)
        assert replace(made) == made
        assert pickle.loads(pickle.dumps(made)) == made


def test_none_is_right_where_it_is_the_default() -> None:
    assert VerifyOptions(max_memory=None).max_memory is None
    assert ReadOptions(opset=None, batch=None, random_weights=None) == ReadOptions()


@pytest.mark.parametrize("value", [0, [1, 0, 2], 0.0, -0.0])
def test_nothing_is_divided_by_zero(value: Any) -> None:
    with pytest.raises(UsageError, match=r"'std' cannot be .* other than 0"):
        VerifyOptions(std=value)
    assert VerifyOptions(mean=value)


def test_a_name_has_one_value() -> None:
    with pytest.raises(UsageError, match="one value for 'x'"):
        VerifyOptions(input_shapes=(("x", (1,)), ("x", (2,))))
    with pytest.raises(UsageError, match="one value without a name"):
        VerifyOptions(rtol=(("", 1.0), ("", 2.0)))
    assert VerifyOptions(inputs=(("", "a.npz"), ("", "b.npz")))  # an archive names its arrays itself


def test_a_slip_is_asked_about() -> None:
    with pytest.raises(UsageError, match="did you mean 'NHWC'"):
        VerifyOptions(layout="nhwc")
    assert did_you_mean("smaples", ["samples", "seed"]) == "did you mean 'samples'?"
    assert did_you_mean("zzz", ["samples"]) == did_you_mean("", []) == ""


@pytest.mark.parametrize("pattern", ["kept.training-mode", "kept.*", "*", "kept.graph-[io]*"])
def test_codes_are_those_that_exist(pattern: str) -> None:
    assert Codes().check(pattern) == Codes().parse(pattern) == (pattern,)
    with pytest.raises(Wrong, match="codes"):
        Codes().check("kept.graph-inptu")


# -- arrays in memory


class ByArray:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array


class ByDlpack:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **more: Any) -> Any:
        return self.array.__dlpack__(**more)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class OnADevice(ByDlpack):
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("copy it to the host first")


class Unreadable:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("it needs a gradient")


@pytest.mark.parametrize("made", [np.asarray, ByArray, ByDlpack, OnADevice])
def test_arrays_are_copied(made: Callable[[np.ndarray], Any]) -> None:
    theirs = np.arange(6.0).reshape(2, 3)
    ((name, given),) = VerifyOptions(inputs={"x": made(theirs)}).inputs
    assert name == "x"
    assert isinstance(given, value_kinds.Given)
    theirs[:] = 7
    assert given.array.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert str(given) == repr(given) == "an array of float64, shape (2, 3)"


def test_an_array_stays_one_when_options_are_copied() -> None:
    made = VerifyOptions(inputs={"x": np.zeros(3), "y": "y.npy"})
    assert replace(made, samples=2).inputs == made.inputs
    assert made.input_files == (("y", "y.npy"),)


def test_an_array_that_numpy_cannot_read() -> None:
    with pytest.raises(UsageError, match=r"'inputs' cannot be .*it needs a gradient.*copy it to the CPU"):
        VerifyOptions(inputs={"x": Unreadable()})


# -- the command line


@pytest.mark.parametrize(("name", "text"), list(wrong_texts()))
def test_a_wrong_text_is_named_by_its_flag(name: str, text: str) -> None:
    row, given = written(name, text)
    if row.is_switch:
        with pytest.raises(Wrong):
            row.option.kind.parse(text)
        return
    with pytest.raises(UsageError, match=rf"^{row.flag} cannot be "):
        rows.read_options({row.name: given})
        rows.fold_options({row.name: given})
        rows.verify_options({row.name: given})
        rows.estimate_options({row.name: given})


@pytest.mark.parametrize("flag", ROWS)
def test_an_option_is_a_row_and_a_key(flag: str) -> None:
    row = ROWS[flag]
    assert manifest.KEYS[flag.removeprefix("--")] is row
    assert row.help.endswith(".")


OWN = {
    row.flag: row
    for row in (*rows.BATCH, *rows.LIMIT)
    if "type" in row.settings and row.name != "policy_path"
}


@pytest.mark.parametrize("flag", OWN)
def test_rows_of_commands_alone_use_the_same_kinds(flag: str) -> None:
    row = OWN[flag]
    for text in WRONG_TEXT[type(row.option.kind)]:
        with pytest.raises(UsageError, match=rf"^{flag} cannot be "):
            row.settings["type"].convert(text, None, None)


# -- manifests and policies


@pytest.mark.parametrize(("name", "text"), list(wrong_texts()))
def test_a_wrong_value_in_a_manifest_is_named_by_its_key(tmp_path: Path, name: str, text: str) -> None:
    key = OPTIONS[name].flag.removeprefix("--")
    path = tmp_path / "zoo.toml"
    path.write_text(f"[[model]]\nmodel = 'net'\n{key} = '{text}'\n")
    with pytest.raises(Malformed, match=rf"zoo\.toml:3: '{key}' cannot be "):
        manifest.read(str(path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("allow-kept", '["kept.nothing"]'),
        ("allow-kept", "5"),
        ("max-size", '"5 parsec"'),
        ("max-size", "-1"),
        ("max-size", "1.5"),
        ("providers", "[]"),
        ("providers", "[5]"),
        ("noise-limit", "inf"),
        ("noise-limit", "nan"),
        ("noise-limit", "-3"),
        ("noise-limit", '"4"'),
        ("require-certificate", "1"),
        ("against", "[5]"),
        ("against", '["a", "b", "c"]'),
        ("against", '""'),
    ],
)
def test_a_wrong_value_in_a_policy_is_named_by_its_key(tmp_path: Path, key: str, value: str) -> None:
    path = tmp_path / "bnfold.toml"
    path.write_text(f"{key} = {value}\n")
    with pytest.raises(Malformed, match=rf"bnfold\.toml:1: '{key}' cannot be "):
        policy.read(path, {})


# -- the functions


FUNCTIONS = [(cls, name, option) for cls, name, option in FIELDS if option.flag]


@pytest.mark.parametrize(("cls", "name", "option"), FUNCTIONS)
def test_functions_refuse_wrong_values(
    tmp_path: Path, cls: type[Any], name: str, option: options.Option
) -> None:
    source = sample(tmp_path, next(reversed(option.formats)) if option.formats else "onnx")
    function: Callable[..., Any] = {
        ReadOptions: api.load,
        FoldOptions: api.fold,
        VerifyOptions: api.verify,
        RecalibrateOptions: api.fold_file if name == "recalibrate" else api.recalibrate,
    }[cls]
    models = (
        source
        if cls is ReadOptions or name == "recalibrate"
        else source[:1]
        if cls is FoldOptions
        else (source[0], source[0])
    )
    values = [value for value in WRONG[type(option.kind)] if value is not None]
    for value in (*values, *NEVER):
        with pytest.raises(UsageError, match=rf"^'{name}' cannot be "):
            function(*models, **{name: value})
        with pytest.raises(UsageError, match=rf"^'{name}' cannot be "):
            api.fold_file(*source, verify=False, **{name: value})


@pytest.mark.parametrize(("cls", "name", "option"), [row for row in FUNCTIONS if row[2].formats])
def test_a_keyword_of_another_format_is_refused(
    tmp_path: Path, cls: type[Any], name: str, option: options.Option
) -> None:
    other = next(format for format in ("onnx", "caffe", "darknet") if format not in option.formats)
    kind = option.kind
    value = kind.names[0] if isinstance(kind, Choice) else RIGHT[type(kind)][0][0]
    with pytest.raises(UsageError, match=f"^'{name}' is for .* models; this one is {other}"):
        api.fold_file(*sample(tmp_path, other), **{name: value})


# -- what was written by other versions


def test_options_come_back_from_json() -> None:
    baked = {"x": {"mean": [1, 2, 3], "order": "bgr"}, "y": "from-model"}
    read = ReadOptions(input_shapes={"x": (1, 2)}, stages="a", opset=17, bake_input=baked, input_type="uint8")
    assert decoded(ReadOptions, json.loads(json.dumps(asdict(read)))) == read
    assert decoded(FoldOptions, {"keep": ["a"], "withdrawn": [["n", "why"]]}) == FoldOptions(
        keep=("a",), withdrawn=(("n", "why"),)
    )
    assert decoded(VerifyOptions, {"inputs": [["x", "y.npy"]], "noise_limit": 2}) == VerifyOptions(
        inputs={"x": "y.npy"}, noise_limit=2.0
    )


def test_wrong_values_in_json_do_not_fit() -> None:
    with pytest.raises(Unfit, match="'batch' cannot be 0"):
        decoded(ReadOptions, {"batch": 0})
    with pytest.raises(Unfit, match="'noise_limit' cannot be nan"):
        decoded(VerifyOptions, {"noise_limit": None})
