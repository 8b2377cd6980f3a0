"""Budgets for model calls (run, agent's day, hub's day): reservation of a question's estimated cost.

The highest possible cost of a question is reserved on three accounts: the run's, the agent's day and the
hub's day. If it does not fit, the question waits for questions in flight, which mostly cost less than
reserved. If none is in flight, the budget is reached. So spending exceeds a budget only by failed attempts
that cost something. Hubs on one database see each other's reservations of a day.

A day begins at midnight: in the agent's time zone for an agent, in UTC for the hub.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import anyio
import msgspec

from hub.base.clock import Clock, epoch_ms
from hub.base.metrics import Metrics
from hub.base.toml.limits import NANOS, BudgetSettings
from hub.extraction.model import (
    MAX_THINKING_TOKENS,
    ModelAnswer,
    ModelError,
    ModelExhausted,
    ModelRequest,
    Price,
)
from hub.runs.run_order import RunOrder
from protocol.errors import ErrorCode
from protocol.ids import AgentId, BootId
from protocol.work import Usage
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.runs import budget_holds as runs_budget_holds
from storage.runs import model_calls
from storage.runs.budget_holds import BudgetHold, Drawn
from storage.runs.model_calls import Spent
from storage.store import Store

_TOKENS_PER_BYTE: Final = 0.4  # of UTF-8; English has 0.25, Chinese 0.33, digits 0.4
_SPARE: Final = 1.1  # margin above the highest tokens per byte seen of a model
_SHRINK: Final = 0.9  # of a model's room for thoughts, with each answer that needs less
_STALE_S: Final = 1.0  # maximum age of a day's sum, where other hubs spend from the same budgets
_OTHERS_S: Final = 0.5  # between two looks at a budget on which another hub has reserved the rest


class BudgetReached(ModelError):
    """The budget of this run is used up; its remaining units are not read."""

    code = ErrorCode.BUDGET_REACHED


class DayBudgetReached(ModelExhausted):
    """The budget of a day is used up; the agent and its runs pause until the day ends."""

    code = ErrorCode.BUDGET_REACHED

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, reason="budget", retry_after_s=retry_after_s)


class Reached(msgspec.Struct, frozen=True):
    """A budget that was reached.

    Holds the name of the limit in hub.toml, and the message for people.

    Attributes:
        until: when the budget's day ends; None for the budget of one run.
        agent_id: the agent whose budget it is; None for the hub's.
    """

    setting: str
    message: str
    until: datetime | None
    agent_id: AgentId | None = None

    def holds(self, agent_id: AgentId) -> bool:
        """Return True if the budget applies to the agent."""
        return self.agent_id in (None, agent_id)


class BudgetAccount:
    """Limits of a budget and the amounts drawn on it.

    It has no ``await`` between check and reservation, so concurrent questions cannot overdraw it.

    Args:
        setting: the limits' name in hub.toml, with ``*`` for ``usd`` or ``tokens``.
        day: start and end of its day; None for the account of a run.
        agent_id: the agent whose day it is; None for the hub's.
    """

    def __init__(
        self,
        setting: str,
        spent: Spent | None = None,
        *,
        day: tuple[datetime, datetime] | None = None,
        agent_id: AgentId | None = None,
    ) -> None:
        self.setting = setting
        self.day = day
        self.until = None if day is None else day[1]
        self.agent_id = agent_id
        self.cost_nanos: int | None = None
        self.tokens: int | None = None
        self.spent = spent or Spent()
        self.reserved = Spent()
        self.promised = Spent()  # for batches, whose answers take hours; questions do not wait for them
        self.settled = 0  # number of changes; a sum read before the last one is outdated
        self.read_at = 0.0  # monotonic
        self.is_stale = False  # the sum of past costs must be read again
        self._changed = anyio.Event()

    @property
    def is_limited(self) -> bool:
        return self.cost_nanos is not None or self.tokens is not None

    def missing(self, amount: Spent, held: Spent | None = None) -> str | None:
        """Return the limit that the amount exceeds, ``usd`` or ``tokens``, or None if it fits.

        Args:
            held: what other hubs hold, if the amount is reserved here already.
        """
        drawn = _sum(self.spent, _sum(self.reserved, self.promised))
        drawn = _sum(drawn, amount if held is None else held)
        if self.cost_nanos is not None and amount.cost_nanos and drawn.cost_nanos > self.cost_nanos:
            return "usd"
        if self.tokens is not None and drawn.tokens > self.tokens:
            return "tokens"
        return None

    def reserve(self, amount: Spent) -> None:
        self.reserved = _sum(self.reserved, amount)

    def settle(self, amount: Spent, spent: Spent) -> None:
        """Replace a reservation by the actual cost *spent*."""
        self.reserved = _sum(self.reserved, amount, sign=-1)
        self.spent = _sum(self.spent, spent)
        self._notify()

    def promise(self, amount: Spent) -> None:
        """Turn a reservation into one for a batch."""
        self.reserved = _sum(self.reserved, amount, sign=-1)
        self.promised = _sum(self.promised, amount)
        self._notify()

    def release(self, amount: Spent) -> None:
        """Release a batch's reservation after its cost was stored."""
        self.promised = _sum(self.promised, amount, sign=-1)
        self._notify()

    def _notify(self) -> None:
        self.settled += 1
        self._changed.set()
        self._changed = anyio.Event()

    @property
    def is_waited_for(self) -> bool:
        """True if a question in flight may leave part of its reservation unused."""
        return self.reserved != Spent()

    async def changed(self) -> None:
        await self._changed.wait()

    def describe(self, kind: str, amount: Spent) -> str:
        """Return the message that the limit *kind* is reached, with the amounts spent and requested."""
        if kind == "usd":
            assert self.cost_nanos is not None
            limit, spent, more = (
                f"{self.cost_nanos / NANOS:g}",
                _usd(self.spent.cost_nanos),
                _usd(amount.cost_nanos),
            )
        else:
            limit, spent, more = str(self.tokens), f"{self.spent.tokens} tokens", f"{amount.tokens} more"
        return (
            f"the budget {self.setting.replace('*', kind)} = {limit} is reached: "
            f"{spent} spent, and the next question may cost {more}"
        )


