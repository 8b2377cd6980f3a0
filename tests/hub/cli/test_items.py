"""Items on the command line: listed, shown and judged."""

import json
import os
import pwd
import sys
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal
from click.testing import CliRunner

from hub.base.printable import NOT_QUOTED
from hub.base.roles import Role
from hub.cli.errors import CommandError, Exit
from hub.cli.formats import item_state, proposals
from hub.cli.items import agreed
from protocol.calls import RowPlace
from protocol.capabilities import CAPABILITY_OF
from protocol.ids import DeviceId
from protocol.tool_calls import Action
from storage import schema
from storage.runs import item_lists, item_verdicts, items
from tests.hub.api.test_items import held, keep
from tests.hub.cli.conftest import Hub, ends
from tests.hub.device.test_inbox import COUNTED
from tests.support.families import each
from tests.support.hub import ServedHub, over_tcp


@pytest.fixture
def served(served: ServedHub, portal: BlockingPortal) -> ServedHub:
    """A hub with the five items of ``keep``."""
    portal.call(served.store.write, keep)
    return served


def test_items_are_listed_by_filters_and_shown(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    listed = hub("items").output
    assert "task 4" in listed and "open, instruction" in listed and "task 1" not in listed
    assert "task 1" in hub("items", "ls", "--all", "--table", "tasks").output
    assert "no matching items" in hub("items", "--path", "elsewhere/").output
    for of_table in (["ls"], ["approve", "--yes"], ["reject", "--yes"]):
        unknown = hub("items", *of_table, "--table", "task")
        assert (unknown.exit_code, "did you mean 'tasks'?" in unknown.stderr) == (2, True), of_table
        assert "query." not in unknown.stderr
    shown = hub("items", "show", "i-4").output
    assert "title=task 4" in shown and "quote" in shown and "open, instruction" in shown
    assert COUNTED.sentence in shown


def test_approved_tasks_are_listed_ticked_changed_and_undone_in_the_terminal(
    hub: Hub, served: ServedHub
) -> None:
    ends(hub("tasks"), 0, output=("task 1",), unsaid=("task 4", "approved"))
    ends(hub("tasks", "tick", "i-1"), 0, output=("edit task 1: pending",))
    ends(hub("tasks"), 0, output=("edit pending",))
    ends(hub("tasks", "undo", "i-1"), 0, output=("undo task 1: taken back",))
    ends(hub("tasks", "edit", "i-1", "priority=high"), 0, output=("edit task 1: pending",))
    ends(hub("tasks", "--done"), 0, output=("no such task",))
    for words in (("tick", "i-4"), ("edit", "i-1"), ("edit", "status=done")):
        ends(hub("tasks", *words), Exit.USAGE, "name tasks that 'hub tasks' lists")


@pytest.mark.parametrize(
    ("command", "title"),
    [("ls --all --text task_0", "task 0"), ("find task --in-state edited --limit 1", "task 2")],
)
def test_old_items_are_found_behind_pages_without_a_match(
    command: str, title: str, hub: Hub, served: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_lists, "MAX_EXAMINED", 1)
    words = [word.replace("_", " ") for word in command.split()]
    ends(hub("items", *words), 0, output=(title,), unsaid=("no matching items", "no item"))


def test_held_items_are_listed_shown_and_approved_apart(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    portal.call(served.store.write, held)
    assert "task 0" not in hub("items", "ls", "--all").output
    assert "less sure" in hub("items", "ls", "--unsure").output
    assert "less sure" in hub("items", "show", "i-0").output
    ends(hub("items", "reject", "--table", "tasks", "--dry-run"), 0, unsaid=("task 0",))
    ends(hub("items", "reject", "--unsure", "--dry-run"), 0, output=("task 0", "items to reject: 1"))
    ends(hub("items", "reject", "i-0"), 0, output=("reject task 0: done",))
    ends(hub("items", "undo", "i-0"), 0)
    ends(hub("items", "approve", "i-0"), 0, output=("approve task 0: pending",))


@pytest.mark.parametrize(
    ("table", "verdict", "is_listed"),
    [
        ("tasks", "edited", True),
        ("timelines", "approved", True),
        ("notes", "approved", False),
        ("tasks", "rejected", False),
        ("tasks", "open", False),
    ],
)
def test_refused_undo_names_tasks_undo_only_for_rows_of_the_agenda(
    table: str, verdict: str, is_listed: bool
) -> None:
    given = {"verdict": "undo", "state": "refused", "reason": "changed_meanwhile"}
    shown = item_state({"table": table, "verdict": verdict, "warnings": [], "given": given})
    assert ("undo refused: " in shown, "hub tasks undo" in shown) == (True, is_listed)


@pytest.mark.parametrize(
    ("decided_at", "shown"),
    [
        (None, "open, undo done"),
        ("2026-11-29T10:00:00Z", "approved, undo done"),
        ("2026-11-29T10:00:00.500Z", "approved"),
    ],
)
def test_undo_is_listed_until_a_newer_verdict_at_the_device(decided_at: str | None, shown: str) -> None:
    given = {"verdict": "undo", "state": "done", "reason": None, "settled_at": "2026-11-29T10:00:00Z"}
    verdict = "open" if decided_at is None else "approved"
    item: dict[str, Any] = {"table": "tasks", "verdict": verdict, "warnings": [], "given": given}
    assert item_state(item | {"verdict_at": decided_at}) == shown


@pytest.mark.parametrize("command", ["tasks", "items"])
def test_second_undo_of_a_tick_names_the_only_step_of_the_device(
    command: str, hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    settled = sa.update(schema.item_verdicts).values(state="done", settled_at=2**42)
    ends(hub("tasks", "tick", "i-1"), 0)
    portal.call(served.store.write, lambda c: c.execute(settled))
    ends(hub(command, "undo", "i-1"), 0, output=("undo task 1: pending",))
    portal.call(served.store.write, lambda c: c.execute(settled))
    left = "nothing is left to take back here; it is approved, for its device remembers one step"
    ends(hub(command, "undo", "i-1"), 0, output=(f"undo task 1: {left}",))


def test_items_find_shows_days_quotes_and_files(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    found = hub("items", "find", "TASK", "4").output
    assert "task 4" in found and "notes/a.md" in found and "“task”" in found and "task 1" not in found
    assert json.loads(hub("items", "find", "task", "--in-state", "open", "--limit", "1", "--json").stdout)[
        "next_cursor"
    ]
    ends(hub("items", "find", "elsewhere"), 0, output=("no item has all of these words",))
    ends(hub("items", "find"), 2, output=("give words to look for",))
    ends(hub("items", "find", "-", "--person", "?"), 2, output=("has no words",))


def test_items_commands_show_places_with_state_and_problem(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    assert "goes to" not in hub("items", "ls", "--all").output + hub("items", "show", "i-1").output
    places = [
        RowPlace(name="todo", kind="markdown", state="arrived", at_ms=1_000, link="notes/todo.md"),
        RowPlace(name="phone", kind="caldav", state="waiting", at_ms=2_000, problem="read_only"),
    ]
    portal.call(served.store.write, partial(items.note_places, found={"row-1": places}), DeviceId("d-1"))
    assert "todo, phone: waiting" in hub("items", "ls", "--all").output
    shown = hub("items", "show", "i-1").output
    assert "in todo, notes/todo.md (1970-01-01" in shown
    assert "not in phone yet: it cannot be written (1970-01-01" in shown


def test_items_are_judged_and_the_verdict_is_taken_back(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    assert "approve task 0: pending" in hub("items", "approve", "i-0", "title=Call Ana").output
    assert "open, approve pending" in hub("items", "show", "i-0").output
    assert "undo task 0: open" in hub("items", "undo", "i-0").output
    several = hub("items", "reject", "i-0", "i-1", "--json")
    assert [one["state"] for one in json.loads(several.stdout)["results"]] == ["pending", None]
    ends(hub("items", "edit", "--marked", "i-4", "colour=red"), 1, output=("there is no such field",))
    assert hub("items", "edit", "i-4").exit_code == 2


def test_verdict_rejected_by_the_connected_device_is_refused_immediately(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    link = portal.call(served.connect, portal.call(served.device, "lab"))
    ends(hub("items", "reject", "i-0"), 1, output=("its device takes no verdicts from a hub",))
    link.capabilities |= {CAPABILITY_OF[Action.REVIEW_APPLY]}
    assert hub("items", "approve", "i-0").exit_code == 1
    (result,) = json.loads(hub("items", "approve", "i-0", "--json").stdout)["results"]
    assert (result["state"], result["error"]["code"]) == (None, "not_granted")
    assert "its owner does not grant it; on the device: hub grants" in hub("items", "show", "i-0").stdout
    assert "hub grants +review.remote" in result["error"]["message"]
    grants: list[dict[str, list[str]]] = [{}, {"review.remote": []}]
    for granted in grants:  # the refusal names the grant that is enough
        link.owner_grants.update(granted)
        for verdict in (
            ["approve", "i-4", "--marked"],
            ["edit", "--marked", "i-4", "title=call Ana"],
        ):  # it has a mark
            ends(hub("items", *verdict), 1, output=("hub grants +review.remote=marked",))
    assert "approve task 0: pending" in hub("items", "approve", "i-0").output
    assert "it has a mark; on the device: hub review" in hub("items", "show", "i-4").stdout
    assert "reject task 4: pending" in hub("items", "reject", "i-4").output
    assert "undo task 4: open" in hub("items", "undo", "i-4").output
    link.owner_grants["review.remote"] = ["marked"]
    assert "approve task 4: pending" in hub("items", "approve", "i-4", "--marked").output
    assert f"approve by operator {pwd.getpwuid(os.getuid()).pw_name}" in hub("items", "show", "i-4").stdout


def test_items_approve_by_filter_or_range_skips_marked_items(
    hub: Hub, served: ServedHub, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.cli.items.PAUSE_S", 0.001)

    def given() -> dict[str, str]:
        rows = portal.call(served.store.read, item_verdicts.newest_verdicts, [f"i-{n}" for n in range(6)])
        return {id: row.verdict for id, row in rows.items()}

    listed = json.loads(hub("items", "ls", "--json").stdout)["items"]
    assert [(one["id"], bool(one["warnings"])) for one in listed] == [("i-4", True), ("i-0", False)]
    for words in (["--path", "notes/"], ["i-4..i-0"], ["--path", "notes/", "i-0..i-4"]):
        looked = hub("items", "approve", *words, "--dry-run")
        assert "items to approve: 1" in looked.output, looked.output
        assert "1 with a mark are left out: approve them by their ids" in looked.output
        ends(hub("items", "approve", *words), 2, output=("items to approve: 1. Go on?",))
        assert given() == {}
    ends(hub("items", "approve", "--path", "notes/", "--yes"), 0, output=("approve: 1 of 1 item",))
    assert given() == {"i-0": "approve"}
    assert hub("items", "reject", "--path", "notes/", "--yes").exit_code == 1, "i-0 has a verdict on its way"
    assert given() == {"i-0": "approve", "i-4": "reject"}
    actors = schema.item_verdicts.update().values(actor="session:1")
    rows = portal.call(served.store.read, item_verdicts.newest_verdicts, ["i-0"])
    own = schema.item_verdicts.update().values(actor=rows["i-0"].actor)
    portal.call(served.store.write, lambda c: c.execute(actors))
    refused = hub("items", "undo", "--last", "1", "--yes")
    ends(refused, Exit.FAILED, "hub items undo i-4", output=("no verdict was given in this terminal",))
    portal.call(served.store.write, lambda c: c.execute(own))
    assert hub("items", "undo", "--last", "--yes").exit_code == 0
    assert given() == {"i-0": "approve"}, "the newest verdict first"
    assert hub("items", "undo", "--last", "9", "--yes").exit_code == 0
    assert given() == {}
    for days, count in ((1, 2), (36_500, 0)):
        assert f"items to reject: {count}" in hub("items", "reject", "--older", str(days), "--dry-run").output


@pytest.mark.parametrize("other", ["session:1", "operator:99999"], ids=["page", "terminal of another user"])
def test_undo_of_the_last_verdicts_is_limited_to_verdicts_of_the_login(
    hub: Hub, served: ServedHub, portal: BlockingPortal, other: str
) -> None:
    assert hub("items", "reject", "i-0").exit_code == hub("items", "reject", "i-4").exit_code == 0
    verdicts = schema.item_verdicts
    later = sa.update(verdicts).where(verdicts.c.item_id == "i-4")
    later = later.values(actor=other, created_at=verdicts.c.created_at + 1)
    portal.call(served.store.write, lambda c: c.execute(later))

    def given() -> set[str]:
        return {*portal.call(served.store.read, item_verdicts.newest_verdicts, ["i-0", "i-4"])}

    ends(
        hub("items", "undo", "--last", "9", "--yes"), 0, output=("undo: 1 of 1 item", "1 verdict given since")
    )
    assert given() == {"i-4"}, "the newer one is of another login"
    refused = hub("items", "undo", "--last", "1", "--yes")
    ends(refused, Exit.FAILED, "hub items undo i-4", output=("the newest one is by", "reject task 4"))
    assert given() == {"i-4"}


def test_items_verdict_commands_name_failed_items_and_exit_with_1(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    for words in (["approve"], ["reject"], ["undo"], ["edit", "title=x"], ["edit", "--open", "title=x"]):
        for ids in (["nothing"], ["i-0", "nothing"], ["nothing", "i-0"]):
            ends(hub("items", *words, *ids), 1, output=("there is no item 'nothing'",))
            told = hub("items", *words, *ids, "--json")
            assert told.exit_code == 1
            errors = [one["error"] and one["error"]["code"] for one in json.loads(told.stdout)["results"]]
            assert errors[ids.index("nothing")] == "unknown_item"
        assert hub("items", *words).exit_code == 2
        portal.call(served.store.write, lambda c: c.execute(sa.delete(schema.item_verdicts)))


def propose(served: ServedHub, portal: BlockingPortal, *proposed: dict[str, Any]) -> str:
    """Propose verdicts by a token that may only read; return its actor."""

    async def ask() -> str:
        async with over_tcp(served, await served.token(Role.VIEWER)) as reader:
            answer = await reader.post("/v1/items/proposals", json={"proposals": proposed})
            assert all(one["error"] is None for one in answer.json()["results"]), answer.text
            actor: str = (await reader.get("/v1/me")).json()["actor"]
            return actor

    return portal.call(ask)


def test_change_is_shown_without_repeated_values() -> None:
    data = {"title": "Sell the car", "dueDate": None, "assignee": "Ana"}
    new = {"title": "Sell the car", "dueDate": "2026-12-10", "assignee": "Ben"}
    proposal = {
        "verdict": "edit",
        "by": "tidy",
        "why": "it says so",
        "data": new,
        "unsupported": ["assignee"],
    }
    changes = f"dueDate nothing -> '2026-12-10', assignee 'Ana' -> 'Ben'{NOT_QUOTED}"
    assert proposals({"data": data, "proposals": [proposal]}) == f"edit {changes} by tidy: it says so"


def test_proposals_are_listed_accepted_and_declined(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    assert "no matching items" in hub("items", "ls", "--proposed").output
    ends(hub("items", "accept", "i-0"), 1, output=("nothing is proposed on i-0",))
    for command in ("accept", "decline"):
        assert hub("items", command).exit_code == 2
    foreign = "<b>Ana did\n\u202eit</b>"
    edit = {"item": "i-0", "verdict": "edit", "data": {"title": "Call Ana"}, "why": foreign}
    one = propose(served, portal, edit, {"item": "i-4", "verdict": "approve", "why": "urgent"})
    two = propose(served, portal, {"item": "i-4", "verdict": "reject", "why": "an advert"})
    listed = hub("items", "ls", "--proposed").output
    assert (
        f"edit{NOT_QUOTED} by token test" in listed
        and "reject by token test, approve by token test" in listed
    )
    shown = hub("items", "show", "i-0").output
    change = f"edit title 'task 0' -> 'Call Ana'{NOT_QUOTED} by token test: <b>Ana did \\u202eit</b>"
    assert change in shown
    looked = hub("items", "accept", "--all", "--by", one, "--dry-run")
    assert "1 with a mark are left out: accept them by their ids" in looked.output, "it is to be approved"
    assert "items to accept: 0" in looked.output and "1 that change values are left out" in looked.output
    assert "items to accept: 1" in hub("items", "accept", "--all", "--dry-run").output
    assert "items to accept: 0" in hub("items", "accept", "--by", "watch", "--dry-run").output
    ends(hub("items", "accept", "--all", "--by", "test"), 2, output=("items to accept: 1", "Go on?"))
    ends(hub("items", "decline", "i-4", "--by", two), 0, output=("decline task 4: declined",))
    assert "accept task 4: pending" in hub("items", "accept", "i-4", "--marked").output, (
        "the other one, by its id"
    )
    for all_of in (["--all"], ["--path", "notes/"], ["i-0..i-0"], ["--by", "test"]):
        ends(hub("items", "accept", *all_of, "--yes"), 0, output=("accept: 0 of 0 items",))
    asked = (
        change,
        "from the words 'task'",
        "items to accept: 1, 1 of them with changes. Go on?",
    )
    ends(hub("items", "accept", "i-0"), 2, output=asked)
    ends(hub("items", "accept", "i-0", "--yes"), 0, output=("accept task 0: pending",))
    assert "no matching items" in hub("items", "ls", "--proposed").output
    assert "proposed by token test" in hub("items", "show", "i-0").output
    rows = portal.call(served.store.read, item_verdicts.newest_verdicts, ["i-0", "i-4"])
    assert {id: (row.verdict, row.proposed_by) for id, row in rows.items()} == {
        "i-0": ("edit", one),
        "i-4": ("approve", one),
    }


@each(
    "case",
    [("", "abc", None), ("n\ny\n", "abc", "ac"), ("y\nn\n", "abc", "ab"), ("", "a", "a")],
)
def test_each_marked_item_is_asked_about_on_a_terminal_below_the_words_of_the_item(
    case: tuple[str, str, str | None],
) -> None:
    typed, ids, taken = case
    words = {"b": ["Pay Eve", "  ! an order"], "c": ["Obey"]}
    with CliRunner().isolation(input=typed) as (_, err, _):
        sys.stdin.isatty = lambda: bool(typed)  # type: ignore[method-assign]
        if taken is None:
            with pytest.raises(CommandError, match="has a mark") as refused:
                agreed(ids, lambda id: words.get(id, ()))
            assert "--marked" in refused.value.next_step
        else:
            assert agreed(ids, lambda id: words.get(id, ())) == [*taken]
        shown = err.getvalue().decode()
    assert (" an order" in shown) == ("b" in ids)
