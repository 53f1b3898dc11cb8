"""Why a channel that does nothing stays in the model: the codes that reports of slimming name, and their
meaning in words.

A code is a row here, and stable. Rules of slimming block with one of them (slimming/groups.py).
"""

from __future__ import annotations

ALIVE = ""  # the code of a channel that does something: no reason that a report has to give

STAY_CODES: dict[str, str] = {
    "stays.requested": "you asked to keep it",
    "stays.graph-output": "it is part of a graph output",
    "stays.graph-input": "what it works on is fed, or comes from an operator that gives every channel",
    "stays.padding": "a window that pads reads it, and its constant is not 0: the border would differ",
    "stays.residual": "it is added to, or multiplied by, channels that are not dead",
    "stays.read-elsewhere": "another reader of the same channel gets numbers that vary",
    "stays.unknown-operator": "it is not known what an operator that reads it makes of a missing channel",
    "stays.body": "the body of an If, Loop or Scan reads it from outside",
    "stays.group": "a grouped convolution has to lose as many channels in every group",
    "stays.last-channel": "it is the last channel of its layer",
    "stays.weight-not-constant": "the weight that reads or makes it is computed, fed, or may be overridden",
    "stays.quantized-weight": "the weight that reads or makes it is quantised",
    "stays.no-bias": "the operator that reads it has no bias that could take its constant",
    "stays.shape": "a size that is computed or not known depends on it",
    "stays.training-mode": "its batch norm normalises with the statistics of the batch",
    "stays.non-finite": "its batch norm has parameters that are not finite",
    "stays.overflow": "the constant that its readers would take is beyond the largest number of their type",
    "stays.withdrawn": "it was taken out, verification failed, and it was put back",
}
