"""Free dims at sizes that constants name: beyond a name where that fits, else at it, as far as the cost
allows."""

from __future__ import annotations

from bnfold.ir.graph import ir
from bnfold.verifying.inputs.larger_sizes import Larger
from bnfold.verifying.inputs.named_sizes import NamedSizes
from bnfold.verifying.inputs.samples import inputs_of
from bnfold.verifying.inputs.sizes import Choice, Search

from ..sides import proto

HEAD = '<ir_version: 10, opset_import: ["" : 20]> '
FREE = "g (float[1, A, B] x) => (float[1, A, B] y) { y = Relu (x) }"
WITH_BATCH = "g (float[batch, T] x) => (float[batch, T] y) { y = Relu (x) }"
TABLE = """g (float[1, T] x) => (float[1, T] y) <float[600] w, int64[1] z = {0}> {
    n = Shape <start = 1, end = 2> (x) t = Slice (w, z, n) y = Add (x, t)
}"""


def offered(
    text: str,
    *names: int,
    most: int = 1 << 22,
    windows: tuple[int, ...] = (),
    refused: tuple[int, ...] = (),
    **asked: tuple[int, ...],
) -> tuple[list[dict[str, int]], int]:
    """The sizes that are run, and the largest that costs too much."""
    model = ir.from_proto(proto(HEAD + text))
    search = Search(model, inputs_of(model), asked)
    first = next(search.first())
    found: list[dict[str, int]] = []

    def accepts(choice: Choice) -> bool:
        if not set(refused).isdisjoint(choice.sizes.values()):
            return False
        found.append(dict(choice.sizes))
        return True

    larger = Larger(search, first, dict(first.sizes), most)
    larger(NamedSizes(names, frozenset(windows)), accepts)
    return found, larger.too_large


def test_all_free_dims_take_one_size_beyond_the_largest_name() -> None:
    assert offered(FREE, 100, 50) == ([{"A": 102, "B": 102}], 0)


def test_what_only_one_model_names_does_not_keep_from_larger_names() -> None:
    assert offered(FREE, 50, 100)[0] == [{"A": 52, "B": 52}, {"A": 102, "B": 102}]


def test_a_table_contradicts_what_lies_beyond_it() -> None:
    assert offered(TABLE, 700, 600) == ([{"T": 600}], 0)


def test_a_size_that_the_engine_refuses_is_followed_by_a_smaller_one() -> None:
    assert offered(TABLE, 500, refused=(502, 501))[0] == [{"T": 512}]


def test_where_a_size_costs_too_much_a_smaller_one_is_taken() -> None:
    found, too_large = offered(FREE, 1000, most=2 * 400 * 400)
    assert {"A": 384, "B": 384} in found
    assert too_large == 0 or too_large >= 1000


def test_the_batch_is_one_where_the_length_costs_much() -> None:
    assert offered(WITH_BATCH, 1000, most=3000)[0][0] == {"batch": 1, "T": 1002}


def test_batches_need_not_reach_windows() -> None:
    assert offered(WITH_BATCH, 1000, windows=(1000,)) == ([{"batch": 2, "T": 1002}], 0)


def test_what_was_asked_for_stays() -> None:
    assert offered(
        "g (float[N] x, float[M] z) => (float[N] y, float[M] u) { y = Relu (x) u = Relu (z) }", 90, x=(5,)
    )[0] == [{"M": 92}]
