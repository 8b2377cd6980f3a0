"""State of the hub, its nodes, stopping it and backing it up; the handbook and the OpenAPI document.

The handbook as pages for browsers, and the OpenAPI document of the interface.

The pages are the handbook's Markdown as HTML, without scripts, under a strict policy, in the style sheet of
the dashboard. Each heading has an id as in the handbook's links, and so has each error code.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal

import anyio
import msgspec
from anyio import to_thread
from msgspec import field
from starlette.datastructures import Headers
from starlette.responses import Response

from hub import docs
from hub.api.binding import OPTIONAL, RequestContext, ResponseHead
from hub.api.pages import HEADERS, asset
from hub.api.peers import not_alive
from hub.api.resource import (
    ALL,
    Actor,
    Caller,
    Document,
    Exposed,
    Instant,
    ListPart,
    Resource,
    ResourceRegistry,
    View,
    audited,
    command,
    listed,
    route,
    tool,
)
from hub.api.resources.gateways import GatewaysResource
from hub.api.resources.issues import CHECK_S, IssueCounts, IssuesResource, IssueView
from hub.api.resources.tokens import LimitsView
from hub.base.clock import Clock
from hub.base.log import Channel
from hub.base.loop_lag import LoopLag
from hub.base.roles import (
    AUDITED,
    BY_ALL,
    DEVICE_REQUESTS,
    LIMITED,
    PUBLIC,
    ROLE_SCOPES,
    ROUTES,
    Role,
    Scope,
    roles_that_may,
)
from hub.base.supervisor import Drain
from hub.base.toml.values import HostPort
from hub.base.version import VERSION
from hub.health.backups import Backups
from hub.health.issues import Finding, error, notice
from hub.health.issues import IssueRegistry as FoundIssues
from hub.links.roster import Roster
from hub.runs.dispatcher import Dispatcher
from hub.settings.reload import Reloader
from protocol.errors import AtAnotherNode, CodedError, ErrorCode, HubError
from protocol.ids import NodeId
from protocol.lifecycles import RunState
from storage import audit
from storage.agents import agents
from storage.coordination import gateways
from storage.devices import devices, nodes, pairings, users
from storage.devices.nodes import NodeRow
from storage.kernel.database import StorageError
from storage.runs import runs
from storage.store import Connection, Store

WORST: Final = 3  # issues in the status
ANYBODY: Final = "public"  # instead of a scope; "agent": needs the token of an agent


class Liveness(View):
    """State of the event loop; made without I/O."""

    status: Literal["ok", "stuck"] = "ok"


class ReadinessIssue(View):
    """An issue that the hub knows without asking, as ``GET /v1/issues`` has it.

    *explanation*: null: it does not stop the hub, and needs a token to be read.
    """

    id: str
    severity: Literal["error", "warning", "notice"]
    since: Instant
    explanation: str | None = None


class Readiness(View):
    """Readiness of the hub to take work. *degraded*: it does, but not as it should; *issues*: the reasons."""

    ready: bool
    degraded: bool = False
    issues: tuple[ReadinessIssue, ...] = ()


class StatusView(View, kw_only=True):
    """Status of the daemon."""

    name: str
    hub_id: str
    key: str  # the fingerprint of the key by which devices know this hub
    version: str
    uptime_s: float
    state: Literal["running", "draining"] = "running"
    devices_known: int | None  # that can connect; null, as of the other numbers: the database cannot be read
    devices_connected: int | None  # to any node
    devices_here: int  # to this node
    gateways_known: int = 0
    gateways_ready: int = 0
    agents: int | None
    runs: dict[RunState, int] | None  # live runs in each state; a state without runs is absent
    model: str | None  # name and kind, as people read it; None: rules only
    listeners: dict[str, str]  # what listens -> where: "devices", "operator", "socket", "webhooks"
    database: str
    worst: tuple[IssueView, ...] = ()  # of the issues, the worst first
    pairing: tuple[str, ...] = ()  # names that devices report that wait for a person to let them in
    issues: IssueCounts = field(default_factory=IssueCounts)
    config_generation: int = 1  # of the settings: one more with each edit that was applied


class RouteView(View):
    """Route of the interface. *scope*: the scope that it needs; ``public``: no token is needed.

    *audit*: event of its entry in the audit log; null: it changes nothing.
    *limits*: kinds of limits that a token may have for it; it shows what is within them alone.
    """

    method: str
    path: str
    scope: str
    roles: tuple[Role, ...]
    audit: str | None = None
    limits: tuple[str, ...] = ()


class DeviceRequestView(View):
    """Request that a device may send over its connection, and the objects that it applies to.

    *audit*: event of its entry in the audit log; null: it changes nothing.
    """

    method: str
    of: str
    audit: str | None = None


class RoutesView(View):
    """The table of roles: all other routes and requests are refused to everybody."""

    roles: dict[Role, tuple[Scope, ...]]
    routes: tuple[RouteView, ...]
    device_requests: tuple[DeviceRequestView, ...]


class MeView(View):
    """Caller of the request. *user*: the one whose things are visible; null: those of all users."""

    actor: str
    name: str
    role: Role | None
    scopes: tuple[Scope, ...]
    user: str | None
    limits: LimitsView | None = None


class Exposition(Response):
    """Prometheus' text format."""

    media_type = "text/plain; version=0.0.4; charset=utf-8"


