"""Several models side by side: who agrees, who differs, and who fails alone."""

from __future__ import annotations

import io
from math import isnan
from pathlib import Path

import pytest

import workbench as wb
from workbench.errors import ConfigError, NotAnImageError
from workbench.inference.opinion import (
    AGREES,
    ALONE,
    DIFFERS,
    NO_ANSWER,
    OpinionGrid,
    Opinions,
    agreement_of,
    majority_of,
)
from workbench.inference.results import Failure, Result, Results
from workbench.inference.runner import Runner
from workbench.models.hub import ModelHub
from workbench.stopping import Stop

PAIR = ["cifar10", "cifar10-small"]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return Runner(ModelHub(model_dir=tmp_path_factory.mktemp("shelf")))


@pytest.fixture(scope="module")
def opinions(runner: Runner) -> Opinions:
    return runner.classify(wb.example("cat"), model=[*PAIR, "nope"])


@pytest.fixture(scope="module")
def grid(runner: Runner) -> OpinionGrid:
    sources = [wb.example("cat"), b"junk", wb.example("flower")]
    return runner.classify(sources, model=PAIR)


def saying(result: Result, *labels: str | None) -> Opinions:
    """Opinions with these labels, made of one real answer; None for a failure."""
    from dataclasses import replace

    items: list[Result | Failure] = []
    for number, label in enumerate(labels):
        if label is None:
            error = NotAnImageError("x", "y")
            items.append(Failure(source="x", error=error, model=f"m{number}"))
        else:
            first = replace(result.top[0], label=label)
            items.append(replace(result, top=(first, *result.top[1:])))
    names = [f"m{n}" for n in range(len(labels))]
    return Opinions(items, models=names, wall_s=1.0)


def doubting(result: Result, *verdicts: str) -> Opinions:
    """Opinions that all name the same class, with these doubts: "probably", "possibly" or ""."""
    from dataclasses import replace

    from workbench.inference.results import Outside

    made = {
        "probably": Outside(1.0, 2.0, "max_logit", "probably none of my classes", 9, 10),
        "possibly": Outside(3.0, 2.0, "max_logit", "probably none of my classes", 1, 10),
        "": Outside(9.0, 2.0, "max_logit", "probably none of my classes", 0, 10),
    }
    items = [replace(result, outside=made[verdict]) for verdict in verdicts]
    return Opinions(items, models=[f"m{n}" for n in range(len(items))], wall_s=1.0)


@pytest.mark.parametrize(
    ("verdicts", "headline"),
    [
        (("", ""), "cat, say both models"),
        (("probably", "probably"), "none of their classes? (nearest for both models: cat)"),
        (("probably", ""), "cat, say both models; 1 of 2: probably none of its classes"),
        (("", "possibly"), "cat, say both models; 1 of 2: possibly none of its classes"),
        (
            ("probably", "possibly"),
            "cat, say both models; 1 of 2: probably none of its classes; "
            "1 of 2: possibly none of its classes",
        ),
        (("", "", ""), "cat, say all 3 models"),
        (("probably",), "1 of 1 model answered; 1: probably none of its classes"),
    ],
)
def test_models_that_agree_and_doubt_it_do_not_headline_as_if_they_were_sure(
    runner: Runner, verdicts, headline
) -> None:
    told = doubting(runner.classify(wb.example("cat"), model="cifar10"), *verdicts)
    title = told._card().title
    assert title == f"cat.png: {headline}"
    assert f"<strong>{title}</strong>" in told._repr_html_()
    for number, verdict in enumerate(verdicts):
        sentence = f"m{number}: {verdict.capitalize()} none of my classes: the max logit score"
        assert (sentence in told._repr_html_()) == bool(verdict)
    assert headline in repr(told)
    told.plot()


def test_models_that_differ_headline_their_doubts_too(runner: Runner) -> None:
    coffee = runner.classify(wb.example("coffee"), model=PAIR)
    assert any(r.verdict for r in coffee)
    assert "none of" in coffee._card().title
    grid = runner.classify([wb.example("coffee"), wb.example("cat")], model=PAIR)
    noted = sum(any(r.verdict for r in row) for row in grid)
    fact = ("noted as none of the classes", f"{noted} of 2 inputs, by at least one model")
    assert fact in grid._card().facts()


