"""The ``workbench`` command.

Readable in a plain terminal and in a pipe; colours only on a terminal and without ``NO_COLOR``.
Exit codes: 0 all went well, 1 something could not be done (each thing in one sentence on
stderr), 2 the command line cannot be understood, 3 slower than allowed (``bench``), 130
interrupted.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from math import inf
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer

from workbench import __version__
from workbench.cards import Card, Facts, Notes, Table, as_text
from workbench.errors import (
    DISTRIBUTION,
    ConfigError,
    MissingFileError,
    WorkbenchError,
    WriteError,
    choices,
    install_line,
    pip,
)
from workbench.settings import Settings, cache_folder, nearest_ancestor, without_credentials
from workbench.spreadsheet import safe_cell
from workbench.units import count, seconds, share, size

if TYPE_CHECKING:
    from workbench.bench.outcome import Benchmark
    from workbench.inference.results import Failure, Result
    from workbench.inference.runner import Runner
    from workbench.models.model import Model

app = typer.Typer(
    name="workbench",
    help="A laboratory for ONNX models: classify pictures, measure models, open JupyterLab.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
#: The model that is used when none is named.
DEFAULT_MODEL = "cifar10"
#: Extras that add something to what is here: the module that shows whether one is there, and
#: what it is for.
_EXTRAS = {
    "heif": ("pillow_heif", "HEIC photos"),
    "openvino": ("onnxruntime_ep_openvino", "the OpenVINO provider"),
    "remote": ("fsspec", "models in s3:// and gs:// buckets"),
    "parquet": ("pyarrow", "Parquet tables of benchmarks"),
    "serve": ("fastapi", "the HTTP service"),
    "jobs": ("rq", "jobs that services share through Redis"),
}

Images = Annotated[
    list[str], typer.Argument(help="Pictures, folders of pictures, or https addresses.")
]
ModelName = Annotated[str, typer.Option("--model", "-m", help="Id, or path to an .onnx file.")]
TopK = Annotated[int, typer.Option("--top-k", "-k", min=1, help="Classes in each answer.")]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the log.")] = False,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Set up what all commands share."""
    if show_version:
        typer.echo(f"{DISTRIBUTION} {__version__}")
        raise typer.Exit
    level = logging.DEBUG if debug else getattr(logging, Settings().log_level)
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    warnings.showwarning = _warn
    context.obj = {"debug": debug}


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """Show a warning as a sentence, without the line of code that raised it."""
    _complain(f"note: {message}")


@app.command()
def classify(
    context: typer.Context,
    images: Images,
    model: ModelName = DEFAULT_MODEL,
    top_k: TopK = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a row a prediction.")] = False,
    isolated: Annotated[
        bool,
        typer.Option("--isolated", help="Run the model in a process of its own: it may crash."),
    ] = False,
) -> None:
    """Say what is in pictures, how sure the model is, and where the time went."""
    from workbench.inference.results import Result
    from workbench.inference.runner import Runner

    if as_json and as_csv:
        raise typer.BadParameter("choose one of --json and --csv")
    runner = Runner(top_k=top_k, isolated=isolated)
    failed = False
    writer: _Writer | None = None
    try:
        handle = runner.load(model)
        writer = _Json() if as_json else _Csv() if as_csv else _Cards()
        for path in images:
            for answer in _answers(runner, path, handle):
                writer.write(answer)
                if not isinstance(answer, Result):
                    failed = True
                    if _debug(context):
                        traceback.print_exception(answer.error)
                    _complain(f"{answer.source}: {answer.error}")
    finally:
        if writer is not None:
            writer.close()
        runner.close()
    if failed:
        raise typer.Exit(1)


def _debug(context: typer.Context) -> bool:
    return bool((context.obj or {}).get("debug"))


def _answers(runner: Runner, path: str, handle: Model) -> Iterator[Result | Failure]:
    """Answer one argument: a picture, or the pictures of a folder as they are done."""
    from workbench.inference.results import Failure
    from workbench.inference.source import folder_of

    try:
        if folder_of(path) is None:
            yield runner.classify(path, model=handle)
        else:
            yield from runner.stream(path, model=handle)
    except WorkbenchError as error:
        yield Failure(source=without_credentials(path), error=error, model=handle.id)


class _Writer(Protocol):
    """Writes answers as they come."""

    def write(self, answer: Result | Failure) -> None: ...
    def close(self) -> None: ...


