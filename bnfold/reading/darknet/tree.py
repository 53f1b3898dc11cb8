"""The class hierarchy of [softmax] and [region] (`tree=9k.tree`): a line per class, its name and the line of
its parent (-1: none).

Classes with one parent that stand together are siblings; a softmax runs among siblings alone. In ONNX:
siblings are gathered into the rows of a matrix, padded with the lowest number, and taken out again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import Malformed, Mismatch, Unreadable, Unsupported, blamed_on, reason
from ...ir.graph import ir
from ...records import dataclass
from .layer import Layer, dims_of
from .syntax import atoi

LIMIT = 4 << 20  # bytes of a tree file, and numbers in the matrix
LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Tree:
    """Parents by class (-1: none), and the sizes of the runs of siblings."""

    parents: np.ndarray
    groups: np.ndarray


def read_tree(layer: Layer, file: str, classes: int, part: bool = False) -> Tree:
    """The tree that a section names, looked for beside the cfg; with `part` it may be of the first classes
    alone. Errors: Unreadable, Malformed, Mismatch with the line of the option."""
    where = layer.at("tree")
    path = _beside(layer.network.path, file)
    if path is None:
        raise Unreadable(
            f"'{file[:200]}' does not exist",
            where=where,
            expected="the file of the class hierarchy",
            way_out=f"put it beside {layer.network.file}",
        )
    try:
        with path.open("rb") as opened:
            data = opened.read(LIMIT + 1)
    except OSError as error:
        raise Unreadable(f"cannot be read ({reason(error)})", where=path) from error
    if len(data) > LIMIT:
        raise Malformed(f"the file is larger than {LIMIT:,} bytes", where=path)
    layer.network.files.append(path)
    parents = np.array(
        [
            _parent(line, f"{path}:{number}", classes)
            for number, line in enumerate(data.decode("latin-1").splitlines(), 1)
        ],
        np.int64,
    )
    if part and 0 < len(parents) < classes:
        layer.warn(
            "tree",
            f"{path.name} has {len(parents):,} of {classes:,} classes; the others keep the values of the "
            "layer before, as in darknet",
            "tree",
        )
    elif len(parents) != classes:
        raise Mismatch(
            f"{path.name} has {len(parents):,} classes",
            where=where,
            expected=f"{classes:,}, as the layer has",
        )
    starts = np.flatnonzero(np.diff(parents, prepend=-2))
    return Tree(parents, np.diff(starts, append=len(parents)))


def _beside(cfg: Path, file: str) -> Path | None:
    """The file below the cfg's folder, below where we are, or below darknet's own folder if the cfg lies in
    the folder `cfg` of one; else by its name alone beside the cfg. A cfg comes from anywhere, so no other
    place is looked at, whatever the path or a link in it says."""
    home = cfg.parent
    roots = [home, Path(), *([home.parent] if home.resolve().name == "cfg" else [])]
    places = [(root, root / file) for root in roots] + [(home, home / Path(file).name)]
    return next((place for root, place in places if _is_file_below(root, place)), None)


def _is_file_below(root: Path, place: Path) -> bool:
    """Is it a regular file, and really below the folder? A path that no system takes is neither."""
    try:
        return place.is_file() and place.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # a name too long, a null byte, links in a circle
        return False


def _parent(line: str, where: str, classes: int) -> int:
    words = line.split()
    with blamed_on(where):
        parent = atoi(words[1])[0] if len(words) > 1 else -1
        if parent >= classes:
            raise Malformed(f"the parent is class {parent}", expected=f"one of {classes:,} classes, or -1")
    return max(parent, -1)


def softmax(layer: Layer, x: ir.Value, tree: Tree) -> ir.Value:
    """The softmax among siblings over the last axis of x; classes behind those of the tree stay."""
    dims, classes = dims_of(x), len(tree.parents)
    if classes < dims[-1]:
        parts = layer.split(x, len(dims) - 1, {"in_tree": classes, "behind": dims[-1] - classes})
        shares = softmax(layer, parts["in_tree"], tree)
        return layer.op("Concat", shares, parts["behind"], axis=len(dims) - 1, shape=dims)
    groups, widest = len(tree.groups), int(tree.groups.max())
    if groups * widest > LIMIT:
        raise Unsupported(f"a tree of {groups:,} groups of up to {widest:,} classes")
    slots = np.arange(widest)[None, :] < tree.groups[:, None]
    table = np.full((groups, widest), classes, np.int64)
    table[slots] = np.arange(classes)
    axis = len(dims) - 1
    padded = layer.op(
        "Pad",
        x,
        layer.ints([0] * (2 * axis + 1) + [1]),
        layer.scalar(LOWEST),
        shape=[*dims[:-1], classes + 1],
    )
    rows = layer.op(
        "Gather", padded, layer.constant("siblings", table), axis=axis, shape=[*dims[:-1], groups, widest]
    )
    shares = layer.op("Softmax", rows, axis=-1)
    flat = layer.reshape(shares, [0] * axis + [groups * widest])
    return layer.op("Gather", flat, layer.constant("places", np.flatnonzero(slots)), axis=axis, shape=dims)


def multiplied(layer: Layer, x: ir.Value, tree: Tree) -> ir.Value:
    """Every class's share times those of its ancestors, over the last axis. darknet multiplies class by
    class, so a parent that comes later counts with its own share alone."""
    dims = dims_of(x)
    axis, classes = len(dims) - 1, len(tree.parents)
    if classes < dims[-1]:
        raise Unsupported(
            f"scores of {dims[-1]:,} classes from a tree of {classes:,}: darknet reads behind the tree"
        )
    later = tree.parents >= np.arange(classes)
    above = layer.constant("parents", np.where(tree.parents < 0, 2 * classes, tree.parents + classes * later))
    product = x
    for _ in range(_depth(tree.parents)):
        both = layer.op("Concat", product, x, axis=axis, shape=[*dims[:-1], 2 * classes])
        padded = layer.op(
            "Pad",
            both,
            layer.ints([0] * (2 * axis + 1) + [1]),
            layer.scalar(1),
            shape=[*dims[:-1], 2 * classes + 1],
        )
        product = layer.op("Mul", x, layer.op("Gather", padded, above, axis=axis, shape=dims))
    return product


def _depth(parents: np.ndarray) -> int:
    """The most ancestors that a class has. Errors: Unsupported for a chain of absurd length."""
    depth = np.zeros(len(parents), np.int64)
    for child, parent in enumerate(parents):
        depth[child] = (depth[parent] + 1 if parent < child else 1) if parent >= 0 else 0
    if len(depth) and depth.max() > 100:
        raise Unsupported(f"a class hierarchy of {depth.max():,} levels", expected="at most 100")
    return int(depth.max(initial=0))
