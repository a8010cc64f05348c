"""Whatever our own OpenAPI allows, and much that it does not: never an unclassified error."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

schemathesis = pytest.importorskip("schemathesis", reason="not installable: schemathesis")

from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

from workbench.service.problem import STATUS  # noqa: E402

QUIET = settings(max_examples=6, deadline=None, derandomize=True, database=None,
                 suppress_health_check=list(HealthCheck))  # fmt: skip


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_every_answer_is_one_that_is_described(start, mode):
    running = start(timeout_s=2.0)
    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    kind = getattr(schemathesis.GenerationMode, mode)
    tried = 0

    def check(case) -> None:
        nonlocal tried
        tried += 1
        response = case.call()
        # what is a picture, or a model that is here, no schema can tell
        case.validate_response(response, excluded_checks=[positive_data_acceptance])
        if response.status_code >= 400:
            told = response.json()
            if told.keys() == {"ready"} or told.keys() == {"name", "ready"}:
                return
            code = told["code"] if isinstance(told["error"], str) else told["error"]["code"]
            assert STATUS[code] == response.status_code
            assert code != "internal", told

    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 25
    for operation in operations:
        with suppress(Unsatisfiable):  # nothing that could be wrong can be sent there
            QUIET(given(case=operation.as_strategy(generation_mode=kind))(check))()
    assert tried > 60
    assert running.client.get("/health").json()["ready"] is True
