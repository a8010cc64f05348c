"""A Jupyter-first laboratory for ONNX models.

The public names are below; each is imported when it is first used, so that ``import workbench``
stays light.

>>> import workbench as wb
>>> wb.Stop(timeout_s=2.0).expired
False
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: public name → where it is: "module" (same name there), "module:name", or "module:" (itself)
_WHERE = {
    "Benchmark": "workbench.bench.outcome",
    "ColdStart": "workbench.bench.cold",
    "Conformance": "workbench.bench.conformance",
    "Diagnosis": "workbench.inference.diagnose",
    "Evaluation": "workbench.inference.evaluate",
    "Failure": "workbench.inference.results",
    "FitLimits": "workbench.bench.limits",
    "Model": "workbench.models.model",
    "ModelHub": "workbench.models.hub",
    "ModelSpec": "workbench.models.spec",
    "OpinionGrid": "workbench.inference.opinion",
    "Opinions": "workbench.inference.opinion",
    "Passport": "workbench.models.dossier",
    "Pipeline": "workbench.preprocessing.pipeline",
    "Profile": "workbench.models.profile",
    "QuantizeOptions": "workbench.bench.quantization",
    "Result": "workbench.inference.results",
    "Results": "workbench.inference.results",
    "Runner": "workbench.inference.runner",
    "Samples": "workbench.timing",
    "Scenarios": "workbench.bench.scenario",
    "Settings": "workbench.settings",
    "Stages": "workbench.timing",
    "Stop": "workbench.stopping",
    "Trace": "workbench.preprocessing.pipeline",
    "Verdict": "workbench.bench.verdict",
    "WarmUp": "workbench.models.warmup",
    "WorkbenchError": "workbench.errors",
    "WorkbenchWarning": "workbench.errors",
    "app": "workbench.widgets",
    "benchmark": "workbench.bench.suite",
    "cold_start": "workbench.bench.starting",
    "compare": "workbench.bench.comparison",
    "conformance": "workbench.bench.variants",
    "default_hub": "workbench.models.hub",
    "diagnose": "workbench.inference.diagnose",
    "errors": "workbench.errors:",
    "evaluate": "workbench.inference.evaluate",
    "example": "workbench.models.store",
    "load_benchmark": "workbench.bench.capsule",
    "presets": "workbench.preprocessing.presets:",
    "quantize": "workbench.bench.quantization",
    "read_image": "workbench.preprocessing.images",
    "report": "workbench.page",
    "serve": "workbench.service",
    "steps": "workbench.preprocessing.steps:",
}

if TYPE_CHECKING:  # the same names, for editors and type checkers
    from workbench import errors as errors
    from workbench.bench.capsule import load_benchmark as load_benchmark
    from workbench.bench.cold import ColdStart as ColdStart
    from workbench.bench.comparison import compare as compare
    from workbench.bench.conformance import Conformance as Conformance
    from workbench.bench.limits import FitLimits as FitLimits
    from workbench.bench.outcome import Benchmark as Benchmark
    from workbench.bench.quantization import QuantizeOptions as QuantizeOptions
    from workbench.bench.quantization import quantize as quantize
    from workbench.bench.scenario import Scenarios as Scenarios
    from workbench.bench.starting import cold_start as cold_start
    from workbench.bench.suite import benchmark as benchmark
    from workbench.bench.variants import conformance as conformance
    from workbench.bench.verdict import Verdict as Verdict
    from workbench.errors import WorkbenchError as WorkbenchError
    from workbench.errors import WorkbenchWarning as WorkbenchWarning
    from workbench.inference.diagnose import Diagnosis as Diagnosis
    from workbench.inference.diagnose import diagnose as diagnose
    from workbench.inference.evaluate import Evaluation as Evaluation
    from workbench.inference.evaluate import evaluate as evaluate
    from workbench.inference.opinion import OpinionGrid as OpinionGrid
    from workbench.inference.opinion import Opinions as Opinions
    from workbench.inference.results import Failure as Failure
    from workbench.inference.results import Result as Result
    from workbench.inference.results import Results as Results
    from workbench.inference.runner import Runner as Runner
    from workbench.models.dossier import Passport as Passport
    from workbench.models.hub import ModelHub as ModelHub
    from workbench.models.hub import default_hub as default_hub
    from workbench.models.model import Model as Model
    from workbench.models.profile import Profile as Profile
    from workbench.models.spec import ModelSpec as ModelSpec
    from workbench.models.store import example as example
    from workbench.models.warmup import WarmUp as WarmUp
    from workbench.page import report as report
    from workbench.preprocessing import presets as presets
    from workbench.preprocessing import steps as steps
    from workbench.preprocessing.images import read_image as read_image
    from workbench.preprocessing.pipeline import Pipeline as Pipeline
    from workbench.preprocessing.pipeline import Trace as Trace
    from workbench.service import serve as serve
    from workbench.settings import Settings as Settings
    from workbench.stopping import Stop as Stop
    from workbench.timing import Samples as Samples
    from workbench.timing import Stages as Stages
    from workbench.widgets import app as app

__all__ = ["__version__", *_WHERE]  # noqa: PLE0604  (all of them are strings)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used; from then on it is an ordinary attribute."""
    if name not in _WHERE:
        from workbench.errors import nearest

        hint = "" if name.startswith("_") else nearest(name, _WHERE)
        message = f"module 'workbench' has no attribute {name!r}. {hint}".rstrip(" ")
        raise AttributeError(message.removesuffix(".") if not hint else message)
    module, _, attribute = _WHERE[name].partition(":")
    home = import_module(module)
    value = home if _WHERE[name].endswith(":") else getattr(home, attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