def test_several_models_answer_side_by_side(opinions: Opinions) -> None:
    assert opinions.models == (*PAIR, "nope")
    assert len(opinions) == 3
    assert [type(item) for item in opinions] == [Result, Result, Failure]
    assert opinions["cifar10"] is opinions[0]
    assert opinions[0].label == "cat"
    assert opinions.source == "cat.png"
    assert opinions[:2].models == tuple(PAIR)


def test_each_answer_is_what_the_model_says_alone(runner: Runner, opinions: Opinions) -> None:
    for name in PAIR:
        alone = runner.classify(wb.example("cat"), model=name)
        assert alone.top == opinions[name].top


def test_a_model_that_fails_is_a_failure_in_its_place(opinions: Opinions) -> None:
    assert opinions["nope"].code == "unknown_model"
    assert opinions.marks[2] == NO_ANSWER
    assert "unknown_model" in str(opinions)
    assert "No model named 'nope'" in str(opinions)


def test_an_unknown_name_among_the_answers_lists_those_there_are(opinions: Opinions) -> None:
    with pytest.raises(ConfigError, match=r"model is 'other'; expected 'cifar10', "):
        opinions["other"]


@pytest.mark.parametrize(
    ("labels", "marks", "agreement", "majority"),
    [
        (("cat", "Cat", "dog"), (AGREES, AGREES, DIFFERS), 1 / 3, "cat"),
        (("cat", "cat"), (AGREES, AGREES), 1.0, "cat"),
        (("cat", "dog"), (DIFFERS, DIFFERS), 0.0, None),
        (("a-dog", None, "A dog"), (AGREES, NO_ANSWER, AGREES), 1.0, "a-dog"),
        (("cat", None), (ALONE, NO_ANSWER), None, "cat"),
    ],
)  # fmt: skip
def test_agreements_and_disagreements_are_marked(
    runner: Runner, labels, marks, agreement, majority
) -> None:
    told = saying(runner.classify(wb.example("cat"), model="cifar10"), *labels)
    assert told.marks == marks
    assert told.majority == majority
    assert isnan(told.agreement) if agreement is None else told.agreement == agreement
    assert told.agree == (agreement == 1)
    page = told._repr_html_()
    assert all(mark in page and mark in str(told) for mark in marks)
    assert list(told.to_frame()["mark"]) == list(marks)


def test_no_labels_have_no_majority_and_no_agreement() -> None:
    assert majority_of([]) is None
    assert isnan(agreement_of([]))


def test_all_probabilities_of_a_few_classes_stand_side_by_side(opinions: Opinions) -> None:
    frame = opinions.probabilities_frame()
    assert list(frame.columns) == list(opinions.models)
    assert frame["nope"].isna().all()
    assert frame[PAIR].notna().all().all(), "the classes are few: what is not in the top is known"
    assert frame.loc["cat", "cifar10"] == pytest.approx(opinions[0].probability)
    assert frame.index[0] == "cat" or frame.iloc[0].sum() >= frame.loc["cat"].sum()


def test_what_fails_with_all_models_alike_is_raised(runner: Runner) -> None:
    with pytest.raises(NotAnImageError):
        runner.classify(b"junk", model=PAIR)


def test_models_that_all_fail_in_their_own_way_are_shown(runner: Runner) -> None:
    told = runner.classify(wb.example("cat"), model=["nope", "nor-this"])
    assert [f.code for f in told.failures] == ["unknown_model"] * 2
    assert told.picture() is None
    assert "0 of 2 models answered" in str(told)


@pytest.mark.parametrize(
    ("models", "said"),
    [([], "at least one model"), (["cifar10", "cifar10"], "each model once"), ([3], "an id")],
)
def test_a_list_that_cannot_be_asked_is_refused(runner: Runner, models, said) -> None:
    with pytest.raises(ConfigError, match=said):
        runner.classify(wb.example("cat"), model=models)


def test_one_model_opened_in_two_ways_has_two_names(runner: Runner) -> None:
    one = runner.hub.load("cifar10-small")
    two = runner.hub.load("cifar10-small", threads=1)
    told = runner.classify(wb.example("cat"), model=(one, two))
    assert told.models == ("cifar10-small", "cifar10-small (2)")
    assert told.agree


