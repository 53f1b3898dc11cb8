"""Numbers that an operator looks for: another key or threshold is a difference, wherever it stands."""

from __future__ import annotations

import pytest

from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare

from ..sides import side

HEAD = '<ir_version: 10, opset_import: ["" : 21, "ai.onnx.ml" : 3]>\n'
INTEGERS = "g (int64[N, 4] x) => (int64[N, 4] y) { y = ai.onnx.ml.ENDING(x) }"
FLOATS = "g (float[N, 3] x) => (float[N, 3] y) { y = ai.onnx.ml.ENDING(x) }"
TREE = """g (float[N, 2] x) => (float[N, 1] y) { y = ai.onnx.ml.TreeEnsembleRegressor<n_targets = 1,
    nodes_featureids = [0, 0, 0], nodes_treeids = [0, 0, 0], nodes_nodeids = [0, 1, 2],
    nodes_values = [0.5, 0.0, 0.0], nodes_truenodeids = [1, 0, 0], nodes_falsenodeids = [2, 0, 0],
    target_treeids = [0, 0], target_nodeids = [1, 2], target_ids = [0, 0], target_weights = [1.0, 2.0],
    ENDING>(x) }"""

DIFFERENT = {
    "the value of a key that is large": (
        INTEGERS.replace(
            "ENDING",
            "LabelEncoder<keys_int64s = [0, 1, 100000], values_int64s = [5, 6, ENDING], default_int64 = 7>",
        ),
        "8",
        "9",
    ),
    "the value of a key that is a float": (
        FLOATS.replace(
            "ENDING",
            "LabelEncoder<keys_floats = [0.0, 33.5], values_floats = [5.0, ENDING], default_float = 7.0>",
        ),
        "8.0",
        "9.0",
    ),
    "what takes the place of a number": (
        FLOATS.replace(
            "ENDING", "Imputer<imputed_value_floats = [1.0, 2.0, ENDING], replaced_value_float = 7.5>"
        ),
        "3.0",
        "4.0",
    ),
    "a category": (
        INTEGERS.replace("int64[N, 4] y", "float[N, 4, 3] y").replace(
            "ENDING", "OneHotEncoder<cats_int64s = [1, 2, ENDING]>"
        ),
        "300",
        "301",
    ),
    "a tie with the threshold of a tree": (
        TREE,
        'nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"]',
        'nodes_modes = ["BRANCH_LT", "LEAF", "LEAF"]',
    ),
    "where a tree sends what is missing": (
        TREE.replace("ENDING", 'nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"], ENDING'),
        "nodes_missing_value_tracks_true = [0, 0, 0]",
        "nodes_missing_value_tracks_true = [1, 0, 0]",
    ),
    "a word of two": (
        """g (int64[4] x) => (float[2] y) { y = TfIdfVectorizer<mode = "TF", min_gram_length = 2,
            max_gram_length = 2, max_skip_count = 0, ngram_counts = [0, 0], ngram_indexes = [0, 1],
            pool_int64s = [700, 800, 900, ENDING]>(x) }""",
        "1000",
        "1001",
    ),
}


@pytest.mark.parametrize(("text", "one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_another_number_that_is_looked_for_is_a_difference(text: str, one: str, other: str) -> None:
    reference, again, candidate = (
        side(HEAD + text.replace("ENDING", ending)) for ending in (one, one, other)
    )
    assert compare(reference, again, VerifyOptions()).equivalent
    assert not compare(reference, candidate, VerifyOptions()).equivalent
