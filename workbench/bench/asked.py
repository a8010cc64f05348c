"""What every measurement is asked with: seed, stop and hub, checked before it begins."""

from __future__ import annotations

from workbench.errors import ConfigError
from workbench.models.hub import ModelHub
from workbench.stopping import Stop

#: Largest seed: what a file keeps in 64 bits.
_MOST_SEED = 2**64 - 1
#: Largest batch: more items than any array of pictures that a machine holds (a 32-bit count).
MOST_BATCH = 2**31 - 1


def check_asked(*, seed: object, stop: object, hub: object) -> None:
    """Raise ConfigError for a seed, a stop or a hub that is none.

    Parameters
    ----------
    seed : whole number from 0 to 2**64 - 1
    stop : a Stop, or None
    hub : a ModelHub, or None
    """
    if type(seed) is not int or not 0 <= seed <= _MOST_SEED:
        raise ConfigError("seed", seed, "a whole number from 0 to 2**64 - 1")
    if stop is not None and not isinstance(stop, Stop):
        raise ConfigError("stop", stop, "a Stop, or None")
    if hub is not None and not isinstance(hub, ModelHub):
        raise ConfigError("hub", hub, "a ModelHub, or None")


def check_batch_count(name: str, batch: int | None) -> None:
    """Raise ConfigError for a batch of more items than an array can have."""
    if batch is not None and batch > MOST_BATCH:
        raise ConfigError(name, batch, f"at most {MOST_BATCH}")
