"""Example conversations as sent over the wire, printed in PROTOCOL.md and verified by tests."""

import hashlib

import msgspec

from protocol import keys
from protocol.codec import FROM_HUB, JSON
from protocol.coordination import AgentBeat, Event, Heartbeat, Request, Response
from protocol.errors import ErrorCode
from protocol.frame import ErrorBody, Frame
from protocol.handshake import (
    SPOKEN,
    AgentPresence,
    Capability,
    Challenge,
    Client,
    DeviceHello,
    Error,
    Goodbye,
    HeldRun,
    HubProof,
    Hubs,
    Identity,
    Welcome,
)
from protocol.items import ItemSource, ReviewVerdict, RowReview
from protocol.receipts import Receipt, Sent, root_of
from protocol.skipped_files import SkippedFile
from protocol.tables import SUGGESTED
from protocol.tool_calls import Action, ToolCall, ToolCalls, ToolResult, ToolResults
from protocol.work import (
    AgentAck,
    AgentCancel,
    AgentComplete,
    AgentCredit,
    AgentData,
    AgentFetch,
    AgentManifest,
    AgentReceipt,
    AgentRun,
    FilePiece,
    ManifestFile,
    RunConfig,
    RunMode,
)

_NOW_MS = 1_767_603_600_000
_TEXT = "- [ ] Send the invoice to Ada by Friday\n"
_SHA256 = hashlib.sha256(_TEXT.encode()).hexdigest()
_PATH = "/home/ada/notes/week.md"
_RUN = "0199a3c2-6f00-7c3f-9d3e-1b2c3d4e5f60"
_AGENT = "0199a3c1-0000-7aaa-8bbb-0123456789ab"
_CALL = "c-7d9f2c41b0a84e6f93d1c5e2a7b86034"


# One file, the first receipt of its device; signed by the hub of the examples.
RECEIPT = Receipt(
    id="0199a3c2-7000-7a11-8c22-aabbccddeeff",
    hub="_FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU",
    device_id="0199a3c0-2222-7333-8444-555566667777",
    run_id=_RUN,
    number=1,
    at_ms=_NOW_MS,
    files=1,
    bytes=len(_TEXT),
    root=root_of([(_PATH, len(_TEXT), _SHA256)]),
    is_whole=True,
    previous="",
    entry=42,
    entry_hash=hashlib.sha256(b"entry 42").hexdigest(),
    signature="hjVtvrma3PEm1VYsQ73S3jJB8KRzzusz1wDzoqaZCtfa3-7pWvrXszZyOnZg8PIVgKnw-6OwkATwqY76X2vRCg",
)


class Conversation(msgspec.Struct, frozen=True):
    """Frames in the order of the wire."""

    title: str
    frames: tuple[Frame, ...]

    def lines(self) -> list[str]:
        """Return a line for each frame: direction and encoded frame."""
        return [
            f"{'hub    -> ' if type(frame) in FROM_HUB else 'device -> '}{JSON.encode(frame).decode()}"
            for frame in self.frames
        ]