class ListenerAddresses(msgspec.Struct, frozen=True):
    """Addresses of a running hub."""

    devices: tuple[str, int]
    operator: HostPort
    socket: Path
    webhooks: HostPort | None = None

    def spelled(self) -> dict[str, str]:
        """Return the addresses as text, by listener."""
        spelled = {
            "devices": str(HostPort(*self.devices)),
            "operator": str(self.operator),
            "socket": str(self.socket),
        }
        return spelled if self.webhooks is None else spelled | {"webhooks": str(self.webhooks)}


class HubInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a hub.

    Attributes:
        key: fingerprint of the key by which devices know this hub.
        model: returns name and kind of the model in use, as people read it; None: rules only.
    """

    hub_id: str
    key: str
    name: str
    model: Callable[[], str | None]
    database: str


class SystemResource(Resource):
    """State of the hub itself."""

    name, path = "system", ""

    def __init__(
        self,
        hub: ResourceRegistry,
        store: Store,
        *,
        about: HubInfo,
        clock: Clock,
        roster: Roster,
        dispatcher: Dispatcher,
        drain: Drain,
        reloader: Reloader,
        issues: FoundIssues,
        where: Callable[[], ListenerAddresses | None] = lambda: None,
        probe: Callable[[], Awaitable[None]] | None = None,
        lag: LoopLag | None = None,
    ) -> None:
        """Create the resource, and add what it knows to the issues.

        Args:
            where: returns the addresses of the listeners, once everything listens.
            probe: asks the database; its condition is among the issues then.
        """
        self._hub = hub
        self._store = store
        self._about = about
        self._clock = clock
        self._roster = roster
        self._dispatcher = dispatcher
        self._drain = drain
        self._reloader = reloader
        self._issues = issues
        self._probe = probe
        self._lag = lag
        self._started = clock.monotonic()
        self._where = where
        issues.watch(self._not_taking_work)

    @route("GET", "/healthz", PUBLIC, also=[503], is_whole=True)
    async def health(self, head: ResponseHead) -> Liveness:
        """Answer 200 if the event loop turns. No I/O, no detail."""
        is_stuck = self._lag is not None and self._lag.is_stuck
        head.status = 503 if is_stuck else 200
        return Liveness(status="stuck" if is_stuck else "ok")

    @route("GET", "/readyz", PUBLIC, also=[503], is_whole=True)
    async def readiness(self, head: ResponseHead) -> Readiness:
        """Answer 200 if the hub takes work, else 503, with the reasons: issues that need no further check."""
        if self._probe is not None:
            await self._probe()
        known = self._issues.known
        is_ready = not any(issue.found.is_stop for issue in known)
        head.status = 200 if is_ready else 503
        return Readiness(
            ready=is_ready,
            degraded=any(not issue.found.is_stop for issue in known),
            issues=tuple(
                ReadinessIssue.from_row(
                    issue, issue.found, explanation=issue.found.explanation if issue.found.is_stop else None
                )
                for issue in known
            ),
        )

    @route("GET", "/metrics", Scope.READ, is_whole=True)
    async def metrics(self, exposed: Exposed) -> Exposition:
        """Return every metric of the process."""
        return Exposition(exposed())

    @tool()
    @route("GET", "/v1/me", Scope.READ, within=BY_ALL)
    async def me(self, caller: Caller) -> MeView:
        """Return who the caller is, and what it may do."""
        (user,) = await self._store.read(users.list_users, user_id=self.user_id) if self.user_id else (None,)
        names = await self._store.read(devices.names_of_devices, caller.limits.devices)
        return MeView(
            actor=caller.actor,
            name=caller.name,
            role=caller.role,
            scopes=tuple(scope for scope in Scope if scope in caller.scopes),
            user=None if user is None else user.name,
            limits=LimitsView.of(caller.limits, names),
        )

    @route("GET", "/v1/routes", Scope.READ, is_whole=True, within=BY_ALL)
    async def table(self) -> RoutesView:
        """Return the routes of this hub with the roles that may use them, and the requests of devices."""
        return routes_view()

    @command(
        "status",
        example="hub status",
        json="status",
        help="Show the state of the running hub on one screen.\n\nExits with 3 when no hub is running.",
        facts=(
            "{name} ({state}) as hub",
            "version",
            "uptime_s|duration as up for",
            "*|connected_devices as devices",
            "pairing|waiting_devices as pairing?",
            "*|ready_gateways as gateways?",
            "agents",
            "issues|issue_counts as issues",
            "runs|run_counts as runs",
            "model|or_rules as model",
            "database",
            "generation {config_generation} as settings",
            "listeners|named as listens",
        ),
        quotes=("key|key",),
        prints="*|worst_issues",
    )
    @route("GET", "/v1/status", Scope.READ)
    async def status(self) -> StatusView:
        """Return version, uptime, devices, runs, model and listeners."""
        mine, about = self.user_id, self._about
        where = self._where()
        here = sum(mine in (None, link.user_id) for link in self._roster.connected())
        is_shared = self._store.is_shared
        at = self._now
        numbers = None
        try:
            with anyio.move_on_after(CHECK_S):
                numbers = await self._store.read(
                    lambda c: (
                        devices.count_devices(c, at=at, user_id=mine),
                        devices.count_connected(c, user_id=mine) if is_shared else here,
                        gateways.list_gateways(c, user_id=mine),
                        agents.count_agents(c, user_id=mine),
                        runs.count_live(c, user_id=mine),
                        pairings.list_pairings(c, at=at) if mine is None else (),
                    )
                )
        except StorageError:
            if not any(issue.found.is_stop for issue in self._issues.known):  # else they are shown
                raise
        known, connected, known_gateways, known_agents, run_counts, waiting = numbers or (None,) * 6
        worst, counts = await self._hub.resource(IssuesResource, mine).worst(WORST)
        ready_gateways = self._hub.resource(GatewaysResource, mine).ready(known_gateways or [])
        return StatusView.from_row(
            about,
            version=VERSION,
            uptime_s=round(self._clock.monotonic() - self._started, 1),
            state="draining" if self._is_draining else "running",
            devices_known=known,
            devices_connected=connected,
            devices_here=here,
            gateways_known=len(ready_gateways),
            gateways_ready=sum(ready_gateways.values()),
            agents=known_agents,
            runs=run_counts,
            model=about.model(),
            listeners={} if where is None else where.spelled(),
            worst=worst,
            pairing=tuple(pairing.label for pairing in waiting or ()),
            issues=counts,
            config_generation=self._reloader.generation,
        )

    @property
    def _is_draining(self) -> bool:
        return self._drain.is_begun or self._dispatcher.is_draining or self._roster.is_draining

    def _not_taking_work(self, now: datetime) -> Iterator[Finding]:
        if self._is_draining:
            explanation = "the hub is stopping: it starts no run, and ends when those in progress are paused"
            yield notice("hub.draining", explanation, fix="start it again: hub serve", is_stop=True)
        elif self._roster.is_cut_off():
            yield error(
                "node.cut_off",
                "this node does not reach its database, and others do: its devices were sent to them",
                fix="see what keeps it from the database: hub logs --level error; it goes on by itself",
                is_stop=True,
            )
        elif self._where() is None:
            explanation, fix = "the hub is starting: it does not listen yet", "wait; see hub logs"
            yield notice("hub.starting", explanation, fix=fix, is_stop=True)


def routes_view() -> RoutesView:
    """Return the tables of ``roles``."""
    return RoutesView(
        roles={role: tuple(scope for scope in Scope if scope in ROLE_SCOPES[role]) for role in Role},
        routes=tuple(
            RouteView(
                method=asked.method,
                path=asked.path,
                scope=ANYBODY if need is PUBLIC else str(need.value),
                roles=roles_that_may(need),
                audit=AUDITED[asked] or None,
                limits=tuple(kind for kind in BY_ALL if kind in LIMITED[asked]),
            )
            for asked, need in ROUTES.items()
        ),
        device_requests=tuple(
            DeviceRequestView(method=method, of=need.of, audit=need.event or None)
            for method, need in DEVICE_REQUESTS.items()
        ),
    )


log = Channel(__name__)


class DrainRequest(View):
    """Options of a stop.

    *restarts*: another process takes over, so devices connect again at once; by default that is so
    if a service manager holds the device port.
    """

    restarts: bool | None = None


class DrainView(View, kw_only=True):
    """A hub that stops. *executing*: the number of runs that finish their present step, or pause."""

    state: Literal["draining"] = "draining"
    restarts: bool
    executing: int


class BackupView(View):
    """A backup that was made and checked. *path* is on the hub's own machine."""

    path: str
    made_at: Instant
    size_bytes: int
    sha256: str  # of the file itself
    revision: str  # of its tables


