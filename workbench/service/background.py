"""The routes of jobs: start one, ask after it, end it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from workbench.service.intake import job_order
from workbench.service.policy import JOB_ITEMS
from workbench.service.schema import Job, JobState
from workbench.service.shown import body_of, responses

if TYPE_CHECKING:
    from workbench.service.desk import Desk
    from workbench.service.job import Job as Kept
    from workbench.service.job import Jobs

#: The number of the first result that is wished for.
_From = Annotated[
    int,
    Query(
        alias="from", ge=0, le=JOB_ITEMS,
        description="Leave out the results before the one of this number, counted from 0.",
    ),
]  # fmt: skip


def router(desk: Desk, jobs: Jobs) -> APIRouter:
    """Return the routes of the jobs of this desk."""
    routes = APIRouter()
    policy = desk.policy

    @routes.post(
        "/api/inference/jobs", tags=["jobs"], response_model=JobState, status_code=202,
        responses=responses(400, 401, 404, 408, 413, 415, 429, 503),
        openapi_extra=body_of(Job),
    )  # fmt: skip
    async def start(request: Request) -> Response:
        """Classify many inputs in the background."""
        order = await job_order(request, policy)
        request.state.model = order.model_id
        await desk.handle(order.model_id)
        job = await jobs.start(order, request.state.request_id)
        return await _answer(request, job, 202, {"Location": f"/api/inference/jobs/{job.id}"})

    @routes.get(
        "/api/inference/jobs/{job_id}", tags=["jobs"], response_model=JobState,
        responses=responses(400, 401, 404, 429, 503),
    )  # fmt: skip
    async def look(request: Request, job_id: str, start: _From = 0) -> Response:
        """Show how far a job is, and its results so far, or those from a number on."""
        return await _answer(request, await jobs.get(job_id, start))

    @routes.delete(
        "/api/inference/jobs/{job_id}", tags=["jobs"], response_model=JobState,
        responses=responses(401, 404, 429, 503),
    )  # fmt: skip
    async def cancel(request: Request, job_id: str) -> Response:
        """End a job, and return what it has; one that has ended is forgotten."""
        return await _answer(request, await jobs.cancel(job_id))

    return routes


async def _answer(
    request: Request, job: Kept, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Show a job; it is written in a thread, since a thousand results may have 65 MB."""
    body = await asyncio.to_thread(job.written, request.state.request_id)
    return Response(body, status, headers, "application/json")
