"""Which machine, in which state, with which versions: what a measurement belongs to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from workbench import __version__
from workbench.cards import Card, Displayable, Facts
from workbench.errors import DISTRIBUTION
from workbench.host import Host, host
from workbench.units import decimal, size

#: Packages whose version decides how fast a model runs.
_PACKAGES = ("onnxruntime", "onnxruntime-ep-openvino", "numpy", "pillow")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Fingerprint(Displayable):
    """A host and what runs on it.

    Attributes
    ----------
    processor, flags, cores, allowed, quota, memory_bytes, system : as of ``workbench.host``
    governor : of the clock rate; empty where the system does not tell
    load : mean number of runnable threads in the minute before; None where unknown
    versions : package → version; a package that is not installed is left out
    """

    processor: str
    flags: tuple[str, ...]
    cores: int
    allowed: int
    quota: float | None
    memory_bytes: int | None
    system: str
    governor: str
    load: float | None
    versions: dict[str, str]

    def machine(self) -> dict[str, str]:
        """Return what stays the same from one measurement to the next, but for another host."""
        return {
            "processor": self.processor,
            "instructions": " ".join(self.flags),
            "processors": f"{self.cores} ({self.allowed} allowed)",
            "quota": "none" if self.quota is None else decimal(self.quota),
            "memory": "unknown" if self.memory_bytes is None else size(self.memory_bytes),
            "system": self.system.partition(",")[0],
            "governor": self.governor or "unknown",
        }

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return asdict(self) | {"flags": list(self.flags)}

    def _card(self) -> Card:
        load = "unknown" if self.load is None else decimal(self.load)
        rows = (*self.machine().items(), ("load", load), *self.versions.items())
        return Card("host fingerprint", (Facts(tuple(rows)),))


def fingerprint(machine: Host | None = None) -> Fingerprint:
    """Look at the machine and the installed packages now."""
    machine = machine or host()
    versions = {"python": python_version(), DISTRIBUTION: __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    try:
        governor = _GOVERNOR.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        governor = ""
    return Fingerprint(
        processor=machine.processor,
        flags=machine.flags,
        cores=machine.cores,
        allowed=machine.allowed,
        quota=machine.quota,
        memory_bytes=machine.memory_bytes,
        system=machine.system,
        governor=governor,
        load=machine.load,
        versions=versions,
    )
