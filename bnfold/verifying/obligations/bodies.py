"""Bodies of If, Loop and Scan, and functions: the scopes that two nodes hold which are alike but for them."""

from __future__ import annotations

from ...ir.graph import bodies, ir, label
from ..truth.call import Frame
from .scope import Scope, Sides


def scopes_of(sides: Sides, mine: ir.Node, theirs: ir.Node) -> list[Scope]:
    """The scopes of two nodes, which are the same if all of these are; none where they differ otherwise."""
    context = sides.context
    functions = mine.op_identifier() in context.reference.functions
    if not functions and not (bodies(mine) and bodies(theirs)):
        return []
    if functions != (theirs.op_identifier() in context.candidate.functions):
        return []
    tokens = [
        [None if v is None else side.token(v, context.words) for v in node.inputs]
        for side, node in ((sides.left, mine), (sides.right, theirs))
    ]
    if tokens[0] != tokens[1] or not _same_attributes(mine, theirs):
        return []
    if functions:
        found = [_function(sides, mine, theirs)]
    else:
        ours, others = _by_attribute(mine), _by_attribute(theirs)
        if ours.keys() != others.keys():
            return []
        found = [
            _body(sides, body, others[key], f"{label(mine)}/{place}")
            for place, (key, body) in enumerate(ours.items())
        ]
    scopes = [scope for scope in found if scope is not None]
    return scopes if len(scopes) == len(found) else []


def _body(sides: Sides, mine: ir.Graph, theirs: ir.Graph, where: str) -> Scope | None:
    if len(mine.inputs) != len(theirs.inputs) or len(mine.outputs) != len(theirs.outputs):
        return None
    given, other = dict(sides.left.tokens), dict(sides.right.tokens)
    for place, (a, b) in enumerate(zip(mine.inputs, theirs.inputs, strict=True)):
        given[a] = other[b] = sides.context.words.token(("body", id(mine), place))
    return Scope(
        reference=mine,
        candidate=theirs,
        given=given,
        theirs=other,
        outputs=dict(zip(mine.outputs, theirs.outputs, strict=True)),
        where=where,
        reference_frame=sides.context.frame(mine),
        candidate_frame=sides.scope.candidate_frame,
    )


def _function(sides: Sides, mine: ir.Node, theirs: ir.Node) -> Scope | None:
    a = sides.context.reference.functions[mine.op_identifier()]
    b = sides.context.candidate.functions[theirs.op_identifier()]
    if len(a.inputs) != len(b.inputs) or len(a.outputs) != len(b.outputs):
        return None
    given, other = {}, {}
    for place, (v, w) in enumerate(zip(a.inputs, b.inputs, strict=True)):
        given[v] = other[w] = sides.context.words.token(("parameter", id(a), place))
    frame = sides.context.frame(a.graph)
    theirs_frame = (
        Frame(frame.opset, b.opset_imports, attributes=frame.attributes) if frame is not None else None
    )
    return Scope(
        reference=a.graph,
        candidate=b.graph,
        given=given,
        theirs=other,
        outputs=dict(zip(a.outputs, b.outputs, strict=True)),
        where=label(mine),
        reference_frame=frame,
        candidate_frame=theirs_frame,
    )


def _by_attribute(node: ir.Node) -> dict[tuple[str, int], ir.Graph]:
    """The bodies of a node by their attributes, which may stand in any order."""
    return {
        (name, place): body
        for name, attribute in sorted(node.attributes.items())
        if not attribute.is_ref()
        for place, body in enumerate(_graphs_of(attribute))
    }


def _graphs_of(attribute: ir.Attr) -> list[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    return list(attribute.as_graphs()) if attribute.type == ir.AttributeType.GRAPHS else []


def _same_attributes(mine: ir.Node, theirs: ir.Node) -> bool:
    """Are the attributes the same, graphs aside?"""

    def plain(node: ir.Node) -> dict[str, object]:
        return {
            name: a.ref_attr_name if a.is_ref() else repr(a.value)
            for name, a in node.attributes.items()
            if a.is_ref() or a.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        }

    return plain(mine) == plain(theirs)
