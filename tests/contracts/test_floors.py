"""Imports go down only.

import-linter checks the contracts of pyproject.toml where it is installed; a reading of the
sources checks the heart of them everywhere, so that nothing is skipped without it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import workbench

ROOT = Path(workbench.__file__).parent
PYPROJECT = ROOT.parent / "pyproject.toml"
FILES = sorted(ROOT.rglob("*.py"))
GROUND = {"cards", "charts", "drawing", "errors", "host", "page", "settings", "spreadsheet",
          "stopping", "timing", "units", "value"}  # fmt: skip
FLOORS = (GROUND, {"preprocessing", "tasks"}, {"models"}, {"inference"}, {"bench"}, {"widgets", "service", "scale"}, {"cli"}, {"__main__"})  # fmt: skip  # noqa: E501
NETWORK = {"httpx", "httpcore", "requests", "urllib3", "aiohttp", "fsspec", "ftplib", "urllib.request", "http.client"}  # fmt: skip  # noqa: E501


def floor(module: str) -> int:
    """Return the floor of a module of the package, from the ground up."""
    part = module.split(".")[1]
    return next(number for number, names in enumerate(FLOORS) if part in names)


def imports(path: Path) -> set[str]:
    """Return every module that a file imports at run time, inside functions too."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def uses(path: Path, package: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for name in imports(path))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


every_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))


@every_file
def test_a_module_imports_from_its_own_floor_or_below(path):
    name = module_of(path)
    if name == "workbench":  # the façade names everything, and imports it when it is used
        assert {m for m in imports(path) if m.startswith("workbench")} == {
            "workbench.errors.nearest"
        }
        return
    for other in imports(path):
        if other.startswith("workbench.") and other != "workbench.__version__":
            assert floor(other) <= floor(name), f"{name} imports {other}, which is above it"


@every_file
def test_the_two_halves_of_meaning_and_the_doors_do_not_know_each_other(path):
    name = module_of(path)
    for group in ({"preprocessing", "tasks"}, {"widgets", "service", "scale"}):
        mine = name.split(".")[1] if "." in name else ""
        if mine in group:
            for other in group - {mine}:
                assert not uses(path, f"workbench.{other}")


@every_file
def test_matplotlib_is_drawings_alone(path):
    assert uses(path, "matplotlib") == (path.name == "drawing.py" and path.parent == ROOT)


@every_file
def test_the_engine_and_jupyter_stay_out_of_ground_and_meaning(path):
    name = module_of(path)
    if name == "workbench" or floor(name) <= 1:
        for package in ("onnxruntime", "ipywidgets", "anywidget", "IPython"):
            assert not uses(path, package)


@every_file
def test_only_fetch_reaches_the_network(path):
    reached = {package for package in NETWORK if uses(path, package)}
    assert reached == set() or module_of(path) == "workbench.models.fetch"


def test_the_floors_here_are_those_of_import_linter():
    contracts = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(c for c in contracts["contracts"] if c["type"] == "layers")["layers"]
    parsed = [set(line.translate(str.maketrans("()|:", "    ")).split()) for line in layers]
    assert list(reversed(parsed)) == [set(names) for names in FLOORS]


def test_import_linter_agrees():
    if find_spec("importlinter") is None:  # not part of the test extra; the rest is checked above
        assert FILES, "the sources were read instead"
        return
    run = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT.parent, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
