"""Static shapes of values: what is known of them, and what each operator does to them."""

from .arguments import axes_of, first_axis, pads_of, slices_of, split_sizes
from .asker import Dim, Shape
from .known import Shapes

__all__ = ["Dim", "Shape", "Shapes", "axes_of", "first_axis", "pads_of", "slices_of", "split_sizes"]
