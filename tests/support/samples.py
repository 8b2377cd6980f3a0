"""One plain frame of each type, for walking tables whole."""

from protocol.codec import Codec
from protocol.coordination import Event, Heartbeat, Request, Response
from protocol.frame import Frame
from protocol.handshake import Error, Goodbye, Hubs
from protocol.work import (
    Action,
    AgentAck,
    AgentCancel,
    AgentComplete,
    AgentCredit,
    AgentData,
    AgentFetch,
    AgentManifest,
    AgentRun,
    FilePiece,
    RunConfig,
    ToolCall,
    ToolCalls,
    ToolResult,
    ToolResults,
)
from tests.support.script import CHALLENGE, HELLO, WELCOME


def samples(codec: Codec) -> dict[type[Frame], Frame]:
    """One frame of each type; open values are spelled in *codec*."""
    made: list[Frame] = [
        CHALLENGE,
        HELLO,
        WELCOME,
        Error(code="internal", message="sorry"),
        Goodbye(reason="stopping"),
        Hubs(hubs=["wss://a.example:8770"]),
        AgentRun(run_id="r-1", fence=1, agent_id="a-1", config=RunConfig(paths=["/home"])),
        AgentAck(run_id="r-1", fence=1),
        AgentManifest(run_id="r-1", fence=1),
        AgentFetch(run_id="r-1", fence=1, paths=["notes.md"]),
        AgentData(run_id="r-1", fence=1, files=[FilePiece(path="notes.md", content="# Notes")]),
        AgentCredit(run_id="r-1", fence=1, pieces=1),
        AgentComplete(run_id="r-1", fence=1, files=1),
        AgentCancel(run_id="r-1", fence=1),
        ToolCall(id="c-1", action=Action.INSERT, table="tasks", data={"title": "Call Ada"}),
        ToolResult(id="c-1", result=codec.pack({"id": "row-1"})),
        ToolCalls(
            calls=[ToolCall(id="c-1", action=Action.INSERT, table="tasks", data={"title": "Call Ada"})]
        ),
        ToolResults(results=[ToolResult(id="c-1", result=codec.pack({"id": "row-1"}))]),
        Request(id="q-1", method="runs.list"),
        Response(id="q-1", result={"runs": []}),
        Heartbeat(),
        Event(event="run.finished", seq=1),
    ]
    return {type(frame): frame for frame in made}
