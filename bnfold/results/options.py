"""What the user asked of reading, folding and verification."""

from __future__ import annotations

from dataclasses import dataclass

NOISE_LIMIT = 4.0


@dataclass(frozen=True)
class FoldOptions:
    """What the user asked of folding.

    keep                 fnmatch patterns of node names that are not to be touched
    freeze_initializers  treat initializers that a caller may override (graph inputs, IR >= 4) as constants
    withdrawn            exact node names that verification took back, with the reason
    """

    keep: tuple[str, ...] = ()
    freeze_initializers: bool = False
    duplicate_producers: bool = False
    merge_branches: bool = True
    simplify_leftovers: bool = False
    withdrawn: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ReadOptions:
    """What the user asked of reading. A reader ignores nothing in silence: an option that its format has no
    use for is a UsageError raised by the command line, so readers may take the fields of their own format and
    the common ones alone.

    Common
      input_shapes    input name -> dims; the name "" stands for the only input
      opset           opset of the model that a reader builds (Caffe, darknet: 17 by default)
      strict          warnings become errors
      dialect         "auto", or a dialect of the format
      random_weights  seed for weights and healthy statistics when there is no weights file
    ONNX
      freeze_initializers  initializers that are graph inputs too are constants, whatever the IR version
    Caffe
      phase, stages, level, cut_at, assume_global_stats
    darknet
      heads ("layer", "raw", "boxes"), batch (None: symbolic), allow_partial
    """

    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    opset: int | None = None
    strict: bool = False
    dialect: str = "auto"
    random_weights: int | None = None
    freeze_initializers: bool = False
    phase: str = "TEST"
    stages: tuple[str, ...] = ()
    level: int = 0
    cut_at: tuple[str, ...] = ()
    assume_global_stats: bool = False
    heads: str = "layer"
    batch: int | None = None
    allow_partial: bool = False

    def shape_of(self, name: str) -> tuple[int, ...] | None:
        """The dims asked for an input, by its name or by the empty name."""
        table = dict(self.input_shapes)
        return table.get(name, table.get(""))


@dataclass(frozen=True)
class VerifyOptions:
    """What to run and what to demand.

    providers     short or full names of onnxruntime execution providers: ("cpu", "cuda")
    input_shapes  input name -> dims, "" for the only input; symbolic dims not given become small defaults
                  that are reported
    inputs        input name -> file (.npy, .npz, .pb, .bin, an image or a folder of images), "" for a .npz
                  with all
    samples       how many seeded random samples
    noise_limit   the gate: error of the candidate over error of the reference, both against the float64 truth
    truth         "float64" (the interpreter), "unfolded" (the reference in its own type; a weaker gate),
                  "auto"
    rtol, atol    additional fixed tolerances, output name -> value, "" for all outputs
    every_value   judge every value that both models have, not outputs alone
    max_memory    bytes of its own that this process may take while verifying, mapped files not counted; None:
                  as it needs

    Differences between the two models' interfaces that are allowed:
    rename            (name in the reference, name in the candidate) of inputs and outputs
    by_position       inputs and outputs are paired by position, whatever their names
    any_order         the same names may stand in another order
    fixed_shapes      a free dim may be a number in the candidate
    drop_overridable  the candidate may lack an input that has a default value in the reference
    """

    providers: tuple[str, ...] = ("cpu",)
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    samples: int = 3
    seed: int = 0
    noise_limit: float = NOISE_LIMIT
    truth: str = "auto"
    rtol: tuple[tuple[str, float], ...] = ()
    atol: tuple[tuple[str, float], ...] = ()
    every_value: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str = "NCHW"
    freeze_initializers: bool = False
    max_memory: int | None = None
    rename: tuple[tuple[str, str], ...] = ()
    by_position: bool = False
    any_order: bool = False
    fixed_shapes: bool = False
    drop_overridable: bool = False
