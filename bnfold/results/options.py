"""What the user asks of reading, folding and verification: every option, once.

A field of these dataclasses is an option. Its Option says how it is called on the command line, what it is
for, and which values are right; everything else follows: the keyword of the Python functions, the flag and
its help, the key of a manifest, the pages of documentation, and the check of every value, which is the same
line for all of them (`_Checked.__post_init__`).

To add an option: a field here, its keyword below (for editors and type checkers; a test holds them together),
and the code that it steers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import Field, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from ..errors import UsageError
from ..records import dataclass
from .baking import FROM_MODEL, Preprocessing
from .value_kinds import (
    LARGEST,
    LARGEST_SEED,
    BakeInputs,
    Channels,
    Choice,
    Choices,
    Data,
    Given,
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
    refusal,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NOISE_LIMIT = 4.0
MOST_SAMPLES = 1_000_000
_SCHEMA = "option"


@dataclass(frozen=True)
class Option:
    """One option, at every door.

    kind       what values are right
    flag       on the command line; a manifest has it as a key, without the dashes. "" for what only bnfold
               itself sets
    help       one sentence for the user
    metavar    what stands for the value in the help
    formats    the formats that it is for; none: for all
    unset      what happens where it is not given, in words; by default its value
    """

    kind: Kind
    flag: str = ""
    help: str = ""
    metavar: str = ""
    formats: tuple[str, ...] = ()
    unset: str = ""

    @property
    def models(self) -> str:
        """Which models it is for, in words."""
        return f"{' and '.join(self.formats)} models"

    def check(self, name: str, value: Any, default: Any) -> Any:
        """The normal form of a value; None is right where it is the default. Raises UsageError."""
        if value is None and default is None:
            return None
        try:
            return self.kind.check(value)
        except Wrong as error:
            raise refusal(spelled(name), value, error) from error


def _field(default: Any, option: Option) -> Any:
    return field(default=default, metadata={_SCHEMA: option})


class _Checked:
    """Options whose values are right: whoever makes them, with whatever values."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __post_init__(self) -> None:
        for name, option in schema(type(self)).items():
            default = self.__dataclass_fields__[name].default
            object.__setattr__(self, name, option.check(name, getattr(self, name), default))


def schema(options: type[DataclassInstance]) -> dict[str, Option]:
    """The options of a class, by their keywords."""
    return {f.name: f.metadata[_SCHEMA] for f in fields(options)}


# Options that several rooms ask for.

_INPUT_SHAPES = Option(
    Shapes(),
    "--input-shape",
    "Give an input this shape, as in data:1,3,224,224. The only input needs no name: 1x3x224x224.",
    "[NAME:]DIMS",
)
_MEAN = Option(Channels(), "--mean", "Subtract these values from the channels of image inputs.", "R,G,B")
_STD = Option(
    Channels(divides=True),
    "--std",
    "Divide the channels of image inputs by these values, after --mean.",
    "R,G,B",
)
_LAYOUT = Option(Choice(("NCHW", "NHWC")), "--layout", "Give image inputs this layout.")
_FREEZE_INITIALIZERS = Option(
    Switch(),
    "--freeze-initializers",
    "Treat initializers that a caller may override as constants.",
    formats=("onnx",),
)


_WITHDRAWN = Option(Pairs())
_KEEP = Option(
    Names("names of nodes, or patterns of them with * and ?"),
    "--keep",
    "Do not touch nodes of this name (repeatable, with * and ?).",
    "PATTERN",
)


