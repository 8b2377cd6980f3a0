"""Mails that somebody sent to do harm, in a mailbox of a real server: the others are read all the same."""

import itertools
import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import msgspec
import pytest

from hub.connectors.calling import ConnectorFailure
from hub.connectors.connector import Connector
from hub.connectors.imap_settings import ImapFilter
from hub.extraction.model import ModelAnswer, ModelRequest
from hub.extraction.rules_process import RulesClient, RulesHere, RulesProcesses
from protocol.lifecycles import RunOutcome, RunState
from storage.agents.configs import ModelUse
from storage.connectors import seen_messages
from storage.runs.run_resumes import recover_agents
from storage.store import Store
from tests.hub.connectors.gmail_rig import Rig, rig
from tests.hub.connectors.imap_rig import Wire, imap, mail, settings_of, wire_to
from tests.hub.runs.test_mailboxes import bench_over
from tests.support.clock import START
from tests.support.dovecot import Dovecot
from tests.support.gmail import FakeGmail
from tests.support.graph.account import Account, account
from tests.support.mailbox import Mailbox
from tests.support.rude import EVERY, Rude, each_nth, in_a_row
from tests.support.runs import TAKEN, Bench, KeywordModel, titles


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
    rules: RulesClient | None = None,
    **settings: str,
) -> Bench:
    bench = await bench_over(store, Mailbox())
    agent = msgspec.structs.replace(bench.agent, model_use=model_use or ModelUse())
    desk = ImapDesk(dovecot, user, **settings)
    return Bench(store, agent, desk=desk, model=TaskModel(), rules=rules or RulesHere())


@pytest.fixture
def rules() -> Iterator[RulesProcesses]:
    """Rules as the hub has them, in a process of their own."""
    process = RulesProcesses()
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


