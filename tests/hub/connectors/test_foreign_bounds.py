"""Bounds of what a connector by others sends: of each field, and of what a run of it adds to the database."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from hub.base.outbound.client import MAX_ANSWER_BYTES, OutboundClient
from hub.base.outbound.rules import OutboundRules
from hub.connectors import process
from hub.connectors.conformance import process_at
from hub.connectors.connector import Account, Connector, Message
from hub.extraction import batch, completion, transcription
from hub.openclaw import frames, methods
from hub.text.confinement import landlock_version
from protocol import calls, codec, frame
from storage.agents.configs import Mailbox as MailboxConfig
from storage.store import Store, open_store
from tests.support.clock import FakeClock
from tests.support.mailbox import ListDesk, Mailbox
from tests.support.runs import Bench, declare_agent, declare_connector
from tests.support.runs import store as store

KIT = Path(process.__file__).with_name("sdk")
# Answers of devices to calls: each has ``MAX_RESULT_BYTES`` at most, and so have fields without a bound.
ANSWERS = ("ListedRow", "KnownToDevice", "FilePart", "FileExcerpt")
# What strangers send, by the door where it is decoded.
PARTS: dict[str, tuple[type, ...]] = {
    "programs of connectors": (
        process.ProcessSpec,
        process._ProgramRequest,
        process._Failed,
        process._Item,
        process._ProgramLine,
        process._ProgramListing,
        Account,
        Message,
    ),
    "gateways": (
        frames.ResponseFrame,
        frames.EventFrame,
        frames.GatewayChallenge,
        frames.HelloOk,
        frames._Kind,
        methods.ChatAck,
        methods._HistoryAnswer,
        methods._WaitAnswer,
        methods.AgentsList,
        methods.CreatedAgent,
        methods._FileAnswer,
    ),
    "models": (
        completion.ResponseBody,
        batch._BatchLine,
        transcription._Transcript,
    ),
    "devices": (
        *codec.FROM_DEVICE,
        *(kind for name, kind in vars(calls).items() if name in ANSWERS),
    ),
}
# Values of any form, which are bounded as a whole where they are received.
WHOLE = {
    "_ProgramLine.result": process.MAX_LINE_BYTES,
    "_ProgramLine.item": process.MAX_LINE_BYTES,
    "_ProgramListing.messages[]": process.MAX_LINE_BYTES,
    "_ProgramListing.cursor": process.MAX_CURSOR_BYTES,
    "_ProgramListing.next": process.MAX_CURSOR_BYTES,
    "Message.place": process.MAX_CURSOR_BYTES,
    "ResponseFrame.payload": frames.MAX_FRAME_BYTES,
    "EventFrame.payload": frames.MAX_FRAME_BYTES,
    "RefusalBody.details": frames.MAX_FRAME_BYTES,
    "_HistoryAnswer.messages[]": frames.MAX_FRAME_BYTES,
    "_WaitAnswer.error": frames.MAX_FRAME_BYTES,
    "_Response.body": MAX_ANSWER_BYTES,
    "ResponseBody.choices": completion._MAX_BYTES,
    "ResponseBody.usage": completion._MAX_BYTES,
    "Request.params": frame.MAX_PARAMS_BYTES,
    "AgentBeat.resource_usage": frame.MAX_USAGE_BYTES,
    "ToolResult.result": frame.MAX_RESULT_BYTES,
    "FilePiece.content": frame.MAX_PIECE_BYTES,
    "ToolResult.error": frame.MAX_MESSAGE_BYTES,
    "AgentComplete.error": frame.MAX_MESSAGE_BYTES,
    "ListedRow.data": frame.MAX_RESULT_BYTES,
    "KnownToDevice.calls[#]": frame.MAX_RESULT_BYTES,
    "KnownToDevice.rows[#]": frame.MAX_RESULT_BYTES,
    "FilePart.content": frame.MAX_RESULT_BYTES,
    "FileExcerpt.content": frame.MAX_RESULT_BYTES,
    "RunCheckpoint.state": frame.MAX_MESSAGE_BYTES,
}
LISTED_BYTES = 1_000  # of the database, for each message; as the page process-connectors has them
READ_BYTES = 40_000


def _bounds(kind: inspect.Type, path: str) -> Iterator[tuple[str, int | None]]:
    """Yield the path and the bound of each text, list and object below *kind*; None: it has none."""
    if isinstance(kind, inspect.Metadata):
        yield from _bounds(kind.type, path)
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _bounds(one, path)
    elif isinstance(kind, inspect.StrType):
        yield path, 64 if kind.pattern else kind.max_length
    elif isinstance(kind, inspect.ListType | inspect.VarTupleType):
        yield f"{path}[#]", kind.max_length
        yield from _bounds(kind.item_type, f"{path}[]")
    elif isinstance(kind, inspect.DictType):
        yield f"{path}{{#}}", kind.max_length
        yield from _bounds(kind.key_type, f"{path}{{key}}")
        yield from _bounds(kind.value_type, f"{path}{{}}")
    elif isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield from _bounds(field.type, f"{kind.cls.__name__}.{field.name}")
    elif isinstance(kind, inspect.AnyType | inspect.RawType):
        yield path, None


@pytest.mark.parametrize("door", PARTS)
def test_each_field_received_from_strangers_has_a_bound(door: str) -> None:
    parts = [part for part in PARTS[door] if issubclass(part, msgspec.Struct)]
    found = {path: limit for part in parts for path, limit in _bounds(inspect.type_info(part), "")}
    whole = {path for path in found if any(path.startswith(value) for value in WHOLE)}
    assert {path for path, limit in found.items() if limit is None} - whole == set()
    assert len(found) > len(parts)


TOO_LONG: dict[str, Any] = {
    "key": "x" * 1_001,
    "version": "x" * 129,
    "place": ["x" * 70_000],
    "subject": "x" * 10_001,
    "labels": ["x"] * 1_001,
    "sender": {"email": "x" * 10_001},
    "link": "x" * 2_001,
}


@pytest.mark.parametrize("field", TOO_LONG)
def test_listed_message_with_a_field_over_the_bound_is_a_named_fault(field: str) -> None:
    message = process._message(msgspec.Raw(msgspec.json.encode({"key": "a"} | {field: TOO_LONG[field]})))
    assert message.key.startswith("broken:")
    assert message.fault.startswith("the connector listed it wrongly: Expected") and field in message.fault


def test_message_of_any_connector_with_a_kept_field_over_the_bound_is_a_named_fault() -> None:
    for field in ("key", "copy", "version"):
        fields: dict[str, Any] = {"key": "a"} | {field: "x" * 1_001}
        message = Message(**fields).within_bounds()
        assert message.key.startswith("broken:") and message.fault.startswith(f"its {field} has more than")
    sound = Message(key="a", version="x" * 128)
    assert sound.within_bounds() is sound


# It lists messages without end, each as large as its bounds allow; every hundredth page has some to read.
HOSTILE = """
import json, sys
WIDE = "\\U0001F4A3"

