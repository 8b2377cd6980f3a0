"""Delivery of messages to agents at gateways: text of a letter, proof of delivery, answer, retries.

The rules:

* SENT is committed before the frame is sent. An attempt with an unknown result is looked up in the agent's
  history before the same key is sent again, with the same text.
* A message in the history was delivered, and is never sent again. A message that the gateway dropped before
  the agent read it is sent under a new key.
* An acknowledgement is not a delivery, and the end of a turn without text is not an answer. Nor is
  the text ``NO_REPLY``.
* An acknowledged message that the gateway no longer shows is not sent again, because the agent may have read
  it. It fails with a reason.

A message is sent as a letter, which names the sender, the board, and how to answer. It never has a token: the
agent has its own. The text is stored with the first attempt to send it, so that later attempts send the same
text. It asks for an answer as an item of the board's memory, with two tags if the question names none.

The agent's history has a message under the key with which it was sent. Its answer is the first text after it
that ends a turn. The run id does not always identify that turn. A message may be added to another turn, or be
processed in a new run after a restart of the gateway.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from hub.base.clock import Chance, Clock, epoch_ms
from hub.base.log import Channel
from hub.coordination.message_transitions import ANSWERABLE, MessageTransitions, shortened
from hub.openclaw import Gateway, GatewayError, GatewayForbidden, GatewayRefused, GatewayUnreachable, methods
from hub.openclaw.methods import History, PendingInput, TranscriptMessage
from protocol.agent_messages import MessageEvent, MessageKind, MessageState, QueueMode
from protocol.backoff import Backoff
from protocol.calls import without_answers
from protocol.coordination import attempt_key
from protocol.errors import ErrorCode
from protocol.ids import AgentId, BootId, traceparent_of
from storage.coordination import message_rows, messages, questions
from storage.coordination.message_rows import MessageRow, MessageSight
from storage.store import Store


def _proof_of(waits: methods.AgentWait) -> dict[str, Any]:
    """Return the part of ``agent.wait`` kept as proof: everything except the answer's text."""
    fields = msgspec.structs.asdict(waits)
    return {name: value for name, value in fields.items() if name != "reply" and value is not None}


_TITLES: Final = {
    MessageKind.NUDGE: "NUDGE",
    MessageKind.QUESTION: "QUESTION TO THE LEAD",
    MessageKind.HANDOFF: "HANDOFF TO THE LEAD",
    MessageKind.ASK_USER: "A LEAD ASKS THE USER",
    MessageKind.ANSWER: "ANSWER OF THE USER",
}


def letter(row: MessageRow, *, reply_url: str | None, preferred_channel: str | None = None) -> str:
    """Return the letter of a message.

    Args:
        reply_url: the hub's address for agents over HTTP; None if they cannot reach it.
        preferred_channel: channel over which the person prefers to be asked.
    """
    head = [
        _TITLES[row.kind],
        *_line("Board", row.board),
        *_line("Board ID", row.board_id),
        *_line("From", _sender(row)),
        *_line("Correlation ID", row.correlation_id),
        *_line("Question ID", row.question_id),
        *_line("Preferred channel", preferred_channel),
        *_line("Message ID", row.id),
    ]
    content = row.content.strip()
    # quoting the content must not count as an answer to another question
    if row.kind is MessageKind.ASK_USER:
        content = without_answers(content)
    parts = ["\n".join(head), content, *_ending(row, reply_url)]
    return "\n\n".join(parts)


def _sender(row: MessageRow) -> str:
    if row.kind is MessageKind.ANSWER:
        return "the user"
    if row.from_agent_id is None:
        return "the user of this hub"
    role = "lead " if row.kind is MessageKind.ASK_USER else "agent "
    return role + (row.from_agent or row.from_agent_id)


def _line(name: str, value: str | None) -> list[str]:
    return [f"{name}: {value.strip()}"] if value and value.strip() else []