class Densities:
    """Tokens per byte of a question for each model, and tokens of its thoughts, learnt from answers."""

    def __init__(self) -> None:
        self._densest: dict[str, float] = {}  # the highest value seen
        self._rooms: dict[str, int] = {}  # for thoughts

    def with_room(self, model: str, request: ModelRequest) -> ModelRequest:
        """Return a question with at least the room for thoughts that answers of the model need."""
        room = max(request.thinking_tokens, self._rooms.get(model, 0))
        return msgspec.structs.replace(request, thinking_tokens=room)

    def most_of(self, model: str, request: ModelRequest, price: Price) -> Spent:
        """Return the highest possible cost of a question, provided that its first attempt succeeds."""
        density = max(_TOKENS_PER_BYTE, _SPARE * self._densest.get(model, 0.0))
        prompt = round(size_of(request) * density) + 1
        return Spent(tokens=prompt + request.limit, cost_nanos=price.of(prompt, request.limit))

    def learn(self, model: str, request: ModelRequest, answer: ModelAnswer) -> None:
        """Record the tokens per byte of a question that took a single request, and those of thoughts."""
        if answer.text:
            # Twice the thoughts of this answer, and less than for the last one only step by step.
            room = max(2 * answer.thinking_tokens, int(_SHRINK * self._rooms.get(model, 0)))
            self._rooms[model] = min(MAX_THINKING_TOKENS, room)
        if answer.usage.requests == 1:
            density = answer.usage.prompt_tokens / size_of(request)
            self._densest[model] = max(density, self._densest.get(model, 0.0))