def message(number):
    is_read = number % 100 == 0
    return {
        "key": f"{number:09}".ljust(1_000, WIDE), "version": f"{number:09}".ljust(128, WIDE),
        "subject": WIDE * (10_000 if is_read else 10), "labels": [WIDE * 10],
        "sender": {"email": "a@b", "name": WIDE * 10_000} if is_read else None,
        "link": "https://a.example/".ljust(2_000, "x"), "is_bulk": not is_read,
    }

def say(**line):
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\\n")
    sys.stdout.flush()

for line in sys.stdin:
    call = json.loads(line)
    params = call["params"]
    result = {}
    if call["method"] == "spec":
        result = {"name": "hostile", "api": [1, 1]}
    elif call["method"] == "pages":
        begin = params["next"] or (params["cursor"] or {"at": 0})["at"]
        messages = [message(number) for number in range(begin, begin + 100)]
        cursor = {"at": begin + 100, "padding": "x" * 60_000}
        result = {"messages": messages, "cursor": cursor, "next": begin + 100}
    else:
        for asked in params["messages"]:
            text = "\\n".join(f"- [ ] {number} {WIDE * 200}" for number in range(50))
            say(id=call["id"], item={"key": asked["key"], "text": text})
    say(id=call["id"], result=result)
"""


class OneProgram(ListDesk):
    """Desk of one program."""

    def __init__(self, make: Callable[[], Connector], clock: FakeClock) -> None:
        super().__init__(Mailbox(), clock)
        self._make = make

    async def open(self, connector_id: str, filter: Mapping[str, Any]) -> Connector:
        return self._make()


async def _sizes(store: Store) -> dict[str, int]:
    """Return the bytes of each table with its indexes."""

    def read(c: Any) -> dict[str, int]:
        tables = dict(c.exec_driver_sql("SELECT name, tbl_name FROM sqlite_master").fetchall())
        sizes: dict[str, int] = {}
        for name, size in c.exec_driver_sql("SELECT name, SUM(pgsize) FROM dbstat GROUP BY name"):
            table = tables.get(name, name)
            sizes[table] = sizes.get(table, 0) + int(size)
        return sizes

    return await store.read(read)


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.skipif(landlock_version() < 1, reason="the jail is of Linux with Landlock")
async def test_a_run_of_a_hostile_connector_adds_no_more_than_the_documented_bytes(tmp_path: Path) -> None:
    for name, source in (("connector.py", HOSTILE), ("hub_connector.py", "")):
        (tmp_path / name).write_text(source)
    async with (
        OutboundClient(OutboundRules()) as client,
        open_store(f"sqlite:///{tmp_path / 'hub.db'}") as store,
    ):
        await declare_connector(store, "home", "process")
        mailbox = MailboxConfig(connector="home", filter={})
        agent = await declare_agent(store, name="dates", data_types=("tasks",), mailbox=mailbox)
        clock = FakeClock()
        desk = OneProgram(lambda: process_at(client, tmp_path, ["python", "connector.py"]), clock)
        bench = Bench(store, agent, clock=clock, desk=desk)
        before = await _sizes(store)
        await bench.run()
        after = await _sizes(store)
    grown = {name: after[name] - before[name] for name in after if after[name] > before[name]}
    listed, read = process.MAX_RUN_MESSAGES, process.MAX_RUN_MESSAGES // 100
    assert 0 < grown.pop("seen_messages") <= listed * LISTED_BYTES
    assert "items" in grown and sum(grown.values()) <= read * READ_BYTES
