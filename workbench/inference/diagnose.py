"""Which preprocessing a classifier was made for, found by trying: the doctor of recipes.

The search goes by stages, so that a few dozen recipes are run in place of the thousand that the
choices multiply to: numbers and colours first, which change answers most; then, with what won,
crops; then filters. What is tried, and how answers are scored, is
:mod:`workbench.preprocessing.recipes`'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.cards import Block, Card, Displayable, Facts, Notes, Table
from workbench.errors import (
    CancelledError,
    ConfigError,
    InferenceTimeoutError,
    LabelsError,
    UnsupportedInputsError,
    WorkbenchError,
    require_count,
)
from workbench.inference.evaluate import pairs
from workbench.inference.source import folder_of, is_one, listed
from workbench.models import passport
from workbench.preprocessing import recipes
from workbench.preprocessing.images import read_image
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.recipes import Answers, Candidate, Wanted
from workbench.preprocessing.steps import PictureStep
from workbench.tasks.classification import activate, resolve_activation
from workbench.units import count, decimal, share

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from workbench.models.hub import ModelHub
    from workbench.models.model import Model
    from workbench.stopping import Stop

    Pictures = Sequence[NDArray[np.uint8]]

#: Pictures run at a time.
_BATCH = 64
#: Recipes that the card and the figure show; the frame has all.
_SHOWN = 10
#: Recipes that cannot be told from the best and are carried into the next stage.
_CARRIED = 3
#: How far the sum of probabilities may be from 1 (rounding of 16-bit outputs).
_SUM_TOLERANCE = 2e-3
#: Below so many pictures a note says that they are few: of CIFAR-10, 60 told the embedded small
#: model's colours apart (with labels 0.83 right against 0.78 with BGR), and 16 did not.
FEW = 50


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A recipe that was tried.

    Attributes
    ----------
    name : in words
    candidate : by its choices; None for the recipe in use where it is none of those tried
    pipeline : that runs it
    accuracy : share of right answers; nan where labels are not known
    score, interval : how well the answers speak for it (0–1), and its 95 % bootstrap interval
    confidence, agreement : mean largest probability, and how alike mirrored pictures' answers are
    beaten : share of bootstrap rounds in which the best recipe scores more
    equivalent : whether these pictures cannot tell it from the best: that wins in less than 95 %
        of the rounds, or by less than 0.02, or the pictures are of too few kinds
    """

    name: str
    candidate: Candidate | None
    pipeline: Pipeline
    accuracy: float
    score: float
    interval: tuple[float, float]
    confidence: float
    agreement: float
    beaten: float
    equivalent: bool


