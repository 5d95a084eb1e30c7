"""Liveness, readiness and metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from app.errors import unavailable
from app.routes.docs import problems
from app.schemas import Health, Ready
from app.state import Parts

router = APIRouter()


@router.get("/health", responses=problems(503), summary="Is the process alive")
async def health(request: Request) -> Health:
    """The check for a load balancer. It does not depend on the database, so a failover takes no backend out.

    503 while the process drains before it stops.
    """
    if request.app.state.draining:
        raise unavailable("draining", "This backend is about to stop.")
    return Health()


@router.get("/ready", responses=problems(503), summary="Can the database be written, and through which node")
async def ready(parts: Parts) -> Ready:
    """Makes a commit (at most two a second) and names the node that took it."""
    probe = await parts.readiness.probe()
    if probe.refusal is not None:
        raise probe.refusal
    if probe.node is None:
        raise unavailable("database_unavailable", "The database did not take a commit within a second.")
    return Ready(node=probe.node, commit_ms=probe.commit_ms)


@router.get("/metrics", include_in_schema=False)
async def metrics(parts: Parts) -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(parts.metrics.registry), media_type=CONTENT_TYPE_LATEST)
