"""Every list of the operators' interface: each row once, in order, at a cost that does not grow with it."""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import sqlalchemy as sa

from hub.api.application import ANSWERED
from hub.base.roles import AGENT
from protocol.keys import key_id
from storage.agents import agents
from storage.schema import metadata
from tests.support import stored
from tests.support.hub import ENDLESS, ServedHub, answering
from tests.support.postgres import Postgres

FAR = 2**42  # epoch milliseconds, in the year 2109
NOTES = "/v1/agents/notes"
ENDED: Final = {"trigger_kind": "manual", "state": "CANCELLED", "completed_at": 1}
# A row of each list: its table, and the values that constraints ask for; {n} is the number of the row.
LISTS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "/v1/users": ("users", {}),
    "/v1/devices": ("devices", {}),
    "/v1/tokens": ("device_tokens", {}),
    "/v1/operator-tokens": ("operator_tokens", {"role": "viewer", "scopes": ["read"]}),
    "/v1/sessions": ("browser_sessions", {"role": "viewer", "scopes": ["read"]}),
    "/v1/invitations": ("invitations", {"uses_left": 1}),
    "/v1/pairings": ("pairings", {"expires_at": FAR, "key_id": lambda n: key_id(f"{n:032}".encode())}),
    "/v1/agents": ("agents", {"executor": "device"}),
    "/v1/agents/as/foundation": ("agents", {"executor": "device"}),
    f"{NOTES}/tokens": ("agent_tokens", {}),
    f"{NOTES}/checkpoints": ("checkpoints", {"scope": "scope-{n}"}),
    f"{NOTES}/metrics": ("metric_series", {"agent_id": "agents.id"}),
    "/v1/metrics/series": ("metric_series", {}),
    f"{NOTES}/config-history": ("agent_config_history", {}),
    f"{NOTES}/history": ("agent_state_history", {"axis": "health", "new_value": "ok"}),
    f"{NOTES}/slots": ("wakes", {"state": "skipped", "settled_at": 1, "ends_at": FAR}),
    f"{NOTES}/fires": ("schedule_fires", {"decision": "skipped_paused"}),
    f"{NOTES}/as/orchestrator/agent_state_history": (
        "agent_state_history",
        {"axis": "lifecycle", "new_value": "active"},
    ),
    f"{NOTES}/as/orchestrator/agent_execution": ("runs", ENDED),
    f"{NOTES}/as/orchestrator/execution_state_history": ("run_state_history", {"new_state": "QUEUED"}),
    f"{NOTES}/as/foundation/agent_configs": ("agent_configs", {}),
    f"{NOTES}/as/foundation/agent_capabilities": ("agent_capabilities", {}),
    f"{NOTES}/as/foundation/agent_metrics": ("metric_series", {"agent_id": "agents.id"}),
    f"{NOTES}/as/runlog/agent_run_log": ("runs", ENDED),
    "/v1/templates": ("agent_templates", {}),
    "/v1/locks": (
        "agent_locks",
        {"resource": "lock-{n}", "holder_kind": "device", "holder_id": "d", "expires_at": FAR},
    ),
    "/v1/runs": ("runs", ENDED),
    "/v1/runs/run-0/units": ("run_units", {"state": "PENDING"}),
    "/v1/schedule": (
        "schedules",
        {"kind": "cron", "expr": "0 7 * * *", "action": "wake", "label": "slot-{n}", "duration_ms": 1},
    ),
    "/v1/runs/run-0/trace": ("model_calls", {"run_id": "runs.id"}),
    "/v1/items": ("items", {"target_table": "tasks", "agent_id": "agents.id", "device_id": "devices.id"}),
    "/v1/audit": ("audit_log", {"outcome": "done", "detail": "{}"}),
    "/v1/activity": ("activity_log", {"agent_id": "agents.id"}),
    "/v1/nodes": ("nodes", {}),
    "/v1/config/revisions": ("settings_revisions", {}),
    "/v1/connectors": ("connectors", {"provider": "imap"}),
    "/v1/gateways": ("gateways", {}),
    "/v1/boards": ("boards", {}),
    "/v1/boards/board-0/memory": ("board_memory", {}),
    "/v1/messages": ("messages", {"kind": "nudge"}),
    "/v1/questions": ("questions", {}),
    "/v1/broadcasts": ("broadcasts", {"kind": "question"}),
    "/v1/notify/ops/deliveries": ("deliveries", {}),
}
# Lists that are not read from the database, or are parts of an answer about one thing.
OTHERS: Final = {
    "/v1/config/history",  # entries of the audit log, whose list is above
    "/v1/issues",
    "/v1/logs",
    "/v1/notify",  # of the settings
    "/v1/tasks",  # of devices, which have the rows: tests/scenarios/test_tasks.py
    "/v1/tables",  # of the settings
    "/v1/users/{name}/rows",  # of all tables: tests/hub/cli/test_export.py
    "/v1/broadcasts/{broadcast_id}",
    "/v1/boards/{board}/agents/{agent}/soul/history",
}
# Lists whose order no index has, as their length is limited: by hub.toml, by a limit, for one agent or run.
SHORT: Final = {
    "/v1/sessions",
    "/v1/operator-tokens",
    "/v1/invitations",
    "/v1/pairings",
    f"{NOTES}/tokens",
    f"{NOTES}/fires",
    f"{NOTES}/slots",
    f"{NOTES}/as/orchestrator/execution_state_history",
    "/v1/locks",
    "/v1/runs/run-0/trace",
}


