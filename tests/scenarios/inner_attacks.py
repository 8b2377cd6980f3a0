"""Attacks from within: work of a hub that hostile programs or much data make, while others ask it.

Programs of others flood their outputs and list messages at the bounds of their fields, in their jails; a user
with many rows is erased; backups are made of a large history, which is read; questions to persons stay open,
and documents of clients do not come. ``attack_gate`` plays them on a hub of their own.
"""

import json
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from hashlib import sha256
from pathlib import Path
from socket import gethostname
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

import anyio
import httpx2
import msgspec
import sqlalchemy as sa
from anyio import to_thread

from hub.base.clock import SystemClock, now_ms
from protocol.receipts import Receipt
from storage.schema import metadata
from tests.scenarios.arena import END_S, Arena
from tests.scenarios.attackers import Plan, text
from tests.scenarios.attacks import SHOWN, Attack, Door, head_of
from tests.support.database import new_database
from tests.support.filling import fill
from tests.support.processes import model_at

Act = Callable[[Arena], Awaitable[Mapping[str, int]]]

RUN_S: Final = 12.0  # of a run of a hostile program, which is cancelled then
SEEN_BYTES: Final = 10_000 * 1_000  # of seen messages in a run: documented in process-connectors.md
READ_BYTES: Final = 200 * 40_000  # of all that a run reads of a program: documented there
ROWS: Final = 30_000  # of the user, in each of the tables below
ERASED_S: Final = 20.0  # of an erasure, which goes on
FILES: Final = 50_000  # of one run
RECEIPTS: Final = 5_000
BACKUPS: Final = 2
QUESTIONS: Final = 60
_MANY: Final = ("items", "item_verdicts", "messages", "seen_messages")
_USER: Final = "name-000000"
_HOST: Final = gethostname()
_OLDER: Final = "2025-11-25"
_ACCEPT: Final = "application/json, text/event-stream"
_DATABASE: Final = "hub.db"
_CONNECTORS: Final = {
    "lines": {"provider": "process", "command": ["python", "lines.py"]},
    "listing": {"provider": "process", "command": ["python", "listing.py"]},
    "names": {"provider": "process", "command": ["python", "names.py"]},
    "server": {"provider": "mcp", "command": ["python", "server.py"]},
}
_FOLDER: Final = "programs"  # hub.toml lies elsewhere

_FLOOD: Final = r"""
import json, os, sys, threading, time
def flood():
    while True:
        os.write(2, b"\x00\xff\n" * 20_000)
threading.Thread(target=flood, daemon=True).start()
def say(line):
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()
SPEC = {"name": "hostile", "api": [1, 1]}
"""
_HOSTILE: Final = (
    _FLOOD
    + r"""
BOUNDS = {"version": 128, "thread": 1_000, "link": 2_000, "subject": 10_000}
def message(number):
    excess = number % 5 == 4
    texts = {name: "\u00e9" * (size + excess) for name, size in BOUNDS.items()}
    place = {"place": "x" * (65_000 + 1_000 * excess)} if number % 10 == 0 else {}
    labels = ["l" * 1_000] * (1 + number % 3)
    return {"key": f"{number:06}".ljust(1_000 + excess, "k"), "labels": labels, **texts, **place}
def answer(request):
    if request["method"] == "spec":
        return SPEC
    if request["method"] == "pages":
        begin = request["params"]["next"] or 0
        end = begin + COUNT
        messages = [message(number) for number in range(begin, end)]
        return {"messages": messages, "cursor": {"at": "c" * 60_000}, "next": end}
    for one in request["params"]["messages"]:
        for _ in range(MORE):
            say({"id": request["id"], "item": {"key": "nobody listed it", "text": "x" * 60_000}})
        ref = int(one["key"][:6]) % 90 * 100
        words = [f"send the {'w' * 100} by 2026-12-01 (ref K-{ref + n:04})" for n in range(100)]
        tasks = "".join(f"Anna must {one}.\n" for one in words)
        say({"id": request["id"], "item": {"key": one["key"], "text": tasks}})
    return {}
for line in sys.stdin:
    request = json.loads(line)
    say({"id": request["id"], "result": answer(request)})
"""
)
_NAMES: Final = (
    _FLOOD
    + r"""
for line in sys.stdin:
    request = json.loads(line)
    names = ",".join(f'"{number:06}":1' for number in range(180_000))
    result = SPEC if request["method"] == "spec" else {}
    say({"id": request["id"], "result": result}) if result else print(
        '{"id": %d, "result": {%s}}' % (request["id"], names), flush=True
    )
"""
)
_SERVER: Final = r"""
TEXT = "Anna must send the quote by 2026-12-01 (ref K-0007).\n"
def listed(begin):
    end = begin + 60
    resources = [
        {"uri": "note://%06d" % n + "u" * 1_500 * (n % 2), "name": "n" * 20_000, "description": "d" * 5_000,
            "mimeType": "m" * 2_000}
        for n in range(begin, min(end, 1_000))
    ]
    return {"resources": resources, "nextCursor": str(end)}
for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request or "method" not in request:
        continue
    told = {"level": "info", "data": "x" * 9_000}
    for _ in range(900):
        say({"jsonrpc": "2.0", "method": "notifications/message", "params": told})
    params = request.get("params", {})
    results = {
        "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"resources": {}},
            "serverInfo": {"name": "x", "version": "1"}},
        "resources/list": listed(int(params.get("cursor", 0))),
        "resources/read": {"contents": [{"uri": params.get("uri"), "text": TEXT * 20_000}]},
    }
    say({"jsonrpc": "2.0", "id": request["id"], "result": results[request["method"]]})
"""
_PROGRAMS: Final = {
    "lines.py": f"COUNT, MORE = 20, 40\n{_HOSTILE}",
    "listing.py": f"COUNT, MORE = 40, 0\n{_HOSTILE}",
    "names.py": _NAMES,
    "server.py": f"{_FLOOD}{_SERVER}",
}