def _ending(row: MessageRow, reply_url: str | None) -> list[str]:
    match row.kind:
        case MessageKind.NUDGE:
            return ["If this wants an answer, give it in this chat."]
        case MessageKind.QUESTION | MessageKind.HANDOFF:
            if reply_url is None or row.board_id is None:
                return ["Give your answer to the gateway's main agent in this chat: it is brought there."]
            item = _item(row, row.id, ("gateway_main", "lead_reply"), "lead_to_gateway_main")
            return [
                "Answer the gateway's main agent with a memory item of this board that is no chat:",
                f"{_post(row, reply_url)}\n{item}",
                "Put the answer there and not into this chat.",
            ]
        case MessageKind.ASK_USER:
            asked = "Ask the user over the channels that you have (Slack, SMS, mail and the like)."
            if reply_url is None or row.board_id is None or row.question_id is None:
                return [
                    asked,
                    "As soon as the user has answered, write a line of its own in this chat,"
                    " with the question's ID as it stands above:",
                    # Without a real id, so that quoting the letter does not count as an answer.
                    "ANSWER QUESTION_ID: what the user said",
                ]
            item = _item(row, row.question_id, ("gateway_main", "user_reply"), "user_via_gateway_main")
            return [
                f"{asked} Whom you cannot reach there, you ask in the chat of this board.",
                "As soon as the user has answered, write a memory item of this board that is no chat:",
                f"{_post(row, reply_url)}\n{item}",
                "Put the answer there and not into this chat.",
            ]
        case MessageKind.ANSWER:
            return []


def _post(row: MessageRow, reply_url: str) -> str:
    return f"POST {reply_url.rstrip('/')}/v1/agent/boards/{row.board_id}/memory"


def _item(row: MessageRow, reply_to: str, tags: Sequence[str], source: str) -> str:
    body = {
        "content": "...",
        "tags": list(row.reply_tags or tags),
        "source": row.reply_source or source,
        "reply_to": reply_to,
    }
    return f"Body: {msgspec.json.encode(body).decode()}"


RESUMED: Final = "main_session_restart_recovery"  # source of a row that continues a turn after a restart
SILENT: Final = "NO_REPLY"  # text of an agent that chooses not to answer
NAMELESS: Final = ""  # run of a row without run id; two such rows may have different runs
_BROKEN: Final = ("error", "aborted")
_UNHEARD: Final = "run-failed-before-reply"  # kind of row for a turn that ended before any model was asked


# Progress of a message at its agent.
Progress = Literal[
    "absent",  # unknown to the gateway
    "pending",  # accepted, but its turn has not begun
    "interrupted",  # dropped before the agent read it
    "cancelled",  # withdrawn at the gateway before the agent read it
    "consumed",  # part of the history
]


class HistoryState(msgspec.Struct, frozen=True, kw_only=True):
    """State of a message according to the history.

    Attributes:
        proof: the row that proves the state.
        answer: the agent's answer; None if there is none yet.
        failure: why the turn failed; None if it did not.
        end_proof: the row of the answer or the failure.
        is_unheard: True if the turn failed before any model was asked.
        is_busy: True if the agent is working, on this message or another.
    """

    progress: Progress
    proof: dict[str, Any] = {}
    answer: str | None = None
    failure: str | None = None
    end_proof: dict[str, Any] = {}
    is_unheard: bool = False
    is_busy: bool = False


def shown_of(key: str, history: History) -> HistoryState:
    """Return the state of the message sent under *key*, according to *history*."""
    is_busy = history.is_running or history.in_flight_run is not None
    if (at := history.place(key)) is not None:
        return _consumed(key, history.messages, at, is_busy)
    if history.receipts.get(key) == "consumed":  # further back than the pages that were read
        proof = {"receipt": {"runId": key, "state": "consumed"}}
        return HistoryState(progress="consumed", proof=proof, is_busy=is_busy)
    if (item := history.waiting(key)) is not None:
        progress: Progress = _PENDING.get(item.state, "pending")
        return HistoryState(progress=progress, proof={"pending": _history_proof(item)}, is_busy=is_busy)
    if history.receipts.get(key) == "pending":
        proof = {"receipt": {"runId": key, "state": "pending"}}
        return HistoryState(progress="pending", proof=proof, is_busy=is_busy)
    return HistoryState(progress="absent", is_busy=is_busy)


_PENDING: Final[Mapping[str, Progress]] = {"interrupted": "interrupted", "cancelled": "cancelled"}


