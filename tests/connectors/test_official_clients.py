"""Official clients of assistants (Python, TypeScript, Inspector) at a real hub: only consent acts."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
from mcp.types import ElicitResult

from tests.connectors.software import SOFTWARE, why_no
from tests.scenarios.scene import Scene, check_boxes, rows, scene
from tests.scenarios.test_assistants import HubOfAssistants, over_http, over_pipe
from tests.scenarios.test_verdicts import GRANT

_INSPECTOR = "node_modules/@modelcontextprotocol/inspector/clients/mcpdo/build/mcp-bin.js"
_SCRIPT = Path(__file__).with_name("official_client.mjs")
pytestmark = pytest.mark.skipif(
    why_no("@modelcontextprotocol/inspector", _INSPECTOR) is not None,
    reason=why_no("@modelcontextprotocol/inspector", _INSPECTOR) or "",
)
SCOPES = ("read", "review")
TICK, TEXT = {"agrees": True}, {"agrees": "false"}
NO: list[dict[str, Any]] = [
    {"action": "decline", "content": TICK},
    {"action": "cancel", "content": TICK},
    {"action": "accept", "content": {"agrees": False}},
    {"action": "accept", "content": TEXT},
]
YES = {"action": "accept", "content": TICK}


class Way(NamedTuple):
    """Connection of a client to the hub: an address with a token, or a command."""

    play: Scene
    url: str
    token: str
    token_id: str
    command: list[str]


Outcome = tuple[int, bool]  # questions to the person, and whether the call was refused


async def by_python(way: Way, tool: dict[str, Any], answer: dict[str, Any]) -> Outcome:
    asked = list[str]()

    async def answered(_: Any, question: Any) -> ElicitResult:
        asked.append(question.message)
        return ElicitResult(**answer)

    opened = (
        over_http(way.play, way.token, "auto", elicitation_callback=answered)
        if way.url
        else over_pipe(
            way.play, "legacy", "--scope", "read", "--scope", "review", elicitation_callback=answered
        )
    )
    async with opened as client:
        result = await client.call_tool(tool["name"], tool["arguments"])
    return len(asked), result.is_error


async def by_typescript(way: Way, tool: dict[str, Any], answer: dict[str, Any]) -> Outcome:
    given = {
        "home": os.environ[SOFTWARE],
        "url": way.url,
        "token": way.token,
        "command": way.command,
        "tool": tool,
        "answer": answer,
    }
    ended = await anyio.run_process(["node", str(_SCRIPT), json.dumps(given)], stderr=sys.stderr)
    found = json.loads(ended.stdout)
    return found["asked"], found["isError"]


async def by_inspector(way: Way, tool: dict[str, Any], answer: dict[str, Any]) -> Outcome:
    """Call the tool with the command line of the Inspector, which sends no content with a refusal."""

    async def run(*words: str) -> dict[str, Any]:
        command = ["node", str(Path(os.environ[SOFTWARE]) / _INSPECTOR), "--format", "json", *words]
        env = os.environ | {"HOME": str(way.play.folder)}
        ended = await anyio.run_process(command, env=env, check=False, stderr=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(ended.stdout or b"{}")
        return found

    where = (
        ["--server-url", way.url, "--transport", "http", "--header", f"Authorization: Bearer {way.token}"]
        if way.url
        else ["--transport", "stdio", "--", *way.command]
    )
    await run("connect", "@hub", *where)
    on = ["--connection", "hub"]
    pending = await run(*on, "tools/call", tool["name"], json.dumps(tool["arguments"]))
    id = pending["elicitationPending"]["elicitationId"]
    given = [json.dumps(answer["content"])] if answer["action"] == "accept" else [f"--{answer['action']}"]
    result = await run(*on, "elicitation/respond", id, *given)
    await run("disconnect", "@hub")
    await run("daemon", "stop")
    return 1, bool(result.get("isError"))


CLIENTS = {"python": by_python, "typescript": by_typescript, "inspector": by_inspector}


@asynccontextmanager
async def reviewed(folder: Path) -> AsyncIterator[tuple[Scene, list[str], list[Way]]]:
    """A hub with items that wait, their ids, and the two ways to it."""
    async with scene(folder, check_boxes(4)[0], kind=HubOfAssistants) as play:
        play.device.words = [*play.device.words, f"--grant=+{GRANT}"]
        await play.device.start()
        await play.hub.ended(await play.hub.start_run())
        items = [one["id"] for one in (await play.hub.get("/v1/items"))["items"]]
        address = (await play.hub.get("/v1/status"))["listeners"]["operator"]
        wanted = {"name": "assistant", "role": "operator", "scopes": SCOPES}
        made = await play.hub.post("/v1/operator-tokens", wanted)
        bridge = [sys.executable, "-m", "hub", "mcp", "stdio", "--state", str(play.folder)]
        scopes = [word for one in SCOPES for word in ("--scope", one)]
        ways = [
            Way(play, f"http://{address}/mcp", made["token"], made["id"], []),
            Way(play, "", "", "", [*bridge, "--name", "official", *scopes]),
        ]
        yield play, items, ways


def _actor(client: str, way: Way) -> str:
    """Return the actor of a verdict: the token, or the assistant by the name that its command has."""
    if way.url:
        return f"token:{way.token_id}"
    return f"assistant:{os.getuid()}" + ("" if client == "python" else ":official")


async def test_official_clients_act_only_with_consent_to_a_verdict(tmp_path: Path) -> None:
    done, given = list[str](), "SELECT item_id, actor FROM item_verdicts"
    async with reviewed(tmp_path) as (play, items, ways):
        database = play.folder / "hub.db"
        for name, call in CLIENTS.items():
            for way in ways:
                item = items.pop()
                tool = {
                    "name": "items_give",
                    "arguments": {"verdicts": [{"id": item, "verdict": "approve"}]},
                }
                for answer in NO:
                    before = rows(database, given)
                    outcome = await call(way, tool, answer)
                    assert outcome == (1, True), (name, bool(way.url), answer)
                    done += [item] if rows(database, given) != before else []
                assert await call(way, tool, YES) == (1, False), (name, bool(way.url))
                ((_, actor),) = [row for row in rows(database, given) if row[0] == item]
                assert actor == _actor(name, way), (name, actor)
        assert done == [], "0 of 24"
        assert len(rows(database, given)) == len(CLIENTS) * len(ways)
