"""What may be spent on models, and what is being spent: a question is paid for before it is asked.

Before a question leaves, the most that it may cost is reserved from every account that it
is paid from: its run's, its agent's day, the hub's day. Where that does not fit, it
waits for what is on its way, which mostly costs less than was reserved; and where nothing
is, the budget is reached. So a budget is not passed, but for tries that failed and cost
something all the same.

A day begins at midnight: of an agent in its own time zone, of the hub in UTC.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import anyio
import msgspec

from hub.clock import Clock, epoch_ms
from hub.extraction.model import ModelError, ModelExhausted, ModelRequest, Price, Usage
from hub.metrics import Metrics
from hub.runs.order import RunOrder
from protocol.errors import ErrorCode
from protocol.ids import AgentId
from storage.agents import agents
from storage.agents.agents import AgentRow
from storage.runs import model_calls
from storage.runs.model_calls import Spent
from storage.store import Store

NANOS: Final = 1_000_000_000  # of a US dollar
_TOKENS_PER_BYTE: Final = 0.4  # of UTF-8; English has 0.25, Chinese 0.33, figures 0.4
_SPARE: Final = 1.1  # above the most tokens a byte that were seen of a model
_STALE_S: Final = 1.0  # where other hubs spend too, a day's sum is read anew after so long


class BudgetLimits(msgspec.Struct, frozen=True, kw_only=True):
    """``[budget]`` of hub.toml; ``None``: no such limit."""

    run_cost_nanos: int | None = NANOS
    run_tokens: int | None = None
    day_cost_nanos: int | None = None
    day_tokens: int | None = None


class BudgetReached(ModelError):
    """The budget of this run is used up: what is left of it is not read."""

    code = ErrorCode.BUDGET_REACHED


class DayBudgetReached(ModelExhausted):
    """The budget of a day is used up: the run pauses until the day is over, and its agent with it."""

    code = ErrorCode.BUDGET_REACHED

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, reason="budget", retry_after_s=retry_after_s)


class Reached(msgspec.Struct, frozen=True):
    """A budget that was reached: what was told of it, and until when it holds. ``None``: for one run."""

    setting: str
    told: str
    until: datetime | None
    agent_id: AgentId | None = None

    def holds(self, agent_id: AgentId) -> bool:
        """Whether it is this agent's, or everybody's."""
        return self.agent_id in (None, agent_id)


class Account:
    """One budget and what is drawn on it. No await in it: what fits is reserved at once.

    *setting*: where its limits stand in hub.toml, with ``*`` for ``usd`` or ``tokens``.
    """

    def __init__(self, setting: str, spent: Spent, *, until: datetime | None = None) -> None:
        self.setting = setting
        self.until = until
        self.cost_nanos: int | None = None
        self.tokens: int | None = None
        self.spent = spent
        self.reserved = Spent()
        self.promised = Spent()  # for batches, whose answers come hours later: nobody waits for those
        self.settled = 0  # how often; what was read before the last time is old
        self.read_at = 0.0  # monotonic
        self.is_stale = False  # what was spent is to be read anew
        self._changed = anyio.Event()

    @property
    def is_limited(self) -> bool:
        return self.cost_nanos is not None or self.tokens is not None

    def missing(self, wanted: Spent) -> str | None:
        """Which of the limits *wanted* does not fit in: ``usd``, ``tokens``, or none."""
        drawn = _sum(_sum(self.spent, _sum(self.reserved, self.promised)), wanted)
        if self.cost_nanos is not None and wanted.cost_nanos and drawn.cost_nanos > self.cost_nanos:
            return "usd"
        if self.tokens is not None and drawn.tokens > self.tokens:
            return "tokens"
        return None

    def reserve(self, wanted: Spent) -> None:
        self.reserved = _sum(self.reserved, wanted)

    def settle(self, wanted: Spent, spent: Spent) -> None:
        """What was reserved has come to its end, and cost *spent*."""
        self.reserved = _sum(self.reserved, wanted, sign=-1)
        self.spent = _sum(self.spent, spent)
        self._tell()

    def promise(self, wanted: Spent) -> None:
        """What was reserved is for a batch."""
        self.reserved = _sum(self.reserved, wanted, sign=-1)
        self.promised = _sum(self.promised, wanted)
        self._tell()

    def release(self, wanted: Spent) -> None:
        """The batch is over, and what it cost was written down."""
        self.promised = _sum(self.promised, wanted, sign=-1)
        self._tell()

    def _tell(self) -> None:
        self.settled += 1
        self._changed.set()
        self._changed = anyio.Event()

    @property
    def is_waited_for(self) -> bool:
        """Whether something is on its way that may leave more than there is now."""
        return self.reserved != Spent()

    async def changed(self) -> None:
        await self._changed.wait()

    def told(self, kind: str, wanted: Spent) -> str:
        """What was reached, by how much, and what goes on when."""
        if kind == "usd":
            assert self.cost_nanos is not None
            limit, spent, more = (
                f"{self.cost_nanos / NANOS:g}",
                _usd(self.spent.cost_nanos),
                _usd(wanted.cost_nanos),
            )
        else:
            limit, spent, more = str(self.tokens), f"{self.spent.tokens} tokens", f"{wanted.tokens} more"
        return (
            f"the budget {self.setting.replace('*', kind)} = {limit} is reached: "
            f"{spent} spent, and the next question may cost {more}"
        )


class Densities:
    """How many tokens a byte of a question comes to, learnt from answers; by model."""

    def __init__(self) -> None:
        self._densest: dict[str, float] = {}  # the most that was seen

    def most_of(self, model: str, request: ModelRequest, price: Price) -> Spent:
        """The most that a question may cost, if its first try does not fail."""
        density = max(_TOKENS_PER_BYTE, _SPARE * self._densest.get(model, 0.0))
        prompt = round(size_of(request) * density) + 1
        return Spent(tokens=prompt + request.max_tokens, cost_nanos=price.of(prompt, request.max_tokens))

    def learn(self, model: str, request: ModelRequest, usage: Usage) -> None:
        """So many tokens it was."""
        if usage.requests == 1:
            density = usage.prompt_tokens / size_of(request)
            self._densest[model] = max(density, self._densest.get(model, 0.0))


class Budgets:
    """All accounts of one hub."""

    def __init__(
        self, store: Store, *, clock: Clock, metrics: Metrics, limits: BudgetLimits | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits_reached = metrics.limits_reached
        self.limits = limits or BudgetLimits()
        self._days: dict[tuple[AgentId | None, datetime], Account] = {}
        self._reached: dict[tuple[str, AgentId | None], Reached] = {}
        self.densities = Densities()

    async def open(self, order: RunOrder) -> "RunBudget":
        """The accounts that the questions of a run are paid from."""
        spent = await self._store.read(model_calls.spent_by_run, order.run_id)
        agent = await self._store.read(agents.get_agent, order.agent_id)
        return RunBudget(self, order, Account("budget.run_*", spent), agent.model_use.budget_nanos)

    def reached(self) -> list[Reached]:
        """The budgets of days that are used up now."""
        now = self._clock.now()
        self._reached = {
            key: one for key, one in self._reached.items() if one.until is not None and one.until > now
        }
        return list(self._reached.values())

    def forgive(self) -> None:
        """The budgets are others by now: what was reached is looked at anew."""
        self._reached.clear()

    async def day_of_hub(self) -> Account:
        """The hub's day."""
        account = await self._day(None, "UTC", "budget.day_*")
        account.cost_nanos, account.tokens = self.limits.day_cost_nanos, self.limits.day_tokens
        return account

    async def day_of_agent(self, order: RunOrder, cost_nanos: int | None) -> Account:
        """The day of the order's agent."""
        account = await self._day(order.agent_id, order.parameters.timezone, "agents.budget_*")
        account.cost_nanos = cost_nanos
        return account

    async def _day(self, agent_id: AgentId | None, timezone: str, setting: str) -> Account:
        began, ends = day_around(self._clock.now(), timezone)
        account = self._days.get((agent_id, began))
        if account is None:
            self._days = {key: kept for key, kept in self._days.items() if _holds(kept, self._clock.now())}
            spent = await self._store.read(model_calls.spent_since, epoch_ms(began), agent_id=agent_id)
            fresh = Account(setting, spent, until=ends)
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

    async def over(self, agent: AgentRow, tokens: int, cost_nanos: int) -> tuple[str, ...]:
        """Which budgets a run of *agent* would reach that spends so much, as hub.toml calls them."""
        run = Account("budget.run_*", Spent())
        run.cost_nanos, run.tokens = self.limits.run_cost_nanos, self.limits.run_tokens
        day = await self._day(agent.id, agent.timezone, "agents.budget_*")
        day.cost_nanos = agent.model_use.budget_nanos
        wanted = Spent(tokens=tokens, cost_nanos=cost_nanos)
        accounts = [run, day, await self.day_of_hub()]
        return tuple(one.setting.replace("*", kind) for one in accounts if (kind := one.missing(wanted)))

    def reach(self, account: Account, kind: str, wanted: Spent, agent_id: AgentId) -> ModelError:
        """The budget is reached: what to raise."""
        setting = account.setting.replace("*", kind)
        self._limits_reached.labels(setting.replace(".", "_")).inc()
        told = account.told(kind, wanted)
        if account.until is None:
            return BudgetReached(f"{told}; the next run reads it")
        whose = None if account.setting.startswith("budget.") else agent_id
        self._reached[setting, whose] = Reached(setting, told, account.until, whose)
        left_s = (account.until - self._clock.now()).total_seconds()
        return DayBudgetReached(told, retry_after_s=max(1.0, left_s))


