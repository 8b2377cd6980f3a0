"""A device written from the first description alone stays one, and works with our hub's session."""

import ast
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import anyio

from protocol.frame import PATH
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall
from protocol.work import AgentComplete, AgentData, AgentRun, RunConfig
from tests.support import seed_device
from tests.support.programs import ending
from tests.support.scripted_hub import ScriptedHub

PROGRAM = Path(seed_device.__file__)


def test_seed_device_imports_only_the_standard_library_and_websockets() -> None:
    imported = set()
    for node in ast.walk(ast.parse(PROGRAM.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add((node.module or "").partition(".")[0])

    assert imported - set(sys.stdlib_module_names) == {"websockets"}


async def test_seed_device_process_sends_files_and_inserts_a_task(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("call Ana")
    db = tmp_path / "seed.db"
    async with ScriptedHub().open() as hub:
        command = [
            sys.executable,
            str(PROGRAM),
            hub.url + PATH,
            "hub_dev_seed",
            str(tmp_path / "notes"),
            str(db),
        ]
        async with await anyio.open_process(command, stdout=None, stderr=None) as process:
            with ending(process):
                guest = await hub.guest()
                hello = await guest.welcome()
                await guest.say(AgentRun(run_id="r-1", fence=1, agent_id="a-1", config=RunConfig()))
                data = await guest.hear(AgentData)
                complete = await guest.hear(AgentComplete)
                call = ToolCall(
                    id="c-1", action=Action.INSERT, table="tasks", data={"title": "Call Ana", **SUGGESTED}
                )
                answer = await guest.call(call)
                refusal = await guest.call(ToolCall(id="c-2", action=Action.DELETE, table="tasks"))

    assert (hello.token, hello.capabilities) == ("hub_dev_seed", [])
    assert ([file.content for file in data.files], data.fence, complete.fence, complete.error) == (
        ["call Ana"],
        None,
        None,
        None,
    )
    assert set(answer.result) == {"id"}
    assert refusal.error is not None and refusal.error.message == "cannot delete tasks"
    with closing(sqlite3.connect(db)) as rows:
        assert rows.execute("SELECT count(*) FROM tasks").fetchone() == (1,)