# Questions about lists that none of the rows above answers; {user} is their user.
NARROWED: Final = (
    "/v1/items?verdict=rejected",
    "/v1/items?verdict=rejected&agent=notes",
    "/v1/items?verdict=rejected&user={user}",
    "/v1/items?run=none",
    "/v1/items?run=none&agent=notes",
    "/v1/items?verdict=open&run=none",
    "/v1/runs?device=desk",
    "/v1/runs?state=RUNNING",
    "/v1/runs?state=FAILED",
    "/v1/runs?outcome=partial",
    "/v1/runs?task_id=none",
    "/v1/activity?event=none",
    "/v1/activity?event=none.",
    "/v1/audit?event=none",
    "/v1/messages?state=failed",
    "/v1/messages?state=failed&state=expired",
    "/v1/messages?agent=notes",
    "/v1/messages?correlation_id=none",
    "/v1/messages?broadcast_id=none",
    "/v1/questions?state=answered",
    "/v1/questions?board=board-0",
    "/v1/questions?correlation_id=none",
)


KEYS: Final = (
    "id",
    "resource",
    "scope",
    "seq",
    "number",
    "fire_at",
    "config_key",
    "unit_key",
    "ver_major",
)  # columns that number the rows of a table


class Reads:
    """Counts of a store's reads: transactions, rows, and steps of SQLite's virtual machine in thousands."""

    def __init__(self, hub: ServedHub) -> None:
        self.transactions = self.rows = self.steps = 0
        self._read = hub.store.read
        hub.store.read = self.read  # type: ignore[method-assign]

    async def read(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.transactions += 1
        return await self._read(self._counted, fn, args, kwargs)

    def _counted(self, c: sa.Connection, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if c.dialect.name != "sqlite":
            return fn(c, *args, **kwargs)
        driver: Any = c.connection.driver_connection
        driver.row_factory = self._row
        driver.set_progress_handler(self._step, 100)
        try:
            return fn(c, *args, **kwargs)
        finally:
            driver.row_factory = None
            driver.set_progress_handler(None, 0)

    def _row(self, _: object, row: tuple[object, ...]) -> tuple[object, ...]:
        self.rows += 1
        return row

    def _step(self) -> None:
        self.steps += 1

    def forget(self) -> None:
        self.transactions = self.rows = self.steps = 0


class Whole:
    """A hub, its client, what the client's requests read, and the ids that rows refer to."""

    def __init__(self, hub: ServedHub, client: httpx2.AsyncClient, reads: Reads) -> None:
        self.hub, self.client, self.reads = hub, client, reads
        self.referred: dict[str, str] = {}
        self._known: dict[sa.Table, list[tuple[Any, ...]]] = {}  # keys of the rows before those of the test

    async def fill(self, path: str, numbers: range) -> None:
        """Add a row for each number."""
        await self.hub.store.write(self._fill, path, numbers)

    async def empty(self) -> None:
        """Remove the rows that were added."""
        await self.hub.store.write(self._empty)

    async def remove(self, rows: sa.Delete) -> int:
        """Remove other rows; return how many."""
        return await self.hub.store.write(lambda c: c.execute(rows).rowcount)

    def keep(self) -> None:
        """Let the rows that were added so far stay."""
        self._known.clear()

    def _empty(self, c: sa.Connection) -> None:
        for table, known in reversed(self._known.items()):
            c.execute(sa.delete(table).where(sa.not_(sa.tuple_(*table.primary_key.columns).in_(known))))
        self._known.clear()

    def _fill(self, c: sa.Connection, path: str, numbers: range) -> None:
        name, given = LISTS[path]
        self._insert(c, name, numbers, given)
        if name == "agents":
            self._insert(c, "agent_states", numbers, {"agent_id": "id-{n}"})

    def _insert(self, c: sa.Connection, name: str, numbers: Iterable[int], given: Mapping[str, Any]) -> None:
        table = metadata.tables[name]
        keys = sa.select(*table.primary_key.columns)
        self._known.setdefault(table, [tuple(key) for key in c.execute(keys)])
        c.execute(sa.insert(table), [self._row(table, number, given) for number in numbers])

    def _row(self, table: sa.Table, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for column in table.columns:
            if column.name in given:
                value = given[column.name]
                value = value(number) if callable(value) else value
                value = value.format(n=f"{number:05}") if isinstance(value, str) and value != "{}" else value
                row[column.name] = self.referred.get(value, value) if isinstance(value, str) else value
            elif column.nullable or column.server_default is not None:
                continue
            elif column.foreign_keys:
                row[column.name] = self.referred[next(iter(column.foreign_keys)).target_fullname]
            elif isinstance(column.type, sa.LargeBinary):
                row[column.name] = f"{number:032}".encode()
            elif isinstance(column.type, sa.BigInteger):
                row[column.name] = 10 + number
            else:
                row[column.name] = f"{column.name}-{number:05}"
        return row

    async def page(self, path: str, limit: int, cursor: str | None = None) -> tuple[list[str], str | None]:
        """Return a page, each item as its text, and the next cursor."""
        params = {"limit": limit} | ({} if cursor is None else {"cursor": cursor})
        answer = await self.client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        links = [answer.url.join(link["url"]) for link in answer.links.values()]
        following = {"limit": str(limit), "cursor": told["next_cursor"]}
        assert [dict(link.params) for link in links] == ([following] if following["cursor"] else [])
        assert {link.path for link in links} <= {answer.url.path}
        (items,) = (value for key, value in told.items() if isinstance(value, list) and key != "slots")
        return [repr(sorted(item.items(), key=str)) for item in items], told["next_cursor"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ServedHub]:
    """The hub, on a database of each kind."""
    with ExitStack() as databases:
        database = "sqlite://"
        if request.param == "postgresql":
            server: Postgres = request.getfixturevalue("postgres")
            database = databases.enter_context(server.database())
        async with answering(tmp_path, database=database) as opened:
            yield opened


ON_SQLITE: Final = pytest.mark.parametrize("hub", ["sqlite"], indirect=True)


@pytest.fixture
async def whole(hub: ServedHub, client: httpx2.AsyncClient) -> Whole:
    opened = Whole(hub, client, Reads(hub))
    (agent,) = await hub.store.read(agents.list_agents)
    (schedule,) = await hub.store.read(stored.list_schedules)
    opened.referred.update(
        {
            "users.id": hub.owner_id,
            "boards.id": "board-0",
            "notify_targets.name": "ops",
            "runs.id": "run-0",
            "schedules.id": schedule.id,
            "agents.id": agent.id,
            "devices.id": str(agent.device_id),
        }
    )
    await hub.store.write(opened._insert, "boards", [0], {"id": "board-0"})
    await hub.store.write(opened._insert, "notify_targets", [0], {"name": "ops"})
    await hub.store.write(opened._insert, "runs", [0], {"id": "run-0", **ENDED})
    opened.keep()
    return opened


# Every GET of operators; those of agents are answered by the same methods.
QUESTIONS: Final = {
    asked.path: route
    for asked, route in ANSWERED.items()
    if asked.method == "GET" and route.declared.need is not AGENT
}


def test_every_paged_list_route_is_covered_by_the_tests() -> None:
    found = {
        path
        for path, route in QUESTIONS.items()
        if any(part.name == "cursor" for part in route.binding.parts)
    }
    known = {
        path.replace(NOTES, "/v1/agents/{name}").replace("board-0", "{board}").replace("/ops/", "/{target}/")
        for path in LISTS
    }
    for pattern, part in (
        ("run-0", "{run_id}"),
        (r"/agents/as/\w+", "/agents/as/{vocabulary}"),
        (r"/as/\w+/\w+", "/as/{vocabulary}/{table}"),
    ):
        known = {re.sub(pattern, part, path) for path in known}
    assert found - OTHERS == known


async def test_the_pages_of_a_list_have_each_row_once_and_in_order(whole: Whole) -> None:
    for path in LISTS:
        await whole.fill(path, range(1, 6))
        everything, last = await whole.page(path, 1_000)
        assert len(everything) == len(set(everything)) >= 5, path
        assert last is None, path
        found, cursor = await whole.page(path, 2)
        while cursor is not None:
            page, cursor = await whole.page(path, 2, cursor)
            assert 0 < len(page) <= 2, path
            found += page
        assert found == everything, path
        await whole.empty()


async def test_list_pages_stay_consistent_when_rows_are_inserted_or_deleted(whole: Whole) -> None:
    for path in LISTS:
        await whole.fill(path, range(11, 16))
        everything, _ = await whole.page(path, 1_000)
        found, cursor = await whole.page(path, 2)
        await whole.fill(path, range(1, 3))
        await whole.fill(path, range(30, 32))
        table = metadata.tables[LISTS[path][0]]
        column = next((table.columns[name] for name in KEYS if name in table.columns), None)
        assert column is not None, f"{path}: add the column that numbers the rows of {table.name} to KEYS"
        thirteenth = column == 23 if isinstance(column.type, sa.BigInteger) else column.like("%-00013")
        assert await whole.remove(sa.delete(table).where(thirteenth)) == 1, path
        while cursor is not None:
            page, cursor = await whole.page(path, 2, cursor)
            found += page
        left, _ = await whole.page(path, 1_000)
        assert len(found) == len(set(found)), path
        kept = [row for row in everything if row in left]
        assert [row for row in found if row in everything] == kept, path
        await whole.empty()


@ON_SQLITE
async def test_a_page_reads_as_few_rows_of_a_long_list_as_of_a_short_list(whole: Whole) -> None:
    async def cost(path: str) -> tuple[int, int]:
        _, cursor = await whole.page(path, 2)
        whole.reads.forget()
        await whole.page(path, 2, cursor)
        return whole.reads.rows, whole.reads.steps

    for path in LISTS:
        await whole.fill(path, range(10, 30))
        rows, steps = await cost(path)
        await whole.fill(path, range(30, 130))
        more_rows, more_steps = await cost(path)
        assert more_rows <= rows + 1, path
        assert path in SHORT or more_steps <= steps + 10, path
        await whole.empty()


@ON_SQLITE
async def test_a_filter_with_few_matches_reads_no_other_rows(whole: Whole) -> None:
    async def steps(asked: str) -> int:
        whole.reads.forget()
        answer = await whole.client.get(asked.format(user="owner"))
        assert answer.status_code == 200, answer.text
        assert [] in answer.json().values(), asked
        return whole.reads.steps

    for path, asked in groupby(NARROWED, lambda question: question.partition("?")[0]):
        questions = list(asked)
        await whole.fill(path, range(10, 30))
        for question in questions:
            await steps(question)
        few = {question: await steps(question) for question in questions}
        await whole.fill(path, range(30, 130))
        for question in questions:
            assert await steps(question) <= few[question] + 10, question
        await whole.empty()


# Answers that read several times, and why.
SEVERAL: Final = {
    "/v1/audit/verify": "the chain is read in parts, so that others use the database in between",
    "/v1/agents/{name}/overview": "it is made of the answers of ten nouns",
    "/v1/agents/{name}/metrics/{metric}": "the question is completed from the series before it is asked",
    "/v1/metrics/series": "a month is read in parts, so that others use the database in between",
    "/v1/broadcasts": "the names of the senders are read after the broadcasts",
    "/v1/broadcasts/{broadcast_id}": "its results are read after the broadcast",
    "/v1/connectors/{connector}/sign-in/{sign_in}": "the desk of sign-ins reads for itself",
    "/v1/keys": "keys that another node has are counted after those of this one",
    "/v1/messages": "the names of the senders are read after the messages",
    "/v1/issues": "each check reads for itself; checks of a few seconds ago are not repeated",
    "/v1/messages/{message_id}": "the names of the senders are read after the messages",
}


@ON_SQLITE
async def test_get_routes_read_in_a_single_transaction_except_the_listed_routes(whole: Whole) -> None:
    for path in {table: path for path, (table, _) in LISTS.items()}.values():
        await whole.fill(path, range(1, 3))
    known = {
        "name": "notes",
        "run_id": "id-00001",
        "item_id": "id-00001",
        "device_id": "id-00001",
        "board": "board-0",
        "target": "ops",
        "agent": "notes",
        "connector": "id-00001",
        "gateway": "id-00001",
        "key": "paths",
        "scope": "scope-00001",
        "metric": "name-00001",
        "vocabulary": "orchestrator",
        "table": "agent_execution",
        "message_id": "id-00001",
        "question_id": "id-00001",
        "broadcast_id": "id-00001",
        "seq": 1,
        "number": 1,
        "sign_in": "none",
        "topic": "cli",
    }
    counted = {}
    for path in QUESTIONS:
        if path in ENDLESS or path == "/v1/items/{item_id}/choices":
            continue  # streams, and what a device answers, which none does here
        whole.reads.forget()
        asked = path.format(**known | ({"name": "name-00001"} if "templates" in path else {}))
        answer = await whole.client.get(asked)
        assert answer.status_code != 500, (path, answer.text)
        counted[path] = whole.reads.transactions
    several = {path: count for path, count in counted.items() if count > 1}
    assert several.keys() == SEVERAL.keys(), several


@ON_SQLITE
async def test_unreadable_agent_state_hides_no_other_agent_in_document_lists(
    whole: Whole,
) -> None:
    path = "/v1/agents/as/foundation"
    await whole.fill(path, range(1, 6))
    everything, _ = await whole.page(path, 100)
    broken = sa.text("UPDATE agent_states SET metadata = '[]' WHERE agent_id = 'id-00003'")
    await whole.hub.store.write(lambda c: c.execute(broken).rowcount)
    found, cursor = await whole.page(path, 2)
    while cursor is not None:
        page, cursor = await whole.page(path, 2, cursor)
        found += page
    assert found == [one for one in everything if "id-00003" not in one]
    assert len(found) == len(everything) - 1


async def test_unknown_query_parameter_of_any_route_is_refused_by_name(whole: Whole) -> None:
    for path, route in QUESTIONS.items():
        asked = re.sub(r"\{\w+\}", "x", path)
        answer = await whole.client.get(asked, params={"colour": "red", "limit": "2", "cursor": "x"})
        text = answer.text
        assert (answer.status_code, "query.colour: there is no such parameter" in text) == (422, True), path
        if not any(part.name == "cursor" for part in route.binding.parts):
            assert "query.cursor: there is no such parameter" in text, path


FOREIGN = ("nonsense", "!!", "W10", "WzFd", "WyJhXHUwMDAwIl0", "WzkyMjMzNzIwMzY4NTQ3NzU4MDhd", "bnVsbA")


@ON_SQLITE
async def test_cursor_of_another_list_and_invalid_limit_are_refused(client: httpx2.AsyncClient) -> None:
    for path in ("/v1/users", "/v1/devices", "/v1/items"):
        asked = [{"cursor": cursor} for cursor in FOREIGN]
        asked += [{"limit": limit} for limit in ("0", "1001", "-1", "many")]
        answers = [await client.get(path, params=params) for params in asked]
        assert {(one.status_code, one.json()["code"]) for one in answers} == {(422, "bad_params")}, path