class Budgets:
    """Budget accounts of one hub."""

    def __init__(
        self,
        store: Store,
        *,
        boot_id: BootId,
        clock: Clock,
        metrics: Metrics,
        limits: BudgetSettings | None = None,
    ) -> None:
        self._store = store
        self._boot_id = boot_id
        self._holding = anyio.Lock()
        self._clock = clock
        self._limits_reached = metrics.limits_reached
        self.limits = limits or BudgetSettings()
        self._days: dict[tuple[AgentId | None, datetime], BudgetAccount] = {}
        self._reached: dict[tuple[str, AgentId | None], Reached] = {}
        self.densities = Densities()

    async def open(self, order: RunOrder) -> "RunBudget":
        """Return the accounts that pay for the questions of a run."""
        spent = await self._store.read(model_calls.spent_by_run, order.run_id)
        agent = await self._store.read(agents.get_agent, order.agent_id)
        return RunBudget(self, order, BudgetAccount("budget.run_*", spent), agent.model_use.budget_nanos)

    def reached(self) -> list[Reached]:
        """Return the day budgets that are used up now."""
        now = self._clock.now()
        self._reached = {
            key: one for key, one in self._reached.items() if one.until is not None and one.until > now
        }
        return list(self._reached.values())

    def forgive(self) -> None:
        """Forget the reached budgets after their limits have changed."""
        self._reached.clear()

    async def day_of_hub(self) -> BudgetAccount:
        """Return the account of the hub's current day."""
        account = await self._day(None, "UTC", "budget.day_*")
        account.cost_nanos, account.tokens = self.limits.day_cost_nanos, self.limits.day_tokens
        return account

    async def day_of_agent(self, agent_id: AgentId, timezone: str, cost_nanos: int | None) -> BudgetAccount:
        """Return the account of the agent's current day in its time zone, with its limit."""
        account = await self._day(agent_id, timezone, "agents.budget_*")
        account.cost_nanos = cost_nanos
        return account

    async def _day(self, agent_id: AgentId | None, timezone: str, setting: str) -> BudgetAccount:
        began, ends = day_around(self._clock.now(), timezone)
        account = self._days.get((agent_id, began))
        if account is None:
            self._days = {
                key: account for key, account in self._days.items() if _holds(account, self._clock.now())
            }
            spent = await self._store.read(model_calls.spent_since, epoch_ms(began), agent_id=agent_id)
            fresh = BudgetAccount(setting, spent, day=(began, ends), agent_id=agent_id)
            fresh.read_at = self._clock.monotonic()
            return self._days.setdefault((agent_id, began), fresh)
        is_old = self._store.is_shared and self._clock.monotonic() - account.read_at > _STALE_S
        if is_old or account.is_stale:
            account.is_stale = False
            account.read_at, settled = self._clock.monotonic(), account.settled
            spent = await self._store.read(model_calls.spent_since, epoch_ms(began), agent_id=agent_id)
            if account.settled == settled:
                account.spent = spent
        return account

    async def hold(self, accounts: Sequence[BudgetAccount]) -> list[tuple[BudgetAccount, Drawn]]:
        """Store what is reserved on the accounts of a day, for the other hubs, and return what they hold.

        Empty for a hub that has its database alone.
        """
        days = [account for account in accounts if account.day is not None]
        if not days or not self._store.is_shared:
            return []
        async with self._holding:  # sums are stored in the order in which they were made
            holds = [_hold_of(account) for account in days]
            settled = [account.settled for account in days]
            drawn = await self._store.write(runs_budget_holds.hold, self._boot_id, holds)
        for account, before, one in zip(days, settled, drawn, strict=True):
            if account.settled == before:
                account.spent = one.spent
        return list(zip(days, drawn, strict=True))

    async def over(self, agent: AgentRow, tokens: int, cost_nanos: int) -> tuple[str, ...]:
        """Return the settings of the budgets that a run of *agent* with these costs would exceed."""
        run = BudgetAccount("budget.run_*", Spent())
        run.cost_nanos, run.tokens = self.limits.run_cost_nanos, self.limits.run_tokens
        day = await self.day_of_agent(agent.id, agent.timezone, agent.model_use.budget_nanos)
        amount = Spent(tokens=tokens, cost_nanos=cost_nanos)
        accounts = [run, day, await self.day_of_hub()]
        return tuple(
            limited.setting.replace("*", kind) for limited in accounts if (kind := limited.missing(amount))
        )

    def reach(self, account: BudgetAccount, kind: str, amount: Spent, agent_id: AgentId) -> ModelError:
        """Record that a budget is reached, and return the error to raise."""
        setting = account.setting.replace("*", kind)
        self._limits_reached.labels(setting.replace(".", "_")).inc()
        message = account.describe(kind, amount)
        if account.until is None:
            return BudgetReached(f"{message}; the next run reads it")
        whose = None if account.setting.startswith("budget.") else agent_id
        self._reached[setting, whose] = Reached(setting, message, account.until, whose)
        left_s = (account.until - self._clock.now()).total_seconds()
        return DayBudgetReached(message, retry_after_s=max(1.0, left_s))


class RunBudget:
    """Accounts that pay for the questions of one run."""

    def __init__(
        self, budgets: Budgets, order: RunOrder, run: BudgetAccount, agent_day_nanos: int | None
    ) -> None:
        self._budgets = budgets
        self._order = order
        self._run = run
        self._agent_day_nanos = agent_day_nanos

    async def reserve(self, model: str, request: ModelRequest, price: Price) -> "Reservation":
        """Reserve the highest possible cost of a question, as soon as the budgets cover it.

        Raises:
            BudgetReached: the run's budget does not cover it, and no question is in flight.
            DayBudgetReached: the budget of the agent's day or of the hub's day does not cover it.
        """
        amount = self._budgets.densities.most_of(model, request, price)
        while True:
            accounts = [account for account in await self._accounts() if account.is_limited]
            short = next(
                ((limited, kind, False) for limited in accounts if (kind := limited.missing(amount))), None
            )
            if short is None:
                reservation = Reservation(accounts, amount, self._budgets.hold)
                short = await reservation.missing()
                if short is None:
                    return reservation
            account, kind, others_ask = short
            if not account.is_waited_for and not others_ask:
                raise self._budgets.reach(account, kind, amount, self._order.agent_id)
            with anyio.move_on_after(_OTHERS_S if others_ask else math.inf):
                await account.changed()

    async def _accounts(self) -> list[BudgetAccount]:
        limits = self._budgets.limits
        self._run.cost_nanos, self._run.tokens = limits.run_cost_nanos, limits.run_tokens
        found = [self._run]
        if self._agent_day_nanos is not None:
            agent_id, timezone = self._order.agent_id, self._order.settings.timezone
            found.append(await self._budgets.day_of_agent(agent_id, timezone, self._agent_day_nanos))
        if limits.day_cost_nanos is not None or limits.day_tokens is not None:
            found.append(await self._budgets.day_of_hub())
        return found