class UpkeepResource(Resource):
    """The hub as a whole."""

    name, path = "upkeep", "/v1"
    is_scoped = False

    def __init__(
        self,
        *,
        store: Store,
        executing: Callable[[], int],
        drain: Drain,
        backups: Backups,
        clock: Clock,
    ) -> None:
        """Create the resource. *executing*: returns the number of executing runs."""
        self._store = store
        self._executing = executing
        self._drain = drain
        self._backups = backups
        self._clock = clock

    @command(
        "drain",
        example="hub drain --restart",
        json="drain",
        help="Stop the running hub after its work in progress.\n\nNo new runs start. Executing runs finish "
        "their files in progress, or pause and resume when the hub runs again.",
        options={"restarts": "--restart: Ask devices to reconnect at once: another hub takes over."},
        message="the hub stops; runs in progress: {executing}",
    )
    @route("POST", "/drain", Scope.SYSTEM, status=202)
    @audited("hub.drained")
    async def drain(self, options: Annotated[DrainRequest, OPTIONAL], actor: Actor) -> DrainView:
        """Stop gracefully: start no run, and let executing ones finish their present step or pause."""
        executing = self._executing()
        if not self._drain.is_begun:
            entry = audit.AuditEntry(
                at=self._now,
                actor=actor,
                event="hub.drained",
                detail={"executing": executing},
            )
            try:
                await self._store.write(audit.append_entry, entry)
            except HubError as exc:  # a hub whose database is broken can be stopped all the same
                log.error("drain.not_noted", exc=exc)
            log.info("hub.stopping", actor=actor)
            self._drain.begin(restarts=options.restarts)
        return DrainView(restarts=self._drain.restarts, executing=executing)

    @route("POST", "/backups", Scope.SYSTEM, status=201)
    @audited("backup.made")
    async def back_up(self, actor: Actor) -> BackupView:
        """Make a backup in the hub's own folder, and check it."""
        made = await self._backups.make(actor=actor)
        return BackupView.from_row(made, made.manifest, path=str(made.path))


