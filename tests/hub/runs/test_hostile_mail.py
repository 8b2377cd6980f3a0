"""Mails that somebody sent to do harm, in a mailbox of a real server: the others are read all the same."""

import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import anyio
import msgspec
import pytest

from hub.connectors.calling import ConnectorFailure
from hub.connectors.connector import Connector
from hub.extraction.model import ModelAnswer, ModelRequest
from hub.extraction.rules_process import Rules, RulesHere, RulesProcess
from protocol.lifecycles import RunOutcome, RunState
from storage.agents.configs import ModelUse
from storage.connectors import seen_messages
from storage.store import Store
from tests.hub.connectors.imap_rig import imap, mail, settings_of
from tests.hub.runs.test_mailboxes import bench_over
from tests.support.dovecot import Dovecot
from tests.support.mailbox import Mailbox
from tests.support.runs import Bench, KeywordModel, titles

pytestmark = pytest.mark.anyio


class TaskModel(KeywordModel):
    """Finds ``task 1`` and the like, each once."""

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        named = dict.fromkeys(re.findall(r"task \w+", request.messages[-1].content))
        items = [{"table": "tasks", "title": name, "quote": name} for name in named]
        self.said = json.dumps({"items": items})
        return await super().answer(request)


class ImapDesk:
    """Opens the mailbox of one user of a real server."""

    def __init__(self, dovecot: Dovecot, user: str, **settings: str) -> None:
        self._settings = settings_of(dovecot, user, **settings)

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        return imap(self._settings)

    async def judged(self, failure: ConnectorFailure) -> ConnectorFailure:
        return failure

    async def refused(self, connector_id: str, failure: ConnectorFailure) -> bool:
        raise failure


async def bench_of(
    store: Store,
    dovecot: Dovecot,
    user: str,
    model_use: ModelUse | None = None,
    rules: Rules | None = None,
    **settings: str,
) -> Bench:
    bench = await bench_over(store, Mailbox())
    agent = msgspec.structs.replace(bench.agent, model_use=model_use or ModelUse())
    desk = ImapDesk(dovecot, user, **settings)
    return Bench(store, agent, desk=desk, model=TaskModel(), rules=rules or RulesHere())


@pytest.fixture
def rules() -> Iterator[RulesProcess]:
    """Rules as the hub has them, in a process of their own."""
    process = RulesProcess()
    yield process
    process.close()


def task(number: int, **headers: str) -> bytes:
    return mail(number, f"Please do task {number} by Friday.", **headers)


def nested(levels: int) -> bytes:
    body = "Content-Type: text/plain\r\n\r\nhello\r\n"
    for level in range(levels):
        kind = f"Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n"
        body = f"{kind}--b{level}\r\n{body}\r\n--b{level}--\r\n"
    return f"From: eve@example.com\r\nMessage-ID: <nest@x>\r\nMIME-Version: 1.0\r\n{body}".encode()


def long_subject(number: int, size: int) -> bytes:
    return task(number).replace(b"Subject: ", b"Subject: " + b"x" * size, 1)


def long_name(size: int) -> bytes:
    kind = b'Content-Type: text/plain; name="' + b"x" * size + b'"\r\n\r\nhello\r\n'
    return b"From: eve@example.com\r\nMessage-ID: <name@x>\r\nMIME-Version: 1.0\r\n" + kind


async def test_mails_that_the_hub_cannot_understand_are_set_aside_by_their_uid_and_the_others_are_read(
    store: Store, dovecot: Dovecot
) -> None:
    user = dovecot.fresh_user()
    mails = [task(1), nested(150), task(2), long_subject(3, 3_000_000), long_name(3_000_000), task(4)]
    dovecot.deliver(user, mails)
    bench = await bench_of(store, dovecot, user)
    link = bench.connect()

    run = await bench.run()

    assert (run.state, run.outcome) == (RunState.COMPLETED, RunOutcome.PARTIAL)
    assert sorted(map(str, titles(link))) == ["task 1", "task 2", "task 3", "task 4"]
    why = {
        "UID 2 in INBOX: the server's answer nests deeper than 60 levels",
        "UID 5 in INBOX: the server's answer has a line of more than 1,000,000 bytes",
    }
    assert {error.message for error in run.errors} == why
    unread = await store.read(seen_messages.failed_messages, bench.agent.id)
    assert ({one["reason"] for one in unread}, {one["state"] for one in unread}) == (why, {"dead"})
    cursor = await store.read(seen_messages.find_cursor, bench.agent.id)
    assert cursor is not None and cursor.cursor is not None
    assert cursor.cursor["folders"]["INBOX"]["uid"] == len(mails)  # nobody waits for them

    assert (await bench.run()).outcome is RunOutcome.SUCCESS


async def test_two_mails_with_one_message_id_and_other_content_are_both_read_and_logged(
    store: Store, dovecot: Dovecot
) -> None:
    user = dovecot.fresh_user()
    same = {"Message_ID": "<same@x>"}
    dovecot.deliver(user, [task(1, **same), task(2, **same), task(1, **same)])
    bench = await bench_of(store, dovecot, user)
    link = bench.connect()

    run = await bench.run()

    assert (run.outcome, run.units_done, run.units_skipped) == (RunOutcome.SUCCESS, 2, 1)
    assert sorted(map(str, titles(link))) == ["task 1", "task 2"]
    units = await bench.units(run.id)
    (other,) = units.keys() - {"mid:same@x"}
    assert other.startswith("mid:same@x#")
    assert units[other].notes == {"shared_message_id": 1}

    dovecot.deliver(user, [task(2, **same), task(3, **same)])
    run = await bench.run()
    assert (run.units_done, run.units_skipped, titles(link)[2:]) == (1, 1, ["task 3"])


