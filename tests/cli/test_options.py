"""The table of options and the records that it fills: nothing in a record that no option sets, nothing in the
table that sets nothing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from bnfold.cli import options
from bnfold.cli.main import COMMANDS
from bnfold.errors import UsageError
from bnfold.results.options import FoldOptions, ReadOptions, VerifyOptions

GIVEN: dict[str, Any] = {
    "input_shapes": ("data:1,3,8,8",),
    "strict": True,
    "opset": "18",
    "freeze_initializers": True,
    "dialect": "nvcaffe",
    "random_weights": "5",
    "phase": "TRAIN",
    "stages": ("deploy",),
    "level": "2",
    "cut_at": ("fc",),
    "ignore_fields": ("scale_param.min_value",),
    "assume_global_stats": True,
    "heads": "raw",
    "batch": "4",
    "allow_partial": True,
    "silu": "swish",
    "bake_input": ("data:mean=1,2,3,order=bgr", "other:from-model"),
    "input_type": ("data:uint8",),
    "input_layout": ("NHWC",),
    "fix_shape": ("data:1,3,9,9",),
    "dynamic_batch": True,
    "bake_padding": "pad",
    "providers": "cpu,cuda",
    "inputs": ("data:x.npy",),
    "samples": "7",
    "seed": "9",
    "noise_limit": "2.5",
    "rtol": ("y:1e-3",),
    "atol": ("1e-4",),
    "every_value": True,
    "truth": "unfolded",
    "mean": "1,2,3",
    "std": "4,5,6",
    "layout": "NHWC",
    "max_memory": "2GiB",
    "rename": ("y=z",),
    "by_position": True,
    "any_order": True,
    "fixed_shapes": True,
    "drop_overridable": True,
}


def test_every_field_of_reading_is_reached_by_an_option() -> None:
    read = options.read_options(GIVEN)
    assert all(
        getattr(read, name) != field.default for name, field in ReadOptions.__dataclass_fields__.items()
    )
    assert (read.phase, read.stages, read.cut_at, read.batch, read.input_shapes) == (
        "TRAIN",
        ("deploy",),
        ("fc",),
        4,
        (("data", (1, 3, 8, 8)),),
    )


def test_every_field_of_verification_is_reached_by_an_option() -> None:
    verify = options.verify_options(GIVEN)
    assert verify is not None
    assert all(
        getattr(verify, name) != field.default for name, field in VerifyOptions.__dataclass_fields__.items()
    )
    assert verify.providers == ("cpu", "cuda")
    assert verify.max_memory == 2 << 30
    assert verify.rtol == (("y", 1e-3),)
    assert verify.atol == (("", 1e-4),)
    assert verify.mean == (1.0, 2.0, 3.0)
    assert verify.rename == (("y", "z"),)


def test_every_field_of_folding_is_reached_by_an_option() -> None:
    wanted = options.fold_options(
        {
            "keep": ("a*",),
            "freeze_initializers": True,
            "duplicate_producers": True,
            "no_merge_branches": True,
            "simplify_leftovers": True,
            "fold_into_half": True,
            "fold_patterns": True,
            "bake_padding": "sub",
        }
    )
    fields = FoldOptions.__dataclass_fields__
    assert {name for name in fields if getattr(wanted, name) == fields[name].default} == {"withdrawn"}
    assert options.fold_options({}) == FoldOptions()


def test_nothing_given_is_the_default() -> None:
    assert options.read_options({}) == ReadOptions()
    assert options.verify_options({}) == VerifyOptions()
    assert options.verify_options({"no_verify": True}) is None
    assert options.given({"strict": False, "stages": (), "opset": None}) == []


def test_nought_is_given() -> None:
    assert [row.flag for row in options.given({"seed": "0", "level": "0"})] == ["--level", "--seed"]
    assert options.read_options({"random_weights": "0"}).random_weights == 0


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("data:1,3,224,224", ("data", (1, 3, 224, 224))),
        ("1x3x224x224", ("", (1, 3, 224, 224))),
        ("a:b:2x2", ("a:b", (2, 2))),
        ("x:7", ("x", (7,))),
    ],
)
def test_shapes(text: str, shape: tuple[str, tuple[int, ...]]) -> None:
    assert options.read_options({"input_shapes": (text,)}).input_shapes == (shape,)


@pytest.mark.parametrize("text", ["", "data:", "data:1,,3", "data:1;3", "N,3,2", "-1x3", "1.5x2", "x:0,3"])
def test_what_is_no_shape(text: str) -> None:
    with pytest.raises(UsageError, match="--input-shape cannot be"):
        options.read_options({"input_shapes": (text,)})


def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path: Path) -> None:
    odd = tmp_path / "a:b.npz"
    odd.touch()
    wanted = options.verify_options({"inputs": (str(odd), f"data:{odd}", "all.npz")})
    assert wanted is not None
    assert wanted.inputs == (("", str(odd)), ("data", str(odd)), ("", "all.npz"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_every_option(name: str) -> None:
    command = import_module(f"bnfold.cli.{name}").command
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help
    assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_options_of_one_format_are_marked() -> None:
    values = {"phase": "TRAIN"}
    options.check_format("caffe", values)
    with pytest.raises(UsageError, match="caffe"):
        options.check_format("darknet", values)