class InnerAttack(msgspec.Struct, frozen=True):
    """Attack from within.

    Attributes:
        act: does it, and returns what came of it, and how often.
        growth: most bytes by table, and ``""`` for each other one; none: not compared.
    """

    name: str
    act: Act
    growth: Mapping[str, int] = {}


def settings(model_url: str) -> str:
    """Return what follows the settings of the arena, with the model that reads texts of the programs."""
    written = [model_at(model_url), f'[outbound]\nallow = ["{_HOST}"]\n']
    for name, one in _CONNECTORS.items():
        program = f'{{ folder = "{_FOLDER}", command = {json.dumps(one["command"])} }}'
        about = program if one["provider"] == "process" else f"{{ server = {program} }}"
        written.append(
            f'[[connectors]]\nname = "{name}"\nprovider = "{one["provider"]}"\nsettings = {about}\n'
        )
        written.append(
            f'[[agents]]\nname = "{name}"\ndevice = "bad0"\nconnector = "{name}"\ndata_types = ["tasks"]\n'
            'prompt = "Find tasks."\n'
        )
    return "".join(written)


def prepare(folder: Path) -> None:
    """Write the programs, and a database with many rows of one user."""
    programs = folder / _FOLDER
    programs.mkdir(parents=True)
    for name, source in _PROGRAMS.items():
        (programs / name).write_text(source)
    new_database(folder / _DATABASE)
    engine = sa.create_engine(f"sqlite:///{folder / _DATABASE}")
    with engine.begin() as c:
        many = dict.fromkeys(_MANY, ROWS)
        parents = dict.fromkeys(("users", "devices", "agents", "agent_states"), 1)
        fill(c, parents | {"runs": ROWS // 100 + 1, "broadcasts": ROWS // 10 + 1} | many)
        c.execute(sa.insert(metadata.tables["run_units"]), [_unit(n) for n in range(FILES)])
        c.execute(sa.insert(metadata.tables["receipts"]), [_receipt(n) for n in range(1, RECEIPTS + 1)])
    engine.dispose()


def _unit(number: int) -> dict[str, Any]:
    return {
        "run_id": "id-000000",
        "unit_key": f"notes/{number:06}.md",
        "content_hash": f"{number:064}",
        "state": "DONE",
        "updated_at": number,
    }


def _receipt(number: int) -> dict[str, Any]:
    at = now_ms(SystemClock()) - 1_000 * (RECEIPTS - number)
    digest = sha256(str(number).encode()).hexdigest()
    receipt = Receipt(
        id=f"r-{number}",
        hub="A" * 43,
        device_id="id-000000",
        run_id="id-000000",
        number=number,
        at_ms=at,
        files=100,
        bytes=1_000,
        root=digest,
        is_whole=True,
        previous=digest,
        entry=number,
        entry_hash=digest,
        signature="A" * 86,
    )
    return {
        "id": receipt.id,
        "device_id": receipt.device_id,
        "number": number,
        "at": at,
        "digest": digest,
        "receipt": msgspec.json.encode(receipt).decode(),
        "files": b"",
    }


def table_bytes(folder: Path) -> dict[str, int]:
    """Return the bytes of all values of each table."""
    with closing(sqlite3.connect(folder / _DATABASE, timeout=END_S)) as db:
        sizes = {}
        for name, table in metadata.tables.items():
            lengths = "+".join(f'coalesce(length(cast("{one.name}" AS BLOB)),0)' for one in table.columns)
            (size,) = db.execute(f'SELECT coalesce(sum({lengths}),0) FROM "{name}"').fetchone()
            sizes[name] = int(size)
    return sizes


def rows_left(folder: Path) -> int:
    """Return the rows of the tables that had many."""
    with closing(sqlite3.connect(folder / _DATABASE, timeout=END_S)) as db:
        return sum(db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in _MANY)


def overgrown(before: Mapping[str, int], after: Mapping[str, int], growth: Mapping[str, int]) -> list[str]:
    """Return which tables grew by more than is documented, in words."""
    found = []
    for name, size in after.items():
        most = growth.get(name, growth.get("", sys.maxsize))
        grown = size - before[name]
        if grown > most:
            found.append(f"table {name} grew by {grown:,} bytes, and {most:,} are documented")
    return found


def inner_attacks() -> list[InnerAttack]:
    """Return all of them; erasure is the last one, since it takes the history."""
    documented = {"seen_messages": SEEN_BYTES, "": READ_BYTES}
    programs = {
        "lines": "a program floods both outputs",
        "listing": "a program lists fields at and above bounds",
        "names": "a program writes 180,000 names in an object",
        "server": "a program that is an MCP server floods",
    }
    return [
        *(InnerAttack(name, _running(agent), documented) for agent, name in programs.items()),
        InnerAttack("backups of a large history", _back_up),
        InnerAttack("files of a run of 50,000", _list_files),
        InnerAttack("receipts of a device are compared", _compare_receipts),
        InnerAttack("questions to persons stay open", _leave_questions_open),
        InnerAttack("documents of clients that do not come", _ask_for_slow_documents),
        InnerAttack("a user with 120,000 rows is erased", _erase),
    ]


def _running(agent: str) -> Act:
    async def run(arena: Arena) -> dict[str, int]:
        """Run the agent once, for RUN_S at most."""
        run_id = await arena.hub.start_run(agent)
        state = ""
        with anyio.move_on_after(RUN_S):
            while state not in ("COMPLETED", "FAILED", "CANCELLED"):
                await anyio.sleep(0.2)
                detail = await arena.hub.get(f"/v1/runs/{run_id}")
                state = detail["state"]
        if state not in ("COMPLETED", "FAILED", "CANCELLED"):
            await arena.hub.ask("POST", f"/v1/runs/{run_id}/cancel")
        return {f"{state} {detail['reason'] or ''}".strip(): 1}

    return run


async def _back_up(arena: Arena) -> dict[str, int]:
    codes: Counter[str] = Counter()
    for _ in range(BACKUPS):
        codes[str((await arena.hub.ask("POST", "/v1/backups", json={})).status_code)] += 1
    return codes


async def _attacked(arena: Arena, attack: Attack) -> dict[str, int]:
    return await arena.attacker.attack(await arena.aimed(attack))


async def _list_files(arena: Arena) -> dict[str, int]:
    head = head_of("GET /v1/runs/id-000000/units?limit=1000", SHOWN, "Connection: close")
    plan = Plan(seconds=3.0, sockets=4, head=head, again=True, subnet=201)
    return await _attacked(arena, Attack(name="files", door=Door.OPERATORS, role="admin", plan=plan, must=""))


async def _compare_receipts(arena: Arena) -> dict[str, int]:
    """Ask for the pages of receipts as ``hub device log --verify`` does, and for lists of files."""
    token = (await arena.hub.post(f"/v1/tokens?user={_USER}", {"device": _USER}))["token"]
    asked = [
        {"type": "request", "id": f"q-{page}", "method": "receipts.list", "params": {"after": 100 * page}}
        for page in range(RECEIPTS // 100)
    ]
    ids = [f"r-{number}" for number in range(1, 101)]
    asked += [{"type": "request", "id": "q-f", "method": "receipts.get", "params": {"ids": ids}}]
    plan = Plan(seconds=3.0, sockets=1, tokens=[token], flood=_frames(asked), again=True, subnet=202)
    return await _attacked(arena, Attack(name="receipts", plan=plan, must=""))


def _frames(messages: list[dict[str, Any]]) -> str:
    return b"".join(text(**one) for one in messages).decode("latin-1")


async def _leave_questions_open(arena: Arena) -> dict[str, int]:
    """Ask a person for consent in calls of an assistant, and answer none of the forms."""
    hub = arena.hub
    await hub.ask("POST", "/v1/boards", json={"name": "room"})
    asked = await hub.post("/v1/boards/room/ask-user", {"content": "Which colour?"})
    wanted = {"name": "assistant", "role": "admin", "scopes": ["read", "review", "answer"]}
    token = (await hub.post("/v1/operator-tokens", wanted))["token"]
    shown = {"authorization": f"Bearer {token}", "accept": _ACCEPT}
    begin = {
        "protocolVersion": _OLDER,
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "attacker", "version": "1"},
    }
    async with httpx2.AsyncClient(base_url=f"http://{arena.ports[Door.OPERATORS]}", headers=shown) as client:
        answer = await client.post("/mcp", json=_message("initialize", begin, 0))
        session = {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": _OLDER}
        begun = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        (await client.post("/mcp", json=begun, headers=session)).raise_for_status()
        call = {"name": "questions_answer", "arguments": {"question_id": asked["id"], "answer": "Red."}}
        first = _message("tools/call", call, 1)
        async with client.stream("POST", "/mcp", json=first, headers=session) as stream:
            line = await anext(line async for line in stream.aiter_lines() if line.startswith("data: {"))
        assert "elicitation/create" in line, line
    body = json.dumps(_message("tools/call", call, 11_111)).replace("11111", "1{number}")
    head = head_of(
        "POST /mcp",
        f"Authorization: Bearer {token}",
        f"Accept: {_ACCEPT}",
        "Content-Type: application/json",
        f"Content-Length: {len(body.replace('{number}', '0000'))}",
        *(f"{name}: {value}" for name, value in session.items()),
    )
    plan = Plan(seconds=3.0, sockets=QUESTIONS, addresses=8, head=head + body, subnet=203)
    return await _attacked(arena, Attack(name="questions", door=Door.OPERATORS, plan=plan, must=""))


def _message(method: str, params: Any, number: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


@asynccontextmanager
async def _silent_server() -> AsyncIterator[tuple[int, list[float]]]:
    """Accept connections, read what comes, and say nothing. Yield the port, and when each one came."""
    came: list[float] = []

    async def listen(stream: anyio.abc.SocketStream) -> None:
        came.append(monotonic())
        async with stream:
            async for _ in stream:
                pass

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, listen)
        yield listener.extra(anyio.abc.SocketAttribute.local_port), came
        tasks.cancel_scope.cancel()


async def _ask_for_slow_documents(arena: Arena) -> dict[str, int]:
    async with _silent_server() as (port, came):
        operators = arena.ports[Door.OPERATORS].rpartition(":")[2]
        document = quote(f"https://{_HOST}:{port}/", safe="")
        query = quote(f"client_id={document}", safe="") + "{number}"
        cookie = (await _browser_session(arena)).replace(
            f"-{operators}=", "="
        )  # as of the host without a port
        head = head_of(f"GET /v1/authorizations?query={query}", f"Cookie: {cookie}")
        plan = Plan(seconds=7.0, sockets=40, addresses=8, head=head, subnet=204)
        attack = Attack(name="documents", door=Door.OPERATORS, plan=plan, must="")
        return {**await _attacked(arena, attack), "connections to the address": len(came)}


async def _browser_session(arena: Arena) -> str:
    """Return the cookie of a new session at the dashboard."""
    token = (await arena.hub.post("/v1/operator-tokens", {"name": "browser", "role": "admin"}))["token"]
    shown = {"authorization": f"Bearer {token}", "x-hub-request": "1"}
    async with httpx2.AsyncClient(base_url=f"http://{arena.ports[Door.OPERATORS]}") as client:
        opened = await client.post("/v1/sessions", headers=shown)
    return opened.raise_for_status().headers["set-cookie"].partition(";")[0]


async def _erase(arena: Arena) -> dict[str, int]:
    """Erase the user, and wait ERASED_S for the rows, which go in small parts."""
    (await arena.hub.ask("POST", f"/v1/users/{_USER}/erase", json={})).raise_for_status()
    with anyio.move_on_after(ERASED_S):
        await arena.hub.says('"user.erased"', within_s=END_S)
    left = await to_thread.run_sync(rows_left, arena.hub.folder)
    return {"rows are left": left}
