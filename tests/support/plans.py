"""How the databases find the rows of every statement that a test executes; a plug-in of pytest.

A statement that scans a table that grows, or sorts more rows than it returns, gets slower from day to day. So
each statement is explained once in each process of a run, and the first test that executes it fails: no
statement escapes that a test executes. ``ALLOWED`` has the exceptions. SQLite has no figures to choose by, as
the hub never gathers any; a server has many rows in each table, and figures about them.
"""

import json
import re
import sqlite3
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from types import FrameType
from typing import Any, Final, NamedTuple

import asyncpg
import pytest
import sqlalchemy as sa

import storage
from storage.kernel.sqlite import empty_database, set_clock
from storage.schema import metadata
from tests.support.blocking import blocking_engine
from tests.support.filling import fill
from tests.support.postgres import Postgres

_STORAGE: Final = f"{storage.__path__[0]}/"
_ROWS: Final = 400  # of each table of a server, which has figures about them and prefers an index

# Tables whose length is bounded: by hub.toml, by a limit, by the number of hubs, or by work that goes on.
SHORT: Final = {
    *("hub", "nodes", "leases", "agent_templates", "connectors", "credentials", "sign_ins", "gateways"),
    *("operator_tokens", "browser_sessions", "invitations", "pairings", "model_batches", "lock_waits"),
}
# Indexes of rows that wait or are worked on; each leaves its index when that ends.
AT_WORK: Final = {
    *("runs_executing", "runs_lease", "runs_needy", "runs_late", "runs_paused", "runs_queued", "runs_ready"),
    *(
        "runs_live",
        "runs_live_agent",
        "messages_open",
        "messages_due",
        "messages_expiring",
        "questions_waiting",
    ),
    *("broadcasts_open", "soul_writes_open", "wakes_due", "schedules_first_connect", "schedules_unplanned"),
    *("agent_states_recovery", "agent_states_failing", "model_calls_unmeasured", "run_calls_open"),
    *("runs_unmeasured", "posted_waiting", "devices_present", "item_verdicts_due", "item_proposals_open"),
    # and of rows of which there is one for each board or gateway, or which people took away
    *("board_members_one_lead", "gateway_agents_main", "agents_removed", "device_keys_revoked"),
    "devices_revoked",
}
# Functions of storage whose statements may scan or sort, and why.
_ALLOWED: Final = {
    "once, when the hub starts or takes over": (
        *("agents.state_moves.recount", "schedules.schedules.replan_all"),
        "agents.template_changes.put_in_error",
    ),
    "when the clock was set": (
        *(
            "effects.clock_steps.judge_again",
            "effects.clock_steps._expire",
            "effects.clock_steps.redate",
            "effects.clock_steps.find_base",
        ),
        *("schedules.schedules.follow_step", "schedules.schedules._forget_decisions"),
    ),
    "when hub.toml or a template is read": (
        *("agents.declared_agents.reconcile_declared", "agents.agent_snapshot.setups_to_judge"),
        *("agents.declared_agents._declared_values", "agents.state_moves.locked_states"),
        *("connectors.connectors.reconcile_connectors", "coordination.gateways.reconcile_gateways"),
    ),
    "housekeeping, in bounded parts": (
        "effects.retention.Pruning.__call__",
        *("agents.measurements.has_unmeasured", "agents.measurements.prune_buckets"),
        "devices.tokens.TokenStatements.create",
    ),
    "the audit log is verified and pruned in parts, by its primary key": (
        *("audit._rows", "audit._was_pruned", "audit.prune_audit"),
    ),
    "checks of the doctor, which look for the rows that are wrong": (
        "agents.agents_in_trouble.on_unpaired_devices",
        "agents.agents_in_trouble.emptied",
        *("agents.agents_in_trouble.reading_without_grant", "agents.agents_in_trouble.absent_devices"),
        *("agents.agents_in_trouble.stopped_schedules", "agents.agents_in_trouble.paths_on"),
        *("agents.agents_in_trouble.silent", "runs.failing_agents.failing"),
        *("devices.pairings.list_names", "devices.tokens.TokenStatements.ending_or_unused"),
        *("devices.tokens.TokenStatements.count", "runs.agreement.differing_stores", "runs.items.count_open"),
    ),
    "a user is erased, which is rare": (
        *(
            "effects.user_data.shut_out",
            "effects.user_data.signs_of",
            "effects.user_data.begin_erasing",
            "effects.user_data._owners",
        ),
        "effects.user_data.erase_mentions",
    ),
    "the rows of a user are found in parts of all rows, by primary key": (
        *("effects.user_data.find_rows", "effects.user_data.find_mentions"),
    ),
    "a person copies the whole database": ("database_copy._rows_of",),
    "counts up to a limit, when something is added": (
        "agents.declared_agents.check_number",
        *("agents.declared_agents.check_room", "agents.measurements._check_room", "agents.locks._make"),
        *("runs.items.count_held", "runs.items.decided_kinds", "runs.items.last_held"),
    ),
    "a person asks for totals, or gives the end of an id": (
        *("agents.agents.count_agents", "devices.devices.count_devices", "agents.agents.names_of_agents"),
        *("runs.model_calls.costs", "runs.runs.count_live", "runs.runs.whole_run_id"),
        *("runs.items.get_item", "devices.tokens.TokenStatements.find_by_end"),
        *(
            "runs.model_calls.lately",
            "runs.model_calls.spent_since",
            "agents.templates.uses_of_templates",
        ),
        "runs.excerpts.keys_of_excerpts",
    ),
    "finds the items that are due first for a person, at 1 µs for each that is sorted": (
        "runs.item_lists.list_in_order",
    ),
    "sorts the rows of one agent, board, run or name, which are few": (
        *("agents.agents.agent_called", "agents.agents.find_agent_by_name", "runs.units.first_units"),
        *("agents.agents.find_agent", "agents.agents.find_agent_on", "agents.agent_states.status_called"),
        *("connectors.seen_messages.failed_messages", "devices.tokens.TokenStatements.page"),
        *(
            "coordination.messages.results_of",
            "coordination.messages.resume",
            "runs.items.ItemLookup._of_day",
        ),
        *("coordination.boards.boards_named", "coordination.questions.main_of"),
        *("coordination.gateway_agents.has_tokens",),
        *("coordination.messages.stirred", "coordination.questions.due_of"),
        *("schedules.fires.list_fires",),
    ),
    "an update of what it selects, which a server of few rows begins at the wrong table": (
        "effects.first_runs.note_connects",
    ),
    "sorts the devices of one user, which are few": (
        "runs.run_devices.place_runs",
        "runs.run_devices.place_of",
    ),
    "sorts what waits or is worked on": (
        *("runs.run_claims._next_of_each_device", "coordination.questions.expire_due"),
        *("coordination.gateway_creations.list_unmade", "agents.locks.list_lock_waits"),
        *("agents.locks.users_due", "schedules.wakes.resend"),
    ),
    "a list with filters: tests/hub/api/test_lists.py counts what each of them reads": (
        *("agents.agents.list_agents", "agents.locks.list_locks", "audit.list_activity"),
        *("coordination.message_rows.list_messages", "coordination.questions.list_questions"),
        *("runs.item_lists.list_items", "runs.item_lists.find_items", "runs.runs.list_runs"),
        "coordination.messages.list_broadcasts",
        *("coordination.boards.list_boards", "devices.users.list_users"),
    ),
}
ALLOWED: Final = {function: reason for reason, functions in _ALLOWED.items() for function in functions}
# Functions that may be asked for all rows, without a limit.
WHOLE: Final = {
    *("coordination.boards.list_boards", "devices.keys.list_keys", "devices.devices.list_devices"),
    *("devices.tokens.TokenStatements.page", "devices.users.list_users"),
}


