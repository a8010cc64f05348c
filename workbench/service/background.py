"""The routes of jobs: start one, ask after it, end it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request

from workbench.service.intake import job_order
from workbench.service.rest import reply
from workbench.service.schema import Job, JobState
from workbench.service.shown import body_of, responses

if TYPE_CHECKING:
    from starlette.responses import Response

    from workbench.service.desk import Desk
    from workbench.service.job import Jobs


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
        answer = reply(request, {"success": True, **job.told()}, 202)
        answer.headers["Location"] = f"/api/inference/jobs/{job.id}"
        return answer

    @routes.get(
        "/api/inference/jobs/{job_id}", tags=["jobs"], response_model=JobState,
        responses=responses(401, 404, 429, 503),
    )  # fmt: skip
    async def look(request: Request, job_id: str) -> Response:
        """Show how far a job is, and its results so far."""
        return reply(request, {"success": True, **(await jobs.get(job_id)).told()})

    @routes.delete(
        "/api/inference/jobs/{job_id}", tags=["jobs"], response_model=JobState,
        responses=responses(401, 404, 429, 503),
    )  # fmt: skip
    async def cancel(request: Request, job_id: str) -> Response:
        """End a job, and return what it has; one that has ended is forgotten."""
        job = await jobs.cancel(job_id)
        return reply(request, {"success": True, **job.told()})

    return routes
