"""What neither a source nor a device has is deleted; nothing else, so that nothing is delivered twice."""

from typing import Any, Final, Literal

import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from protocol.lifecycles import RunEvent, RunOutcome
from storage import retention
from storage.agents.agents import get_agent
from storage.runs import calls, run_moves, units
from storage.runs.calls import ReportedVerdict
from storage.runs.runs import HeldRun
from storage.runs.units import RENEWED_AFTER_MS
from storage.schema import agents, devices, items, run_calls, unit_ledger
from tests.storage.rows import AT, claim, running, some
from tests.storage.test_items import DESK, as_new, bring, is_known, item, plan, the_item

Verdict = Literal["approved", "edited", "rejected"]

DAY: Final = 86_400_000
BEFORE: Final = AT + 100 * DAY  # all that a test writes first is older
SINCE: Final = AT + 130 * DAY
LATER: Final = AT + 150 * DAY


def settled(c: sa.Connection, *, verdict: Verdict | None = None) -> HeldRun:
    """An item of the unit ``a.txt`` is at the device; its owner may have judged it. The run goes on."""
    held = running(c)
    bring(c, held, plan(c, held, as_new(item())))
    units.settle_unit(c, held, "a.txt", AT)
    if verdict is not None:
        calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, verdict)], AT)
    return held


def end(c: sa.Connection, held: HeldRun) -> None:
    run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)


def begin_run(c: sa.Connection, id: str) -> HeldRun:
    """Begin a later run of the only agent."""
    (agent_id,) = c.execute(sa.select(agents.c.id)).scalars()
    agent = get_agent(c, AgentId(agent_id))
    run_moves.create_run(c, id=RunId(id), agent=agent, fire_key=id, at=LATER, config_fingerprint="f")
    claimed = some(claim(c, at=LATER))
    assert claimed.id == id
    return run_moves.move(c, claimed.held, RunEvent.ACKNOWLEDGED, at=LATER, actor="device")


def run_later(c: sa.Connection, *, sees: bool) -> None:
    """A later run of the agent succeeds, and has seen the file or not."""
    held = begin_run(c, "run-2")
    if sees:
        units.renew_entries(c, held, ["a.txt"], LATER)
    run_moves.move(c, held, RunEvent.FINISHED, at=LATER, actor="hub", outcome=RunOutcome.SUCCESS)


def forget_calls(c: sa.Connection) -> None:
    """The calls go with their runs."""
    c.execute(sa.delete(run_calls))


def prune(c: sa.Connection) -> tuple[int, int]:
    """Delete what is gone; the numbers of entries and items."""
    went, place = retention.prune_units(c, ("", ""), before=BEFORE, since=SINCE)
    assert place == ("", "")
    return went, retention.prune_items(c, "", before=BEFORE)[0]


def left(c: sa.Connection, table: sa.Table) -> int:
    return int(c.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


@pytest.fixture
def done(c: sa.Connection) -> None:
    """A run that has delivered an item."""
    end(c, settled(c))


@pytest.mark.usefixtures("done")
def test_the_entry_of_a_file_that_later_runs_did_not_see_goes_and_the_items_at_the_device_stay(
    c: sa.Connection,
) -> None:
    run_later(c, sees=False)
    forget_calls(c)
    assert (prune(c), left(c, unit_ledger), left(c, items)) == ((1, 0), 0, 1)


@pytest.mark.usefixtures("done")
def test_an_entry_stays_while_its_file_is_seen_and_while_no_run_could_have_seen_it(c: sa.Connection) -> None:
    assert prune(c) == (0, 0)
    run_later(c, sees=True)
    assert (prune(c), left(c, unit_ledger)) == ((0, 0), 1)


def test_an_entry_is_renewed_once_a_month(c: sa.Connection) -> None:
    held = settled(c)
    for at, done_at in ((AT + RENEWED_AFTER_MS, AT), (AT + RENEWED_AFTER_MS + 1, AT + RENEWED_AFTER_MS + 1)):
        units.renew_entries(c, held, ["a.txt"], at)
        assert c.execute(sa.select(unit_ledger.c.done_at)).scalar_one() == done_at


def test_what_an_owner_rejected_goes_after_its_source(c: sa.Connection) -> None:
    end(c, settled(c, verdict="rejected"))
    forget_calls(c)
    assert prune(c) == (0, 0)
    run_later(c, sees=False)
    assert prune(c) == (1, 1)


@pytest.mark.parametrize("verdict", ["approved", "edited"])
def test_an_item_whose_row_the_device_has_is_known_when_its_file_comes_back(
    c: sa.Connection, verdict: Verdict
) -> None:
    end(c, settled(c, verdict=verdict))
    run_later(c, sees=False)
    forget_calls(c)
    assert prune(c) == (1, 0)
    again = plan(c, begin_run(c, "run-3"), is_known)
    assert (again.open_calls, again.known) == ([], 1)


@pytest.mark.parametrize(
    "kept",
    ["its call is kept", "its verdict is young", "its file is read again", "another agent has its file"],
)
def test_a_rejected_item_stays_while(c: sa.Connection, kept: str) -> None:
    end(c, settled(c, verdict="rejected"))
    if kept != "its call is kept":
        forget_calls(c)
    if kept == "its verdict is young":
        c.execute(sa.update(items).values(verdict_at=LATER))
    if kept == "another agent has its file":
        _copy(c, agents, id="other", name="other")
        c.execute(sa.update(unit_ledger).values(agent_id="other", done_at=LATER))
    elif kept == "its file is read again":
        c.execute(sa.update(unit_ledger).values(content_hash=""))
    else:
        c.execute(sa.delete(unit_ledger))
    assert prune(c) == (0, 0)


def test_items_of_a_device_that_was_revoked_long_ago_go(c: sa.Connection) -> None:
    end(c, settled(c, verdict="approved"))
    forget_calls(c)
    c.execute(sa.delete(unit_ledger))
    assert prune(c) == (0, 0)
    for revoked_at, gone in ((LATER, 0), (None, 0), (AT, 1)):
        c.execute(sa.update(devices).values(revoked_at=revoked_at))
        assert prune(c) == (0, gone)


@pytest.mark.usefixtures("done")
def test_what_an_archived_agent_read_goes(c: sa.Connection) -> None:
    c.execute(sa.update(agents).values(deleted_at=AT))
    assert prune(c) == (1, 0)


@pytest.mark.usefixtures("done")
def test_a_search_examines_as_many_rows_as_it_may_and_goes_on_behind_them(c: sa.Connection) -> None:
    (entry,) = c.execute(sa.select(unit_ledger)).mappings()
    for number in range(4):
        c.execute(sa.insert(unit_ledger), {**entry, "unit_key": f"b-{number}.txt"})
    c.execute(sa.update(agents).values(deleted_at=AT))
    place = ("", "")
    went: list[int] = []
    while place != ("", "") or not went:
        rows, place = retention.prune_units(c, place, before=BEFORE, since=SINCE, rows=2)
        went.append(rows)
    assert went == [2, 2, 1]


def _copy(c: sa.Connection, table: sa.Table, **changes: Any) -> None:
    """Write another row like the only one."""
    (row,) = c.execute(sa.select(table)).mappings()
    c.execute(sa.insert(table), {**row, **changes})