class Reservation:
    """Amount reserved for one question on all of its accounts.

    Args:
        hold: stores the sums for the other hubs of the database; see ``Budgets.hold``.
    """

    def __init__(
        self,
        accounts: Sequence[BudgetAccount],
        amount: Spent,
        hold: Callable[[Sequence[BudgetAccount]], Awaitable[list[tuple[BudgetAccount, Drawn]]]] | None = None,
    ) -> None:
        self._accounts = accounts
        self._amount = amount
        self._hold = hold
        for account in accounts:
            account.reserve(amount)

    async def missing(self) -> tuple[BudgetAccount, str, bool] | None:
        """Return the account and limit that do not cover the amount and what other hubs hold, if any.

        The third value is True if another hub has questions in flight there. Then the reservation is void.
        """
        found: tuple[BudgetAccount, str, bool] | None = None
        try:
            for account, drawn in await self._held_by_others():
                if kind := account.missing(self._amount, drawn.held):
                    found = account, kind, drawn.is_waited_for
                    break
        except BaseException:
            await self._settle(Spent())
            raise
        if found is not None:
            await self._settle(Spent())
        return found

    async def promise(self) -> None:
        """Keep the amount reserved for a batch until ``release``; other questions do not wait for it."""
        for account in self._accounts:
            account.promise(self._amount)
        await self._show_others()

    @staticmethod
    async def release(promised: Sequence["Reservation"]) -> None:
        """Release the amounts after their batch is complete; the actual cost is read from the database."""
        for reservation in promised:
            for account in reservation._accounts:
                account.release(reservation._amount)
                account.is_stale = True
        for reservation in promised[-1:]:  # of one run: they have the same accounts
            await reservation._show_others()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Callable[[Usage], None]]:
        """Yield a callback that reports the question's cost; settle the reservation at the end.

        Without a report, the question cost nothing.
        """
        costs: list[Usage] = []
        try:
            yield costs.append
        finally:
            tokens = sum(usage.prompt_tokens + usage.completion_tokens for usage in costs)
            await self._settle(Spent(tokens=tokens, cost_nanos=sum(usage.cost_nanos for usage in costs)))

    async def _settle(self, spent: Spent) -> None:
        for account in self._accounts:
            account.settle(self._amount, spent)
        await self._show_others()

    async def _show_others(self) -> None:
        with anyio.CancelScope(shield=True):  # the others would wait for an amount that is free
            await self._held_by_others()

    async def _held_by_others(self) -> list[tuple[BudgetAccount, Drawn]]:
        return [] if self._hold is None else await self._hold(self._accounts)


def day_around(now: datetime, timezone: str) -> tuple[datetime, datetime]:
    """Return the start and end of the day of *now* in a time zone; aware datetimes in UTC."""
    zone = ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    midnights = (
        datetime(day.year, day.month, day.day, tzinfo=zone) for day in (today, today + timedelta(days=1))
    )
    began, ends = (midnight.astimezone(UTC) for midnight in midnights)
    return began, ends


def size_of(request: ModelRequest) -> int:
    """Return the size of a question in UTF-8 bytes: its messages and the schema of its answer."""
    turns = sum(len(message.content.encode()) for message in request.messages)
    return turns + len(msgspec.json.encode(request.schema))


def _hold_of(account: BudgetAccount) -> BudgetHold:
    assert account.day is not None
    return BudgetHold(
        agent_id=account.agent_id,
        began=epoch_ms(account.day[0]),
        amount=_sum(account.reserved, account.promised),
        is_short=account.is_waited_for,
    )


def _holds(account: BudgetAccount, now: datetime) -> bool:
    return (
        account.reserved != Spent()
        or account.promised != Spent()
        or (account.until is not None and account.until > now)
    )


def _sum(one: Spent, other: Spent, *, sign: int = 1) -> Spent:
    return Spent(tokens=one.tokens + sign * other.tokens, cost_nanos=one.cost_nanos + sign * other.cost_nanos)


def _usd(nanos: int) -> str:
    return f"{nanos / NANOS:.4f} USD"
