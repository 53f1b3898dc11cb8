"""Do the names that options use exist in the model, and do the values fit it?

    check_shapes        input_shapes    names of inputs; as many dims as declared, and the fixed ones
    check_baking        bake_input, input_type, input_layout, fix_shape    names of inputs
    check_verification  inputs, rtol, atol, rename
    check_data          recalibrate
    check_images        mean, std, layout
    images              which files of a folder are inputs
    idle_patterns       keep            patterns that match no node: findings, for the run can go on

A slip in a name would otherwise change nothing, without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import UsageError
from ..ir.graph import ir, label, nodes
from .fold_result import recalled
from .options import FoldOptions, ReadOptions, RecalibrateOptions, VerifyOptions, spelled
from .plan import Finding
from .value_kinds import did_you_mean

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
DATA = (".npy", ".npz", ".pb", ".bin", *IMAGES)  # what inputs are read from, beside folders of images
_PART = re.compile(
    r" \[.*\]$"
)  # what names a part of an output that is no tensor: verifying/composite_values.py


def check_shapes(model: ir.Model, asked: Sequence[tuple[str, tuple[int, ...]]]) -> None:
    """Every shape is for an input, and fits what the model declares. Raises UsageError."""
    if not asked:
        return
    inputs = fed(model)
    _check_names("input_shapes", [name for name, _ in asked], inputs, "input")
    for name, dims in asked:
        one = inputs[name] if name else next(iter(inputs.values()))
        if one.shape is not None:
            _check_dims(one, dims)


def check_baking(model: ir.Model, options: ReadOptions) -> None:
    """Every name of what is to be baked in is that of an input. Raises UsageError."""
    inputs = fed(model)
    for keyword in ("input_type", "input_layout", "fix_shape"):
        _check_names(keyword, [name for name, _ in getattr(options, keyword)], inputs, "input")
    of_all = {name for name, asked in options.bake_input if asked.from_model and not name}
    _check_names(
        "bake_input", [name for name, _ in options.bake_input if name not in of_all], inputs, "input"
    )


def check_verification(
    model: ir.Model, options: VerifyOptions, data: RecalibrateOptions | None = None
) -> None:
    """Every name in the options of verification is one of the reference's; `data` may be of images too.
    Raises UsageError."""
    check_shapes(model, options.input_shapes)
    check_prepared_once(model, options)
    for_all = {name for name, one in options.input_files if not name and Path(one).suffix == ".npz"}
    _check_names("inputs", [name for name, _ in options.inputs if name or not for_all], fed(model), "input")
    outputs = {value.name or "": value for value in model.graph.outputs}
    ends = {value.name or "": value for value in model.graph.inputs} | outputs
    _check_names("rename", [name for name, _ in options.rename], ends, "input or output")
    judged = outputs if not options.every_value else outputs | _values(model)
    for keyword, asked in (("rtol", options.rtol), ("atol", options.atol)):
        names = [name if name in judged else _PART.sub("", name) for name, _ in asked if name]
        _check_names(keyword, names, judged, "output" if not options.every_value else "value")
    check_images(options, options.input_files + (data.files if data is not None else ()))


def check_data(model: ir.Model, options: RecalibrateOptions) -> None:
    """Every name that data are given for is an input's. Raises UsageError; it calls data what
    `bnfold recalibrate` does, and its function."""
    check_shapes(model, options.input_shapes)
    names = [
        name for name, one in options.recalibrate if name or not (isinstance(one, str) and _is_archive(one))
    ]
    _check_names("inputs", names, fed(model), "input")


def has_images(options: VerifyOptions) -> bool:
    """Did the user give an image, or a folder of them?"""
    return any(_is_image(Path(file)) for _, file in options.input_files)


def idle_patterns(model: ir.Model, options: FoldOptions) -> tuple[Finding, ...]:
    """A warning for every pattern of `keep` that matches no node."""
    names = {label(node) for node in nodes(model)} if options.keep else set()
    return tuple(
        Finding("warning", "keep.no-node", "", _idle(pattern, names))
        for pattern in options.keep
        if not any(fnmatchcase(name, pattern) for name in names)
    )


def fed(model: ir.Model) -> dict[str, ir.Value]:
    """The inputs that need a value: those without an initializer."""
    return {
        value.name or "": value for value in model.graph.inputs if value.name not in model.graph.initializers
    }


def _idle(pattern: str, names: set[str]) -> str:
    near = did_you_mean(pattern, names)
    return f"{spelled('keep')} '{pattern}' matches no node of the model" + (f"; {near}" if near else "")


def _check_names(keyword: str, names: Iterable[str], known: dict[str, ir.Value], what: str) -> None:
    """`known` are all the names there are; the empty one stands for the only one."""
    there = ", ".join(known) or "(none)"
    for name in names:
        if not name and len(known) != 1:
            raise UsageError(f"{spelled(keyword)} without a name", expected=f"the name of an {what}: {there}")
        if name and name not in known:
            raise UsageError(
                f"{spelled(keyword)} names '{name}', which is no {what} of the model",
                expected=f"one of {there}",
                way_out=did_you_mean(name, known),
            )


def _check_dims(one: ir.Value, dims: tuple[int, ...]) -> None:
    assert one.shape is not None
    declared = tuple(d if isinstance(d, int) else d.value for d in one.shape)
    fits = len(declared) == len(dims) and all(
        not isinstance(said, int) or said < 0 or said == asked
        for said, asked in zip(declared, dims, strict=True)
    )
    if not fits:
        raise UsageError(
            f"{spelled('input_shapes')} gives '{one.name}' the shape {list(dims)}",
            expected=f"one that fits [{', '.join('?' if d is None else str(d) for d in declared)}], as the "
            "model declares",
        )


def check_prepared_once(model: ir.Model, options: VerifyOptions | RecalibrateOptions) -> None:
    """Images are not prepared outside where the network itself does it."""
    baked = [one for one in recalled(model).baked if one.preprocessing.maps]
    for name in ("mean", "std") if baked else ():
        if getattr(options, name):
            raise UsageError(
                f"{spelled(name)} beside {spelled('bake_input')}: '{baked[0].input}' would be prepared twice",
                expected="one of them",
            )


def _values(model: ir.Model) -> dict[str, ir.Value]:
    return {value.name: value for node in nodes(model) for value in node.outputs if value.name}


def check_images(options: VerifyOptions | RecalibrateOptions, files: Iterable[tuple[str, str]]) -> None:
    """What steers how images are read needs one among the files. Raises UsageError."""
    if any(_is_image(Path(file)) for _, file in files):
        return
    standard = VerifyOptions()
    for name in ("mean", "std", "layout"):
        if getattr(options, name) != getattr(standard, name):
            raise UsageError(
                f"{spelled(name)} is for inputs that are images, and there are none",
                expected=f"an image or a folder of images in {spelled('inputs')}",
                way_out="leave it out",
            )


def images(folder: Path) -> list[Path]:
    """The images of a folder, in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)


def _is_archive(place: str) -> bool:
    return Path(place).suffix.lower() == ".npz"


def _is_image(place: Path) -> bool:
    return place.suffix.lower() in IMAGES or place.is_dir()