class _Cards:
    """For people: a card an answer. Failures go to stderr, elsewhere."""

    def write(self, answer: Result | Failure) -> None:
        from workbench.inference.results import Result

        if isinstance(answer, Result):
            _show(_plain_card(answer))
            sys.stdout.flush()

    def close(self) -> None:
        pass


class _Json:
    """A JSON list, whole even when it is interrupted."""

    def __init__(self) -> None:
        self.begun = False

    def write(self, answer: Result | Failure) -> None:
        text = json.dumps(answer.to_dict(), indent=2, allow_nan=False)
        typer.echo(("," if self.begun else "[") + "\n" + indent(text, "  "), nl=False)
        self.begun = True
        sys.stdout.flush()

    def close(self) -> None:
        typer.echo("\n]" if self.begun else "[]")


class _Csv:
    """A row a prediction."""

    def __init__(self) -> None:
        self.writer = csv.writer(sys.stdout, lineterminator="\n")
        self.writer.writerow(
            (
                *("source", "model", "rank", "label", "index", "probability"),
                *("note", "total_ms", "error"),
            )
        )

    def write(self, answer: Result | Failure) -> None:
        told = answer.to_dict()
        head = [safe_cell(told["source"]), safe_cell(told["model_id"])]
        if not told["success"]:
            self.writer.writerow([*head, "", "", "", "", "", "", told["error"]["code"]])
        for rank, p in enumerate(told.get("predictions", ()), 1):
            self.writer.writerow(
                [*head, rank, safe_cell(p["label"]), p["index"], f"{p['probability']:.6f}",
                 safe_cell(told["note"]), f"{told['timings_ms']['total']:.3f}", ""]
            )  # fmt: skip
        sys.stdout.flush()

    def close(self) -> None:
        pass


def _plain_card(answer: Result | Failure) -> Card:
    """Drop the picture from a card: a terminal has none."""
    from workbench.cards import Pictures

    card = answer._card()
    return Card(card.title, tuple(b for b in card.blocks if not isinstance(b, Pictures)))


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Add those of the catalogue that can be pulled.")
    ] = False,
) -> None:
    """List the models that can be used here."""
    from workbench.models.hub import ModelHub

    rows = ModelHub().rows()
    if everything:
        _list_all(rows, as_json)
        return
    if as_json:
        typer.echo(json.dumps(rows, indent=2, allow_nan=False))
        return
    columns = ("id", "task", "input", "size", "top-1", "licence", "shelf")
    table = tuple(
        (
            r["id"],
            r["task"],
            r["input"],
            size(r["size_bytes"]),
            "–" if r["accuracy"] is None else share(r["accuracy"]),
            r["licence"] or "–",
            r["shelf"],
        )
        for r in rows
    )
    _show(Card("Models", (Table(columns, table, numeric=("size", "top-1")),)))


def _list_all(rows: list[dict[str, Any]], as_json: bool) -> None:
    """List what is here, then what the catalogue has besides."""
    from workbench.models.catalog import entries

    here = {r["id"] for r in rows}
    if as_json:
        told = [
            {"id": e.id, "task": e.task, "size_bytes": e.size_bytes, "licence": e.licence,
             "accuracy": dict(e.accuracy), "sha256": e.sha256, "sources": list(e.sources),
             "here": e.id in here}
            for e in entries().values()
        ]  # fmt: skip
        typer.echo(json.dumps({"here": rows, "catalogue": told}, indent=2, allow_nan=False))
        return
    table = [(r["id"], r["task"], size(r["size_bytes"]), "–" if r["accuracy"] is None else
              f"top1 {r['accuracy']:.3f}", r["licence"] or "–", "here") for r in rows]  # fmt: skip
    table += [
        (e.id, e.task, size(e.size_bytes), e.score or "–", e.licence, "pull")
        for e in entries().values()
        if e.id not in here
    ]
    columns = ("id", "task", "size", "accuracy", "licence", "is")
    card = Table(columns, tuple(table), numeric=("size",))
    _show(Card("Models here and in the catalogue (workbench pull ID)", (card,)))


