"""Optimised graphs on disk: the same answers, for exactly one key, and never in the way."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from workbench.cli import main
from workbench.models import gate, optimised
from workbench.models.hub import ModelHub
from workbench.models.optimised import GraphCache, Key
from workbench.models.provider import CPU, Wanted
from workbench.models.session import Options, open_session

EMBEDDED = ("cifar10", "cifar10-small", "cifar10-int8")


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    """Give each test a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "workbench" / "optimised"


def scores(hub: ModelHub, name: str = "cifar10-small") -> np.ndarray:
    """Load a model anew and run it."""
    model = hub.load(name)
    answer = next(iter(model.run(model.sample_feeds()).values()))
    hub.unload()
    return answer


def kept(hub: ModelHub, name: str = "cifar10-small") -> bool:
    """Load a model anew and tell whether its graph came from the cache."""
    session = hub.load(name).session
    hub.unload()
    assert session is not None
    return session.kept


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_kept_graph_gives_the_same_bits(name):
    plain = scores(ModelHub(graph_cache=False), name)
    hub = ModelHub()
    assert not kept(hub, name)
    assert kept(hub, name)
    assert np.array_equal(scores(hub, name), plain)


def test_the_facts_of_a_kept_session_are_those_of_a_plain_one():
    hub = ModelHub()
    plain = hub.load("cifar10").session
    hub.unload()
    again = hub.load("cifar10").session
    for fact in ("provider", "provider_text", "precision", "threads", "stoppable"):
        assert getattr(plain, fact) == getattr(again, fact), fact
    assert list(plain.load) == ["read", "optimise", "keep"]
    assert list(again.load) == ["read", "optimise"]
    assert "kept from an earlier load" in " ".join(hub.load("cifar10").warm_up(runs=3).notes())


def test_it_can_be_switched_off_and_private_sessions_do_not_use_it(monkeypatch, cache_home):
    assert not kept(ModelHub(graph_cache=False))
    monkeypatch.setenv("WORKBENCH_GRAPH_CACHE", "0")
    assert not kept(ModelHub())
    monkeypatch.setenv("WORKBENCH_GRAPH_CACHE", "1")
    monkeypatch.setenv("WORKBENCH_MAX_GRAPH_CACHE_BYTES", "0")
    assert not kept(ModelHub())
    path = ModelHub().handle("cifar10-small").path
    facts = gate.examine(path)
    open_session(path, Options.of(), facts, name="m", optimised=False, graphs=GraphCache()).close()
    open_session(path, Options.of(), facts, name="m").close()
    assert not cache_home.exists()