@dataclass(frozen=True, slots=True)
class Effect:
    """What one choice of the recipe does to the answers.

    Attributes
    ----------
    choice : "color", "values", …
    instead : what was tried in place of the named recipe's, the one that moves most
    moved : how far the probabilities move, 0–1 (total variation)
    changed : share of pictures whose answer changes
    """

    choice: str
    instead: str
    moved: float
    changed: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Diagnosis(Displayable):
    """Which recipe a model's answers speak for, and how surely.

    Attributes
    ----------
    model : id
    n : pictures
    labelled : whether their classes were known
    trials : every recipe that was tried, best first
    named : the recipe that is named: among those that cannot be told apart, the most usual
    in_use : the recipe that the model's description gives
    effects : what each choice moves, most first
    activation : what was found about the scores
    kinds, kinds_needed : of how many kinds the pictures are (by their labels, or by what the
        model answers), and of how many they must be for a recipe to be called wrong
    stopped : whether someone stopped it early
    """

    model: str
    n: int
    labelled: bool
    trials: tuple[Trial, ...]
    named: Trial
    in_use: Trial
    effects: tuple[Effect, ...]
    activation: str
    kinds: float = inf
    kinds_needed: float = 0.0
    stopped: bool = False

    @property
    def best(self) -> Trial:
        """The recipe with the highest score."""
        return self.trials[0]

    @property
    def equivalent(self) -> tuple[Trial, ...]:
        """The recipes that these pictures cannot tell from the best, itself included."""
        return tuple(trial for trial in self.trials if trial.equivalent)

    @property
    def conclusive(self) -> bool:
        """Whether the pictures are of enough kinds for a recipe to be called wrong."""
        return self.kinds >= self.kinds_needed

    @property
    def healthy(self) -> bool:
        """Whether nothing speaks against the recipe in use."""
        return self.in_use.equivalent

    @property
    def undecided(self) -> tuple[str, ...]:
        """The choices in which recipes that cannot be told apart differ."""
        known = [t.candidate for t in self.equivalent if t.candidate is not None]
        return tuple(c for c in recipes.CHOICES if len({getattr(k, c) for k in known}) > 1)

    @property
    def verdict(self) -> str:
        """What was found, in a sentence or two."""
        n = count(self.n, "picture")
        if not self.conclusive:
            return (
                f"Cannot tell: {n} of so few kinds speak neither for nor against the recipe in use "
                f"({self.in_use.name}), whatever scores best on them."
            )
        if self.healthy:
            told = f"Nothing on {n} speaks against the recipe in use ({self.in_use.name})."
            if self.named is not self.in_use:
                told += f" As good, and more usual for such a model: {self.named.name}."
        else:
            told = (
                f"The recipe in use ({self.in_use.name}) is wrong: {self.named.name} answers "
                f"better on {n}, in {share(self.in_use.beaten)} of resamples."
            )
        others = len(self.equivalent) - 1
        if others and self.undecided:
            what = " and ".join(", ".join(self.undecided).rsplit(", ", 1))
            told += (
                f" Cannot tell: {count(others, 'other recipe')} as good on these, which differ in "
                f"{what}; the most usual one is named."
            )
        return told

    def metadata(self) -> dict[str, Any]:
        """Return the named recipe as fields of a metadata file."""
        return {
            "preprocessing": self.named.pipeline.recipe(),
            "color_format": self.named.pipeline.color_format,
        }

    def to_frame(self) -> pd.DataFrame:
        """Return a row a recipe, best first: its choices, accuracy, score, …"""
        import pandas as pd

        rows = []
        for trial in self.trials:
            choices = {c: getattr(trial.candidate, c, None) for c in recipes.CHOICES}
            rows.append(
                {
                    "recipe": trial.name, **choices, "accuracy": trial.accuracy,
                    "score": trial.score, "score_low": trial.interval[0],
                    "score_high": trial.interval[1], "confidence": trial.confidence,
                    "agreement": trial.agreement, "beaten": trial.beaten,
                    "equivalent": trial.equivalent, "named": trial is self.named,
                    "in_use": trial is self.in_use,
                }
            )  # fmt: skip
        return pd.DataFrame(rows)

    def _top(self) -> tuple[Trial, ...]:
        """Return the best few, with the recipe named and the one in use among them."""
        top = list(self.trials[:_SHOWN])
        for trial in (self.named, self.in_use):
            if not any(trial is shown for shown in top):
                top.append(trial)
        return tuple(top)

    def _marks(self, trial: Trial) -> str:
        told = (("named", trial is self.named), ("in use", trial is self.in_use))
        return ", ".join(word for word, holds in told if holds)

    def plot(self) -> Figure:
        """Draw the best recipes with their intervals, and what each choice moves."""
        from workbench import charts

        return charts.ranking(
            [(t.name, t.score, *t.interval, self._marks(t), t.equivalent) for t in self._top()],
            effects=[(e.choice, e.moved, f"{e.instead}") for e in self.effects],
            score="accuracy and probability of the truth"
            if self.labelled
            else "information × agreement",
            title=f"{self.model}: recipes on {count(self.n, 'picture')}",
        )

    def _card(self) -> Card:
        rows = tuple(
            (
                trial.name,
                share(trial.accuracy) if self.labelled else "–",
                share(trial.score),
                f"{share(trial.interval[0])} to {share(trial.interval[1])}",
                share(trial.confidence),
                share(trial.agreement),
                "cannot tell" if trial.equivalent else share(trial.beaten),
                self._marks(trial),
            )
            for trial in self._top()
        )
        columns = ("recipe", "accuracy", "score", "95 % interval", "confidence", "agreement",
                   "beaten by the best", "")  # fmt: skip
        facts = (
            ("named", self.named.name),
            ("in use", self.in_use.name),
            ("pictures", f"{self.n}, {'labels known' if self.labelled else 'without labels'}"),
            ("recipes tried", str(len(self.trials))),
            ("scores", self.activation),
        )
        blocks: list[Block] = [
            Notes((self.verdict,), urgent=not self.healthy),
            Facts(facts),
            Table(columns, rows, "Best recipes", numeric=columns[1:7]),
        ]
        if self.effects:
            moves = tuple(
                (e.choice, e.instead, share(e.moved), share(e.changed)) for e in self.effects
            )
            head = ("choice", "instead", "answers moved", "labels changed")
            blocks.append(Table(head, moves, "What moves the answers most", numeric=head[2:]))
        blocks.append(Notes(self._notes()))
        return Card(f"diagnosis of {self.model}", tuple(blocks), line=self.verdict)

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if not self.conclusive:
            by = "by their labels" if self.labelled else "by what the model answers"
            notes.append(
                f"The pictures are of too few kinds ({decimal(self.kinds)} {by}, each counted by "
                "its share): on one kind a wrong recipe may do better than the right one. Take "
                f"pictures of {'two' if self.labelled else 'four'} kinds or more, about as many of "
                "each."
            )
        if self.n < FEW:
            notes.append(
                f"{count(self.n, 'picture')} {'is' if self.n == 1 else 'are'} few: take {FEW} or "
                "more of the kinds that the model knows, several of each."
            )
        if not self.labelled:
            notes.append(
                "Without labels a recipe is scored by how sure, how varied and how stable the "
                "answers are, among recipes that show the model the same part: crops are told "
                "apart by labels alone."
            )
        if self.stopped:
            notes.append("Stopped early: not every recipe was tried.")
        return tuple(notes)


