"""One pool of threads for all models. A process has one: each case is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from workbench.errors import ConfigError
from workbench.models import session, threadpool
from workbench.models.engine import engine
from workbench.models.hub import ModelHub

LINUX = sys.platform.startswith("linux")
has_pool = pytest.mark.skipif(
    not hasattr(engine(), "set_global_thread_pool_sizes"),
    reason="platform: this onnxruntime has no shared pool",
)


def told(code: str, **variables: str) -> dict:
    """Run code in a process of its own; return the JSON that it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", f"import json, os\nimport workbench as wb\n{code}"],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout.splitlines()[-1])


COUNT = """
def tasks(hub):
    found = []
    for name in ("cifar10-small", "cifar10", "cifar10-int8"):
        model = hub.load(name{options})
        model.run(model.sample_feeds())
        found.append(len(os.listdir("/proc/self/task")))
    return found
"""


@has_pool
@pytest.mark.skipif(not LINUX, reason="platform: threads are counted in /proc")
def test_models_share_the_threads_of_one_pool():
    code = COUNT.format(options="") + (
        "hub = wb.ModelHub(shared_threads=4)\nseen = tasks(hub)\n"
        "s = hub.load('cifar10').session\n"
        "print(json.dumps([seen, s.threads, s.shared_threads, s.spinning_text, s.threads_text]))"
    )
    seen, threads, shared, spins, text = told(code)
    assert seen[0] == seen[1] == seen[2]
    assert (threads, shared, text) == (4, True, "4 (one pool for all models)")
    assert spins == "on (as the shared pool does)"
    alone = COUNT.format(options=", threads=4") + (
        "hub = wb.ModelHub(shared_threads=4)\n"
        "print(json.dumps([tasks(hub), hub.load('cifar10', threads=4).session.shared_threads]))"
    )
    seen, shared = told(alone)
    assert not shared  # threads that are asked for are the model's own
    assert seen[2] - seen[0] == 6


@has_pool
def test_the_setting_makes_the_pool_and_answers_are_the_same():
    code = (
        "m = wb.ModelHub().load('cifar10')\n"
        "x = next(iter(m.run(m.sample_feeds()).values()))\n"
        "print(json.dumps([x.tolist(), m.session.shared_threads]))"
    )
    (one, shared), (own, not_shared) = told(code, WORKBENCH_SHARED_THREADS="2"), told(code)
    assert (shared, not_shared) == (True, False)
    assert one[0] == pytest.approx(own[0], abs=1e-4)


@has_pool
def test_a_second_size_is_refused_and_the_first_still_works():
    code = (
        "wb.ModelHub(shared_threads=2).load('cifar10-small')\n"
        "try:\n    wb.ModelHub(shared_threads=3).load('cifar10-small')\n"
        "except wb.WorkbenchError as error:\n    said = str(error)\n"
        "s = wb.ModelHub(shared_threads=2).load('cifar10').session\n"
        "print(json.dumps([said, s.shared_threads]))"
    )
    said, shared = told(code)
    assert "shared_threads" in said
    assert "2, the size of the pool" in said
    assert shared


def test_an_engine_without_the_pool_says_so_and_runs(monkeypatch):
    why = "onnxruntime 1.20.0 has no shared pool of threads; 1.23 or newer has"
    monkeypatch.setattr(session, "share_threads", lambda threads: why)
    model = ModelHub(shared_threads=2).load("cifar10-small")
    assert not model.session.shared_threads
    assert why in " ".join(model.session.notes)


def test_an_old_engine_is_found_by_what_it_lacks(monkeypatch):
    class Old:
        __version__ = "1.20.0"

    monkeypatch.setattr(threadpool, "engine", Old)
    assert "1.20.0" in threadpool.share_threads(2)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True])
def test_a_size_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match="shared_threads"):
        ModelHub(shared_threads=wrong)


def test_info_tells_of_the_pool(monkeypatch, capsys):
    from workbench.cli import main

    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["Running"]["pool of threads"] == "one a model"
    monkeypatch.setenv("WORKBENCH_SHARED_THREADS", "3")
    monkeypatch.setattr(threadpool, "why_no_pool", lambda: "")
    assert main(["info", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["Running"]["pool of threads"]
    assert told == "3 threads for all models"
