"""Previews: what an agent would find with another prompt, model or tables, before anything is sent."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Final

from msgspec import Meta, structs

from hub.api.binding import OPTIONAL
from hub.api.door.roles import Scope
from hub.api.events import EventStream
from hub.api.noun import NO_CHANGE, Noun, audited, route
from hub.api.nouns.costs import EstimateView, estimate_view
from hub.api.others import link_of
from hub.api.parameters import OpenStreams
from hub.api.view import View
from hub.links.link import DeviceLink
from hub.links.roster import Roster
from hub.runs.budget import NANOS
from hub.runs.estimating import Estimator
from hub.runs.previewing import Preview, PreviewItem, PreviewProblem, PreviewRequest, Previews, PreviewStep
from protocol.errors import ErrorCode
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.runs.run_moves import LivesAtGateway
from storage.store import Store

MOST_NEWEST: Final = 100_000  # documents; a run reads fewer
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
    newest: Annotated[int, Meta(ge=1, le=MOST_NEWEST)] | None = None

    def request(self) -> PreviewRequest:
        """Return the request for a preview."""
        return PreviewRequest(**structs.asdict(self))


class PreviewStepView(View, kw_only=True):
    """State of a preview, and the items found since the step before. The last step is done.

    Of the *listed* documents, a run with these settings has *settled* some; *to_read* is how many are
    read. *known*: items found that are as they were. *left_out*: new items beyond the limits of a run.
    *answered_before*: questions that the model had answered before, which cost nothing. *unlisted*: items
    and problems that are counted only. *reads_prompt*: a model follows the prompt; rules and the small
    model do not.
    """

    seq: int
    listed: int | None = None
    settled: int = 0
    to_read: int | None = None
    read: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    known: int = 0
    left_out: int = 0
    model_requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0  # 0 where a model has no price
    answered_before: int = 0
    unlisted: int = 0
    reads_prompt: bool = True
    items: tuple[PreviewItem, ...] = ()
    problems: tuple[PreviewProblem, ...] = ()
    is_done: bool = False
    failure: PreviewProblem | None = None


class AgentPreviews(Noun):
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
        agent = requested.applied_to(row) if body != PreviewBody() else row
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
        return EventStream(_views(preview), name="preview", streams=streams)

    async def _agent(self, name: str) -> tuple[AgentRow, DeviceLink | None]:
        row = await self._store.read(agents.agent_called, name, self.user_id)
        if row.device_id is None:
            return row, None
        return row, await link_of(self._store, self._roster, row.device_id, row.device_name or "")


async def _views(preview: Preview) -> AsyncGenerator[PreviewStepView]:
    async with aclosing(preview.steps()) as steps:
        async for step in steps:
            yield _view(step)


def _view(step: PreviewStep) -> PreviewStepView:
    return PreviewStepView.from_row(
        step, step.spent, model_requests=step.spent.requests, usd=step.spent.cost_nanos / NANOS
    )