def diagnose(
    model: str | Path | Model,
    images: Any,
    labels: Iterable[str | int] | None = None,
    *,
    hub: ModelHub | None = None,
    progress: bool = False,
    most: int = 256,
    stop: Stop | None = None,
) -> Diagnosis:
    """Find out which preprocessing a classifier was made for, by trying.

    Parameters
    ----------
    model : id, Model, or path to an .onnx file; its own recipe may be wrong
    images : an iterable of image sources, or a folder; a folder with one folder a class gives
        the labels too. About 50 pictures, several of each of some classes, tell colours and
        numbers apart; filters and crops, which change answers less, take some hundreds
    labels : the truth of each picture, as a label or an index; None where it is not known
    hub : where the model comes from; None for the process's hub
    progress : show a bar
    most : pictures that are used at most: the first ones, or with labels a draw of all, the same
        each time, since a folder's first pictures are of one class
    stop : ends the work and keeps what was tried, once the first recipe was

    Raises
    ------
    ConfigError : no pictures
    LabelsError : a label that the model does not have, or more or fewer labels than pictures
    UnsupportedInputsError : the model is no classifier of pictures
    ImageError and its children : a picture that cannot be read

    Examples
    --------
    >>> import workbench as wb
    >>> wb.diagnose("cifar10-small", [wb.example("cat")], ["cat"]).n
    1
    """
    from workbench.models.hub import default_hub

    require_count("most", most)
    handle = (default_hub() if hub is None else hub).handle(model)
    handle.image_input  # noqa: B018  (refuses what is no classifier before any work)
    pictures, truths = _read(handle, images, labels, most, stop)
    return _Doctor(handle, pictures, truths, stop, progress).diagnosis()


def _read(
    model: Model, images: Any, labels: Any, most: int, stop: Stop | None
) -> tuple[list[NDArray[np.uint8]], NDArray[np.intp] | None]:
    """Read the pictures, and the indices of their classes where they are known."""
    folder = folder_of(images) if isinstance(images, (str, Path)) else None
    by_class = folder is not None and any(
        p.is_dir() and not p.name.startswith(".") for p in folder.iterdir()
    )
    if labels is None and not by_class:
        sources = [images] if folder is None and is_one(images) else list(listed(images))
        told = None
    else:
        if not by_class and is_one(images):
            images, labels = [images], [labels] if isinstance(labels, (str, int)) else labels
        found = list(pairs(images, labels, _names(model)))
        sources, told = [s for s, _ in found], [t for _, t in found]
    if not sources:
        raise ConfigError("images", images, "at least one picture")
    if told is not None and len(sources) > most:  # of a folder, not the first classes alone
        chosen = np.random.default_rng(0).permutation(len(sources))[:most]
        sources, told = [sources[i] for i in chosen], [told[i] for i in chosen]
    pictures = []
    for source in sources[:most]:
        if stop is not None:
            stop.check("Reading pictures")
        pictures.append(read_image(source))
    return pictures, None if told is None else np.array(told, np.intp)


