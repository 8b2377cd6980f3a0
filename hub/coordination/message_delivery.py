"""Delivery of messages to agents on devices, follow-up of open messages, and missed answers.

A message to an agent on a device is delivered when the device has stored it and answered. The call id is
derived from the message's id, and a device carries out a call once, so a repeated message is stored once. The
answer of the agent or its owner is the device's request ``messages.answer``.

A message is a row; this module decides which rows are processed, and when. Due rows are read in pages, a few
of each gateway and of the devices. So an unreachable gateway costs nothing, and a gateway that never answers
does not delay other messages. All open messages of a gateway are checked again after it reconnects, and at
the start of this hub.

Answers in sessions of gateways: sessions with events, and recovery of missed answers.

The sessions are filled by the readers of the sockets, and read by the courier. If too many sessions are
collected, the courier checks all messages instead, so that no event is lost.

If agents cannot reach the hub over HTTP, an answer is a line in the main agent's chat. It may come days after
the message with the question was settled. As long as a question of the gateway's boards is open, missed
events are replaced by reading the agent's history.
"""

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from hub.base.clock import Chance, Clock, IdFactory
from hub.base.log import Channel
from hub.base.metrics import Metrics
from hub.base.periodic_loop import PeriodicLoop
from hub.coordination.gateway_delivery import MAX_ROWS, PAGES, GatewayDelivery, OnText, PollIntervals, older
from hub.coordination.message_transitions import (
    EnsureLead,
    Listener,
    MessageTransitions,
    RecipientDirectory,
    is_delivered_or_over,
)
from hub.links.device_link import DeviceLink
from hub.openclaw import Fleet, Gateway, GatewayError, GatewayEvent, NewsLost, NewsQueue, Reconnected, methods
from hub.openclaw.methods import History, TranscriptMessage
from protocol.agent_messages import MessageEvent, MessageState
from protocol.backoff import Backoff
from protocol.errors import CATALOGUE, CallTimedOut, DeliveryError, ErrorCode, HubError, LinkLost
from protocol.frame import ErrorBody, Record
from protocol.ids import BootId, CallId, DeviceId, GatewayId, traceparent_of
from protocol.tool_calls import Action, ToolCall
from storage.coordination import gateway_agents, gateways, message_rows, messages, questions
from storage.coordination.message_rows import MessageRow, MessageSight, UnknownMessage
from storage.kernel.database import StorageError
from storage.store import Store

MOST: Final = 5_000  # limit of collected sessions
MAX_TEXTS: Final = 200  # limit of collected texts; a person's answer is also found in the history later
ANSWER: Final = "ANSWER "  # prefix of a line in which a main agent reports a person's answer
_ENDS: Final = ("final", "error", "aborted")
_PHASES: Final = ("start", "end", "error")


class ActiveSessions:
    """Events collected since the last read."""

    def __init__(self) -> None:
        self._sessions: dict[str, set[str]] = {}  # by gateway's name
        self._count = 0
        self._texts: list[tuple[str, str, str]] = []
        self.is_too_much = False

    def observe(self, event: GatewayEvent) -> bool:
        """Collect one event. Return True if the courier should check because of it."""
        payload = event.payload
        if not isinstance(payload, Mapping) or not isinstance(session := payload.get("sessionKey"), str):
            return False
        if not _is_news(event.name, payload):
            return False
        if event.name == "chat" and payload.get("state") == "final":
            text = _text(payload.get("message"))
            if ANSWER in text and len(self._texts) < MAX_TEXTS:
                self._texts.append((event.gateway, session, text))
        known = self._sessions.setdefault(event.gateway, set())
        if session not in known:
            if self._count >= MOST:
                self.is_too_much = True
                return True
            known.add(session)
            self._count += 1
        return True

    def take_sessions(self) -> dict[str, set[str]]:
        """Return and clear the collected sessions, by gateway's name."""
        taken, self._sessions, self._count = self._sessions, {}, 0
        return taken

    def take_texts(self) -> list[tuple[str, str, str]]:
        """Return and clear the texts that may be answers, as gateway, session and text."""
        taken, self._texts = self._texts, []
        return taken


