"""The rules of `bnfold check`, in words: what each code means and what to do about it. The codes are stable:
CI relies on them.

What finds the violations of a rule is in check.py; reports read the words here.
"""

from __future__ import annotations

from ..records import dataclass


@dataclass(frozen=True)
class Rule:
    """`name` as an identifier, `title` in a few words, `help` with the way out.

    slack  how much a figure may grow over a baseline's before it counts as worse
    """

    name: str
    title: str
    help: str
    slack: float = 1.0


RULEBOOK: dict[str, Rule] = {
    "check.unreadable": Rule(
        "Unreadable",
        "The model cannot be read",
        "The file is missing, cut off, damaged, of another kind, does not belong to its weights, "
        "or holds a construct that bnfold does not "
        "know. The message says where. Export the model again, or give the files that belong together.",
    ),
    "check.certificate": Rule(
        "Certificate",
        "The model is not the one that was certified",
        "A certificate lies beside the model, and the model, its certificate or its sources "
        "changed since it was made; or the policy asks "
        "for a certificate and there is none. Fold the sources again with 'bnfold fold "
        "--certificate', or bring the certified file back.",
    ),
    "check.invalid": Rule(
        "Invalid",
        "The ONNX checker refuses the model",
        "The file can be read, but breaks the ONNX specification, so runtimes may refuse it or run "
        "it differently. Export it again.",
    ),
    "check.foldable": Rule(
        "Foldable",
        "A batch norm that could be folded is left",
        "It costs time and memory in every inference and computes nothing that its neighbour could "
        "not. Deploy what 'bnfold fold' writes.",
    ),
    "check.kept": Rule(
        "Kept",
        "A batch norm is kept for a reason that the policy does not allow",
        "It cannot be folded exactly; the code in brackets says why. Change the model, or add the "
        "code to allow-kept in the policy.",
    ),
    "check.size": Rule(
        "Size",
        "The model's files are larger than the policy allows",
        "Raise max-size in the policy where the growth is meant.",
    ),
    "check.not-equivalent": Rule(
        "NotEquivalent",
        "The model does not compute what the model it is held against computes",
        "Its error against a float64 run is beyond what rounding can do: it was folded wrongly, or "
        "its weights changed. Fold it again with "
        "'bnfold fold', and see 'bnfold verify' for the first value that differs.",
        slack=1.25,
    ),
    "check.unverified": Rule(
        "Unverified",
        "The model was not verified as the policy demands",
        "The policy names execution providers or a noise limit, and no certificate shows that the "
        "model passed on them. Fold it with "
        "'bnfold fold --certificate --ep ...' on a machine that has these providers.",
    ),
}
