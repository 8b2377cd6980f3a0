"""Attacks made from a seed: every HTTP verb at each listener, every frame type, every open value.

And those that once stopped a hub, by name. Each is a flood by a few sockets.
"""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from protocol.codec import FROM_DEVICE, FROM_HUB, MSGPACK, type_of
from protocol.coordination import Method
from tests.scenarios.attackers import Plan, frame, packed, text
from tests.scenarios.attacks import AGENT, SHOWN, Attack, Door, head_of

_MIB: Final = 1024 * 1024
_VERBS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW")
_PATHS: Final = (
    "/healthz",
    "/v1/openapi.json",
    "/v1/agents",
    "/v1/users",
    "/v1/config",
    "/v1/changes",
    "/v1/events",
    "/hooks/none",
    "/v1/device",
    "/dashboard",
    "/" + "a/" * 4_000,
    "/v1/agents?" + "a=b&" * 2_000,
    "/%00",
)

# What an open value is filled with: cheap to send, and dear to read if somebody is careless.
FILLINGS: Final[dict[str, str]] = {
    "numbers": "1",
    "large exponents": "1e308",
    "small exponents": "5e-324",
    "halves": "1e23",
    "long numbers": "0." + "1" * 300,
    "texts": '"a"',
    "escapes": '"\\u00e9\\n"',
    "lists": "[]",
    "objects": "{}",
    "nests": "[[[[[1]]]]]",
    "pairs": '{"a":1}',
    "deep": "[" * 500 + "]" * 500,
    "half a text": '"a',
}

# The same in MessagePack, where an element may be a single byte.
PACKED: Final[dict[str, bytes]] = {
    "nothing": b"\xc0",
    "doubles": msgspec.msgpack.encode(1e308),
    "empty texts": b"\xa0",
    "empty lists": b"\x90",
    "empty objects": b"\x80",
    "pairs": msgspec.msgpack.encode({"a": 1}),
    "deep": b"\x91" * 500 + b"\xc0",
    "half a text": b"\xd9\x80",
    "lists that are not there": b"\xdd\xff\xff\xff\xff",
}


_QUOTES: Final = {"an unfinished text": '\\"', "nested quotes": '\\\\\\"', "quotes": '"', "texts": '"a",'}
_PLACES: Final = {
    "request": '{"type":"request","id":"q","method":"m","params":{"v":',
    "tool_result": '{"type":"tool_result","id":"c","result":',
    "heartbeat": '{"type":"heartbeat","agents":[{"agent_id":"a","resource_usage":{"v":',
    "hello again": '{"type":"device_hello","x":',
}
_BODIES: Final = (
    ("viewer", "GET /v1/agents"),
    ("viewer", "POST /v1/agents"),
    ("operator", "POST /v1/agents"),
    ("operator", "PATCH /v1/agents/agent0"),
    ("admin", "PATCH /v1/config"),
    (AGENT, "POST /v1/agent/heartbeat"),
)

_ABOUT: Final = {"name": "attacker", "version": "1"}
_NEWER: Final = "2026-07-28"
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": _NEWER,
    "io.modelcontextprotocol/clientInfo": _ABOUT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_BEGIN: Final = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": _ABOUT}
_TO_ASSISTANTS: Final = {
    name: json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    for name, method, params in (
        ("lists of tools", "tools/list", {"_meta": _META}),
        ("sessions of assistants without an end", "initialize", _BEGIN),
    )
}
_ACCEPT: Final = "Accept: application/json, text/event-stream"
_OF_ASSISTANT: Final = {
    "lists of tools": (_ACCEPT, f"Mcp-Protocol-Version: {_NEWER}", "Mcp-Method: tools/list"),
    "sessions of assistants without an end": (_ACCEPT,),
}


