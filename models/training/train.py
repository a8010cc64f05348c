"""Train one network on CIFAR-10 and keep the moving average of its weights.

Run as::

    python train.py --data cifar10.npz --model cifar10 --out runs/cifar10

A run may start from another one's weights (`--start`), learn from another one's answers
(`--teacher`), and be shown outliers to be undecided about (`--outliers`).
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from cifar import Augmentation, Pictures, load_cifar10, normalise, split, to_float
from network import DESIGNS, Network
from outliers import KINDS, make_outliers
from torch import Tensor, nn
from torch.nn import functional

log = logging.getLogger("train")
#: The moving average takes a step after this many of the optimiser's.
AVERAGED_EVERY = 5


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 archive (.npz)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--model", choices=sorted(DESIGNS), default="cifar10")
    parser.add_argument("--epochs", type=int, default=75)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--peak-rate", type=float, default=0.12)
    parser.add_argument("--warm-up", type=float, default=0.1, help="share of steps going up")
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--changes", type=float, default=0.5, help="how often to augment, 0 to 1")
    parser.add_argument("--mixed", type=float, default=0.5, help="share of batches with CutMix")
    parser.add_argument("--plain", type=float, default=0.15, help="share of last epochs without")
    parser.add_argument("--start", type=Path, help="folder of a run to continue from")
    parser.add_argument("--teacher", type=Path, help="folder of a run to learn from")
    parser.add_argument("--mirrored", action="store_true", help="its answers to mirrors count too")
    parser.add_argument("--softness", type=float, default=2.0, help="temperature of its lessons")
    parser.add_argument("--outliers", type=int, default=0, help="outliers added to a batch")
    parser.add_argument("--outlier-weight", type=float, default=0.4)
    parser.add_argument("--outlier-kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--frozen", action="store_true", help="keep the statistics of the norms")
    parser.add_argument("--average", type=float, default=0.97, help="decay of the average")
    parser.add_argument("--held-out", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def triangle(step: int, steps: int, warm_up: float) -> float:
    """Rise from 0 to 1 over the first `warm_up` of the steps, then fall back to 0."""
    position = (step + 1) / (steps + 1)
    return min(position / warm_up, (1 - position) / (1 - warm_up))


@torch.no_grad()
def logits_of(network: nn.Module, images: Tensor, batch: int = 500) -> Tensor:
    """Run uint8 pictures through `network` in float32."""
    parts = [network(normalise(to_float(some))) for some in images.split(batch)]
    return torch.cat(parts)


def accuracy(network: nn.Module, pictures: Pictures) -> float:
    """Return the share of pictures whose highest logit is the right one."""
    return (logits_of(network, pictures.images).argmax(1) == pictures.labels).float().mean().item()


def restore(run: Path) -> Network:
    """Load the averaged network of a run."""
    checkpoint = torch.load(run / "last.pt", weights_only=True)
    network = Network(DESIGNS[checkpoint["settings"]["model"]])
    network.load_state_dict(checkpoint["weights"])
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval()


@dataclass(frozen=True)
class Mixture:
    """A window that is exchanged between pictures of a batch (CutMix, Yun et al., 2019)."""

    rows: slice
    columns: slice
    order: Tensor

    @classmethod
    def draw(cls, count: int, size: int) -> Mixture:
        """Draw a window of uniformly distributed area anywhere, and the partners."""
        side = round(size * torch.rand(()).sqrt().item())
        y, x = torch.randint(0, size, (2,)).tolist()
        rows = slice(max(0, y - side // 2), min(size, y + (side + 1) // 2))
        columns = slice(max(0, x - side // 2), min(size, x + (side + 1) // 2))
        return cls(rows, columns, torch.randperm(count))

    def images(self, images: Tensor) -> Tensor:
        """Paste the window of each picture's partner."""
        mixed = images.clone()
        mixed[:, :, self.rows, self.columns] = images[self.order][:, :, self.rows, self.columns]
        return mixed

    def targets(self, targets: Tensor, size: int) -> Tensor:
        """Weigh both pictures' targets by the area each of them shows."""
        height = self.rows.stop - self.rows.start
        width = self.columns.stop - self.columns.start
        return torch.lerp(targets, targets[self.order], height * width / size**2)


