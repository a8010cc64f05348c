"""Execution providers: which there are, which one to take, and which would help.

onnxruntime has providers built in and, from 1.22 on, takes others from plugin packages
(``onnxruntime-ep-*``) that bring a library of their own. Installed plugins are found by the name
of their module and registered once a process, the first time that providers are asked for.
"""

from __future__ import annotations

import logging
import pkgutil
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, choices, install_line, pip
from workbench.host import Host, host
from workbench.models.engine import engine

log = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
#: What ``auto`` tries, best first. CoreML and DirectML are taken only when named: they run parts
#: of a graph in other precisions without saying so.
PREFERENCE = (
    "NvTensorRTRTXExecutionProvider",
    "CUDAExecutionProvider",
    "MIGraphXExecutionProvider",
    "ROCMExecutionProvider",
    "OpenVINOExecutionProvider",
    CPU,
)
#: Built-in providers that send data to another machine, or that are no way to run a model.
_NOT_LOCAL = {"AzureExecutionProvider"}
#: Providers that compile the graph into one piece: a run inside it cannot be stopped.
FUSING = {
    "OpenVINOExecutionProvider",
    "TensorrtExecutionProvider",
    "NvTensorRTRTXExecutionProvider",
    "CoreMLExecutionProvider",
    "QNNExecutionProvider",
    "VitisAIExecutionProvider",
}
#: Providers, in short, that run a model on the processor; OpenVINO unless a device is named.
ON_PROCESSOR = frozenset(("CPU", "OpenVINO", "Dnnl", "Xnnpack", "ACL"))
_PLUGIN_PREFIX = "onnxruntime_ep_"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A provider that was asked for, with its options as sorted pairs."""

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return short(self.name)


@dataclass(frozen=True, slots=True)
class Offered:
    """A provider that could run here.

    ``origin`` is "built in" or the plugin's module; ``devices`` are the engine's handles of a
    plugin's devices (empty for built-in ones); ``why_not`` says why it cannot be used.
    """

    name: str
    origin: str
    version: str = ""
    device_names: tuple[str, ...] = ()
    why_not: str = ""
    devices: tuple[Any, ...] = field(default=(), repr=False, compare=False)

    @property
    def usable(self) -> bool:
        """Whether a model can run on it on this machine."""
        return not self.why_not


def short(name: str) -> str:
    """Shorten a provider's name: ``CPUExecutionProvider`` is ``CPU``."""
    return name.removesuffix("ExecutionProvider")


_registration = threading.Lock()


@cache
def _offered() -> tuple[Offered, ...]:
    ort = engine()
    built_in = [
        Offered(name, "built in", ort.__version__)
        for name in ort.get_available_providers()
        if name not in _NOT_LOCAL
    ]
    known = {o.name for o in built_in}
    plugins = [o for m in plugin_modules() for o in _register(ort, m) if o.name not in known]
    return tuple(sorted([*built_in, *plugins], key=_rank))


def offered() -> tuple[Offered, ...]:
    """Return the providers of this installation, best first; plugins are registered once."""
    with _registration:
        return _offered()


def _rank(provider: Offered) -> tuple[int, str]:
    try:
        return PREFERENCE.index(provider.name), provider.name
    except ValueError:
        return len(PREFERENCE), provider.name


@cache
def plugin_modules() -> tuple[str, ...]:
    """Return the installed plugin modules, by name."""
    return tuple(
        sorted(m.name for m in pkgutil.iter_modules() if m.name.startswith(_PLUGIN_PREFIX))
    )


def _register(ort: Any, module_name: str) -> list[Offered]:
    """Register a plugin with the engine and describe what it offers; never raises."""
    try:
        module = import_module(module_name)
        names = list(getattr(module, "get_ep_names", lambda: [module.get_ep_name()])())
    except Exception as error:  # noqa: BLE001  (a stranger's package: whatever it raises is shown)
        return [Offered(module_name, module_name, why_not=f"its package fails: {error}")]
    version = _version(module_name)
    if not hasattr(ort, "register_execution_provider_library"):
        why = f"onnxruntime {ort.__version__} takes no plugins; 1.22 or newer does"
        return [Offered(name, module_name, version, why_not=why) for name in names]
    try:
        ort.register_execution_provider_library(module_name, str(module.get_library_path()))
        every = list(ort.get_ep_devices())
    except Exception as error:  # noqa: BLE001  (see above)
        why = f"its library does not load: {error}"
        return [Offered(name, module_name, version, why_not=why) for name in names]
    found = []
    for name in names:
        devices = tuple(d for d in every if d.ep_name == name)
        labels = tuple(_device_name(d) for d in devices)
        why = "" if devices else "it finds no device of its kind on this machine"
        found.append(Offered(name, module_name, version, labels, why, devices))
    return found


