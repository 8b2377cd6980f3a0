"""Every command that lists, at a real hub with every resource: foreign text is text, times have a zone."""

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio.to_thread
import click
import pytest
from click.testing import CliRunner, Result
from websockets.asyncio.client import connect

from hub.accounts.sealing_keys import KeyStore
from hub.base.clock import IdFactory
from hub.base.printable import printable
from hub.cli import show
from hub.cli.app import hub as command
from hub.device.device_file import open_device_store
from hub.device.known_hubs import KnownHub, KnownHubs
from hub.links.hub_key import HubKey
from hub.text.excerpt import Excerpt
from protocol.frame import Record
from protocol.tool_calls import Action, ToolCall
from tests.support.clock import FakeClock, SeededChance
from tests.support.keys import KeyPair
from tests.support.processes import SETTINGS, HubProcess
from tests.support.wire import RawDevice

ORDER = "rm -rf ~"
# A title of the window, a cleared screen, text that runs backwards, and a line that looks like ours.
EVIL = f"x\x1b]0;t\x07\x1b[2J\x9b1m\u202e\u2066z\u200e\r\n{ORDER}\tq"
# Columns of free text, which some peer or person fills. Ids, states, and what the hub works out are not.
FREE = (
    *("description", "platform", "label", "reason", "problem", "message", "content", "answer", "detail"),
    *("status_message", "health_reason", "correlation_id", "preferred_channel", "error", "source_url"),
    *("cancel_reason", "account", "prompt_template", "external_id", "instance_id", "project_id"),
    *("answered_by", "created_by", "network", "title"),
)
NAMED = (
    "users",
    "devices",
    "boards",
    "agents",
    "operator_tokens",
    "agent_templates",
    "agent_capabilities",
    "nodes",
)
FIXED = ("audit_log",)  # a chain of hashes

# Every command that lists or shows, with {ID} for what is planted; a test keeps the list whole.
LISTING = """
status; devices ls; devices ls --all; devices show {device}; pair ls; pair invitations; users ls
agents ls; agents show notes; agents next; agents next notes; agents status notes; agents history notes
agents slots notes; agents tokens notes; agents metrics notes; agents config notes ls
agents config notes history; agents capabilities notes ls; agents checkpoints notes ls
templates ls; templates show plain; runs ls; runs show {run}; items ls; items show i-1; tasks ls
locks ls; gateways ls; connectors ls; boards ls; boards show {board}; boards memory {board} ls
messages ls; messages show {message}; messages broadcasts; ask ls; ask show {question}; notify ls
costs; issues ls; tables ls; token ls; keys ls; nodes ls; doctor; audit ls; routes; logs; config show
"""


def statements() -> list[list[str]]:
    return [line.split() for part in LISTING.strip().splitlines() for line in part.split(";") if line.strip()]


