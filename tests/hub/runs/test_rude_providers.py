"""Mailboxes at three providers that are rude: each mail is one row, whatever its server does."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import pytest

from hub.connectors.calling import ConnectorFailure
from hub.connectors.connector import Connector
from hub.connectors.imap_line import ImapFilter
from protocol.lifecycles import RunState
from storage.connectors import seen_messages
from storage.runs.run_pauses import recover_agents
from storage.store import Store
from tests.hub.connectors.gmail_rig import Rig, rig
from tests.hub.connectors.imap_rig import Wire, imap, settings_of, wire_to
from tests.hub.runs.test_hostile_mail import TaskModel, task
from tests.hub.runs.test_mailboxes import bench_over, dying, run_until_killed
from tests.support.clock import START
from tests.support.dovecot import Dovecot
from tests.support.gmail import FakeGmail
from tests.support.graph.account import Account, account
from tests.support.mailbox import Mailbox
from tests.support.rude import EVERY, Rude, each_nth, in_a_row
from tests.support.runs import TAKEN, Bench

pytestmark = pytest.mark.anyio
FIRST, LATER = 45, 15  # mails
HOUR_S: Final = 3_600
MOST_RUNS: Final = 30


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
OFTEN = (
    "every 20th request is cut",
    "every 20th command is cut",
    "restart",
    "place forgotten",
    "sign-in ends",
)
CASES = [
    pytest.param(name, fault, id=f"{fault}-{name}", marks=() if fault in OFTEN else pytest.mark.soak)
    for fault, (names, *_) in FAULTS.items()
    for name in names
]


@pytest.mark.parametrize(("name", "fault"), CASES)
async def test_each_mail_is_one_row_whatever_its_server_does(
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


@pytest.mark.soak
@pytest.mark.parametrize("write", ["plan_message", "move_cursor", "settle_answers"])
@pytest.mark.parametrize("name", ALL)
async def test_each_mail_is_one_row_when_the_hub_dies(
    store: Store, dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch, name: str, write: str
) -> None:
    async with at(name, dovecot) as provider:
        bench, taken = await bench_at(store, provider)
        for number in range(FIRST):
            provider.deliver(task(number))
        monkeypatch.setattr(store, "write", dying(store, write, 2, after=True))
        await run_until_killed(bench, monkeypatch)
        bench.clock.advance(HOUR_S)
        await read_all(bench, taken, FIRST)


async def test_renamed_folder_is_named_and_its_mails_are_read_once_under_either_name(
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
    for _ in range(MOST_RUNS):
        run = await bench.run()
        if (run.state, run.units_total) == (RunState.COMPLETED, 0):
            break
        bench.clock.advance(HOUR_S)
        await bench.store.write(recover_agents, bench.now_ms)  # of a provider that asked for a pause
    else:
        raise AssertionError(f"there is always something left: {run}")
    assert sorted(taken.values()) == sorted(f"task {number}" for number in range(mails))
    assert await bench.store.read(seen_messages.failed_messages, bench.agent.id) == []
