"""Messages between agents on the command line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from hub.api.nouns.messages import Messages as MessageNoun
from hub.cli.failure import Exit
from tests.hub.cli.conftest import Hub, ends
from tests.hub.coordination.post import WORKERS, PostBench, open_post
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.hub import ServedHub

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
        served.nouns.add(MessageNoun(kept_in, opened.messages()))
        yield opened


def test_an_agent_is_nudged_and_its_message_shown_with_what_proves_it(
    hub: Hub, bench: PostBench, gateway: FakeGateway, portal: BlockingPortal
) -> None:
    portal.call(gateway.hold, WORKERS)
    nudged = hub(*NUDGE, "--correlation-id", "order-17")
    assert nudged.output.startswith("worker received it: ")
    id = nudged.output.split()[-1]
    listed = hub("messages").stdout
    assert "is the gate shut?" in listed
    assert "consumed" in listed
    shown = hub("messages", "show", id[-6:]).stdout
    for words in ("correlation id", "order-17", f"{id}-1:user", "is the gate shut?", "waiting", "accepted"):
        assert words in shown


def test_an_undelivered_message_is_stored_cancelled_and_sent_again(
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


def test_proofs_of_a_message_are_shown_in_words_and_to_the_second(
    hub: Hub, bench: PostBench, gateway: FakeGateway, portal: BlockingPortal
) -> None:
    portal.call(gateway.hold, WORKERS)
    id = hub(*NUDGE).output.split()[-1]
    consumed = next(
        line for line in hub("messages", "show", id).stdout.splitlines() if "  consumed  " in line
    )
    assert re.match(r"[\d-]+ \d\d:\d\d:\d\d  consumed  1 +history: role user, id ", consumed)
    assert "letter" not in hub("messages", "show", id).stdout


def test_an_empty_list_of_messages_is_reported(hub: Hub, bench: PostBench) -> None:
    assert hub("messages", "ls", "--only", "failed").output.endswith("no messages\n")
    assert hub("messages", "show", "nothing").exit_code == 1


def test_a_failed_message_is_shown_with_the_reason(hub: Hub, bench: PostBench, gateway: FakeGateway) -> None:
    del gateway.agents["worker"]
    ends(hub(*NUDGE), Exit.UNAVAILABLE, output=("gateway west has no agent worker any more",))