@dataclass(frozen=True, kw_only=True)
class ReadOptions(_Checked):
    """What the user asks of reading. A reader ignores nothing in silence: an option that its format has no
    use for is refused at the door (`check_format`), so readers may take the fields of their own format and
    the common ones alone. `input_shapes` are (input name, dims), the name "" stands for the only input.
    """

    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = _field((), _INPUT_SHAPES)
    opset: int | None = _field(
        None,
        Option(
            Whole(7, 1000),
            "--opset",
            "Build the model in this opset.",
            "N",
            formats=("caffe", "darknet"),
            unset="17",
        ),
    )
    strict: bool = _field(False, Option(Switch(), "--strict", "Treat warnings as errors."))
    dialect: str = _field(
        "auto",
        Option(
            Name("the name of a dialect, or auto"),
            "--dialect",
            "Read the files in this dialect of the format.",
            "NAME",
            formats=("caffe", "darknet"),
            unset=": found from the files",
        ),
    )
    random_weights: int | None = _field(
        None,
        Option(
            Whole(0, LARGEST_SEED),
            "--random-weights",
            "Read the network alone, and give it random weights from this seed.",
            "SEED",
            formats=("caffe", "darknet"),
        ),
    )
    freeze_initializers: bool = _field(False, _FREEZE_INITIALIZERS)
    phase: str = _field(
        "TEST",
        Option(Choice(("TEST", "TRAIN")), "--phase", "Build this phase, TEST or TRAIN.", "NAME", ("caffe",)),
    )
    stages: tuple[str, ...] = _field(
        (), Option(Names("names of stages"), "--stage", "Build this stage (repeatable).", "NAME", ("caffe",))
    )
    level: int = _field(
        0, Option(Whole(-LARGEST - 1), "--level", "Build this level.", "N", formats=("caffe",))
    )
    cut_at: tuple[str, ...] = _field(
        (),
        Option(
            Names("names of blobs, or of darknet's layers"),
            "--cut-at",
            "End the network at this blob, or at this layer of darknet, by its number or name (repeatable).",
            "BLOB",
            ("caffe", "darknet"),
        ),
    )
    ignore_fields: tuple[str, ...] = _field(
        (),
        Option(
            Names("names of fields, as in scale_param.min_value"),
            "--ignore-field",
            "Read layers as if this field were not there, as in scale_param.min_value (repeatable).",
            "FIELD",
            ("caffe",),
        ),
    )
    assume_global_stats: bool = _field(
        False,
        Option(
            Switch(),
            "--assume-global-stats",
            "BatchNorm layers use their stored statistics, whatever the file says.",
            formats=("caffe",),
        ),
    )
    heads: str = _field(
        "layer",
        Option(
            Choice(("layer", "raw", "boxes")),
            "--heads",
            "Choose what detection layers give.",
            formats=("darknet",),
        ),
    )
    batch: int | None = _field(
        None, Option(Whole(1), "--batch", "Fix the batch size.", "N", formats=("darknet",), unset=": any")
    )
    allow_partial: bool = _field(
        False,
        Option(
            Switch(),
            "--allow-partial",
            "Accept a weights file that ends early, as darknet does.",
            formats=("darknet",),
        ),
    )

    silu: str | None = _field(
        None,
        Option(
            Choice(("swish", "relu")),
            "--silu",
            "Read activation=silu as swish, which other programs mean by it, or as relu, which every darknet "
            "computes.",
            formats=("darknet",),
            unset=": an error",
        ),
    )

    bake_input: tuple[tuple[str, Preprocessing], ...] = _field(
        (),
        Option(
            BakeInputs(),
            "--bake-input",
            "Make preprocessing a part of the network: (x - mean) / std * scale, then the order of the "
            f"channels, as in mean=123.7,116.3,103.5,std=58.4,57.1,57.4,order=bgr; {FROM_MODEL}: what the "
            "model's own files say (repeatable).",
            "[NAME:]SPEC",
        ),
    )
    input_type: tuple[tuple[str, str], ...] = _field(
        (),
        Option(
            Choices(("uint8", "float16", "float32")),
            "--input-type",
            "Let an input take this type, as in uint8 for images; a Cast makes the network's type of it.",
            "[NAME:]TYPE",
        ),
    )
    input_layout: tuple[tuple[str, str], ...] = _field(
        (),
        Option(
            Choices(("NHWC", "NCHW")),
            "--input-layout",
            "Let an input take images of this layout, as in NHWC; a Transpose makes the network's of it.",
            "[NAME:]LAYOUT",
        ),
    )
    fix_shape: tuple[tuple[str, tuple[int, ...]], ...] = _field(
        (),
        Option(
            Shapes(),
            "--fix-shape",
            "Write this shape of an input into the model, through to the outputs, as in data:1,3,224,224.",
            "[NAME:]DIMS",
        ),
    )
    dynamic_batch: bool = _field(
        False,
        Option(
            Switch(),
            "--dynamic-batch",
            "Leave the batch open, whatever size the prototxt states.",
            formats=("caffe",),
        ),
    )

    @property
    def edits(self) -> bool:
        """Is preprocessing to become a part of the network?"""
        return bool(self.bake_input or self.input_type or self.input_layout)

    @property
    def unbaked(self) -> ReadOptions:
        """The same for a model that is taken as it is."""
        return replace(self, bake_input=(), input_type=(), input_layout=())

    def with_mean_files(self, place: Callable[[str], str]) -> ReadOptions:
        """The same with mean images found elsewhere: `place` says where each of them is."""
        asked = tuple(
            (name, replace(one, mean_file=place(one.mean_file)) if one.mean_file else one)
            for name, one in self.bake_input
        )
        return replace(self, bake_input=asked)

    @property
    def mean_files(self) -> tuple[tuple[str, str], ...]:
        """The mean images that the user names, (input name, path)."""
        return tuple((name, asked.mean_file) for name, asked in self.bake_input if asked.mean_file)

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """The dims asked for an input, by its name or by the empty name."""
        table = dict(self.input_shapes)
        return table.get(name, table.get(""))