class NodeView(View, kw_only=True):
    """A node of this hub. The process of a dead one ended without a word, or its database is out of reach.

    *here*: it is the node that answers. *devices*, *runs*: connected to it, and executed by it.
    *address*: where devices reach it.
    *settings_revision*: of the shared settings that it uses; *settings_refused*: why it uses no newer one.
    """

    id: str
    name: str | None
    here: bool
    state: Literal["alive", "stopped", "dead"]
    version: str | None
    started_at: Instant
    stopped_at: Instant | None
    settings_revision: int | None
    settings_refused: str | None
    devices: int
    runs: int
    address: str | None


class NodesResource(Resource):
    """Nodes of this hub. A node is named by its name, its id, or six or more characters at the id's end."""

    name, path = "nodes", "/v1/nodes"
    errors = (ErrorCode.UNKNOWN_NODE,)

    def __init__(self, store: Store, upkeep: UpkeepResource, *, here: NodeId, clock: Clock) -> None:
        self._upkeep = upkeep
        self._store = store
        self._here = here
        self._clock = clock

    @command(
        "nodes ls",
        example="hub nodes ls",
        json="nodes",
        table=(
            "id|id as node",
            "name",
            "*|node_state as state",
            "version",
            "settings_revision|or_none as settings",
            "started_at|at as started",
            "devices",
            "runs",
        ),
        empty="no nodes",
    )
    @listed("", Scope.READ, key=lambda node: (node.id,))
    async def all(self, part: ListPart = ALL) -> list[NodeView]:
        """List the nodes with their devices and runs, as the database has them."""
        rows = await self._store.read(
            nodes.list_nodes, user_id=self.user_id, limit=part.limit, after=part.after
        )
        return [self._view(row) for row in rows]

    @command(
        "nodes rm NODE_ID",
        example="hub nodes rm 4e21a9",
        json="node",
        message="node {node_id} is removed",
    )
    @route("DELETE", "/{node_id}", Scope.SYSTEM, errors=[ErrorCode.ILLEGAL_TRANSITION])
    @audited("node.removed")
    async def remove(self, node_id: str, actor: Actor) -> NodeView:
        """Remove a node that is not alive from the list. A process that was only frozen ends itself."""
        at = self._now

        def write(c: Connection) -> NodeRow:
            node = nodes.remove_node(c, node_id)
            audit.append(c, at=at, actor=actor, event="node.removed", subject=node.id)
            return node

        removed = await self._store.write(write)
        log.info("node.removed", node=removed.id)
        return self._view(removed)

    @command(
        "nodes drain NODE_ID",
        example="hub nodes drain 4e21a9 --restart",
        json="drain",
        help="Stop a node after its work in progress; the others go on with its runs and devices.",
        options={"restarts": "--restart: Ask its devices to reconnect at once."},
        message="the node stops; runs in progress: {executing}",
    )
    @route("POST", "/{node_id}/drain", Scope.SYSTEM, status=202, errors=[ErrorCode.NODE_UNREACHABLE])
    @audited("hub.drained")
    async def drain(
        self, node_id: str, options: Annotated[DrainRequest, OPTIONAL], actor: Actor
    ) -> DrainView:
        """Stop a node gracefully: it starts no run, and pauses those that it executes."""
        node = await self._store.read(nodes.node_called, node_id)
        if node.id != self._here:
            if node.expires_at is None:
                raise not_alive(node)
            message = f"{node.name or node.id} is another node; ask it, or give the nodes a bus"
            raise AtAnotherNode(ErrorCode.NODE_UNREACHABLE, message, node.boot_id)
        return await self._upkeep.drain(options, actor)

    def _view(self, row: NodeRow) -> NodeView:
        ended = "dead" if row.stopped_at is None else "stopped"
        return NodeView.from_row(
            row,
            here=row.id == self._here,
            state=ended if row.expires_at is None else "alive",
            settings_revision=row.settings_number,
        )


