"""Recovery of people's answers that a main agent wrote while the hub was not connected.

If agents cannot reach the hub over HTTP, an answer is a line in the main agent's chat. It may come days after
the message with the question was settled. As long as a question of the gateway's boards is open, missed
events are replaced by reading the agent's history.
"""

from typing import Final

from hub.clock import Clock
from hub.coordination.active_sessions import ANSWER
from hub.coordination.gateway_history import PAGES, ROWS
from hub.coordination.to_gateway import OnText
from hub.log import Channel
from hub.openclaw import Gateway, GatewayError, GatewayState, methods
from hub.openclaw.methods import History, Message
from storage.coordination import gateway_agents, gateways, question_rows
from storage.kernel.database import StorageError
from storage.store import Store

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