Source = Annotated[
    str | None,
    typer.Argument(help="Catalogue name, https://, hf://org/repo/file, ipfs://, s3://, gs:// or "
                   "a path."),
]  # fmt: skip
Names = Annotated[list[str] | None, typer.Argument(help="Ids; all that are locked by default.")]
Http = Annotated[bool | None, typer.Option("--allow-http", help="Take plain http as well.")]
Private = Annotated[
    bool | None,
    typer.Option("--allow-private", help="Dial private, loopback and link-local addresses."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


@app.command()
def pull(
    source: Source = None,
    name: Annotated[str | None, typer.Option("--id", help="Name that the model gets.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Hash that the file must have.")] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="JSON file with fields of its description.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of another of that name.")
    ] = False,
    locked: Annotated[
        bool, typer.Option("--locked", help="Make the folder what its models.lock says.")
    ] = False,
    mirror: Annotated[
        list[str] | None, typer.Option(help="Folder or server that is asked first; repeatable.")
    ] = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, help="Largest download.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Time limit in seconds.")] = None,
    allow_http: Http = None,
    allow_private: Private = None,
    quiet: Quiet = False,
) -> None:
    """Fetch a model, verify it, and put it on the shelf with all that belongs to it."""
    from workbench.models.hub import ModelHub

    if locked == (source is not None):
        raise typer.BadParameter("give a source, or --locked")
    hub = ModelHub()
    limits: dict[str, Any] = {"max_bytes": max_bytes, "timeout_s": timeout}
    limits |= {"allow_http": allow_http, "allow_private": allow_private, "mirrors": mirror or None}
    progress = sys.stderr.isatty() and not quiet
    if source is None:
        _show(hub.pull_locked(progress=progress, **limits)._card())
        return
    model = hub.pull(
        source, name, sha256=sha256, metadata=metadata, replace=replace, progress=progress,
        **limits,
    )  # fmt: skip
    _show(model._card())
    typer.echo(f"Use it with: workbench classify -m {model.id} PICTURE", err=True)