class DocumentPage(Response):
    """Markdown, or HTML for browsers. No browser runs either as a script."""

    media_type = "text/markdown"


class HandbookResource(Resource):
    """Pages for people, and the document for programs."""

    name, path, within = "handbook", "", BY_ALL
    is_scoped = False

    @route("GET", "/docs", Scope.READ)
    async def all(self, call: RequestContext) -> DocumentPage:
        """List the pages of the handbook, as Markdown, or as HTML for a browser."""
        return await _page(call, "")

    @route("GET", "/docs/{topic}", Scope.READ, errors=[ErrorCode.UNKNOWN_METHOD])
    async def get(self, call: RequestContext, topic: str) -> DocumentPage:
        """Return a page of the handbook, as Markdown, or as HTML for a browser.

        The topic may end with ``.md``, as in links.
        """
        return await _page(call, topic.removesuffix(".md"))

    @route("GET", "/v1/openapi.json", Scope.READ)
    async def document(self, document: Document) -> Response:
        """Return this interface as an OpenAPI 3.1 document."""
        return document


async def _page(call: RequestContext, topic: str) -> DocumentPage:
    """Return a page; empty *topic*: the list of all. Raises CodedError."""
    try:
        if "text/html" not in Headers(scope=call.scope).get("accept", ""):
            return DocumentPage(
                docs.page(topic) if topic else docs.contents("/docs/"), headers={"vary": "accept"}
            )

        text = await to_thread.run_sync(html_of, topic)
        return DocumentPage(text, media_type="text/html", headers={**HEADERS, "vary": "accept"})
    except docs.UnknownTopic as unknown:
        raise CodedError(ErrorCode.UNKNOWN_METHOD, str(unknown), hint=unknown.hint) from unknown