def _consumed(key: str, rows: list[TranscriptMessage], at: int, is_busy: bool) -> HistoryState:
    # An earlier run may have included the message. A run that begins after the next input answers that input.
    ours = {key, *(_run(row) for row in rows[: at + 1])} - {NAMELESS}
    is_alone = True
    answer, failure, is_unheard = None, None, False
    end: TranscriptMessage | None = None
    for row in rows[at + 1 :]:
        run = _run(row)
        if row.role == "user":
            if row.source == RESUMED:
                ours |= {run} - {NAMELESS} if is_alone else set()
            else:
                is_alone = False
                ours.discard(run)
        elif row.kind == _UNHEARD and run == key and failure is None:
            failure, is_unheard, end = row.text.strip() or "the gateway could not ask the model", True, row
        elif row.role == "assistant" and (is_alone or run in ours):
            ours |= {run} - {NAMELESS}
            if row.stop_reason in _BROKEN:  # the run may have retried and answered
                failure, is_unheard, end = row.text.strip() or row.stop_reason, False, row
            elif row.stop_reason != "toolUse" and (words := words_of(row.text)):
                answer, failure, is_unheard, end = words, None, False, row
                break
    return HistoryState(
        progress="consumed",
        proof={"history": _history_proof(rows[at])},
        answer=answer,
        failure=failure,
        end_proof={} if end is None else {"history": _history_proof(end)},
        is_unheard=is_unheard,
        is_busy=is_busy,
    )


def words_of(text: str | None) -> str | None:
    """Return an agent's text, or None if it is empty or says that the agent does not answer."""
    words = (text or "").strip()
    return words if words and words != SILENT else None


def _run(row: TranscriptMessage) -> str:
    """Return the run of a row; for an input, the run that it started."""
    return row.run_id or (row.key or "").rpartition(":")[0]


def _history_proof(row: TranscriptMessage | PendingInput) -> dict[str, Any]:
    """Return the part of a row kept as proof: everything except its text."""
    fields = msgspec.structs.asdict(row)
    return {name: value for name, value in fields.items() if name != "text" and value is not None}


ROWS, MAX_ROWS = 200, 1_000  # of a history's newest page, and of older ones
PAGES: Final = 20  # a message with 19,200 later rows cannot be found, and fails
SKEW_MS: Final = 600_000  # maximum difference between the gateway's clock and the hub's
RESET: Final = "reset"  # kind of the row that a reset of the session leaves in place of all rows before it


def older(history: History, since: int) -> int | None:
    """Return the offset of the next older rows; None if all of those since then were read."""
    oldest = history.messages[0].timestamp_ms if history.messages else None
    return None if oldest and oldest < since - SKEW_MS else history.next_offset


async def find(
    gateway: Gateway, session_key: str, key: str, *, created_at: int, moved_at: int
) -> tuple[HistoryState, bool]:
    """Return the state of the message sent under *key*, and whether the history reaches back to it.

    It does not if it has too many rows, or the session was reset.

    Args:
        created_at, moved_at: times of the message and of its last state.

    Raises:
        GatewayError: the gateway could not be asked.
    """
    rows, pending = list[TranscriptMessage](), list[PendingInput]()
    offset, before = None, None
    is_first = True
    for _ in range(PAGES):
        history = await methods.chat_history(
            gateway,
            session_key,
            limit=ROWS if offset is None else MAX_ROWS,
            offset=offset,
            about=(key,),
            pending_before=before,
        )
        if is_first or offset is not None:  # otherwise the page repeats the newest rows
            rows = [*history.messages, *rows]
            offset = older(history, created_at)
        if is_first or before is not None:
            pending = [*history.pending, *pending]
            before = history.pending_before
        is_first = False
        shown = shown_of(key, msgspec.structs.replace(history, messages=rows, pending=pending))
        if shown.progress != "absent" or (offset is None and before is None):
            break
    is_reset = any(row.kind == RESET and (row.timestamp_ms or 0) >= moved_at for row in rows)
    return shown, offset is None and not is_reset


log = Channel(__name__)

MAX_ATTEMPTS: Final = 8  # keys per message; more interruptions have another cause
# between committing SENT and sending, less than a node's lease: a suspended hub looks the message up instead
STALE_S: Final = 20.0
CONFLICT: Final = "chat-request-conflict"