@pytest.mark.parametrize("which", ["onnx", "json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "gone"])
def test_a_damaged_entry_is_thrown_away_and_made_again(which, harm, cache_home, caplog):
    hub = ModelHub()
    plain = scores(hub)
    [victim] = cache_home.glob(f"*.{which}")
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    if harm == "gone":
        victim.unlink()
    else:
        victim.write_bytes({"flip": bytes(data), "cut": data[: len(data) // 2], "empty": b""}[harm])
    with caplog.at_level(logging.INFO, logger="workbench.models.optimised"):
        assert not kept(hub)
    if (which, harm) != ("json", "gone"):  # an absent description is no entry, and no damage
        assert "is thrown away" in caplog.text
    assert kept(hub)
    assert np.array_equal(scores(hub), plain)


def test_what_the_engine_cannot_open_is_thrown_away(cache_home, monkeypatch, caplog):
    hub = ModelHub()
    scores(hub)
    [graph] = cache_home.glob("*.onnx")
    graph.write_bytes(b"\x08" * graph.stat().st_size)
    monkeypatch.setattr(optimised, "_sha256", lambda path: graph_digest(cache_home))
    with caplog.at_level(logging.INFO, logger="workbench.models.optimised"):
        assert not kept(hub)
    assert "the engine does not open it" in caplog.text


def graph_digest(folder: Path) -> str:
    """Return the hash that the one description states."""
    described = next(folder.glob("*.json"), None)
    return "0" * 64 if described is None else optimised._described(described)["sha256"]


def test_an_entry_of_another_key_is_never_used(cache_home):
    cache = GraphCache()
    facts = gate.examine(ModelHub().handle("cifar10-small").path)
    hub = ModelHub()
    scores(hub)
    mine = cache.key(facts, (Wanted(CPU),), "all")
    [described], [graph] = cache_home.glob("*.json"), cache_home.glob("*.onnx")
    assert cache.find(mine) == graph
    other = Key.of("0" * 64, (Wanted(CPU),), "all")
    described.rename(cache_home / f"{other.name}.json")  # whole, but of something else
    assert cache.find(other) is None
    assert not (cache_home / f"{other.name}.json").exists()


def test_a_key_tells_models_engines_processors_and_options_apart(monkeypatch):
    def key(sha="a" * 64, options=(), level="all"):
        return Key.of(sha, (Wanted(CPU, options),), level).name

    keys = [key(), key("b" * 64), key(options=(("a", "b"),)), key(level="basic")]
    optimised._build.cache_clear()
    monkeypatch.setattr(optimised, "_build", lambda: ("1.99.0", ""))
    keys.append(key())
    monkeypatch.undo()
    machine = optimised.host()
    from dataclasses import replace

    for change in ({"flags": ("sve",)}, {"processor": "another"}):
        monkeypatch.setattr(optimised, "host", lambda c=change: replace(machine, **c))
        keys.append(key())
    assert len(set(keys)) == len(keys)


def test_models_with_outside_weights_and_other_providers_are_not_kept(tiny):
    from dataclasses import replace

    facts = gate.examine(tiny)
    cache = GraphCache()
    assert cache.key(facts, (Wanted(CPU),), "all") is not None
    openvino = (Wanted("OpenVINOExecutionProvider"), Wanted(CPU))
    assert cache.key(facts, openvino, "all") is None
    assert cache.key(replace(facts, external_files=("w.bin",)), (Wanted(CPU),), "all") is None


def test_a_changed_model_file_gets_its_own_entry(make_classifier, tmp_path, cache_home):
    hub = ModelHub()
    path = make_classifier(tmp_path / "m.onnx", classes=4)
    metadata = {"model_type": "classification", "input_shape": [1, 3, 8, 8],
                "preprocessing": "raw"}  # fmt: skip
    hub.preload("m", path=path, metadata=metadata)
    make_classifier(path, classes=5)
    assert hub.load("m").run(hub.load("m").sample_feeds())["scores"].shape == (1, 5)
    assert len(list(cache_home.glob("*.json"))) == 2


def test_a_file_that_changed_after_the_gate_is_not_kept_under_its_old_hash(
    make_classifier, tmp_path, cache_home
):
    path = make_classifier(tmp_path / "m.onnx", classes=4)
    facts = gate.examine(path)
    make_classifier(path, classes=5)
    open_session(path, Options.of(), facts, name="m", graphs=GraphCache()).close()
    assert list(cache_home.iterdir()) == []


def test_the_least_recently_used_go_first_and_strangers_stay(cache_home):
    hub = ModelHub()
    for name in EMBEDDED:
        scores(hub, name)
    stranger = cache_home / "notes.txt"
    stranger.write_text("mine")
    sizes = [n for _, n in GraphCache().look().entries]
    assert len(sizes) == 3
    for age, described in enumerate(sorted(cache_home.glob("*.json"))):
        os.utime(described, (1e9 + age, 1e9 + age))
    assert kept(hub, "cifar10")  # used: now the youngest
    small = GraphCache(limit_bytes=sum(sizes) - 1)
    small._make_room()
    left = small.look()
    assert left.size_bytes <= small.limit_bytes
    assert gate.examine(hub.handle("cifar10").path).sha256 in {s for s, _ in left.entries}
    assert stranger.read_text() == "mine"
    assert len(list(cache_home.glob("*.onnx"))) == len(left.entries) < 3


@pytest.mark.parametrize(
    "error", [PermissionError(13, "no"), OSError(28, "full"), OSError(30, "ro")]
)
def test_a_folder_that_cannot_be_written_is_no_harm(error, monkeypatch, cache_home):
    def refuse(*args, **options):
        raise error

    monkeypatch.setattr(optimised.tempfile, "mkstemp", refuse)
    hub = ModelHub()
    assert not kept(hub)
    assert not kept(hub)
    assert not list(cache_home.glob("*")) or not cache_home.exists()


def test_a_read_only_folder_still_serves(monkeypatch, cache_home):
    hub = ModelHub()
    scores(hub)

    def refuse(*args, **options):
        raise OSError(30, "read-only")

    monkeypatch.setattr(optimised.tempfile, "mkstemp", refuse)
    monkeypatch.setattr(optimised.os, "utime", refuse)
    [graph] = cache_home.glob("*.onnx")
    graph.touch()  # its check is due again, and cannot be noted
    assert kept(hub)
    assert kept(hub)


def test_a_disk_that_fills_while_the_engine_writes_is_no_harm(monkeypatch, cache_home, tmp_path):
    monkeypatch.setattr(GraphCache, "part", lambda self, key: tmp_path / "no" / "such" / "part")
    assert not kept(ModelHub())


def test_several_processes_may_keep_one_graph_at_once(cache_home):
    code = (
        "import workbench as wb; h = wb.ModelHub(); m = h.load('cifar10-small');"
        "print(float(next(iter(m.run(m.sample_feeds()).values())).sum()))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [p.communicate(timeout=120)[0] for p in running]
    assert [p.returncode for p in running] == [0, 0, 0]
    assert len(set(told)) == 1
    assert kept(ModelHub())
    assert not list(cache_home.glob("*.part"))


def test_the_command_shows_and_clears(capsys, cache_home):
    scores(ModelHub())
    assert main(["cache", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    sha = gate.examine(ModelHub().handle("cifar10-small").path).sha256
    assert [e["sha256"] for e in told["entries"]] == [sha]
    assert told["size_bytes"] == told["entries"][0]["size_bytes"] > 300_000
    assert main(["cache"]) == 0
    assert sha[:16] in capsys.readouterr().out
    assert main(["cache", "--clear"]) == 0
    assert "removed" in capsys.readouterr().out
    assert list(cache_home.iterdir()) == []
    assert main(["cache"]) == 0
    assert "0 graphs" in capsys.readouterr().out


@pytest.fixture
def heavy(tmp_path: Path, save_model) -> Path:
    """Return the path of a model with more than a page of weights."""
    rng = np.random.default_rng(3)
    weight = onnx.numpy_helper.from_array(rng.normal(size=(64, 64)).astype(np.float32), "w")
    port = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 64]) for n in "xy"]
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    return save_model(
        tmp_path / "heavy.onnx",
        onnx.helper.make_graph(nodes, "heavy", port[:1], port[1:], [weight]),
    )


def opened(path: Path, graphs: GraphCache | None) -> tuple[bool, np.ndarray]:
    """Open a model with a cache; return whether its graph was kept, and an answer."""
    session = open_session(path, Options.of(1), gate.examine(path), name="m", graphs=graphs)
    answer = session.run({"x": np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64)}, ["y"])
    session.close()
    return session.facts.kept, answer[0]


def test_a_mapped_graph_has_its_weights_in_a_file_that_is_mapped(heavy, cache_home):
    _, plain = opened(heavy, None)
    graphs = GraphCache(mapped=True)
    first, second = opened(heavy, graphs), opened(heavy, graphs)
    assert (first[0], second[0]) == (False, True)
    assert np.array_equal(first[1], plain)
    assert np.array_equal(second[1], plain)
    (data,) = cache_home.glob("*.data")
    assert data.stat().st_size >= 64 * 64 * 4
    session = open_session(heavy, Options.of(1), gate.examine(heavy), name="m", graphs=graphs)
    if sys.platform.startswith("linux"):
        assert data.name in Path("/proc/self/maps").read_text()
    session.close()
    assert not opened(heavy, GraphCache())[0], "another key than a plain graph's"
    assert graphs.look().size_bytes > data.stat().st_size + 64 * 64 * 4


@pytest.mark.parametrize("harm", ["cut", "changed", "removed"])
def test_mapped_weights_that_are_damaged_are_thrown_away(harm, heavy, cache_home):
    graphs = GraphCache(mapped=True)
    _, plain = opened(heavy, graphs)
    (data,) = cache_home.glob("*.data")
    content = bytearray(data.read_bytes())
    match harm:
        case "cut":
            data.write_bytes(content[:-100])
        case "changed":
            content[200] ^= 1
            data.write_bytes(content)
        case "removed":
            data.unlink()
    kept, again = opened(heavy, graphs)
    assert not kept
    assert np.array_equal(again, plain)
    assert opened(heavy, graphs)[0]


def test_a_mapped_entry_goes_as_a_whole(heavy, cache_home):
    graphs = GraphCache(mapped=True)
    opened(heavy, graphs)
    assert len(list(cache_home.iterdir())) == 3
    graphs.limit_bytes = 1
    graphs._make_room()
    assert list(cache_home.iterdir()) == []
    assert not GraphCache(mapped=True, limit_bytes=100).look().entries
    assert not opened(heavy, GraphCache(mapped=True, limit_bytes=100))[0]
    assert list(cache_home.iterdir()) == [], "what is not kept leaves nothing"