# The first three keys of RFC 8032, 7.1, and signatures by them; a test verifies them.
KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
NEXT_KEY = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
HUB_KEY = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
DEVICE_NONCE = "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA"
PROOF = "dRb0EvKf_c2vTpEP-2h1y4bT6m1g4cRtij2uCnvM9yzPnh3zIV7RMwuCGTKX4r90fnSvjyUCH_ADFGLh8VQLBw"
CHALLENGE = Challenge(
    nonce="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    hub_id="hub-1",
    protocol=SPOKEN,
    ts_ms=_NOW_MS,
    proof=HubProof(public_key=keys.encode(HUB_KEY), address="hub.example", signature=PROOF),
)
HELLO = DeviceHello(
    device_id="desk",
    protocol=SPOKEN,
    token="hub_dev_...",
    client=Client(name="my-device", version="0.1.0", platform="linux"),
    capabilities=[Capability(name="agent_data.credit"), Capability(name="agent_manifest")],
    agents=[AgentPresence(agent_id=_AGENT, status="idle")],
    runs=[HeldRun(run_id=_RUN, fence=2)],
)
SIGNATURE = "-18EcV21C5ZcjBmLuoe1GYzAHdm4ltRS9knZOFFs_IRBlA5YdFAjqlRidNpGkaJpD8xm8RTWpPDV_c-PaIj_Bw"
ROTATION_SIGNATURE = "UmfaN4CJimYQbmBaTK2z8mFrbus9aSLszowJGWx_7cCMrQcmEfKh6VOl03pswNpE9uor3M0GyTs9cPp7ZTHFAw"
ROTATION_PROOF = "55MGNtJBpttAsaq-pGQccG5jarHP533-JCtkkjaqTXFmAuSN36AobOD4NdVAvMQbb3eCeRCzDiZRs6NbD5iUAw"
WELCOME = Welcome(
    protocol=1,
    hub_id="hub-1",
    connection_id="0199a3c2-6e10-7000-8000-00000000c0de",
    user_id="0199a3c0-1111-7222-8333-444455556666",
    device_id="0199a3c0-2222-7333-8444-555566667777",
    epoch=7,
    server_ts_ms=_NOW_MS,
)

