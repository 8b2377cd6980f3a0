"""Row 30: the CPU time of a page of each list, in a hub of ten agents and in one of a thousand."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Final

import anyio
import httpx2

from tests.bench.rounds import Ratio, spread_of
from tests.bench.rows import Row, at_most
from tests.support.filling import fill
from tests.support.hub import answering, over_unix

ROUNDS: Final = 5
_TRIES: Final = 5  # of a page in a round; the fastest counts
_LIMIT: Final = 5
_SHOWN: Final = 8  # of the lists that grow most
_FEW, _MANY = 10, 1_000  # agents; each has a hundred items
# Rows of each table for each agent, and of tables that do not grow with them.
_EACH: Final = {
    **dict.fromkeys(("devices", "agents", "agent_states", "agent_configs", "schedules", "agent_tokens"), 1),
    **dict.fromkeys(("board_members", "checkpoints", "device_tokens", "agent_locks"), 1),
    **dict.fromkeys(("agent_config_history", "questions", "metric_series", "wakes", "schedule_fires"), 5),
    **dict.fromkeys(("agent_state_history", "runs", "run_state_history", "activity_log", "messages"), 20),
    **{"items": 100, "broadcasts": 2, "board_memory": 10, "model_calls": 10},
}
_SOME: Final = {"users": 2, "agent_templates": 5, "connectors": 5, "gateways": 5, "boards": 5}
_AGENT: Final = "/v1/agents/name-000000"
_PATHS: Final = (
    *("/v1/users", "/v1/devices", "/v1/tokens", "/v1/agents", "/v1/agents/as/calendar"),
    *("/v1/agents?user=name-000001", "/v1/agents?project_id=project-1", "/v1/agents?health=error"),
    *(f"{_AGENT}/{part}" for part in ("tokens", "checkpoints", "metrics", "config-history", "history")),
    *(f"{_AGENT}/{part}" for part in ("slots", "fires", "as/orchestrator/agent_execution")),
    *("/v1/runs", "/v1/runs?agent=name-000000", "/v1/runs?device=name-000000", "/v1/runs?state=FAILED"),
    *("/v1/runs?state=RUNNING", "/v1/runs?task_id=task-1", "/v1/runs?outcome=partial"),
    *("/v1/items", "/v1/items?agent=name-000000", "/v1/items?verdict=approved", "/v1/items?verdict=rejected"),
    *("/v1/items?run=id-000003", "/v1/items?user=name-000001", "/v1/items?run=none&agent=name-000000"),
    *(
        "/v1/activity",
        "/v1/activity?agent=name-000000",
        "/v1/activity?event=none",
        "/v1/activity?event=none.",
    ),
    *("/v1/activity?user=name-000001", "/v1/messages", "/v1/messages?agent=name-000000"),
    *("/v1/messages?state=failed", "/v1/messages?correlation_id=none", "/v1/questions"),
    *("/v1/questions?state=answered", "/v1/questions?board=name-000000", "/v1/broadcasts"),
    *("/v1/broadcasts?user=name-000001", "/v1/boards", "/v1/boards/name-000000/memory", "/v1/connectors"),
    *("/v1/gateways", "/v1/locks", "/v1/audit", "/v1/config/history"),
)


def run(echo: Callable[[str], None]) -> list[Row]:
    """Measure row 30, in this process."""
    return anyio.run(_run, echo)


async def _run(echo: Callable[[str], None]) -> list[Row]:
    rounds: list[dict[str, float]] = []
    async with AsyncExitStack() as stack:
        few = await _hub(stack, _FEW)
        many = await _hub(stack, _MANY)
        for number in range(ROUNDS):
            ratios = {path: await _cost(many, path) / await _cost(few, path) for path in _PATHS}
            rounds.append(ratios)
            slowest = max(ratios, key=lambda path: ratios[path])
            echo(f"round {number + 1}: {slowest} costs {ratios[slowest]:.2f} times as much")
    worst = [max(ratios.values()) for ratios in rounds]
    pages = [median(ratios[path] for ratios in rounds) for path in _PATHS]
    for path, grown in sorted(zip(_PATHS, pages, strict=True), key=lambda one: -one[1])[:_SHOWN]:
        echo(f"{grown:6.2f} x {path}")
    usual = [median(ratios.values()) for ratios in rounds]
    what, goal = f"CPU of a page, {_MANY:,} agents / {_FEW}", at_most(1.5)
    return [
        Row("30", f"{what}: usual list", goal, Ratio(spread_of(usual), True, 0.0), is_timed=False),
        Row(
            "30",
            f"{what}: list that grows most",
            goal._replace(hard=None),
            Ratio(spread_of(worst), True, 0.0),
            is_timed=False,
        ),
    ]


async def _hub(stack: AsyncExitStack, agents: int) -> httpx2.AsyncClient:
    folder = Path(stack.enter_context(TemporaryDirectory()))
    hub = await stack.enter_async_context(answering(folder))
    counts = {name: each * agents for name, each in _EACH.items()}
    await hub.store.write(fill, _SOME | counts)
    return await stack.enter_async_context(over_unix(hub))


async def _cost(client: httpx2.AsyncClient, path: str) -> float:
    best = float("inf")
    for _ in range(_TRIES):
        began = process_time()
        answer = await client.get(httpx2.URL(path).copy_merge_params({"limit": str(_LIMIT)}))
        best = min(best, process_time() - began)
        assert answer.status_code == 200, f"{path}: {answer.text}"
    return best
