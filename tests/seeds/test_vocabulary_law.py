"""What a write in the names of a vocabulary answers is what is read next, whatever was written before."""

from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from protocol.lifecycles import AgentStatus, RunState
from protocol.status_vocabularies import FoundationStatus, OrchestratorStatus, StateDetail
from tests.seeds.walk import OF_WALK, Walk, walking

pytestmark = pytest.mark.slow

STEPS = 30
WORDS: dict[str, dict[str, list[Any]]] = {
    "calendar": {
        "status": [*AgentStatus, "asleep"],
        "exhaust_reason": ["rate_limit", "billing", None],
        "recovery_at": ["2100-01-01T00:00:00Z", None],
        "agent_id": ["claw-1", "claw-2", None],
        "claw_identifier": ["here", ""],
    },
    "orchestrator": {
        "status": [*OrchestratorStatus, "DONE"],
        "state_detail": [*(one for one in StateDetail if one != "TERMINATED"), None],
        "name": ["Reader of mail", "Mail", ""],
        "description": ["Reads.", None],
        "configuration": [{}, {"tone": "warm"}, {"tone": 1, "of": {"a": [None, True]}}, []],
        "project_id": ["6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "apollo"],
    },
    "foundation": {"current_status": [*FoundationStatus, "gone"]},
}

SETTINGS = {"agent_id", "claw_identifier", "name", "description", "configuration", "project_id"}
MARKS = ("legal: ", "values: ", "belong to", *(f"{column}: " for of in WORDS.values() for column in of))


async def _read(walk: Walk, name: str) -> dict[str, Any]:
    """Return the columns of ``WORDS`` of an agent in every vocabulary."""
    documents = {words: await walk.get(f"agents/{name}/as/{words}") for words in WORDS}
    return {words: {column: documents[words][column] for column in WORDS[words]} for words in WORDS}


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, 6))])
async def test_answer_to_a_vocabulary_write_equals_the_next_read_and_other_agents_stay(
    seed: int, tmp_path: Path
) -> None:
    chance = Random(seed)
    async with walking(tmp_path) as walk:
        await walk.post("agents", {"name": "mail", "device": "desk"} | OF_WALK)
        desk, is_connected = await walk.hub.device("desk"), True
        queued, running = list[str](), list[str]()
        for step in range(STEPS):
            before, other = await _read(walk, "notes"), await _read(walk, "mail")
            match chance.randrange(8):
                case 0 if is_connected:
                    await walk.hub.disconnect(desk)
                    is_connected = False
                case 0:
                    await walk.hub.connect(desk)
                    is_connected = True
                case 1:
                    queued.append(f"r-{step:03}")
                    await walk.hub.run(queued[-1])
                case 2 if running:
                    await walk.hub.move(running.pop(), RunState.COMPLETED)
                case 2 if queued and is_connected:
                    with suppress(ValueError):  # nothing is claimed: the agent may not work now
                        await walk.hub.move(queued[0], RunState.RUNNING)
                        running.append(queued.pop(0))
                case _:
                    words = chance.choice(list(WORDS))
                    columns = chance.sample(list(WORDS[words]), chance.randint(1, len(WORDS[words])))
                    written = {column: chance.choice(WORDS[words][column]) for column in columns}
                    answer = await walk.send("PATCH", f"agents/notes/as/{words}", written)
                    after = await _read(walk, "notes")
                    if answer.is_success:
                        assert {column: answer.json()[column] for column in WORDS[words]} == after[words]
                        assert _is_kept(words, written, after[words]), (written, after)
                    else:
                        assert answer.status_code in (409, 422), answer.text
                        assert after == before
                        assert any(mark in answer.text for mark in MARKS), answer.text
                    assert await _read(walk, "mail") == other


def _is_kept(words: str, written: dict[str, Any], read: dict[str, Any]) -> bool:
    """Return True if the words that were written are read, or what hides them."""
    hidden = {"calendar": {"offline", "busy"}, "foundation": {"waiting", "processing", "busy"}}
    for column in written.keys() & SETTINGS:
        if written[column] != read[column]:
            return False
    for column in ("status", "state_detail", "current_status"):
        given = written.get(column)
        if given is None or given == read[column] or read[column] in hidden.get(words, ()):
            continue
        if words == "orchestrator" and read["status"] == "BUSY":
            continue
        return False
    return True
