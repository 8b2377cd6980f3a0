"""The keys of what a real gateway 2026.9.6 was seen to send, by what they are part of.

Recorded on loopback, with a scripted model behind it. The fake sends nothing else: ``unseen`` tells.
"""

from collections.abc import Iterator
from typing import Any

_RECORDED = """
agent assistant: agentId data isHeartbeat runId seq sessionKey stream ts
agent assistant None: delta itemId replace text
agent lifecycle: agentId data isHeartbeat lane runId seq sessionId sessionKey stream ts
agent lifecycle end: aborted completionSource endedAt executionSettled livenessState phase
    replayInvalid startedAt stopReason terminalReceipt terminalReply
agent lifecycle error: aborted completionSource endedAt error errorObservation executionSettled
    livenessState phase replayInvalid startedAt stopReason terminalReceipt terminalReply
agent lifecycle start: completionSource phase startedAt
agent run_status: agentId data isHeartbeat runId seq sessionKey stream ts
agent run_status preparing_workspace: phase
agent.wait error: endedAt error runId startedAt status stopReason terminalReceipt terminalReply
agent.wait ok: endedAt runId status terminalReceipt terminalReply
agent.wait pending: providerStarted runId status timeoutPhase
agent.wait timeout: runId status
agents.create: agentId name ok workspace
agents.delete: agentId failed ok removed removedBindings
agents.files.get: agentId file workspace
agents.files.list: agentId files workspace
agents.files.list.files: expectedAbsent missing name path size updatedAtMs
agents.files.set: agentId file ok workspace
agents.list: agents defaultId mainKey ownership scope selectionRequired
agents.list.agents: agentRuntime createdAt createdVia creatorAgentId defaultPermissionMode id
    identity model name thinkingDefault thinkingLevels thinkingOptions workspace workspaceGit
chat aborted: agentId runId seq sessionKey state stopReason
chat delta: agentId deltaText message runId seq sessionKey state
chat error: agentId errorDetail errorMessage runId seq sessionKey state
chat final: agentId message runId seq sessionKey state stopReason
chat status: agentId phase retry runId seq sessionKey state
chat.history: defaults deltaCursor hasMore inFlightRun inputReceipts messages nextOffset
    pendingInputs sessionId sessionInfo sessionKey totalMessages
chat.message: content role stopReason text timestamp usage
chat.send: interruptedActiveRun runId status
connect.challenge: capabilities nonce ts
details AUTH_DEVICE_TOKEN_MISMATCH: authReason canRetryWithDeviceToken code recommendedNextStep
details AUTH_SCOPE_MISMATCH: authReason canRetryWithDeviceToken code recommendedNextStep
details AUTH_TOKEN_MISMATCH: authReason canRetryWithDeviceToken code recommendedNextStep
details DEVICE_AUTH_SIGNATURE_INVALID: code reason
details DEVICE_IDENTITY_REQUIRED: code
details MISSING_SCOPE: code missingScope requiredScopes
details PROTOCOL_MISMATCH: clientMaxProtocol clientMinProtocol code expectedProtocol
    minimumProbeProtocol
details agent_file_conflict: currentHash name type
details chat-request-conflict: reason
details gateway-restarting: method phase reason
details startup-sidecars: reason
error: code details message retryAfterMs retryable
errorDetail: failoverReason model provider providerRuntimeFailureKind
event: event payload seq stateVersion type
file: content hash missing name path size updatedAtMs
file missing: expectedAbsent missing name path
hello-ok: auth controlUiLinkReaders controlUiWidgetKinds features pluginSurfaceUrls policy protocol
    server snapshot type
hello-ok.auth: deviceToken issuedAtMs method recoveryMigrationAllowed recoveryScope role scopes
hello-ok.features: capabilities events methods
hello-ok.policy: allowedSessionVisibilities attachments hasMultipleSessionSharingIdentities
    maxBufferedBytes maxPayload tickIntervalMs
hello-ok.server: bootId buildId connId controlUiBuildSource version
hello-ok.snapshot: appliedConfigHash authMode configPath health presence sessionDefaults stateDir
    stateVersion suspension updateSchedule uptimeMs
inFlightRun: events runId sessionAbortable startedAt text
pendingInputs: items nextBefore total
pendingInputs.items: acceptedAt id message runId state
res: error id ok payload type
row assistant: __openclaw api content idempotencyKey model provider responseId role stopReason
    timestamp usage
row custom: __openclaw content customType display role timestamp
row system: __openclaw content role timestamp
row user: __openclaw content idempotencyKey provenance role timestamp
row.__openclaw assistant: id idempotencyKey recordTimestampMs runId seq transcriptPosition
row.__openclaw custom: id recordTimestampMs runId seq transcriptPosition
row.__openclaw system: id kind seq transcriptPosition
row.__openclaw user: id idempotencyKey recordTimestampMs senderIsOwner seq steerTargetRunId
    transcriptPosition transport
row.provenance: kind sourceSessionKey sourceTool
sessionInfo: activeRunIds agentId hasActiveRun key lastRunId status
shutdown: reason
terminalReply: disposition text
tick: ts
"""
_LINES = _RECORDED.replace("\n    ", " ").strip().splitlines()
SEEN = {part: set(keys.split()) for part, _, keys in (line.partition(": ") for line in _LINES)}


