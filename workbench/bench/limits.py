"""From where on a variant is a substitute for its reference, and up to where it is broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from workbench.errors import ConfigError

Outcome = Literal["fit", "not_fit", "broken", "cannot_tell", "failed"]
#: Outcomes in words.
WORDS: Mapping[Outcome, str] = {
    "fit": "fit",
    "not_fit": "not fit",
    "broken": "broken",
    "cannot_tell": "cannot tell",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FitLimits:
    """From where on a variant is called fit, and up to where broken. All are shares of one.

    Attributes
    ----------
    fit : least agreement on the most probable class; a candidate is only called not fit where
        the upper end of its 95 % interval lies below, else more pictures are needed. The
        embedded 8-bit model agrees with its float original on 99.7 % of 3,000 test pictures of
        CIFAR-10, and another network of the same task, trained apart, on 90 %: 98 % lies between
        a variant and another model
    sure : least lower end of the agreement's 95 % interval: 35 pictures that all agree reach it,
        so fewer cannot be called fit
    broken : below this agreement half of the answers are others; no conversion that worked
        does that
    accuracy : least accuracy as a share of the reference's, where labels are known: what MLPerf
        asks of most models of its closed division (99 % of the float model's,
        github.com/mlcommons/inference_policies). A drop that chance explains (sign test, 5 %)
        does not count
    fit_cosine, broken_cosine : the same two limits on the mean cosine, for what has no classes:
        0.99 is an angle of 8°, 0.5 one of 60°. The embedded 8-bit model has 0.9999
    """

    fit: float = 0.98
    sure: float = 0.90
    broken: float = 0.50
    accuracy: float = 0.99
    fit_cosine: float = 0.99
    broken_cosine: float = 0.50

    def __post_init__(self) -> None:
        """Raise ConfigError for a limit that cannot be."""
        for name in ("fit", "sure", "broken", "accuracy", "fit_cosine", "broken_cosine"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value <= 1:
                raise ConfigError(name, value, "a share of one")
        for low, high in (("broken", "fit"), ("broken_cosine", "fit_cosine")):
            if getattr(self, low) > getattr(self, high):
                raise ConfigError(
                    low, getattr(self, low), f"at most {high} ({getattr(self, high)})"
                )
