"""Answers in sessions of gateways: sessions with events, and recovery of missed answers.

The sessions are filled by the readers of the sockets, and read by the courier. If too many sessions are
collected, the courier checks all messages instead, so that no event is lost.

If agents cannot reach the hub over HTTP, an answer is a line in the main agent's chat. It may come days after
the message with the question was settled. As long as a question of the gateway's boards is open, missed
events are replaced by reading the agent's history.
"""

from collections.abc import Mapping
from typing import Any, Final

from hub.clock import Clock
from hub.coordination.to_gateway import PAGES, ROWS, OnText
from hub.log import Channel
from hub.openclaw import Gateway, GatewayError, GatewayEvent, GatewayState, methods
from hub.openclaw.methods import History, Message
from storage.coordination import gateway_agents, gateways, question_rows
from storage.kernel.database import StorageError
from storage.store import Store

MOST: Final = 5_000  # limit of collected sessions
MOST_TEXTS: Final = 200  # limit of collected texts; a person's answer is also found in the history later
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
            if ANSWER in text and len(self._texts) < MOST_TEXTS:
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
SKEW_MS: Final = 600_000  # maximum difference between the gateway's clock and the hub's


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
            if gateway.health().state is GatewayState.READY:
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
        since = await self._store.read(question_rows.open_since, ids[0])
        main = await self._store.read(gateway_agents.find_main_agent, ids[0])
        if since is None or main is None or main.session_key is None:
            return
        for row in await self._texts(gateway, main.session_key, since - SKEW_MS):
            await self._on_text(main.agent_id, row.text)

    async def _texts(self, gateway: Gateway, session_key: str, since: int) -> list[Message]:
        """Return the agent's texts since then that may be answers, in order."""
        found: list[Message] = []
        offset: int | None = None
        for _ in range(PAGES):
            history: History = await methods.chat_history(gateway, session_key, limit=ROWS, offset=offset)
            texts = [row for row in history.messages if row.role == "assistant" and ANSWER in row.text]
            found = [*texts, *found]
            offset = history.next_offset
            oldest = history.messages[0].timestamp_ms if history.messages else None
            if offset is None or (oldest and oldest < since):
                break
        return found
