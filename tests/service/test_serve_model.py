"""Models over HTTP: loaded from MODEL_DIR and from nowhere else, unloaded, fetched if allowed."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

import workbench as wb
from tests.graphs import PLAIN, constant, means
from workbench.service.engine import Engine

PRELOAD = "/api/inference/preload"


@pytest.fixture
def running(start, tmp_path_factory):
    """Return a service with a shelf of its own."""
    folder = tmp_path_factory.mktemp("own") / "models"
    (folder / "deep").mkdir(parents=True)
    means(folder / "deep" / "net.onnx")
    means(folder / "known.onnx")
    (folder / "metadata").mkdir()
    (folder / "metadata" / "known.json").write_text(json.dumps(PLAIN))
    (folder / "text.onnx").write_text("hello")
    served = start()
    served.desk.engine = Engine(wb.Runner(wb.ModelHub(model_dir=folder, graph_cache=False)))
    served.folder = folder
    return served


def code(response):
    return response.status_code, response.json()["error"]["code"]


def test_a_file_gets_a_name_and_metadata(running, red):
    told = {"model_id": "mine", "model_path": "deep/net.onnx", "metadata": PLAIN, "warmup": True}
    answer = running.client.post(PRELOAD, json=told).json()
    assert (answer["success"], answer["cached"]) == (True, False)
    assert answer["warmup_ms"] > 0
    assert running.execute(red, model_id="mine").json()["predictions"][0]["label"] == "red"
    assert running.client.post(PRELOAD, json={"model_id": "mine"}).json()["cached"] is True


def test_without_a_warm_up_none_is_made(running):
    answer = running.client.post(PRELOAD, json={"model_id": "known"}).json()
    assert answer["load_ms"] > 0
    assert answer["warmup_ms"] == 0


def test_a_file_under_its_own_name_keeps_its_description(running, red):
    told = {"model_id": "known", "model_path": "known.onnx"}
    assert running.client.post(PRELOAD, json=told).status_code == 200
    assert running.execute(red, model_id="known").json()["predictions"][0]["label"] == "red"


@pytest.mark.parametrize(
    "path",
    [
        "../x.onnx", "deep/../../x.onnx", "/etc/passwd", "~/x.onnx", "C:\\x.onnx", "..", ".",
        "deep\\..\\..\\x", "link.onnx", "folder/x.onnx", "a\0b",
    ],
)  # fmt: skip
def test_nothing_is_loaded_from_elsewhere(running, path, tmp_path):
    means(tmp_path / "x.onnx")
    (running.folder / "link.onnx").symlink_to(tmp_path / "x.onnx")
    (running.folder / "folder").symlink_to(tmp_path)
    response = running.client.post(PRELOAD, json={"model_id": "x", "model_path": path})
    assert code(response) == (400, "unsafe_path")
    assert str(tmp_path) not in response.text


def test_a_link_within_the_folder_is_followed(running):
    (running.folder / "alias.onnx").symlink_to("known.onnx")
    told = {"model_id": "alias", "model_path": "alias.onnx", "metadata": PLAIN}
    assert running.client.post(PRELOAD, json=told).status_code == 200


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"model_id": "x", "model_path": "nothing.onnx"}, (404, "not_found")),
        ({"model_id": "x", "model_path": "deep"}, (404, "not_found")),
        ({"model_id": "x", "model_path": "a" * 305}, (404, "not_found")),
        ({"model_id": "known", "model_path": "deep/net.onnx"}, (400, "bad_request")),
        ({"model_id": "known", "model_path": "deep/net.onnx", "metadata": PLAIN},
         (400, "bad_request")),
        ({"model_id": "x", "model_path": "text.onnx"}, (422, "model_not_onnx")),
        ({"model_id": "x"}, (404, "unknown_model")),
        ({"model_id": "../x"}, (400, "unsafe_path")),
        ({"model_id": "known.onnx"}, (400, "unsafe_path")),
        ({"model_id": "known", "metadata": {"model_type": 7}}, (422, "metadata_invalid")),
        ({"model_id": "known", "metadata": PLAIN | {"labels": ["a"]}}, (422, "metadata_mismatch")),
        ({"model_id": "known", "metadata": PLAIN | {"labels": "/etc/x"}}, (400, "unsafe_path")),
        ({"model_id": "known", "metadata": "x"}, (400, "bad_request")),
        ({"model_id": "known", "warmup": "yes"}, (400, "bad_request")),
        ({"model_id": "known", "model_path": ""}, (400, "bad_request")),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_told_without_a_folder(running, told, expected):
    response = running.client.post(PRELOAD, json=told)
    assert code(response) == expected
    assert str(running.folder) not in response.text
    assert running.execute("aGk=", model_id="known").status_code == 422  # as before: no picture


def test_folders_with_blanks_and_commas_are_not_told_either(start, tmp_path):
    folder = tmp_path / "my secret, dir" / "models"
    (folder / "metadata").mkdir(parents=True)
    (folder / "text.onnx").write_text("hello")
    for name, told in (
        ("unread", "{"),
        ("wrong", json.dumps(PLAIN | {"color_format": "poem"})),
        ("other", json.dumps(PLAIN | {"input_shape": [1, 3, 9, 9]})),
        ("nameless", json.dumps(PLAIN | {"labels": "nowhere"})),
    ):
        means(folder / f"{name}.onnx")
        (folder / "metadata" / f"{name}.json").write_text(told)
    running = start(folder)
    codes = set()
    for name in ("text", "unread", "wrong", "other", "nameless"):
        answer = running.client.post(PRELOAD, json={"model_id": name})
        assert answer.status_code in (404, 422), answer.text
        assert "secret" not in answer.text
        assert str(tmp_path) not in answer.text
        codes.add(answer.json()["error"]["code"])
    assert codes == {"model_not_onnx", "metadata_invalid", "metadata_mismatch", "not_found"}


BLUE_FIRST = PLAIN | {"labels": ["blue", "green", "red"]}


def first_label(running, red, name):
    return running.execute(red, model_id=name).json()["predictions"][0]["label"]


@pytest.mark.parametrize("path", [{}, {"model_path": "known.onnx"}])
def test_what_a_request_says_of_a_model_is_forgotten_with_its_unloading(running, red, path):
    told = {"model_id": "known", "metadata": BLUE_FIRST, **path}
    assert running.client.post(PRELOAD, json=told).status_code == 200
    assert first_label(running, red, "known") == "blue"
    assert running.client.post("/v2/repository/models/known/unload").status_code == 200
    assert first_label(running, red, "known") == "red"


def test_a_name_that_only_requests_gave_is_theirs_to_change(running, red):
    told = {"model_id": "mine", "model_path": "deep/net.onnx", "metadata": BLUE_FIRST}
    assert running.client.post(PRELOAD, json=told).status_code == 200
    assert running.client.delete("/api/inference/models/mine").json()["unloaded"] is True
    assert first_label(running, red, "mine") == "blue"
    told |= {"model_path": "known.onnx", "metadata": PLAIN}
    assert running.client.post(PRELOAD, json=told).status_code == 200
    assert first_label(running, red, "mine") == "red"


def test_a_name_that_the_notebook_gave_is_its_own(running, red):
    running.desk.engine.hub.preload("book", path=running.folder / "known.onnx", metadata=PLAIN)
    told = {"model_id": "book", "model_path": "deep/net.onnx", "metadata": BLUE_FIRST}
    response = running.client.post(PRELOAD, json=told)
    assert code(response) == (400, "bad_request")
    assert response.json()["error"]["message"] == (
        "model_id is 'book'; expected a name of your own: a model here has this one."
    )
    assert running.client.post(PRELOAD, json=told | {"model_path": "known.onnx"}).status_code == 200
    assert first_label(running, red, "book") == "blue"
    running.client.delete("/api/inference/models/book")
    assert first_label(running, red, "book") == "red"


def test_a_recipe_has_a_limit_of_steps(running):
    steps = PLAIN["preprocessing"]
    scales = [{"step": "Rescale", "scale": 1.0}] * (100 - len(steps))
    recipe = [steps[0], *scales, *steps[1:]]
    told = {"model_id": "known", "metadata": PLAIN | {"preprocessing": recipe}}
    assert running.client.post(PRELOAD, json=told).status_code == 200
    recipe.insert(1, {"step": "Rescale", "scale": 1.0})
    response = running.client.post(PRELOAD, json=told)
    assert code(response) == (422, "metadata_invalid")
    assert "a list of 101 steps" in response.json()["error"]["message"]


@pytest.mark.parametrize(("kind", "data"), [("text", "a cat"), ("tensor", [1.0]), ("image", "")])
def test_a_model_without_inputs_takes_none(running, red, kind, data):
    constant(running.folder / "constant.onnx")
    body = {"model_id": "constant", "input": {"type": kind, "data": data or red}}
    response = running.client.post("/api/inference/execute", json=body)
    assert code(response) == (422, "model_unsupported_inputs")


@pytest.mark.parametrize("name", ["known.onnx", "deep/net.onnx", "../models/known", "x" * 129])
def test_a_model_is_named_by_its_id_never_by_a_path(running, red, name, monkeypatch):
    monkeypatch.chdir(running.folder)
    response = running.execute(red, model_id=name)
    assert response.status_code in (400, 404)
    assert response.json()["error"]["code"] in ("unknown_model", "unsafe_path", "bad_request")


def test_a_model_leaves_memory_and_comes_back_by_itself(running, red):
    running.execute(red, model_id="known")
    first = running.client.delete("/api/inference/models/known").json()
    assert (first["success"], first["unloaded"]) == (True, True)
    again = running.client.delete("/api/inference/models/known").json()
    assert (again["success"], again["unloaded"]) == (True, False)
    assert running.execute(red, model_id="known").status_code == 200
    assert code(running.client.delete("/api/inference/models/nowhere")) == (404, "unknown_model")
    assert code(running.client.delete("/api/inference/models/known.onnx")) == (404, "unknown_model")


def test_the_least_recently_used_model_makes_room(running, red):
    for number in range(5):
        (running.folder / f"f{number}.onnx").write_bytes(
            (running.folder / "known.onnx").read_bytes()
        )
        told = {"model_id": f"m{number}", "model_path": f"f{number}.onnx", "metadata": PLAIN}
        assert running.client.post(PRELOAD, json=told).status_code == 200
    cache = running.client.get("/api/inference/status").json()["cache"]
    assert (cache["live"], cache["evictions"]) == (3, 2)


# ── fetching ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def origin(tmp_path):
    """Return the address of a server that has one model."""
    (tmp_path / "onnx").mkdir()
    means(tmp_path / "onnx" / "net.onnx")
    means(tmp_path / "other.onnx")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Quiet", (SimpleHTTPRequestHandler,), {
        "log_message": lambda *_: None,
        "__init__": lambda self, *a: SimpleHTTPRequestHandler.__init__(
            self, *a, directory=str(tmp_path)),
    }))  # fmt: skip
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", tmp_path
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_is_allowed_is_fetched_and_loaded(start, origin, monkeypatch, red, tmp_path_factory):
    monkeypatch.setenv("ALLOW_HTTP", "1")
    monkeypatch.setenv("ALLOW_PRIVATE", "1")
    address, files = origin
    served = start(sources=(f"{address}/onnx",))
    folder = tmp_path_factory.mktemp("writable") / "models"
    served.desk.engine = Engine(wb.Runner(wb.ModelHub(model_dir=folder, graph_cache=False)))
    sha256 = hashlib.sha256((files / "onnx" / "net.onnx").read_bytes()).hexdigest()
    told = {"model_id": "net", "source": f"{address}/onnx/net.onnx", "sha256": sha256,
            "metadata": PLAIN}  # fmt: skip
    answer = served.client.post("/api/inference/pull", json=told).json()
    assert set(answer) == {"success", "model_id", "cached", "load_ms", "warmup_ms", "request_id"}
    assert served.execute(red, model_id="net").json()["predictions"][0]["label"] == "red"

    told = {"model_id": "other", "source": f"{address}/other.onnx"}
    assert code(served.client.post("/api/inference/pull", json=told)) == (403, "url_refused")
    told = {"model_id": "bad", "source": f"{address}/onnx/net.onnx", "sha256": "0" * 64}
    assert code(served.client.post("/api/inference/pull", json=told)) == (422, "checksum_mismatch")
    told = {"model_id": "bad", "source": f"{address}/onnx/nothing.onnx"}
    assert code(served.client.post("/api/inference/pull", json=told)) == (502, "download_failed")
    assert sorted(p.name for p in folder.glob("*.onnx")) == ["net.onnx"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("pull", {"model_id": "x", "source": "resnet18-v2-7"}),
        ("pull", {"model_id": "x", "source": "/etc/passwd"}),
        ("load-from-ipfs", {"model_id": "x", "ipfs_cid": "bafy"}),
    ],
)
def test_fetching_is_off_unless_it_is_switched_on(service, path, told):
    assert code(service.client.post(f"/api/inference/{path}", json=told)) == (403, "switched_off")


def test_a_cid_that_is_none_is_told(start):
    served = start(sources=("ipfs",))
    told = {"model_id": "x", "ipfs_cid": "not-a-cid"}
    response = served.client.post("/api/inference/load-from-ipfs", json=told)
    assert code(response) == (400, "cid_invalid")