@app.command()
def verify(
    names: Names = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Take the hash of every file that was pulled again; exits with 1 where one is not right."""
    from workbench.models.hub import ModelHub

    told = ModelHub().verify(*(names or ()))
    typer.echo(json.dumps(told.rows(), indent=2)) if as_json else _show(told._card())
    if not told.ok:
        for name, finding in told.wrong:
            _complain(f"{name}: {finding.path} is {finding.state}")
        raise typer.Exit(1)


@app.command()
def update(
    names: Names = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    allow_http: Http = None,
    allow_private: Private = None,
) -> None:
    """Ask the sources of what was pulled what they have now, and pull what has changed."""
    from workbench.models.hub import ModelHub

    told = ModelHub().update(
        *(names or ()), dry_run=dry_run, progress=sys.stderr.isatty(), allow_http=allow_http,
        allow_private=allow_private,
    )  # fmt: skip
    typer.echo(json.dumps(told.rows(), indent=2)) if as_json else _show(told._card())
    if any(n.outcome == "failed" for n in told.news):
        raise typer.Exit(1)


@app.command()
def passport(
    model: Annotated[str, typer.Argument(help="Id, or path to an .onnx file.")],
    settle: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=SOURCE", help="Whom to believe where sources differ; repeatable."
        ),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write it into the metadata file.")
    ] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write it into the model file instead.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option("--to", help="Write to this file instead of its own.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, an object a claim.")
    ] = False,
) -> None:
    """Show what is known of a model, where it was learnt, and where sources differ."""
    from workbench.models.hub import ModelHub

    chosen: dict[str, str] = {}
    for text in settle or ():
        field, mark, source = text.partition("=")
        if not mark or not field or not source:
            raise typer.BadParameter(f"--settle is {text!r}; expected FIELD=SOURCE")
        chosen[field.strip()] = source.strip()
    known = ModelHub().passport(model).settle(**chosen)
    _tell(known, as_json)
    if write or onnx or to is not None:
        kind = "onnx" if onnx else "metadata"
        typer.echo(f"Written to {known.write(kind, path=to)}", err=True)


@app.command()
def diagnose(
    model: Annotated[str, typer.Argument(help="Id, or path to an .onnx file.")],
    images: Annotated[
        list[str],
        typer.Argument(help="Pictures, or a folder of them; with a folder a class, labels too."),
    ],
    most: Annotated[int, typer.Option(min=1, help="Pictures that are used at most.")] = 256,
    html: Annotated[
        Path | None, typer.Option(help="Keep the table and the picture as a page.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
    quiet: Quiet = False,
) -> None:
    """Find out which preprocessing a model was made for; exits with 1 where its own is wrong."""
    from workbench.inference.diagnose import diagnose as tried
    from workbench.models.hub import ModelHub

    if html is not None:
        _check_place(html)
    sources = images[0] if len(images) == 1 else images
    shown = sys.stderr.isatty() and not quiet
    found = tried(model, sources, hub=ModelHub(), most=most, progress=shown)
    if as_json:
        rows = json.loads(found.to_frame().to_json(orient="records"))
        told = {
            "model": found.model, "verdict": found.verdict, "healthy": found.healthy,
            "conclusive": found.conclusive, "named": found.metadata(), "recipes": rows,
        }  # fmt: skip
        typer.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        _show(found._card())
    if html is not None:
        from workbench.page import report

        place = report(
            [found, found.plot()], html, title=f"Which preprocessing {found.model} was made for"
        )
        typer.echo(f"Kept in {place}", err=True)
    if not found.healthy:
        _complain(f"{found.model}: the preprocessing in use is wrong, see 'named'")
        raise typer.Exit(1)


@app.command()
def bench(
    models: Annotated[
        list[str] | None, typer.Argument(help="Ids, or paths to .onnx files.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Say whether the second is faster than the first.")
    ] = False,
    scenario: Annotated[
        str | None, typer.Option(help="single_stream, multi_stream, server or offline.")
    ] = None,
    images: Annotated[list[Path] | None, typer.Option(help="Pictures to run on.")] = None,
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="Time all from the bytes of a picture.")
    ] = False,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, max=2**31 - 1, help="Pictures in a run.")
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="Threads of one operator.")
    ] = None,
    min_time: Annotated[
        float | None, typer.Option(help="Seconds of runs, each configuration (1 by default).")
    ] = None,
    max_time: Annotated[float | None, typer.Option(help="Seconds in all (60 by default).")] = None,
    save: Annotated[Path | None, typer.Option(help="Keep everything in this file.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="A kept file: say what changed since.")
    ] = None,
    fail_if_slower: Annotated[
        str | None, typer.Option(help="With --against: exit with 3 beyond this, such as 5%.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Measure models, compare two of them, or see whether something got slower."""
    from workbench.bench.comparison import compare as compared
    from workbench.bench.suite import benchmark

    limit = _limit(fail_if_slower, against)
    _check_scenario(scenario, batch, threads, compare=compare, end_to_end=end_to_end)
    if (compare or scenario) and (save or against):
        raise typer.BadParameter("--save and --against keep plain benchmarks only")
    if not models and against is None and not compare:
        raise typer.BadParameter("name at least one model")
    again = against is not None and not models
    timing = min_time is not None or max_time is not None
    if again and (batch or threads or timing or end_to_end):
        raise typer.BadParameter(
            "--against without models measures what the file holds: of the options that say how "
            "to measure it takes --images only"
        )
    if end_to_end and not images:
        raise typer.BadParameter("--end-to-end begins with their bytes: it needs --images")
    shortest, longest = _times(min_time, max_time, compare=compare)
    timed: Literal["inference", "end_to_end"] = "end_to_end" if end_to_end else "inference"
    shown = sys.stderr.isatty()
    if compare:
        if models is None or len(models) != 2 or len(batch or ()) > 1 or len(threads or ()) > 1:
            raise typer.BadParameter("--compare takes two models, and one way to run them")
        one: dict[str, Any] = {"batch_size": next(iter(batch or ()), None)}
        one["threads"] = next(iter(threads or ()), None)
        first, second = models
        verdict = compared(
            first, second, images=images, timed=timed, max_time_s=longest, progress=shown, **one
        )
        _tell(verdict, as_json)
        raise typer.Exit(130 if verdict.stopped else 0)
    before = None if against is None else _kept(against)
    if save is not None:
        _check_place(save)
    if again and before is not None:
        done: Any = before.rerun(images=images, progress=shown)
    else:
        if before is not None:
            _check_shared(before, str(against), models or [], batch, threads, timed)
        asked: dict[str, Any] = {"images": images, "timed": timed, "scenario": scenario}
        asked |= {"batch_sizes": batch or None, "threads": threads or None, "progress": shown}
        done = benchmark(models or [], min_time_s=shortest, max_time_s=longest, **asked)
    failed = [*done.to_frame()["error"]] if len(done) else []
    code = 130 if done.stopped else int(any(failed))
    if save is not None and not _saved(done, save):
        code = code or 1
    _tell(done, as_json)
    if before is not None:
        slower = _judged(before, done, limit, as_json)
        code = code or (3 if slower else 0)
    raise typer.Exit(code)


def _judged(before: Benchmark, done: Benchmark, limit: float | None, as_json: bool) -> bool:
    """Show what changed since, and say whether something is slower than a limit allows."""
    from workbench.bench.regression import judge

    difference = before.diff(done)
    if not as_json:
        _show(difference._card())
    judgements = judge(difference, limit) if limit is not None else ()
    for judgement in judgements:
        _complain(judgement.sentence)
    return any(judgement.ruling == "slower" for judgement in judgements)


def _limit(share_text: str | None, against: Path | None) -> float | None:
    """Read ``--fail-if-slower``."""
    from workbench.bench.regression import share_of

    if share_text is None:
        return None
    if against is None:
        raise typer.BadParameter("--fail-if-slower needs --against FILE")
    try:
        return share_of(share_text)
    except ConfigError as error:
        message = f"--fail-if-slower is {error.seen!r}; expected {error.expected}"
        raise typer.BadParameter(message) from error


def _check_scenario(
    scenario: str | None,
    batch: list[int] | None,
    threads: list[int] | None,
    *,
    compare: bool,
    end_to_end: bool,
) -> None:
    """Raise for a scenario that there is not, or with options that it does not take."""
    from workbench.bench.scenario import SCENARIOS

    if scenario is None:
        return
    if scenario not in SCENARIOS:
        raise typer.BadParameter(f"--scenario is {scenario!r}; expected {choices(SCENARIOS)}")
    if compare:
        raise typer.BadParameter("--compare and --scenario do not go together")
    if batch or end_to_end or len(threads or ()) > 1:
        raise typer.BadParameter(
            "--scenario says how pictures come: it takes no --batch, no --end-to-end and one "
            "--threads at most"
        )


def _times(min_time: float | None, max_time: float | None, *, compare: bool) -> tuple[float, float]:
    """Return seconds of runs and seconds in all; raise for what are no times."""
    for name, value in (("--min-time", min_time), ("--max-time", max_time)):
        if value is not None and not 0 < value < inf:
            raise typer.BadParameter(f"{name} is {value}; expected a positive number of seconds")
    if compare and min_time is not None:
        raise typer.BadParameter("--compare ends when it is decided: it takes no --min-time")
    longest = 60.0 if max_time is None else max_time
    shortest = min(1.0, longest) if min_time is None else min_time
    if shortest > longest:
        raise typer.BadParameter(f"--min-time is {shortest}; expected at most --max-time {longest}")
    return shortest, longest


def _check_shared(
    before: Benchmark,
    file: str,
    models: Sequence[str],
    batch: list[int] | None,
    threads: list[int] | None,
    timed: str,
) -> None:
    """Raise where a kept benchmark has nothing of what is asked for, before that is measured.

    Raises
    ------
    ConfigError : it timed something else, or has none of these configurations
    """
    from workbench.bench.shot import fixed_batch
    from workbench.models.hub import default_hub

    if before.timed != timed:
        raise ConfigError("--against", file, f"a benchmark that timed {timed!r}")
    hub = default_hub()
    handles = [hub.handle(model) for model in models]
    asked = {
        (model.id, size_ or fixed_batch(model) or 1, number)
        for model in handles
        for size_ in batch or (None,)
        for number in threads or (None,)
    }
    kept = {
        (c.model, c.batch, c.options.threads)
        for c in (record.configuration for record in before)
        if c.options.providers is None
    }
    if not asked & kept:
        raise ConfigError("--against", file, "a file with one of these configurations")


def _check_place(path: Path) -> None:
    """Raise where a file cannot be written, before there is something to write."""
    place = path.expanduser()
    if not place.parent.is_dir():
        raise MissingFileError(str(place.parent), "folder")
    if place.is_dir():
        raise WriteError(str(path), "it is a folder")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise WriteError(str(path), "its folder may not be written to")


def _saved(done: Any, path: Path) -> bool:
    """Keep a benchmark; where that fails, say so and go on: the results are still shown."""
    try:
        typer.echo(f"Kept in {done.save(path)}", err=True)
    except WorkbenchError as error:
        _complain(str(error))
        return False
    return True


def _kept(path: Path) -> Benchmark:
    from workbench.bench.capsule import load_benchmark

    return load_benchmark(path)


def _tell(measured: Any, as_json: bool) -> None:
    """Show a measurement: its card, or its frame as JSON (nan as null)."""
    if not as_json:
        _show(measured._card())
        return
    typer.echo(measured.to_frame().to_json(orient="records", indent=2))


@app.command()
def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one (3000).")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.")] = None,
    models: Annotated[
        list[str] | None, typer.Option(help="Warmed up first; repeatable, or with commas.")
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when the package's files change.")
    ] = False,
) -> None:
    """Serve the models over HTTP: a REST API, and the Open Inference Protocol v2."""
    from workbench.service import require_extra

    require_extra()
    from workbench.service import journal
    from workbench.service.policy import Policy
    from workbench.service.server import reloading, run

    asked: dict[str, Any] = {"host": host, "port": port, "workers": workers}
    if models:
        asked["preload_models"] = tuple(n for text in models for n in text.split(",") if n)
    given = Settings(**{name: value for name, value in asked.items() if value is not None})
    policy = Policy.of(given)
    journal.set_up(given, level="DEBUG" if _debug(context) else None)

    def ready(where: str) -> None:
        typer.echo(f"Serving on {where} (documentation: {where}/docs; end it with Ctrl-C)")
        sys.stdout.flush()

    if reload:
        reloading(given, policy, ready)
        return
    run(given, policy, workers=given.workers, models=given.preload_models, on_ready=ready)