def _names(model: Model) -> Sequence[str]:
    if model.labels is not None:
        return model.labels
    port = next(p for p in model.outputs if p.name == model.scores_output)
    number = passport.classes(port)
    if number is None:
        raise LabelsError(f"model {model.id!r}", "it has none to compare with")
    return [f"class {index}" for index in range(number)]


class _Doctor:
    """Tries recipes on one model and a set of pictures, each once."""

    def __init__(
        self,
        model: Model,
        pictures: Pictures,
        truths: NDArray[np.intp] | None,
        stop: Stop | None,
        progress: bool,
    ) -> None:
        self.model, self.pictures, self.truths, self.stop = model, pictures, truths, stop
        self.weights = recipes.resamples(len(pictures))
        self.wanted = _wanted(model)
        self.answers: dict[Candidate, Answers] = {}
        self.shaped: dict[tuple[PictureStep, ...], list[NDArray[np.uint8]]] = {}
        self.activation = ""
        self.progress = progress
        self.bar: Any = None

    def diagnosis(self) -> Diagnosis:
        own = self.model.preprocessing
        if self.progress:
            from tqdm.auto import tqdm

            self.bar = tqdm(unit="recipe")
        stopped = False
        try:
            in_use = self._run(own)
            try:
                self._search()
            except (CancelledError, InferenceTimeoutError):
                if self.stop is None or not self.stop.over:
                    raise
                stopped = True
        finally:
            if self.bar is not None:
                self.bar.close()
        return self._told(own, in_use, stopped)

    # ── trying ────────────────────────────────────────────────────────────────────────────────

    def _search(self) -> None:
        """Try numbers and colours, then crops, then filters, each with what did best so far."""
        self._try(recipes.screening(self.wanted))
        self._try(self._varied(("crop",)))
        self._try(self._varied(("interpolation", "sampling")))
        self._try(self._varied(("color", "values", "crop", "layout")))

    def _varied(self, choices: tuple[str, ...]) -> list[Candidate]:
        first = self._leading()
        return [
            changed
            for candidate in first
            for choice in choices
            for changed in recipes.alternatives(candidate, choice, self.wanted)
        ]

    def _leading(self) -> list[Candidate]:
        """Return the recipe that would be named by now, and a few that are as good."""
        rounds = self._rounds()
        if self.truths is None:  # see _peers
            rounds = {c: r for c, r in rounds.items() if c.crop == self.wanted.base.crop}
        best = max(rounds, key=lambda c: float(rounds[c][0]))
        alike = [c for c in rounds if recipes.alike(rounds[best], rounds[c])]
        alike.sort(key=lambda c: (recipes.usual(c, self.wanted.base), -float(rounds[c][0])))
        return list(dict.fromkeys([*alike[: _CARRIED - 1], best]))

    def _rounds(self) -> dict[Candidate, NDArray[np.float64]]:
        return {
            candidate: recipes.scores(answers, self.truths, self.weights)
            for candidate, answers in self.answers.items()
        }

    def _try(self, candidates: Iterable[Candidate]) -> None:
        for candidate in candidates:
            if candidate not in self.answers:
                self.answers[candidate] = self._run(recipes.pipeline_of(candidate, self.wanted))

    def _run(self, pipeline: Pipeline) -> Answers:
        """Run all pictures and their mirror images through one recipe."""
        if self.stop is not None:
            self.stop.check("Trying recipes")
        batch = self._fed(pipeline)
        axis = pipeline.layout.index("W")
        plain = self._scores(batch)
        mirrored = self._scores(np.ascontiguousarray(np.flip(batch, axis)))
        applied, why = resolve_activation(
            self.model.spec.activation, plain, self.model.output_operator
        )
        if not self.activation:  # the first run is that of the recipe in use
            self.activation = _reading(plain, f"{applied} ({why})")
        if self.bar is not None:
            self.bar.update()
        with np.errstate(all="ignore"):  # what is not finite counts as nothing
            return Answers(activate(plain, applied), activate(mirrored, applied))

    def _fed(self, pipeline: Pipeline) -> NDArray[Any]:
        """Return the batch of all pictures; what scaling makes of them is kept."""
        at = next(
            (n for n, s in enumerate(pipeline.steps) if not isinstance(s, PictureStep)),
            len(pipeline.steps),
        )
        first = tuple(s for s in pipeline.steps[:at] if isinstance(s, PictureStep))
        rest = pipeline.steps[at:]
        if not first or not rest or pipeline.channels == 1:
            return pipeline.batch(self.pictures)
        if first not in self.shaped:
            shaping = Pipeline(first)
            self.shaped[first] = [shaping(picture) for picture in self.pictures]
        return Pipeline(rest).batch(self.shaped[first])

    def _scores(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the (N, C) raw scores of a batch, in runs of what the graph takes."""
        model = self.model
        step = model.batch_axis or _BATCH
        found = []
        for start in range(0, len(batch), step):
            part = batch[start : start + step]
            short = (model.batch_axis or len(part)) - len(part)
            if short:
                part = np.concatenate([part, np.repeat(part[-1:], short, axis=0)])
            feeds = {model.image_input: part}
            told = model.run(feeds, outputs=(model.scores_output,), stop=self.stop)
            scores = np.asarray(told[model.scores_output], np.float32)
            found.append(scores.reshape(len(part), -1)[: len(part) - short])
        return np.concatenate(found)

    # ── telling ───────────────────────────────────────────────────────────────────────────────

    def _told(self, own: Pipeline, in_use: Answers, stopped: bool) -> Diagnosis:
        base = self.wanted.base
        pipelines = {c: recipes.pipeline_of(c, self.wanted) for c in self.answers}
        same = next((c for c, p in pipelines.items() if _alike(p, own)), None)
        entries: list[tuple[Candidate | None, Pipeline, Answers]] = [
            (c, pipelines[c], answers) for c, answers in self.answers.items()
        ]
        if same is None:
            entries.append((None, own, in_use))
        rounds = [recipes.scores(a, self.truths, self.weights) for _, _, a in entries]
        tops: dict[object, NDArray[np.float64]] = {}
        for (c, _, _), scored in zip(entries, rounds, strict=True):
            if float(scored[0]) > float(tops.get(self._peers(c), [-1.0])[0]):
                tops[self._peers(c)] = scored
        trials = [
            self._trial(entry, scored, tops[self._peers(entry[0])])
            for entry, scored in zip(entries, rounds, strict=True)
        ]
        kinds, needed = self._kinds()
        if kinds < needed:
            trials = [replace(trial, equivalent=True) for trial in trials]
        order = sorted(
            trials,
            key=lambda t: (
                -t.score / max(1e-9, float(tops[self._peers(t.candidate)][0])),
                self._peers(t.candidate) != self._peers(base),
            ),
        )
        alike = [t for t in order if t.equivalent]
        usual = [t for t in alike if t.candidate is not None] or alike
        named = min(
            usual,
            key=lambda t: 99 if t.candidate is None else recipes.usual(t.candidate, base),
        )
        mine = next(t for t in order if t.candidate == same) if same is not None else trials[-1]
        return Diagnosis(
            model=self.model.id,
            n=len(self.pictures),
            labelled=self.truths is not None,
            trials=tuple(order),
            named=named,
            in_use=mine,
            effects=self._effects(named),
            activation=self.activation,
            kinds=kinds,
            kinds_needed=needed,
            stopped=stopped,
        )

    def _kinds(self) -> tuple[float, float]:
        """Return of how many kinds the pictures are, and of how many they must be."""
        classes = next(iter(self.answers.values())).plain.shape[1] if self.answers else 2
        needed = recipes.kinds_needed(classes, labelled=self.truths is not None)
        if self.truths is not None:
            return recipes.variety(self.truths), needed
        if not self.answers:
            return 1.0, needed
        scored = {candidate: float(r[0]) for candidate, r in self._rounds().items()}
        return recipes.kinds(self.answers, scored, self._leading()[0], self.wanted), needed

    def _peers(self, candidate: Candidate | None) -> object:
        """Return what tells the group of recipes that one is compared with.

        A crop decides what the model sees of a picture, so that answers to different crops are
        answers about different things: without labels, only recipes of one crop are compared.
        """
        known = self.wanted.base if candidate is None else candidate
        return None if self.truths is not None else (known.crop,)

    def _trial(
        self,
        entry: tuple[Candidate | None, Pipeline, Answers],
        scored: NDArray[np.float64],
        top: NDArray[np.float64],
    ) -> Trial:
        candidate, pipeline, answers = entry
        low, high = np.quantile(scored[1:], (0.025, 0.975))
        right = float("nan")
        if self.truths is not None:
            right = float((answers.plain.argmax(axis=1) == self.truths).mean())
        finite = answers.finite
        return Trial(
            name=" → ".join(s.text() for s in pipeline.steps)
            if candidate is None
            else candidate.describe(),
            candidate=candidate,
            pipeline=pipeline,
            accuracy=right,
            score=float(scored[0]),
            interval=(float(low), float(high)),
            confidence=recipes.confidence(answers) if finite else float("nan"),
            agreement=recipes.agreement(answers) if finite else float("nan"),
            beaten=recipes.won(top, scored),
            equivalent=recipes.alike(top, scored),
        )

    def _effects(self, named: Trial) -> tuple[Effect, ...]:
        """Return what each choice of the named recipe does, from what was tried."""
        if named.candidate is None:
            return ()
        ours = self.answers[named.candidate]
        found = []
        for choice in recipes.CHOICES:
            tried = [
                (recipes.moved(ours, self.answers[c]), recipes.changed(ours, self.answers[c]), c)
                for c in recipes.alternatives(named.candidate, choice, self.wanted)
                if c in self.answers
            ]
            if tried:
                moved, changed, other = max(tried, key=lambda t: t[0])
                value = getattr(other, choice)
                instead = "stretched" if value is None else str(value)
                found.append(Effect(choice, instead, moved, changed))
        return tuple(sorted(found, key=lambda e: -e.moved))


def _reading(scores: NDArray[np.float32], applied: str) -> str:
    """Say what is applied to the scores, and whether it is one softmax too many."""
    with np.errstate(all="ignore"):
        ready = bool(scores.min() >= 0 and np.abs(scores.sum(axis=1) - 1).max() < _SUM_TOLERANCE)
    if ready and scores.shape[1] > 1 and applied.startswith("softmax"):
        return (
            "double softmax: the graph gives probabilities already, and the description applies "
            "another one, which flattens them; write activation 'none'"
        )
    return applied


def _alike(one: Pipeline, other: Pipeline) -> bool:
    """Say whether two pipelines give the same, however their steps are fused."""
    if one == other:
        return True
    try:
        return one.unfused().steps == other.unfused().steps
    except WorkbenchError:
        return False


def _wanted(model: Model) -> Wanted:
    """Return what the graph fixes of every recipe, and where the search begins."""
    image, own = model.spec.image, model.preprocessing
    assert image is not None
    size = image.size or own.size
    if size is None:
        expected = "an input of a known size, or preprocessing that gives one"
        raise UnsupportedInputsError(str(model.path), "a diagnosis", model.spec.inputs, expected)
    port = next(p for p in model.outputs if p.name == model.scores_output)
    preset, _ = passport.guess_preset(image, passport.classes(port))
    channels = image.channels or own.channels
    families = {
        "cifar10": ("CIFAR-10 mean/std", 1.0),
        "inception": ("−1 to 1", 0.875),
        "raw": ("0 to 255", None),
    }
    values, crop = families.get(preset, ("ImageNet mean/std", 0.875))
    if channels == 1 and image.dtype != "uint8":
        values = "0 to 1"
    told = recipes.constants_of(own)
    written = told[1] if told is not None and told[0] == recipes.WRITTEN else None
    layout = image.layout
    return Wanted(
        size=size,
        dtype=image.dtype,
        channels=channels,
        layouts=(layout,) if image.sure or channels == 1 else ("NCHW", "NHWC"),
        base=Candidate(values, "GRAY" if channels == 1 else "RGB", crop, layout=layout),
        written=written,
    )
