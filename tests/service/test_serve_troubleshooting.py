"""docs/TROUBLESHOOTING.md: every code, command, setting and address in it exists."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys

import pytest
import typer.main
from service_tools import environment

import workbench as wb
from tests.deploy.dockerfile import ROOT
from workbench import errors
from workbench.cli import app
from workbench.inference.metrics import Metrics
from workbench.service.problem import STATUS
from workbench.settings import Settings

TEXT = (ROOT / "docs" / "TROUBLESHOOTING.md").read_text("utf-8")
#: Words in code that are neither a fence's content nor prose.
PLAIN = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
CODE = re.findall(r"`([^`\n]+)`", PLAIN)
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
LINES = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
         for line in block.splitlines()]  # fmt: skip
VARIABLES = {str(c) for f in Settings.model_fields.values() for c in f.validation_alias.choices}
#: Words with an underline that are no code of an error, and where each is from.
FIELDS = {"request_id", "timings_ms", "input_shape", "model_path"}
COMMANDS = typer.main.get_command(app).commands
#: Stages of a run, as they are told.
STAGES = {"decode", "inference", "queue"}


def commands() -> list[str]:
    """Return every call of the command line, of the text and of its blocks."""
    found = [re.sub(r"^.*\.venv/bin/(?=workbench)", "", line) for line in LINES]
    return [line for line in [*found, *CODE] if line.startswith("workbench ")]


def test_every_question_has_its_section():
    titles = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    assert titles[:5] == ["The first run is slow", "Every run is slow", "Out of memory",
                          "Validation failed", "The install fails"]  # fmt: skip
    links = re.findall(r"^- \[(.+)\]\(#(.+)\)$", TEXT, re.MULTILINE)
    assert [name for name, _ in links] == titles
    assert [place for _, place in links] == [t.lower().replace(" ", "-") for t in titles]


def test_every_code_exists():
    named = {word for word in CODE if re.fullmatch(r"[a-z]+(_[a-z]+)+", word)} - FIELDS
    named -= {word for word in named if word.startswith("workbench_")}
    assert len(named) > 25
    assert named <= set(STATUS)
    ours = {c.code for c in vars(errors).values()
            if isinstance(c, type) and issubclass(c, errors.WorkbenchError)}  # fmt: skip
    assert named - {"internal"} <= ours
    rows = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", PLAIN, re.MULTILINE)
    assert {c for row in rows for c in re.findall(r"`(\w+)`", row)} <= set(STATUS)


def test_every_variable_is_a_setting():
    named = {w for word in CODE for w in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b|\bWORKERS\b", word)}
    assert len(named) > 12
    assert named <= VARIABLES


@pytest.mark.parametrize("line", commands())
def test_every_command_and_its_options_exist(line):
    _, *words = shlex.split(line.replace("…", ""))
    if words and words[0] == "--debug":
        words = words[1:] or ["info"]
    known = COMMANDS[words[0]]
    options = {o for parameter in known.params for o in parameter.opts}
    assert {word for word in words[1:] if word.startswith("-")} <= options


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_its_python_runs(number):
    names: dict[str, object] = {}
    exec(compile(PYTHON[number], f"block {number}", "exec"), names)
    assert names["wb"] is wb


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("workbench ")])
def test_its_lines_run(line, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(line)], cwd=tmp_path, env=environment(),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_install_line_is_three_commands_of_this_project():
    (line,) = [line for line in LINES if line.startswith("python3 -m venv")]
    assert subprocess.run(["bash", "-n", "-c", line], check=False).returncode == 0
    parts = [shlex.split(part) for part in line.split("&&")]
    assert parts[1] == [".venv/bin/pip", "install", "."]
    assert parts[2][1] in COMMANDS


def test_every_name_in_python_exists():
    calls = {name for word in CODE for name in re.findall(r"\bwb\.(\w+)", word)}
    assert calls
    for name in calls:
        assert hasattr(wb, name), name
    for method, kind in (("preload", wb.ModelHub), ("cache_info", wb.ModelHub),
                         ("profile", wb.Model)):  # fmt: skip
        assert f".{method}(" in PLAIN
        assert callable(getattr(kind, method))
    assert callable(Metrics.to_frame)
    assert issubclass(errors.ProviderFallbackWarning, Warning)


def test_every_address_and_metric_exists(service, red):
    paths = set(service.app.openapi()["paths"])
    for word in CODE:
        for path in re.findall(r"(?<![\w.])/(?:api/|v2/|health)[\w/-]*", word):
            known = path.replace("cifar10", "{model_id}"), path.replace("cifar10", "{model}")
            assert paths & set(known), path
    assert service.execute(red).status_code == 200
    page = service.client.get("/metrics").text
    for metric in {word for word in CODE if word.startswith("workbench_")}:
        assert re.search(rf"^{metric} ", page, re.MULTILINE)
    status = service.client.get("/api/inference/status").json()
    assert "evictions" in str(status)
    assert "`starting`" in PLAIN


def test_every_stage_is_told(service, red):
    told = service.execute(red).json()["timings_ms"]
    named = {w for row in re.findall(r"^\| ((?:`\w+`(?: or )?)+) is the most", PLAIN, re.MULTILINE)
             for w in re.findall(r"`(\w+)`", row)}  # fmt: skip
    assert named == STAGES
    assert named <= set(told)


def test_every_link_leads_somewhere():
    for page in (ROOT / "docs" / "TROUBLESHOOTING.md", ROOT / "deploy" / "README.md"):
        targets = re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
        assert targets
        for target in targets:
            assert (page.parent / target).exists(), target
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "(docs/TROUBLESHOOTING.md)" in readme
    assert "(deploy/README.md)" in readme


@pytest.mark.parametrize("file", ["benchmarks/http.py", "environment.yml", "data/labels",
                                  "models/metadata"])  # fmt: skip
def test_every_file_that_is_named_is_there(file):
    assert file in TEXT
    assert (ROOT / file).exists()


def test_the_deployment_page_names_commands_that_exist():
    text = (ROOT / "deploy" / "README.md").read_text("utf-8")
    used = set(re.findall(r"\bworkbench (nginx|serve|pull|models)\b", text))
    assert used
    assert used <= set(COMMANDS)
    assert shutil.which("bash")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        assert subprocess.run(["bash", "-n", "-c", block], check=False).returncode == 0
        for source in re.findall(r"\b(deploy/[\w.]+)", block):
            assert (ROOT / source).is_file()