@dataclass(frozen=True, kw_only=True)
class FoldOptions(_Checked):
    """What the user asks of folding. `keep` are fnmatch patterns of node names; `withdrawn` are exact node
    names that verification took back, with the reason."""

    keep: tuple[str, ...] = _field((), _KEEP)
    freeze_initializers: bool = _field(False, _FREEZE_INITIALIZERS)
    duplicate_producers: bool = _field(
        False,
        Option(
            Switch(),
            "--duplicate-producers",
            "Fold a node although its producer has other readers; the producer is then computed twice.",
        ),
    )
    merge_branches: bool = _field(
        True,
        Option(
            Switch(),
            "--no-merge-branches",
            "Do not merge parallel linear branches, although that would fold more.",
        ),
    )
    simplify_leftovers: bool = _field(
        False,
        Option(
            Switch(),
            "--simplify-leftovers",
            "Merge affine nodes that cannot be folded into one, and drop identities.",
        ),
    )
    fold_into_half: bool = _field(
        False,
        Option(
            Switch(),
            "--fold-into-half",
            "Fold what a model computes in float32 into 16-bit weights, which round it to 11 or 8 bits.",
        ),
    )
    fold_patterns: bool = _field(
        False,
        Option(
            Switch(),
            "--fold-patterns",
            "Fold affine nodes inside patterns that runtimes fuse (GELU, layer norm), too. The runtimes "
            "then no longer fuse them.",
        ),
    )
    bake_padding: str = _field(
        "auto",
        Option(
            Choice(("auto", "sub", "pad")),
            "--bake-padding",
            "Handle a baked mean in front of a convolution that pads: sub puts a Sub in front; pad pads by "
            "the mean, so that all of it is folded; auto takes the one with the fewest nodes.",
        ),
    )
    withdrawn: tuple[tuple[str, str], ...] = _field((), _WITHDRAWN)


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(_Checked):
    """What to run and what to demand.

    input_shapes  (input name, dims), "" for the only input; symbolic dims not given become small defaults
                  that are reported
    inputs        (input name, file or array); "" for the only input, or for a .npz with all
    noise_limit   the gate: error of the candidate over error of the reference, both against the float64 truth
    truth         "float64" (the interpreter), "unfolded" (the reference in its own type; a weaker gate),
                  "auto"
    rtol, atol    additional fixed tolerances, (output name, value), "" for all outputs; without atol, values
                  near zero may be off by rtol times the root mean square of the output
    max_memory    bytes of its own that this process may take while verifying, mapped files not counted; None:
                  as it needs

    Differences between the two models' interfaces that are allowed:
    rename            (name in the reference, name in the candidate) of inputs and outputs
    by_position       inputs and outputs are paired by position, whatever their names
    any_order         the same names may stand in another order
    fixed_shapes      a free dim may be a number in the candidate
    drop_overridable  the candidate may lack an input that has a default value in the reference
    """

    providers: tuple[str, ...] = _field(
        ("cpu",), Option(Providers(), "--ep", "Verify on these execution providers, as in cpu,cuda.", "NAMES")
    )
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = _field((), _INPUT_SHAPES)
    inputs: tuple[tuple[str, str | Given], ...] = _field(
        (),
        Option(
            Inputs(),
            "--inputs",
            "Verify on real inputs: name:file.npy, or a .npz with all of them (repeatable).",
            "[NAME:]FILE",
        ),
    )
    mean: tuple[float, ...] = _field((), _MEAN)
    std: tuple[float, ...] = _field((), _STD)
    layout: str = _field("NCHW", _LAYOUT)
    samples: int = _field(
        3, Option(Whole(1, MOST_SAMPLES), "--samples", "Draw this many random samples.", "N")
    )
    seed: int = _field(
        0, Option(Whole(0, LARGEST_SEED), "--seed", "Draw the random samples from this seed.", "N")
    )
    noise_limit: float = _field(
        NOISE_LIMIT, Option(Number(above=0), "--noise-limit", "Accept a noise ratio up to this one.", "X")
    )
    every_value: bool = _field(
        False,
        Option(Switch(), "--every-value", "Judge every value that both models have, not only the outputs."),
    )
    truth: str = _field(
        "auto",
        Option(
            Choice(("auto", "float64", "unfolded")),
            "--truth",
            "Measure errors against a run in float64 (float64) or against the model before folding "
            "(unfolded: weaker, for huge models); auto takes float64 where it is possible.",
        ),
    )
    max_memory: int | None = _field(
        None,
        Option(
            Size(),
            "--max-memory",
            "Limit the memory of verification, as in 500MB or 2GiB; memory-mapped files do not count.",
            "SIZE",
        ),
    )
    rtol: tuple[tuple[str, float], ...] = _field(
        (),
        Option(
            Tolerances(),
            "--rtol",
            "Apply a relative tolerance on top of the noise gate; without --atol, values near zero may be "
            "off by X times the root mean square of the output.",
            "[OUTPUT:]X",
        ),
    )
    atol: tuple[tuple[str, float], ...] = _field(
        (),
        Option(Tolerances(), "--atol", "Apply an absolute tolerance on top of the noise gate.", "[OUTPUT:]X"),
    )
    freeze_initializers: bool = _field(False, _FREEZE_INITIALIZERS)
    rename: tuple[tuple[str, str], ...] = _field(
        (),
        Option(
            Renamings(),
            "--rename",
            "Pair input or output A of the reference with B of the candidate (repeatable).",
            "A=B",
        ),
    )
    by_position: bool = _field(
        False,
        Option(
            Switch(), "--by-position", "Pair inputs and outputs by their position instead of their names."
        ),
    )
    any_order: bool = _field(
        False,
        Option(
            Switch(),
            "--any-order",
            "Accept a candidate that has the same inputs and outputs in another order.",
        ),
    )
    fixed_shapes: bool = _field(
        False,
        Option(Switch(), "--fixed-shapes", "Accept a candidate that fixes a free dimension to a number."),
    )
    drop_overridable: bool = _field(
        False,
        Option(
            Switch(),
            "--drop-overridable",
            "Accept a candidate without an input that has a default value in the reference.",
        ),
    )

    @property
    def input_files(self) -> tuple[tuple[str, str], ...]:
        """The inputs that are files, (input name, path)."""
        return tuple((name, one) for name, one in self.inputs if isinstance(one, str))


