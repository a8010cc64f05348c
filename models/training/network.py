"""The networks: a stem and three stages of convolutions with residual blocks.

Laid out after the CIFAR-10 networks of D. Page (2018) and K. Jordan (2024): each stage widens,
halves the picture by max pooling, then refines in residual blocks (He et al., 2015). Every
convolution has its BatchNorm, and all of them fold into the kernels at export: nothing but
convolutions, pooling, sums and ReLU is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Scales of the norms that follow max pooling stay above this, so that they can be folded into
#: the convolution before the pooling: taking a maximum commutes with a positive factor only.
SMALLEST_SCALE = 0.01


@dataclass(frozen=True)
class Design:
    """Everything needed to build a network again.

    Attributes
    ----------
    name : str
        The model's id.
    stem : int
        Channels of the first convolution, at full size.
    widths, blocks : tuple of int
        Channels and number of residual blocks of each stage.
    """

    name: str
    stem: int
    widths: tuple[int, int, int]
    blocks: tuple[int, int, int]


DESIGNS = {
    design.name: design
    for design in (
        Design("cifar10", 32, (64, 160, 176), (1, 2, 1)),
        Design("cifar10-small", 16, (32, 48, 64), (1, 1, 1)),
    )
}


def convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size, without bias: a norm follows."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class Block(nn.Module):
    """Two convolutions and the way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = convolution(width, width), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = convolution(width, width), nn.BatchNorm2d(width)

    def forward(self, values: Tensor) -> Tensor:
        """Return the block's ReLU output, of the input's shape."""
        inner = functional.relu(self.norm1(self.conv1(values)), inplace=True)
        return functional.relu(values + self.norm2(self.conv2(inner)), inplace=True)


class Stage(nn.Module):
    """Widen, halve, then refine; pooling comes before the norm, which so sees fewer values."""

    def __init__(self, inputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.conv, self.norm = convolution(inputs, width), nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))

    def forward(self, values: Tensor) -> Tensor:
        """Return (n, width, h / 2, w / 2)."""
        values = functional.max_pool2d(self.conv(values), 2)
        values = functional.relu(self.norm(values), inplace=True)
        for block in self.blocks:
            values = block(values)
        return values


class Network(nn.Module):
    """Classify normalised 32x32 pictures."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design
        self.stem, self.norm = convolution(3, design.stem), nn.BatchNorm2d(design.stem)
        inputs = (design.stem, *design.widths)
        self.stages = nn.ModuleList(map(Stage, inputs, design.widths, design.blocks))
        self.head = nn.Linear(design.widths[-1], 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, 10) of float pictures (n, 3, 32, 32)."""
        values = functional.relu(self.norm(self.stem(images)), inplace=True)
        for stage in self.stages:
            values = stage(values)
        return self.head(values.amax((2, 3)))

    @torch.no_grad()
    def keep_foldable(self) -> None:
        """Hold the scales after max pooling at `SMALLEST_SCALE` or more."""
        for stage in self.stages:
            stage.norm.weight.clamp_min_(SMALLEST_SCALE)