def fixed_attacks(seconds: float) -> Iterator[Attack]:
    """Those that once stopped a hub, as far as they are not attacks on a limit."""

    def plan(sockets: int, **said: Any) -> Plan:
        return Plan(seconds=seconds, sockets=sockets, **said)

    values = [{"a": number} for number in range(25_000)]
    entry: dict[str, Any] = {"size_bytes": 1, "modified_ms": 1, "sha256": "0" * 64}
    files = [{"path": f"{number}.md"} | entry for number in range(7_000)]  # 850 kB
    manifest: dict[str, Any] = {"type": "agent_manifest", "files": files, "last": False}
    pages = ["agent_manifest", "agent_manifest.pages"]
    config = text(
        type="request", id="q", method=Method.CONFIG_SET, params={"agent_id": "agent0", "values": {"k": "x"}}
    )
    starts = b"".join(
        text(type="request", id=f"q-{number}", method=Method.RUNS_START, params={"agent_id": "agent0"})
        for number in range(12)
    )
    chunks = head_of("POST /v1/users", "Content-Type: application/json", "Transfer-Encoding: chunked")
    yield _by_device(
        "requests of 25,000 values", _flood(type="request", id="q", method="m", params={"v": values}), seconds
    )
    yield _by_device("configs set in a loop", config.decode("latin-1"), seconds)
    yield _by_device("twelve runs started at once", starts.decode("latin-1"), seconds)
    pieces = [{"path": f"{number}.md", "content": "- [ ] a"} for number in range(10_000)]
    skipped: dict[str, Any] = {
        "skipped": [{"path": f"{number}.md", "reason": "hidden"} for number in range(10_000)]
    }
    for name, sent, capabilities in (
        ("manifests without an end", [manifest] * 70, pages[:1]),
        ("a manifest of 850 kB of new files", [manifest | {"last": True}], pages[:1]),
        ("pages of 850 kB of a manifest", [manifest], pages),
        ("10,000 files in a frame", [{"type": "agent_data", "files": pieces}], []),
        ("10,000 files left out", [{"type": "agent_complete"} | skipped], []),
        ("a manifest and 10,000 of its files left out", [manifest | {"last": True}, skipped], pages[:1]),
    ):
        run: list[dict[str, Any]] = [{"type": "agent_complete"} | one for one in sent]
        whole = plan(1, run=run, capabilities=capabilities)
        yield Attack(name=name, plan=whole, devices=1, agents=1, has_run=True, must="")
    yield from _unfinished_texts(seconds)
    for door in (Door.OPERATORS, Door.DEVICES, Door.HOOKS):
        yield Attack(
            name=f"250 half-open sockets, {door}",
            door=door,
            plan=plan(250, head=""),
            must="",
            has_operator_beside=True,
        )
    for door in (Door.OPERATORS, Door.HOOKS):
        yield Attack(
            name=f"bodies in chunks of a byte, {door}",
            door=door,
            plan=plan(24, head=chunks, flood="1\r\nx\r\n", again=True),
            must="",
        )
    yield Attack(
        name="the OpenAPI document, 24 clients",
        door=Door.OPERATORS,
        role="admin",
        plan=plan(24, head=head_of("GET /v1/openapi.json", SHOWN), again=True),
        must="",
    )
    for name, said in _TO_ASSISTANTS.items():
        length = f"Content-Length: {len(said)}"
        typed = ("Content-Type: application/json", length, "Connection: close", *_OF_ASSISTANT[name])
        yield Attack(
            name=f"{name}, 8 clients",
            door=Door.OPERATORS,
            role="viewer",
            plan=plan(8, head=head_of("POST /mcp", SHOWN, *typed) + said, again=True),
            must="",
        )


