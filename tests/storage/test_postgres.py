"""What is PostgreSQL's own: a server that others use too, and that may go away."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

from protocol.ids import UserId
from storage.devices import nodes
from storage.devices.users import ensure_user
from storage.kernel import identity
from storage.kernel import postgres as module
from storage.kernel.database import (
    POOLED,
    Busy,
    Conflict,
    Database,
    DatabaseUnavailable,
    lone,
    translated,
    written_for,
)
from storage.kernel.postgres import CONNECTIONS, WAITS_S, open_postgres
from storage.schema import idempotency_keys, users
from storage.store import open_store
from tests.storage.jobs import add, count_up, names
from tests.storage.rows import some
from tests.support.families import each
from tests.support.pgbouncer import running_pgbouncer, why_no_pgbouncer
from tests.support.postgres import Postgres, running_postgres

TRIES = len(WAITS_S) + 1


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with open_postgres(url) as opened:
        yield opened


def fail_with(c: sa.Connection, state: str) -> None:
    """The server refuses the statement with this SQLSTATE."""
    c.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION 'because' USING ERRCODE = '{state}'; END $$")


def end_session(c: sa.Connection) -> None:
    """The connection of the job is ended by the server."""
    c.execute(sa.select(sa.func.pg_terminate_backend(sa.func.pg_backend_pid())))


def stand_still(seconds: float) -> None:
    """From its next turn on, the event loop does nothing for so long."""
    asyncio.get_running_loop().call_soon(time.sleep, seconds)  # noqa: TID251


Lose = Callable[[sa.Connection], None]


@pytest.fixture(params=["idle for too long", "ended by somebody"])
def lose(request: pytest.FixtureRequest, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Lose:
    """The server ends the session of a job while this process stands still: nobody here has noticed."""
    is_idle = request.param == "idle for too long"
    if is_idle:
        monkeypatch.setattr(module, "IDLE_MS", 200)

    def end(c: sa.Connection) -> None:
        pid = c.execute(sa.select(sa.func.pg_backend_pid())).scalar_one()
        if not is_idle:
            postgres.sql("SELECT pg_terminate_backend($1)", pid)
        while postgres.sql("SELECT 1 FROM pg_stat_activity WHERE pid = $1", pid):
            pass

    return end


def once(do: Callable[[sa.Connection], None]) -> Callable[[sa.Connection], None]:
    """*do*, the first time."""
    done: list[sa.Connection] = []

    def first(c: sa.Connection) -> None:
        if not done:
            done.append(c)
            do(c)

    return first


@contextmanager
def before_each(event: str, do: Callable[..., object], *, once: bool = False) -> Iterator[None]:
    """Do it before each COMMIT, or each connection."""
    sa.event.listen(sa.Engine, event, do, once=once)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, event, do)


async def test_two_hubs_on_a_server_share_the_database(url: str) -> None:
    async with open_store(url) as ours, open_store(url) as theirs:
        assert ours.is_shared
        assert await ours.write(identity.ensure_hub_id, "hub-1") == "hub-1"
        assert await theirs.write(identity.ensure_hub_id, "hub-2") == "hub-1"


async def test_hub_uses_few_postgresql_connections_and_closes_all(postgres: Postgres, url: str) -> None:
    async with open_postgres(url) as database, anyio.create_task_group() as callers:
        for n in range(50):
            callers.start_soon(database.write, add, f"u{n}")
            callers.start_soon(database.read, names)
        await anyio.wait_all_tasks_blocked()
        assert postgres.sessions(url) <= CONNECTIONS
    assert postgres.sessions(url) == 0


async def test_running_job_is_finished_before_the_connections_are_closed(
    postgres: Postgres, url: str
) -> None:
    is_running, may_go_on = anyio.Event(), anyio.Event()

    def slow(c: sa.Connection) -> None:
        add(c, "slow")
        is_running.set()
        await_only(may_go_on.wait())

    async def release() -> None:
        await anyio.wait_all_tasks_blocked()
        may_go_on.set()

    async with anyio.create_task_group() as callers:
        async with open_postgres(url) as database:
            callers.start_soon(database.write, slow)
            await is_running.wait()
            callers.start_soon(release)
        assert postgres.sessions(url) == 0
    assert postgres.sql("SELECT name FROM users", url=url)[0][0] == "slow"


async def test_cancelled_callers_lose_no_postgresql_connection(
    postgres: Postgres, database: Database, url: str
) -> None:
    pids: set[int] = set()

    def work(c: sa.Connection, name: str) -> None:
        pids.add(c.execute(sa.select(sa.func.pg_backend_pid())).scalar_one())
        add(c, name)

    for n in range(50):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as leavers:
                for k in range(4):
                    leavers.start_soon(database.write, work, f"leaver-{n}-{k}")
                for _ in range(n % 7):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
    with anyio.fail_after(10):
        while len(await database.read(names)) < 4:  # some had begun, and are finished without their callers
            pass
    assert len(pids) <= CONNECTIONS  # none was thrown away and made anew
    assert postgres.sessions(url) == len(pids)


async def test_cancelled_caller_leaves_an_unanswered_job_immediately(database: Database) -> None:
    is_running, may_go_on = anyio.Event(), anyio.Event()

    def slow(c: sa.Connection) -> None:
        add(c, "slow")
        is_running.set()
        await_only(may_go_on.wait())

    with anyio.fail_after(10):
        async with anyio.create_task_group() as callers:
            callers.start_soon(database.write, slow)
            await is_running.wait()
            callers.cancel_scope.cancel()  # the job goes on only after its caller has left
        may_go_on.set()
        while await database.read(names) != ["slow"]:
            pass


async def test_begun_job_is_finished_although_the_caller_is_cancelled(database: Database) -> None:
    is_running, may_go_on = anyio.Event(), anyio.Event()

    def slow(c: sa.Connection) -> None:
        add(c, "slow")
        is_running.set()
        await_only(may_go_on.wait())

    async with anyio.create_task_group() as callers:
        with anyio.CancelScope() as leaving:
            async with anyio.create_task_group() as leavers:
                leavers.start_soon(database.write, slow)
                await is_running.wait()
                leaving.cancel()
                callers.start_soon(anyio.sleep, 0)
                may_go_on.set()
    assert await database.read(names) == ["slow"]


@each(
    ("state", "error"),
    [
        ("23514", Conflict),
        ("40001", Busy),  # lost against another every time
        ("40P01", Busy),
        ("42501", DatabaseUnavailable),
        ("53300", Busy),
        ("53100", DatabaseUnavailable),
        ("55P03", Busy),
        ("57014", Busy),
        ("57P03", DatabaseUnavailable),
        ("58030", DatabaseUnavailable),
        ("XX001", DatabaseUnavailable),
    ],
)
async def test_postgresql_error_states_are_translated_to_hub_errors(
    database: Database, state: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match="because"):
        await database.write(fail_with, state)
    assert await database.write(add, state) == state


@pytest.mark.parametrize(
    ("lose", "times"),
    [
        *((partial(fail_with, state=state), TRIES - 1) for state in ("40001", "40P01", "57P01", "25P03")),
        (partial(fail_with, state="55P03"), 1),  # it waited too long for a row
        (end_session, 1),
    ],
)
async def test_write_losing_a_conflict_is_repeated(database: Database, lose: Lose, times: int) -> None:
    tries: list[str] = []

    def unlucky(c: sa.Connection) -> str:
        tries.append(add(c, "anna"))
        if len(tries) <= times:
            lose(c)
        return "done"

    assert await database.write(unlucky) == "done"
    assert (len(tries), await database.read(names)) == (times + 1, ["anna"])


async def test_two_deadlocked_writes_both_complete(postgres: Postgres, database: Database, url: str) -> None:
    postgres.sql(f"ALTER DATABASE {url.rpartition('/')[2]} SET deadlock_timeout = '10ms'")
    await database.write(add, "anna")
    await database.write(add, "bruno")
    first = {"anna": anyio.Event(), "bruno": anyio.Event()}

    def rename(c: sa.Connection, name: str, other: str) -> None:
        for locked in (name, other):
            c.execute(sa.update(users).where(users.c.id == locked).values(created_at=users.c.created_at + 1))
            first[name].set()
            await_only(first[other].wait())

    async with open_postgres(url) as opened, anyio.create_task_group() as callers:
        callers.start_soon(opened.write, rename, "anna", "bruno")
        callers.start_soon(opened.write, rename, "bruno", "anna")
    assert await database.read(lambda c: set(c.execute(sa.select(users.c.created_at)).scalars())) == {2}


async def test_serializable_jobs_never_lose_an_update(database: Database) -> None:
    def serially(c: sa.Connection) -> int:
        c.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        return count_up(c)

    await database.write(add, "counter")
    async with anyio.create_task_group() as callers:
        for _ in range(3):
            callers.start_soon(database.write, serially)
    assert await database.write(count_up) == 4


async def test_concurrent_ensure_of_a_user_returns_a_single_id(database: Database) -> None:
    ids: set[str] = set()

    async def ensure(n: int) -> None:
        ids.add(await database.write(ensure_user, UserId(f"id-{n}"), "anna", 0))

    async with anyio.create_task_group() as callers:
        for n in range(CONNECTIONS):
            callers.start_soon(ensure, n)
    assert len(ids) == 1


async def test_connection_lost_in_the_commit_leaves_the_outcome_unknown(database: Database) -> None:
    with (
        before_each("commit", end_session),
        pytest.raises(DatabaseUnavailable, match="may have taken effect"),
    ):
        await database.write(add, "anna")
    assert await database.write(add, "bruno") == "bruno"


async def test_read_losing_the_connection_is_repeated(lose: Lose, database: Database) -> None:
    await database.write(add, "anna")
    lose_once, tries = once(lose), list[list[str]]()

    def look(c: sa.Connection) -> list[str]:
        tries.append(names(c))
        lose_once(c)
        return names(c)

    assert (await database.read(look), len(tries)) == (["anna"], 2)


async def test_read_losing_the_connection_at_commit_is_repeated(lose: Lose, database: Database) -> None:
    await database.write(add, "anna")
    with before_each("commit", once(lose)):
        assert await database.read(names) == ["anna"]


async def test_write_ignoring_a_lost_connection_is_repeated(database: Database) -> None:
    end_once = once(end_session)

    def careless(c: sa.Connection) -> str:
        with suppress(sa.exc.DBAPIError):
            end_once(c)
        return add(c, "anna")

    assert await database.write(careless) == "anna"


@pytest.mark.parametrize("turns", [0, 2, 50], ids=["not heard", "half heard", "heard"])
@pytest.mark.parametrize("lose", ["idle for too long"], indirect=True)
async def test_write_undone_by_the_server_before_the_commit_is_run_again(
    lose: Lose, database: Database, turns: int
) -> None:
    def lose_before(c: sa.Connection) -> None:
        lose(c)
        for _ in range(turns):  # of the event loop, in which it hears what the server said
            await_only(anyio.lowlevel.checkpoint())

    with before_each("commit", once(lose_before)):
        assert await database.write(add, "anna") == "anna"
    assert await database.read(names) == ["anna"]


async def test_statement_is_repeated_after_a_suspension_of_the_hub(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STATEMENT_MS", 200)
    tries: list[int] = []

    def stand_still_once(c: sa.Connection) -> list[str]:
        tries.append(c.execute(sa.select(sa.literal(1))).scalar_one())
        if len(tries) == 1:  # once the next one is prepared, and before it is asked for
            stand_still(1.0)
        return names(c)

    async with open_postgres(url) as database:
        assert (await database.read(stand_still_once), len(tries)) == ([], 2)


async def test_overlong_statement_is_not_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATEMENT_MS", 1_000)  # enough to connect on a busy machine
    tries: list[sa.Connection] = []

    def dawdle(c: sa.Connection) -> None:
        tries.append(c)
        c.exec_driver_sql("SELECT pg_sleep(60)")

    async with open_postgres(url) as database:
        with pytest.raises(Busy, match="took too long"):
            await database.read(dawdle)
    assert len(tries) == 1


async def test_connection_attempt_is_repeated_after_a_suspension_of_the_hub(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_postgres(url) as database:
        await database.write(add, "anna")
    monkeypatch.setattr(module, "CONNECT_S", 0.5)

    # With TLS, asyncpg 0.32 leaves a future behind whose error nobody asks for.
    async with open_postgres(f"{url}?sslmode=disable") as database:
        with before_each("do_connect", lambda *_about: stand_still(1.5), once=True):
            assert await database.read(names) == ["anna"]


async def test_silent_server_connection_is_abandoned_and_the_write_repeated(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.1)
    frozen: list[int] = []

    def freeze(c: sa.Connection) -> str:
        if not frozen:
            frozen.append(c.execute(sa.select(sa.func.pg_backend_pid())).scalar_one())
            os.kill(frozen[0], signal.SIGSTOP)
        return add(c, "anna")

    async with open_postgres(url) as database:
        try:
            assert await database.write(freeze) == "anna"
        finally:
            os.kill(frozen[0], signal.SIGCONT)


async def test_unanswered_server_connection_is_attempted_once(
    postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_S", 1.0)  # also of the last connection, on a busy machine
    asked: list[object] = []
    async with open_postgres(url) as database:
        with (
            before_each("do_connect", lambda *connecting: asked.append(connecting)),
            postgres.frozen(),
            pytest.raises(DatabaseUnavailable, match="in time"),
        ):
            await database.write(add, "anna")
        assert (len(asked), await database.write(add, "anna")) == (1, "anna")


@pytest.mark.slow
async def test_stopped_server_is_unavailable_until_started_again() -> None:
    with running_postgres() as server, server.database() as url:
        async with open_postgres(url) as database:
            await database.write(add, "before")
            for end in (server.kill, server.stop):
                end()
                with pytest.raises(DatabaseUnavailable) as refused:
                    await database.write(add, "meanwhile")
                assert refused.value.retryable
                with pytest.raises(DatabaseUnavailable):
                    await database.read(names)
                server.start()
                assert await database.read(names) == ["before"]
        server.stop()
        with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
            async with open_postgres(url):
                pass
        server.start()


async def test_lock_wait_beyond_the_limit_ends_as_busy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_MS", 20)
    async with open_postgres(url) as ours, open_postgres(url) as theirs:
        await ours.write(add, "anna")
        is_locked, may_go = anyio.Event(), anyio.Event()

        def hold(c: sa.Connection) -> None:
            count_up(c)
            is_locked.set()
            await_only(may_go.wait())

        async with anyio.create_task_group() as callers:
            callers.start_soon(theirs.write, hold)
            await is_locked.wait()
            with pytest.raises(Busy, match="another hub holds the row"):
                await ours.write(count_up)
            may_go.set()
        assert await ours.write(count_up) == 2


async def test_statement_beyond_the_limit_ends_as_busy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATEMENT_MS", 50)
    async with open_postgres(url) as database:
        with pytest.raises(Busy, match="took too long"):
            await database.read(lambda c: c.exec_driver_sql("SELECT pg_sleep(60)"))
        assert await database.read(lambda c: c.exec_driver_sql("SELECT 1").scalar()) == 1


async def test_read_transaction_sees_a_single_snapshot(database: Database) -> None:
    is_begun, may_go_on = anyio.Event(), anyio.Event()
    seen: list[list[str]] = []

    def twice(c: sa.Connection) -> None:
        seen.append(names(c))
        is_begun.set()
        await_only(may_go_on.wait())
        seen.append(names(c))

    async with anyio.create_task_group() as callers:
        callers.start_soon(database.read, twice)
        await is_begun.wait()
        await database.write(add, "anna")
        may_go_on.set()
    assert seen == [[], []]


async def test_character_unstorable_by_the_server_is_replaced(database: Database) -> None:
    def keep(c: sa.Connection) -> tuple[str, object]:
        name = add(c, "an\0na")
        said = {"a": ["\0", "\\u0000", "\\\0"]}
        row = {"scope": "s", "key": "k", "request_hash": "h", "response": said, "created_at": 0}
        c.execute(sa.insert(idempotency_keys), row)
        found = c.execute(sa.select(users.c.name).where(users.c.name == name)).scalar_one()
        return found, c.execute(sa.select(idempotency_keys.c.response)).scalar_one()

    assert await database.write(keep) == ("an\ufffdna", {"a": ["\ufffd", "\\u0000", "\\\ufffd"]})


async def test_single_write_does_not_wait_behind_a_hundred_of_another_caller(database: Database) -> None:
    may_go_on = asyncio.Event()
    done: list[str] = []

    async with anyio.create_task_group() as callers:

        async def write(cause: str) -> None:
            with written_for(cause):
                await database.write(lambda c: done.append(cause))

        for _ in range(CONNECTIONS):
            callers.start_soon(database.write, lambda c: await_only(may_go_on.wait()))
        for cause in (*["busy"] * 100, "seldom", "seldom", "", ""):
            callers.start_soon(write, cause)
        await anyio.wait_all_tasks_blocked()
        may_go_on.set()
    assert (len(done), "".join(done[2 * CONNECTIONS :])) == (104, "busy" * (104 - 2 * CONNECTIONS))


async def test_caller_cancelled_on_getting_a_connection_slot_frees_the_slot(database: Database) -> None:
    may_go_on = asyncio.Event()
    waiting: list[asyncio.Task[None]] = []

    async def write_and_cancel() -> None:
        await database.write(lambda c: await_only(may_go_on.wait()))
        for task in waiting:  # one of them has got the place of this job, and not begun
            task.cancel()

    async with anyio.create_task_group() as callers:
        for _ in range(CONNECTIONS):
            callers.start_soon(write_and_cancel)
        await anyio.wait_all_tasks_blocked()
        start = asyncio.create_task  # noqa: TID251  # a task group cancels only what waits still
        waiting += [start(database.write(nodes.touch)) for _ in range(3 * CONNECTIONS)]
        await anyio.wait_all_tasks_blocked()
        may_go_on.set()
    with anyio.fail_after(10):
        for _ in range(CONNECTIONS):
            await database.read(nodes.touch)


def is_in_transaction(c: sa.Connection) -> bool:
    c.execute(sa.select(sa.literal(1)))
    return bool(some(c.connection.driver_connection).is_in_transaction())


@lone
def is_lone_in_transaction(c: sa.Connection) -> bool:
    return is_in_transaction(c)


@lone
def read_one_then_another(c: sa.Connection) -> None:
    c.execute(sa.select(sa.literal(1)))
    c.execute(sa.select(sa.literal(2)))


@lone
def add_in_a_read(c: sa.Connection) -> None:
    add(c, "anna")


async def test_single_select_read_opens_no_transaction_and_refuses_other_statements(
    database: Database,
) -> None:
    assert await database.read(is_in_transaction) and not await database.read(is_lone_in_transaction)
    for job in (read_one_then_another, add_in_a_read):
        with pytest.raises(AssertionError, match="one SELECT"):
            await database.read(job)
    assert await database.read(names) == []
    assert not await database.read(is_lone_in_transaction)


# --- behind PgBouncer ---


JOBS = 60


@pytest.fixture
def pooled_url(postgres: Postgres) -> Iterator[str]:
    """The address of an empty database by way of PgBouncer, which has two connections to the server."""
    if (reason := why_no_pgbouncer()) is not None:
        pytest.skip(reason)
    with postgres.database() as direct, running_pgbouncer(postgres, connections=2) as address:
        yield f"{address}/{direct.rpartition('/')[2]}"


async def test_two_hubs_share_the_few_connections_of_pgbouncer(pooled_url: str) -> None:
    titles = [f"{number:03}" for number in range(JOBS)]
    pooled = f"{pooled_url}?pgbouncer=true"
    async with open_store(pooled) as ours, open_store(pooled) as theirs, anyio.create_task_group() as tasks:
        for number, title in enumerate(titles):
            store = ours if number % 2 else theirs
            tasks.start_soon(store.write, add, title)
            tasks.start_soon(store.read, names)
    async with open_store(pooled) as store:
        assert await store.read(names) == titles


async def test_statement_timeouts_behind_pgbouncer_apply_to_their_own_hub_only(
    pooled_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(f"{pooled_url}?pgbouncer=true") as patient:
        monkeypatch.setattr(module, "STATEMENT_MS", 50)
        async with open_store(f"{pooled_url}?pgbouncer=true") as hasty:
            with pytest.raises(Busy, match="took too long"):
                await hasty.read(_statement_limit, wait_s=60.0)
            assert await hasty.read(_statement_limit) == "50ms"
            assert await patient.read(_statement_limit) == "5s"


def _statement_limit(c: sa.Connection, *, wait_s: float = 0.0) -> str:
    c.execute(sa.select(sa.func.pg_sleep(wait_s)))
    return str(c.execute(sa.text("SHOW statement_timeout")).scalar_one())


@each("state", ["26000", "42P05"])
def test_lost_prepared_statement_is_a_condition_naming_the_option(state: str) -> None:
    lost = Exception('prepared statement "__asyncpg_stmt_1__" does not exist')
    lost.sqlstate = state  # type: ignore[attr-defined]
    found = translated(sa.exc.DBAPIError("SELECT 1", (), lost))
    assert isinstance(found, DatabaseUnavailable) and found.trouble == "away"
    assert POOLED in str(found) and "__asyncpg_stmt_1__" in str(found)


async def test_pgbouncer_without_the_option_is_detected_and_the_option_named(pooled_url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="add the option pgbouncer=true to the address"):
        async with open_store(pooled_url):
            pass