def test_a_file_that_can_be_read_once_is_read_once(runner: Runner) -> None:
    data = io.BytesIO(wb.example("cat").read_bytes())
    data.name = "once.png"
    told = runner.classify(data, model=PAIR)
    assert [r.source for r in told.answered] == ["once.png"] * 2
    data.seek(0)
    many = runner.classify([data, wb.example("cat")], model=PAIR)
    assert [row.source for row in many] == ["once.png", "cat.png"]
    assert len(many[0].answered) == 2


def test_models_with_other_classes_are_said_to_have_them(runner: Runner, tiny: Path) -> None:
    with pytest.warns(wb.errors.InferredMetadataWarning):
        told = runner.classify(wb.example("cat"), model=["cifar10", tiny])
    assert not told.same_classes
    assert "do not all know the same classes" in " ".join(str(told).split())
    assert len(told.answered) == 2


def test_many_pictures_are_rows_and_models_columns(grid: OpinionGrid) -> None:
    assert len(grid) == 3
    assert [type(row) for row in grid] == [Opinions] * 3
    assert isinstance(grid["cifar10"], Results)
    assert grid["cifar10"][0].label == grid[0]["cifar10"].label == "cat"
    assert {f.code for f in grid[1].failures} == {"not_an_image"}
    assert len(grid[:2]) == 2
    frame = grid.to_frame()
    assert list(frame.columns) == ["source", *PAIR, "majority", "agreement", "agree"]
    assert list(frame["source"]) == ["cat.png", "bytes", "flower.jpg"]
    assert isnan(frame.loc[1, "agreement"])
    assert "not_an_image" in str(grid)


def test_rows_that_differ_can_be_taken_out(runner: Runner) -> None:
    result = runner.classify(wb.example("cat"), model="cifar10")
    said = "cat cat cat", "cat dog cat", "cat dog bird", "cat - cat"
    rows = [saying(result, *(None if x == "-" else x for x in line.split())) for line in said]
    columns = [Results([row[i] for row in rows], model=f"m{i}", wall_s=1.0) for i in range(3)]
    grid = OpinionGrid(columns, models=["m0", "m1", "m2"], wall_s=1.0)
    assert grid.agreement == 0.5
    assert [row.labels for row in grid.disagreements()] == [
        ("cat", "dog", "bird"),
        ("cat", "dog", "cat"),
    ]
    assert list(grid.to_frame()["agreement"]) == [1.0, pytest.approx(1 / 3), 0.0, 1.0]
    shares = grid.agreement_frame()
    assert shares.loc["m0", "m1"] == pytest.approx(1 / 3)
    assert shares.loc["m0", "m2"] == pytest.approx(3 / 4)
    assert shares.loc["m1", "m1"] == 1
    assert "≠ dog" in grid._repr_html_()
    assert "= cat" in grid._repr_html_()


def test_a_model_that_cannot_be_asked_fails_in_its_whole_column(runner: Runner) -> None:
    grid = runner.classify([wb.example("cat")] * 2, model=["cifar10", "nope"])
    assert [f.code for f in grid["nope"].failures] == ["unknown_model"] * 2
    assert len(grid["cifar10"].answered) == 2
    assert "no answer from nope" in str(grid)


def test_a_stop_leaves_whole_rows(runner: Runner) -> None:
    stop = Stop()

    def endless():
        for number in range(10_000):
            if number == 70:
                stop.cancel()
            yield wb.example("cat")

    grid = runner.classify(endless(), model=PAIR, stop=stop)
    assert grid.stopped
    assert len(grid) == 64
    assert all(len(row.answered) == 2 for row in grid)
    assert "Stopped on request" in str(grid)


def test_a_stop_that_is_over_ends_one_picture_as_it_does_with_one_model(runner: Runner) -> None:
    stop = Stop()
    stop.cancel()
    with pytest.raises(wb.errors.CancelledError):
        runner.classify(wb.example("cat"), model=PAIR, stop=stop)


def test_run_takes_several_models_too(runner: Runner) -> None:
    assert isinstance(runner.run(wb.example("cat"), PAIR), Opinions)


def test_no_inputs_are_no_rows(runner: Runner) -> None:
    grid = runner.classify([], model=PAIR)
    assert len(grid) == 0
    assert isnan(grid.agreement)
    assert "0 inputs" in str(grid)
    assert next(iter(grid.to_frame().columns)) == "source"


def test_figures_are_drawn(opinions: Opinions, grid: OpinionGrid) -> None:
    assert len(opinions.plot().axes) >= 4
    assert len([a for a in grid.plot().axes if a.images]) == 2
