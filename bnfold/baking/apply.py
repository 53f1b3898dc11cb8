"""The two moves of the room: preprocessing into a model that was read, and a baked model made ready for
folding.

bake(loaded, options)        Loaded -> Loaded      nodes behind inputs, nothing folded: the reference
prepared(model, options)     ir.Model -> Prepared  what the engine cannot do itself: the order of channels
                                                   into weights, and a Pad by the mean where it is asked for
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from ..ir.foreign_types import cloned
from ..ir.graph import ir, is_op, label, source_text
from ..ir.provenance import BAKED_KEY
from ..records import dataclass
from ..results.kept_reasons import CODES
from ..results.model_names import check_baking
from ..results.options import FoldOptions, ReadOptions, spelled
from ..results.plan import Kept, Loaded
from .front import put_in_front
from .order import Stays, taken
from .padding import NoPad, pad_by_mean, padding
from .resolve import Wanted, wanted


def bake(loaded: Loaded, options: ReadOptions) -> Loaded:
    """The model with what the options ask for behind its inputs; the same where they ask for nothing. Raises
    UsageError, Mismatch, Unsupported."""
    if not options.edits:
        return loaded
    check_baking(loaded.model, options)
    asked, notes = wanted(loaded, options)
    unbaked = loaded.model
    model = cloned(unbaked)
    inputs = {value.name: value for value in model.graph.inputs}
    for one in asked:
        here = inputs[one.input.name]
        cast = next((use.node for use in here.uses()), None)
        at = here if one.at is one.input or cast is None else cast.outputs[0]
        put_in_front(model, replace(one, input=here, at=at))
    return replace(
        loaded,
        model=model,
        findings=loaded.findings + tuple(notes),
        files=(*loaded.files, *_mean_files(asked)),
        baked=tuple(one.baked for one in asked),
        unbaked=unbaked,
        as_read=False,
    )


@dataclass(frozen=True)
class Prepared:
    """A baked model made ready. `gone` are nodes that weights took, `kept` those that stay, and why; `words`
    says of a mean what a Pad would do, or why none can."""

    model: ir.Model
    gone: tuple[str, ...]
    kept: tuple[Kept, ...]
    words: dict[str, str]


def prepared(model: ir.Model, options: FoldOptions, in_place: bool = False) -> Prepared:
    """A model with something baked in, ready to be folded."""
    copy = model if in_place else cloned(model)
    gone: list[str] = []
    kept: list[Kept] = []
    for node in list(copy.graph):
        if node.metadata_props.get(BAKED_KEY) == "order" and is_op(node, "Gather"):
            refused = _ordered(copy, node, options)
            kept += [refused] if refused is not None else []
            gone += [label(node)] if refused is None else []
    words = {
        label(node): _padded(copy, node, options)
        for node in list(copy.graph)
        if node.metadata_props.get(BAKED_KEY) == "mean" and is_op(node, "Sub")
    }
    return Prepared(copy, tuple(gone), tuple(kept), words)


def _mean_files(asked: list[Wanted]) -> tuple[Path, ...]:
    """The mean images, each once."""
    files = (one.baked.preprocessing.mean_file for one in asked)
    return tuple(dict.fromkeys(Path(file) for file in files if file))


def _padded(model: ir.Model, node: ir.Node, options: FoldOptions) -> str:
    """Put a Pad by the mean in front, where it is asked for and possible; what is to be said where not."""
    try:
        found = padding(model, node, options.freeze_initializers)
    except NoPad as error:
        return f"no Pad can take its place: {error}" if options.bake_padding == "pad" else ""
    if options.bake_padding != "pad":
        return f"{spelled('bake_padding', 'pad')} puts a Pad by the mean there"
    pad_by_mean(model, node, found)
    return ""


def _ordered(model: ir.Model, node: ir.Node, options: FoldOptions) -> Kept | None:
    """Let the weights take an order of channels; why it stays, where it does."""
    name = label(node)

    def kept(code: str, reason: str) -> Kept:
        return Kept(name, node.op_type, source_text(node), code, reason)

    if any(fnmatchcase(name, pattern) for pattern in options.keep):
        return kept("kept.requested", CODES["kept.requested"])
    if (why := dict(options.withdrawn).get(name)) is not None:
        return kept("kept.withdrawn", why)
    try:
        taken(model, node, options.freeze_initializers)
    except Stays as stays:
        return kept("kept.channel-order", str(stays))
    return None
