"""kill -9 of a live hub at random moments, again and again, while it has work all the time.

``python -m tests.scenarios.kills --of folders --kills 200`` (``make soak``) kills the hub as it is installed:

* ``folders``: runs go on at every device, and new files come;
* ``imap``, ``gmail``, ``outlook``: mails come to a real mail server, or to a server of our own that speaks
  Gmail's API or Graph and goes wrong now and then, and the device is away in every third life of the hub;
* ``rude``: 400 mails lie at a mail server that ends the connection at every 20th command; with
  ``--mails 50000 --kills 40 --life-s 100`` many more, for an hour on two quiet cores;
* ``hooks``: several senders post to its webhook, each a delivery again until it is answered with 202.

It fails when an item is not at its device exactly once, when a mail or a delivery is not kept exactly once,
or when a start took longer than it may. The suite does it small.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import date, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, ClassVar, Literal

import anyio
import httpx2
import msgspec

from hub.base.clock import SystemClock
from hub.text.files import MIB
from tests.bench.machine import Load, peak_rss_bytes, tree_cpu_s
from tests.bench.rounds import NOISY
from tests.scenarios.deaths import TITLES
from tests.scenarios.fires import EVERY_5_S, each_was_decided_once
from tests.scenarios.mailboxes import Mailbox, gmail_mailbox, imap_mailbox, outlook_mailbox
from tests.scenarios.program import Verdict, run
from tests.scenarios.scene import rows
from tests.support.clock import SeededChance
from tests.support.device import RunningDevice, open_device
from tests.support.faulty_hub import FaultyHub
from tests.support.oracle import Oracle, plant
from tests.support.processes import model_at
from tests.support.proxy import Wire, wire
from tests.support.webhooks import signed

Kind = Literal["folders", "imap", "rude", "gmail", "outlook", "hooks"]
Work = Callable[[], Coroutine[Any, Any, None]]

READY_S = 2.0  # that a start may take until the hub is ready
RUDE = 20  # commands, of which the last one ends the connection
SECRET = "what both of them know"  # of the webhook
_END_S = 300.0  # for all that is left to do when the kills are over: a failed try waits 30 s at first
_DUE_DAYS = 500  # over which the items of mails are spread: a plan is compared with all of its day
_MIN_PER_S = 10.0  # items, of what is left then
_FINAL = ("COMPLETED", "FAILED", "CANCELLED")
_NO_SPREAD = (
    "--given",
    "hub.runs.dispatcher:SPREAD_EACH_S=0.0",
)  # or few runs would begin in time
_SETTINGS = """\
[limits]
connections_per_network = 100
connections_per_user = 100
new_connections_per_s = 500.0
connected_s = 0.1
restart_hold_s = 0.0
[listen.devices]
address = "127.0.0.1:0"
hosts = ["127.0.0.1"]  # a wire in front of it has another port
[listen.operator]
address = "127.0.0.1:0"
"""
_AGENT = """\
[[agents]]
name = "{device}"
device = "{device}"
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
"""
_HOOK = """\
[listen.webhooks]
address = "127.0.0.1:0"
[[connectors]]
name = "builds"
provider = "webhook"
secret = { file = "builds.secret" }
"""


class Toll(msgspec.Struct, frozen=True):
    """What became of it all. *faults*: other than items that are lost or doubled."""

    kills: int
    planted: Counter[str]
    found: Counter[str]
    faults: list[str]
    figures: list[str]

    @property
    def is_well(self) -> bool:
        return self.planted == self.found and not self.faults and self.planted.total() > 0


class Place(ABC):
    """A hub that is killed, devices in this process, and what the hub has to do meanwhile."""

    hub: FaultyHub
    wire: Wire
    lives_s = (0.0, 1.2)  # from being ready to being killed: at least, at most
    order_every_s = 0.1
    has_schedules = False

    def __init__(self, folder: Path, devices: int, seed: int) -> None:
        self.folder = folder
        self.names = [f"desk{number}" for number in range(devices)]
        self.devices: list[RunningDevice] = []
        self.chance = SeededChance(seed)
        self.planted: Counter[str] = Counter()
        self.starts: list[tuple[float, float, float]] = []  # seconds, of the CPU, and what others used of it
        self.kills = self.peak_bytes = 0
        self.is_over = False

    async def outlive(self, kills: int) -> Toll:
        """Kill the hub so often, and on until everything was met that is to be; then let all end."""
        async with anyio.create_task_group() as busy:
            for work in self.works():
                busy.start_soon(work)
            while True:
                await self.up()
                if self.kills >= kills and self.has_met_all():
                    break
                await anyio.sleep(self.chance.uniform(*self.lives_s))
                self.wire.hub_url = None
                self.peak_bytes = max(self.peak_bytes, peak_rss_bytes(self.hub.pid))
                await self.hub.kill()
                self.kills += 1
            # Told and not cancelled: a request over a Unix socket that is cancelled as its answer comes
            # sets a future that has ended, in the library, which fails whatever test is running.
            self.is_over = True
        await self.settle()
        return Toll(self.kills, self.planted, self.found(), [*self.faults()], [*self.figures()])

    @abstractmethod
    def settings(self) -> str:
        """Return what hub.toml has in addition, without the limits."""

    @abstractmethod
    def works(self) -> Sequence[Work]:
        """Return what is to go on until *is_over*."""

    def has_met_all(self) -> bool:
        """Return True if a run was under way when the hub was killed."""
        return bool(self.interrupted())

    def faults(self) -> Iterator[str]:
        """Yield what is not as it must be, other than items."""
        yield from ()

    def figures(self) -> Iterator[str]:
        """Yield figures for people."""
        ended = self.ask(
            """SELECT trigger_kind || ' ' || state || COALESCE(' ' || outcome, '')
                      || CASE state WHEN 'FAILED' THEN ' ' || COALESCE(reason, '') ELSE '' END, 1 FROM runs"""
        )
        runs = Counter(how for how, _ in ended)
        yield f"runs: {', '.join(f'{number} {how}' for how, number in sorted(runs.items()))}"
        yield f"interrupted {self.interrupted()} times"
        size = (self.folder / "hub.db").stat().st_size
        yield f"peak RSS {self.peak_bytes / MIB:.0f} MiB, database {size / MIB:.0f} MiB"

    async def begin(self) -> None:  # noqa: B027 - most need nothing
        """Do what a person does once, at a hub that runs."""

    async def up(self) -> None:
        """Start the hub, and let its devices come."""
        load, began = Load(), perf_counter()
        await self.hub.start()
        took_s = perf_counter() - began
        self.starts.append((took_s, tree_cpu_s(self.hub.pid), load.others()))
        self.wire.hub_url = await self.hub.device_url()

    async def settle(self) -> None:
        """Let the runs end that there are, and one more, of what came last; a stop in order is no crash."""
        self.wire.hub_url = None
        await self.hub.stop()
        await Place.up(self)
        await self._all_end()
        await self._order()
        await self._all_end()
        self.peak_bytes = max(self.peak_bytes, peak_rss_bytes(self.hub.pid))

    async def order_runs(self) -> None:
        """Start a run of every agent that has none, again and again."""
        while not self.is_over:
            with suppress(httpx2.TransportError, httpx2.HTTPStatusError, OSError):  # it is dead just now
                await self._order()
            await anyio.sleep(self.order_every_s)

    async def _order(self) -> None:
        for agent in (await self.hub.get("/v1/agents"))["agents"]:
            if agent["last_run"] is None or agent["last_run"]["state"] in _FINAL:
                await self.hub.start_run(agent["name"])

    async def _all_end(self) -> None:
        """Wait until every run has ended, of those of a schedule the ones that there are now."""
        ((newest,),) = self.ask("SELECT max(id) FROM runs")
        made_now = f" AND id <= '{newest}'" if self.has_schedules else ""
        live = f"SELECT id, state, reason FROM runs WHERE state NOT IN {_FINAL}{made_now}"
        await self.until(lambda: not self.ask(live), lambda: f"these runs do not end: {self.ask(live)}")

    async def until(self, is_so: Callable[[], bool], otherwise: Callable[[], str]) -> None:
        with anyio.move_on_after(_END_S + self.planted.total() / _MIN_PER_S):
            while not is_so():
                await anyio.sleep(self.order_every_s)
            return
        raise AssertionError(f"{otherwise()}\n{self.hub.log()[-4000:]}")

    def interrupted(self) -> int:
        """Return how often a run was under way when the hub was killed."""
        return int(self.ask("SELECT count(*) FROM run_state_history WHERE reason = 'hub_restart'")[0][0])

    def found(self) -> Counter[str]:
        return Counter(title for device in self.devices for (title,) in rows(device.db, TITLES))

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        return rows(self.folder / "hub.db", query)


class Folders(Place):
    """Devices to whose folders new files come."""

    lives_s = (0.0, 3.0)
    order_every_s = 0.4
    has_schedules = True
    write_every_s: ClassVar = 0.25
    boxes: ClassVar = (1, 5)  # of one new file

    def settings(self) -> str:
        return "".join(_AGENT.format(device=name) + f'paths = ["notes"]\n{EVERY_5_S}' for name in self.names)

    def works(self) -> Sequence[Work]:
        return self._write_files, self.order_runs

    def has_met_all(self) -> bool:
        return super().has_met_all() and each_was_decided_once(self.ask) > 0

    def figures(self) -> Iterator[str]:
        yield from super().figures()
        yield f"{each_was_decided_once(self.ask)} decisions about fires"

    async def _write_files(self) -> None:
        for number in count():
            if self.is_over:
                return
            titles = [f"Task {number}-{box}" for box in range(int(self.chance.uniform(*self.boxes)))]
            page = self.folder / "page.md"  # moved in when it is whole: half a page would be another page
            page.write_text("".join(f"- [ ] {title}\n" for title in titles))
            page.rename(self.devices[number % len(self.devices)].folder / f"page{number:05}.md")
            self.planted.update(titles)
            await anyio.sleep(self.write_every_s)


class PostOffice(Place):
    """A mailbox that fills; in every third life of the hub its device does not come."""

    at_first, each_life = 60, 40  # mails; of a life at most, however long a start takes
    trouble: ClassVar = 0.15  # how often something goes wrong when mails come
    deliver_every_s: ClassVar = 0.15
    seen_rows: ClassVar = 3  # of one mail: its copy, its Message-ID, and the Message-ID with its text

    def __init__(self, folder: Path, devices: int, seed: int, mailbox: Mailbox) -> None:
        super().__init__(folder, devices, seed)
        self._mailbox = mailbox
        self._away = 0

    def settings(self) -> str:
        reads = f'connector = "work"\nfilter = {{ {self._mailbox.filter} }}\n'
        return (
            f'[[connectors]]\nname = "work"\n{self._mailbox.settings}' + _AGENT.format(device="desk0") + reads
        )

    def works(self) -> Sequence[Work]:
        self._deliver(self.at_first)
        return self._deliver_mails, self.order_runs

    async def begin(self) -> None:
        await self._mailbox.sign_in(self.hub)

    async def up(self) -> None:
        await super().up()
        if self.kills % 3 == 2:
            self.wire.hub_url = None
            self._away += 1

    def faults(self) -> Iterator[str]:
        mails = self.planted.total()
        seen = Counter(state for (state,) in self.ask("SELECT state FROM seen_messages"))
        if seen != Counter(planned=self.seen_rows * mails):
            yield f"of {mails} mails {dict(seen)}"
        # Its one item has one call, whichever run took that over from another that was given up.
        calls = self.ask("SELECT count(*) FROM run_calls GROUP BY unit_key")
        if (planned := Counter(times for (times,) in calls)) != {1: mails}:
            yield f"mails were planned so often: {dict(planned)}"
        ((cursor,),) = self.ask("SELECT cursor FROM connector_cursors")
        if not self._mailbox.is_behind_all(msgspec.json.decode(cursor)):
            yield f"the cursor is not behind the last mail: {cursor}"
        broken = "SELECT reason FROM runs WHERE state = 'FAILED' AND COALESCE(reason, '') <> 'crash_loop'"
        yield from (f"a run failed: {reason}" for (reason,) in self.ask(broken))

    def figures(self) -> Iterator[str]:
        yield from super().figures()
        yield f"the device was away in {self._away} lives of the hub"
        yield from (f"{what}: {number}" for what, number in self._mailbox.told().items())

    def _deliver(self, mails: int) -> None:
        made = [_mail(len(self.planted) + number) for number in range(mails)]
        self._mailbox.deliver([raw for _, raw in made])
        self.planted.update(title for title, _ in made)

    async def _deliver_mails(self) -> None:
        while not self.is_over:
            if self.planted.total() < self.at_first + self.each_life * (self.kills + 1):
                self._deliver(int(self.chance.uniform(1, 4)))
            if self.chance.uniform(0, 1) < self.trouble:
                self._mailbox.trouble()
            await anyio.sleep(self.deliver_every_s)


class Senders(Place):
    """Senders that post to a webhook, each a delivery again until it is taken."""

    lives_s = (0.0, 1.0)
    pause_s: ClassVar = 0.05
    senders: ClassVar = 4

    def __init__(self, folder: Path, devices: int, seed: int) -> None:
        super().__init__(folder, devices, seed)
        self._url: str | None = None
        self._again = 0
        (folder / "builds.secret").write_text(SECRET)
        (folder / "builds.secret").chmod(0o600)

    def settings(self) -> str:
        return _HOOK + _AGENT.format(device="desk0") + 'connector = "builds"\npush = true\n'

    def works(self) -> Sequence[Work]:
        return [partial(self._post, sender) for sender in range(self.senders)]

    def has_met_all(self) -> bool:
        return self._again > 0

    async def up(self) -> None:
        await super().up()
        self._url = f"http://{(await self.hub.get('/v1/status'))['listeners']['webhooks']}/hooks/builds"

    async def settle(self) -> None:
        """Order no run: what was posted before a death is reported after the start."""
        unsettled = "SELECT 1 FROM posted WHERE settled_at IS NULL"
        runs = "SELECT state, outcome, reason, trigger_kind FROM runs ORDER BY id DESC LIMIT 8"
        await self.until(
            lambda: self.planted <= self.found() and not self.ask(unsettled),
            lambda: f"not all came: {self.planted - self.found()} {self.ask(runs)}",
        )

    def faults(self) -> Iterator[str]:
        ((kept, waiting),) = self.ask("SELECT count(*), count(body) FROM posted")
        if (kept, waiting) != (self.planted.total(), 0):
            yield f"of {self.planted.total()} deliveries {kept} are kept, {waiting} with their bodies"

    def figures(self) -> Iterator[str]:
        yield f"posted again {self._again} times"

    async def _post(self, sender: int) -> None:
        for number in count():
            if self.is_over:
                return
            id, title = f"msg-{sender}-{number:05}", f"answer post {sender} {number:05}"
            self.planted[title] += 1
            text = plant("Ana", title, "2026-12-01", f"K-{sender}{number:05}")
            body = msgspec.json.encode({"title": f"Post {id}", "text": text})
            while not await self._is_taken(id, body):
                await anyio.sleep(self.pause_s)
                self._again += self.hub.is_running
            await anyio.sleep(self.pause_s)

    async def _is_taken(self, id: str, body: bytes) -> bool:
        if self._url is None or not self.hub.is_running:
            return False
        headers = signed(SECRET, body, SystemClock().now(), id=id)
        try:
            async with httpx2.AsyncClient(trust_env=False, timeout=5.0) as client:
                answer = await client.post(self._url, content=body, headers=headers)
        except (httpx2.TransportError, OSError):
            return False
        assert answer.status_code in (202, 429, 503), answer.text
        return answer.status_code == 202


def _mail(number: int) -> tuple[str, bytes]:
    """Return the title of its item, and a mail."""
    title = f"answer letter {number:05}"
    day = date(2026, 12, 1) + timedelta(days=number % _DUE_DAYS)
    text = plant("Ana", title, day.isoformat(), f"K-{number:05}")
    made = EmailMessage(policy=SMTP)
    headers = {"From": "Ben <ben@example.org>", "To": "ana@example.org", "Subject": f"Letter {number}"}
    for name, value in (headers | {"Message-ID": f"<letter-{number}@example.org>"}).items():
        made[name] = value
    made.set_content(f"Hello Ana,\n\n{text}\n\nBen\n")
    return title, made.as_bytes()


@asynccontextmanager
async def place(
    folder: Path, of: Kind, *, devices: int = 1, seed: int = 1, mails: int = 400, is_forked: bool = False
) -> AsyncIterator[Place]:
    """A hub that does not live yet, and devices that it knows. *is_forked*: see ``spawn``."""
    async with AsyncExitStack() as opened:
        given: Sequence[str] = ()
        match of:
            case "folders":
                made: Place = Folders(folder, devices, seed)
            case "hooks":
                made = Senders(folder, 1, seed)
            case "imap":
                made = PostOffice(folder, 1, seed, opened.enter_context(imap_mailbox(folder)))
            case "rude":
                rude = imap_mailbox(folder, cuts_every=RUDE)
                made = PostOffice(folder, 1, seed, opened.enter_context(rude))
                made.at_first, made.each_life = mails, 0
            case "gmail" | "outlook":
                begin = gmail_mailbox if of == "gmail" else outlook_mailbox
                mailbox = await opened.enter_async_context(begin())
                made, given = PostOffice(folder, 1, seed, mailbox), mailbox.given
        made.wire = line = await opened.enter_async_context(wire())
        line.tells_restart = True  # as a proxy in front of it does; or devices would hardly be there
        model = ""
        if of != "folders":
            tasks = await opened.enter_async_context(anyio.create_task_group())
            opened.callback(tasks.cancel_scope.cancel)
            oracle = Oracle()
            oracle.keeps_requests = False
            model = model_at(await tasks.start(oracle.serve))
        made.hub = hub = FaultyHub(folder, settings=_SETTINGS + model + made.settings(), is_forked=is_forked)
        hub.faults = (*_NO_SPREAD, *given)
        opened.push_async_callback(hub.close)
        await hub.start()
        tokens = [await hub.token(name) for name in made.names]
        await made.begin()
        await hub.kill()
        for name, token in zip(made.names, tokens, strict=True):
            (folder / name).mkdir()
            made.devices.append(await opened.enter_async_context(open_device(line.url, folder / name, token)))
        yield made


async def play(
    folder: Path,
    *,
    of: Kind = "folders",
    kills: int = 60,
    devices: int = 20,
    seed: int = 1,
    mails: int = 400,
    life_s: float = 0.0,
) -> Verdict:
    """Kill a live hub at random moments while it has work; each item is there once.

    Args:
        mails: that lie at a rude server at first.
        life_s: the longest life of a hub; 0: as usual for the work.
    """
    async with place(folder, of, devices=devices, seed=seed, mails=mails) as opened:
        opened.lives_s = (0.0, life_s or opened.lives_s[1])
        toll = await opened.outlive(kills)
        starts = sorted(opened.starts)
    slow = sum(took_s > READY_S and others <= NOISY for took_s, _, others in starts)
    quiet = sum(others <= NOISY for _, _, others in starts)
    took_s, cpu_s = [start[0] for start in starts], sorted(start[1] for start in starts)
    lost, doubled = toll.planted - toll.found, toll.found - toll.planted
    told = [
        f"{toll.kills} kills of a hub with {of} (seed {seed})",
        f"ready after {took_s[0]:.2f} / {median(took_s):.2f} / {took_s[-1]:.2f} s (min / median / max);"
        f" {slow} of {quiet} starts took longer than {READY_S:g} s (at {len(starts) - quiet} more,"
        f" others used over {NOISY:.0%} of the CPU)",
        f"CPU until ready: {cpu_s[0]:.2f} / {median(cpu_s):.2f} / {cpu_s[-1]:.2f} s (min / median / max)",
        "; ".join(toll.figures),
        *toll.faults,
        f"items: {toll.planted.total()} planted, {toll.found.total()} found, {lost.total()} lost,"
        f" {doubled.total()} doubled with {toll.kills} kills;"
        f" {len(toll.faults)} other faults, {slow} slow starts",
    ]
    return "\n".join(told), toll.is_well and not slow


if __name__ == "__main__":
    run(play)