def _unfinished_texts(seconds: float) -> Iterator[Attack]:
    """Texts of quotes, which a search for the end of a text starts at again and again."""
    for name, pair in _QUOTES.items():

        def value(size: int, pair: str = pair) -> str:
            begin = (
                "[" + "1e308," * 1_100 + "[]," * min(8_200, size // 8) + '"'
            )  # so that texts are looked for
            return begin + pair * max(0, (size - len(begin)) // len(pair))

        hello = _wire(f'{{"type":"device_hello","x":{value(15_000)}')
        plan = Plan(seconds=seconds, sockets=9, addresses=9, hello=hello, again=True)
        yield Attack(name=f"hellos of strangers: {name}", plan=plan, must="")
        for place, before in _PLACES.items():
            for size in (64_000, 1_000_000):
                yield _by_device(f"{place}, {size:,} B: {name}", _wire(before + value(size)), seconds)
        yield from _bodies(seconds, name, value(1_000_000))
    keys = ",".join(f'"{number}":1' for number in range(60_000))
    yield from _bodies(seconds, "wrong keys", f"{{{keys}}}")


def _bodies(seconds: float, name: str, body: str) -> Iterator[Attack]:
    typed = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    for role, asked in _BODIES:
        head = head_of(asked, SHOWN, *typed) + body
        yield Attack(
            name=f"{asked} of a MiB by {role}: {name}",
            door=Door.OPERATORS,
            role=role,
            plan=Plan(seconds=seconds, sockets=2, head=head, again=True),
            must="",
        )


def generated_attacks(seconds: float, chance: random.Random) -> list[Attack]:
    """All of them, in an order that *chance* says."""
    found = [
        *_verbs(seconds, chance),
        *_frames(seconds, chance),
        *_open_values(seconds, chance),
        *_packed_values(seconds, chance),
    ]
    chance.shuffle(found)
    return found


def _verbs(seconds: float, chance: random.Random) -> Iterator[Attack]:
    for door in Door:
        for verb in _VERBS:
            path = chance.choice(_PATHS)
            filling = FILLINGS[chance.choice(list(FILLINGS))]
            has_token = door is Door.OPERATORS and chance.random() < 0.5
            body = _list_of(filling, chance.choice((100, 10_000, 200_000)))
            shown = [SHOWN] if has_token else []
            head = head_of(
                f"{verb} {path}", *shown, "Content-Type: application/json", f"Content-Length: {len(body)}"
            )
            yield Attack(
                name=f"{verb} at {door}: {path[:12]} {'with' if has_token else 'without'} a token",
                door=door,
                role="admin" if has_token else "",
                plan=Plan(seconds=seconds, sockets=4, head=head + body, again=True),
                must="",
            )


def _frames(seconds: float, chance: random.Random) -> Iterator[Attack]:
    kinds = [type_of(one) for one in (*FROM_DEVICE, *FROM_HUB)] + ["nobody_knows", ""]
    for kind in dict.fromkeys(kinds):
        said: dict[str, Any] = {"type": kind, "id": "x", "run_id": "r-none", "agent_id": "a", "seq": 1}
        name = chance.choice(("files", "agents", "params", "skipped", "error", "result", "trace", "paths"))
        filling = chance.choice(list(FILLINGS))
        data = (
            json.dumps(said)[:-1]
            + f',"method":"agents.list","{name}":{_list_of(FILLINGS[filling], 60_000)}}}'
        )
        yield _by_device(f"frames {kind or 'without a type'}: {name} of {filling}", _wire(data), seconds)


def _open_values(seconds: float, chance: random.Random) -> Iterator[Attack]:
    places: dict[str, Callable[[str], str]] = {
        "params": lambda value: f'{{"type":"request","id":"q","method":"m","params":{{"v":{value}}}}}',
        "result": lambda value: f'{{"type":"tool_result","id":"c","result":{value}}}',
        "usage": lambda value: (
            f'{{"type":"heartbeat","agents":[{{"agent_id":"a","resource_usage":{value}}}]}}'
        ),
    }
    for place, spelled in places.items():
        for name, filling in FILLINGS.items():
            size = chance.choice((30_000, 64_000, 120_000, 250_000, 1_000_000))
            value = _record_of(filling, size) if place == "usage" else _list_of(filling, size)
            yield _by_device(f"{place} of {name}, {size:,} B", _wire(spelled(value)), seconds)
    keys = ",".join(f'"{number}":1' for number in range(90_000))
    yield _by_device(
        "params of 90,000 keys",
        _wire(f'{{"type":"request","id":"q","method":"m","params":{{{keys}}}}}'),
        seconds,
    )


def _packed_values(seconds: float, chance: random.Random) -> Iterator[Attack]:
    values = {"params": "request", "result": "tool_result", "resource_usage": "heartbeat"}
    for place, kind in values.items():
        for name, filling in PACKED.items():
            size = chance.choice((30_000, 64_000, 120_000, 250_000, 1_000_000))
            said: dict[str, Any] = {"type": kind, "id": "x", "method": "m"}
            if kind == "heartbeat":
                said["agents"] = [{"agent_id": "a", place: _packed_record_of(filling, size)}]
            else:
                said[place] = _packed_list_of(filling, size)
            yield _by_device(
                f"{place} of {name} in MessagePack, {size:,} B",
                packed(**said).decode("latin-1"),
                seconds,
                headers={"Sec-WebSocket-Protocol": MSGPACK.name},
            )


def _by_device(name: str, flood: str, seconds: float, **said: Any) -> Attack:
    plan = Plan(seconds=seconds, sockets=4, flood=flood, again=True, **said)
    return Attack(name=name, plan=plan, devices=4, must="")


def _flood(**said: Any) -> str:
    return _wire(json.dumps(said, separators=(",", ":")))


def _wire(data: str) -> str:
    return frame(1, data.encode()).decode("latin-1")


def _record_of(filling: str, size: int) -> str:
    count = max(1, size // (len(filling) + 10))
    return "{" + ",".join(f'"{number}":{filling}' for number in range(count)) + "}"


def _list_of(filling: str, size: int) -> str:
    return "[" + ",".join([filling] * max(1, size // (len(filling) + 1))) + "]"


def _packed_record_of(filling: bytes, size: int) -> msgspec.Raw:
    count = size // (len(filling) + 7)
    names = (msgspec.msgpack.encode(str(number)) for number in range(count))
    return msgspec.Raw(b"\xdf" + count.to_bytes(4, "big") + b"".join(name + filling for name in names))


def _packed_list_of(filling: bytes, size: int) -> msgspec.Raw:
    count = size // len(filling)
    return msgspec.Raw(b"\xdd" + count.to_bytes(4, "big") + filling * count)
