"""Would the tests notice? The code is changed in one place at a time, and its own tests are run.

``python -m benchmarks.reliability mutation``

A mutant is the module with one operator, number, comparison, condition or keyword changed. It
counts as killed when the module's own test files fail or need several times as long as they usually
do. Each is tried in a fork that has the libraries imported already, on one thread.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

ROOT = Path(__file__).resolve().parents[2]

MODULES = {
    "metrics": ("bdgf.evaluation.metrics", ["tests/evaluation/test_metrics.py"]),
    "splits": ("bdgf.scene.splits", ["tests/scene/test_splits.py"]),
    "masking": ("bdgf.diffusion.masking", ["tests/diffusion/test_masking.py"]),
    "windows": ("bdgf.scene.windows", ["tests/scene/test_windows.py"]),
    "sliding": ("bdgf.fusion.sliding.trained", ["tests/fusion/sliding/test_trained.py"]),
    "scan": ("bdgf.fusion.scan", ["tests/fusion/test_scan.py"]),
}
"""Module and its test files by the short name; windows and sliding cut images into pieces."""

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.MatMult: ast.Mult,
}  # fmt: skip
_NAMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum",
          "argmin": "argmax", "argmax": "argmin", "any": "all", "all": "any", "sum": "prod",
          "ones": "zeros", "zeros": "ones", "rows": "cols", "cols": "rows"}  # fmt: skip


@dataclass
class Mutant:
    """The source of a module with one change.

    Args:
        line: Where it was changed.
        change: What was changed, in words.
        source: The whole text.
    """

    line: int
    change: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """Return all mutants of a module; messages, docstrings and annotations stay as they are."""
    tree = ast.parse(source)
    places = list(_places(tree))
    found = []
    for number, node in enumerate(places):
        for way in range(_ways(node)):
            changed = copy.deepcopy(tree)
            twin = list(_places(changed))[number]
            words = _change(twin, way)
            if words:
                found.append(Mutant(node.lineno, words, ast.unparse(changed)))
    return found


def _places(tree: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Nodes that may be changed, in a fixed order."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        if isinstance(node, ast.AnnAssign):
            if node.value is not None:
                yield from _places(ast.Expression(node.value))
            continue
        if isinstance(node, ast.FunctionDef):
            for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                yield from _places(ast.Expression(default))
            for statement in node.body:
                yield from _places(ast.Module([statement], []))
            continue
        if isinstance(node, ast.Compare | ast.BinOp | ast.BoolOp | ast.UnaryOp | ast.Constant
                      | ast.Call | ast.If | ast.IfExp | ast.AugAssign | ast.Continue | ast.Break
                      | ast.Return):  # fmt: skip
            yield node
        yield from _places(node)


def _ways(node: ast.AST) -> int:
    return 2 if isinstance(node, ast.Constant) and type(node.value) in (int, float) else 1


def _change(node: ast.AST, way: int) -> str:
    """Change a node in place; returns what was done, nothing where there is nothing to do."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        compared = type(node.ops[0])
        node.ops = [_COMPARE[compared]()]
        return f"{compared.__name__} to {type(node.ops[0]).__name__}"
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _BINARY:
        operator = type(node.op)
        node.op = _BINARY[operator]()
        return f"{operator.__name__} to {type(node.op).__name__}"
    if isinstance(node, ast.BoolOp):
        joined = type(node.op)
        node.op = ast.Or() if joined is ast.And else ast.And()
        return f"{joined.__name__} to {type(node.op).__name__}"
    if isinstance(node, ast.UnaryOp):
        if isinstance(node.op, ast.USub):
            node.op = ast.UAdd()
            return "minus left out"
        if isinstance(node.op, ast.Not | ast.Invert):
            node.operand = ast.UnaryOp(type(node.op)(), node.operand)
            return "not left out"
        return ""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            node.value = not node.value
            return f"{not node.value} to {node.value}"
        if isinstance(node.value, int | float):
            number = node.value
            node.value = number + 1 if way == 0 else number - 1
            return f"{number} to {node.value}"
        return ""
    if isinstance(node, ast.If | ast.IfExp):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        return "condition turned"
    if isinstance(node, ast.Call):
        name = node.func
        if isinstance(name, ast.Name) and name.id in _NAMES:
            was_name, name.id = name.id, _NAMES[name.id]
            return f"{was_name} to {name.id}"
        if isinstance(name, ast.Attribute) and name.attr in _NAMES:
            was_name, name.attr = name.attr, _NAMES[name.attr]
            return f".{was_name} to .{name.attr}"
    return ""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutant in the place of its module."""

    def __init__(self, name: str, source: str, path: str) -> None:
        self.name, self.source, self.path = name, source, path

    def find_spec(
        self, name: str, path: object = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_loader(name, self, origin=self.path)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, self.path, "exec"), module.__dict__)


def _users(name: str) -> set[str]:
    """Return a module and all that import it, directly or not: they would keep what it was."""
    imports: dict[str, set[str]] = {}
    for module, value in list(sys.modules.items()):
        if module.startswith("bdgf.") and getattr(value, "__file__", None):
            tree = ast.parse(Path(str(value.__file__)).read_text(encoding="utf-8"))
            imports[module] = {
                found
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and node.module
                for found in (node.module, *(f"{node.module}.{a.name}" for a in node.names))
            }
    users, before = {name}, 0
    while len(users) > before:
        before = len(users)
        users |= {module for module, used in imports.items() if used & users}
    return users


def attempt(name: str, source: str, tests: list[str], seconds: float) -> tuple[bool, float]:
    """Run the tests of a module with other source.

    Returns:
        Whether they passed, and the processor time that they took.
    """
    process = os.fork()
    if not process:
        status = 3
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            used = int(time.process_time())
            limit = used + int(seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for module in _users(name):
                sys.modules.pop(module, None)
                package, _, short = module.rpartition(".")
                if hasattr(sys.modules.get(package), short):
                    # 'from package import module' would find what it was
                    delattr(sys.modules[package], short)
            origin = str(ROOT / "src" / (name.replace(".", "/") + ".py"))
            sys.meta_path.insert(0, _Finder(name, source, origin))
            import pytest

            words = ["-x", "-q", "-p", "no:cacheprovider", *tests]
            status = int(pytest.main(["--rootdir", str(ROOT), *words]))
        except BaseException:
            status = 3
        finally:
            os._exit(status)
    _, ended, usage = os.wait4(process, 0)
    return ended == 0, usage.ru_utime + usage.ru_stime


def main(arguments: list[str]) -> int:
    """Try the mutants, print the share that was killed, and those that lived."""
    parser = argparse.ArgumentParser("python -m benchmarks.reliability mutation")
    parser.add_argument("--modules", default="", help="Only these, separated by commas")
    parser.add_argument("--most", type=int, default=0, help="Of each module, drawn; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    values = parser.parse_args(arguments)
    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # what is not to be imported again in every fork
    for module in ("torch", "pytest", "numpy", "scipy.ndimage", "sklearn.metrics", "rasterio",
                   "hypothesis", "lightning_fabric", "bdgf.pipeline", "yaml"):  # fmt: skip
        __import__(module)
    import torch

    torch.set_num_threads(1)
    lines, lived = [], []
    for short in [n for n in values.modules.split(",") if n] or list(MODULES):
        name, tests = MODULES[short]
        path = ROOT / "src" / (name.replace(".", "/") + ".py")
        source = path.read_text(encoding="utf-8")
        passed, usual = attempt(name, source, tests, 600.0)
        if not passed:
            print(f"{short}: its tests fail as it is", file=sys.stderr)
            return 2
        found = mutants(source)
        every = len(found)
        if values.most and every > values.most:
            rng = np.random.default_rng(values.seed)
            found = [found[i] for i in sorted(rng.choice(every, values.most, replace=False))]
        killed = 0
        for mutant in found:
            survived, _ = attempt(name, mutant.source, tests, 4 * usual + 3)
            killed += not survived
            if survived:
                lived.append(f"{short}:{mutant.line}: {mutant.change}")
                print(lived[-1], file=sys.stderr, flush=True)
        share = 100 * killed / max(1, len(found))
        lines.append(f"{short:<10}{every:>8}{len(found):>7}{killed:>8}{share:>8.1f} %")
        print(lines[-1], file=sys.stderr, flush=True)
    print(f"{'module':<10}{'mutants':>8}{'tried':>7}{'killed':>8}{'share':>10}")
    print("\n".join(lines))
    for line in lived:
        print(f"lived: {line}")
    return 0