_COMMENT: Final = re.compile(r"^<!--.*?-->\n?", re.MULTILINE | re.DOTALL)  # marks of generated parts
_ELSEWHERE: Final = re.compile(r'<a href="\.\./[^"]*">(.*?)</a>')  # files of the repository
_CODE: Final = re.compile(r"<li><code>([a-z_]+)</code>")  # of an error
_NO_ID: Final = re.compile(r"[^\w\- ]")
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · handbook of the hub</title>
<link rel="icon" href="{icon}">
<link rel="stylesheet" href="{style}">
</head>
<body class="handbook">
<nav aria-label="Pages of the handbook">
<p><a href="/">hub</a> · <a href="/docs">handbook</a></p>
{topics}</nav>
<main>
{page}</main>
</body>
</html>
"""


@cache
def html_of(topic: str) -> str:
    """Return a page of the handbook, or the list of all pages if *topic* is empty. Raises UnknownTopic."""
    from markdown_it import MarkdownIt  # imported here: a start can do without

    text = docs.page(topic) if topic else docs.contents("/docs/")
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(_COMMENT.sub("", text))
    for token, inner in pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", id_of("".join(part.content for part in inner.children or ())))
    for token in tokens:
        if token.type in ("th_open", "td_open") and token.attrs.pop("style", "") == "text-align:right":
            token.attrSet("class", "number")
    page = parser.renderer.render(tokens, parser.options, {})
    page = _ELSEWHERE.sub(r"<em>\1</em>", page)
    if topic.removesuffix(".md") == "errors":
        page = _CODE.sub(r'<li id="\1"><code>\1</code>', page)
    page = page.replace("<table>", '<div class="table-room" tabindex="0"><table>')
    return _PAGE.format(
        title=escape(topic or "contents"),
        icon=asset(".svg"),
        style=asset(".css"),
        topics="".join(_topics(topic)),
        page=page.replace("</table>", "</table></div>").replace("<pre>", '<pre tabindex="0">'),
    )


def id_of(heading: str) -> str:
    """Return the id of a heading, as links of the handbook name it."""
    return _NO_ID.sub("", heading.lower()).strip().replace(" ", "-")


def _topics(current: str) -> Iterator[str]:
    for part, topics in docs.PARTS.items():
        yield f"<p>{escape(part)}</p>\n<ul>\n"
        for topic in topics:
            here = ' aria-current="page"' if topic == current else ""
            yield f'<li><a href="/docs/{topic}"{here}>{topic}</a></li>\n'
        yield "</ul>\n"
