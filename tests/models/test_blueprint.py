"""A hub built again elsewhere, and models that mean the same there."""

from __future__ import annotations

import pickle
from contextlib import suppress
from pathlib import Path

import pytest

from tests import graphs
from workbench.errors import MissingFileError, UnsafePathError
from workbench.models.hub import ModelHub


def test_a_hub_is_built_again_from_its_blueprint(tmp_path: Path) -> None:
    hub = ModelHub(
        model_dir=tmp_path, max_models=2, max_bytes=10**9, timeout_s=7.0, shared_threads=2
    )
    again = ModelHub.built(pickle.loads(pickle.dumps(hub.blueprint())))
    assert again.blueprint() == hub.blueprint()
    assert again.shelves[0].models == tmp_path
    assert (again.timeout_s, again.shared_threads) == (7.0, 2)
    assert (again.cache_info().max_models, again.cache_info().max_bytes) == (2, 10**9)
    assert ModelHub.built(ModelHub(graph_cache=False).blueprint())._graphs is None


def test_a_reference_means_the_same_model_elsewhere(tmp_path: Path) -> None:
    hub = ModelHub(model_dir=tmp_path / "shelf")
    path = graphs.means(tmp_path / "a.onnx")
    path.with_suffix(".json").write_text('{"preprocessing": "raw", "input_shape": [1, 3, 8, 8]}')
    with hub.naming("mine", path, graphs.PLAIN):
        named = hub.handle("mine")
    there = ModelHub.built(hub.blueprint())
    for model in (named, hub.load("cifar10-small", threads=1), hub.handle(path)):
        told = pickle.loads(pickle.dumps(hub.reference(model)))
        twin = there.refer(told)
        assert twin.spec == model.spec
        assert twin.options == model.options
        assert there.refer(told) is twin
        assert hub.reference(model).key == told.key
    assert there.cache_info().misses == 0, "nothing is opened"


def test_another_description_under_the_same_name_takes_its_place(tmp_path: Path) -> None:
    hub = ModelHub(model_dir=tmp_path / "shelf")
    path = graphs.means(tmp_path / "a.onnx")
    with hub.naming("mine", path, graphs.PLAIN):
        first = hub.reference("mine")
    with hub.naming("mine", path, graphs.PLAIN | {"labels": ["a", "b", "c"]}):
        second = hub.reference("mine")
    there = ModelHub.built(hub.blueprint())
    assert there.refer(first).labels == ("red", "green", "blue")
    assert there.refer(second).labels == ("a", "b", "c")


def test_a_name_is_forgotten_where_what_follows_fails(tmp_path: Path) -> None:
    hub = ModelHub(model_dir=tmp_path / "shelf")
    path = graphs.means(tmp_path / "a.onnx")
    seen = []
    with suppress(ZeroDivisionError), hub.naming("mine", path, graphs.PLAIN):
        seen.append("mine" in hub)
        raise ZeroDivisionError
    assert (seen, "mine" in hub) == ([True], False)
    with hub.naming("mine", path, graphs.PLAIN):
        pass
    with pytest.raises(ZeroDivisionError), hub.naming("mine", path, {}):
        raise ZeroDivisionError
    assert hub.handle("mine").labels == ("red", "green", "blue")
    with pytest.raises(UnsafePathError), hub.naming("../mine", path, None):
        pass
    with pytest.raises(MissingFileError), hub.naming("other", tmp_path / "none.onnx", None):
        pass
    assert "other" not in hub
