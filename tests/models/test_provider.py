"""Providers: spelling, preference, plugins, and what would help."""

from __future__ import annotations

import dataclasses
import sys
import types

import pytest

from workbench.errors import ConfigError, pip
from workbench.host import host
from workbench.models import provider
from workbench.models.provider import CPU, Offered, Wanted


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("cpu", [CPU]),
        ("CPUExecutionProvider", [CPU]),
        ("OpenVINO", ["OpenVINOExecutionProvider"]),
        (["cuda", "cpu"], ["CUDAExecutionProvider", CPU]),
        ([("cuda", {"device_id": 1}), "cpu"], ["CUDAExecutionProvider", CPU]),
        ("MyOwnExecutionProvider", ["MyOwnExecutionProvider"]),
    ],
)
def test_every_spelling_is_understood(written: object, names: list[str]) -> None:
    assert [w.name for w in provider.parse(written)] == names


@pytest.mark.parametrize("written", ["gpu", [], 3, None, [("cuda", 3)], [None], {}])
def test_everything_else_is_refused(written: object) -> None:
    with pytest.raises(ConfigError, match="providers is"):
        provider.parse(written)


def test_auto_is_left_open_and_becomes_what_is_best_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider.parse("auto") is None
    offers = (Offered("CUDAExecutionProvider", "built in"), Offered(CPU, "built in"))
    monkeypatch.setattr(provider, "_offered", lambda: offers)
    chosen, missing = provider.choose(None)
    assert [c.name for c in chosen] == ["CUDAExecutionProvider", CPU]
    assert missing == ()


def test_the_cpu_is_always_the_last_resort_and_a_refusal_has_a_reason() -> None:
    chosen, missing = provider.choose((Wanted("QNNExecutionProvider"),))
    assert [c.name for c in chosen] == [CPU]
    assert missing == ("QNN cannot be used here: it is not installed",)


def test_the_cpu_is_offered_and_no_remote_provider_is() -> None:
    names = [o.name for o in provider.offered()]
    assert CPU in names
    assert "AzureExecutionProvider" not in names


def _plugin(monkeypatch: pytest.MonkeyPatch, **parts: object) -> str:
    module = types.ModuleType("onnxruntime_ep_made_up")
    for name, value in parts.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


class Engine:
    """An engine whose plugin interface can be told what to do."""

    __version__ = "1.32.0"

    def __init__(self, devices: tuple = (), refuse: str = "") -> None:
        self.devices, self.refuse, self.registered = devices, refuse, []

    def register_execution_provider_library(self, name: str, path: str) -> None:
        if self.refuse:
            raise RuntimeError(self.refuse)
        self.registered.append((name, path))

    def get_ep_devices(self) -> list:
        return list(self.devices)


def _device(name: str, metadata: dict) -> types.SimpleNamespace:
    kind = types.SimpleNamespace(type=types.SimpleNamespace(name="CPU"))
    return types.SimpleNamespace(ep_name=name, ep_metadata=metadata, device=kind)


def test_a_plugin_with_a_device_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    name = _plugin(
        monkeypatch,
        get_ep_names=lambda: ["MadeUpExecutionProvider"],
        get_library_path=lambda: "/lib/made_up.so",
    )
    engine = Engine((_device("MadeUpExecutionProvider", {"ov_device": "GPU.0"}),))
    found = provider._register(engine, name)
    assert engine.registered == [(name, "/lib/made_up.so")]
    assert [(o.usable, o.device_names) for o in found] == [(True, ("GPU.0",))]


@pytest.mark.parametrize(
    ("engine", "parts", "why"),
    [
        (Engine(), {"get_ep_name": lambda: "X", "get_library_path": lambda: "x"}, "no device"),
        (Engine(refuse="wrong ABI"), {"get_ep_name": lambda: "X", "get_library_path": lambda: "x"},
         "its library does not load: wrong ABI"),
        (Engine(), {}, "its package fails"),
        (types.SimpleNamespace(__version__="1.20.0"), {"get_ep_name": lambda: "X"},
         "takes no plugins"),
    ],
)  # fmt: skip
def test_a_plugin_that_cannot_be_used_says_why(
    monkeypatch: pytest.MonkeyPatch, engine: object, parts: dict, why: str
) -> None:
    found = provider._register(engine, _plugin(monkeypatch, **parts))
    assert [o.usable for o in found] == [False]
    assert why in found[0].why_not


def test_an_intel_processor_is_told_about_openvino_and_an_amd_is_not() -> None:
    machine = host()
    intel = dataclasses.replace(machine, processor="Intel(R) Xeon(R)")
    other = dataclasses.replace(machine, processor="AMD EPYC")
    there = {o.name for o in provider.offered()}
    lines = [line for _, line in provider.suggestions(intel)]
    if "OpenVINOExecutionProvider" not in there:
        assert f"{pip()} install 'onnx-workbench[openvino]'" in lines
    assert all("openvino" not in line for _, line in provider.suggestions(other))