async def test_of_unknown_senders_an_agent_drops_items_until_the_operator_names_them(
    store: Store, dovecot: Dovecot
) -> None:
    user = dovecot.fresh_user()
    passed = {"Authentication_Results": "mx.example.net; dmarc=pass header.from=example.org"}
    forged = {"Authentication_Results": "mx.evil.example; dmarc=pass header.from=example.org"}
    dovecot.deliver(user, [task(1, **passed), task(2, **forged)])
    bench = await bench_of(store, dovecot, user, ModelUse(outside="drop"), authserv_id="mx.example.net")
    link = bench.connect()
    assert bench.mailboxes is not None

    run = await bench.run()

    assert (run.outcome, titles(link)) == (RunOutcome.SUCCESS, [])
    assert [unit.notes for unit in (await bench.units(run.id)).values()] == [{"dropped": {"outside": 1}}] * 2

    bench.mailboxes.trusted = ("example.org",)  # as a reload of [trust] does
    dovecot.deliver(user, [task(3, **passed), task(4, **forged)])
    await bench.run()

    assert titles(link) == ["task 3"], "the other's sender is known, but its server is not this mailbox's"


PUMPS = (*' \t\v\xa0\u3000"(<,', '"\\', "\\(", "=?utf-8?q?a", "=?x?q?=41?= ", "a@b ", "g: a@b, ;", "<a@b>")
FIELDS = ("From", "To", "Subject")
ALONE = ("Cc", "References", "In-Reply-To", "Sender", "Authentication-Results", "Content-Type", "Date")


def hostile(number: int, **fields: str) -> bytes:
    """Return a mail with a task, most fields of which may be replaced."""
    given = {"From": "eve@example.com", "Message-ID": f"<h{number}@x>", "MIME-Version": "1.0"}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in (given | fields).items())
    return f"{head}\r\nPlease do task {number} by Friday.\r\n".encode()


def hostile_mails() -> Iterator[bytes]:
    """Yield sixty mails, each with another way to take the time of its reader."""
    numbers = itertools.count(100)
    for field, pump in itertools.product(FIELDS, PUMPS):
        yield hostile(next(numbers), **{field: pump * (100_000 // len(pump)) + "x"})
    for field in ALONE:
        yield hostile(next(numbers), **{field: "a <\xa0\v\t" * 20_000 + "b>"})
    yield hostile(next(numbers), **{f"X_{nth}": "a" for nth in range(3_000)})
    yield hostile(next(numbers), Received="from a by b (c) for <d>;\r\n " * 3_000)
    yield hostile(next(numbers), Content_Type="text/plain; charset=punycode") + b"a9 a9 a9\r\n" * 20_000
    yield hostile(
        next(numbers), Content_Type="text/plain; " + "; ".join(f"n*{n}*=a%20" for n in range(3_000))
    )
    yield hostile(next(numbers), Content_Type="text/html") + b"<div><p>" * 20_000
    inner = hostile(next(numbers), To="a <" * 30_000)
    yield (
        hostile(next(numbers), Content_Type="multipart/mixed; boundary=b").replace(
            b"\r\n\r\n", b"\r\n\r\n--b\r\n\r\n", 1
        )
        + b"--b\r\nContent-Type: message/rfc822\r\n\r\n"
        + inner
        + b"\r\n--b--\r\n"
    )


async def _longest_hold_s(over: anyio.Event) -> float:
    """Return the most processor time that this process spent between two turns of the loop."""
    longest = 0.0
    while not over.is_set():
        before = time.process_time()
        await anyio.sleep(0.001)
        longest = max(longest, time.process_time() - before)
    return longest


@pytest.mark.slow
async def test_hostile_mails_are_read_or_reported_and_hold_the_loop_no_longer_than_harmless_ones(
    store: Store, dovecot: Dovecot, rules: RulesProcess
) -> None:
    user = dovecot.fresh_user()
    bench = await bench_of(store, dovecot, user, rules=rules)
    bench.connect()
    model = bench.model
    assert isinstance(model, TaskModel)

    async def longest_hold_s(mails: Sequence[bytes]) -> float:
        dovecot.deliver(user, mails)
        over = anyio.Event()
        longest = [0.0]

        async def watch() -> None:
            longest[0] = await _longest_hold_s(over)

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            run = await bench.run()
            over.set()
        assert (run.outcome, run.units_done) == (RunOutcome.SUCCESS, len(mails)), run.errors
        return longest[0]

    await longest_hold_s([task(0)])
    quiet_s = await longest_hold_s([task(number) for number in range(1, 61)])
    hostile_s = await longest_hold_s(list(hostile_mails()))

    # Processor time of all threads between two turns of the loop: it has a call that keeps the others out.
    assert hostile_s < max(0.05, 2 * quiet_s)
    read = "\n".join(request.messages[-1].content for request in model.requests)
    missing = {number for number in (*range(61), *range(100, 162)) if f"do task {number} by" not in read}
    assert missing == {159}, "with a page that nests too deeply"
    assert "[attachment" in read
    assert "[a page in the mail is nested too deeply" in read
