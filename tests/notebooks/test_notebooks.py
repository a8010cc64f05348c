"""A stored notebook is one clean run: nbval alone passes a cell that was never run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LIMIT_BYTES = 500_000
LIMIT_LINES = 10
#: What would tie a notebook to one machine or to the network.
FOREIGN = re.compile(
    r"(?<![\w.])/(home|root|work|Users|tmp|var|private|mnt|opt)/"
    r"|\b[A-Za-z]:\\+Users"
    r"|https?://(?!onnx|github|127\.0\.0\.1:|git-lfs\.github\.com/spec/|[,\s])"
)
PICTURE = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+")
#: Outputs that are text; pictures hold no path.
TEXTS = ("text/plain", "text/html", "text/markdown", "text/latex")
VARIES = "nbval-ignore-output"

every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def _cells(path: Path) -> list:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def _texts(output: nbformat.NotebookNode) -> list[str]:
    data = output.get("data", {})
    return [str(output.get("text", "")), *(str(data.get(kind, "")) for kind in TEXTS)]


def test_the_notebooks_of_the_project_are_there() -> None:
    stems = {path.stem for path in NOTEBOOKS}
    assert stems >= {
        "00_start_here", "01_loading", "02_warming_up", "03_classifying", "04_benchmarking",
        "05_preprocessing", "06_widgets", "07_pulling", "08_serving",
    }  # fmt: skip


@every
def test_it_was_run_once_from_top_to_bottom_without_a_warning(path: Path) -> None:
    cells = _cells(path)
    assert cells
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert not any(o.get("name") == "stderr" for o in cell.outputs), cell.source[:60]
        assert not any(o.output_type == "error" for o in cell.outputs), cell.source[:60]


@every
def test_it_begins_with_a_title_and_with_what_will_be_learnt(path: Path) -> None:
    first, second = nbformat.read(path, as_version=4).cells[:2]
    assert first.cell_type == second.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "You will" in second.source
    assert "minute" in second.source


@every
def test_it_is_small_and_names_no_machine(path: Path) -> None:
    assert path.stat().st_size < LIMIT_BYTES
    for cell in nbformat.read(path, as_version=4).cells:
        assert not FOREIGN.search(cell.source), cell.source
        for output in cell.get("outputs", ()):
            for text in _texts(output):
                found = FOREIGN.search(PICTURE.sub("", text))
                assert not found, f"{found} below {cell.source[:60]!r}"


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("/home/ada/cat.jpg", True),
        ("the file '/tmp/x/y.onnx'", True),
        ("C:\\\\Users\\\\ada", True),
        ("https://example.org", True),
        ("Use https://, or pass", False),
        ("notebooks/home/x, a/tmp/b, and/or", False),
        ("https://github.com/onnx", False),
        ("http://127.0.0.1:3000/docs", False),
        ("http://10.0.0.7:3000/docs", True),
    ],
)
def test_a_path_of_one_machine_is_recognised(text: str, foreign: bool) -> None:
    assert bool(FOREIGN.search(text)) is foreign


@every
def test_a_cell_whose_output_varies_is_followed_by_one_that_asserts(path: Path) -> None:
    cells = _cells(path)
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        if VARIES in cell.metadata.get("tags", []):
            assert following is not None, cell.source
            assert re.search(r"^\s*assert\b", following.source, re.MULTILINE), cell.source
            assert VARIES not in following.metadata.get("tags", []), following.source


@every
def test_no_cell_is_passed_over(path: Path) -> None:
    for cell in _cells(path):
        assert set(cell.metadata.get("tags", [])) <= {VARIES}, cell.metadata["tags"]
        assert not re.search(r"#\s*(NBVAL|PYTEST_VALIDATE)", cell.source), cell.source


@every
def test_it_shows_pictures_and_no_widget_alone(path: Path) -> None:
    shown = 0
    for cell in _cells(path):
        for output in cell.outputs:
            data = output.get("data", {})
            shown += "image/png" in data or "<img" in str(data.get("text/html", ""))
            if "application/vnd.jupyter.widget-view+json" in data:
                assert set(data) > {"application/vnd.jupyter.widget-view+json"}, cell.source
    assert shown, "a notebook shows what it speaks of"


@every
def test_no_function_in_it_is_long(path: Path) -> None:
    for cell in _cells(path):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= LIMIT_LINES, f"{node.name} belongs in the package"


@every
def test_the_readme_lists_it(path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"[{path.stem}](notebooks/{path.name})" in readme


@every
def test_its_links_lead_somewhere(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#]+)\)", cell.source):
                assert target.startswith("http") or (path.parent / target).exists(), target
