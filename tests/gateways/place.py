"""Where a scene plays: a gateway, the model behind it, and a hub that is connected to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2

from tests.evaluation.figures import Told
from tests.gateways.rig import RealGateway, real_gateway
from tests.gateways.scripted_model import ScriptedModel, scripted_model
from tests.gateways.software import Software
from tests.gateways.witness import History
from tests.support.processes import HubProcess
from tests.support.programs import free_port

NAME: Final = "west"
DEAD: Final = "east"  # nobody listens there, until a scene lets somebody
PATIENCE_S: Final = 300.0  # restarts of the gateway on a busy machine, each with the hub's backoff behind it
_POLL_S: Final = 0.2
_SETTINGS: Final = """\
[hub]
name = "check"
[listen.devices]
address = "127.0.0.1:0"
[listen.operator]
address = "127.0.0.1:{operator}"
[coordination]
reply_url = "http://127.0.0.1:{operator}"
[[gateways]]
name = "{name}"
url = "{url}"
token = {{ file = "{token}" }}
[[gateways]]
name = "{dead}"
url = "ws://127.0.0.1:{dead_port}"
token = {{ file = "{token}" }}
"""


class Place:
    """All of it. What a scene makes has a name of its own, so that scenes follow each other in one place."""

    def __init__(self, software: Software, folder: Path, model: ScriptedModel, tell: Told) -> None:
        self.software = software
        self.folder = folder
        self.model = model
        self.tell = tell
        self.gateway: RealGateway
        self.hub: HubProcess
        self.operator_url = ""
        self.dead_port = free_port()
        self.tokens: list[str] = []  # of agents
        self._made = 0

    def open_hub(self) -> HubProcess:
        """A hub that knows the gateway, and one where nobody is; it is not started."""
        folder = self.folder / "hub"
        folder.mkdir(mode=0o700)
        token = folder / "gateway.token"
        token.touch(mode=0o600)
        token.write_text(self.gateway.token)
        port = free_port()
        self.operator_url = f"http://127.0.0.1:{port}"
        settings = _SETTINGS.format(
            operator=port,
            name=NAME,
            url=self.gateway.url,
            token=token,
            dead=DEAD,
            dead_port=self.dead_port,
        )
        return HubProcess(folder, settings=settings)

    async def mend(self) -> None:
        """Gateway and hub run and are connected, whatever the scene before has left."""
        for program in (self.gateway, self.hub):
            if program.process is None or program.process.returncode is not None:
                await program.start()
        self.model.outage = None

        async def connected() -> bool | None:
            return True if (await self.do("GET", f"/v1/gateways/{NAME}"))["state"] == "ready" else None

        await until(connected, PATIENCE_S, lambda: f"never connected: {self.hub.log()[-3000:]}")

    def word(self, base: str) -> str:
        """A name that was not used before here."""
        self._made += 1
        return f"{base}-{self._made}"

    # --- the hub, as an operator asks it ---

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None
    ) -> httpx2.Response:
        """One request: over the Unix socket, or with an agent's *token* over the network."""
        if token is None:
            return await self.hub.ask(method, path, json=body)
        async with httpx2.AsyncClient(base_url=self.operator_url, timeout=150) as client:
            return await client.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})

    async def do(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        """The JSON of an answer that must be a success."""
        answer = await self.ask(method, path, body, token=token)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def board(self, *workers: str, gateway: str = NAME) -> dict[str, Any]:
        """A board served by a gateway, with new agents of the one that is there on it."""
        body = {"name": self.word("board"), "gateway": gateway}
        made: dict[str, Any] = await self.do("POST", "/v1/boards", body)
        for worker in workers:
            await self.worker(worker)
            await self.do("POST", f"/v1/boards/{made['id']}/agents", {"agent": worker})
        return made

    async def worker(self, name: str) -> None:
        """An agent that the gateway has of its own, known to the hub too."""

        async def listed() -> bool | None:
            return True if name in await witness.agents() else None

        async with self.gateway.witness() as witness:
            await witness.ask("agents.create", name=name, workspace=str(self.gateway.workspace(name)))
            await until(listed, PATIENCE_S)
        await self.do("POST", f"/v1/gateways/{NAME}/agents", {"name": name, "remote_id": name})
        await self.lives(name)

    async def lives(self, name: str) -> dict[str, Any]:
        """The hub's agent, once the hub and the gateway itself say that it is there."""

        async def look() -> dict[str, Any] | None:
            gateway = await self.do("GET", f"/v1/gateways/{NAME}")
            found = [one for one in gateway["members"] if one["agent"] == name and one["state"] == "ready"]
            return found[0] if found else None

        found: dict[str, Any] = await until(
            look, PATIENCE_S, lambda: f"{name} is not there: {self.hub.log()[-3000:]}"
        )
        async with self.gateway.witness() as witness:
            assert found["remote_id"] in await witness.agents()
        return found

    async def main_agent(self) -> str:
        """The name of the gateway's main agent, once it is there."""

        async def look() -> str | None:
            name: str | None = (await self.do("GET", f"/v1/gateways/{NAME}"))["main_agent"]
            return name

        name: str = await until(look, PATIENCE_S)
        await self.lives(name)
        return name

    async def session(self, agent: str) -> str:
        """The main session of an agent, as the gateway calls it."""
        return f"agent:{(await self.lives(agent))['remote_id']}:main"

    async def token_of(self, agent: str) -> str:
        """A fresh token of an agent."""
        made = await self.do("POST", f"/v1/agents/{agent}/tokens", {})
        self.tokens.append(made["token"])
        return str(made["token"])

    async def message(self, id: str) -> dict[str, Any]:
        """A message with all its moves."""
        found: dict[str, Any] = await self.do("GET", f"/v1/messages/{id}")
        return found

    async def message_in(self, id: str, *states: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """The message, once it is in one of *states*. The hub may be killed and back meanwhile."""

        async def look() -> dict[str, Any] | None:
            try:
                found = await self.message(id)
            except (httpx2.TransportError, OSError):
                return None
            return found if found["state"] in states else None

        shown: dict[str, Any] = await until(
            look, within_s, lambda: f"message {id} never was {states}: {self.hub.log()[-3000:]}"
        )
        return shown

    async def soul_is(self, path: str, content: str) -> None:
        """Until the soul is *content*, where the agent lives."""

        async def look() -> bool | None:
            answer = await self.ask("GET", path)
            return True if answer.is_success and answer.json()["content"] == content else None

        await until(look, PATIENCE_S, lambda: f"the soul never was {content!r}: {self.hub.log()[-3000:]}")

    # --- the gateway, as it shows itself ---

    async def history(self, session: str) -> History:
        """What the gateway shows of a session."""
        async with self.gateway.witness() as witness:
            return await witness.history(session)


async def until(
    look: Callable[[], Awaitable[Any]], within_s: float, complain: Callable[[], str] = lambda: "it never came"
) -> Any:
    """What *look* gives as soon as it gives something.

    Raises:
        AssertionError: nothing came within *within_s*.
    """
    with anyio.move_on_after(within_s):
        while True:
            found = await look()
            if found is not None:
                return found
            await anyio.sleep(_POLL_S)
    raise AssertionError(complain())


@asynccontextmanager
async def gateway_place(software: Software, folder: Path, tell: Told) -> AsyncIterator[Place]:
    """A place with a gateway that runs, and no hub yet."""
    async with scripted_model() as model:
        place = Place(software, folder, model, tell)
        async with real_gateway(software, folder / "gateway", model) as place.gateway:
            yield place
