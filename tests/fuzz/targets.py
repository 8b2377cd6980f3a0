"""Readers of foreign text, each with its random input and with the refusals that its callers know."""

import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from hub.clock import epoch_ms
from hub.connectors.caldav import is_token_refused, joined, multistatus, read_metadata
from hub.connectors.calling import Unavailable
from hub.connectors.mime import read_head
from hub.document import Document
from hub.extraction.answers import Unreadable, is_whole, read
from hub.extraction.chunk import Chunk
from hub.extraction.items import ExtractionOptions
from hub.extraction.structured import read_calendar
from hub.extraction.validate import Checking
from hub.schedules.cron import BadSchedule, parse_cron
from hub.schedules.trigger import CronTrigger
from hub.settings.reading import check_text
from hub.text import reading
from hub.text.files import MAIL, MIB, NotConvertible
from hub.text.letter_text import LetterOptions, letter_of_mail, text_of_letter
from protocol.codec import CODECS, Codec
from protocol.errors import RemoteProtocolError
from protocol.handshake import DeviceHello
from protocol.ids import ConnectionId, DeviceId, UserId
from protocol.session import DeviceSession, HubSession, Session
from protocol.tables import TableName
from tests.fuzz import inputs
from tests.fuzz.http import http
from tests.hub.extraction.conftest import material_of