@dataclass(frozen=True, kw_only=True)
class TimeOptions(_Checked):
    """What to measure of latency. `warm_up` are runs that do not count, `runs` those that do."""

    time: bool = _field(
        False,
        Option(Switch(), "--time", "Measure latency before and after, in every runtime that is installed."),
    )
    threads: int = _field(1, Option(Whole(1, 4096), "--threads", "Use this many threads in timed runs.", "N"))
    warm_up: int = _field(
        3, Option(Whole(1, MOST_SAMPLES), "--warm-up", "Run each model this often before timing starts.", "N")
    )
    runs: int = _field(
        20,
        Option(
            Whole(1, MOST_SAMPLES), "--runs", "Time this many runs of each model; the models take turns.", "N"
        ),
    )


@dataclass(frozen=True, kw_only=True)
class SlimOptions(_Checked):
    """What the user asks of slimming. Without `ratio` and `below` a channel leaves only where that is exact.

    ratio, below  how many batch norm channels, or which, count as multiplied by zero: an approximation
    keep          patterns of node names whose channels stay
    withdrawn     exact node names that verification put back, with the reason
    """

    ratio: float | None = _field(
        None,
        Option(
            Number(low=0, high=1),
            "--ratio",
            "Take out this share of all batch norm channels, those of the smallest |gamma| in the model. "
            "An approximation: needs --inputs.",
            "X",
        ),
    )
    below: float | None = _field(
        None,
        Option(
            Number(low=0),
            "--below",
            "Take out the batch norm channels whose |gamma| is smaller than this. An approximation: needs "
            "--inputs.",
            "GAMMA",
        ),
    )
    keep: tuple[str, ...] = _field((), _KEEP)
    freeze_initializers: bool = _field(False, _FREEZE_INITIALIZERS)
    withdrawn: tuple[tuple[str, str], ...] = _field((), _WITHDRAWN)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ratio is not None and self.below is not None:
            raise UsageError(f"{spelled('ratio')} and {spelled('below')}", expected="one of them")

    @property
    def approximates(self) -> bool:
        """Do channels leave that do something?"""
        return self.ratio is not None or self.below is not None


