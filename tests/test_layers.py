"""Who may import whom. Imports point one way, down the table; no module imports itself through others.

Every import statement counts: relative ones, those inside functions, and those for type checkers alone.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "bnfold"

# The flow, from the bottom up. A line may import from the lines above it. A name covers everything inside it
# that has no line of its own; what one name covers may import each other, two names of one line may not.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors", "version", "records"),
    ("files",),
    ("ir",),
    ("operators",),
    ("inference",),
    ("results",),
    ("reading.builder",),
    ("reading.caffe", "reading.darknet", "reading.onnx", "writing", "folding", "verifying", "reporting"),
    ("reading", "recalibrating", "slimming"),
    ("baking",),
    ("pipeline",),
    ("gate", "caffe"),
    ("api",),
    ("__init__",),
    ("batch",),
    ("cli",),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}


def module_of(file: Path) -> str:
    """`reading/caffe/layers.py` -> `reading.caffe.layers`; a folder's `__init__` is the folder, the package's
    own is `__init__`."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imports(module: str, tree: ast.Module) -> set[str]:
    """The modules of this package that a module imports. `from ..x import y` means x.y where that is a
    module, else x."""
    found: set[str] = set()
    package = (
        module.split(".")
        if MODULES[module].name == "__init__.py" and module != "__init__"
        else module.split(".")[:-1]
    )
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted = [alias.name.split(".") for alias in node.names]
            found.update(resolved(name[1:]) for name in wanted if name[0] == PACKAGE.name)
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level:
                base = package[: len(package) - node.level + 1] + base
            elif base[:1] == [PACKAGE.name]:
                base = base[1:]
            else:
                continue
            found.update(resolved([*base, alias.name]) for alias in node.names)
    return found - {module}


def resolved(parts: list[str]) -> str:
    """The longest beginning of a dotted name that is a module; the package itself where there is none."""
    while parts and ".".join(parts) not in MODULES:
        parts = parts[:-1]
    return ".".join(parts) or "__init__"


def unit(module: str) -> str:
    """The name of the table that covers a module: the longest that it begins with."""
    parts = module.split(".")
    return next((name for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in LEVEL), "")


def may_import(here: str, there: str) -> bool:
    return unit(here) == unit(there) or LEVEL[unit(there)] < LEVEL[unit(here)]


GRAPH = {module: imports(module, ast.parse(file.read_text())) for module, file in MODULES.items()}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    assert unit(module), f"bnfold.{module} stands on no line of LEVELS: which one is it?"
    wrong = sorted(there for there in GRAPH[module] if not may_import(module, there))
    assert not wrong, f"bnfold.{module} must not import {', '.join(wrong)}"


def test_no_module_imports_itself_through_others():
    """Taking away what imports nothing that is left, and what nothing left imports, again and again, must
    leave none."""
    left = dict(GRAPH)
    while True:
        imported = set().union(*left.values())
        ends = [
            module for module, wanted in left.items() if module not in imported or not wanted & left.keys()
        ]
        if not ends:
            break
        for module in ends:
            del left[module]
    assert not left, f"these import each other: {sorted(left)}"


@pytest.mark.parametrize(
    ("module", "statement", "meant"),
    [
        ("reading.builder", "from ..ir import tensor", "ir.tensor"),
        ("reading.builder", "from ..ir.graph import ir", "ir.graph"),
        ("reading.builder", "import bnfold.files.protobuf", "files.protobuf"),
        ("reading.builder", "from bnfold.folding import plan", "folding"),
        ("reading.builder", "def f():\n    from ..writing import onnx", "writing.onnx"),
        ("reading", "from .builder import Build", "reading.builder"),
        ("reading.caffe", "from ..builder import Build", "reading.builder"),
        (
            "ir.tensor",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .graph import Names",
            "ir.graph",
        ),
        ("ir.tensor", "from .. import errors", "errors"),
        ("ir.tensor", "from .. import __version__", "__init__"),
    ],
)
def test_the_walk_understands_every_form(module, statement, meant):
    assert imports(module, ast.parse(statement)) - {"typing"} == {meant}


@pytest.mark.parametrize(
    ("here", "there", "allowed"),
    [
        ("folding.engine", "ir.graph", True),
        ("ir.graph", "folding.engine", False),
        ("folding.engine", "reading.onnx.reader", False),
        ("folding.engine", "verifying.compare", False),
        ("reading.caffe.net", "reading.darknet.reader", False),
        ("reading.caffe.net", "reading.builder", True),
        ("reading.builder", "reading.caffe.net", False),
        ("pipeline.pipeline", "reading.caffe.net", True),
        ("cli.fold", "pipeline.pipeline", True),
        ("pipeline.pipeline", "cli.fold", False),
        ("__init__", "pipeline.pipeline", True),
        ("errors", "ir.provenance", False),
        ("__main__", "cli.process", True),
    ],
)
def test_the_table_means_what_it_says(here, there, allowed):
    assert may_import(here, there) is allowed
