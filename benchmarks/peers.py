"""Our times beside those of others, on the same session: a bare loop, timeit, torch, pyperf.

Blocks of runs are taken in turn, in random order: ours (what ``wb.benchmark`` does for a run),
a bare ``perf_counter_ns`` loop around ``InferenceSession.run``, the standard library's timeit, and
``torch.utils.benchmark`` where it is installed. pyperf, where it is installed, measures the same
file in processes of its own. Two medians agree where they differ by no more than the bare loop
differs by from itself, from block to block (95th percentile). What measuring costs is the time of a
run of the whole loop beyond the engine's own. Exits with 1 where a peer disagrees, or where
measuring costs more than 1 % of a run of 1 ms.

    python benchmarks/peers.py [--model cifar10-small] [--blocks 60] [--runs 50] [--json FILE]
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import workbench as wb
from workbench.bench.rotation import Lane, rotate
from workbench.bench.shot import gather
from workbench.bench.subject import Configuration, ModelSubject, open_subject
from workbench.models.session import Options
from workbench.models.watch import Watch

#: Ceiling of what measuring may cost: 1 % of a run of 1 ms, in seconds.
COST_S = 10e-6
Peer = Callable[[int], list[float]]


def opened(name: str, watch: Watch) -> ModelSubject:
    """Open a model as a benchmark does: in a private session, one thread."""
    model = wb.default_hub().handle(name)
    options = Options.of(1, "cpu", False)
    configuration = Configuration(model=name, asked=name, options=options)
    return open_subject(model, configuration, gather(None), name=name, watch=watch)


def peers_of(subject: ModelSubject) -> dict[str, Peer]:
    """Return name → a function that gives the seconds of so many runs."""
    raw, feeds = subject.session._raw, subject._feeds[0]

    def ours(runs: int) -> list[float]:
        return [subject.run()[0] for _ in range(runs)]

    def bare(runs: int) -> list[float]:
        clock, run, found = time.perf_counter_ns, raw.run, []
        for _ in range(runs):
            begin = clock()
            run(None, feeds)
            found.append((clock() - begin) * 1e-9)
        return found

    def by_timeit(runs: int) -> list[float]:
        return timeit.Timer(lambda: raw.run(None, feeds)).repeat(runs, 1)

    found = {"ours": ours, "bare loop": bare, "timeit": by_timeit}
    if find_spec("torch") is not None:
        from torch.utils.benchmark import Timer

        timer = Timer("run(None, feeds)", globals={"run": raw.run, "feeds": feeds})

        def by_torch(runs: int) -> list[float]:
            return [timer.timeit(1).mean for _ in range(runs)]

        found["torch"] = by_torch
    return found


def measured(peers: dict[str, Peer], blocks: int, runs: int, seed: int) -> dict[str, np.ndarray]:
    """Return name → the median of each block, (blocks,); the bare loop twice, as itself again."""
    peers = peers | {"bare loop again": peers["bare loop"]}
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in peers}
    for name in peers:
        peers[name](runs)  # warm
    gc.disable()
    try:
        for _ in range(blocks):
            for name in rng.permutation(list(peers)).tolist():
                found[name].append(float(np.median(peers[name](runs))))
    finally:
        gc.enable()
    return {name: np.array(values) for name, values in found.items()}


def by_pyperf(name: str) -> float | None:
    """Return pyperf's median of the same file, in processes of its own; None without pyperf."""
    if find_spec("pyperf") is None:
        return None
    setup = (
        f"import sys; sys.path[:0] = {sys.path!r}; import workbench as wb; "
        f"m = wb.ModelHub().load({name!r}, threads=1, providers='cpu', spinning=False); "
        "f = m.sample_feeds(); s = m.lease().__enter__()._raw"
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "pyperf.json"
        subprocess.run(
            [sys.executable, "-m", "pyperf", "timeit", "--fast", "-q", "-s", setup,
             "s.run(None, f)", "-o", str(out)],
            check=True, stdout=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip
        told = json.loads(out.read_text(encoding="utf-8"))
    values = [v for run in told["benchmarks"][0]["runs"] for v in run.get("values", ())]
    return float(np.median(values))


def cost_of_measuring(subject: ModelSubject, seconds: float) -> float:
    """Return what a run of the whole loop takes beyond the engine's own call, in seconds."""
    lane = Lane(subject.name, subject)
    gc.disable()
    try:
        rotate([lane], min_time_s=seconds, max_time_s=60.0)
    finally:
        gc.enable()
    begun = np.array(lane.at_s)
    inside = np.array(lane.laps)[:, 0]
    return float(np.median(np.diff(begun) - inside[:-1]))


def main() -> int:
    """Read the command line and measure; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cifar10-small")
    parser.add_argument("--blocks", type=int, default=60)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with Watch(30.0) as watch:
        return compared(opened(arguments.model, watch), arguments)


def compared(subject: ModelSubject, arguments: argparse.Namespace) -> int:
    """Measure one model in all ways, print, and return the exit code."""
    found = measured(peers_of(subject), arguments.blocks, arguments.runs, seed=0)
    bare = found["bare loop"]
    floor = float(np.quantile(np.abs(np.log(found["bare loop again"] / bare)), 0.95))
    print(f"{arguments.model}, {arguments.blocks} blocks of {arguments.runs} runs")
    print(f"noise floor (the bare loop against itself): {100 * floor:.1f} %")
    told: dict[str, float] = {"noise_floor": floor}
    wrong = False
    for name, values in found.items():
        apart = float(np.median(np.log(values / bare)))
        agrees = abs(apart) <= floor
        wrong |= not agrees
        verdict = "agrees" if agrees else "DISAGREES"
        print(f"{name:16} {1e6 * np.median(values):9.1f} µs  {100 * apart:+6.2f} %  {verdict}")
        told[f"{name}_s"] = float(np.median(values))
    elsewhere = by_pyperf(arguments.model)
    if elsewhere is not None:  # other processes, another time: shown, and not judged
        apart = float(np.log(elsewhere / np.median(bare)))
        print(f"{'pyperf':16} {1e6 * elsewhere:9.1f} µs  {100 * apart:+6.2f} %  (own processes)")
        told["pyperf_s"] = elsewhere
    for peer in ("torch", "pyperf"):
        if find_spec(peer) is None:
            print(f"{peer:16} not installed")
    cost = cost_of_measuring(subject, 1.0)
    dear = cost > COST_S
    print(f"measuring costs {1e6 * cost:.1f} µs a run, ceiling {1e6 * COST_S:.0f} µs: "
          f"{'missed' if dear else 'holds'}")  # fmt: skip
    told["cost_s"] = cost
    subject.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return int(wrong or dear)


if __name__ == "__main__":
    sys.exit(main())
