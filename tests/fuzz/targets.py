"""Readers of foreign text, each with its random input and with the refusals that its callers know."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

import msgspec

from hub.base.clock import epoch_ms
from hub.connectors.caldav import multistatus
from hub.connectors.calendar_objects import joined, read_metadata
from hub.connectors.calling import HttpReply, Misconfigured, Unavailable
from hub.connectors.catalogue import find
from hub.connectors.connector import Context
from hub.connectors.manifest import ManifestConnector
from hub.connectors.mime import read_head
from hub.document import Document
from hub.extraction.answers import UnreadableAnswer, is_whole, read
from hub.extraction.calendars import read_calendar
from hub.extraction.chunk import Chunk
from hub.extraction.items import ExtractionOptions
from hub.extraction.ruled import ToExtract
from hub.extraction.validate import Checking
from hub.schedules.cron import BadSchedule, parse_cron
from hub.schedules.trigger import CronTrigger
from hub.settings.reading import check_text
from hub.text import convert as reading
from hub.text.files import MAIL, MIB, NotConvertible
from hub.text.letter_text import LetterOptions, letter_of_mail, text_of_letter
from hub.text.webdav import is_token_refused
from protocol.codec import CODECS, Codec
from protocol.errors import RemoteProtocolError
from protocol.handshake import DeviceHello
from protocol.ids import ConnectionId, DeviceId, UserId
from protocol.items import Provenance, ProvenanceOrigin
from protocol.session import DeviceSession, HubSession, Session
from protocol.tables import TableName
from tests.fuzz import inputs
from tests.fuzz.inputs import FROM_DEVICES, MAX_BYTES, bent, bent_frame
from tests.hub.extraction.conftest import material_of
from tests.support.clock import FakeClock, SeededChance
from tests.support.hub import ENDLESS, over_unix, serving

_AT: Final = datetime(2026, 5, 1, tzinfo=UTC)
_OF_FEEDS: Final = {
    "rss": {"url": "https://example.org/feed"},
    "ics": {"url": "https://example.org/calendar.ics"},
    "github-issues": {"repository": "a/b"},
}
_NOT_ASKED: Final = (
    "/v1/drain",
    "/v1/backups",
    *ENDLESS,
)  # they end, or last
_AS_AGENT: Final = "/v1/agent/"  # by tokens of agents alone
_ANSWER_S: Final = 20.0
_NAMES: Final = (
    *["notes"] * 8,
    "laptop",
    "anna",
    "0199a3c2-6f00-7c3f-9d3e-1b2c3d4e5f60",
    "1",
    "-1",
    "",
    "..",
    "%00",
)
_WORDS: Final = (
    "notes",
    "*",
    "0 7 * * *",
    "Europe/Berlin",
    "2026-05-06T12:00:00Z",
    "tasks",
    "1.0.0",
    "a" * 300,
)
_HEADERS: Final = (
    *("If-Match: *", 'If-Match: "1"', "Idempotency-Key: a", "Accept: text/html", "Content-Encoding: gzip"),
    *("Authorization: Bearer x", "X-Forwarded-For: 1.2.3.4", "Range: bytes=0-1", "Expect: 100-continue"),
    *("Transfer-Encoding: chunked", "Content-Type: text/plain", "Origin: http://example.org", "Cookie: a=b"),
)


@asynccontextmanager
async def http(folder: Path) -> AsyncIterator[Callable[[random.Random], Awaitable[None]]]:
    """Serve a hub, and give a function that sends it one random request."""
    logging.disable()  # or each bad request is a line
    async with serving(folder, body_bytes=MAX_BYTES) as hub:
        async with over_unix(hub) as client:
            document = (await client.get("/v1/openapi.json")).json()
        operations = [
            (method.upper(), path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if path not in _NOT_ASKED and not path.startswith(_AS_AGENT)
        ]
        parts = document["components"]

        async def ask(chance: random.Random) -> None:
            request, is_whole = _request(chance, *chance.choice(operations), parts)
            status = await _status(str(hub.listening.unix), request, is_whole=is_whole)
            assert status != 500, f"500 for {request[:500]!r}"
            assert status or not is_whole, f"no answer to {request[:500]!r}"

        try:
            yield ask
        finally:
            logging.disable(logging.NOTSET)


def _request(
    chance: random.Random, method: str, path: str, operation: dict[str, Any], parts: dict[str, Any]
) -> tuple[bytes, bool]:
    """Return a request, and True if nothing of its form is wrong."""
    for name in [part[1:-1] for part in path.split("/") if part.startswith("{")]:
        path = path.replace(f"{{{name}}}", quote(chance.choice(_NAMES + _WORDS), safe="%"))
    schemas = parts["schemas"]
    parameters = (_resolved(one, parts["parameters"]) for one in operation.get("parameters", ()))
    query = "&".join(
        f"{one['name']}={quote(_spelled(_value(chance, one.get('schema', {}), schemas)))}"
        for one in parameters
        if one["in"] == "query" and one["name"] != "wait_s" and chance.random() < 0.4
    )
    body = b""
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        schema = next(iter(content.values())).get("schema", {})
        value = _value(chance, schema, schemas) if chance.random() < 0.9 else bent_frame(chance, FROM_DEVICES)
        body = json.dumps(value).encode()
        body = bent(chance, [body]) if chance.random() < 0.3 else body
    lines = [f"{method} {path}?{query} HTTP/1.1", "Host: hub", "Connection: close"]
    is_whole = chance.random() < 0.85
    if is_whole:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body, True
    lines += chance.sample(_HEADERS, 2)
    if chance.random() < 0.7:
        lines.append(f"Content-Length: {chance.choice((len(body), 0, 10**9, -1))}")
    request = "\r\n".join([*lines, "", ""]).encode() + body
    return bent(chance, [request]) if chance.random() < 0.5 else request, False


def _value(chance: random.Random, schema: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> Any:
    """Return a value of the *schema*, or, rarely, another one."""
    if chance.random() < 0.05:
        return chance.choice((None, True, -1, 2**70, 1e308, "", "\x00", [], {}, [[]], "\ud800", "a" * 3_000))
    schema = _resolved(schema, schemas)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return _value(chance, chance.choice(schema[several]), schemas, depth)
    if "enum" in schema or "const" in schema:
        return chance.choice(schema.get("enum") or [schema["const"]])
    match schema.get("type"):
        case "object" if depth < 6:
            required = set(schema.get("required", ()))
            made = {
                name: _value(chance, inner, schemas, depth + 1)
                for name, inner in schema.get("properties", {}).items()
                if (name in required and chance.random() < 0.97) or chance.random() < 0.3
            }
            more = schema.get("additionalProperties")
            if isinstance(more, dict):
                made[chance.choice(_WORDS)] = _value(chance, more, schemas, depth + 1)
            return made
        case "array" if depth < 6:
            return [
                _value(chance, schema.get("items", {}), schemas, depth + 1)
                for _ in range(chance.randint(0, 3))
            ]
        case "integer" | "number":
            return chance.choice((0, 1, 2, 60, 1_000, -1, 10**12, 0.5))
        case "boolean":
            return chance.random() < 0.5
    return chance.choice(_WORDS + _NAMES)


def _resolved(schema: dict[str, Any], among: dict[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = among[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return named


def _spelled(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)


async def _status(path: str, request: bytes, *, is_whole: bool) -> int | None:
    """Send *request*, and return the status of the answer, or None if there was none."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(request)
        if not is_whole:  # or the server would wait for the rest
            writer.write_eof()
        async with asyncio.timeout(_ANSWER_S):
            line = await reader.readline()
        return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else None
    except (ConnectionError, TimeoutError):
        return None
    finally:
        writer.close()


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