LOOKUP_MS, LOOKUP_CAP_MS = 400, 15_000  # interval of lookups of an acknowledged message; events arrive sooner
# interval of lookups of a message that waits behind a turn or is being processed
REST_MS, REST_CAP_MS = 2_000, 60_000
IDLE_MS: Final = 10_000  # an idle agent has ended its turn after this time, even without an answer
AGAIN: Final = Backoff(base_s=1.0, cap_s=60.0)
# A gateway that creates agents drops every turn being prepared, for seconds each.
UNHEARD_AGAIN: Final = Backoff(base_s=5.0, cap_s=60.0)

OnText = Callable[[AgentId, str], Awaitable[object]]


class StoredLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Text sent under one key, stored with the first attempt, so that later attempts repeat it."""

    session_key: str
    message: str
    deliver: bool
    queue_mode: str | None = None


@dataclass
class PollIntervals:
    """Intervals between lookups; tests use shorter ones."""

    lookup_ms: int = LOOKUP_MS
    rest_ms: int = REST_MS
    idle_ms: int = IDLE_MS
    again: Backoff = AGAIN
    unheard: Backoff = UNHEARD_AGAIN


class GatewayDelivery:
    """Delivers messages to agents at gateways.

    The optional callback gets the texts of a gateway's main agent that was asked to ask a person.

    *held_s* returns the seconds for which letters to a gateway must wait, by
    ``hub.coordination.provisioning``.

    Attributes:
        reply_url: the hub's address for agents over HTTP; changed by a reload.
    """

    def __init__(
        self,
        store: Store,
        moving: MessageTransitions,
        *,
        clock: Clock,
        chance: Chance,
        boot_id: BootId,
        on_text: OnText | None = None,
        held_s: Callable[[str], float] = lambda _: 0.0,
        paces: PollIntervals | None = None,
    ) -> None:
        self.reply_url: str | None = None
        self._held_s = held_s
        self.paces = paces or PollIntervals()
        self._store = store
        self._moving = moving
        self._clock = clock
        self._chance = chance
        self._boot_id = boot_id
        self._on_text = on_text

    async def bring(self, gateway: Gateway, seen: MessageSight) -> None:
        """Take the next step with a message, or set the time of the next lookup.

        Raises:
            GatewayError: the gateway is unreachable; only proved changes were written.
        """
        match seen.state:
            case MessageState.WAITING:
                await self._send(gateway, seen)
            case MessageState.INTERRUPTED:
                await self._try_anew(seen)
            case _:
                try:
                    await self._find_message(gateway, seen)
                except GatewayRefused as refused:  # its agent may have been deleted
                    if not await self._is_deleted(gateway, seen, {"error": shortened(str(refused))}):
                        raise

    async def last_lookup(self, gateway: Gateway, seen: MessageSight) -> MessageRow | None:
        """Look up a message past its time, and store the proved state; never send it again.

        Raises:
            GatewayError: the gateway is unreachable; nothing was written.
        """
        shown, is_whole, key = await self._shown(gateway, seen)
        if shown.progress == "consumed":
            await self._follow(gateway, seen, shown, key)
        elif shown.progress == "pending":
            reason = "its time is over, and its agent may get it yet: it waits there for its turn"
            await self._moving.fail(seen, ErrorCode.UNKNOWN_EFFECT, reason, proof=shown.proof)
        elif shown.progress == "absent" and not (is_whole and seen.state is MessageState.SENT):
            await self._lost(seen, {"history": "absent"})
        return await self._store.read(message_rows.find_message, seen.id)

    # --- sending ---

    async def _send(self, gateway: Gateway, seen: MessageSight) -> None:
        if seen.held_until is not None and seen.held_until > self._moving.now():
            # The agent may be available sooner: a person may resume it, or another turn may succeed.
            await self._moving.postpone(seen, min(REST_CAP_MS, seen.held_until - self._moving.now()))
            return
        if (held_s := self._held_s(gateway.name)) > 0:
            await self._moving.postpone(seen, round(held_s * 1_000))
            return
        stored_letter = await self._letter(seen)
        proof: dict[str, Any] = {"boot": gateway.health().boot_id}
        if stored_letter is None:
            stored_letter = await self._write_letter(seen)
            proof["letter"] = msgspec.to_builtins(stored_letter)
        began = self._clock.uptime_s()
        # A gateway may answer unreadably without recording the message, any number of times.
        after_ms = max(self.paces.lookup_ms, self._again_ms(seen.sends) if seen.sends else 0)
        sent = await self._moving.move(
            seen,
            MessageEvent.SENT,
            proof=proof,
            after_ms=after_ms,
            boot_id=self._boot_id,
            gateway_id=seen.home_gateway_id,
        )
        if sent is None or self._clock.uptime_s() - began > STALE_S:
            return
        key = attempt_key(sent.id, sent.attempt)
        try:
            ack = await methods.chat_send(
                gateway,
                stored_letter.session_key,
                stored_letter.message,
                key=key,
                deliver=stored_letter.deliver,
                queue_mode=None if stored_letter.queue_mode is None else QueueMode(stored_letter.queue_mode),
                trace=traceparent_of(sent.trace_id, "message", key),
            )
        except GatewayError as error:
            await self._not_sent(gateway, seen, sent, error)
            return
        proof = {"ack": msgspec.to_builtins(ack), "boot": gateway.health().boot_id}
        await self._moving.move(sent, MessageEvent.ACCEPTED, proof=proof, after_ms=self.paces.lookup_ms)

    async def _letter(self, seen: MessageRow) -> StoredLetter | None:
        stored = await self._store.read(messages.letter_of, seen.id, seen.attempt)
        return (
            None
            if stored is None or "letter" not in stored
            else msgspec.convert(stored["letter"], StoredLetter)
        )

    async def _write_letter(self, seen: MessageSight) -> StoredLetter:
        channel = None
        if seen.kind is MessageKind.ASK_USER and seen.question_id is not None:
            asked = await self._store.read(questions.find_question, seen.question_id)
            channel = None if asked is None else asked.preferred_channel
        assert seen.session_key is not None, "its home is known"
        return StoredLetter(
            session_key=seen.session_key,
            message=letter(seen, reply_url=self.reply_url, preferred_channel=channel),
            deliver=seen.deliver,
            queue_mode=seen.queue_mode,
        )

    async def _not_sent(
        self, gateway: Gateway, seen: MessageSight, sent: MessageRow, error: GatewayError
    ) -> None:
        """Process the failure of ``chat.send``."""
        log.warning(
            "message.not_acknowledged",
            message_id=sent.id,
            gateway=gateway.name,
            code=error.code,
            dispatched=error.dispatched,
            reason=error.reason,
        )
        proof = {"error": shortened(str(error)), "reason": error.reason, "dispatched": error.dispatched}
        if isinstance(error, GatewayRefused) and (error.dispatched or error.reason == CONFLICT):
            await self._find_message(gateway, msgspec.structs.replace(seen, **_news_of(sent)), refused=error)
        elif error.dispatched:
            pass  # looked up when the gateway is reachable
        elif isinstance(error, GatewayUnreachable):
            wait_ms = max(error.retry_after_ms or 0, self._again_ms(sent.sends))
            await self._moving.move(sent, MessageEvent.TAKEN_BACK, proof=proof, after_ms=wait_ms)
        else:
            row = msgspec.structs.replace(seen, **_news_of(sent))
            is_forbidden = isinstance(error, GatewayForbidden)
            if is_forbidden or not await self._is_deleted(gateway, row, proof):
                await self._moving.fail(sent, error.code, str(error), proof=proof)

    async def _is_deleted(self, gateway: Gateway, seen: MessageSight, proof: dict[str, Any]) -> bool:
        """Return True if the gateway no longer has the agent, after ending the message."""
        listed = await methods.agents_list(gateway)
        if seen.remote_id is None or listed.find(seen.remote_id) is not None:
            return False
        if seen.state is MessageState.CONSUMED:
            await self._moving.settle(seen, {"turn": "over", "agent": "gone"})
        else:
            reason = f"gateway {gateway.name} has no agent {seen.remote_id} any more"
            await self._moving.fail(seen, ErrorCode.GATEWAY_REFUSED, reason, proof=proof)
        return True

    # --- lookup ---

    async def _shown(self, gateway: Gateway, seen: MessageSight) -> tuple[HistoryState, bool, str]:
        assert seen.session_key is not None, "its home is known"
        key = attempt_key(seen.id, seen.attempt)
        times = {"created_at": seen.created_at, "moved_at": seen.updated_at}
        return *await find(gateway, seen.session_key, key, **times), key

    async def _find_message(
        self, gateway: Gateway, seen: MessageSight, *, refused: GatewayRefused | None = None
    ) -> None:
        """Look up the progress of a message, and store it.

        Args:
            refused: the gateway's refusal of the send, which may be the reason for a missing message.
        """
        shown, is_whole, key = await self._shown(gateway, seen)
        if seen.state is MessageState.CONSUMED and shown.progress != "consumed":
            # It was in the history before, and the session has been reset since.
            shown = HistoryState(progress="consumed", is_busy=shown.is_busy)
        match shown.progress:
            case "consumed":
                await self._follow(gateway, seen, shown, key)
            case "interrupted":
                await self._interrupted(seen, shown.proof)
            case "cancelled":
                reason = "it was taken back at the gateway before its agent had it"
                await self._moving.fail(seen, ErrorCode.CANCELLED, reason, proof=shown.proof)
            case "pending":
                waits = await methods.agent_wait(gateway, key, timeout_ms=0)
                if waits.status == "pending" and seen.state is not MessageState.QUEUED:
                    proof = shown.proof | {"wait": _proof_of(waits)}
                    await self._moving.move(
                        seen, MessageEvent.QUEUED, proof=proof, after_ms=self.paces.rest_ms
                    )
                else:
                    await self._rest(seen)
            case "absent":
                await self._absent(gateway, seen, key, refused, is_whole=is_whole, is_busy=shown.is_busy)

    async def _absent(
        self,
        gateway: Gateway,
        seen: MessageSight,
        key: str,
        refused: GatewayRefused | None,
        *,
        is_whole: bool,
        is_busy: bool,
    ) -> None:
        """Process a message that the history does not show, or is too short for."""
        waits = await methods.agent_wait(gateway, key, timeout_ms=0)
        proof = {"history": "absent", "wait": _proof_of(waits)}
        if waits.status == "pending":
            if seen.state is not MessageState.QUEUED:
                await self._moving.move(seen, MessageEvent.QUEUED, proof=proof, after_ms=self.paces.rest_ms)
            else:
                await self._rest(seen)
        elif waits.status == "error" and is_whole:  # it failed before the agent read it
            await self._interrupted(seen, proof)
        elif waits.status == "ok" and (is_whole or words_of(waits.reply)):  # the row may follow in a moment
            if self._is_old(seen):
                shown = HistoryState(progress="consumed", proof=proof, answer=words_of(waits.reply))
                await self._follow(gateway, seen, shown, key)
            else:
                await self._rest(seen)
        elif refused is not None and refused.reason == CONFLICT:
            await self._moving.fail(seen, refused.code, str(refused), proof=proof)
        elif refused is not None:
            await self._interrupted(seen, proof | {"refused": shortened(str(refused))})
        elif seen.state is MessageState.SENT and is_whole:  # it never arrived
            again = msgspec.structs.replace(seen, held_until=None)
            await self._send(gateway, again)
        elif self._is_old(seen) and not (await self._is_same_start(gateway, seen) if is_whole else is_busy):
            await self._lost(seen, proof)
        else:
            await self._rest(seen)

    async def _is_same_start(self, gateway: Gateway, seen: MessageRow) -> bool:
        """Return True if the gateway was not restarted since it acknowledged the message."""
        moves = await self._store.read(message_rows.moves_of, seen.id)
        boots = [move.proof["boot"] for move in moves if "boot" in move.proof]
        return not boots or boots[-1] == gateway.health().boot_id

    async def _lost(self, seen: MessageRow, proof: dict[str, Any]) -> None:
        reason = "the gateway no longer shows what became of it; its agent may have had it"
        await self._moving.fail(seen, ErrorCode.UNKNOWN_EFFECT, reason, proof=proof)

    async def _interrupted(
        self, seen: MessageRow, proof: dict[str, Any], again: Backoff | None = None
    ) -> None:
        moved = await self._moving.move(seen, MessageEvent.INTERRUPTED, proof=proof)
        if moved is not None:
            await self._try_anew(moved, again)

    async def _try_anew(self, seen: MessageRow, again: Backoff | None = None) -> None:
        if seen.attempt >= MAX_ATTEMPTS:
            reason = f"it was interrupted {seen.attempt} times before its agent had it"
            await self._moving.fail(seen, ErrorCode.GATEWAY_REFUSED, reason)
            return
        wait_ms = self._again_ms(seen.attempt, again)
        await self._moving.move(seen, MessageEvent.TRIED_ANEW, after_ms=wait_ms)

    # --- after delivery ---

    async def _follow(self, gateway: Gateway, seen: MessageSight, shown: HistoryState, key: str) -> None:
        """Process a delivered message: wait for an answer until the agent's turn ends."""
        row: MessageRow = seen
        if seen.state is not MessageState.CONSUMED:
            moved = await self._moving.move(
                seen, MessageEvent.CONSUMED, proof=shown.proof, after_ms=self.paces.lookup_ms
            )
            if moved is None:
                return
            row = moved
        if row.settled_at is not None:
            return
        if shown.answer is not None:
            await self._answered(row, shown.answer, shown.end_proof)
        elif shown.is_unheard and not shown.is_busy and row.attempt < MAX_ATTEMPTS:
            await self._interrupted(row, shown.end_proof, self.paces.unheard)
        elif shown.failure is not None and not shown.is_busy:
            await self._moving.fail(row, ErrorCode.GATEWAY_REFUSED, shown.failure, proof=shown.end_proof)
        elif not shown.is_busy and self._is_old(row) and self._is_settled_in(gateway):
            waits = await methods.agent_wait(gateway, key, timeout_ms=0)
            if waits.status == "ok" and (words := words_of(waits.reply)):
                await self._answered(row, words, {"wait": _proof_of(waits)})
            elif waits.status == "error":
                reason = waits.error or waits.stop_reason or "its turn failed"
                proof = {"wait": _proof_of(waits)}
                await self._moving.fail(row, ErrorCode.GATEWAY_REFUSED, reason, proof=proof)
            else:
                await self._moving.settle(row, {"turn": "over", "wait": _proof_of(waits)})
        elif row.state is seen.state:
            await self._rest(row)

    async def _answered(self, row: MessageRow, text: str, proof: dict[str, Any]) -> None:
        if row.kind in ANSWERABLE:
            await self._moving.answer(row, text, proof)
            return
        # Before settling: after a crash in between, the text is processed again, which has no effect.
        if row.kind is MessageKind.ASK_USER and self._on_text is not None and row.to_agent_id is not None:
            await self._on_text(row.to_agent_id, text)
        await self._moving.settle(row, {"turn": "over"} | proof)

    # --- waiting ---

    async def _rest(self, seen: MessageRow) -> None:
        """Postpone the next lookup by half the time since the message's last change, within limits."""
        is_new = seen.state in (MessageState.SENT, MessageState.ACCEPTED)
        least, most = (self.paces.lookup_ms, LOOKUP_CAP_MS) if is_new else (self.paces.rest_ms, REST_CAP_MS)
        since_ms = max(0, self._moving.now() - seen.updated_at)
        await self._moving.postpone(seen, min(most, max(least, since_ms // 2)))

    def _is_old(self, seen: MessageRow) -> bool:
        return self._moving.now() - seen.updated_at >= self.paces.idle_ms

    def _is_settled_in(self, gateway: Gateway) -> bool:
        """Return True if a restarted gateway has had the time to resume interrupted turns."""
        return self._moving.now() - epoch_ms(gateway.health().since) >= self.paces.idle_ms

    def _again_ms(self, tries: int, again: Backoff | None = None) -> int:
        draw = self._chance.uniform(0.5, 1.0) if again is None else self._chance.uniform(0.9, 1.0)
        return round((again or self.paces.again).delay(max(0, tries - 1), draw) * 1_000)


def _news_of(row: MessageRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}
