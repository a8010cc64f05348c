"""What surrounds the package agrees with it, and with itself."""

from __future__ import annotations

import ast
import fnmatch
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import workbench
from workbench.settings import Settings

ROOT = Path(workbench.__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def bounds(lines: list[str]) -> dict[str, str]:
    """Return distribution → lower bound."""
    found = (re.match(r"([A-Za-z0-9_.-]+)(?:\[[\w,]+\])?>=([\d.]+)$", line) for line in lines)
    return {m[1].lower(): m[2] for m in found if m is not None}


DEPENDENCIES = bounds(PROJECT["project"]["dependencies"])


def test_every_dependency_has_a_lower_bound():
    assert len(DEPENDENCIES) == len(PROJECT["project"]["dependencies"]) > 10


def test_the_conda_environment_has_the_same_dependencies():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    listed = bounds(re.findall(r"^ +- ([\w.>=-]+)$", text, re.MULTILINE))
    python = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert listed.pop("python") == python
    assert listed == DEPENDENCIES
    assert "- -e ." in text


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_the_readme_names_every_dependency(name):
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", README), name


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    top = re.search(r"^## \[(.+?)\] - (unreleased|\d{4}-\d\d-\d\d)$", text, re.MULTILINE)
    assert top is not None
    assert top[1] == workbench.__version__


@pytest.mark.parametrize("end", ["workbench classify", "pytest"])
def test_the_readme_has_each_command_once_on_one_line(end):
    lines = re.findall(rf"^python3 -m venv .*{end}.*$", README, re.MULTILINE)
    assert len(lines) == 1
    assert " && " in lines[0]
    assert "\\" not in lines[0]


def test_the_photo_that_the_readme_classifies_is_there():
    photo = re.search(r"workbench classify (\S+)", README)
    assert photo is not None
    assert (ROOT / photo[1]).is_file()


def test_ci_takes_its_commands_from_the_readme():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert "line 'pytest'" in text
    assert "line 'workbench classify'" in text
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_the_example_of_settings_names_every_variable_and_no_other():
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    named = re.findall(r"^# ([A-Z_]+)=", text, re.MULTILINE)
    wanted = {
        str(choice).removeprefix("WORKBENCH_") if name != "host" else "WORKBENCH_HOST"
        for name, field in Settings.model_fields.items()
        for choice in field.validation_alias.choices
    }
    assert len(named) == len(set(named))
    assert set(named) == wanted


def test_the_example_of_settings_changes_nothing_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = Settings()
    (tmp_path / ".env").write_bytes((ROOT / ".env.example").read_bytes())
    assert Settings() == before


@pytest.mark.parametrize(
    "verb",
    [
        "install",
        "format",
        "check",
        "test",
        "browser",
        "notebooks",
        "check-notebooks",
        "bench",
        "clean",
    ],
)
def test_the_makefile_explains_every_verb(verb):
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{verb}:  ## \w", text, re.MULTILINE)
    assert re.search(rf"^\.PHONY:.* {verb}\b", text, re.MULTILINE)
    assert f"`make {verb}`" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def _recipe(verb: str) -> str:
    """Return the commands of a verb of the Makefile."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{verb}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert found, verb
    return found[1]


def test_one_verb_stores_the_notebooks_and_another_compares_them_as_ci_does():
    stores, compares = _recipe("notebooks"), _recipe("check-notebooks")
    assert "--execute --inplace" in stores
    assert "nbval" not in stores
    assert "--inplace" not in compares
    command = "-m pytest -p no:cov --nbval --nbval-sanitize-with tests/nbval.cfg"
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert command in compares
    assert command in ci
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert "`make check-notebooks` runs them again and compares" in readme
    assert "`make notebooks` stores" in readme


def test_the_rules_of_the_notebooks_are_in_pairs_with_nothing_between():
    lines = (ROOT / "tests" / "nbval.cfg").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("regex: "):
            assert lines[number + 1].startswith("replace: ")
            assert re.compile(line.removeprefix("regex: "))


def test_every_embedded_file_joins_the_wheel_and_the_training_does_not():
    source = (ROOT / "hatch_build.py").read_text(encoding="utf-8")
    patterns = next(  # read, not run: hatchling is installed for builds only
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EMBEDDED"
    )
    inside = [p for p in (ROOT / "models").glob("*") if p.is_file()]
    inside += [p for p in (ROOT / "models" / "metadata").glob("*") if p.is_file()]
    inside += [p for p in (ROOT / "data").rglob("*") if p.is_file()]
    assert inside
    for path in inside:
        name = path.relative_to(ROOT).as_posix()
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name
    assert not any(fnmatch.fnmatch("models/training/train.py", pattern) for pattern in patterns)


def test_the_entry_point_is_there():
    assert PROJECT["project"]["scripts"] == {"workbench": "workbench.__main__:main"}


def test_the_licence_is_the_one_that_is_claimed():
    assert PROJECT["project"]["license"] == "MIT"
    assert "Copyright (c) 2026 The workbench authors" in (ROOT / "LICENSE").read_text("utf-8")


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "workbench" / "py.typed").is_file()