def _read_file(file: tuple[str, str]) -> None:
    """Read a file as one of the owner, and as one of others."""
    name, text = file
    for by in (None, Provenance(origin=ProvenanceOrigin.MAIL, author="x@example.org", trusted=False)):
        document = Document(
            unit_key=name, text=text, content_hash="0" * 64, modified_at=_WRITTEN, provenance=by
        )
        for item in ToExtract(document=document, options=_OPTIONS, reads_prose=True).answer().items:
            assert text[item.start : item.end] == item.quote
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


def _read_feed(data: bytes) -> None:
    """Read the data as three providers whose manifests come with the hub would."""
    chance = SeededChance()
    for name, settings in _OF_FEEDS.items():
        kind = find(name)
        context = Context(account="a", clock=FakeClock(), chance=chance, caller=None)  # type: ignore[arg-type]
        connector = kind(context, kind.settings_model.model_validate(settings), kind.filter_model())
        assert isinstance(connector, ManifestConnector)
        request = connector._request(_AT)
        with suppress(Unavailable, Misconfigured):
            entries, _ = connector._decoded(HttpReply(200, {}, data), request)
            connector._messages(entries, _AT, True)


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
    "answers of models": Target(make=_answer, opened=of(_read_answer), refused=(UnreadableAnswer,)),
    "mail": Target(make=_bent(inputs.MAILS), opened=of(_read_mail), refused=(NotConvertible,), bound_s=2.0),
    "files": Target(make=inputs.written, opened=of(_read_file), bound_s=5.0),  # with all languages
    "iCalendar": Target(make=_bent(inputs.CALENDARS), opened=of(_read_calendar)),
    "feeds": Target(make=_bent(inputs.FEEDS, inputs.CALENDARS), opened=of(_read_feed), bound_s=2.0),
    "CalDAV": Target(make=_bent(inputs.MULTISTATUS), opened=of(_read_multistatus), refused=(Unavailable,)),
}
