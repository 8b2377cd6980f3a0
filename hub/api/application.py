"""The operator's REST interface as one application: a router per noun, problem details for errors.

OpenAPI is served at ``/v1/openapi.json`` only: FastAPI's documentation pages
load scripts from other origins.
"""

from functools import cache
from typing import Final

from fastapi import Depends, FastAPI, Request, Response

from hub import docs
from hub.api.deps import Metrics, stands_in_the_table
from hub.api.document import serve_document
from hub.api.errors import Problem, answer_errors, refusals
from hub.api.noun import Noun
from hub.api.nouns.agent_configs import AgentConfigs
from hub.api.nouns.agent_status import AgentStatuses
from hub.api.nouns.agent_tokens import AgentTokens
from hub.api.nouns.agents import Agents
from hub.api.nouns.audit import AuditLog
from hub.api.nouns.board_memory import BoardMemories
from hub.api.nouns.boards import Boards
from hub.api.nouns.broadcasts import Broadcasts
from hub.api.nouns.capabilities import Capabilities
from hub.api.nouns.checkpoints import Checkpoints
from hub.api.nouns.config import Config
from hub.api.nouns.connectors import Connectors
from hub.api.nouns.costs import Costs
from hub.api.nouns.debug import Debug
from hub.api.nouns.devices import Devices
from hub.api.nouns.events import Events
from hub.api.nouns.gateways import Gateways
from hub.api.nouns.invitations import Invitations
from hub.api.nouns.issues import Issues
from hub.api.nouns.items import Items
from hub.api.nouns.keys import Keys
from hub.api.nouns.leads import Leads
from hub.api.nouns.locks import Locks
from hub.api.nouns.logs import Logs
from hub.api.nouns.measurements import Measurements
from hub.api.nouns.messages import Messages
from hub.api.nouns.operator_tokens import OperatorTokens
from hub.api.nouns.overviews import Overviews
from hub.api.nouns.pairings import Pairings
from hub.api.nouns.questions import Questions
from hub.api.nouns.runs import Runs
from hub.api.nouns.schedules import Schedules
from hub.api.nouns.slots import Slots
from hub.api.nouns.souls import Souls
from hub.api.nouns.system import System
from hub.api.nouns.templates import Templates
from hub.api.nouns.tokens import Tokens
from hub.api.nouns.upkeep import Upkeep
from hub.api.nouns.users import Users
from hub.api.routing import router_of
from hub.version import VERSION
from protocol.errors import ErrorCode

EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"

DECLARED: Final[tuple[type[Noun], ...]] = (
    AgentConfigs,
    AgentStatuses,
    AgentTokens,
    Agents,
    AuditLog,
    BoardMemories,
    Boards,
    Broadcasts,
    Capabilities,
    Checkpoints,
    Config,
    Connectors,
    Costs,
    Debug,
    Devices,
    Events,
    Gateways,
    Invitations,
    Issues,
    Items,
    Keys,
    Leads,
    Locks,
    Logs,
    Measurements,
    Messages,
    OperatorTokens,
    Overviews,
    Pairings,
    Questions,
    Runs,
    Schedules,
    Slots,
    Souls,
    System,
    Templates,
    Tokens,
    Upkeep,
    Users,
)


@cache
def application() -> FastAPI:
    """Return the application of this process. Its routes were built as their modules were imported."""
    return make_application()


def make_application() -> FastAPI:
    """Build the application with all its routes. Callers are checked by ``api/door/access``.

    The application is independent of a hub: the hub is in the state of each request, see ``deps``.
    """
    app = FastAPI(
        title="hub",
        version=VERSION,
        openapi_url=None,
        dependencies=[Depends(stands_in_the_table)],
        redirect_slashes=False,
    )
    app.openapi_version = "3.1.0"
    answer_errors(app)
    for declared in DECLARED:
        app.router.routes += router_of(declared).routes

    @app.get("/metrics", tags=["system"], response_class=Exposition)
    async def exposition(metrics: Metrics) -> Response:
        """Return every metric of the process."""
        return Exposition(metrics())

    @app.get("/docs", tags=["system"], response_class=Page)
    def handbook() -> Response:
        """List the pages of the handbook, as Markdown."""
        return Page(docs.contents("/docs/"))

    @app.get(
        "/docs/{topic}",
        tags=["system"],
        response_class=Page,
        responses=refusals(ErrorCode.UNKNOWN_METHOD),
    )
    def handbook_page(topic: str) -> Response:
        """Return a page of the handbook, as Markdown. The topic may end with ``.md``, as in links."""
        try:
            return Page(docs.page(topic.removesuffix(".md")))
        except docs.UnknownTopic as unknown:
            return Problem(ErrorCode.UNKNOWN_METHOD, str(unknown), status=404, hint=unknown.hint)

    @app.get("/v1/openapi.json", tags=["system"], response_model=dict[str, object])
    def document(request: Request) -> Response:  # in a thread: building the document takes a second
        """Return this interface as an OpenAPI 3.1 document."""
        return serve_document(app, request.headers)

    return app


class Page(Response):
    """Markdown, which no browser runs as a script."""

    media_type = "text/markdown"


class Exposition(Response):
    """Prometheus' text format."""

    media_type = EXPOSITION
