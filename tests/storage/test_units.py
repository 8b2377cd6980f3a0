"""Digests of whole listings belong to the ledger beside them, on both databases."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from protocol.lifecycles import RunEvent, RunOutcome, RunState
from storage import retention
from storage.agents.agents import AgentRow
from storage.runs import agreement, run_moves, run_pauses
from storage.runs.runs import HeldRun, StaleRun
from storage.runs.units import RENEWED_AFTER_MS, has_settled_tree, ledger_entries, settle_tree, settle_unit
from storage.schema import agents, folder_trees, runs
from tests.storage.rows import AT, PROMPT_1, make_agent, make_run, plan

TREE, FILES = "tree-1", {"a.txt": "sha-1"}


@pytest.fixture
def agent(c: sa.Connection) -> AgentRow:
    return make_agent(c)


def begin(c: sa.Connection, agent: AgentRow, name: str, fingerprint: str = PROMPT_1) -> HeldRun:
    return make_run(c, name, agent=agent, state=RunState.RUNNING, fingerprint=fingerprint).held


def end(c: sa.Connection, held: HeldRun) -> None:
    run_moves.move(c, held, RunEvent.FINISHED, at=AT, actor="hub", outcome=RunOutcome.SUCCESS)


def read(c: sa.Connection, held: HeldRun, digest: str = "sha-1", file: str = "a.txt", at: int = AT) -> None:
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
def held(c: sa.Connection, agent: AgentRow) -> HeldRun:
    """The first run of the agent."""
    return begin(c, agent, "first")


@pytest.mark.usefixtures("settled")
def test_a_tree_is_settled_for_the_next_run_with_the_same_settings(c: sa.Connection, agent: AgentRow) -> None:
    for name in ("next", "after that"):
        held = begin(c, agent, name)
        assert has_settled_tree(c, held, TREE, AT)
        end(c, held)


@pytest.mark.usefixtures("settled")
def test_another_tree_and_other_settings_are_read(c: sa.Connection, agent: AgentRow) -> None:
    held = begin(c, agent, "other prompt", fingerprint="other")
    assert not has_settled_tree(c, held, TREE, AT)
    end(c, held)
    settle(c, agent, "second")
    assert not has_settled_tree(c, begin(c, agent, "changed"), "tree-2", AT)


@pytest.mark.usefixtures("settled")
def test_a_tree_of_one_agent_is_none_of_another(c: sa.Connection) -> None:
    assert not has_settled_tree(c, begin(c, make_agent(c, "elsewhere", device="tower"), "other"), TREE, AT)


@pytest.mark.usefixtures("settled")
def test_a_tree_is_forgotten_before_a_run_changes_the_ledger(c: sa.Connection, agent: AgentRow) -> None:
    broken = begin(c, agent, "breaks")
    assert not has_settled_tree(c, broken, "tree-2", AT)
    read(c, broken, "sha-2")
    end(c, broken)
    assert not has_settled_tree(c, begin(c, agent, "next"), TREE, AT)


@pytest.mark.parametrize("files", [{"a.txt": "sha-2"}, {"a.txt": "sha-1", "b.txt": "sha-1"}])
def test_a_tree_of_which_the_ledger_lacks_a_content_is_not_settled(
    c: sa.Connection, held: HeldRun, agent: AgentRow, files: dict[str, str]
) -> None:
    has_settled_tree(c, held, TREE, AT)
    read(c, held)
    assert not settle_tree(c, held, TREE, files)
    end(c, held)
    assert not has_settled_tree(c, begin(c, agent, "next"), TREE, AT)


def test_no_tree_is_settled_while_an_earlier_run_may_go_on(c: sa.Connection, agent: AgentRow) -> None:
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


def test_runs_that_ended_early_do_not_stand_in_the_way(c: sa.Connection, agent: AgentRow) -> None:
    for name in ("one", "two"):
        held = begin(c, agent, name)
        has_settled_tree(c, held, None, AT)
        end(c, held)
    settle(c, agent)


def test_a_later_attempt_of_a_run_lists_the_files_again(c: sa.Connection, held: HeldRun) -> None:
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
    assert retention.prune_units(c, ("", ""), before=AT + 1, since=0)[0] == 1


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", [empty, prune])
def test_whoever_changes_the_ledger_spoils_the_tree(
    c: sa.Connection, agent: AgentRow, change: Callable[[sa.Connection, AgentRow], None]
) -> None:
    other = make_agent(c, "elsewhere", device="tower")
    settle(c, other, "other", "b.txt", at=AT + 1)
    change(c, agent)
    assert not has_settled_tree(c, begin(c, agent, "next"), TREE, AT)
    assert has_settled_tree(c, begin(c, other, "other next"), TREE, AT), "its ledger is what it was"


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", [empty, prune])
def test_a_run_whose_ledger_was_changed_while_it_read_settles_no_tree(
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
def test_a_tree_is_believed_until_the_entries_of_its_files_have_to_be_renewed(
    c: sa.Connection, agent: AgentRow
) -> None:
    held = begin(c, agent, "in time")
    assert has_settled_tree(c, held, TREE, AT + RENEWED_AFTER_MS)
    end(c, held)
    assert not has_settled_tree(c, begin(c, agent, "late"), TREE, AT + RENEWED_AFTER_MS + 1)


@pytest.mark.usefixtures("settled")
def test_an_agent_that_is_deleted_takes_its_trees_with_it(c: sa.Connection, agent: AgentRow) -> None:
    c.execute(sa.delete(runs))
    c.execute(sa.delete(agents).where(agents.c.id == agent.id))
    assert c.execute(sa.select(folder_trees)).all() == []


def test_a_run_that_lost_its_fence_neither_reads_nor_settles(c: sa.Connection, held: HeldRun) -> None:
    late = HeldRun(held.id, held.state, held.fence + 1)
    with pytest.raises(StaleRun):
        has_settled_tree(c, late, TREE, AT)
    with pytest.raises(StaleRun):
        settle_tree(c, late, TREE, FILES)


@pytest.mark.usefixtures("settled")
def test_an_entry_that_was_read_with_other_settings_has_no_content(c: sa.Connection, agent: AgentRow) -> None:
    keys = ["a.txt", "b.txt"]
    (entry,) = ledger_entries(c, agent.id, PROMPT_1, keys).values()
    assert (entry.content_hash, entry.tried_at) == ("sha-1", AT)
    assert ledger_entries(c, agent.id, "other", keys)["a.txt"].content_hash == ""