@dataclass(frozen=True, kw_only=True)
class RecalibrateOptions(_Checked):
    """From which data the statistics of batch norms are estimated again, and how.

    recalibrate   (input name, file, folder or array), several for one input if need be; "" for the only
                  input, or for a .npz with all. Empty: nothing is recalibrated
    one_pass      every batch norm sees the batch's own statistics of those before it, as in training, and one
                  pass is enough; else it sees recalibrated ones, and there is a pass for each level
    batch_size    inputs that go through the network together where its batch is free; None: as fits
    """

    recalibrate: tuple[tuple[str, str | Given], ...] = _field(
        (),
        Option(
            Data(),
            "--recalibrate",
            "First estimate the statistics of the batch norms again from this data: .npy, .npz, images or a "
            "folder of them (repeatable).",
            "[NAME:]DATA",
        ),
    )
    one_pass: bool = _field(
        False,
        Option(
            Switch(),
            "--one-pass",
            "Average the statistics of batches in one pass (PreciseBN), not layer after layer.",
        ),
    )
    batch_size: int | None = _field(
        None,
        Option(
            Whole(1, MOST_SAMPLES),
            "--batch-size",
            "Run this many inputs at a time through a network whose batch is free.",
            "N",
            unset=": up to 32, fewer of large ones",
        ),
    )
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = _field((), _INPUT_SHAPES)
    mean: tuple[float, ...] = _field((), _MEAN)
    std: tuple[float, ...] = _field((), _STD)
    layout: str = _field("NCHW", _LAYOUT)

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """The data that are files or folders, (input name, path)."""
        return tuple((name, one) for name, one in self.recalibrate if isinstance(one, str))


OPTIONS: dict[str, Option] = (
    schema(ReadOptions)
    | schema(FoldOptions)
    | schema(VerifyOptions)
    | schema(TimeOptions)
    | schema(SlimOptions)
    | schema(RecalibrateOptions)
)


# The same options as keywords of the Python functions, for editors and type checkers.

StrPath = str | os.PathLike[str]


class ReadKeywords(TypedDict, total=False):
    """How to read. All formats: input_shapes (name -> dims, or the dims of the only input), strict, opset (of
    the model that is built from Caffe or darknet), dialect, random_weights (a seed). ONNX:
    freeze_initializers. Caffe: phase, stages, level, cut_at, ignore_fields (names as in
    scale_param.min_value), assume_global_stats, dynamic_batch. darknet: cut_at, heads, batch, allow_partial,
    silu.

    Made a part of the network, for all formats: bake_input ("from-model", a dict with any of mean, std,
    scale, order, mean_file, or such by input name), input_type ("uint8"), input_layout ("NHWC"), fix_shape
    (name -> dims that are written into the model)."""

    input_shapes: Mapping[str, Sequence[int]] | Sequence[int]
    opset: int | None
    strict: bool
    dialect: str
    random_weights: int | None
    freeze_initializers: bool
    phase: str
    stages: Sequence[str]
    level: int
    cut_at: Sequence[str]
    ignore_fields: Sequence[str]
    assume_global_stats: bool
    heads: str
    batch: int | None
    allow_partial: bool
    silu: str | None
    bake_input: Mapping[str, Any] | str
    input_type: Mapping[str, str] | str
    input_layout: Mapping[str, str] | str
    fix_shape: Mapping[str, Sequence[int]] | Sequence[int]
    dynamic_batch: bool