class RunBudget:
    """The accounts that the questions of one run are paid from."""

    def __init__(self, budgets: Budgets, order: RunOrder, run: Account, agent_day_nanos: int | None) -> None:
        self._budgets = budgets
        self._order = order
        self._run = run
        self._agent_day_nanos = agent_day_nanos

    async def reserve(self, model: str, request: ModelRequest, price: Price) -> "Reservation":
        """Set aside what a question may cost, as soon as that fits.

        Raises:
            BudgetReached: it does not fit in the run's budget, and nothing is on its way.
            DayBudgetReached: likewise, in that of the agent's day, or of the hub's.
        """
        wanted = self._budgets.densities.most_of(model, request, price)
        while True:
            accounts = [account for account in await self._accounts() if account.is_limited]
            short = next(((one, kind) for one in accounts if (kind := one.missing(wanted))), None)
            if short is None:
                for account in accounts:
                    account.reserve(wanted)
                return Reservation(accounts, wanted)
            account, kind = short
            if not account.is_waited_for:
                raise self._budgets.reach(account, kind, wanted, self._order.agent_id)
            await account.changed()

    async def _accounts(self) -> list[Account]:
        limits = self._budgets.limits
        self._run.cost_nanos, self._run.tokens = limits.run_cost_nanos, limits.run_tokens
        found = [self._run]
        if self._agent_day_nanos is not None:
            found.append(await self._budgets.day_of_agent(self._order, self._agent_day_nanos))
        if limits.day_cost_nanos is not None or limits.day_tokens is not None:
            found.append(await self._budgets.day_of_hub())
        return found


