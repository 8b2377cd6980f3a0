"""The run-log document: an agent run manager that reads a device's files and inserts what it finds."""

from typing import Final

from protocol.frame import ErrorBody
from protocol.lifecycles import RunState
from protocol.work import Answer, ToolCall
from tests.seeds.walk import Document, Walk
from tests.support.runs import TAKEN, folder

run_log = Document("run log")
AS: Final = "agents/notes/as/runlog"


@run_log(
    "errors and items_created == 0: error; errors: partial; else success", lives="runs.outcome, runs.errors"
)
async def a_run_of_which_one_item_of_three_is_taken_is_partial(walk: Walk) -> None:
    def answer(call: ToolCall) -> Answer:
        title = call.data.get("title")
        return (
            TAKEN if title == "one" else Answer(error=ErrorBody(code="invalid_value", message=f"no {title}"))
        )

    async with walk.hub.working(*folder(a="- [ ] one\n- [ ] two\n- [ ] three"), answers=answer):
        run = (await walk.post("agents/notes/runs"))["id"]
        await walk.hub.ends(run)
    (logged,) = (await walk.get(AS))["agent_run_log"]
    assert (logged["status"], logged["items_created"]) == ("partial", 1)
    assert logged["errors"] == [
        "the device refused an insert of tasks: no two (invalid_value)",
        "the device refused an insert of tasks: no three (invalid_value)",
    ]
    assert (await walk.get(f"runs/{run}"))["state"] == RunState.COMPLETED
