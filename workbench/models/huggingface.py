"""What Hugging Face's and timm's configuration files say, turned into steps and labels.

Only dictionaries are read: neither ``transformers`` nor ``timm`` nor ``torch`` is needed.

Source
------
The image processors of https://github.com/huggingface/transformers (Apache-2.0),
``models/<family>/image_processing_<family>.py``, for what each makes of its fields; and
``create_transform`` / ``transforms_imagenet_eval`` of
https://github.com/huggingface/pytorch-image-models (Apache-2.0) for ``pretrained_cfg``. A crop
whose gap is odd begins where torchvision (and the processors called "fast") begin it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from workbench.errors import ConfigError
from workbench.preprocessing.pipeline import Pipeline
from workbench.preprocessing.presets import scale_size
from workbench.preprocessing.steps import (
    CenterCrop,
    ChannelOrder,
    Letterbox,
    NormalizeBatch,
    Resize,
    ResizeCrop,
    Size,
    Step,
)

#: Pillow's filters by number, as ``resample`` gives them (``PIL.Image.Resampling``).
_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
#: Families for which one number as ``size`` is the shorter side (``default_to_square=False``);
#: for the others it is both sides.
_SHORTER = ("clip", "convnext", "levit", "mobilenet", "poolformer", "mobilevit", "bit", "chinese")
#: Families whose filter is bicubic where ``resample`` is left out; bilinear for the others.
_BICUBIC = ("clip", "convnext", "levit", "deit", "bit", "poolformer", "beit", "chinese")
#: ``timm/data/constants.py`` (``DEFAULT_CROP_PCT``), and ImageNet's mean and std.
_TIMM = {"crop_pct": 0.875, "interpolation": "bicubic", "crop_mode": "center"}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Side from which ConvNeXt's processor stretches in place of cropping.
_CONVNEXT_WARPS = 384
_PLACEHOLDER = re.compile(r"LABEL_\d+")


class UnreadableError(ValueError):
    """A configuration that cannot be turned into steps; the message says why."""


def preprocessor(config: Mapping[str, Any]) -> Pipeline:
    """Return the steps of a ``preprocessor_config.json``, as NCHW float32.

    Raises
    ------
    UnreadableError : it asks for something that is not known here

    Examples
    --------
    >>> config = {"image_processor_type": "ViTImageProcessor", "size": 224}
    >>> preprocessor(config | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}).size
    (224, 224)
    """
    try:
        return _preprocessor(config)
    except ConfigError as error:
        raise UnreadableError(f"its {error.name} cannot be {error.seen}") from error


def _preprocessor(config: Mapping[str, Any]) -> Pipeline:
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    family = kind.lower()
    if family.startswith("perceiver"):
        raise UnreadableError(f"{kind} crops before it scales, which is not known here")
    steps: list[Step] = list(_geometry(config, family))
    if _flag(config, "do_flip_channel_order", family.startswith("mobilevit")):
        steps.append(ChannelOrder("BGR"))
    scale = _number(config, "rescale_factor", 1 / 255) if _flag(config, "do_rescale", True) else 1.0
    scale = 1 / 255 if abs(scale * 255 - 1) < 1e-6 else scale
    shift = 1.0 if family.startswith("efficientnet") and config.get("rescale_offset") else 0.0
    mean: tuple[float, ...] | None = (shift,) * 3 if shift else None
    std: tuple[float, ...] | None = (1.0,) * 3 if shift else None
    if _flag(config, "do_normalize", not family.startswith("mobilevit")):
        told = _constants(config, "image_mean"), _constants(config, "image_std")
        if None in told:
            raise UnreadableError("it normalises, and does not say by which mean and std")
        mean, std = told
        assert mean is not None
        assert std is not None
        mean = tuple(m + shift for m in mean)
        if family.startswith("efficientnet") and config.get("include_top", True):
            std = tuple(s * s for s in std)  # its processor divides once more for the classifier
    steps.append(NormalizeBatch(scale=scale, mean=mean, std=std))
    return Pipeline(tuple(steps), name=kind)


def _geometry(config: Mapping[str, Any], family: str) -> tuple[Step, ...]:
    """Return the steps that scale and crop."""
    resample = config.get("resample", 3 if family.startswith(_BICUBIC) else 2)
    if isinstance(resample, bool) or not isinstance(resample, int) or not 0 <= resample < 6:
        raise UnreadableError(f"its resample is {resample!r}, and no filter of Pillow")
    how = _FILTERS[resample]
    size = _side(config.get("size"), family.startswith(_SHORTER), "size")
    crop = _side(config.get("crop_size"), False, "crop_size")
    whole = crop if isinstance(crop, tuple) else None if crop is None else (crop, crop)
    resizes = _flag(config, "do_resize", size is not None)
    crops = _flag(config, "do_center_crop", False) and whole is not None
    if not resizes or size is None:
        return (CenterCrop(whole),) if crops and whole is not None else ()
    if family.startswith("convnext") and isinstance(size, int):
        if size >= _CONVNEXT_WARPS:
            return (Resize((size, size), how),)
        return (ResizeCrop(int(size / _share(config, 224 / 256)), (size, size), how),)
    if family.startswith("poolformer") and isinstance(size, int):
        size = int(size / _share(config, 0.9))
    elif family.startswith("levit") and isinstance(size, int):
        size = int(256 / 224 * size)
    if not crops or whole is None:
        return (Resize(size, how),)
    if isinstance(size, int):
        return (ResizeCrop(size, whole, how),)
    return Resize(size, how), CenterCrop(whole)


def _side(value: Any, shorter: bool, name: str) -> int | Size | None:
    """Return a shorter side, or height and width."""
    if isinstance(value, Mapping):
        if set(value) >= {"height", "width"}:
            return _whole(value["height"], name), _whole(value["width"], name)
        if set(value) == {"shortest_edge"}:
            return _whole(value["shortest_edge"], name)
        raise UnreadableError(
            f"its {name} has {', '.join(map(repr, value))}, which is not known here"
        )
    if isinstance(value, list | tuple) and len(value) == 2:
        return _whole(value[0], name), _whole(value[1], name)
    if value is None:
        return None
    side = _whole(value, name)
    return side if shorter else (side, side)


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or not 1 <= value <= 16_384:
        raise UnreadableError(f"its {name} is {value!r}")
    return value


def _share(config: Mapping[str, Any], usual: float) -> float:
    value = config.get("crop_pct")
    value = usual if value is None else value
    if not isinstance(value, int | float) or not 0 < value <= 1:
        raise UnreadableError(f"its crop_pct is {value!r}")
    return float(value)


def _flag(config: Mapping[str, Any], name: str, usual: bool) -> bool:
    value = config.get(name)
    if value is not None and not isinstance(value, bool):
        raise UnreadableError(f"its {name} is {value!r}, neither true nor false")
    return usual if value is None else value


def _number(config: Mapping[str, Any], name: str, usual: float) -> float:
    value = config.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise UnreadableError(f"its {name} is {value!r}")
    return float(value)


def _constants(config: Mapping[str, Any], name: str) -> tuple[float, ...] | None:
    value = config.get(name)
    value = [value] * 3 if isinstance(value, int | float) else value
    if value is None:
        return None
    fits = isinstance(value, list | tuple) and len(value) in (1, 3)
    if not fits or not all(isinstance(v, int | float) and isfinite(v) for v in value):
        raise UnreadableError(f"its {name} is {value!r}")
    return tuple(float(v) for v in value)


def pretrained(config: Mapping[str, Any]) -> Pipeline:
    """Return the steps of timm's ``pretrained_cfg``, as NCHW float32.

    Raises
    ------
    UnreadableError : it asks for something that is not known here

    Examples
    --------
    >>> cfg = {"input_size": [3, 224, 224], "crop_pct": 0.95, "interpolation": "bicubic"}
    >>> pretrained(cfg).steps[0].text()
    'shorter side to 235, middle 224×224 (bicubic, fused)'
    """
    told = _TIMM | {name: value for name, value in config.items() if value is not None}
    dims = told.get("input_size")
    if not isinstance(dims, list | tuple) or len(dims) != 3 or dims[0] not in (1, 3):
        raise UnreadableError(f"its input_size is {dims!r}")
    size = _whole(dims[1], "input_size"), _whole(dims[2], "input_size")
    how = str(told["interpolation"])
    if how not in _FILTERS:
        raise UnreadableError(f"its interpolation is {how!r}")
    scaled = scale_size(size, _share(told, 0.875))
    both = scaled if isinstance(scaled, tuple) else (scaled, scaled)
    steps: tuple[Step, ...]
    match told["crop_mode"]:
        case "center":
            steps = (ResizeCrop(scaled, size, how),)
        case "squash":
            steps = (Resize(both, how), *((CenterCrop(size),) if both != size else ()))
        case "border":
            ground = _constants(told, "mean") or _MEAN
            red, green, blue = (round(255 * m) for m in (ground * 3)[:3])
            fill = (red, green, blue)
            steps = (Letterbox(both, fill, how), CenterCrop(size))
        case other:
            raise UnreadableError(f"its crop_mode is {other!r}")
    mean, std = _constants(told, "mean") or _MEAN, _constants(told, "std") or _STD
    try:
        return Pipeline((*steps, NormalizeBatch(mean=mean, std=std)), name="timm")
    except ConfigError as error:
        raise UnreadableError(f"its {error.name} cannot be {error.seen}") from error


def names(config: Mapping[str, Any]) -> Any:
    """Return the labels of a ``config.json``: ``id2label``, or timm's ``label_names``.

    None where there are none; names that say nothing (``LABEL_0`` …) are none. timm's
    synset numbers are named by ``label_descriptions``.
    """
    told = config.get("id2label")
    if isinstance(told, Mapping) and told:
        blank = all(isinstance(v, str) and _PLACEHOLDER.fullmatch(v) for v in told.values())
        return None if blank else told
    listed, described = config.get("label_names"), config.get("label_descriptions")
    if isinstance(listed, list) and isinstance(described, Mapping):
        return [described.get(name, name) for name in listed]
    return listed


def facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what else a ``config.json`` says, in the words of the metadata."""
    told: dict[str, Any] = {}
    kinds = config.get("architectures")
    if isinstance(kinds, list) and kinds and str(kinds[0]).endswith("ForImageClassification"):
        told["model_type"] = "classification"
    problem = {"multi_label_classification": "sigmoid", "single_label_classification": "softmax"}
    if config.get("problem_type") in problem:
        told["activation"] = problem[config["problem_type"]]
    cfg = config.get("pretrained_cfg")
    cfg = cfg if isinstance(cfg, Mapping) else {}
    if cfg and config.get("num_classes"):
        told["model_type"] = "classification"
    for field, value in (
        ("licence", cfg.get("license")),
        ("source", cfg.get("hf_hub_id") or cfg.get("origin_url") or config.get("_name_or_path")),
    ):
        if isinstance(value, str) and value.strip():
            told[field] = value
    return told