def unseen(frame: dict[str, Any], method: str | None = None) -> Iterator[str]:
    """Every key in *frame* that none of its kind was seen with, with where it stands.

    Args:
        method: of the request, where the frame is its answer.
    """
    if frame["type"] == "event":
        yield from _in("event", frame)
        yield from _in_event(frame["event"], frame["payload"])
        return
    yield from _in("res", frame)
    if not frame["ok"]:
        details = frame["error"].get("details")
        yield from _in("error", frame["error"])
        if details:
            word = details.get("code") or details.get("reason") or details["type"]
            yield from _in(f"details {word}", details)
    elif method is not None:
        yield from _in_answer(method, frame["payload"])


def _in_event(name: str, payload: dict[str, Any]) -> Iterator[str]:
    if name == "chat":
        yield from _in(f"chat {payload['state']}", payload)
        yield from _in("chat.message", payload.get("message", {}))
        yield from _in("errorDetail", payload.get("errorDetail", {}))
    elif name == "agent":
        yield from _in(f"agent {payload['stream']}", payload)
        yield from _in(f"agent {payload['stream']} {payload['data'].get('phase')}", payload["data"])
        yield from _in("terminalReply", payload["data"].get("terminalReply", {}))
    else:
        yield from _in(name, payload)


def _in_answer(method: str, payload: dict[str, Any]) -> Iterator[str]:
    match method:
        case "connect":
            yield from _in("hello-ok", payload)
            for part in ("server", "auth", "policy", "features", "snapshot"):
                yield from _in(f"hello-ok.{part}", payload[part])
        case "agent.wait":
            yield from _in(f"agent.wait {payload['status']}", payload)
            yield from _in("terminalReply", payload.get("terminalReply", {}))
        case "chat.history":
            yield from _in("chat.history", payload)
            yield from _in("pendingInputs", payload["pendingInputs"])
            for item in payload["pendingInputs"]["items"]:
                yield from _in("pendingInputs.items", item)
            yield from _in("inFlightRun", payload.get("inFlightRun", {}))
            yield from _in("sessionInfo", payload["sessionInfo"])
            for row in payload["messages"]:
                yield from _in(f"row {row['role']}", row)
                yield from _in(f"row.__openclaw {row['role']}", row["__openclaw"])
                yield from _in("row.provenance", row.get("provenance", {}))
        case _:
            yield from _in(method, payload)
            if (file := payload.get("file")) is not None:
                yield from _in("file missing" if file["missing"] else "file", file)
            for agent in payload.get("agents", ()):
                yield from _in("agents.list.agents", agent)


def _in(part: str, found: dict[str, Any]) -> Iterator[str]:
    for key in sorted(found.keys() - SEEN.get(part, set())):
        yield f"{part}: {key}"