def _is_news(name: str, payload: Mapping[str, Any]) -> bool:
    if name == "chat":
        return payload.get("state") in _ENDS
    data = payload.get("data")
    return (
        name == "agent"
        and payload.get("stream") == "lifecycle"
        and isinstance(data, Mapping)
        and data.get("phase") in _PHASES
    )


def _text(message: Any) -> str:
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))


log = Channel(__name__)

AGAIN_S: Final = 30.0  # after an error of the gateway or the database


class MissedAnswers:
    """Gateways whose histories must be read, and the reading."""

    def __init__(self, store: Store, *, on_text: OnText | None, clock: Clock) -> None:
        self._store = store
        self._on_text = on_text
        self._clock = clock
        self._due: dict[str, float] = {}  # gateways with the monotonic time at which they are due

    def schedule(self, name: str) -> None:
        """Schedule a read of the gateway's history, because events may have been missed."""
        self._due[name] = self._clock.monotonic()

    def take_due(self) -> list[str]:
        """Return and remove the gateways that are due; the caller reads their histories."""
        now = self._clock.monotonic()
        due = [name for name, since in self._due.items() if since <= now]
        for name in due:
            del self._due[name]
        return due

    async def read(self, gateway: Gateway) -> None:
        """Process missed answers. Postpone it if the gateway or the database fails."""
        try:
            if gateway.health().state == "ready":
                await self._read(gateway)
        except (GatewayError, StorageError) as exc:
            log.info("question.looked_for_later", gateway=gateway.name, code=exc.code)
            self._due.setdefault(gateway.name, self._clock.monotonic() + AGAIN_S)
        except Exception as exc:  # the caller must survive any error
            log.error("question.broke", exc=exc)

    async def _read(self, gateway: Gateway) -> None:
        ids = [row.id for row in await self._store.read(gateways.list_gateways) if row.name == gateway.name]
        if not ids or self._on_text is None:
            return
        since = await self._store.read(questions.open_since, ids[0])
        main = await self._store.read(gateway_agents.find_main_agent, ids[0])
        if since is None or main is None or main.session_key is None:
            return
        for row in await self._texts(gateway, main.session_key, since):
            await self._on_text(main.agent_id, row.text)

    async def _texts(self, gateway: Gateway, session_key: str, since: int) -> list[TranscriptMessage]:
        """Return the agent's texts since then that may be answers, in order."""
        found: list[TranscriptMessage] = []
        offset: int | None = None
        for _ in range(PAGES):
            history: History = await methods.chat_history(gateway, session_key, limit=MAX_ROWS, offset=offset)
            texts = [row for row in history.messages if row.role == "assistant" and ANSWER in row.text]
            found = [*texts, *found]
            offset = older(history, since)
            if offset is None:
                break
        return found


ANSWER_S: Final = 60.0
CLOSING_MS: Final = (
    1_000  # a closing connection may still be listed for a moment, and each attempt writes a row
)
AGAIN: Final = Backoff(base_s=5.0, cap_s=300.0)


class DeviceDelivery:
    """Delivers messages to agents on devices."""

    def __init__(self, moving: MessageTransitions, *, chance: Chance) -> None:
        self._moving = moving
        self._chance = chance

    async def bring(self, link: DeviceLink, seen: MessageSight) -> None:
        """Send the message once, and store the result."""
        if not link.can(Action.MESSAGE_DELIVER):
            reason = f"the device does not take messages: it does not list {Action.MESSAGE_DELIVER}"
            await self._moving.fail(seen, ErrorCode.CALL_UNSUPPORTED, reason)
            return
        wait_ms = round(ANSWER_S * 1_000) + self._again_ms(seen.sends + 1)
        sent = await self._moving.move(seen, MessageEvent.SENT, after_ms=wait_ms, device_id=link.device_id)
        if sent is None:
            return
        frame = ToolCall(
            id=call_id_of(sent.id),
            action=Action.MESSAGE_DELIVER,
            data=message_data(seen),
            agent_id=seen.to_agent_id,
            deadline_ms=round(ANSWER_S * 1_000),
            trace=traceparent_of(seen.trace_id, "message", seen.id),
        )
        try:
            answer = await link.call(frame)
        except LinkLost as lost:
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
        return round(AGAIN.delay(max(0, tries - 1), self._chance.uniform(0.5, 1.0)) * 1_000)


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


