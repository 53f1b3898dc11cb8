"""Sections that no darknet of the dialects has, though cfgs of other programs carry them: whose they are, and
the way out.

A row: (sections, what is known of them, what to do). Facts from the programs' own code: PyTorch_YOLOv4 and
YOLOR (models/models.py) and ports of YOLOv3 to PyTorch (models.py).
"""

from __future__ import annotations

_EXPORT = "export the model to ONNX with the program that trained it"
ROWS: tuple[tuple[str, str, str], ...] = (
    (
        "route_lhalf",
        "PyTorch programs have it: a [route] to the first half of the channels",
        "AlexeyAB's darknet writes it as [route] with groups=2 and group_id=0",
    ),
    (
        "implicit_add implicit_mul implicit_cat shift_channels control_channels alternate_channels "
        "select_channels implicit_add_2d implicit_mul_2d implicit_cat_2d shift_channels_2d "
        "control_channels_2d alternate_channels_2d select_channels_2d",
        "YOLOR's PyTorch program has it",
        _EXPORT,
    ),
    ("depthwise se ca cbam", "PyTorch programs have it, each with weights of its own", _EXPORT),
)
_TABLE = {name: (known, way_out) for names, known, way_out in ROWS for name in names.split()}


def foreign(section: str) -> tuple[str, str] | None:
    """(what is known of a section of other programs, what to do), None where nothing is."""
    return _TABLE.get(section)
