"""kill -9 of a live hub while it reads a mailbox, again and again.

``python -m tests.scenarios.mailbox_kills --provider imap --kills 60`` (``make soak``) kills the hub as it is
installed, at random moments of a sync, with new mails coming all the time and the device away in every third
life of it: ``imap`` is a real mail server, ``gmail`` one of our own that speaks Gmail's API and goes wrong
now and then. It fails when an item is not at the device exactly once, when a mail is not planned exactly
once, or when the cursor is not behind the last of them. The suite does it small.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from email.message import EmailMessage
from email.policy import SMTP
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import httpx2
import msgspec

from hub.clock import Chance
from tests.scenarios.deaths import TITLES
from tests.scenarios.mailboxes import PROVIDERS, Mailbox, gmail_mailbox, imap_mailbox
from tests.scenarios.scene import rows
from tests.support.clock import SeededChance
from tests.support.device import RunningDevice, open_device
from tests.support.faulty_hub import FaultyHub
from tests.support.oracle import Oracle, plant
from tests.support.processes import model_at
from tests.support.proxy import Wire, wire

LIVES_S = (0.0, 1.2)
AWAY_EVERY = 3  # in each such life of the hub its device does not come
_AT_FIRST = 60  # mails
_TROUBLE = 0.15  # how often something goes wrong when mails come
_DELIVER_EVERY_S, _ORDER_EVERY_S = 0.15, 0.1
_END_S = 300.0  # for all that is left to do, when nobody kills any more
_FINAL = ("COMPLETED", "FAILED", "CANCELLED")

_HUB = """\
[limits]
connected_s = 0.1
restart_hold_s = 0.0
[listen.devices]
address = "127.0.0.1:0"
hosts = ["127.0.0.1"]  # a wire in front of it has another port
[listen.operator]
address = "127.0.0.1:0"
{model}
[[connectors]]
name = "work"
{mailbox}
[[agents]]
name = "mail"
device = "desk"
connector = "work"
filter = {{ {filter} }}
data_types = ["tasks"]
prompt = "Find the tasks that a person has to do."
"""
_NO_SPREAD = (
    "--given",
    "hub.runs.dispatcher:SPREAD_EACH_S=0.0",
)  # or few runs would begin in so short a life
_SEEN_ROWS = 3  # of one mail: its copy, its Message-ID, and the Message-ID with what it says


class Toll(msgspec.Struct, frozen=True):
    """What became of it all."""

    kills: int
    interrupted: int  # how often a run was under way when the hub was killed
    runs: Counter[str]  # by how they were started and ended
    seen: Counter[str]  # what is known of mails, by what became of each
    planned: Counter[int]  # how often a mail was planned, by how many were so often
    planted: Counter[str]
    found: Counter[str]
    away: int  # lives of the hub in which the device did not come
    is_behind_all: bool  # the cursor that is kept
    told: dict[str, int]  # by the mailbox

    @property
    def lost(self) -> Counter[str]:
        return self.planted - self.found

    @property
    def doubled(self) -> Counter[str]:
        return self.found - self.planted

    @property
    def broken(self) -> int:
        """Runs that failed, but for those that were killed again and again at the same place."""
        failed = {how: number for how, number in self.runs.items() if "FAILED" in how}
        return sum(number for how, number in failed.items() if "crash_loop" not in how)

    @property
    def is_well(self) -> bool:
        """Each mail was planned once, is behind the cursor, and its item at the device once; no run broke."""
        mails = self.planted.total()
        rows = _SEEN_ROWS * mails
        once = self.seen == Counter(planned=rows) and self.planned == Counter({1: mails})
        return once and self.is_behind_all and not (self.lost or self.doubled or self.broken)


class PostOffice:
    """A mailbox that fills, the hub that reads it, and a device in this process."""

    def __init__(
        self,
        mailbox: Mailbox,
        hub: FaultyHub,
        device: RunningDevice,
        line: Wire,
        chance: Chance,
        folder: Path,
    ) -> None:
        self._mailbox = mailbox
        self._hub = hub
        self._device = device
        self._wire = line
        self._chance = chance
        self._folder = folder
        self._planted: Counter[str] = Counter()
        self._kills = self._away = 0
        self._is_over = False

    def deliver(self, mails: int) -> None:
        """Lay so many mails into the mailbox, each with one item."""
        made = [_mail(len(self._planted) + number) for number in range(mails)]
        self._mailbox.deliver([raw for _, raw in made])
        self._planted.update(title for title, _ in made)

    async def outlive(self, kills: int, *, lives_s: tuple[float, float] = LIVES_S) -> Toll:
        """Kill the hub so often, and on until a run was interrupted; then let all come to its end."""
        self.deliver(_AT_FIRST)
        async with anyio.create_task_group() as busy:
            busy.start_soon(self._keep_delivering)
            busy.start_soon(self._keep_ordering)
            for life in count():
                await self._hub.start()
                if life >= kills and self._interrupted():
                    break
                if life % AWAY_EVERY != AWAY_EVERY - 1:
                    self._wire.hub_url = await self._hub.device_url()
                else:
                    self._away += 1
                await anyio.sleep(self._chance.uniform(*lives_s))
                self._wire.hub_url = None
                await self._hub.kill()
                self._kills += 1
            # Told and not cancelled: a request over a Unix socket that is cancelled as its answer comes
            # sets a future that has ended, in the library, which fails whatever test is running.
            self._is_over = True
        self._wire.hub_url = await self._hub.device_url()
        await self._all_is_there()
        return self._toll()

    def _toll(self) -> Toll:
        runs = self._ask(
            """SELECT trigger_kind || ' ' || state || COALESCE(' ' || outcome, '')
                      || CASE state WHEN 'FAILED' THEN ' ' || COALESCE(reason, '') ELSE '' END, 1 FROM runs"""
        )
        ((cursor,),) = self._ask("SELECT cursor FROM connector_cursors")
        # Its one item has one call, whichever run took that over from another that was given up.
        planned = self._ask("SELECT unit_key, count(*) FROM run_calls GROUP BY unit_key")
        return Toll(
            kills=self._kills,
            interrupted=self._interrupted(),
            runs=Counter(how for how, _ in runs),
            seen=Counter(state for (state,) in self._ask("SELECT state FROM seen_messages")),
            planned=Counter(times for _, times in planned),
            planted=self._planted,
            found=Counter(title for (title,) in rows(self._device.db, TITLES)),
            away=self._away,
            is_behind_all=self._mailbox.is_behind_all(msgspec.json.decode(cursor)),
            told=self._mailbox.told(),
        )

    def _interrupted(self) -> int:
        ((found,),) = self._ask("SELECT count(*) FROM run_state_history WHERE reason = 'hub_restart'")
        return int(found)

    async def _keep_delivering(self) -> None:
        while not self._is_over:
            self.deliver(int(self._chance.uniform(1, 4)))
            if self._chance.uniform(0, 1) < _TROUBLE:
                self._mailbox.trouble()
            await anyio.sleep(_DELIVER_EVERY_S)

    async def _keep_ordering(self) -> None:
        while not self._is_over:
            with suppress(httpx2.TransportError, httpx2.HTTPStatusError, OSError):  # it is dead just now
                if not self._live():
                    await self._hub.start_run("mail")
            await anyio.sleep(_ORDER_EVERY_S)

    async def _all_is_there(self) -> None:
        """Until all runs have ended and one of them, started after the last mail, found nothing new."""
        with anyio.move_on_after(_END_S):
            await self._none_lives()
            await self._hub.start_run("mail")
            await self._none_lives()
            return
        raise AssertionError(f"these runs do not end: {self._live()}\n{self._hub.log()[-4000:]}")

    async def _none_lives(self) -> None:
        while self._live():
            await anyio.sleep(_ORDER_EVERY_S)

    def _live(self) -> list[tuple[Any, ...]]:
        return self._ask(f"SELECT id, state, reason FROM runs WHERE state NOT IN {_FINAL}")

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        return rows(self._folder / "hub.db", query)


def _mail(number: int) -> tuple[str, bytes]:
    """The title of its item, and a mail."""
    title = f"answer letter {number:05}"
    text = plant("Ana", title, "2026-12-01", f"K-{number:05}")
    made = EmailMessage(policy=SMTP)
    made["From"] = "Ben <ben@example.org>"
    made["To"] = "ana@example.org"
    made["Subject"] = f"Letter {number}"
    made["Message-ID"] = f"<letter-{number}@example.org>"
    made.set_content(f"Hello Ana,\n\n{text}\n\nBen\n")
    return title, made.as_bytes()


@asynccontextmanager
async def post_office(
    folder: Path, *, provider: str, seed: int, is_forked: bool = False
) -> AsyncIterator[PostOffice]:
    """A mailbox, a hub that does not live yet, and a device that it knows. *is_forked*: see ``spawn``."""
    async with AsyncExitStack() as opened:
        mailbox: Mailbox
        if provider == "imap":
            mailbox = opened.enter_context(imap_mailbox(folder))
        else:
            mailbox = await opened.enter_async_context(gmail_mailbox())
        line = await opened.enter_async_context(wire())
        line.tells_restart = True
        tasks = await opened.enter_async_context(anyio.create_task_group())
        opened.callback(tasks.cancel_scope.cancel)
        model = model_at(await tasks.start(Oracle().serve))
        settings = _HUB.format(model=model, mailbox=mailbox.settings, filter=mailbox.filter)
        hub = FaultyHub(folder, settings=settings, is_forked=is_forked)
        hub.faults = (*_NO_SPREAD, *mailbox.given)
        opened.push_async_callback(hub.close)
        await hub.start()
        token = await hub.token("desk")
        await mailbox.sign_in(hub)
        await hub.kill()
        state = folder / "desk"
        state.mkdir()
        device = await opened.enter_async_context(open_device(line.url, state, token))
        yield PostOffice(mailbox, hub, device, line, SeededChance(seed), folder)


async def main(provider: str, kills: int, seed: int) -> int:
    """Prints what became of it; 1 when a mail or an item is lost or doubled."""
    with tempfile.TemporaryDirectory() as folder:
        async with post_office(Path(folder), provider=provider, seed=seed) as place:
            toll = await place.outlive(kills)
    beside = "".join(f"; {what}: {number}" for what, number in toll.told.items())
    print(  # noqa: T201  # for the person who runs it
        f"{toll.kills} kills of a hub that reads a mailbox, {provider} (seed {seed}){beside}\n"
        f"runs: {', '.join(f'{number} {how}' for how, number in sorted(toll.runs.items()))};"
        f" interrupted {toll.interrupted} times\n"
        f"mails: {toll.planted.total()} delivered, {dict(toll.seen)},"
        f" planned so often: {dict(toll.planned)}; the cursor is behind them: {toll.is_behind_all}\n"
        f"items: {toll.found.total()} found, {toll.lost.total()} lost, {toll.doubled.total()} doubled;"
        f" the device was away in {toll.away} lives of the hub"
    )
    return int(not toll.is_well)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--provider", choices=PROVIDERS, default="imap")
    options.add_argument("--kills", type=int, default=60)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    sys.exit(anyio.run(main, chosen.provider, chosen.kills, chosen.seed))