class Statement(NamedTuple):
    """A statement, and the function of storage that executed it first."""

    text: str
    function: str
    dialect: str
    given: Sequence[Any]  # values of its parameters

    @property
    def tables(self) -> dict[str, str]:
        """Tables by their names in the statement."""
        named = re.findall(r'\b(\w+) AS "?(\w+)"?', self.text)
        aliases = {alias: name for name, alias in named if name in metadata.tables}
        return {name: name for name in metadata.tables} | aliases

    @property
    def is_page(self) -> bool:
        """True if it reads so many rows at most."""
        return " LIMIT " in self.text.rpartition(")")[2]

    def has_conditions(self, index: str) -> bool:
        """Return True if it has other conditions than the index."""
        found = re.search(r"\nWHERE (.*?)(?: ORDER BY|\n LIMIT|$)", self.text, re.DOTALL)
        own = {" ".join(one.split()) for one in found[1].split(" AND ")} if found else set()
        return not own - {"1 = 1"} <= _conditions_of(index)


class Plans:
    """Statements of this process that were not explained yet, and the databases that explain them."""

    def __init__(self) -> None:
        self.is_on = False
        self._seen: set[str] = set()
        self._fresh: list[Statement] = []
        self._file: sqlite3.Connection | None = None
        self._server: Postgres | None = None
        self._filled: str | None = None  # address of the database with rows on the server
        self._closing = ExitStack()

    def note(self, c: sa.Connection, _: object, text: str, given: Any, *rest: object) -> None:
        """Take note of a statement that is about to be executed."""
        if self.is_on and text not in self._seen:
            self._seen.add(text)
            function = _function()
            if function is not None and re.match(r"\W*(SELECT|UPDATE|DELETE|WITH|INSERT)", text):
                given = given[0] if given and isinstance(given[0], tuple | list) and rest[1] else given
                self.add(Statement(text, function, c.dialect.name, given))

    def add(self, statement: Statement) -> None:
        """Add a statement to those that are explained next."""
        self._fresh.append(statement)

    def begin(self, server: Postgres) -> None:
        """Explain statements for servers in a database of *server*, which is made when the first comes."""
        self._server = server

    def end(self) -> None:
        """Drop the database."""
        self._server = self._filled = None
        self._closing.close()

    def findings(self) -> list[str]:
        """Explain the statements since the last call. Return what is wrong with them."""
        fresh, self._fresh = self._fresh, []
        return [
            f"{statement.function} on {statement.dialect}: {step}: it needs an index, or a reason in"
            f" tests/support/plans.py why it needs none\n{statement.text}"
            for statement in fresh
            if statement.function not in ALLOWED and (statement.is_page or statement.function not in WHOLE)
            for step in self._steps(statement)
        ]

    def _steps(self, statement: Statement) -> Iterator[str]:
        if statement.dialect == "sqlite":
            return _slow_in_file(statement, self._explained_in_file(statement))
        return _slow_on_server(statement, self._explained_on(self._server, statement))

    def _explained_in_file(self, statement: Statement) -> list[str]:
        if self._file is None:
            self._file = sqlite3.connect(":memory:", check_same_thread=False)
            self._file.deserialize(empty_database())
            set_clock(self._file)
        given = [None] * re.sub(r"'[^']*'", "", statement.text).count("?")
        try:
            return [row[3] for row in self._file.execute(f"EXPLAIN QUERY PLAN {statement.text}", given)]
        except sqlite3.OperationalError:
            return []  # of a table that a test made

    def _explained_on(self, server: Postgres | None, statement: Statement) -> Any:
        if server is None:
            return None  # of another server
        if self._filled is None:
            url = self._closing.enter_context(server.bare_database(tables=True))
            engine = blocking_engine(url, server.portal)
            with engine.begin() as c:
                fill(c, dict.fromkeys(metadata.tables, _ROWS))
            engine.dispose()
            server.run("ANALYZE", url=url)
            self._filled = url
        try:
            return server.portal.call(_explain, self._filled, statement)
        except asyncpg.UndefinedTableError:
            return None  # a test made it


