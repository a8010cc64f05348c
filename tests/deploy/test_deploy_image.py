"""The image: its steps find what they copy, and what it starts is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

import pytest

from tests.deploy import dockerfile
from tests.deploy.dockerfile import ROOT
from workbench.settings import Settings

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
VARIABLES = {str(c) for field in Settings.model_fields.values()
             for c in field.validation_alias.choices}  # fmt: skip
KNOWN = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL",
         "HEALTHCHECK", "ENTRYPOINT", "CMD"}  # fmt: skip


def test_every_step_is_one_that_docker_knows_and_the_first_names_a_base():
    assert {name for name, _ in dockerfile.STEPS} <= KNOWN
    assert next(name for name, _ in dockerfile.STEPS if name != "ARG") == "FROM"
    (built, last) = dockerfile.of("FROM")
    assert built == f"{last} AS build"
    assert re.fullmatch(r"python:\$\{PYTHON\}-slim-\w+", last)


@pytest.mark.parametrize("source", dockerfile.copied())
def test_what_is_copied_is_there_and_not_ignored(source):
    assert (ROOT / source).exists()
    assert not dockerfile.ignored(source)


def test_what_is_copied_between_stages_was_made_in_the_first():
    (between,) = [line for line in dockerfile.of("COPY") if line.startswith("--from")]
    stage, source, target = between.split()
    assert stage == "--from=build"
    assert source == target
    assert f"python -m venv {source}" in dockerfile.of("RUN")[0]
    assert dockerfile.variables()["PATH"].startswith(f"{target}/bin:")


def test_the_wheel_finds_what_it_is_made_of():
    files = dockerfile.context()
    assert {"pyproject.toml", "hatch_build.py", "LICENSE", PROJECT["project"]["readme"]} <= files
    package = {f.relative_to(ROOT).as_posix() for f in (ROOT / "workbench").rglob("*")
               if f.is_file() and "__pycache__" not in f.parts}  # fmt: skip
    assert package
    assert package <= files
    for pattern in ("models/*.onnx", "models/metadata/*.json", "data/labels/*", "data/images/*"):
        found = {f.relative_to(ROOT).as_posix() for f in ROOT.glob(pattern)}
        assert found
        assert found <= files


@pytest.mark.parametrize(
    "path",
    [".env", "models/.env", ".git/config", "tests/conftest.py", "deploy/workbench.env",
     "models/training/train.py", "workbench/__pycache__/cli.cpython-311.pyc", ".venv/bin/python"],
)  # fmt: skip
def test_what_no_image_should_hold_is_ignored(path):
    assert dockerfile.ignored(path)


def test_the_extra_that_is_installed_is_one():
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", dockerfile.of("RUN")[0])
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])
    (version,) = re.findall(r"PYTHON=([\d.]+)", dockerfile.of("ARG")[0])
    assert f"Programming Language :: Python :: {version}" in PROJECT["project"]["classifiers"]


def test_it_runs_as_nobody_in_particular_who_owns_the_volumes():
    (user,) = dockerfile.of("USER")
    uid, gid = user.split(":")
    assert int(uid) > 0 < int(gid)
    made = dockerfile.of("RUN")[1]
    assert f"--uid {uid}" in made
    assert f"--gid {gid}" in made
    names = [name for name, _ in dockerfile.STEPS]
    assert names.index("USER") > len(names) - 1 - names[::-1].index("RUN")
    (owned,) = re.findall(r"install -d -o workbench -g workbench (.+)$", made)
    assert set(dockerfile.listed("VOLUME")) <= set(owned.split())


def test_the_volumes_are_where_the_settings_point_to():
    set_ = dockerfile.variables()
    places = [set_["MODEL_DIR"], set_["DATA_DIR"], set_["XDG_CACHE_HOME"]]
    assert dockerfile.listed("VOLUME") == places
    ours = {n for n in set_ if not n.startswith("PYTHON") and n not in ("PATH", "XDG_CACHE_HOME")}
    assert ours <= VARIABLES
    assert dockerfile.of("EXPOSE") == [set_["PORT"]]


def test_what_it_starts_is_a_command_and_wants_keys(tmp_path):
    program, *arguments = dockerfile.listed("ENTRYPOINT") + dockerfile.listed("CMD")
    assert program in PROJECT["project"]["scripts"]
    clean = {k: v for k, v in os.environ.items() if k.removeprefix("WORKBENCH_") not in VARIABLES}
    inside = {k: v.replace("/srv", str(tmp_path)) for k, v in dockerfile.variables().items()
              if k != "PATH"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *arguments], cwd=tmp_path, env=clean | inside,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "at least one key, since the service listens on 0.0.0.0" in done.stderr


def test_the_health_check_is_the_file_that_was_copied():
    (check,) = dockerfile.of("HEALTHCHECK")
    options, _, command = check.partition(" CMD ")
    assert set(re.findall(r"--([\w-]+)=", options)) == {
        "interval", "timeout", "start-period", "retries"}  # fmt: skip
    assert command == '["python", "/opt/workbench/healthcheck.py"]'
    assert "deploy/healthcheck.py /opt/workbench/healthcheck.py" in dockerfile.of("COPY")
    source = (ROOT / "deploy" / "healthcheck.py").read_text("utf-8")
    (limit,) = re.findall(r"^LIMIT_S = (\d+)", source, re.MULTILINE)
    (whole,) = re.findall(r"--timeout=(\d+)s", options)
    assert int(limit) < int(whole)
