"""Digests of whole listings belong to the ledger beside them, on both databases."""

from collections.abc import Callable
from typing import Any, Final, Literal

import pytest
import sqlalchemy as sa

from protocol.ids import AgentId, RunId
from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage.agents.agents import AgentRow, get_agent
from storage.effects import orphans
from storage.executing_runs import FencedRun, StaleRun
from storage.runs import agreement, calls, run_moves, run_pauses, units
from storage.runs.calls import ReportedVerdict
from storage.runs.units import RENEWED_AFTER_MS, has_settled_tree, ledger_entries, settle_tree, settle_unit
from storage.schema import agents, devices, folder_trees, items, run_calls, runs, unit_ledger
from tests.storage.rows import AT, PROMPT_1, claim, make_agent, make_run, plan, running, some
from tests.storage.test_items import DESK, as_new, bring, is_known, item, the_item
from tests.storage.test_items import plan as plan_items

TREE, FILES = "tree-1", {"a.txt": "sha-1"}


@pytest.fixture
def agent(c: sa.Connection) -> AgentRow:
    return make_agent(c)


def begin(c: sa.Connection, agent: AgentRow, name: str, fingerprint: str = PROMPT_1) -> FencedRun:
    return make_run(c, name, agent=agent, state=RunState.RUNNING, fingerprint=fingerprint).held


def end(c: sa.Connection, held: FencedRun) -> None:
    run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)


def read(c: sa.Connection, held: FencedRun, digest: str = "sha-1", file: str = "a.txt", at: int = AT) -> None:
    plan(c, held, file, digest=digest)
    settle_unit(c, held, file, at)


def settle(c: sa.Connection, agent: AgentRow, name: str = "first", file: str = "a.txt", at: int = AT) -> None:
    """Read the folder in one run, to its end."""
    held = begin(c, agent, name)
    assert not has_settled_tree(c, held, TREE, AT)
    read(c, held, file=file, at=at)
    assert settle_tree(c, held, TREE, {file: "sha-1"})
    end(c, held)


@pytest.fixture
def settled(c: sa.Connection, agent: AgentRow) -> None:
    """A tree that one run has settled."""
    settle(c, agent)


@pytest.fixture
def held(c: sa.Connection, agent: AgentRow) -> FencedRun:
    """The first run of the agent."""
    return begin(c, agent, "first")


@pytest.mark.usefixtures("settled")
def test_a_tree_is_settled_for_the_next_run_with_the_same_settings(c: sa.Connection, agent: AgentRow) -> None:
    for name in ("next", "after that"):
        held = begin(c, agent, name)
        assert has_settled_tree(c, held, TREE, AT)
        end(c, held)


@pytest.mark.usefixtures("settled")
def test_changed_tree_or_settings_are_not_settled(c: sa.Connection, agent: AgentRow) -> None:
    held = begin(c, agent, "other prompt", fingerprint="other")
    assert not has_settled_tree(c, held, TREE, AT)
    end(c, held)
    settle(c, agent, "second")
    assert not has_settled_tree(c, begin(c, agent, "changed"), "tree-2", AT)


@pytest.mark.usefixtures("settled")
def test_settled_tree_of_an_agent_is_not_settled_for_another(c: sa.Connection) -> None:
    assert not has_settled_tree(c, begin(c, make_agent(c, "elsewhere", device="tower"), "other"), TREE, AT)


@pytest.mark.usefixtures("settled")
def test_run_reading_a_changed_tree_invalidates_the_settled_tree(c: sa.Connection, agent: AgentRow) -> None:
    broken = begin(c, agent, "breaks")
    assert not has_settled_tree(c, broken, "tree-2", AT)
    read(c, broken, "sha-2")
    end(c, broken)
    assert not has_settled_tree(c, begin(c, agent, "next"), TREE, AT)


@pytest.mark.parametrize("files", [{"a.txt": "sha-2"}, {"a.txt": "sha-1", "b.txt": "sha-1"}])
def test_tree_with_a_content_missing_from_the_ledger_is_not_settled(
    c: sa.Connection, held: FencedRun, agent: AgentRow, files: dict[str, str]
) -> None:
    has_settled_tree(c, held, TREE, AT)
    read(c, held)
    assert not settle_tree(c, held, TREE, files)
    end(c, held)
    assert not has_settled_tree(c, begin(c, agent, "next"), TREE, AT)


def test_tree_is_not_settled_while_an_earlier_run_is_live(c: sa.Connection, agent: AgentRow) -> None:
    paused = begin(c, agent, "paused")
    assert not has_settled_tree(c, paused, TREE, AT)
    run_moves.move(c, paused, RunEvent.DEVICE_LOST, at=AT, actor="hub")
    held = begin(c, agent, "first")
    assert not has_settled_tree(c, held, TREE, AT)
    read(c, held)
    assert not settle_tree(c, held, TREE, FILES)
    end(c, held)
    run_pauses.request_cancel(c, paused.id, "not needed", AT)
    settle(c, agent, "next")