async def _explain(url: str, statement: Statement) -> Any:
    connection = await asyncpg.connect(url)
    try:
        # Of some thousand rows it scans all for a hundred ids, although it has an index for them.
        for way in ("seqscan", "hashjoin", "mergejoin"):
            await connection.execute(f"SET enable_{way} = off")
        explain = f"EXPLAIN (FORMAT JSON) {statement.text}"
        return json.loads(await connection.fetchval(explain, *statement.given))[0]
    finally:
        await connection.close()


def _slow_in_file(statement: Statement, steps: list[str]) -> Iterator[str]:
    is_sorted = "USE TEMP B-TREE FOR ORDER BY" in steps
    first = re.search(r"\nFROM (\w+)", statement.text)
    is_long = first is not None and statement.tables.get(first[1]) not in SHORT
    if is_sorted and is_long and statement.is_page and not any("UNION ALL" in step for step in steps):
        yield "it sorts all rows for a part of them"
    for step in steps:
        if (found := re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)) is None:
            continue
        table, index = statement.tables.get(found[1]), found[2] or ""
        is_next = statement.is_page and not is_sorted and not statement.has_conditions(index)
        if table is not None and table not in SHORT and index not in AT_WORK and not is_next:
            yield step


def _slow_on_server(statement: Statement, plan: Any) -> Iterator[str]:
    if plan is None:
        return
    queue = [(plan["Plan"], False)]
    while queue:
        node, is_limited = queue.pop()
        kind, table, index = node["Node Type"], node.get("Relation Name"), node.get("Index Name", "")
        is_long = table in metadata.tables.keys() - SHORT and index not in AT_WORK
        if kind == "Seq Scan" and is_long:
            yield f"{kind} of {table}"
        is_whole = kind.startswith("Index") and is_long and "Index Cond" not in node
        if is_whole and (not is_limited or statement.has_conditions(index)):
            yield f"{kind} of {table} by all of {index}"
        under = is_limited or kind == "Limit"
        queue += [(child, under and kind != "Sort") for child in node.get("Plans", ())]


def _conditions_of(index: str) -> set[str]:
    for table in metadata.tables.values():
        for one in table.indexes:
            if one.name == index and (where := one.dialect_options["sqlite"]["where"]) is not None:
                return {f"{table.name}.{part}" for part in str(where).split(" AND ")}
    return set()


def _function() -> str | None:
    """Return the innermost function of storage on the stack, outside of its kernel."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_STORAGE) and not path.startswith(f"{_STORAGE}kernel/"):
            module = path.removeprefix(_STORAGE).removesuffix(".py").replace("/", ".")
            return f"{module}.{frame.f_code.co_qualname.partition('.<locals>')[0]}"
        frame = frame.f_back
    return None


PLANS: Final = Plans()


def pytest_configure() -> None:
    sa.event.listen(sa.Engine, "before_cursor_execute", PLANS.note)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    made = yield
    if isinstance(made, Postgres):
        PLANS.begin(made)
        fixturedef.addfinalizer(PLANS.end)  # before the server ends
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    PLANS.is_on = "storage" in item.path.parts  # whose tests execute each function of storage
    yield
    findings = PLANS.findings()
    assert not findings, "\n".join(findings)