class FoldKeywords(TypedDict, total=False):
    """How to fold: keep (fnmatch patterns of node names not to touch), freeze_initializers (initializers that
    a caller may override are constants), duplicate_producers (fold although the producer has other readers:
    it is computed twice), merge_branches (parallel linear branches become one where that folds more; on by
    default), simplify_leftovers (what stays is brought to its cheapest exact form), fold_into_half (what the
    model computes in float32 goes into weights of 16 bits), fold_patterns (affine nodes inside GELU, layer
    norm and other patterns that runtimes fuse are folded too), bake_padding ("sub" or "pad": what becomes
    of a baked mean in front of a convolution that pads)."""

    keep: Sequence[str]
    freeze_initializers: bool
    duplicate_producers: bool
    merge_branches: bool
    simplify_leftovers: bool
    fold_into_half: bool
    fold_patterns: bool
    bake_padding: str


class SlimKeywords(TypedDict, total=False):
    """What to take out: ratio (a share of all batch norm channels) or below (a gamma), keep (fnmatch patterns
    of node names whose channels stay), freeze_initializers (initializers that a caller may override are
    constants)."""

    ratio: float | None
    below: float | None
    keep: Sequence[str]
    freeze_initializers: bool


class VerifyKeywords(TypedDict, total=False):
    """How to verify: providers ("cpu", "cuda"), input_shapes, inputs (name -> an array, or a .npy, .npz or
    image file), samples, seed, noise_limit, rtol and atol (output name -> value, or one value for all), mean
    and std of image inputs, max_memory (bytes that this process may take of its own meanwhile). Differences
    between the interfaces that are allowed: rename (name in the reference -> name in the candidate),
    by_position, any_order, fixed_shapes, drop_overridable."""

    providers: Sequence[str]
    input_shapes: Mapping[str, Sequence[int]] | Sequence[int]
    inputs: Mapping[str, Any] | Any
    samples: int
    seed: int
    noise_limit: float
    truth: str
    rtol: Mapping[str, float] | float
    atol: Mapping[str, float] | float
    every_value: bool
    mean: Sequence[float]
    std: Sequence[float]
    layout: str
    freeze_initializers: bool
    max_memory: int | None
    rename: Mapping[str, str]
    by_position: bool
    any_order: bool
    fixed_shapes: bool
    drop_overridable: bool


class EstimateKeywords(TypedDict, total=False):
    """How to estimate statistics: one_pass (average the statistics of batches, as PreciseBN does), batch_size
    (inputs that go through the network together), mean, std and layout of image inputs, input_shapes (name ->
    dims, for images of a network whose inputs have free sizes)."""

    one_pass: bool
    batch_size: int | None
    input_shapes: Mapping[str, Sequence[int]] | Sequence[int]
    mean: Sequence[float]
    std: Sequence[float]
    layout: str


class RecalibrateKeywords(EstimateKeywords, total=False):
    """Those of EstimateKeywords, and recalibrate: name -> an array, a file, a folder of images, or a list of
    them, from which statistics are estimated before the fold."""

    recalibrate: Mapping[str, Any] | Any


class TimeKeywords(TypedDict, total=False):
    """What to measure: time (latency before and after folding, in every runtime that is installed), threads
    of a run, warm_up (runs that do not count), runs (that do)."""

    time: bool
    threads: int
    warm_up: int
    runs: int


# How a message names an option.

_on_command_line: ContextVar[bool] = ContextVar("on_command_line", default=False)


@contextmanager
def command_line() -> Iterator[None]:
    """Within, messages name options by their flags; elsewhere by the keywords of the Python functions."""
    token = _on_command_line.set(True)
    try:
        yield
    finally:
        _on_command_line.reset(token)


def spelled(name: str, text: str = "") -> str:
    """An option as its user writes it: --input-shape, or 'input_shapes'. With the text of a value, so that
    advice can be copied to the command line."""
    option = OPTIONS.get(name)
    if option is None or not option.flag or not _on_command_line.get():
        return f"'{name}'"
    return f"{option.flag} {text}".rstrip()


# What is refused without a look at values.


def check_known(given: Iterable[str], known: Iterable[str]) -> None:
    """Every keyword is one that the function takes. Raises UsageError."""
    known = sorted(known)
    for name in sorted(set(given).difference(known)):
        raise UsageError(
            f"unknown keyword '{name}'",
            expected=f"one of {', '.join(known)}",
            way_out=did_you_mean(name, known),
        )


def check_format(format: str, given: Iterable[str]) -> None:
    """The format of a model has a use for every option that is given. Raises UsageError."""
    for name in given:
        option = OPTIONS.get(name)
        if option is not None and option.formats and format not in option.formats:
            raise UsageError(
                f"{spelled(name)} is for {option.models}; this one is {format}", way_out="leave it out"
            )