@app.command()
def worker(
    context: typer.Context,
    burst: Annotated[bool, typer.Option("--burst", help="End when there are no jobs.")] = False,
) -> None:
    """Do the jobs that services put into the Redis of REDIS_URL, until a signal ends it."""
    from workbench.service import journal, require_extra, require_extra_jobs

    require_extra()
    require_extra_jobs()
    from workbench.service.worker import work

    given = Settings()
    if given.redis_url is None:
        raise ConfigError(
            "REDIS_URL", None, "the Redis that services put their jobs into: redis://host:6379/0"
        )
    journal.set_up(given, level="DEBUG" if _debug(context) else None)
    work(given, burst=burst)


@app.command()
def nginx(
    names: Annotated[list[str], typer.Argument(help="Names under which others know the site.")],
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate that nginx reads (PEM).")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
) -> None:
    """Write an nginx site whose limits are those of the service, as it is set here."""
    from workbench.service import require_extra

    require_extra()
    from workbench.service.policy import Policy
    from workbench.service.proxy import nginx as site

    given = Settings()
    if given.tls_cert is not None:
        raise ConfigError(
            "TLS_CERT", str(given.tls_cert), "not set: behind nginx it is nginx that speaks TLS",
            "The files for nginx are --tls-cert and --tls-key.",
        )  # fmt: skip
    named = {"tls_cert": tls_cert, "tls_key": tls_key}
    files = {name: path for name, path in named.items() if path is not None}
    typer.echo(site(Policy.of(given), port=given.port, names=names, **files), nl=False)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show the optimised graphs that are kept for the next load, or clear them."""
    from workbench.models.optimised import GraphCache

    graphs = GraphCache()
    if clear:
        typer.echo(f"{size(graphs.clear())} of optimised graphs removed from {graphs.folder}")
        return
    kept = graphs.look()
    if as_json:
        told = {"folder": str(kept.folder), "limit_bytes": kept.limit_bytes,
                "size_bytes": kept.size_bytes, "enabled": kept.enabled,
                "entries": [{"sha256": s, "size_bytes": n} for s, n in kept.entries]}  # fmt: skip
        typer.echo(json.dumps(told, indent=2))
        return
    _show(kept._card())


@app.command()
def lab(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder to open; the project's notebooks by default.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the Jupyter server.")] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Open JupyterLab on the notebooks."""
    place = folder or nearest_ancestor("notebooks") or Path.cwd()
    if not place.is_dir():
        raise MissingFileError(str(place), "folder")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={place.resolve()}"]
    command += [f"--port={port}"] if port is not None else []
    command += [] if browser else ["--no-browser"]
    typer.echo(f"Opening JupyterLab on {place} (end it with Ctrl-C)", err=True)
    sys.stdout.flush()
    os.execv(sys.executable, command)  # the same interpreter, no shell


