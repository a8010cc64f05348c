"""What a graph tells about how to use it: its picture input, its scores, and fair guesses.

What a graph tells is read here, once; :mod:`workbench.models.spec` weighs it against what is
written in the metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.errors import UnsupportedInputsError
from workbench.models.graph import Dims, GraphFacts, Port, describe

Layout = Literal["NCHW", "NHWC"]

#: What pictures can be fed as.
PICTURE_DTYPES = ("float32", "uint8", "float16", "float64")
#: What scores can be read from.
SCORE_DTYPES = ("float32", "float16", "float64", "bfloat16", "uint8", "int8", "int32", "int64")
EXPECTED_INPUT = (
    "one input that takes a picture, such as float32 (batch, 3, height, width) or "
    "(batch, height, width, 3)"
)
EXPECTED_OUTPUT = "one output of scores, such as float32 (batch, classes)"


@dataclass(frozen=True, slots=True)
class Picture:
    """How a graph wants its picture.

    Attributes
    ----------
    channels, height, width : None where the graph takes any
    sure : False where nothing tells NCHW from NHWC, and NCHW was taken
    """

    name: str
    layout: Layout
    channels: int | None
    height: int | None
    width: int | None
    dtype: str
    sure: bool = True

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width; a side that is free takes the other's length. None if both are."""
        height, width = self.height or self.width, self.width or self.height
        return None if height is None or width is None else (height, width)


def picture(port: Port, dims: Dims | None = None) -> Picture | None:
    """Read an input as one that takes a picture; None where it does not.

    Parameters
    ----------
    port : of the graph
    dims : its shape where that is known better from elsewhere

    Examples
    --------
    >>> picture(Port("x", "tensor", "float32", (1, 224, 224, 3))).layout
    'NHWC'
    """
    shape = port.shape if dims is None else dims
    if port.kind != "tensor" or port.dtype not in PICTURE_DTYPES or shape is None:
        return None
    if len(shape) != 4:
        return None
    _, second, third, last = (d if isinstance(d, int) else None for d in shape)
    if 0 in (second, third, last):
        return None
    layout = _layout(second, last)
    if layout is None:
        return None
    channels, height, width = (second, third, last) if layout == "NCHW" else (last, second, third)
    sure = channels is not None
    return Picture(port.name, layout, channels, height, width, port.dtype, sure)


def _layout(second: int | None, last: int | None) -> Layout | None:
    if second in (1, 3):
        return "NCHW"
    if last in (1, 3):
        return "NHWC"
    if second is None:  # nothing fixed: the more frequent layout
        return "NCHW"
    return "NHWC" if last is None else None


def chosen(ports: Sequence[Port], name: str | None) -> Port | None:
    """Return the port of a name, or the only one there is."""
    if name is None:
        return ports[0] if len(ports) == 1 else None
    return next((port for port in ports if port.name == name), None)


def scores(outputs: Sequence[Port], name: str | None = None) -> Port | None:
    """Return the output that holds the scores of classes; None where that cannot be told.

    The named one, or else the only one of shape (N, C), or (N, C, 1, 1).
    """
    fit = [port for port in outputs if _holds_scores(port)]
    if name is not None:
        return next((port for port in fit if port.name == name), None)
    ranked = [port for port in fit if port.shape is not None]
    return ranked[0] if len(ranked) == 1 else fit[0] if len(outputs) == len(fit) == 1 else None


def _holds_scores(port: Port) -> bool:
    if port.kind != "tensor" or port.dtype not in SCORE_DTYPES:
        return False
    shape = port.shape
    if shape is None or len(shape) == 2:
        return True
    return len(shape) == 4 and (shape[2:] == (1, 1) or shape[1:3] == (1, 1))


def classes(port: Port | None) -> int | None:
    """Return how many classes an output of scores has; None where it does not say."""
    if port is None or port.shape is None:
        return None
    fixed = [dim for dim in port.shape[1:] if dim != 1] or [1]
    return fixed[0] if len(fixed) == 1 and isinstance(fixed[0], int) else None


def require_classification(
    where: str,
    facts: GraphFacts,
    input_name: str | None,
    output_name: str | None,
    dims: Dims | None,
) -> tuple[Picture, Port]:
    """Return the picture input and the output of scores.

    Raises
    ------
    UnsupportedInputsError : the graph has no such ports, or needs more inputs than a picture
    """
    port = chosen(facts.inputs, input_name)
    image = None if port is None or len(facts.inputs) != 1 else picture(port, dims)
    if image is None or image.channels not in (None, 1, 3):
        n = len(facts.inputs)
        seen = f"{n} input{'s' * (n != 1)} ({describe(facts.inputs)})"
        raise UnsupportedInputsError(where, "classification", seen, EXPECTED_INPUT)
    output = scores(facts.outputs, output_name)
    if output is None:
        n = len(facts.outputs)
        seen = f"{n} output{'s' * (n != 1)} ({describe(facts.outputs)})"
        hint = "Name it as 'output_name' in the metadata, or read all with runner.run."
        raise UnsupportedInputsError(where, "classification", seen, EXPECTED_OUTPUT, hint)
    return image, output


def guess_preset(image: Picture, number: int | None) -> tuple[str, str]:
    """Guess how pictures are prepared for a model: the name of a preset, and why."""
    if image.dtype == "uint8":
        return "raw", "its input takes uint8, so the graph scales pictures itself"
    if image.channels == 1:
        return "raw", "its input takes one channel"
    if image.size == (32, 32):
        return "cifar10", "its input is 32 × 32"
    if image.size == (299, 299):
        return "inception", "its input is 299 × 299"
    if number == 1001:
        return "inception", "it has 1001 classes, as the TensorFlow models have"
    if number == 1000:
        return "imagenet", "it has 1000 classes"
    return "imagenet", "most models that take pictures use it"


def guess_color(
    facts: GraphFacts, image: Picture | None
) -> tuple[Literal["RGB", "BGR", "GRAY"], str]:
    """Tell the order of colours from the graph, and where it says so ("" where it does not)."""
    if image is not None and image.channels == 1:
        return "GRAY", "graph (one channel)"
    told = dict(facts.metadata).get("Image.BitmapPixelFormat", "").lower()
    if told.startswith("bgr"):
        return "BGR", "graph (Image.BitmapPixelFormat in its metadata)"
    if told.startswith("rgb"):
        return "RGB", "graph (Image.BitmapPixelFormat in its metadata)"
    return "RGB", ""
