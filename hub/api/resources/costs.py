"""Costs of models; ``hub why`` (what became of a file), and previews with another prompt, model or tables.

For ``hub why`` the agents are selected here, and a line is read from its path (``notes/monday.md:12``);
``hub.runs.explaining`` explains the file in each.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final, Literal
from urllib.parse import urlencode

import anyio
import msgspec
from msgspec import Meta, structs

from hub.api.agent_bodies import ids_called
from hub.api.binding import OPTIONAL, bad_request
from hub.api.events import EventStream
from hub.api.peers import Peers, link_of
from hub.api.resource import (
    NO_CHANGE,
    Caller,
    Instant,
    OpenStreams,
    Resource,
    View,
    audited,
    command,
    route,
    tool,
)
from hub.base.clock import Clock, epoch_ms, from_epoch_ms
from hub.base.printable import one_line
from hub.base.roles import Principal, Scope
from hub.base.toml.limits import NANOS
from hub.cluster.messages import BusRequest, NodeUnreachable
from hub.links.device_link import DeviceLink
from hub.links.roster import Roster
from hub.runs.estimates import Estimate, Estimator
from hub.runs.explaining import Explainer, Reason
from hub.runs.previewing import PreviewRequest, Previews
from protocol.errors import AtAnotherNode, CodedError, ErrorCode
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.runs import model_calls
from storage.runs.model_calls import CostRow
from storage.runs.run_moves import LivesAtGateway
from storage.store import Connection, Store

LATELY: Final = timedelta(days=30)
DAY: Final = timedelta(days=1)

CostsBy = Literal["agent", "user", "model", "run", "file", "day", "call"]


class CostView(View, kw_only=True):
    """Costs under one *key*: a name, an id, a path, a day as ``2026-01-05`` (UTC).

    *calls*, with *requests* for them, include failed tries; *failed*: calls without an answer.
    *usd* is 0 if a model has no price.
    """

    key: str
    agent: str | None = None
    calls: int
    failed: int = 0
    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    took_s: float


class CostsView(View):
    """Costs from *since* until before *until*: the dearest rows first, and the total."""

    by: CostsBy
    since: Instant
    until: Instant
    rows: tuple[CostView, ...]
    total: CostView


class SpendView(View):
    """Costs of an agent in the last 24 hours and in the last 30 days."""

    day: CostView
    month: CostView


class EstimateView(View, kw_only=True):
    """Files that a run of an agent would read now, and their costs.

    Of the *files* that its device lists, *known* were settled before, the others would be read. *basis*: what
    tokens are estimated from: the agent's own ``runs``, or the ``size`` of the files if the runs are too few.
    *usd_...* are null if no price is known.
    """

    agent: str
    files: int
    known: int
    to_read: int
    bytes_to_read: int
    questions_low: int
    questions_high: int
    tokens_low: int
    tokens_high: int
    usd_low: float | None = None
    usd_high: float | None = None
    basis: Literal["runs", "size"]
    over: tuple[str, ...] = ()  # budgets that it would reach, by their names in hub.toml


class CostsResource(Resource):
    """Costs of models."""

    name, path = "costs", "/v1"

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @command(
        "costs",
        example="hub costs --by agent --since 7d",
        json="costs",
        help="Show the costs of models, failed requests included.",
        options={"by": "Group the costs by this.", "since": "--since=30d: Only requests from then on."},
        rows="rows",
        total="total",
        table=(
            "key|short_key as {by}",
            "*|payer as agent?",
            "calls as requests",
            "failed",
            "prompt_tokens as tokens in",
            "completion_tokens as out",
            "usd|usd as USD",
        ),
        empty="no model requests in that time",
        message="{total|price_note}",
    )
    @tool()
    @route("GET", "/costs", Scope.READ)
    async def spent(
        self,
        by: Annotated[CostsBy, Meta(description="What is summed up.")] = "agent",
        since: Annotated[Instant, Meta(description="30 days before *until* by default.")] | None = None,
        until: Annotated[Instant, Meta(description="Not included; now by default.")] | None = None,
    ) -> CostsView:
        """List tokens and money spent on models, failed tries included, the dearest first."""
        end: datetime = until or self._clock.now() + timedelta(milliseconds=1)
        begin: datetime = since or end - LATELY
        within = {"since": epoch_ms(begin), "until": epoch_ms(end)}
        rows, total = await self._store.read(
            lambda c: (
                model_calls.costs(c, by, user_id=self.user_id, **within),
                model_calls.total(c, user_id=self.user_id, **within),
            )
        )
        return CostsView(
            by=by,
            since=begin.astimezone(UTC),
            until=end.astimezone(UTC),
            rows=tuple(_view(row, by) for row in rows),
            total=_view(total, by, key="total"),
        )

    async def of_agent(self, agent: str) -> SpendView:
        """Return the costs of an agent in the last 24 hours and in the last 30 days."""
        now = self._clock.now()
        row, (day, month) = await self._store.read(
            agents.with_agent,
            agent,
            self.user_id,
            lambda c, agent_id: [
                model_calls.spent_by(c, agent_id, since=epoch_ms(now - period)) for period in (DAY, LATELY)
            ],
        )
        return SpendView(day=_view(day, "agent", key=row.name), month=_view(month, "agent", key=row.name))


def estimate_view(found: Estimate, agent: str) -> EstimateView:
    """Return the view of an estimate for an agent."""
    cost = found.cost_nanos
    return EstimateView.from_row(
        found,
        agent=agent,
        questions_low=found.questions.low,
        questions_high=found.questions.high,
        tokens_low=found.tokens.low,
        tokens_high=found.tokens.high,
        usd_low=None if cost is None else cost.low / NANOS,
        usd_high=None if cost is None else cost.high / NANOS,
        basis="runs" if found.is_reckoned_from_runs else "size",
    )


def _view(row: CostRow, by: CostsBy, *, key: str | None = None) -> CostView:
    shown = row.key if key is None else key
    if by == "day" and key is None:
        shown = f"{from_epoch_ms(int(row.key)):%Y-%m-%d}"
    return CostView.from_row(
        row,
        row.usage,
        key=shown,
        usd=row.usage.cost_nanos / NANOS,
        took_s=row.took_ms / 1_000,
    )


MAX_EXAMINED: Final = 100  # agents, by name, among which those that know the file are looked up
MAX_LINE: Final = 999_999_999
MAX_AGENTS: Final = 5  # explained in one answer: each reads the file
WITHIN_S: Final = 20.0  # for an answer; a command line waits for 30 s
_PLACE: Final = re.compile(r"(?P<path>.+?):(?P<line>[1-9]\d{0,8})")
_NO_PLACE: Final = re.compile(r".+\.\w{1,8}:([^./]*)")  # no line follows the ending of a file
# Of no use beside another agent's answer about the file; such is not one of those that could not look.
_ELSEWHERE: Final = ("missing", "not_sent", "outside_paths", "outside_shared")
_NOT_LOOKED: Final = ("busy", "cannot_run", "device_away", "elsewhere", "not_granted")


def informative(found: Sequence[Sequence[Reason]]) -> Iterator[Reason]:
    """Yield the reasons of each agent, without those of files elsewhere if an agent looked at the file."""
    codes = {reasons[0].code for reasons in found}
    hidden = _ELSEWHERE if codes.difference(_ELSEWHERE, _NOT_LOOKED) else ()
    for reasons in found:
        if reasons[0].code not in hidden:
            yield from reasons


class Reasons(View):
    """Reasons by agent: first that of the file, then those of its lines, never with their words.

    *lines*: numbers, as in ``3, 7-9``; empty: the file. *code*: a stable word of ``hub help why``. *because*:
    the same as a sentence. *remedy*: how to change it.
    """

    reasons: tuple[Reason, ...]


class WhyResource(Resource):
    """Explanations of files and sentences."""

    name, path = "why", "/v1/why"

    def __init__(
        self, store: Store, *, roster: Roster, explainer: Explainer, peers: Peers, clock: Clock
    ) -> None:
        self._store = store
        self._peers = peers
        self._roster = roster
        self._explainer = explainer
        self._clock = clock

    @command(
        "why PATH",
        example="hub why notes/monday.md:12",
        json="reasons",
        help="Show what became of a file or its lines, and why of others nothing did.",
        options={
            "agent": "Only of this agent.",
            "device": "Only of the agents of this device, by name or id.",
            "line": "Only of this line, as PATH:LINE is.",
        },
        rows="reasons",
        table=(
            "agent as agent?",
            "path as file",
            "lines as lines?",
            "title|short as title?",
            "found_by as found by?",
            "because as reason",
            "remedy as to change it",
        ),
    )
    @tool()
    @route("GET", "", Scope.READ, errors=[ErrorCode.UNKNOWN_AGENT, ErrorCode.UNKNOWN_DEVICE])
    async def explain(
        self,
        caller: Caller,
        path: Annotated[
            str, Meta(min_length=1, max_length=4096, description="Of a file; ``:LINE`` may follow.")
        ],
        line: Annotated[int, Meta(ge=1, le=MAX_LINE, description="Only this line; then ``path`` has none.")]
        | None = None,
        agent: Annotated[str, Meta(max_length=200)] | None = None,
        device: Annotated[str, Meta(max_length=200, description="A device's name or id.")] | None = None,
    ) -> Reasons:
        """Explain what became of a file in the agents that read it, of all its lines or one.

        The device reads the file again; no model is asked, and nothing is written.
        """
        if line is None and (place := _PLACE.fullmatch(path)):
            path, line = place["path"], int(place["line"])
        elif line is None and (wrong := _NO_PLACE.fullmatch(path)):
            raise bad_request(
                [f"path: '{one_line(wrong[1])}' is no line of a file; lines are numbers from 1"]
            )

        def read(c: Connection) -> list[AgentRow]:
            at = self._now
            agent_id, device_id = ids_called(c, agent, device, user_id=self.user_id, at=at)
            if agent_id is not None:
                return [agents.get_agent(c, agent_id)]
            found = agents.list_agents(c, user_id=self.user_id, device_id=device_id)
            return [one for one in found if one.data_types and not (one.missing_for_runs or one.gateway)]

        rows = (await self._store.read(read))[:MAX_EXAMINED]
        knowing = {row.id for row in rows if len(rows) > 1 and await self._explainer.known(row, path)}
        rows = sorted(rows, key=lambda row: row.id not in knowing)[:MAX_AGENTS]
        if not rows:
            raise CodedError(ErrorCode.UNKNOWN_AGENT, "no agent reads files here; make one: hub help agents")
        found: list[list[Reason]] = []
        ends_at = anyio.current_time() + WITHIN_S
        for row in rows:  # a slow agent leaves the others their share
            within_s = (ends_at - anyio.current_time()) / (len(rows) - len(found))
            found.append(await self._explain(row, path, line, None if len(rows) == 1 else caller, within_s))
        return Reasons(tuple(informative(found)))

    async def _explain(
        self, row: AgentRow, path: str, line: int | None, caller: Principal | None, within_s: float
    ) -> list[Reason]:
        """Return the reasons of an agent; where its device is connected to another node, ask that one.

        Args:
            caller: of a request about several agents; None: about this one alone.

        Raises:
            AtAnotherNode: it is about this agent alone, so the other node answers it as a whole.
        """
        link, away = None, ""
        try:
            if row.device_id is not None:
                link = await link_of(self._store, self._roster, row.device_id, row.device_name or "")
        except AtAnotherNode as error:
            if caller is None:
                raise
            away = str(error)
            if self._peers.can_answer(error.boot_id):
                asked = {"path": path, "agent": row.id} | ({} if line is None else {"line": line})
                principal = msgspec.to_builtins(caller)
                request = BusRequest(
                    method="GET", path=self.path, query=urlencode(asked), body=b"", principal=principal
                )
                try:
                    reply = await self._peers.ask(error.boot_id, request, within_s)
                except NodeUnreachable as unreachable:
                    away = f"{away}: {unreachable}"
                else:
                    if reply.status == HTTPStatus.OK:
                        return [*msgspec.json.decode(reply.body, type=Reasons).reasons]
                    away = f"{away}, which answered {reply.status}"
        return await self._explainer.explain(row, path, line, link, within_s=within_s, away=away)


MAX_NEWEST: Final = 100_000  # documents; a run reads fewer
_REFUSED: Final = (
    ErrorCode.UNKNOWN_AGENT,
    ErrorCode.BAD_CONFIG,
    ErrorCode.CALL_UNSUPPORTED,
    ErrorCode.DEVICE_OFFLINE,
    ErrorCode.MODEL_REFUSED,
    ErrorCode.BUSY,
)


class PreviewBody(View):
    """Settings that differ from the agent's; what is left out is as the agent has it.

    *model*: name of a model in hub.toml. *newest*: number of documents to read, those that were changed last.
    """

    prompt: Annotated[str, Meta(min_length=1, max_length=32_768, pattern=r"^[^\x00]*$")] | None = None
    data_types: Annotated[tuple[str, ...], Meta(min_length=1, max_length=16)] | None = None
    model: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    newest: Annotated[int, Meta(ge=1, le=MAX_NEWEST)] | None = None

    def request(self) -> PreviewRequest:
        """Return the request for a preview."""
        return PreviewRequest(**structs.asdict(self))


class AgentPreviewsResource(Resource):
    """Previews and estimates of agents."""

    name, path = "previews", "/v1/agents"
    errors = (ErrorCode.UNKNOWN_AGENT,)

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        previews: Previews,
        estimator: Estimator,
    ) -> None:
        self._store = store
        self._roster = roster
        self._previews = previews
        self._estimator = estimator

    @route("POST", "/{name}/estimate", Scope.RUN, errors=_REFUSED)
    @audited(NO_CHANGE)
    async def estimate(self, name: str, body: Annotated[PreviewBody, OPTIONAL]) -> EstimateView:
        """Estimate a run of an agent: its device lists its files; none is read, and no model is asked.

        With other settings, it is an estimate of their preview.
        """
        row, link = await self._agent(name)
        if row.gateway is not None:
            raise LivesAtGateway(row)
        requested = body.request()
        agent = requested.applied_to(row)
        models = self._previews.models_of(requested)
        found = await self._estimator.estimate(agent, link, models=models, newest=requested.newest)
        return estimate_view(found, row.name)

    @route("POST", "/{name}/preview", Scope.RUN, errors=_REFUSED)
    @audited("agent.previewed", is_act=True)
    async def preview(
        self, name: str, body: Annotated[PreviewBody, OPTIONAL], streams: OpenStreams
    ) -> EventStream:
        """Send server-sent events named ``preview``: what a run would find with these settings.

        Reads documents and asks the model, within the budgets. Sends nothing to the device and changes
        nothing, apart from the answers of the model, which the next run uses. Closing the stream ends it.
        """
        row, link = await self._agent(name)
        preview = await self._previews.open(row, body.request(), link)
        return EventStream(preview.steps(), name="preview", streams=streams)

    async def _agent(self, name: str) -> tuple[AgentRow, DeviceLink | None]:
        row = await self._agent_called(name)
        if row.device_id is None:
            return row, None
        return row, await link_of(self._store, self._roster, row.device_id, row.device_name or "")