def _version(module_name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(module_name.replace("_", "-"))
    except PackageNotFoundError:
        return ""


def _device_name(device: Any) -> str:
    metadata = dict(device.ep_metadata)
    return str(metadata.get("ov_device") or device.device.type.name)


def parse(providers: object) -> tuple[Wanted, ...] | None:
    """Turn what a caller wrote into providers to try in order; None stands for ``auto``.

    Accepts ``"auto"``, a name (``"cpu"``, ``"OpenVINO"``, ``"CUDAExecutionProvider"``), or a
    sequence of names and ``(name, options)`` pairs.

    Raises
    ------
    ConfigError : anything else, with what was seen

    Examples
    --------
    >>> parse("cpu"), parse([("openvino", {"device": "CPU"}), "CPU"])[0].options
    ((Wanted(name='CPUExecutionProvider', options=()),), (('device', 'CPU'),))
    """
    if providers == "auto":
        return None
    items: Iterable[object] = (providers,) if isinstance(providers, str) else ()
    if isinstance(providers, Sequence) and not isinstance(providers, str):
        items = providers
    wanted = tuple(_parse_one(item) for item in items)
    if not wanted:
        raise ConfigError(
            "providers", providers, "'auto', a name, or a list of names and (name, options) pairs"
        )
    return wanted


def _parse_one(item: object) -> Wanted:
    match item:
        case Wanted():
            return item
        case str():
            return Wanted(full_name(item))
        case (str() as name, Mapping() as options):
            pairs = tuple(sorted((str(k), str(v)) for k, v in options.items()))
            return Wanted(full_name(name), pairs)
    raise ConfigError("providers", item, "a name or a (name, options) pair")


#: All providers that onnxruntime's documentation names, for spelling (its list, version 1.32).
_SPELLINGS = {
    short(n).lower(): n
    for n in (
        *PREFERENCE, "TensorrtExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider",
        "DnnlExecutionProvider", "QNNExecutionProvider", "XnnpackExecutionProvider",
        "WebGpuExecutionProvider", "VitisAIExecutionProvider", "ACLExecutionProvider",
    )
}  # fmt: skip


def full_name(name: str) -> str:
    """Return the engine's name of a provider, from any spelling of it.

    >>> full_name("cuda"), full_name("CPUExecutionProvider")
    ('CUDAExecutionProvider', 'CPUExecutionProvider')
    """
    key = short(name.strip()).lower()
    if key in _SPELLINGS:
        return _SPELLINGS[key]
    if name.endswith("ExecutionProvider"):
        return name  # a plugin's own name
    raise ConfigError("providers", name, choices(["auto", *_SPELLINGS], most=20))


def choose(wanted: tuple[Wanted, ...] | None) -> tuple[tuple[Wanted, ...], tuple[str, ...]]:
    """Split what was asked for into what can be used here and why the rest cannot.

    Returns the providers to give the engine, best first, always ending in the CPU, and a
    sentence for each that was asked for and is not to be had.
    """
    usable = {o.name for o in offered() if o.usable}
    if wanted is None:
        best = next((n for n in PREFERENCE if n in usable), CPU)
        return tuple(Wanted(n) for n in dict.fromkeys((best, CPU))), ()
    chosen, missing = [], []
    for provider in wanted:
        if provider.name in usable:
            chosen.append(provider)
        else:
            missing.append(f"{provider} cannot be used here: {why_not(provider.name)}")
    if not any(p.name == CPU for p in chosen):
        chosen.append(Wanted(CPU))
    return tuple(chosen), tuple(missing)


def why_not(name: str) -> str:
    """Say why a provider cannot be used here."""
    for provider in offered():
        if provider.name == name:
            return provider.why_not or "it is usable"
    return "it is not installed"


def suggestions(machine: Host | None = None) -> tuple[tuple[str, str], ...]:
    """Return what would help this machine: (why, the line that installs it)."""
    machine = machine or host()
    there = {o.name for o in offered()}
    found = []
    intel = "intel" in machine.processor.lower()
    if intel and "OpenVINOExecutionProvider" not in there:
        found.append(("OpenVINO runs convolutions faster on Intel", install_line("openvino")))
    nvidia = Path("/proc/driver/nvidia/version").exists()
    if nvidia and not there & {"CUDAExecutionProvider", "NvTensorRTRTXExecutionProvider"}:
        found.append(
            (
                "an NVIDIA GPU is there, and this onnxruntime cannot use it",
                f"{pip()} uninstall -y onnxruntime && {pip()} install onnxruntime-gpu",
            )
        )
    return tuple(found)