def commands(at: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """Every command below *at*, by its words."""
    if not isinstance(at, click.Group):
        yield path
        return
    context = click.Context(at)
    for name in at.list_commands(context):
        found = at.get_command(context, name)
        assert found is not None
        yield from commands(found, *path, name)


def test_table_of_lists_has_every_list_command() -> None:
    """But for ``hub review`` and ``hub places``, which read a device's files and not a hub."""
    listed = {(words[0], words[-1]) for words in statements()}
    there = {(path[0], path[-1]) for path in commands(command) if path[-1] == "ls"}
    assert there - {("review", "ls"), ("places", "ls")} <= listed


async def plant(hub: HubProcess, folder: Path) -> None:
    """Make one of each resource, as people and devices do."""
    posts: list[tuple[str, dict[str, Any]]] = [
        ("/v1/users", {"name": "anna"}),
        ("/v1/tokens", {"device": "desk"}),
        ("/v1/tokens", {"device": "lab"}),
        (
            "/v1/agents",
            {"name": "mail", "device": "lab", "paths": ["a"], "data_types": ["tasks"], "prompt": EVIL},
        ),
        ("/v1/boards", {"name": "room", "description": EVIL}),
        ("/v1/boards/room/agents", {"agent": "notes"}),
        ("/v1/boards/room/memory", {"content": EVIL}),
        ("/v1/boards/room/agents/notes/nudge", {"content": EVIL}),
        ("/v1/boards/room/ask-user", {"content": EVIL}),
        ("/v1/agents/notes/runs", {}),
        ("/v1/invitations", {}),
    ]
    puts: list[tuple[str, dict[str, Any]]] = [
        ("/v1/templates/plain", {"description": EVIL, "prompt": EVIL}),
        ("/v1/agents/notes/capabilities/file.read/1.0.0", {"description": EVIL}),
        ("/v1/agents/notes/checkpoints/main", {"sequence": 1, "state": {"cursor": EVIL}}),
        ("/v1/agents/notes/config/tone", {"value": EVIL, "description": EVIL}),
    ]
    made = [("POST", *post) for post in posts] + [("PUT", *put) for put in puts]
    for method, path, body in made:
        answer = await hub.ask(method, path, json=body)
        assert answer.status_code < 300, (path, answer.text)
    async with connect(f"{await hub.device_url()}/v1/device") as socket:
        device, key = RawDevice(socket), KeyPair()
        identity = key.identity((await device.hear()), label=EVIL.replace("\n", ""))
        told = {"device_id": EVIL.replace("\n", ""), "client": {"platform": EVIL}, "identity": identity}
        await device.say(type="device_hello", **told)
        assert (await device.hear())["code"] == "pairing_required"


def poison(database: Path) -> dict[str, str]:
    """Write EVIL into every free text of every row; the ids of what is to be shown."""
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute(
            "INSERT INTO items (id, user_id, agent_id, unit_key, target_table, likeness, quote_hash,"
            " place_hash, config_fingerprint, data, source, call_id, run_id, created_at, updated_at)"
            " SELECT 'i-1', user_id, id, ?1, 'tasks', 'l', 'q', 'p', 'f', json_object('title', ?1),"
            " json_object('quote', ?1, 'start', 0, 'end', 1), 'c', 'r', 1, 1"
            " FROM agents WHERE name = 'notes'",
            (EVIL,),
        )
        ring = KeyStore(database.parent, chance=SeededChance(), environ={}).ring_now()
        sealed = ring.seal(Excerpt(1, f"{EVIL}\n", f"\n{EVIL}"), row="i-1", owner="i-1")
        db.execute("INSERT INTO item_excerpts VALUES ('i-1', ?, ?, 1)", sealed)
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            for column in columns if table not in FIXED else ():
                is_name = column == "name" and table in NAMED
                if column not in FREE and not is_name:
                    continue
                # Agents and devices of the settings, and what is asked for below by its name, keep theirs.
                kept = " WHERE name NOT IN ('notes', 'desk', 'owner', 'plain')" if is_name else ""
                try:
                    db.execute(f"UPDATE {table} SET {column} = ?{kept}", (EVIL,))
                except sqlite3.IntegrityError:
                    continue  # JSON, or one of a few words: nobody's free text
        first = {"run": "runs", "board": "boards", "message": "messages", "question": "questions"}
        ids = {name: db.execute(f"SELECT id FROM {table}").fetchone()[0] for name, table in first.items()}
        (device,) = db.execute("SELECT id FROM devices WHERE name <> 'desk'").fetchone()
        return ids | {"device": device}


def wrong_with(words: list[str], result: Result) -> Iterator[str]:
    """What a terminal, or a person, would take for something else than text of others."""
    told = f"hub {' '.join(words)}"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        yield f"{told}: {result.exception!r}"
    for output in (result.stdout, result.stderr):
        for line in output.split("\n"):
            if line.startswith(ORDER):
                yield f"{told}: a line that is ours by its look: {line!r}"
            if printable(line) != line:
                yield f"{told}: a control character: {line!r}"
    if "--json" in words and result.exit_code == 0:
        try:
            json.loads(result.stdout)
        except ValueError as error:
            yield f"{told}: no JSON: {error}"


_TIME = re.compile(r"(\d\d-\d\d )?(?<![\d:T])\d\d:\d\d(:\d\d)?(?![\d:.])( UTC| [+-]\d\d:\d\d)?")


def times_of_no_zone(words: list[str], result: Result) -> Iterator[str]:
    """Times without a zone of their own that are in no column whose header has it, and ISO spellings."""
    headers = ""
    for line in f"{result.stdout}\n{result.stderr}".split("\n"):
        headers = line if re.search(rf"{re.escape(show.zone_here())}|UTC", line) else headers * bool(line)
        bare = [found[0] for found in _TIME.finditer(line) if not found[3] and not (found[1] and headers)]
        if bare or re.search(r"\d\d-\d\dT\d\d:", line):
            yield f"hub {' '.join(words)}: {line!r}"


def ask_for(state: Path, words: list[str]) -> Result:
    return CliRunner().invoke(command, ["--state", str(state), *words])


@pytest.mark.slow
async def test_list_commands_print_foreign_text_escaped_and_times_with_a_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/St_Johns")
    time.tzset()
    hub = HubProcess(tmp_path, settings=SETTINGS.format(model=""))
    await hub.start()
    try:
        await plant(hub, tmp_path)
        await hub.stop()
        ids = poison(tmp_path / "hub.db")
        await hub.start()
        wrong, planted, timed = [], 0, 0
        for words in statements():
            words = [re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], word) for word in words]
            for form in ([], ["--json"]):
                run = [*words, *form]
                result = await anyio.to_thread.run_sync(ask_for, tmp_path, run)
                if "No such option: --json" in result.stderr:
                    continue
                wrong += [
                    *wrong_with(run, result),
                    *([f"{run}: {result.stderr}"] if result.exit_code == 2 else []),
                ]
                planted += ORDER in result.stdout
                if not form and words != ["config", "show"]:  # it prints the file as it is
                    wrong += times_of_no_zone(run, result)
                    timed += bool(_TIME.search(result.stdout))
        assert not wrong, "\n".join(wrong)
        shown = await anyio.to_thread.run_sync(ask_for, tmp_path, ["items", "show", "i-1"])
        assert re.findall(rf"^[ >] \d \| {ORDER}", shown.stdout, re.MULTILINE), shown.stdout
        assert planted > 25, "most of them show what was planted"
        assert timed > 20, "most of them show times"
    finally:
        await hub.close()
        monkeypatch.undo()
        time.tzset()


def test_questions_and_grants_of_a_device_print_foreign_text_escaped(tmp_path: Path) -> None:
    clock, db = FakeClock(), tmp_path / "desk.db"
    told: Record = {"question_id": "q-1", "content": EVIL, "board": EVIL, "asked_by": EVIL, "asked_at": 1}
    over: Record = {"state": "answered", "answer": EVIL, "settled_by": EVIL}
    with open_device_store(db, clock=clock, ids=IdFactory(clock, SeededChance())) as store:
        KnownHubs(db.with_suffix(".hubs"), db).keep(
            KnownHub("hub.example", HubKey(bytes(32)).public_key, "k")
        )
        for number, data in enumerate((told, told | over)):
            (answer,) = store.apply([ToolCall(id=f"u-{number}", action=Action.USER_ASK, data=data)])
            assert answer.error is None
    for words in (["answer", "--all"], ["answer", "--all", "--json"], ["grants"], ["grants", "--json"]):
        result = CliRunner().invoke(command, [*words, "--db", str(db)])
        assert list(wrong_with(words, result)) == []
        assert "--json" in words or list(times_of_no_zone(words, result)) == []
        assert result.exit_code == 0 and (ORDER in result.stdout) == (words[0] == "answer")
