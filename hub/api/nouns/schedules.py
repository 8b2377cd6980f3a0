"""When agents run by themselves: what is to come, what became of what is past, and making up for it."""

from pydantic import AwareDatetime, Field

from hub.api.deps import Actor, Hub, NounRouter
from hub.api.errors import refusals
from hub.api.paging import Paging
from hub.api.views.view import BackfillView, DecisionView, ScheduleView, View
from hub.clock import epoch_ms
from protocol.errors import ErrorCode

router = NounRouter(
    prefix="/v1/agents/{name}", tags=["schedules"], responses=refusals(ErrorCode.UNKNOWN_AGENT)
)


class Schedules(View):
    """The schedules of an agent."""

    schedules: tuple[ScheduleView, ...]


class Decisions(View):
    """What became of an agent's fires."""

    fires: tuple[DecisionView, ...]
    next_cursor: str | None = None


class BackfillRequest(View):
    """From when to when runs are wanted, ends included; *dry_run* only counts them."""

    first: AwareDatetime = Field(alias="from")
    last: AwareDatetime = Field(alias="to")
    dry_run: bool = False


@router.get("/next")
async def next_fires(hub: Hub, name: str) -> Schedules:
    """The next five fires of each schedule, in UTC and in its own zone."""
    return Schedules(schedules=tuple(await hub.schedules.of_agent(name)))


@router.get("/fires")
async def list_decisions(hub: Hub, name: str, paging: Paging) -> Decisions:
    """What became of the last fires, the newest first: a run each, or the reason why not."""
    after = paging.after_number_and_text()
    found = await hub.schedules.decisions(name, limit=paging.limit + 1, after=after)
    page = paging.fetched(found, key=lambda fire: (epoch_ms(fire.fire_at), fire.schedule))
    return Decisions(fires=page.items, next_cursor=page.next_cursor)


@router.post("/backfill")
async def backfill(hub: Hub, actor: Actor, name: str, wanted: BackfillRequest) -> BackfillView:
    """Queue a run for each fire in the range that had none, one after the other."""
    return await hub.schedules.backfill(
        name, first=wanted.first, last=wanted.last, dry_run=wanted.dry_run, actor=actor
    )
