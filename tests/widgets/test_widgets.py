"""The package itself: light, and its behaviours know nothing of Jupyter."""

from __future__ import annotations

import subprocess
import sys

import pytest

from workbench import widgets

BEHAVIOURS = ("activity", "catalogue", "comparison", "delivery", "exploration", "intake", "knob",
              "ledger", "newcomer", "disk", "problem", "script", "sitting", "transfer", "trial",
              "worker")  # fmt: skip


def test_the_behaviours_are_used_without_jupyter():
    code = "import sys\n" + "\n".join(f"import workbench.widgets.{n}" for n in BEHAVIOURS)
    code += "\nprint(*sorted({'ipywidgets', 'anywidget', 'IPython'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", widgets.__all__)
def test_every_part_says_what_it_gives(name):
    assert (getattr(widgets, name).__doc__ or "").startswith("Return ")