Call = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A reader of foreign text.

    Attributes:
        make: creates an input.
        opened: gives the function that reads an input.
        refused: errors that its callers know; every other one is a crash.
        bound_s: most CPU time of a call.
    """

    make: Callable[[random.Random], Any]
    opened: Callable[[], AbstractAsyncContextManager[Call]]
    refused: tuple[type[Exception], ...] = ()
    bound_s: float = 1.0


def of(call: Callable[[Any], object]) -> Callable[[], AbstractAsyncContextManager[Call]]:
    """Return a function without preparation as ``Target.opened``."""

    async def called(case: Any) -> None:
        call(case)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Call]:
        yield called

    return opened


def _bent(*examples: Sequence[bytes]) -> Callable[[random.Random], bytes]:
    return partial(inputs.bent, examples=[one for some in examples for one in some])


# --- frames ---


def _frame(chance: random.Random, examples: Sequence[bytes]) -> tuple[Codec, bytes]:
    codec = chance.choice(list(CODECS.values()))
    data = codec.encode(inputs.bent_frame(chance, examples))
    return codec, inputs.bent(chance, [data]) if chance.random() < 0.3 else data


def _ready_hub(codec: Codec) -> Session:
    session = HubSession(codec=codec, hub_id="hub", nonce=bytes(32), now=0.0, ts_ms=0)
    session.receive(codec.encode(DeviceHello()), 0.0)
    session.accept(
        user_id=UserId("u"),
        device_id=DeviceId("d"),
        connection_id=ConnectionId("c"),
        epoch=1,
        ts_ms=0,
        now=0.0,
    )
    return session


def _read_by_hub(case: tuple[Codec, bytes]) -> None:
    codec, data = case
    _ready_hub(codec).receive(data, 1.0)
    codec.decode_from_device(data)


def _read_by_device(case: tuple[Codec, bytes]) -> None:
    codec, data = case
    session = DeviceSession(codec=codec, now=0.0)
    session.greet(DeviceHello())
    session.receive(data, 1.0)
    codec.decode_from_hub(data)


# --- settings ---

_NOWHERE: Final = Path("/nowhere/hub.toml")


def _read_settings(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    lines = text.split("\n")
    for problem in check_text(text, _NOWHERE, environ={}, serving=True).problems:
        line = lines[problem.line - 1] if 0 < problem.line <= len(lines) else None
        assert line is not None, f"no line: {problem}"
        assert 1 <= problem.column <= len(line) + 1, f"no column: {problem}"


def _read_cron(data: bytes) -> None:
    trigger = CronTrigger(parse_cron(data.decode("utf-8", "replace")), ZoneInfo("Europe/Berlin"))
    at: int | None = 1_767_603_600_000
    for _ in range(3):
        at = trigger.next_after(at) if at is not None else None


# --- extraction ---

_TEXT: Final = (
    "Hello all. Anna must send the quote by Friday. Bob likes tea. 5 May 2026: call the studio.\n" * 20
)
_OPTIONS: Final = ExtractionOptions(data_types=tuple(TableName), timezone="Europe/Berlin")
_WRITTEN: Final = datetime(2026, 5, 6, 12, tzinfo=UTC)
_MATERIAL: Final = material_of(_TEXT, _OPTIONS, date=_WRITTEN)


def _answer(chance: random.Random) -> bytes:
    if chance.random() < 0.5:
        return inputs.bent(chance, inputs.ANSWERS)
    records = [inputs.bent_frame(chance, inputs.FROM_HUBS) for _ in range(chance.randint(0, 3))]
    quote = {"table": chance.choice(list(TableName)), "quote": chance.choice(_TEXT.split(". "))}
    return json.dumps(
        {"items": [{**quote, **record} for record in records if isinstance(record, dict)]}
    ).encode()


def _read_answer(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    is_whole(text)
    records = read(text).records
    for is_literal in (False, True):
        checking = Checking(_MATERIAL, Chunk(0, len(_TEXT)), is_literal=is_literal)
        for item in checking.take_all(records).items:
            assert _TEXT[item.start : item.end] == item.quote
            msgspec.json.encode(item.data)


def _read_calendar(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    document = Document(unit_key="a.ics", text=text, content_hash="0" * 64, modified_at=_WRITTEN)
    if (form := read_calendar(document, _OPTIONS)) is not None:
        for item in form.items:
            assert text[item.start : item.end] == item.quote
    known = read_metadata(text)
    known.touches(_WRITTEN, _WRITTEN)
    assert known.start is None or epoch_ms(known.start)


# --- mail, calendars of servers ---


def _read_mail(data: bytes) -> None:
    head = read_head(data.partition(b"\r\n\r\n")[0])
    head.fields()
    assert head.message_id is None or head.message_id
    options = LetterOptions(fetch=True)
    text_of_letter(letter_of_mail(data, options), options, attached=reading.Attachments(MIB).read)
    reading.read(data, MAIL, max_bytes=MIB)


def _read_multistatus(data: bytes) -> None:
    is_token_refused(data)
    for resource in multistatus(data).resources:
        joined("https://example.org/cal/", resource.href)


@asynccontextmanager
async def _http() -> AsyncIterator[Call]:
    with TemporaryDirectory() as folder:
        async with http(Path(folder)) as call:
            yield call


TARGETS: Final = {
    "frames of devices": Target(
        make=partial(_frame, examples=inputs.FROM_DEVICES),
        opened=of(_read_by_hub),
        refused=(RemoteProtocolError,),
    ),
    "frames of hubs": Target(
        make=partial(_frame, examples=inputs.FROM_HUBS),
        opened=of(_read_by_device),
        refused=(RemoteProtocolError,),
    ),
    "http": Target(make=lambda chance: chance, opened=_http, bound_s=2.0),
    "hub.toml": Target(make=_bent(inputs.TOML), opened=of(_read_settings)),
    "cron": Target(make=_bent(inputs.CRON), opened=of(_read_cron), refused=(BadSchedule,)),
    "answers of models": Target(make=_answer, opened=of(_read_answer), refused=(Unreadable,)),
    "mail": Target(make=_bent(inputs.MAILS), opened=of(_read_mail), refused=(NotConvertible,), bound_s=2.0),
    "iCalendar": Target(make=_bent(inputs.CALENDARS), opened=of(_read_calendar)),
    "CalDAV": Target(make=_bent(inputs.MULTISTATUS), opened=of(_read_multistatus), refused=(Unavailable,)),
}
