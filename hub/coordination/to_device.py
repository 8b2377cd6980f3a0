"""Delivery of a message to an agent on a device of this hub.

A message is delivered when the device has stored it and answered. The call id is derived from the message's
id, and a device carries out a call once, so a repeated message is stored once. The answer of the agent or its
owner is the device's request ``messages.answer``.
"""

import hashlib
from typing import Any, Final

from hub.clock import Chance
from hub.coordination.message_transitions import Moving
from hub.links.link import DeviceLink
from hub.log import Channel
from protocol.backoff import Backoff
from protocol.errors import CATALOGUE, CallTimedOut, DeliveryError, DeviceGone, ErrorCode
from protocol.frame import ErrorBody, Record
from protocol.ids import CallId
from protocol.messages import MessageEvent, MessageState
from protocol.trace import traceparent_of
from protocol.work import Action, ToolCall
from storage.coordination.message_rows import MessageRow, MessageSight

log = Channel(__name__)

ANSWER_S: Final = 60.0
CLOSING_MS: Final = (
    1_000  # a closing connection may still be listed for a moment, and each attempt writes a row
)
AGAIN: Final = Backoff(base_s=5.0, cap_s=300.0)


class ToDevice:
    """Delivers messages to agents on devices."""

    def __init__(
        self, moving: Moving, *, chance: Chance, answer_s: float = ANSWER_S, again: Backoff = AGAIN
    ) -> None:
        """Set up the delivery.

        Args:
            answer_s: seconds that a device has to answer before the call is repeated.
        """
        self.answer_s = answer_s
        self._moving = moving
        self._chance = chance
        self._again = again

    async def bring(self, link: DeviceLink, seen: MessageSight) -> None:
        """Send the message once, and store the result."""
        if not link.can(Action.MESSAGE_DELIVER):
            reason = f"the device does not take messages: it does not list {Action.MESSAGE_DELIVER}"
            await self._moving.fail(seen, ErrorCode.CALL_UNSUPPORTED, reason)
            return
        wait_ms = round(self.answer_s * 1_000) + self._again_ms(seen.sends + 1)
        sent = await self._moving.move(seen, MessageEvent.SENT, after_ms=wait_ms, device_id=link.device_id)
        if sent is None:
            return
        frame = ToolCall(
            id=call_id_of(sent.id),
            action=Action.MESSAGE_DELIVER,
            data=message_data(seen),
            agent_id=seen.to_agent_id,
            deadline_ms=round(self.answer_s * 1_000),
            trace=traceparent_of(seen.trace_id, "message", seen.id),
        )
        try:
            answer = await link.call(frame)
        except DeviceGone as lost:
            if lost.dispatched:
                await self._moving.postpone(sent, CLOSING_MS)  # or as soon as the device reconnects
            else:
                await self._not_left(seen, sent, CLOSING_MS)
            return
        except CallTimedOut:
            await self._moving.postpone(sent, self._again_ms(sent.sends))
            return
        except DeliveryError:  # too many open calls, or a slow device: nothing was sent
            await self._not_left(seen, sent, self._again_ms(sent.sends))
            return
        if answer.error is None:
            proof: dict[str, Any] = {"device": link.device_id, "call": frame.id, "answer": answer.result}
            await self._moving.move(sent, MessageEvent.CONSUMED, proof=proof, settles=True)
        elif _may_change(answer.error):
            log.warning("message.device_refused", message_id=seen.id, code=answer.error.code)
            await self._moving.postpone(sent, self._again_ms(sent.sends))
        else:
            proof = {"device": link.device_id, "call": frame.id}
            await self._moving.fail(sent, answer.error.code, answer.error.message, proof=proof)

    async def _not_left(self, seen: MessageSight, sent: MessageRow, wait_ms: int) -> None:
        """Revert an attempt that was not sent; an earlier attempt may have arrived and is still valid."""
        if seen.state is MessageState.WAITING:
            await self._moving.move(sent, MessageEvent.TAKEN_BACK, after_ms=wait_ms)
        else:
            await self._moving.postpone(sent, wait_ms)

    def _again_ms(self, tries: int) -> int:
        return round(self._again.delay(max(0, tries - 1), self._chance.uniform(0.5, 1.0)) * 1_000)


def message_data(row: MessageSight) -> Record:
    """Return the data of a message sent to a device."""
    data: Record = {
        "message_id": row.id,
        "agent_id": row.to_agent_id,
        "kind": row.kind,
        "content": row.content,
        "board_id": row.board_id,
        "board": row.board,
        "from": row.from_agent,
        "correlation_id": row.correlation_id,
        "question_id": row.question_id,
        "reply_to": row.reply_to,
        "at_ms": row.created_at,
    }
    return {name: value for name, value in data.items() if value is not None}


def call_id_of(message_id: str) -> CallId:
    """Return the call id for a message; always the same."""
    digest = hashlib.blake2b(message_id.encode(), digest_size=16).hexdigest()
    return CallId(f"m-{digest}")


def _may_change(error: ErrorBody) -> bool:
    """Return True if the device may answer differently when the call is repeated."""
    if error.retryable:
        return True
    try:
        return CATALOGUE[ErrorCode(error.code)].retryable
    except ValueError:
        return False  # an error code that only the device knows
