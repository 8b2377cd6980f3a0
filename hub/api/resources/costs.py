"""Routes of model costs, by agent, model, device or day."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from msgspec import Meta

from hub.api.resource import (
    Instant,
    Resource,
    View,
    command,
    route,
    tool,
)
from hub.base.clock import Clock, epoch_ms, from_epoch_ms
from hub.base.roles import Scope
from hub.base.toml.limits import NANOS
from storage.agents import agents
from storage.runs import model_calls
from storage.runs.model_calls import CostRow, CostsBy
from storage.store import Store

LATELY: Final = timedelta(days=30)
DAY: Final = timedelta(days=1)


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
