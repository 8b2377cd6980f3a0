"""Row 22: a mailbox of 20,000 messages over IMAP, by the connector and by the standard library's imaplib.

Both ask a real dovecot on this machine for the same, a hundred heads or twenty texts at a time. imaplib alone
only fetches; with ``email`` it also reads the heads. The connector makes messages, and documents of texts.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message as HeadOf
from email.utils import getaddresses, parsedate_to_datetime
from functools import partial
from time import perf_counter
from typing import Final

import anyio

from hub.base.clock import SystemClock
from hub.connectors.connector import Cursor, Message
from hub.connectors.mime import NEEDED
from tests.bench.machine import forget_peak_rss, peak_rss_bytes, rss_bytes
from tests.bench.processes import ProcessFailed
from tests.bench.rounds import alone, play, ratio, spread_of
from tests.bench.rows import Row, at_least, at_most
from tests.hub.connectors.imap_rig import imap, mail, settings_of
from tests.support.dovecot import Dovecot, running_dovecot, why_no_dovecot

_MAILS: Final = 20_000
_NEW: Final = 20  # came before the incremental round
_READ: Final = 2_000  # of which the texts are read
_HEADS, _TEXTS = 100, 20  # in one FETCH
_ROUNDS: Final = 3
_MIB: Final = 1024.0 * 1024
_WORDS: Final = "Please send the plan to the office by Friday, and call Ana about the roof.\n" * 12
_ASKED: Final = (
    "(UID INTERNALDATE RFC822.SIZE FLAGS BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS "
    f"({' '.join(name.upper() for name in NEEDED)})])"
)


class _Side:
    """What is measured; each measurement has a connection of its own."""

    def __init__(self, dovecot: Dovecot, user: str) -> None:
        self._dovecot = dovecot
        self._user = user
        self._settings = settings_of(dovecot, user)
        self.grown_mib: list[float] = []

    def ours(self) -> float:
        """Messages a second, of all heads."""
        forget_peak_rss()
        before = rss_bytes()
        count, seconds = anyio.run(self._pages, None)
        self.grown_mib.append((peak_rss_bytes() - before) / _MIB)
        assert count == _MAILS
        return count / seconds

    def incremental(self, cursor: Cursor) -> float:
        """Milliseconds of a round that finds twenty, the sign-in included."""
        count, seconds = anyio.run(self._pages, cursor)
        assert count == _NEW
        return seconds * 1_000

    def idle(self, cursor: Cursor) -> float:
        """Milliseconds of a round that finds nothing."""
        count, seconds = anyio.run(self._pages, cursor)
        assert count == 0
        return seconds * 1_000

    def texts(self, some: Sequence[Message]) -> float:
        """Documents a second."""
        return len(some) / anyio.run(self._read, some)

    def theirs(self, *, is_read: bool) -> float:
        """Messages a second, fetched; or fetched and their heads read."""
        began = perf_counter()
        client = self._dovecot.client(self._user)
        client.select("INBOX", readonly=True)
        _, (found,) = client.uid("SEARCH", "SINCE", "1-Jan-2020")
        uids = found.split()
        count = 0
        for at in range(0, len(uids), _HEADS):
            uid_set = f"{int(uids[at])}:{int(uids[min(at + _HEADS, len(uids)) - 1])}"
            _, answer = client.uid("FETCH", uid_set, _ASKED)
            for one in answer:
                if isinstance(one, tuple):
                    count += 1
                    if is_read:
                        _understood(message_from_bytes(one[1]))
        client.logout()
        assert count == _MAILS
        return count / (perf_counter() - began)

    def their_texts(self) -> float:
        """Texts a second, fetched."""
        began = perf_counter()
        client = self._dovecot.client(self._user)
        client.select("INBOX", readonly=True)
        for first in range(1, _READ, _TEXTS):
            _, answer = client.uid("FETCH", f"{first}:{first + _TEXTS - 1}", "(UID BODY.PEEK[1]<0.98304>)")
            assert sum(isinstance(one, tuple) for one in answer) == _TEXTS
        client.logout()
        return _READ / (perf_counter() - began)

    async def cursor(self) -> tuple[Cursor, list[Message]]:
        """The cursor behind everything, and the first messages."""
        connector = imap(self._settings)
        some: list[Message] = []
        cursor: Cursor = {}
        async for page in connector.pages(None, SystemClock().now() - timedelta(days=365)):
            some += page.messages[: _READ - len(some)]
            cursor = page.cursor or cursor
        await connector.aclose()
        return cursor, some

    async def _pages(self, cursor: Cursor | None) -> tuple[int, float]:
        count = 0
        began = perf_counter()
        connector = imap(self._settings)
        async for page in connector.pages(cursor, SystemClock().now() - timedelta(days=365)):
            count += len(page.messages)
        await connector.aclose()
        return count, perf_counter() - began

    async def _read(self, some: Sequence[Message]) -> float:
        began = perf_counter()
        connector = imap(self._settings)
        for at in range(0, len(some), _TEXTS):
            async for _ in connector.read(some[at : at + _TEXTS]):
                pass
        await connector.aclose()
        return perf_counter() - began


def _understood(head: HeadOf) -> tuple[object, ...]:
    """The least that a message says: its subject, who wrote to whom, when, and its id."""
    return (
        str(make_header(decode_header(head["subject"]))),
        [(str(make_header(decode_header(name))), email) for name, email in getaddresses([head["from"]])],
        getaddresses([head["to"]]),
        parsedate_to_datetime(head["date"]).astimezone(UTC),
        head["message-id"],
    )


def run(echo: Callable[[str], None]) -> list[Row]:
    """Play the rounds of row 22, in this process and one of dovecot's."""
    if (reason := why_no_dovecot()) is not None:
        raise ProcessFailed(reason)
    with running_dovecot() as dovecot:
        user = dovecot.fresh_user()
        dovecot.deliver(user, (mail(n, _WORDS, Subject=f"Задача №{n}") for n in range(_MAILS - _NEW)))
        side = _Side(dovecot, user)
        before, _ = anyio.run(side.cursor)  # dovecot makes its index
        dovecot.deliver(user, (mail(n, _WORDS) for n in range(_MAILS, _MAILS + _NEW)))
        cursor, some = anyio.run(side.cursor)
        rounds = play(
            {
                "connector": side.ours,
                "imaplib": partial(side.theirs, is_read=False),
                "imaplib, read": partial(side.theirs, is_read=True),
                "texts": partial(side.texts, some),
                "imaplib, texts": side.their_texts,
                "incremental": partial(side.incremental, before),
                "idle": partial(side.idle, cursor),
            },
            echo=echo,
            rounds=_ROUNDS,
            extra=0,
        )
    for name in rounds[0]:
        spread = spread_of([played[name].value for played in rounds])
        unit = "ms" if name in ("incremental", "idle") else "messages/s"
        echo(f"{name:>14}: {spread.least:,.0f} / {spread.middle:,.0f} / {spread.most:,.0f} {unit}")
    echo(f"peak RSS grew by {', '.join(f'{one:.1f}' for one in side.grown_mib)} MiB over {_MAILS:,} heads")
    return [
        Row(
            "22",
            "20,000 heads: connector / imaplib and email",
            at_least(1),
            ratio(rounds, "connector", "imaplib, read"),
        ),
        Row("22", "... / imaplib that only fetches", None, ratio(rounds, "connector", "imaplib")),
        Row("22", "texts made / imaplib that only fetches", None, ratio(rounds, "texts", "imaplib, texts")),
        Row(
            "22",
            "a round that finds 20 new ones",
            at_most(1_000, "ms"),
            alone(rounds, "incremental"),
            unit="ms",
        ),
        Row("22", "a round that finds nothing", None, alone(rounds, "idle"), unit="ms"),
    ]
