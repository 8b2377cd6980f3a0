"""Sessions of gateways with events that may affect a message, and texts that may be answers.

Filled by the readers of the sockets, and read by the courier. If too many sessions are collected, the courier
checks all messages instead, so that no event is lost.
"""

from collections.abc import Mapping
from typing import Any, Final

from hub.openclaw import GatewayEvent

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
