"""The operator's REST interface as one application: a router a noun, problems for errors.

OpenAPI stands at ``/v1/openapi.json`` and nowhere else: the usual pages around it
load scripts from other origins.
"""

from collections.abc import Callable

from fastapi import FastAPI, Response

from hub.ops.api import agents, devices, runs, schedules, system, tokens
from hub.ops.api.errors import answer_errors
from hub.ops.events import Streams
from hub.ops.facade import HubFacade

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


def make_application(
    hub: HubFacade, *, streams: Streams, version: str, metrics: Callable[[], bytes] | None = None
) -> FastAPI:
    """The application over *hub*. It decides nothing about who asks: that is ``ops/access``.

    Args:
        streams: the bound on followers.
        metrics: what ``/metrics`` answers, in Prometheus' text format; without it there is no such route.
    """
    app = FastAPI(title="hub", version=version, openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None)
    app.state.hub = hub
    app.state.streams = streams
    answer_errors(app)
    for noun in (system, devices, agents, schedules, runs, tokens):
        app.include_router(noun.router)
    if metrics is not None:

        @app.get("/metrics", tags=["system"])
        async def exposition() -> Response:
            """Every metric of the process."""
            return Response(metrics(), media_type=EXPOSITION)

    return app
