"""Why an affine node is kept: the codes that plans, reports, policies and `--allow-kept` name, and their
meaning in words.

A code is a row here, and stable. Rules of folding refuse with one of them (folding/reasons.py).
"""

from __future__ import annotations

PADDING = "kept.padding-with-shift"
PATTERN = "kept.pattern"  # shown where more is asked for: nothing is lost by it

CODES: dict[str, str] = {
    "kept.requested": "you asked to keep it",
    "kept.withdrawn": "it was folded, verification failed, and the fold was taken back",
    "kept.training-mode": "it normalises with the statistics of the batch",
    "kept.per-activation": "it has statistics for every activation (spatial=0), not for every channel",
    "kept.parameter-not-constant": "a parameter is computed or fed at run time",
    "kept.overridable-parameter": "a parameter is a graph input that a caller may override",
    "kept.non-finite": "its map is not finite",
    "kept.unknown-rank": "the rank of its input is not known, so its channel axis cannot be traced",
    "kept.no-linear-neighbour": "no linear operator beside it can hold its map",
    "kept.graph-input": "it works on a graph input",
    "kept.graph-output": "the value before it is also a graph output",
    "kept.multiple-consumers": "the value before it is also read by something else",
    "kept.non-linear": "an operator that does not commute with it stands in between",
    "kept.negative-scale": "an operator in between (such as Relu) lets only non-negative scales pass, "
    "and this scale is negative",
    "kept.shift-does-not-pass": "an operator in between lets a scale pass but no shift",
    "kept.wrong-axis": "it does not vary along the channel axis alone",
    "kept.channel-order": "what reads the channels has no weight that could take their order",
    PADDING: "the convolution after it pads, and the shift is not zero",
    "kept.weight-not-constant": "the weight beside it is computed or fed at run time",
    "kept.bias-not-constant": "the bias beside it is computed or fed at run time",
    "kept.quantized-weight": "the weight beside it is quantised and its scale cannot hold the map",
    "kept.overflow": "a folded weight would overflow or lose its digits in its type",
    "kept.ill-conditioned": "folding would amplify rounding beyond the limit",
    "kept.would-add-nodes": "folding would not remove work",
    PATTERN: "it is a part of what runtimes compute as one operator (--fold-patterns)",
    "kept.shared-function": "its function is called from several places with other parameters",
    "kept.precision": "it is computed in float32; weights of 16 bits would round it (--fold-into-half)",
    "kept.type": "the types around it differ in a way that folding would change",
    "kept.contradictory": "the sizes around it contradict each other",
    "kept.format": "the format that is written has no place for the folded form",
    "kept.ambiguous-maps": "one value would have to hold two different maps",
}