async def test_unreadable_mails_are_set_aside_by_their_uid_and_the_others_are_read(
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


async def test_two_mails_with_the_same_message_id_and_other_content_are_both_read_and_logged(
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


async def test_items_of_unknown_senders_are_dropped_until_the_domain_is_trusted(
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
        yield hostile(next(numbers), **{field: pump * (50_000 // len(pump)) + "x"})
    for field in ALONE:
        yield hostile(next(numbers), **{field: "a <\xa0\v\t" * 10_000 + "b>"})
    yield hostile(next(numbers), **{f"X_{nth}": "a" for nth in range(1_500)})
    yield hostile(next(numbers), Received="from a by b (c) for <d>;\r\n " * 1_500)
    yield hostile(next(numbers), Content_Type="text/plain; charset=punycode") + b"a9 a9 a9\r\n" * 10_000
    yield hostile(
        next(numbers), Content_Type="text/plain; " + "; ".join(f"n*{n}*=a%20" for n in range(1_500))
    )
    yield hostile(next(numbers), Content_Type="text/html") + b"<div><p>" * 10_000
    inner = hostile(next(numbers), To="a <" * 15_000)
    yield (
        hostile(next(numbers), Content_Type="multipart/mixed; boundary=b").replace(
            b"\r\n\r\n", b"\r\n\r\n--b\r\n\r\n", 1
        )
        + b"--b\r\nContent-Type: message/rfc822\r\n\r\n"
        + inner
        + b"\r\n--b--\r\n"
    )


@pytest.mark.slow
async def test_hostile_mails_are_read_or_reported(
    store: Store, dovecot: Dovecot, rules: RulesProcesses
) -> None:
    user = dovecot.fresh_user()
    bench = await bench_of(store, dovecot, user, rules=rules)
    bench.connect()
    model = bench.model
    assert isinstance(model, TaskModel)
    mails = [*(task(number) for number in range(61)), *hostile_mails()]
    dovecot.deliver(user, mails)
    run = await bench.run()
    assert (run.outcome, run.units_done) == (RunOutcome.SUCCESS, len(mails)), run.errors

    read = "\n".join(request.messages[-1].content for request in model.requests)
    missing = {number for number in (*range(61), *range(100, 162)) if f"do task {number} by" not in read}
    assert missing == {159}, "with a page that nests too deeply"
    assert "[attachment" in read
    assert "[a page in the mail is nested too deeply" in read


# --- mailboxes at three providers that are rude: each mail is one row, whatever its server does ---


FIRST, LATER = 30, 10  # mails
HOUR_S: Final = 3_600
MAX_RUNS: Final = 30


class Provider(ABC):
    """A mailbox, and its server; a ``Desk`` that opens it."""

    @abstractmethod
    def deliver(self, mail: bytes) -> None: ...

    @abstractmethod
    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector: ...

    @abstractmethod
    def forget(self) -> None:
        """Let the server forget how far a client has come."""

    async def judged(self, failure: ConnectorFailure) -> ConnectorFailure:
        return failure

    async def refused(self, connector_id: str, failure: ConnectorFailure) -> bool:
        return True


class ImapServer(Provider):
    def __init__(self, dovecot: Dovecot, wire: Wire) -> None:
        self.dovecot, self.wire, self.user = dovecot, wire, dovecot.fresh_user()
        self.folder = "Tasks"
        self._mails: list[bytes] = []

    def deliver(self, mail: bytes) -> None:
        self._mails.append(mail)
        self.dovecot.deliver(self.user, [mail], folder=self.folder)

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        settings = settings_of(self.dovecot, self.user, port=self.wire.port)
        return imap(settings, ImapFilter(folders=(self.folder,)))

    def rename(self, name: str) -> None:
        client = self.dovecot.client(self.user)
        client.rename("Done" if name == "Tasks" else "Tasks", name)
        client.logout()

    def forget(self) -> None:
        self.dovecot.recreate(self.user, "Tasks")
        self.dovecot.deliver(self.user, self._mails, folder="Tasks")


class Google(Provider):
    def __init__(self, here: Rig, rude: Rude) -> None:
        self.fake, self.rude, self._here = here.fake, rude, here
        self.fake.page = 7

    def deliver(self, mail: bytes) -> None:
        self.fake.deliver(mail, START)

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        return self._here.open()

    def forget(self) -> None:
        self.fake.forget_history()


class Microsoft(Provider):
    def __init__(self, here: Account, rude: Rude) -> None:
        self.fake, self.rude, self._here = here.fake.mail, rude, here
        self.fake.page_most = 7

    def deliver(self, mail: bytes) -> None:
        self.fake.receive(mail)

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        return self._here.outlook()

    def forget(self) -> None:
        self.fake.forget(next=True, delta=True)


@asynccontextmanager
async def at(name: str, dovecot: Dovecot) -> AsyncIterator[Provider]:
    rude = Rude()
    async with AsyncExitStack() as opened:
        match name:
            case "imap":
                yield ImapServer(dovecot, opened.enter_context(wire_to(dovecot.port)))
            case "gmail":
                yield Google(await opened.enter_async_context(rig(FakeGmail(), rude.before)), rude)
            case _:
                yield Microsoft(await opened.enter_async_context(account(around=rude.before)), rude)


Fault = Callable[[Any], None]


def wrong(how: Callable[[int], Any]) -> Fault:
    """Return the fault of a server that answers wrongly."""

    def begin(provider: Any) -> None:
        provider.rude.wrong = how

    return begin


def cuts(provider: Any) -> None:
    provider.wire.cuts_every = EVERY


def drips(provider: Any) -> None:
    provider.wire.piece = 64


def restarts(provider: Any) -> None:
    provider.dovecot.stop()
    provider.dovecot.start()


def circles(provider: Any) -> None:
    provider.fake.circles = 5


def nothing(_: Any) -> None:
    pass


def forgets(provider: Any) -> None:
    provider.forget()


def ends_sign_in(provider: Any) -> None:
    """Refuse the token from the twentieth request on; the next one is good."""
    fake = provider._here.fake

    def refuse(_: Any) -> None:
        if provider.rude.requests == EVERY:
            tokens: set[str] = fake.good_tokens if isinstance(fake, FakeGmail) else fake.tokens
            tokens.clear()
            tokens.update(("t2", "fresh"))

    fake.before = refuse


WEB = ("gmail", "outlook")
ALL = ("imap", *WEB)
# What goes wrong from the beginning, and what before the later mails.
FAULTS: dict[str, tuple[tuple[str, ...], Fault, Fault]] = {
    "every 20th request is cut": (WEB, wrong(each_nth("cut")), nothing),
    "every 20th command is cut": (("imap",), cuts, nothing),
    "twelve in a row are cut": (WEB, wrong(in_a_row("cut")), nothing),
    "every 20th answer is 429": (WEB, wrong(each_nth("busy")), nothing),
    "twelve in a row are 429": (WEB, wrong(in_a_row("busy")), nothing),
    "every 20th answer is 500": (WEB, wrong(each_nth("broken")), nothing),
    "twelve in a row are pages for people": (WEB, wrong(in_a_row("page")), nothing),
    "slow answers": (WEB, wrong(lambda _: "drip"), nothing),
    "slow server": (("imap",), drips, nothing),
    "restart": (("imap",), nothing, restarts),
    "place forgotten": (ALL, nothing, forgets),
    "pages in a circle": (WEB, circles, circles),
    "sign-in ends": (WEB, ends_sign_in, nothing),
}
AT_ONCE = {
    ("gmail", "every 20th request is cut"),
    ("imap", "every 20th command is cut"),
    ("imap", "restart"),
    ("imap", "place forgotten"),
    ("outlook", "place forgotten"),
    ("outlook", "sign-in ends"),
}
CASES = [
    pytest.param(
        name, fault, id=f"{fault}-{name}", marks=() if (name, fault) in AT_ONCE else pytest.mark.soak
    )
    for fault, (names, *_) in FAULTS.items()
    for name in names
]


@pytest.mark.parametrize(("name", "fault"), CASES)
async def test_each_mail_becomes_a_single_row_under_every_fault_of_the_mail_server(
    store: Store, dovecot: Dovecot, name: str, fault: str
) -> None:
    _, at_first, later = FAULTS[fault]
    async with at(name, dovecot) as provider:
        bench, taken = await bench_at(store, provider)
        for number in range(FIRST):
            provider.deliver(task(number))
        at_first(provider)
        await read_all(bench, taken, FIRST)
        later(provider)
        for number in range(FIRST, FIRST + LATER):
            provider.deliver(task(number))
        await read_all(bench, taken, FIRST + LATER)


async def test_renamed_mail_folder_is_reported_and_each_mail_is_read_once(
    store: Store, dovecot: Dovecot
) -> None:
    async with at("imap", dovecot) as provider:
        assert isinstance(provider, ImapServer)
        bench, taken = await bench_at(store, provider)
        for number in range(FIRST):
            provider.deliver(task(number))
        await read_all(bench, taken, FIRST)
        provider.deliver(task(FIRST))

        provider.rename("Done")
        run = await bench.run()
        assert run.state is RunState.QUEUED
        assert (run.reason or "").startswith("connector work: there is no folder Tasks. There are: Done,")
        provider.folder = "Done"  # as the settings say from now on
        bench.clock.advance(HOUR_S)
        await read_all(bench, taken, FIRST + 1)

        provider.rename("Tasks")
        provider.folder = "Tasks"
        provider.deliver(task(FIRST + 1))
        await read_all(bench, taken, FIRST + 2)


async def bench_at(store: Store, provider: Provider) -> tuple[Bench, dict[str, str]]:
    """Return a hub that reads the mailbox, and the titles of the rows at its device by their calls."""
    agent = (await bench_over(store, Mailbox())).agent
    bench = Bench(store, agent, desk=provider, model=TaskModel())
    taken: dict[str, str] = {}

    def answer(call: Any) -> Any:
        taken.setdefault(call.id, call.data["title"])
        return TAKEN

    bench.connect(answers=answer)
    return bench, taken


async def read_all(bench: Bench, taken: Mapping[str, str], mails: int) -> None:
    """Let runs read until one finds nothing; then each mail is one row."""
    for _ in range(MAX_RUNS):
        run = await bench.run()
        if (run.outcome, run.units_done) == (RunOutcome.SUCCESS, 0):
            break
        bench.clock.advance(HOUR_S)
        await bench.store.write(recover_agents, bench.now_ms)  # of a provider that asked for a pause
    else:
        raise AssertionError(f"there is always something left: {run}")
    assert sorted(taken.values()) == sorted(f"task {number}" for number in range(mails))
    assert await bench.store.read(seen_messages.failed_messages, bench.agent.id) == []