class Reservation:
    """What was set aside for one question."""

    def __init__(self, accounts: list[Account], wanted: Spent) -> None:
        self._accounts = accounts
        self._wanted = wanted

    def promise(self) -> None:
        """It is for a batch: set aside until ``release``, and nobody waits for that."""
        for account in self._accounts:
            account.promise(self._wanted)

    def release(self) -> None:
        """The batch is over: what it cost is read from what was written down."""
        for account in self._accounts:
            account.release(self._wanted)
            account.is_stale = True

    @contextmanager
    def held(self) -> Iterator[Callable[[Usage], None]]:
        """While the question is on its way. It is told what that cost; untold, it cost nothing."""
        costs: list[Usage] = []
        try:
            yield costs.append
        finally:
            spent = Spent(
                tokens=sum(usage.prompt_tokens + usage.completion_tokens for usage in costs),
                cost_nanos=sum(usage.cost_nanos for usage in costs),
            )
            for account in self._accounts:
                account.settle(self._wanted, spent)


def day_around(now: datetime, timezone: str) -> tuple[datetime, datetime]:
    """When the day of *now* began in a time zone, and when it ends; aware, UTC."""
    zone = ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    midnights = (
        datetime(day.year, day.month, day.day, tzinfo=zone) for day in (today, today + timedelta(days=1))
    )
    began, ends = (midnight.astimezone(UTC) for midnight in midnights)
    return began, ends


def size_of(request: ModelRequest) -> int:
    """What a question sends, in bytes of UTF-8: its turns, and the schema of its answer."""
    turns = sum(len(message.content.encode()) for message in request.messages)
    return turns + len(msgspec.json.encode(request.schema))


def _holds(account: Account, now: datetime) -> bool:
    return (
        account.reserved != Spent()
        or account.promised != Spent()
        or (account.until is not None and account.until > now)
    )


def _sum(one: Spent, other: Spent, *, sign: int = 1) -> Spent:
    return Spent(tokens=one.tokens + sign * other.tokens, cost_nanos=one.cost_nanos + sign * other.cost_nanos)


def _usd(nanos: int) -> str:
    return f"{nanos / NANOS:.4f} USD"
