"""Looking through a hub."""

from __future__ import annotations

import pytest

from workbench.errors import WorkbenchError
from workbench.widgets.catalogue import Catalogue


@pytest.fixture
def catalogue(hub):
    made = Catalogue(hub)
    yield made
    made.close()
    assert made.wait(60)


def test_a_word_narrows_the_models_down(catalogue):
    assert {r["id"] for r in catalogue.rows()} >= {"means", "endless"}
    catalogue.search(" ENDL ")
    assert [r["id"] for r in catalogue.rows()] == ["endless"]
    catalogue.search("nothing has this")
    assert "No model has" in str(catalogue.table())


def test_a_model_is_looked_at_warmed_up_and_unloaded(catalogue):
    catalogue.pick("means")
    assert catalogue.wait(60)
    assert (catalogue.model.id, catalogue.model.state) == ("means", "cold")
    catalogue.warm_up()
    assert catalogue.wait(60)
    assert "steady at" in catalogue.said
    assert catalogue.model.state == "live"
    catalogue.unload()
    assert catalogue.wait(60)
    assert catalogue.model.state == "cold"
    assert catalogue.problems.check() is None


def test_a_model_that_cannot_be_described_is_a_problem(catalogue, hub):
    (hub.shelves[0].models / "broken.onnx").write_text("no model")
    catalogue.pick("broken")
    assert catalogue.wait(60)
    with pytest.raises(WorkbenchError) as caught:
        catalogue.problems.check()
    assert caught.value.code == "model_not_onnx"