class Student:
    """A network in training, its optimiser and the moving average of its weights."""

    def __init__(self, network: Network, arguments: argparse.Namespace) -> None:
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval()
        weights = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim == 1]
        # Weight decay on the kernels only.
        groups = [
            {"params": weights, "weight_decay": arguments.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)
        self.arguments, self.steps = arguments, 0

    def learn(self, images: Tensor, targets: Tensor, softness: float, rate: float) -> float:
        """Take one step and return the loss; pictures beyond the targets are outliers."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(images).float()
        inside, outside = logits[: len(targets)], logits[len(targets) :]
        loss = functional.cross_entropy(inside / softness, targets) * softness**2
        if len(outside):
            # Cross-entropy towards the uniform distribution (Hendrycks et al., 2019).
            lost = -functional.log_softmax(outside, 1).mean()
            loss = loss + self.arguments.outlier_weight * lost
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.network.keep_foldable()
        self.steps += 1
        if self.steps % AVERAGED_EVERY == 0:
            self._move_average()
        return loss.item()

    @torch.no_grad()
    def _move_average(self) -> None:
        # A young average forgets faster, or it would keep the random start for long.
        age = self.steps / AVERAGED_EVERY
        decay = min(self.arguments.average, (1 + age) / (10 + age))
        fresh = self.network.state_dict()
        for name, kept in self.average.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(fresh[name], 1 - decay)


@torch.no_grad()
def lessons(teacher: Network, images: Tensor, softness: float, *, mirrored: bool) -> Tensor:
    """Return a teacher's softened answers to normalised pictures."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = teacher(images).float()
        if mirrored:
            logits = (logits + teacher(images.flip(3)).float()) / 2
    return (logits / softness).softmax(1)


def train(arguments: argparse.Namespace, known: Pictures, held_out: Pictures) -> None:
    """Train; the average is saved after every epoch."""
    start = restore(arguments.start) if arguments.start else Network(DESIGNS[arguments.model])
    student = Student(start.requires_grad_(), arguments)
    teacher = restore(arguments.teacher) if arguments.teacher else None
    softness = arguments.softness if teacher is not None else 1.0
    augment = Augmentation.at(arguments.changes)
    size, per_epoch = known.images.shape[-1], len(known) // arguments.batch
    steps = per_epoch * arguments.epochs
    # Alternating flip, from airbench: each picture is mirrored in every second epoch.
    first_flip = torch.rand(len(known)) < 0.5
    history: list[dict[str, float]] = []
    started = time.perf_counter()
    for epoch in range(arguments.epochs):
        student.network.train(not arguments.frozen)
        mixed = arguments.mixed if epoch < (1 - arguments.plain) * arguments.epochs else 0.0
        order = torch.randperm(len(known))[: per_epoch * arguments.batch]
        losses = 0.0
        for number, index in enumerate(order.split(arguments.batch)):
            rate = triangle(epoch * per_epoch + number, steps, arguments.warm_up)
            originals, labels = to_float(known.images[index]), known.labels[index]
            images = augment(originals.clone(), first_flip[index] ^ (epoch % 2 == 1))
            targets = functional.one_hot(labels, 10).float()
            if torch.rand(()).item() < mixed:
                mixture = Mixture.draw(len(images), size)
                images, targets = mixture.images(images), mixture.targets(targets, size)
            images = normalise(images).contiguous(memory_format=torch.channels_last)
            if teacher is not None:
                mirrored = arguments.mirrored
                targets = lessons(teacher, images, softness, mirrored=mirrored)
            if arguments.outliers:
                kinds = arguments.outlier_kinds
                strange = make_outliers(originals, labels, arguments.outliers, kinds)
                images = torch.cat([images, normalise(strange)])
                images = images.contiguous(memory_format=torch.channels_last)
            losses += student.learn(images, targets, softness, arguments.peak_rate * rate)
        row = {"epoch": epoch + 1, "loss": losses / per_epoch}
        row |= {"held_out": accuracy(student.average, held_out)}
        row |= {"seconds": round(time.perf_counter() - started)}
        history.append(row)
        log.info("%s", json.dumps(row))
        save(arguments, student.average, history)


def save(arguments: argparse.Namespace, network: Network, history: list[dict[str, float]]) -> None:
    """Write the averaged weights and what led to them, in one move."""
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items()}
    settings["model"] = network.design.name
    arguments.out.mkdir(parents=True, exist_ok=True)
    part = arguments.out / "last.pt.part"
    torch.save({"settings": settings, "weights": network.state_dict()}, part)
    part.replace(arguments.out / "last.pt")
    report = {"settings": settings, "history": history}
    (arguments.out / "history.json").write_text(json.dumps(report, indent=1) + "\n")


def main() -> None:
    """Train from the command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    known, held_out = split(load_cifar10(arguments.data, "train"), arguments.held_out)
    train(arguments, known, held_out)


if __name__ == "__main__":
    main()