def test_tree_can_be_settled_after_runs_with_an_early_end(c: sa.Connection, agent: AgentRow) -> None:
    for name in ("one", "two"):
        held = begin(c, agent, name)
        has_settled_tree(c, held, None, AT)
        end(c, held)
    settle(c, agent)


def test_a_later_attempt_of_a_run_lists_the_files_again(c: sa.Connection, held: FencedRun) -> None:
    has_settled_tree(c, held, TREE, AT)
    read(c, held)
    assert settle_tree(c, held, TREE, FILES)
    assert not has_settled_tree(c, held, TREE, AT)  # it counts the units that it has


def empty(c: sa.Connection, agent: AgentRow) -> None:
    """A comparison with the device finds that a file has to be read again."""
    assert agent.device_id is not None
    agreement._read_again(c, "a.txt", agent.device_id)


def prune(c: sa.Connection, agent: AgentRow) -> None:
    """Nobody has seen the file for long, although runs went on."""
    assert orphans.prune_units(c, ("", ""), before=AT + 1, since=0)[0] == 1


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", [empty, prune])
def test_change_of_the_ledger_invalidates_the_settled_tree_of_the_agent(
    c: sa.Connection, agent: AgentRow, change: Callable[[sa.Connection, AgentRow], None]
) -> None:
    other = make_agent(c, "elsewhere", device="tower")
    settle(c, other, "other", "b.txt", at=AT + 1)
    change(c, agent)
    assert not has_settled_tree(c, begin(c, agent, "next"), TREE, AT)
    assert has_settled_tree(c, begin(c, other, "other next"), TREE, AT), "its ledger is what it was"


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", [empty, prune])
def test_run_settles_no_tree_when_the_ledger_changed_during_the_reading(
    c: sa.Connection, agent: AgentRow, change: Callable[[sa.Connection, AgentRow], None]
) -> None:
    held = begin(c, agent, "next")
    assert not has_settled_tree(c, held, None, AT)  # it passes over the file, because the ledger has it
    change(c, agent)
    assert not settle_tree(c, held, TREE, {})
    run_moves.move(c, held, RunEvent.DEVICE_LOST, at=AT, actor="hub")
    later = begin(c, agent, "meanwhile")
    assert not has_settled_tree(c, later, TREE, AT)
    assert not settle_tree(c, later, TREE, {}), "the first one may change the ledger yet"


@pytest.mark.usefixtures("settled")
def test_settled_tree_expires_when_the_ledger_entries_are_due_for_renewal(
    c: sa.Connection, agent: AgentRow
) -> None:
    held = begin(c, agent, "in time")
    assert has_settled_tree(c, held, TREE, AT + RENEWED_AFTER_MS)
    end(c, held)
    assert not has_settled_tree(c, begin(c, agent, "late"), TREE, AT + RENEWED_AFTER_MS + 1)


@pytest.mark.usefixtures("settled")
def test_deletion_of_an_agent_deletes_the_folder_trees(c: sa.Connection, agent: AgentRow) -> None:
    c.execute(sa.delete(runs))
    c.execute(sa.delete(agents).where(agents.c.id == agent.id))
    assert c.execute(sa.select(folder_trees)).all() == []


def test_run_with_a_wrong_fence_neither_reads_nor_settles_a_tree(c: sa.Connection, held: FencedRun) -> None:
    late = FencedRun(held.id, held.state, held.fence + 1)
    with pytest.raises(StaleRun):
        has_settled_tree(c, late, TREE, AT)
    with pytest.raises(StaleRun):
        settle_tree(c, late, TREE, FILES)


@pytest.mark.usefixtures("settled")
def test_ledger_entry_of_other_settings_has_no_content(c: sa.Connection, agent: AgentRow) -> None:
    keys = ["a.txt", "b.txt"]
    (entry,) = ledger_entries(c, agent.id, PROMPT_1, keys).values()
    assert (entry.content_hash, entry.tried_at) == ("sha-1", AT)
    assert ledger_entries(c, agent.id, "other", keys)["a.txt"].content_hash == ""


Verdict = Literal["approved", "edited", "rejected"]

DAY: Final = 86_400_000
BEFORE: Final = AT + 100 * DAY  # all that a test writes first is older
SINCE: Final = AT + 130 * DAY
LATER: Final = AT + 150 * DAY


def settled_item(c: sa.Connection, *, verdict: Verdict | None = None) -> FencedRun:
    """An item of the unit ``a.txt`` is at the device; its owner may have judged it. The run goes on."""
    held = running(c)
    bring(c, held, plan_items(c, held, as_new(item())))
    units.settle_unit(c, held, "a.txt", AT)
    if verdict is not None:
        calls.record_verdicts(c, DESK, [ReportedVerdict(the_item(c).call_id, verdict)], AT)
    return held


