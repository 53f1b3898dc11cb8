"""darknet: cfg and weights.

    sniff.py        does this content look like a cfg? (no imports, so that the command line stays quick)
    syntax.py       a line and its numbers, as the forks read them
    cfg.py          the sections of a cfg with all its quirks; lines are kept
    schema.py       sections and their options: signatures are schemas, one binder reads them
    ignored_options.py      options that inference has no use for, each with the reason
    foreign_sections.py     sections of other programs, and the way out
    spelling.py     what an unknown word probably stands for
    dialects.py     the forks, what only one of them has, and the choice between them
    hank_ai.py      what hank-ai's fork stops at, and which lines it reads otherwise
    findings.py     findings; under --strict a warning is an error
    weights.py      header, arrays in file order, exact accounting of bytes
    accounting.py   why a weights file does not fit, and what usually causes it
    cuts.py         the layers at which the user ends the network
    activations.py  the table of activations
    layer.py        what a section's function works with: features, arrays, operators
    sections/       one function per section
    tree.py         the class hierarchy of [softmax] and [region]
    heads.py        decoded boxes and scores
    pair.py         where everything stands that a fold changes, for a result as cfg and weights
    network.py      what the layers of one network share
    reader.py       the walk over the sections
    table.py        the table of sections for the README

Rule 1: the file order of arrays is the order of `take` calls in a section's function, and visible nowhere
        else.
Rule 2: a difference between the forks stands where it matters, as `layer.fork`.
"""

from __future__ import annotations

from pathlib import Path

from ...results.options import ReadOptions
from ...results.plan import Loaded
from .sniff import sniff

__all__ = ["read", "read_pair", "sniff"]


def read(network: Path, weights: Path | None, options: ReadOptions) -> Loaded:
    """The complete, unfolded model of a cfg and its weights (or of seeded weights: `options.random_weights`).

    Errors: Unreadable, Malformed and Mismatch for what is wrong with the files, Unsupported for what has no
    meaning in ONNX, UsageError for options that contradict each other. `reader.py` holds the walk.
    """
    from .reader import read_network

    return read_network(network, weights, options)


def read_pair(network: Path, weights: Path | None, options: ReadOptions) -> Loaded:
    """The same for a result as cfg and weights: `Loaded.pair` says where everything stands that a fold may
    change."""
    from .pair import read_pair as read_it

    return read_it(network, weights, options)
