"""The routes that have models fetched: off unless the operator names the sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from workbench.service.rest import asked, loaded, reply
from workbench.service.schema import Preloaded, Pull, PullIpfs
from workbench.service.shown import body_of, responses

if TYPE_CHECKING:
    from starlette.responses import Response

    from workbench.service.desk import Desk
    from workbench.stopping import Stop


def router(desk: Desk) -> APIRouter:
    """Return the routes that fetch for this desk."""
    routes = APIRouter()
    policy = desk.policy

    @routes.post(
        "/api/inference/pull", tags=["models"], response_model=Preloaded,
        responses=responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 502, 503, 504),
        openapi_extra=body_of(Pull),
    )  # fmt: skip
    async def pull(request: Request) -> Response:
        """Fetch a model from a source that the operator allows, and load it. Off by default."""
        body = await asked(request, Pull, policy.body_s)
        return await _pulled(request, body.source, body.model_id, body.sha256, body.metadata)

    @routes.post(
        "/api/inference/load-from-ipfs", tags=["models"], response_model=Preloaded,
        responses=responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 502, 503, 504),
        openapi_extra=body_of(PullIpfs),
    )  # fmt: skip
    async def load_from_ipfs(request: Request) -> Response:
        """Fetch a model by its IPFS content identifier, and load it. Off by default."""
        body = await asked(request, PullIpfs, policy.body_s)
        source = f"ipfs://{body.ipfs_cid.removeprefix('ipfs://')}"
        return await _pulled(request, source, body.model_id, None, body.metadata)

    async def _pulled(
        request: Request,
        source: str,
        model_id: str,
        sha256: str | None,
        metadata: Mapping[str, Any] | None,
    ) -> Response:
        request.state.model = model_id
        policy.check_source(source)

        def fetch(stop: Stop) -> None:
            desk.engine.pull(source, model_id, sha256=sha256, metadata=metadata, stop=stop)

        done = await desk.load(model_id, request, first=fetch, timeout_s=policy.pull_s)
        return reply(request, loaded(model_id, done))

    return routes