def begin_run(c: sa.Connection, id: str) -> FencedRun:
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


def prune_items(c: sa.Connection) -> tuple[int, int]:
    """Delete what is gone; the numbers of entries and items."""
    went, place = orphans.prune_units(c, ("", ""), before=BEFORE, since=SINCE)
    assert place == ("", "")
    return went, orphans.prune_items(c, "", before=BEFORE)[0]


def left(c: sa.Connection, table: sa.Table) -> int:
    return int(c.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


@pytest.fixture
def done(c: sa.Connection) -> None:
    """A run that has delivered an item."""
    end(c, settled_item(c))


@pytest.mark.usefixtures("done")
def test_ledger_entry_of_a_vanished_file_is_pruned_without_the_items(
    c: sa.Connection,
) -> None:
    run_later(c, sees=False)
    forget_calls(c)
    assert (prune_items(c), left(c, unit_ledger), left(c, items)) == ((1, 0), 0, 1)


@pytest.mark.usefixtures("done")
def test_ledger_entry_is_retained_while_no_later_run_missed_the_file(c: sa.Connection) -> None:
    assert prune_items(c) == (0, 0)
    run_later(c, sees=True)
    assert (prune_items(c), left(c, unit_ledger)) == ((0, 0), 1)


def test_ledger_entry_is_renewed_once_a_month(c: sa.Connection) -> None:
    held = settled_item(c)
    for at, done_at in ((AT + RENEWED_AFTER_MS, AT), (AT + RENEWED_AFTER_MS + 1, AT + RENEWED_AFTER_MS + 1)):
        units.renew_entries(c, held, ["a.txt"], at)
        assert c.execute(sa.select(unit_ledger.c.done_at)).scalar_one() == done_at


def test_rejected_item_is_pruned_with_the_ledger_entry_of_the_source(c: sa.Connection) -> None:
    end(c, settled_item(c, verdict="rejected"))
    forget_calls(c)
    assert prune_items(c) == (0, 0)
    run_later(c, sees=False)
    assert prune_items(c) == (1, 1)


@pytest.mark.parametrize("verdict", ["approved", "edited"])
def test_delivered_item_is_known_when_the_pruned_file_returns(c: sa.Connection, verdict: Verdict) -> None:
    end(c, settled_item(c, verdict=verdict))
    run_later(c, sees=False)
    forget_calls(c)
    assert prune_items(c) == (1, 0)
    again = plan_items(c, begin_run(c, "run-3"), is_known)
    assert (again.open_calls, again.known) == ([], 1)


@pytest.mark.parametrize(
    "kept",
    ["its call is kept", "its verdict is young", "its file is read again", "another agent has its file"],
)
def test_rejected_item_is_retained_with_a_recent_call_verdict_or_file(c: sa.Connection, kept: str) -> None:
    end(c, settled_item(c, verdict="rejected"))
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
    assert prune_items(c) == (0, 0)


def test_items_of_a_device_revoked_long_ago_are_pruned(c: sa.Connection) -> None:
    end(c, settled_item(c, verdict="approved"))
    forget_calls(c)
    c.execute(sa.delete(unit_ledger))
    assert prune_items(c) == (0, 0)
    for revoked_at, gone in ((LATER, 0), (None, 0), (AT, 1)):
        c.execute(sa.update(devices).values(revoked_at=revoked_at))
        assert prune_items(c) == (0, gone)


@pytest.mark.usefixtures("done")
def test_ledger_entries_of_an_archived_agent_are_pruned(c: sa.Connection) -> None:
    c.execute(sa.update(agents).values(deleted_at=AT))
    assert prune_items(c) == (1, 0)


@pytest.mark.usefixtures("done")
def test_unit_pruning_examines_a_limited_number_of_rows_and_continues(c: sa.Connection) -> None:
    (entry,) = c.execute(sa.select(unit_ledger)).mappings()
    for number in range(4):
        c.execute(sa.insert(unit_ledger), {**entry, "unit_key": f"b-{number}.txt"})
    c.execute(sa.update(agents).values(deleted_at=AT))
    place = ("", "")
    went: list[int] = []
    while place != ("", "") or not went:
        rows, place = orphans.prune_units(c, place, before=BEFORE, since=SINCE, rows=2)
        went.append(rows)
    assert went == [2, 2, 1]


def _copy(c: sa.Connection, table: sa.Table, **changes: Any) -> None:
    """Write another row like the only one."""
    (row,) = c.execute(sa.select(table)).mappings()
    c.execute(sa.insert(table), {**row, **changes})
