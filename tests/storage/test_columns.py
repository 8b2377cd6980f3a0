import math

import pytest
import sqlalchemy as sa

from protocol.lifecycles import RunState
from storage.kernel.columns import now_ms
from storage.kernel.sqlite import machine_now_ms
from storage.schema import idempotency_keys, runs, schedules, users
from tests.storage.rows import AT, make_agent, make_run


def kept(c: sa.Connection, value: object) -> object:
    c.execute(
        sa.insert(idempotency_keys),
        {"scope": "s", "key": "k", "request_hash": "h", "response": value, "created_at": AT},
    )
    return c.execute(sa.select(idempotency_keys.c.response)).scalar_one()


@pytest.mark.parametrize("value", [None, {"a": [1, 2.5, "x", None]}, [], "text", 2**60])
def test_a_document_comes_back_as_it_was(c: sa.Connection, value: object) -> None:
    assert kept(c, value) == value


def test_what_is_no_number_becomes_null_in_a_document(c: sa.Connection) -> None:
    assert kept(c, [math.nan, math.inf]) == [None, None]


def test_a_state_comes_back_as_a_member_and_a_foreign_word_is_refused(c: sa.Connection) -> None:
    run = make_run(c)
    assert c.execute(sa.select(runs.c.state)).scalar_one() is RunState.QUEUED
    with pytest.raises(sa.exc.StatementError):
        c.execute(sa.update(runs).where(runs.c.id == run.id).values(state="DONE"))
    with pytest.raises(sa.exc.IntegrityError, match="ck_runs_state"):
        c.exec_driver_sql("UPDATE runs SET state = 'DONE', fence = 1")


def test_a_flag_is_true_or_false(c: sa.Connection) -> None:
    schedule = {"id": "s", "agent_id": make_agent(c).id, "kind": "cron", "expr": "* * * * *", "cursor_at": AT}
    c.execute(sa.insert(schedules), schedule | {"enabled": False, "created_at": AT, "updated_at": AT})
    assert c.execute(sa.select(schedules.c.enabled)).scalar_one() is False
    with pytest.raises(sa.exc.DBAPIError, match="enabled"):
        c.exec_driver_sql("UPDATE schedules SET enabled = 2")


def test_a_column_takes_its_own_type_alone(c: sa.Connection) -> None:
    with pytest.raises(sa.exc.DBAPIError, match=r"INTEGER column|as an integer"):
        c.execute(sa.insert(users), {"id": "u", "name": "anna", "created_at": "yesterday"})


@pytest.mark.parametrize(
    "impossible",
    [
        "UPDATE runs SET state = 'RUNNING'",  # without a lease
        "UPDATE runs SET state = 'FAILED', fence = 1, outcome = 'error'",  # without an end
        "UPDATE runs SET state = 'COMPLETED', fence = 1, completed_at = 1",  # without an outcome
        "UPDATE runs SET outcome = 'success'",  # before the end
        "UPDATE runs SET state = 'PAUSED'",  # without a reason
        "UPDATE runs SET attempt = 6",
        "UPDATE runs SET progress = 101",
    ],
)
def test_a_run_that_cannot_be_is_refused_by_the_database_itself(c: sa.Connection, impossible: str) -> None:
    make_run(c)
    with pytest.raises(sa.exc.IntegrityError, match=r"CHECK constraint failed|violates check constraint"):
        c.exec_driver_sql(impossible)


def test_the_database_has_a_clock_of_its_own(c: sa.Connection) -> None:
    before = machine_now_ms()
    told = c.execute(sa.select(now_ms())).scalar_one()
    assert before - 1 <= told <= machine_now_ms() + 1  # both databases of these tests are on this machine


def test_the_clock_goes_on_within_a_transaction(c: sa.Connection) -> None:
    told = (c.execute(sa.select(now_ms())).scalar_one() for _ in range(100_000))
    begun = next(told)
    assert any(later > begun for later in told)