POLL_S: Final = 1.0  # while a message is open: another hub may have added or settled one
REST_S: Final = 30.0  # while no message is open; the sender wakes the courier
MIN_S: Final = 0.02  # minimum between two rounds, so that wake-ups in between are handled together
PER_GATEWAY: Final = 16  # messages in progress per gateway
AT_DEVICES: Final = 200  # messages in progress at all devices together
PAGE: Final = 100  # rows per read, for messages without a home or past their time
SESSIONS: Final = 200  # per read
DEVICES: Final = 500  # per statement
LATER_MS, LATER_CAP_MS = 2_000, 60_000  # delay before a message is retried whose gateway could not be reached
NOT_READY_MS: Final = 5_000  # delay before a retry for an agent that its gateway has not created yet
UNKNOWN_MS: Final = 24 * 3_600_000  # time during which the fate of a sent message is investigated
AGAIN_MS: Final = 60_000  # between two lookups
_REASON: Final = "its time was over before its agent had it"
_MAYBE_DELIVERED: Final = (MessageState.SENT, MessageState.ACCEPTED, MessageState.QUEUED)


class Links(Protocol):
    """The devices connected to this hub; implemented by ``hub.links.roster.Roster``."""

    def find(self, device_id: DeviceId) -> DeviceLink | None: ...

    def connected(self) -> Sequence[DeviceLink]: ...


