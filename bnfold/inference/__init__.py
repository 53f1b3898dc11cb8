"""Static shapes of values: what is known of them, and what each operator does to them."""

from .arguments import axes_of, first_axis, pads_of, slices_of, split_sizes
from .rule_context import Dim, Shape
from .shapes import Shapes

__all__ = ["Dim", "Shape", "Shapes", "axes_of", "first_axis", "pads_of", "slices_of", "split_sizes"]
