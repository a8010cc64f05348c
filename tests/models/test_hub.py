"""The hub: one handle, one session, one load; nothing in use is closed."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests import graphs
from workbench import errors
from workbench.models import hub as hub_module
from workbench.models.hub import ModelHub, default_hub
from workbench.models.session import open_session
from workbench.stopping import Stop

#: Most of these models come without metadata on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::workbench.errors.InferredMetadataWarning")


@pytest.fixture
def hub(tmp_path: Path) -> ModelHub:
    return ModelHub(model_dir=tmp_path / "shelf", max_models=2)


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [graphs.means(tmp_path / f"{name}.onnx") for name in "abc"]


def test_a_second_load_is_the_same_handle_and_a_hit(hub: ModelHub) -> None:
    model = hub.load("cifar10-small")
    assert hub.load("cifar10-small") is model
    info = hub.cache_info()
    assert (info.hits, info.misses, info.live, info.evictions) == (1, 1, 1, 0)


def test_other_options_are_another_handle_on_another_session(hub: ModelHub) -> None:
    one, two = hub.load("cifar10-small", threads=1), hub.load("cifar10-small", threads=2)
    assert one is not two
    assert (one.session.threads, two.session.threads) == (1, 2)
    assert hub.load("cifar10-small", threads=1) is one


def test_two_names_for_one_file_are_one_session(hub: ModelHub, three: list[Path]) -> None:
    first = hub.preload("first", path=three[0], metadata=graphs.PLAIN)
    renamed = graphs.PLAIN | {"labels": ["x", "y", "z"]}
    second = hub.preload("second", path=three[0], metadata=renamed)
    assert hub.cache_info().live == 1
    assert hub.cache_info().misses == 1
    assert (first.labels[0], second.labels[0]) == ("red", "x"), "they share the session, not more"


def test_the_least_recently_used_session_goes_first(hub: ModelHub, three: list[Path]) -> None:
    a, b = hub.load(three[0]), hub.load(three[1])
    hub.load(three[0])
    c = hub.load(three[2])
    assert [m.state for m in (a, b, c)] == ["live", "cold", "live"]
    assert hub.cache_info().evictions == 1


def test_a_handle_survives_its_eviction_and_loads_again(hub: ModelHub, three: list[Path]) -> None:
    a = hub.load(three[0])
    hub.load(three[1])
    hub.load(three[2])
    assert a.state == "cold"
    out = a.run(np.ones((1, 3, 8, 8), np.float32))
    assert out["logits"].shape == (1, 3)
    assert hub.load(three[0]) is a
    assert a.state == "live"


def test_a_held_handle_keeps_no_session_alive(hub: ModelHub, three: list[Path]) -> None:
    model = hub.load(three[0])
    with model.lease() as session:
        raw = weakref.ref(session._raw)
    del session
    hub.unload(three[0])
    gc.collect()
    assert model.state == "cold"
    assert raw() is None, "the engine's session outlived its unload"


def test_a_limit_in_bytes_holds_too(tmp_path: Path, three: list[Path]) -> None:
    small = three[0].stat().st_size
    hub = ModelHub(model_dir=tmp_path / "shelf", max_models=9, max_bytes=2 * small + small // 2)
    for path in three:
        hub.load(path)
    assert hub.cache_info().live == 2
    assert hub.cache_info().bytes <= 2 * small + small // 2


def until_they_wait(hub: ModelHub, wanted: int) -> None:
    """Go on when so many threads wait for the load that this thread carries out."""
    (slot,) = hub._cache._slots.values()
    end_s = time.monotonic() + 60
    while len(slot.done._cond._waiters) < wanted and time.monotonic() < end_s:
        time.sleep(0.005)
    assert len(slot.done._cond._waiters) == wanted


def test_32_threads_and_one_cold_model_are_one_load(
    hub: ModelHub, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def counted(*args: object, **options: object) -> object:
        opened.append(args)
        until_they_wait(hub, 31)
        return open_session(*args, **options)

    monkeypatch.setattr(hub_module, "open_session", counted)
    gate = threading.Barrier(32)

    def load() -> object:
        gate.wait()
        return hub.load(three[0])

    with ThreadPoolExecutor(32) as pool:
        models = list(pool.map(lambda _: load(), range(32)))
    assert len(opened) == 1
    assert len({id(m) for m in models}) == 1
    assert hub.cache_info().misses == 1
    assert hub.cache_info().hits == 31


def test_a_failed_load_fails_all_who_waited_once_and_the_next_call_tries_again(
    hub: ModelHub, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    def failing(*args: object, **options: object) -> object:
        attempts.append(args)
        until_they_wait(hub, 31)
        raise errors.InvalidModelError("a.onnx", "it was made to fail")

    monkeypatch.setattr(hub_module, "open_session", failing)
    gate = threading.Barrier(32)

    def load() -> errors.WorkbenchError:
        gate.wait()
        with pytest.raises(errors.InvalidModelError) as caught:
            hub.load(three[0])
        return caught.value

    with ThreadPoolExecutor(32) as pool:
        raised = list(pool.map(lambda _: load(), range(32)))
    assert len(attempts) == 1
    assert {str(e) for e in raised} == {str(raised[0])}
    assert len({id(e) for e in raised}) == 32, "a shared exception would share its traceback"
    monkeypatch.setattr(hub_module, "open_session", open_session)
    assert hub.load(three[0]).state == "live"


def test_an_interrupted_load_leaves_nobody_waiting(
    hub: ModelHub, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **options: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(hub_module, "open_session", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hub.load(three[0])
    monkeypatch.setattr(hub_module, "open_session", open_session)
    assert hub.load(three[0]).state == "live"


def test_a_session_in_use_is_not_closed_by_an_unload(hub: ModelHub, three: list[Path]) -> None:
    model = hub.load(three[0])
    with model.lease() as session:
        gone = hub.unload(three[0])
        assert gone.models == ()
        assert gone.busy == ("a",)
        assert model.state == "cold"
        answer = session.run({"images": np.zeros((1, 3, 8, 8), np.float32)})
        assert answer[0].shape == (1, 3)
    assert session.closed


def test_a_session_in_use_is_not_closed_by_an_eviction(hub: ModelHub, three: list[Path]) -> None:
    a, b = hub.load(three[0]), hub.load(three[1])
    with a.lease() as first, b.lease() as second:
        hub.load(three[2])
        assert not first.closed
        assert not second.closed
    hub.load(three[2])
    assert hub.cache_info().live <= 2


def test_threads_that_load_run_and_unload_at_random_never_fail(
    hub: ModelHub, three: list[Path]
) -> None:
    x = np.ones((1, 3, 8, 8), np.float32)

    def work(seed: int) -> int:
        rng = np.random.default_rng(seed)
        for _ in range(30):
            path = three[rng.integers(3)]
            if rng.random() < 0.15:
                hub.unload(path)
            else:
                assert hub.load(path).run(x)["logits"].tolist() == [[1.0, 1.0, 1.0]]
        return 30

    with ThreadPoolExecutor(8) as pool:
        done = sum(pool.map(work, range(8)))
    assert done == 240
    assert hub.cache_info().live <= 2


def test_unload_says_what_it_gave_back(hub: ModelHub, three: list[Path]) -> None:
    hub.load(three[0])
    hub.load(three[1])
    gone = hub.unload()
    assert sorted(gone.models) == ["a", "b"]
    assert gone.freed_bytes is None or isinstance(gone.freed_bytes, int)
    assert "memory given back" in str(gone)
    assert hub.cache_info().live == 0
    assert hub.unload(three[0]).models == ()


def test_what_was_loaded_by_its_path_is_unloaded_by_its_id_and_when_its_file_has_gone(
    hub: ModelHub, three: list[Path]
) -> None:
    model = hub.load(three[0])
    assert hub.unload(model.id).models == ("a",)
    hub.load(three[0])
    three[0].unlink()
    assert hub.unload(three[0]).models == ("a",)
    assert hub.cache_info().live == 0
    with pytest.raises(errors.UnknownModelError):
        hub.unload("nothing-of-that-name")


def test_a_model_that_is_described_in_part_is_not_said_to_have_no_metadata(
    hub: ModelHub, three: list[Path]
) -> None:
    written = {"model_type": "classification", "input_shape": [1, 3, 8, 8]}
    with pytest.warns(errors.InferredMetadataWarning, match="not wholly described by its metadata"):
        model = hub.preload("mine", path=three[0], metadata=written)
    assert not any(note.startswith("No metadata") for note in model.spec.notes())
    assert model.spec.notes()


def test_a_file_that_changes_is_looked_at_again_by_the_handle_that_has_it(
    hub: ModelHub, tmp_path: Path
) -> None:
    path = graphs.means(tmp_path / "m.onnx", classes=3)
    x = np.ones((1, 3, 8, 8), np.float32)
    model = hub.load(path)
    assert model.run(x)["logits"].shape == (1, 3)
    graphs.means(tmp_path / "other.onnx", classes=5).replace(path)
    assert model.run(x)["logits"].shape == (1, 5)
    assert model.graph.outputs[0].shape == ("batch", 5)
    assert hub.load(path) is model
    path.write_bytes(b"<html></html>")
    with pytest.raises(errors.NotOnnxError):
        model.run(x)


def test_metadata_that_changes_is_read_again(hub: ModelHub, tmp_path: Path) -> None:
    path = graphs.means(tmp_path / "m.onnx")
    beside = tmp_path / "metadata" / "m.json"
    beside.parent.mkdir()
    beside.write_text(json.dumps(graphs.PLAIN))
    model = hub.load(path)
    assert model.labels == ("red", "green", "blue")
    beside.write_text(json.dumps(graphs.PLAIN | {"labels": ["rouge", "vert", "bleu"]}))
    assert hub.load(path) is model
    assert model.labels == ("rouge", "vert", "bleu")


def test_a_name_can_be_given_to_another_file(hub: ModelHub, three: list[Path]) -> None:
    first = hub.preload("mine", path=three[0]).path
    second = hub.preload("mine", path=three[1]).path
    assert (first.name, second.name) == ("a.onnx", "b.onnx")


def test_preload_registers_a_name_and_warms_up(hub: ModelHub, three: list[Path]) -> None:
    model = hub.preload("mine", path=three[0], metadata=graphs.PLAIN, warmup=True)
    assert "mine" in hub
    assert hub["mine"] is model
    with model.lease() as session:
        assert session.first_run_s is not None


def test_a_preload_that_fails_remembers_nothing(hub: ModelHub, three: list[Path]) -> None:
    wrong = graphs.PLAIN | {"labels": ["one", "two"]}
    with pytest.raises(errors.MetadataMismatchError):
        hub.preload("mine", path=three[0], metadata=wrong)
    assert "mine" not in hub
    with pytest.raises(errors.UnknownModelError):
        hub.load("mine")


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda h: h.load("resnet5"), errors.UnknownModelError, "No model named 'resnet5'"),
        (lambda h: h.load("cifar11"), errors.UnknownModelError, "Did you mean 'cifar10'"),
        (lambda h: h.load("nowhere.onnx"), errors.MissingFileError, "does not exist"),
        (lambda h: h.load(3), errors.ConfigError, "an id, a path to an .onnx file, or a Model"),
        (lambda h: h.load("cifar10", threads=0), errors.ConfigError, "threads is 0"),
        (lambda h: h.load("cifar10", spinning="on"), errors.ConfigError, "spinning is 'on'"),
        (lambda h: h.load("cifar10", providers="gpu"), errors.ConfigError, "'cuda'"),
        (lambda h: h.load("../etc/passwd"), errors.MissingFileError, "does not exist"),
        (lambda h: h.preload("a/b", path="x.onnx"), errors.UnsafePathError, "'a/b'"),
        (lambda h: ModelHub(max_models=0), errors.ConfigError, "max_models is 0"),
        (lambda h: ModelHub(timeout_s=-1), errors.ConfigError, "timeout_s is -1"),
        (lambda h: ModelHub(model_dir=3), errors.ConfigError, "model_dir is 3"),
        (lambda h: ModelHub(model_dir="a\0b"), errors.ConfigError, "model_dir is"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    hub: ModelHub, call: object, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as caught:
        call(hub)
    assert words in str(caught.value)


def test_a_handle_of_another_hub_is_refused(hub: ModelHub, tmp_path: Path) -> None:
    other = ModelHub(model_dir=tmp_path)
    model = other.load("cifar10-small")
    with pytest.raises(errors.ConfigError, match="a Model of this hub"):
        hub.load(model)


def test_exclusive_waits_for_runs_and_holds_the_others_back(
    hub: ModelHub, three: list[Path]
) -> None:
    model = hub.load(three[0])
    order: list[str] = []
    inside, leased = threading.Event(), threading.Event()

    def early() -> None:
        with model.lease():
            leased.set()
            inside.wait(60)
            order.append("early run over")

    def late() -> None:
        with model.lease():
            order.append("late run")

    first = threading.Thread(target=early)
    first.start()
    leased.wait(60)
    threading.Timer(0.05, inside.set).start()
    with hub.exclusive(timeout_s=60):
        order.append("exclusive")
        second = threading.Thread(target=late)
        second.start()
        with model.lease():  # its own leases go on
            time.sleep(0.05)
        order.append("exclusive over")
    second.join(60)
    first.join(60)
    assert order == ["early run over", "exclusive", "exclusive over", "late run"]


def test_exclusive_gives_up_when_it_should(hub: ModelHub, three: list[Path]) -> None:
    model = hub.load(three[0])
    release, leased = threading.Event(), threading.Event()

    def busy() -> None:
        with model.lease():
            leased.set()
            release.wait(60)

    thread = threading.Thread(target=busy)
    thread.start()
    leased.wait(60)
    with (
        pytest.raises(errors.InferenceTimeoutError, match=r"Runs of .* did not end within") as late,
        hub.exclusive(timeout_s=0.05),
    ):
        pass
    assert "smaller model" not in str(late.value)
    assert "hub.exclusive()" not in str(late.value)
    release.set()
    thread.join(60)
    assert model.run(np.ones((1, 3, 8, 8), np.float32)), "the hub must not stay closed"
    with hub.exclusive(), pytest.raises(errors.ConfigError), hub.exclusive():
        pass


def test_exclusive_is_refused_at_once_to_a_thread_that_holds_a_lease(
    hub: ModelHub, three: list[Path]
) -> None:
    model = hub.load(three[0])
    with (
        model.lease(),
        pytest.raises(errors.ConfigError, match="in this thread"),
        hub.exclusive(timeout_s=30),
    ):
        pass
    with hub.exclusive(timeout_s=60):
        assert hub.cache_info().live == 1


def test_the_hub_shows_itself_without_opening_anything(hub: ModelHub) -> None:
    text, page = str(hub), hub._repr_html_()
    assert "cifar10-small" in text
    assert "cifar10-small" in page
    assert hub.cache_info().live == 0
    frame = hub.to_frame().set_index("id")
    assert frame.loc["cifar10", "state"] == "cold"
    hub.load("cifar10")
    assert hub.to_frame().set_index("id").loc["cifar10", "state"] == "live"
    assert len(hub) == len(list(hub)) >= 3


def test_models_loaded_by_path_and_by_name_are_listed_too(hub: ModelHub, three: list[Path]) -> None:
    hub.load(three[0])
    hub.preload("mine", path=three[1], metadata=graphs.PLAIN)
    rows = hub.to_frame().set_index("id")
    assert rows.loc["a", "state"] == rows.loc["mine", "state"] == "live"
    assert rows.loc["mine", "input"] == "(?, 3, 8, 8)"


def test_a_broken_file_leaves_the_cache_as_it_was(
    hub: ModelHub, three: list[Path], tmp_path: Path
) -> None:
    hub.load(three[0])
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"<!DOCTYPE html><html></html>")
    with pytest.raises(errors.NotOnnxError):
        hub.load(broken)
    with pytest.raises(errors.WorkbenchError):
        hub.load(graphs.refused_by_the_engine(tmp_path / "refused.onnx"))
    assert hub.cache_info().live == 1
    shutil.copy(three[1], broken)
    assert hub.load(broken).state == "live"


def test_the_default_hub_is_one_for_all_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        hubs = {id(h) for h in pool.map(lambda _: default_hub(), range(32))}
    assert len(hubs) == 1


# ── a handle follows what it was asked for ────────────────────────────────────────────────────


def test_a_relative_path_means_the_file_of_its_working_directory(
    hub: ModelHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        graphs.means(tmp_path / name / "m.onnx")
        monkeypatch.chdir(tmp_path / name)
        found.append(hub.load("m.onnx"))
    assert [model.path.parent.name for model in found] == ["one", "two"]
    hub.unload()
    found[0].run(np.zeros((1, 3, 8, 8), np.float32))  # from another folder than it was loaded in
    assert found[0].path.parent.name == "one"


def test_a_description_that_is_written_later_is_taken(tmp_path: Path) -> None:
    shelf = tmp_path / "models"
    (shelf / "metadata").mkdir(parents=True)
    graphs.means(shelf / "m.onnx")
    hub = ModelHub(model_dir=shelf)
    model = hub.load("m")
    assert model.spec.guessed
    described = {k: v for k, v in graphs.PLAIN.items() if k != "labels"}
    (shelf / "metadata" / "m.json").write_text(json.dumps(described))
    assert hub.load("m") is model
    assert not model.spec.guessed
    labels = shelf / "labels" / "m_labels.json"
    labels.parent.mkdir()
    for names in (["a", "b", "c"], ["x", "y", "zz"]):
        labels.write_text(json.dumps(names))
        assert hub.load("m").labels == tuple(names)


def test_metadata_that_was_changed_in_place_is_read_again(hub: ModelHub, three: list[Path]) -> None:
    metadata = dict(graphs.PLAIN)
    hub.preload("mine", path=three[0], metadata=metadata)
    metadata["labels"] = ["u", "v", "w"]
    assert hub.preload("mine", path=three[0], metadata=metadata).labels == ("u", "v", "w")


@pytest.mark.parametrize("odd", ["a\0b.onnx", "~no_such_user/m.onnx", "x" * 300 + ".onnx"])
def test_a_path_that_cannot_be_is_refused_in_our_words(hub: ModelHub, odd: str) -> None:
    with pytest.raises(errors.MissingFileError):
        hub.load(odd)


def test_a_circle_of_links_is_refused_in_our_words(hub: ModelHub, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").symlink_to(tmp_path / "n.onnx")
    (tmp_path / "n.onnx").symlink_to(tmp_path / "m.onnx")
    with pytest.raises(errors.MissingFileError):
        hub.load(tmp_path / "m.onnx")


def test_exclusive_waits_for_a_load_that_a_run_waits_for(
    hub: ModelHub, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, order = threading.Event(), []

    def slow(*given: object, **options: object) -> object:
        loading.set()
        time.sleep(0.1)
        order.append("loaded")
        return open_session(*given, **options)

    monkeypatch.setattr(hub_module, "open_session", slow)
    thread = threading.Thread(target=lambda: hub.load(three[0]))
    thread.start()
    assert loading.wait(60)
    with hub.exclusive(timeout_s=60):
        order.append("exclusive")
    thread.join()
    assert order == ["loaded", "exclusive"]


def test_exclusive_does_not_wait_for_a_load_that_failed(
    hub: ModelHub, three: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = threading.Event()

    def failing(*given: object, **options: object) -> object:
        loading.set()
        time.sleep(0.1)
        raise errors.InferenceError("m", "no")

    monkeypatch.setattr(hub_module, "open_session", failing)

    def load() -> None:
        with pytest.raises(errors.InferenceError):
            hub.load(three[0])

    thread = threading.Thread(target=load)
    thread.start()
    assert loading.wait(60)
    with hub.exclusive(timeout_s=60):
        assert hub.cache_info().live == 0
    thread.join()


def test_a_file_of_the_shelf_keeps_its_labels_under_a_name_of_your_choice(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    graphs.means(models / "net.onnx")
    (tmp_path / "data" / "labels").mkdir(parents=True)
    (tmp_path / "data" / "labels" / "mine_labels.json").write_text('["rot", "grün", "blau"]')
    hub = ModelHub(model_dir=models, graph_cache=False)
    told = {name: value for name, value in graphs.PLAIN.items() if name != "labels"}
    model = hub.preload("mine", path=models / "net.onnx", metadata=told)
    assert model.labels == ("rot", "grün", "blau")


def test_a_stop_ends_the_engine_s_load(hub: ModelHub, three: list[Path], monkeypatch) -> None:
    stop = Stop()

    def late(*args, **options):
        stop.cancel()  # the engine has begun
        return open_session(*args, **options)

    monkeypatch.setattr(hub_module, "open_session", late)
    model = hub.handle(three[0])
    with pytest.raises(errors.CancelledError, match=f"Loading {model.id}"):
        hub.load(model, stop=stop)
    assert hub.state_of(model) == "cold"
    assert hub.load(model) is model, "another load is not stopped by it"


def test_what_the_engine_opened_after_a_stop_is_closed_again(
    hub: ModelHub, three: list[Path], monkeypatch
) -> None:
    stop = Stop()

    def deaf(*args, **options):
        made = open_session(*args, **{**options, "stop": None})
        stop.cancel()
        return made

    monkeypatch.setattr(hub_module, "open_session", deaf)
    model = hub.handle(three[0])
    with pytest.raises(errors.CancelledError):
        hub.load(model, stop=stop)
    assert hub.state_of(model) == "cold"


def test_who_waits_for_a_load_that_another_gives_up_loads_it_himself(
    hub: ModelHub, three: list[Path], monkeypatch
) -> None:
    stop, begun, go = Stop(), threading.Event(), threading.Event()

    def held(*args, **options):
        begun.set()
        assert go.wait(60)
        return open_session(*args, **options)

    monkeypatch.setattr(hub_module, "open_session", held)
    model = hub.handle(three[0])
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(hub.load, model, stop=stop)
        assert begun.wait(60)
        second = threads.submit(hub.load, model)
        time.sleep(0.05)
        stop.cancel()
        go.set()
        assert isinstance(first.exception(60), errors.CancelledError)
        assert second.result(60) is model
    assert hub.state_of(model) == "live"