class MessageDeliveryService:
    """Delivers and follows all messages; ``MessageTransitions`` writes their state changes."""

    def __init__(
        self,
        store: Store,
        *,
        fleet: Fleet,
        links: Links,
        clock: Clock,
        chance: Chance,
        ids: IdFactory,
        metrics: Metrics,
        boot_id: BootId,
        on_text: OnText | None = None,
        held_s: Callable[[str], float] = lambda _: 0.0,
        ensure_lead: EnsureLead | None = None,
        paces: PollIntervals | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        """Set up the service of this boot of the hub.

        Args:
            on_text: receives chat texts of a gateway's main agent that may have a person's answer.
            held_s: returns the seconds for which letters to a gateway must wait.
            ensure_lead: creates the lead of a board at its gateway; None: no lead is created.
            paces, poll_s: intervals; tests use shorter ones.
        """
        self.loop = PeriodicLoop(clock)
        self.moving = MessageTransitions(store, clock=clock, ids=ids, metrics=metrics)
        self.homes = RecipientDirectory(store, self.moving, ensure_lead)
        self.to_gateway = GatewayDelivery(
            store,
            self.moving,
            clock=clock,
            chance=chance,
            boot_id=boot_id,
            on_text=on_text,
            held_s=held_s,
            paces=paces,
        )
        self.to_device = DeviceDelivery(self.moving, chance=chance)
        self._store = store
        self._fleet = fleet
        self._links = links
        self._clock = clock
        self._mine = messages.Hand(boot_id, is_alone=not store.is_shared)
        self._on_text = on_text
        self._poll_s = poll_s
        self._in_flight: dict[str, str] = {}  # message -> name of its gateway, or "devices"
        self._once_more: set[str] = set()  # messages in progress that have had an event meanwhile
        self._sessions = ActiveSessions()
        self._devices_back: set[DeviceId] = set()
        self._is_any_open = True  # at the last round
        self._missed = MissedAnswers(store, on_text=on_text, clock=clock)
        self._is_first = True
        self.moving.listen(lambda row: self.kick())

    def kick(self) -> None:
        """Wake the loop, because a message may be due."""
        self.loop.wake()

    def device_ready(self, device_id: DeviceId) -> None:
        """Check all open messages of the agents of a device that has connected.

        Without an open message there are no attempts that the device might have missed.
        """
        if self._is_any_open:
            self._devices_back.add(device_id)
            self.kick()

    def listen(self, listener: Listener) -> None:
        """Register a listener, see ``MessageTransitions.listen``."""
        self.moving.listen(listener)

    async def settled_or(self, message_id: str, wait_s: float) -> MessageRow:
        """Return the message once it is delivered or has ended, or its state after *wait_s*.

        Raises:
            UnknownMessage: no message has this id.
        """
        self.kick()
        return await self.moving.wait_for(message_id, wait_s, is_delivered_or_over)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Process messages until cancelled. Interrupted work is resumed from the rows."""
        inbox = NewsQueue()
        end_listening = self._fleet.listen(inbox.enqueue)
        self._is_first = True
        self._in_flight.clear()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen, inbox)
                task_status.started()
                await self.loop.serve(
                    partial(self._poll, tasks), of="messages", every_s=self._poll_s, least_s=MIN_S
                )
        finally:
            end_listening()

    # --- due messages ---

    async def _begin(self) -> None:
        """Release the messages that an earlier boot was processing; other hubs' are left alone."""
        for gateway in self._fleet.list():
            self._missed.schedule(gateway.name)
        if not self._store.is_shared:
            await self._store.write(messages.release_all, self._mine.boot_id, self.moving.now())

    async def _poll(self, tasks: TaskGroup) -> float:
        """Start processing due messages. Return the seconds until the next round."""
        if self._is_first:
            await self._begin()
            self._is_first = False
        at = self.moving.now()
        ids = {row.name: row.id for row in await self._store.read(gateways.list_gateways)}
        ready = {
            gateway.name: gateway
            for gateway in self._fleet.list()
            if gateway.health().state == "ready" and gateway.name in ids
        }
        for name in self._missed.take_due():
            if name in ready:  # otherwise checked when it reconnects
                tasks.start_soon(self._missed.read, ready[name])
        await self._expire(tasks, ready, at)
        await self._stirred(tasks, ready, ids)
        for name, gateway in ready.items():
            if (free := self._free(name, PER_GATEWAY)) > 0:
                due = await self._store.read(
                    messages.due_at_gateway, ids[name], self._mine, at=at, most=free + PER_GATEWAY
                )
                for seen in [seen for seen in due if seen.id not in self._in_flight][:free]:
                    self._start_bringing(tasks, name, seen, self._at_gateway, gateway)
        await self._poll_devices(tasks, at)
        if (free := self._free("", PER_GATEWAY)) > 0:
            for seen in await self._store.read(messages.due_nowhere, self._mine, at=at, most=PAGE):
                if seen.id not in self._in_flight and (free := free - 1) >= 0:
                    self._start_bringing(tasks, "", seen, self._nowhere)
        self._is_any_open, soonest = await self._store.read(messages.next_due, at)
        if not self._is_any_open:
            return REST_S
        until_s = self._poll_s if soonest is None else max(0.0, (soonest - self.moving.now()) / 1_000)
        return min(self._poll_s, until_s)

    async def _poll_devices(self, tasks: TaskGroup, at: int) -> None:
        if back := list(self._devices_back):
            await self._store.write(messages.stir_devices, back, at)
            self._devices_back.difference_update(back)
        links = {link.device_id: link for link in self._links.connected()}
        connected = list(links)
        for start in range(0, len(connected), DEVICES):
            if (free := self._free("devices", AT_DEVICES)) <= 0:
                return
            due = await self._store.read(
                messages.due_at_devices,
                connected[start : start + DEVICES],
                at=at,
                most=free + len(self._in_flight),
            )
            for seen in [seen for seen in due if seen.id not in self._in_flight][:free]:
                if seen.home_device_id is not None and (link := links.get(seen.home_device_id)) is not None:
                    self._start_bringing(tasks, "devices", seen, self._at_device, link)

    async def _stirred(self, tasks: TaskGroup, ready: dict[str, Gateway], ids: dict[str, GatewayId]) -> None:
        """Process the messages in whose sessions an event occurred."""
        if self._sessions.is_too_much:
            self._sessions.is_too_much = False
            for gateway_id in ids.values():
                await self._store.write(messages.stir, gateway_id, self.moving.now())
        for name, sessions in self._sessions.take_sessions().items():
            if name not in ready:
                continue  # checked again when it reconnects
            named = sorted(sessions)
            for start in range(0, len(named), SESSIONS):
                part = named[start : start + SESSIONS]
                for seen in await self._store.read(
                    messages.stirred, ids[name], part, self._mine, most=SESSIONS
                ):
                    if seen.id in self._in_flight:
                        self._once_more.add(seen.id)
                    elif self._free(name, PER_GATEWAY) > 0:
                        self._start_bringing(tasks, name, seen, self._at_gateway, ready[name])
                    else:
                        await self._store.write(messages.make_due, seen.id, self.moving.now())

    def _free(self, whose: str, most: int) -> int:
        return most - Counter(self._in_flight.values())[whose]

    # --- processing one message ---

    def _start_bringing(
        self,
        tasks: TaskGroup,
        whose: str,
        seen: MessageSight,
        bring: Callable[..., Awaitable[None]],
        *over: object,
    ) -> None:
        self._in_flight[seen.id] = whose
        tasks.start_soon(self._bring, seen, bring, *over)

    async def _bring(self, seen: MessageSight, bring: Callable[..., Awaitable[None]], *over: object) -> None:
        """Take one step with one message. Errors affect only this message."""
        try:
            try:
                await bring(seen, *over)
            except StorageError:
                raise
            except GatewayError as error:
                await self._later(seen, error, error.retry_after_ms or 0)
            except UnknownMessage:
                pass  # its user was removed
            except HubError as error:
                await self._later(seen, error, 0)
            except Exception as exc:
                log.error("message.broke", exc=exc, message_id=seen.id)
                await self._later(seen, None, LATER_CAP_MS)
            if seen.id in self._once_more:
                await self._store.write(messages.make_due, seen.id, self.moving.now())
        except StorageError as exc:  # the row has the time of the next attempt
            log.error("message.database", exc=exc, message_id=seen.id)
        finally:
            self._once_more.discard(seen.id)
            self._in_flight.pop(seen.id, None)
            self.kick()

    async def _later(self, seen: MessageSight, error: HubError | None, least_ms: int) -> None:
        """Postpone a message after an error; the delay grows with the time it has waited."""
        if error is not None:
            log.warning("message.put_off", message_id=seen.id, state=seen.state, code=error.code)
        row = await self._store.read(message_rows.find_message, seen.id)
        if row is None or row.settled_at is not None:
            return
        since_ms = max(0, self.moving.now() - row.updated_at)
        await self.moving.postpone(row, max(least_ms, min(LATER_CAP_MS, max(LATER_MS, since_ms // 2))))

    async def _at_gateway(self, seen: MessageSight, gateway: Gateway) -> None:
        known = seen
        if seen.to_agent_id is None or seen.is_removed or seen.home_gateway_id != seen.gateway_id:
            if seen.state is not MessageState.WAITING:
                await self._lost_home(seen)
                return
            found = await self.homes.settle(seen)
            if found is None or found.home_gateway_id != seen.gateway_id or seen.to_agent_id is None:
                return  # its home has changed; processed there in its turn
            known = found
        if known.remote_state != "ready" and known.state is MessageState.WAITING:
            made = await self.homes.made_ready(known)
            if made is None or made.remote_state != "ready":
                await self.moving.postpone(known, NOT_READY_MS)
                return
            known = made
        await self.to_gateway.bring(gateway, known)

    async def _at_device(self, seen: MessageSight, link: DeviceLink) -> None:
        await self.to_device.bring(link, seen)

    async def _nowhere(self, seen: MessageSight) -> None:
        if seen.state is MessageState.WAITING:
            await self.homes.settle(seen)
        else:
            await self._lost_home(seen)

    async def _lost_home(self, seen: MessageSight) -> None:
        """End a message whose agent was removed or moved while the message was on its way."""
        if seen.state is MessageState.CONSUMED:
            await self.moving.settle(seen, {"turn": "over", "agent": "gone"})
            return
        reason = "its agent was removed, or moved, while the message was on its way"
        await self.moving.fail(seen, ErrorCode.UNKNOWN_AGENT, reason)

    # --- expiry ---

    async def _expire(self, tasks: TaskGroup, ready: dict[str, Gateway], at: int) -> None:
        for seen in await self._store.read(messages.expiring, self._mine, at=at, most=PAGE):
            if seen.id not in self._in_flight:
                self._start_bringing(tasks, "expiring", seen, self._end_overdue, ready)

    async def _end_overdue(self, seen: MessageSight, ready: Mapping[str, Gateway]) -> None:
        """End a message past its time, or postpone the decision while its delivery is unknown.

        Args:
            ready: the connected gateways by name.

        Raises:
            GatewayError: the message's gateway is unreachable; the caller retries later.
        """
        if seen.state is MessageState.CONSUMED:
            await self.moving.settle(seen, {"turn": "not over when the time of the message was"})
        elif seen.state not in _MAYBE_DELIVERED:
            await self.moving.move(seen, MessageEvent.EXPIRED, reason=_REASON)
        elif (row := await self._last_row(seen, ready)) is not None:
            if row.state in _MAYBE_DELIVERED:
                await self.moving.move(row, MessageEvent.EXPIRED, reason=_REASON)
        elif self.moving.now() < seen.expires_at + UNKNOWN_MS:
            await self.moving.postpone(seen, AGAIN_MS)
        else:
            reason = "its time is over, and what became of it could not be found out"
            await self.moving.fail(seen, ErrorCode.UNKNOWN_EFFECT, reason)

    async def _last_row(self, seen: MessageSight, ready: Mapping[str, Gateway]) -> MessageRow | None:
        """Return the message's row after a last lookup, or None if the lookup is not possible."""
        gateway = ready.get(seen.gateway or "")
        link = None if seen.home_device_id is None else self._links.find(seen.home_device_id)
        if gateway is not None and seen.session_key is not None:
            try:
                return await self.to_gateway.last_lookup(gateway, seen)
            except GatewayError:
                if self.moving.now() < seen.expires_at + UNKNOWN_MS:
                    raise
                return None  # a session that is refused permanently must not block for ever
        if link is not None:
            await self.to_device.bring(link, seen)
            return await self._store.read(message_rows.get_message, seen.id)
        return None

    # --- gateway events ---

    async def _listen(self, inbox: NewsQueue) -> None:
        while True:
            news = await inbox.get()
            try:
                match news:
                    case GatewayEvent():
                        if self._sessions.observe(news):
                            self.kick()
                            await self._report_texts()
                    case Reconnected(gateway=name):
                        await self._recheck(name)
                    case NewsLost():
                        await self._recheck(None)
                    case _:
                        self.kick()
            except Exception as exc:  # the loop must survive any error
                log.error("message.broke", exc=exc)

    async def _recheck(self, name: str | None) -> None:
        """Check all open messages of one or all gateways, because events may have been missed."""
        for row in await self._store.read(gateways.list_gateways):
            if name in (None, row.name):
                self._missed.schedule(row.name)
                await self._store.write(messages.stir, row.id, self.moving.now())
        self.kick()

    async def _report_texts(self) -> None:
        """Report chat text of main agents that may have a person's answer."""
        texts = self._sessions.take_texts()
        try:
            for name, session_key, text in texts:
                await self._report_text(name, session_key, text)
        except BaseException:
            for name, *_ in texts:  # unprocessed texts are read from the history later
                self._missed.schedule(name)
            raise

    async def _report_text(self, name: str, session_key: str, text: str) -> None:
        if self._on_text is None:
            return
        for row in await self._store.read(gateways.list_gateways):
            if row.name == name:
                agent = await self._store.read(gateway_agents.find_by_session, row.id, session_key)
                if agent is not None:
                    await self._on_text(agent.agent_id, text)
