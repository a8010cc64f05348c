"""The program of a worker process, here within this one."""

from __future__ import annotations

import gc
import weakref
from multiprocessing import Pipe

import pytest

import workbench as wb
from workbench.errors import NotAnImageError
from workbench.inference.child import _Worker
from workbench.inference.errand import Errand, Outfit
from workbench.inference.source import Parcel


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_an_error_goes_with_its_reply_and_does_not_wait_for_the_collector() -> None:
    hub = wb.ModelHub()
    outfit = Outfit(hub=hub.blueprint(), max_batch_size=1, workers=1, memory_bytes=None)
    here, there = Pipe()
    with here, there:
        worker = _Worker(outfit, there)
        errand = Errand(
            model=hub.reference(hub.handle("cifar10-small")), name="cifar10-small", kind="one",
            content=Parcel("letter", b"Dear model"), top_k=1, timeout_s=30,
        )  # fmt: skip
        reply = worker.do(0, errand)
        assert isinstance(reply.value, NotAnImageError)
        error = weakref.ref(reply.value)
        del reply
        assert error() is None
