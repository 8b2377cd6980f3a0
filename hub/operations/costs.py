"""What models cost, summed up for operators; and what a run would."""

from datetime import UTC, datetime, timedelta
from typing import Final

from hub.api.views.costs import CostsBy, CostsView, CostView, EstimateView, SpendView
from hub.clock import Clock, epoch_ms, from_epoch_ms
from hub.links.roster import Roster
from hub.operations.names import agent_named
from hub.operations.seen import Seen
from hub.runs.budget import NANOS
from hub.runs.estimating import Estimator
from storage.runs import model_costs
from storage.runs.model_costs import CostRow
from storage.runs.runs import LivesAtGateway
from storage.store import Store

LATELY: Final = timedelta(days=30)
DAY: Final = timedelta(days=1)


class CostOperations(Seen):
    """Implements ``api.facades.CostFacade``."""

    def __init__(self, *, store: Store, roster: Roster, estimator: Estimator, clock: Clock) -> None:
        self._store = store
        self._roster = roster
        self._estimator = estimator
        self._clock = clock

    async def spent(self, by: CostsBy, *, since: datetime | None, until: datetime | None) -> CostsView:
        """The dearest first, and all of it."""
        until = until or self._clock.now() + timedelta(milliseconds=1)
        since = since or until - LATELY
        within = {"since": epoch_ms(since), "until": epoch_ms(until)}
        rows = await self._store.read(model_costs.costs, by, user_id=self.user_id, **within)
        total = await self._store.read(model_costs.total, user_id=self.user_id, **within)
        return CostsView(
            by=by,
            since=since.astimezone(UTC),
            until=until.astimezone(UTC),
            rows=tuple(_view(row, by) for row in rows),
            total=_view(total, by, key="total"),
        )

    async def of_agent(self, agent: str) -> SpendView:
        """In the last 24 hours, and in the last 30 days."""
        row = await agent_named(self._store, agent, self.user_id)
        now = self._clock.now()
        day = await self._store.read(model_costs.spent_by, row.id, since=epoch_ms(now - DAY))
        month = await self._store.read(model_costs.spent_by, row.id, since=epoch_ms(now - LATELY))
        return SpendView(day=_view(day, "agent", key=row.name), month=_view(month, "agent", key=row.name))

    async def estimate(self, agent: str) -> EstimateView:
        """The device lists its files; nothing is read and nothing is asked."""
        row = await agent_named(self._store, agent, self.user_id)
        if row.gateway is not None:
            raise LivesAtGateway(row)
        link = None if row.device_id is None else self._roster.find(row.device_id)
        found = await self._estimator.estimate(row, link)
        cost = found.cost_nanos
        return EstimateView(
            agent=row.name,
            files=found.files,
            known=found.known,
            to_read=found.to_read,
            bytes_to_read=found.bytes_to_read,
            questions_low=found.questions.low,
            questions_high=found.questions.high,
            tokens_low=found.tokens.low,
            tokens_high=found.tokens.high,
            usd_low=None if cost is None else cost.low / NANOS,
            usd_high=None if cost is None else cost.high / NANOS,
            basis="runs" if found.is_reckoned_from_runs else "size",
            over=found.over,
        )


def _view(row: CostRow, by: CostsBy, *, key: str | None = None) -> CostView:
    told = row.key if key is None else key
    if by == "day" and key is None:
        told = f"{from_epoch_ms(int(row.key)):%Y-%m-%d}"
    usage = row.usage
    return CostView(
        key=told,
        agent=row.agent,
        calls=row.calls,
        failed=row.failed,
        requests=usage.requests,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        usd=usage.cost_nanos / NANOS,
        took_s=row.took_ms / 1_000,
    )
