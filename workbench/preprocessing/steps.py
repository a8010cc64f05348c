"""Preprocessing steps: frozen values that say exactly what is done, and do it.

A step is called with an array and returns one; its repr is its recipe. Steps that change the
picture are in :mod:`~workbench.preprocessing.geometry`, those that compute with its numbers in
:mod:`~workbench.preprocessing.arithmetic`; all are found here.

>>> import numpy as np
>>> CenterCrop(2)(Resize(4)(np.zeros((8, 6, 3), np.uint8))).shape
(2, 2, 3)
"""

from __future__ import annotations

from workbench.preprocessing.arithmetic import (
    Batch,
    Cast,
    ChannelOrder,
    Layout,
    Normalize,
    NormalizeBatch,
    Rescale,
)
from workbench.preprocessing.geometry import (
    CenterCrop,
    Grayscale,
    Letterbox,
    Resize,
    ResizeCrop,
    ResizeKeepAspect,
)
from workbench.preprocessing.sampling import ResizeSampled
from workbench.preprocessing.step import (
    DTYPES,
    INTERPOLATIONS,
    ArrayStep,
    Flow,
    PictureStep,
    Size,
    Step,
    as_array,
    as_size,
)

#: step's name in a recipe → its class
STEPS: dict[str, type[Step]] = {
    kind.__name__: kind
    for kind in (
        Resize,
        ResizeKeepAspect,
        ResizeSampled,
        CenterCrop,
        Letterbox,
        ResizeCrop,
        Grayscale,
        ChannelOrder,
        Rescale,
        Normalize,
        Layout,
        Cast,
        Batch,
        NormalizeBatch,
    )
}

__all__ = [
    "DTYPES",
    "INTERPOLATIONS",
    "STEPS",
    "ArrayStep",
    "Batch",
    "Cast",
    "CenterCrop",
    "ChannelOrder",
    "Flow",
    "Grayscale",
    "Layout",
    "Letterbox",
    "Normalize",
    "NormalizeBatch",
    "PictureStep",
    "Rescale",
    "Resize",
    "ResizeCrop",
    "ResizeKeepAspect",
    "ResizeSampled",
    "Size",
    "Step",
    "as_array",
    "as_size",
]