@app.command()
def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show versions, providers, threads, folders, and what is missing."""
    blocks = _info_blocks()
    if as_json:
        told = {b.title: dict(b.rows) for b in blocks if isinstance(b, Facts)}
        typer.echo(json.dumps(told, indent=2))
        return
    _show(Card(f"{DISTRIBUTION} {__version__}", blocks))


def _info_blocks() -> tuple[Facts | Notes, ...]:
    from workbench.host import host
    from workbench.models import provider, store
    from workbench.models.session import resolve_spinning

    machine = host()
    versions = [(name, _installed(name)) for name in _core_packages()]
    there = tuple(
        (
            provider.short(o.name),
            f"{o.origin} {o.version}".strip()
            + (f", devices: {', '.join(o.device_names)}" if o.device_names else "")
            + ("" if o.usable else f" (not usable: {o.why_not})"),
        )
        for o in provider.offered()
    )
    spins, why = resolve_spinning("auto", machine.threads)
    running = (
        *machine.facts(),
        ("spinning", f"{'on' if spins else 'off'} ({why})"),
        ("pool of threads", _pool()),
        ("time limit of a run", seconds(Settings().timeout_s)),
        ("models kept live", str(Settings().max_models_in_memory)),
        ("largest image file", size(Settings().max_image_bytes)),
    )
    folders = tuple((f"{s.name} shelf", str(s.models)) for s in store.shelves())
    folders += (("cache", str(cache_folder())),)
    missing = tuple(
        (f"{extra}: {what}", install_line(extra))
        for extra, (module, what) in _EXTRAS.items()
        if not _importable(module)
    )
    helpful = tuple(f"{why}: {line}" for why, line in provider.suggestions(machine))
    return (
        Facts(tuple(versions), "Versions"),
        Facts(there, "Providers"),
        Facts(running, "Running"),
        Facts(folders, "Folders"),
        Facts(missing or (("nothing", "all extras are installed"),), "Not installed"),
        Notes(tuple(f"This would help here: {line}" for line in helpful)),
    )


def _pool() -> str:
    """Say whether models share their threads."""
    from workbench.models.threadpool import why_no_pool

    asked, why = Settings().shared_threads, why_no_pool()
    if asked is None:
        return "one a model"
    return f"one a model ({why})" if why else f"{count(asked, 'thread')} for all models"


def _core_packages() -> tuple[str, ...]:
    return ("python", "onnxruntime", "onnx", "numpy", "pillow", "pandas", "matplotlib",
            "ipywidgets", "jupyterlab")  # fmt: skip


def _installed(name: str) -> str:
    if name == "python":
        return sys.version.split()[0]
    try:
        return version(name)
    except PackageNotFoundError:
        return f"missing: {pip()} install {name}"


def _importable(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


# ── showing ───────────────────────────────────────────────────────────────────────────────────


def _coloured() -> bool:
    return sys.stdout.isatty() and not Settings().no_color


def _show(card: Card) -> None:
    title, _, rest = as_text(card).partition("\n")
    typer.echo(typer.style(title, bold=True) if _coloured() else title)
    if rest:
        typer.echo(rest)


def _complain(text: str) -> None:
    typer.echo(f"workbench: {' '.join(text.split())}", err=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that is not UTF-8 gets question marks
            stream.reconfigure(errors="replace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in given:  # it is taken anywhere
        given = ["--debug", *(g for g in given if g != "--debug")]
    try:
        code = app(args=given, prog_name="workbench", standalone_mode=False)
        if code == 130:  # typer has caught the interrupt
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except WorkbenchError as error:
        if "--debug" in given:
            traceback.print_exc()
        _complain(str(error))
        return 1
    except (KeyboardInterrupt, typer.Abort):  # typer turns the one into the other
        _complain("interrupted")
        return 130
    except BrokenPipeError:  # the reader of the pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # files that are read have errors of ours: this is the output
        if "--debug" in given:
            traceback.print_exc()
        _complain(f"The output could not be written: {error.strerror or error}.")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of it
        return 1
    except Exception as error:  # noqa: BLE001  (raised again unless it is click's own)
        return _usage(error)


def _usage(error: Exception) -> int:
    """Report a command line that click does not understand; anything else is a bug of ours."""
    show = getattr(error, "show", None)
    if show is None:
        raise error
    show()
    return int(getattr(error, "exit_code", 2))


if __name__ == "__main__":
    sys.exit(main())
