"""Results as values and as displays."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from workbench.cards import Pictures
from workbench.inference.results import Outside, Result, Results
from workbench.inference.runner import Runner
from workbench.inference.source import keep
from workbench.models.hub import ModelHub
from workbench.units import seconds, share


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return Runner(ModelHub(model_dir=tmp_path_factory.mktemp("shelf")))


@pytest.fixture(scope="module")
def result(runner: Runner) -> Result:
    return runner.classify(wb.example("cat"), model="cifar10")


@pytest.fixture(scope="module")
def results(runner: Runner) -> Results:
    sources = [wb.example("cat"), b"junk", wb.example("flower"), wb.example("coffee")]
    return runner.classify(sources, model="cifar10")


def test_a_result_lists_the_few_classes_that_its_model_knows(result: Result) -> None:
    assert "airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck" in str(result)


def test_a_result_shows_what_ran(result: Result) -> None:
    text = str(result)
    assert "CPU, float32" in text
    assert "spinning" in text
    assert "softmax" in text
    assert repr(result).startswith("<cat.png: cat: ")


def test_a_result_is_complete_without_its_picture(result: Result) -> None:
    gone = dataclasses.replace(result, _input=keep(Path("/nowhere/cat.png")))
    assert gone.picture() is None
    assert "<img" not in gone._repr_html_()
    assert "cat" in gone._repr_html_()


def test_a_hostile_file_name_is_escaped(runner: Runner, tmp_path: Path) -> None:
    path = tmp_path / "<img src=x onerror=alert(1)>.png"
    path.write_bytes(wb.example("cat").read_bytes())
    page = runner.classify(path, model="cifar10")._repr_html_()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page


def test_a_result_crosses_processes_and_becomes_json(result: Result) -> None:
    twin = pickle.loads(pickle.dumps(result))
    assert twin.top == result.top
    assert dict(twin.timings) == dict(result.timings)
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told["model_id"] == "cifar10"
    assert told["predictions"][0]["label"] == result.label
    assert told["timings_ms"]["total"] >= told["timings_ms"]["inference"]


def test_probabilities_cannot_be_changed(result: Result) -> None:
    with pytest.raises(ValueError, match="read-only"):
        result.probabilities[0] = 1


def test_figures_are_drawn(result: Result, results: Results) -> None:
    assert result.plot().axes
    assert results.plot().axes
    assert result.timings.plot().axes


def test_results_can_be_sorted_sliced_and_counted(results: Results) -> None:
    assert len(results) == 4
    assert len(results[1:3]) == 2
    least = [r.probability for r in results.least_sure_first().answered]
    assert least == sorted(least)
    slowest = [r.timings.total_s for r in results.slowest_first().answered]
    assert slowest == sorted(slowest, reverse=True)
    assert results.least_sure_first()[-1].code == "not_an_image"
    assert results.images_per_s > 0


def test_results_show_failures_beside_answers(results: Results) -> None:
    text = str(results)
    assert "3 of 4" in text
    assert "not_an_image" in text
    assert results._repr_html_().count("<img") == 3
    assert "not_an_image" in str(results.failures[0])
    assert results.failures[0].to_dict()["error"]["code"] == "not_an_image"


def test_the_grid_shows_label_share_time_and_note_of_each_picture(results: Results) -> None:
    for result in results.answered:
        shown = next(p for b in results._card().blocks if isinstance(b, Pictures) for p in b.items
                     if p.alt.endswith(result.source))  # fmt: skip
        said = " ".join(shown.lines)
        for word in (result.label, share(result.probability), result.verdict):
            assert word in said
        assert seconds(result.timings.total_s) in said


def test_a_sorted_grid_says_its_order(results: Results) -> None:
    assert "least sure first" in results.least_sure_first()._repr_html_()
    assert "slowest first" in str(results.slowest_first()[:2])
    assert results.slowest_first().least_sure_first().order == "least sure first"
    assert "first" not in results._repr_html_()


def test_no_results_are_still_shown() -> None:
    none = Results([], model="m", wall_s=0.0)
    assert "0 of 0" in str(none)
    assert "nan" not in str(none)
    assert list(none.to_frame().columns)[:3] == ["source", "model", "label"]


def test_the_note_is_silent_inside_and_speaks_outside() -> None:
    assert Outside(0.9, 0.5, "max_softmax", "none of mine").sentence() == ""
    assert Outside(0.2, 0.5, "energy", "none of mine.").sentence() == (
        "None of mine: the energy score is 0.2, and below 0.5 a picture is usually something else."
    )


@pytest.mark.parametrize(
    ("score", "rivals", "verdict"),
    [
        (0.4, 3, "probably none of its classes"),
        (0.6, 3, "possibly none of its classes"),
        (0.81, 1, "possibly none of its classes"),
        (0.9, 1, "possibly none of its classes"),
        (0.91, 0, ""),
    ],
)
def test_a_label_goes_without_a_note_only_above_all_other_things(
    score: float, rivals: int, verdict: str
) -> None:
    outside = Outside.among((0.1, 0.6, 0.8, 0.9), score, 0.5, "max_softmax", "none of mine")
    assert (outside.rivals, outside.verdict) == (rivals, verdict)
    assert bool(outside.sentence()) == bool(verdict)
    assert outside.doubtful == verdict.startswith("possibly")


def test_a_doubt_stands_on_every_display_of_an_answer(result: Result) -> None:
    doubt = Outside(5.0, 4.0, "energy", "none of mine", rivals=1, compared=2)
    doubted = dataclasses.replace(result, outside=doubt)
    sentence = (
        "Possibly none of my classes: the energy score is 5, and 1 of 2 pictures of other things "
        "scored as high."
    )
    assert sentence in " ".join(str(doubted).split())
    assert sentence in doubted._repr_html_()
    assert repr(doubted).endswith("possibly none of its classes>")
    assert doubted.to_dict()["note"] == sentence
    several = Results([doubted], model="m", wall_s=1.0)
    assert "possibly none of its classes" in str(several)
    assert several.to_frame().loc[0, "note"] == "possibly none of its classes"


def test_another_picture_is_never_shown_for_the_one_that_was_classified(
    runner: Runner, tmp_path: Path
) -> None:
    path = tmp_path / "snap.png"
    path.write_bytes(wb.example("cat").read_bytes())
    result = runner.classify(path, model="cifar10")
    assert result.picture() is not None
    path.write_bytes(wb.example("coffee").read_bytes())
    assert result.picture() is None
    array = wb.read_image(wb.example("cat"))
    by_array = runner.classify(array, model="cifar10")
    before = by_array.picture()
    array[:] = 0
    assert np.array_equal(by_array.picture(), before)


def test_long_lists_keep_the_pictures_of_those_that_are_shown(runner: Runner) -> None:
    data = wb.example("cat").read_bytes()
    results = runner.classify([data] * 30, model="cifar10-small")
    assert [r.picture() is not None for r in results] == [True] * 24 + [False] * 6
    assert {r.checksum for r in results} == {hashlib.sha256(data).hexdigest()}, "this stays"
    files = runner.classify([wb.example("cat")] * 30, model="cifar10-small")
    assert all(r.picture() is not None for r in files[28:])


def test_a_doubt_is_in_the_figure_of_an_answer(result: Result) -> None:
    doubt = Outside(0.1, 0.5, "energy", "none of mine")
    figure = dataclasses.replace(result, outside=doubt).plot()
    assert "probably none of its classes" in " ".join(figure.get_suptitle().split())
