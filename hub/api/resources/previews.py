"""Routes of previews with another prompt, model or tables, and of cost estimates before a run."""

from typing import Annotated, Final, Literal

from msgspec import Meta, structs

from hub.api.binding import OPTIONAL
from hub.api.events import EventStream
from hub.api.peers import link_of
from hub.api.resource import (
    NO_CHANGE,
    OpenStreams,
    Resource,
    View,
    audited,
    route,
)
from hub.base.roles import Scope
from hub.base.toml.limits import NANOS
from hub.links.device_link import DeviceLink
from hub.links.roster import Roster
from hub.runs.estimates import Estimate, Estimator
from hub.runs.previewing import PreviewRequest, Previews
from protocol.errors import ErrorCode
from storage.agents.agents import AgentRow
from storage.runs.run_moves import LivesAtGateway
from storage.store import Store


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
