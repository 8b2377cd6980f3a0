"""Boards, their memory, souls, messages and broadcasts on the command line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from hub.api.resources.messages import MessagesResource
from hub.api.resources.souls import SoulsResource
from hub.cli.errors import Exit
from storage.coordination import souls
from tests.hub.api.test_gateway_routes import keep
from tests.hub.cli.conftest import Hub, ends
from tests.hub.coordination.post import WORKERS, PostBench, open_post
from tests.hub.coordination.souls import AS_IT_WAS, SoulBench, open_souls
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.hub import ServedHub


@pytest.fixture
def board(hub: Hub, served: ServedHub, portal: BlockingPortal) -> str:
    """The board roses, with the agents inbox, which leads it, and notes."""
    assert "no boards; create one: hub boards create NAME" in hub("boards").output
    made = hub("boards", "create", "roses", "--description", "What grows.")
    assert "board roses is created" in made.output
    for name, word in (("inbox", "--lead"), ("notes", "")):
        portal.call(served.agent, name)
        assert hub("boards", "add", "roses", name, *([word] if word else [])).exit_code == 0
    return "roses"


def test_boards_command_lists_boards_and_shows_a_board_with_agents(hub: Hub, board: str) -> None:
    assert hub("boards").stdout.splitlines()[1].split()[:4] == ["roses", "owner", "inbox", "2"]
    shown = hub("boards", "show", board).output
    assert "What grows." in shown
    assert [line.split()[:3] for line in shown.splitlines()[-2:]] == [
        ["inbox", "lead", "desk"],
        ["notes", "worker", "desk"],
    ]
    assert json.loads(hub("boards", "show", board, "--json").stdout)["lead"] == "inbox"


def test_boards_commands_edit_lead_drop_and_delete_a_board(hub: Hub, board: str) -> None:
    assert "board lawn is changed" in hub("boards", "edit", board, "--name", "lawn").output
    assert "the lead of board lawn: notes" in hub("boards", "lead", "lawn", "notes").output
    assert "the lead of board lawn: none" in hub("boards", "lead", "lawn", "--none").output
    assert "notes is on no board now" in hub("boards", "drop", "lawn", "notes").output
    assert "board lawn is deleted" in hub("boards", "delete", "lawn", "--yes").output
    assert "'hub boards' lists the boards" in hub("boards", "show", "lawn").output


def test_nudge_of_an_agent_outside_the_board_names_a_next_step(hub: Hub, board: str) -> None:
    refused = hub("messages", "nudge", board, "nobody", "hello").output
    assert "'hub boards show roses' lists its agents" in refused
    hub("boards", "create", "lawn")
    assert "'hub boards drop roses AGENT'" in hub("boards", "add", "lawn", "notes").output


def test_boards_memory_command_adds_lists_filters_and_removes_items(hub: Hub, board: str) -> None:
    assert "has no matching memory" in hub("boards", "memory", board).output
    added = hub("boards", "memory", board, "add", "cut them", "--tag", "weeds", "--tag", "urgent")
    assert "added to the memory of board roses" in added.output
    hub("boards", "memory", board, "add", "nice weather", "--chat")
    listed = hub("boards", "memory", board).stdout
    assert listed.index("nice weather") < listed.index("cut them")
    assert "weeds, urgent" in listed
    assert "nice weather" not in hub("boards", "memory", board, "ls", "--tag", "weeds").stdout
    assert "cut them" not in hub("boards", "memory", board, "ls", "--chat").stdout
    (item,) = json.loads(hub("boards", "memory", board, "ls", "--no-chat", "--json").stdout)["memory"]
    assert "removed from the memory" in hub("boards", "memory", board, "rm", item["id"][-8:], "--yes").output
    assert "cut them" not in hub("boards", "memory", board).stdout


def test_multiline_memory_item_is_a_single_line_of_the_list(hub: Hub, board: str) -> None:
    hub("boards", "memory", board, "add", "one\ntwo " + "x" * 200)
    (line,) = hub("boards", "memory", board).stdout.splitlines()[1:]
    assert "one two xxx" in line and line.endswith("...")


def test_agent_token_command_shows_the_token_once_and_revokes(hub: Hub, board: str) -> None:
    assert "agent inbox has no token" in hub("agents", "tokens", "inbox").output
    made = hub("agents", "token", "inbox", "--expires", "12h")
    token = made.stdout.strip()
    assert token.startswith("hub_agt_")
    assert "is shown only once" in made.output
    listed = hub("agents", "tokens", "inbox").stdout
    assert token[-4:] in listed and token not in listed
    (row,) = json.loads(hub("agents", "tokens", "inbox", "--json").stdout)["tokens"]
    assert hub("agents", "revoke-token", "inbox", "nothing", "--yes").exit_code == 1
    revoked = hub("agents", "revoke-token", "inbox", row["id"][-8:], "--yes")
    assert f"the token of inbox that ends in {token[-4:]} is revoked" in revoked.output
    (row,) = json.loads(hub("agents", "tokens", "inbox", "--json").stdout)["tokens"]
    assert row["revoked_at"] is not None


NOW = ("--wait", "0")


@pytest.fixture
def garden(hub: Hub, served: ServedHub, portal: BlockingPortal) -> Hub:
    """``hub`` with a board of a gateway, garden, and one without, shed."""
    portal.call(served.store.write, keep)
    hub("boards", "create", "garden", "--gateway", "office")
    hub("boards", "create", "shed")
    return hub


def test_a_message_to_a_lead_is_stored(garden: Hub) -> None:
    ends(
        garden("messages", "lead", "garden", "is", "it", "done?", *NOW),
        0,
        output=("the hub delivers it as soon as possible",),
    )
    told = json.loads(garden("messages", "lead", "garden", "yours", "--handoff", *NOW, "--json").stdout)
    assert (told["message"]["kind"], told["message"]["content"]) == ("handoff", "yours")
    assert "hub boards lead" in garden("messages", "lead", "shed", "hello?", *NOW).output


def test_a_broadcast_is_sent_listed_shown_and_resumed(garden: Hub) -> None:
    assert "no broadcasts" in garden("messages", "broadcasts").output
    sent = garden("messages", "broadcast", "the", "harvest", "is", "on", "Sunday", *NOW)
    assert sent.exit_code == 1  # a board has no lead
    assert "0 of 2 leads received it, 1 failed, 1 waiting" in sent.output
    assert "shed: board shed has no lead" in sent.output
    assert "the harvest is on Sunday" in garden("messages", "broadcasts").output
    id = json.loads(garden("messages", "broadcasts", "--json").stdout)["broadcasts"][0]["id"]
    shown = garden("messages", "broadcast-show", id[-8:]).output
    assert "garden" in shown and "refused" in shown and "1 wait" in shown
    of = (json.loads(garden("messages", "ls", "--broadcast", end, "--json").stdout) for end in (id, id[-8:]))
    assert next(of) == next(of) != {"messages": []}
    told = json.loads(garden("messages", "broadcast-show", id, "--failed", "--json").stdout)
    assert {one["state"] for one in told["results"]} == {"waiting", "refused"}
    assert "0 of 2 leads received it" in garden("messages", "resume", id[-8:], *NOW).output


def test_boards_ensure_lead_creates_a_missing_lead(garden: Hub) -> None:
    assert "hub boards lead" in garden("boards", "ensure-lead", "shed", *NOW).output
    told = garden("boards", "ensure-lead", "garden", *NOW).output
    assert "garden-lead was created to lead board garden" in told
    assert "it is wanted at gateway office; the hub keeps trying" in told
    assert "garden-lead" in garden("boards", "show", "garden").output


NUDGE = ("messages", "nudge", "garden", "worker", "is", "the", "gate", "shut?")


@pytest.fixture
def gateway(served: ServedHub, portal: BlockingPortal) -> Iterator[FakeGateway]:
    with portal.wrap_async_context_manager(fake_gateway("west")) as opened:
        yield opened


@pytest.fixture
def bench(
    served: ServedHub, gateway: FakeGateway, portal: BlockingPortal, tmp_path: Path
) -> Iterator[PostBench]:
    kept_in = served.store
    with portal.wrap_async_context_manager(open_post(tmp_path, gateway, kept_in=kept_in)) as opened:
        served.resources.add(MessagesResource(kept_in, opened.messages()))
        yield opened


def test_nudged_message_is_shown_with_moves_and_proof(
    hub: Hub, bench: PostBench, gateway: FakeGateway, portal: BlockingPortal
) -> None:
    portal.call(gateway.hold, WORKERS)
    nudged = hub(*NUDGE, "--correlation-id", "order-17")
    assert nudged.output.startswith("worker received it: ")
    id = nudged.output.split()[-1]
    listed = hub("messages").stdout
    assert "is the gate shut?" in listed and "consumed" in listed
    shown = hub("messages", "show", id[-6:]).stdout
    for words in ("correlation id", "order-17", f"{id}-1:user", "is the gate shut?", "waiting", "accepted"):
        assert words in shown
    consumed = next(line for line in shown.splitlines() if "  consumed  " in line)
    assert re.match(r"[\d-]+ \d\d:\d\d:\d\d  consumed  1 +history: role user, id ", consumed)


def test_undelivered_message_is_stored_cancelled_and_retried(
    hub: Hub, bench: PostBench, gateway: FakeGateway, portal: BlockingPortal
) -> None:
    portal.call(gateway.stop)
    nudged = hub(*NUDGE, "--wait", "0").output
    assert nudged.startswith("waiting; the hub delivers it as soon as possible: ")
    id = nudged.split()[-1]
    assert hub("messages", "cancel", id).output == "taken back: is the gate shut?\n"
    portal.call(gateway.start)
    anew = json.loads(hub("messages", "retry", id, "--json").stdout)
    assert (anew["schema"], anew["state"]) == ("hub.message/1", "waiting")
    ends(hub("messages", "cancel", id), 1, output=("what became of the message is known",))


def test_a_failed_message_is_shown_with_the_reason(hub: Hub, bench: PostBench, gateway: FakeGateway) -> None:
    del gateway.agents["worker"]
    ends(hub(*NUDGE), Exit.UNAVAILABLE, output=("gateway west has no agent worker any more",))


@pytest.fixture
def soul_bench(
    served: ServedHub, gateway: FakeGateway, portal: BlockingPortal, tmp_path: Path
) -> Iterator[SoulBench]:
    kept_in = served.store
    with portal.wrap_async_context_manager(open_souls(tmp_path, gateway, kept_in=kept_in)) as opened:
        served.resources.add(SoulsResource(opened.souls))
        yield opened


def test_soul_command_writes_from_a_file_only_over_the_expected_hash(
    hub: Hub, soul_bench: SoulBench, gateway: FakeGateway, tmp_path: Path
) -> None:
    file = tmp_path / "soul.md"
    file.write_text("be kind\n")
    soul = ("boards", "soul", "garden", "worker")
    shown = hub(*soul)
    assert shown.stdout.startswith("# SOUL.md - Who You Are\n")
    assert f"sha256 {AS_IT_WAS}, on gateway west" in shown.output

    written = hub(*soul, "--write", str(file), "--expected", AS_IT_WAS, "--reason", "first", "--wait", "25")
    late = hub(*soul, "--write", "-", "--expected", AS_IT_WAS, "--wait", "25", input="be quick\n")

    assert f"written: sha256 {souls.digest('be kind')}" in written.output
    assert (gateway.agents["worker"].files["SOUL.md"], late.exit_code) == ("be kind", 1)
    assert f"{AS_IT_WAS} was expected" in late.output
    assert "read it again, put your change into what is there now" in late.output


def test_the_history_of_a_soul_is_listed_shown_and_compared(hub: Hub, soul_bench: SoulBench) -> None:
    history = ("boards", "soul-history", "garden", "worker")
    assert "no versions of the SOUL.md of worker" in hub(*history).output
    for text in ("be kind\n", "be quick\n"):
        hub("boards", "soul", "garden", "worker", "--write", "-", "--wait", "25", input=text)

    listed = hub(*history)
    assert "written" in listed.output and "seen" in listed.output and "gateway:west" in listed.output
    assert [one["seq"] for one in json.loads(hub(*history, "--json").stdout)["versions"]] == [3, 2, 1]
    assert hub(*history, "2").stdout == "be kind\n"
    assert hub(*history, "2", "--diff", "3").stdout == (
        "--- version 2\n+++ version 3\n@@ -1 +1 @@\n-be kind\n+be quick\n"
    )
    assert "--diff needs two versions" in hub(*history, "--diff", "3").output


def test_waiting_soul_write_shows_the_reason(
    hub: Hub, soul_bench: SoulBench, gateway: FakeGateway, portal: BlockingPortal
) -> None:
    portal.call(gateway.stop)
    ends(
        hub("boards", "soul", "garden", "worker", "--write", "-", "--wait", "20", input="later\n"),
        0,
        output=("as soon as possible: gateway west is not connected",),
    )