CONVERSATIONS: tuple[Conversation, ...] = (
    Conversation("Greeting", (CHALLENGE, HELLO, WELCOME)),
    Conversation(
        "A device with a key that the hub does not know; once the code was typed at the hub, it is welcomed",
        (
            CHALLENGE,
            DeviceHello(
                device_id=HELLO.device_id,
                protocol=HELLO.protocol,
                identity=Identity(
                    public_key=keys.encode(KEY),
                    signature=SIGNATURE,
                    signed_at_ms=CHALLENGE.ts_ms,
                    address="hub.example",
                ),
                client=HELLO.client,
            ),
            Error(
                code=ErrorCode.PAIRING_REQUIRED,
                message="this hub does not know the device's key yet",
                pairing_code="K7QF-2M9X",
                retry_after_ms=2_000,
            ),
        ),
    ),
    Conversation(
        "A call: the hub asks, the device answers",
        (
            ToolCall(
                id=_CALL,
                action=Action.INSERT,
                table="tasks",
                data={"title": "Send the invoice to Ada", "dueDate": 1_767_949_200_000, **SUGGESTED},
                run_id=_RUN,
                agent_id=_AGENT,
                source=ItemSource(path=_PATH, quote="Send the invoice to Ada by Friday", start=6, end=39),
            ),
            ToolResult(id=_CALL, result=JSON.pack({"id": "row-41"})),
            ToolCall(id="c-query-1", action=Action.QUERY, table="tasks", where={"state": "todo"}, limit=10),
            ToolResult(
                id="c-query-1",
                error=ErrorBody(code=ErrorCode.BAD_RECORD.value, message="tasks.state: no such column"),
            ),
        ),
    ),
    Conversation(
        "A verdict that the owner gave elsewhere, and another one on a row that they changed here meanwhile",
        (
            ToolCall(
                id="v-1",
                action=Action.REVIEW_APPLY,
                table="tasks",
                data={"dueDate": 1_767_949_200_000},
                where={"id": "row-41"},
                review=RowReview(verdict=ReviewVerdict.APPROVE, seen=_CALL),
            ),
            ToolResult(id="v-1", result=JSON.pack({"state": "edited"}), counter=42),
            ToolCall(
                id="v-2",
                action=Action.REVIEW_APPLY,
                table="tasks",
                where={"id": "row-41"},
                review=RowReview(verdict=ReviewVerdict.UNDO, seen="v-1"),
            ),
            ToolResult(
                id="v-2",
                error=ErrorBody(
                    code=ErrorCode.CHANGED_MEANWHILE.value,
                    message="tasks: the row has been decided about or changed since that verdict",
                ),
            ),
        ),
    ),
    Conversation(
        "Several calls in one frame, and their answers",
        (
            ToolCalls(
                calls=[
                    ToolCall(
                        id=call_id, action=Action.INSERT, table="tasks", data={"title": title, **SUGGESTED}
                    )
                    for call_id, title in (("c-1", "Call Ada"), ("c-2", ""))
                ]
            ),
            ToolResults(
                results=[
                    ToolResult(id="c-1", result=JSON.pack({"id": "row-42"}), counter=7),
                    ToolResult(
                        id="c-2",
                        error=ErrorBody(code=ErrorCode.BAD_RECORD.value, message="tasks.title: it is empty"),
                    ),
                ]
            ),
        ),
    ),
    Conversation(
        "A run: the hub reads files of the device",
        (
            AgentRun(
                run_id=_RUN,
                fence=3,
                agent_id=_AGENT,
                config=RunConfig(
                    paths=["/home/ada/notes"],
                    file_extensions=[".md"],
                    prompt_template="What is there to do?",
                    data_types=["tasks"],
                ),
                mode=RunMode.MANIFEST,
                receipt=RECEIPT.id,
            ),
            AgentAck(run_id=_RUN, fence=3),
            AgentManifest(
                run_id=_RUN,
                fence=3,
                files=[
                    ManifestFile(
                        path=_PATH,
                        size_bytes=len(_TEXT),
                        sha256=_SHA256,
                        modified_ms=_NOW_MS,
                    )
                ],
            ),
            AgentFetch(run_id=_RUN, fence=3, paths=[_PATH]),
            AgentData(
                run_id=_RUN,
                fence=3,
                files=[FilePiece(path=_PATH, content=_TEXT, sha256=_SHA256)],
            ),
            AgentCredit(run_id=_RUN, fence=3, pieces=8),
            AgentComplete(
                run_id=_RUN,
                fence=3,
                files=1,
                skipped=[SkippedFile(path="/home/ada/notes/big.md", reason="too_large")],
                sent=Sent(files=1, bytes=len(_TEXT), root=root_of([(_PATH, len(_TEXT), _SHA256)])),
            ),
            AgentReceipt(receipt=RECEIPT),
        ),
    ),
    Conversation(
        "A run that is cancelled",
        (
            AgentCancel(run_id=_RUN, fence=3, reason="cancelled by the operator"),
            AgentComplete(run_id=_RUN, fence=3, error=ErrorBody(code=ErrorCode.CANCELLED.value)),
        ),
    ),
    Conversation(
        "A request: the device asks, the hub answers; and what comes unasked",
        (
            Heartbeat(agents=[AgentBeat(agent_id=_AGENT, status="on_call", resource_usage={"cpu": 0.25})]),
            Heartbeat(
                agents=[
                    AgentBeat(
                        agent_id=_AGENT,
                        status="exhausted",
                        exhaust_reason="rate_limit",
                        recovery_at_ms=1_767_606_000_000,
                    )
                ]
            ),
            Request(id="q-1", method="runs.start", params={"agent_id": _AGENT}),
            Response(id="q-1", result={"run_id": _RUN}),
            Request(id="q-2", method="tea.make"),
            Response(
                id="q-2",
                error=ErrorBody(
                    code=ErrorCode.UNKNOWN_METHOD.value, message="this hub does not serve tea.make"
                ),
            ),
            Event(
                event="run.moved", seq=1, data={"run_id": _RUN, "state": "COMPLETED", "outcome": "success"}
            ),
            Hubs(hubs=["wss://a.example:8770", "wss://b.example:8770"]),
        ),
    ),
    Conversation(
        "Refusal and parting",
        (
            Error(
                code=ErrorCode.UNKNOWN_TYPE, message="there is no frame of type 'telemetry'", ref="telemetry"
            ),
            Goodbye(reason="restarting", retry_after_ms=5_000),
        ),
    ),
)
