"""Sentences of the documents that the project was created from, and how each is driven on a real hub."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import anyio
import anyio.to_thread
import httpx2
import pytest
import sqlalchemy as sa
from anyio.abc import TaskGroup
from click.testing import CliRunner

from hub.api.device import Requests
from hub.app.coordination import Coordination
from hub.base.supervisor import Supervisor
from hub.cli.app import hub as command
from protocol.coordination import Response
from storage.agents import agents
from storage.agents.agents import AgentRow
from tests.support.gateway import FakeGateway, fake_gateway
from tests.support.hub import NOTES, InProcess, ServedHub, answering, listen, over_unix
from tests.support.identity import EndedLink
from tests.support.oracle import MODEL_NAME, Oracle
from tests.support.requests import request
from tests.support.requests import serving as answering_requests
from tests.support.wire import until

TICK_S, FAST = 0.005, 20  # with a gateway, time goes by so many times as fast
DOCUMENTS: Final = ("calendar", "coordination", "orchestrator", "foundation", "run log")
BODY_BYTES: Final = 1_000_000  # of a request: a whole object of an agent with its histories
OF_WALK: Final = {"paths": list(NOTES["paths"]), "data_types": ["tasks"], "prompt": "Find the tasks."}


class Walk:
    """A hub with the agent ``notes`` on the device ``desk``, asked by an operator, its device and SQL."""

    def __init__(
        self, hub: ServedHub, client: httpx2.AsyncClient, resources: AsyncExitStack, served: TaskGroup
    ) -> None:
        self.hub = hub
        self._served = served
        self._client = client
        self._resources = resources

    @property
    def coordination(self) -> Coordination:
        """Coordination of the hub."""
        part = self.hub.app.coordination
        assert isinstance(part, Coordination)
        return part

    async def gateway(self) -> FakeGateway:
        """Connect the hub to a gateway ``office``, and serve its coordination; time goes by from now on."""
        gateway = await self._resources.enter_async_context(fake_gateway("office", agents=()))
        (self.hub.folder / "gateway.token").write_text(gateway.token)
        await self.declare(
            f'[[gateways]]\nname = "office"\nurl = "{gateway.url}"\ntoken.file = "gateway.token"\n'
        )
        coordination = self.coordination
        tasks = await self._tasks()
        supervisor = Supervisor(clock=self.hub.clock, chance=self.hub.context.chance)
        coordination.add_to(supervisor)
        await tasks.start(supervisor.serve)
        await until(lambda: coordination.fleet.get("office").health().state == "ready")
        return gateway

    async def model(self, **traits: Any) -> Oracle:
        """Serve a model, which the hub asks; time goes by from now on."""
        oracle = Oracle(**traits)
        url = await (await self._tasks()).start(oracle.serve)
        await self.declare(f'[model]\nkind = "openai"\nbase_url = "{url}"\nname = "{MODEL_NAME}"\n')
        return oracle

    async def declare(self, text: str) -> None:
        """Append to hub.toml, and reload it."""
        with self.hub.settings.open("a") as settings:
            settings.write(text)
        await self.hub.context.watch_settings.reloader.reload(actor="test")

    async def _tasks(self) -> TaskGroup:
        """Return a task group that ends with the walk, in which time goes by."""
        tasks = await self._resources.enter_async_context(anyio.create_task_group())
        self._resources.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(self._pass_time)
        return tasks

    async def _pass_time(self) -> None:
        while True:
            await anyio.sleep(TICK_S)
            self.hub.clock.advance(TICK_S * FAST)

    async def get(self, path: str, **query: Any) -> Any:
        """Return the answer to a GET that succeeds."""
        return _done(await self._client.get(f"/v1/{path}", params=query))

    async def pages(self, path: str, of: str, **query: Any) -> list[Any]:
        """Return the items of all pages of a list; *of*: their key in the answers."""
        found, cursor = list[Any](), dict[str, str]()
        while True:
            page = await self.get(path, **query, **cursor)
            found += page[of]
            if page["next_cursor"] is None:
                return found
            cursor = {"cursor": page["next_cursor"]}

    async def post(self, path: str, body: Any = None) -> Any:
        """Return the answer to a POST that succeeds."""
        return _done(await self._client.post(f"/v1/{path}", json=body))

    async def put(self, path: str, body: Any) -> Any:
        """Return the answer to a PUT that succeeds."""
        return _done(await self._client.put(f"/v1/{path}", json=body))

    async def patch(self, path: str, body: Any) -> Any:
        """Return the answer to a PATCH that succeeds."""
        return _done(await self._client.patch(f"/v1/{path}", json=body))

    async def delete(self, path: str) -> None:
        """Send a DELETE that succeeds."""
        _done(await self._client.delete(f"/v1/{path}"))

    async def send(self, verb: str, path: str, body: Any = None) -> httpx2.Response:
        """Return the answer to a request, whatever it is."""
        return await self._client.request(verb, f"/v1/{path}", json=body)

    async def refused(self, verb: str, path: str, body: Any = None, *, status: int, says: str = "") -> None:
        """Send a request that is refused with this HTTP status and a text that contains *says*."""
        answer = await self.send(verb, path, body)
        assert (answer.status_code, says in answer.text) == (status, True), answer.text

    async def refusals(self, *asked: tuple[str, str, Any, int, str]) -> None:
        """Send requests, each refused: verb, path, body, HTTP status and a part of the text."""
        for verb, path, body, status, says in asked:
            await self.refused(verb, path, body, status=status, says=says)

    async def ask(self, method: str, **params: Any) -> Any:
        """Return the result of a request of the device ``desk``."""
        response = await self._ask(method, params)
        assert response.error is None, response.error
        return response.result

    async def ask_refused(self, method: str, *, says: str, **params: Any) -> None:
        """Send a request of the device that is refused with a text that contains *says*."""
        response = await self._ask(method, params)
        assert response.error is not None and says in response.error.message, response

    async def _ask(self, method: str, params: dict[str, Any]) -> Response:
        context = self.hub.context
        device = await self.hub.device("desk")
        link = EndedLink(device.id, user_id=device.user_id)
        asked = Requests(self.hub.resources, self.hub.store, clock=context.clock, metrics=context.metrics)
        asked.enqueue(request(link, "q", method, **params))
        async with answering_requests(asked):
            await until(lambda: bool(link.sent))
        (response,) = link.sent
        assert isinstance(response, Response)
        return response

    async def cli(self, *words: str) -> Any:
        """Return what a command prints with ``--json``, and check that it succeeds."""
        result = await self._run(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    async def text(self, *words: str) -> str:
        """Return what a command that succeeds prints for people."""
        result = await self._run(*words)
        assert result.exit_code == 0, result.output
        return str(result.output)

    async def cli_refused(self, *words: str, says: str) -> None:
        """Run a command that fails with a text that contains *says*."""
        result = await self._run(*words)
        assert result.exit_code and says in result.output, result.output

    async def _run(self, *words: str) -> Any:
        if isinstance(self.hub.listening, InProcess):
            await listen(self.hub, self._served, body_bytes=BODY_BYTES)
        given = ["--state", str(self.hub.folder), *words]
        return await anyio.to_thread.run_sync(lambda: CliRunner().invoke(command, given))

    async def sql(self, statement: str, **given: Any) -> list[Any]:
        """Execute a statement in a transaction of its own and return its rows."""

        def execute(c: sa.Connection) -> list[Any]:
            done = c.execute(sa.text(statement), given)
            return [tuple(row) for row in done] if done.returns_rows else []

        return await self.hub.store.write(execute)

    async def sql_refused(self, *statements: str, **given: Any) -> None:
        """Execute statements that a constraint of the database refuses."""
        for statement in statements:
            with pytest.raises(Exception, match=r"(?i)constraint"):
                await self.sql(statement, **given)

    async def agent(self, name: str = "notes") -> AgentRow:
        """Return the row of an agent."""
        return await self.hub.store.read(agents.agent_called, name, None)


class Sentence(NamedTuple):
    """A sentence of a document.

    Attributes:
        lives: columns, routes and commands of the hub that it became.
        changed: the reason where the hub decided otherwise; empty: it is kept.
    """

    document: str
    text: str
    lives: str
    changed: str
    drive: Callable[[Walk], Awaitable[None]]


SENTENCES: Final[list[Sentence]] = []
T = TypeVar("T")


class Document:
    """Decorator for the functions that drive the sentences of a document."""

    def __init__(self, name: str) -> None:
        assert name in DOCUMENTS
        self._name = name
        self._opened: dict[object, Callable[[Walk], Awaitable[None]]] = {}  # of several sentences each

    def after(
        self, opens: Callable[[Walk], Awaitable[T]], text: str, *, lives: str, changed: str = ""
    ) -> Callable[[Callable[[Walk, T], Awaitable[None]]], Callable[[Walk, T], Awaitable[None]]]:
        """Return a decorator like that of a call, for a function that is also given what *opens* returns."""

        def add(drive: Callable[[Walk, T], Awaitable[None]]) -> Callable[[Walk, T], Awaitable[None]]:
            async def opened(walk: Walk) -> None:
                await drive(walk, await opens(walk))

            opened.__name__ = drive.__name__
            self(text, lives=lives, changed=changed)(self._opened.setdefault(drive, opened))
            return drive

        return add

    def __call__(
        self, text: str, *, lives: str, changed: str = ""
    ) -> Callable[[Callable[[Walk], Awaitable[None]]], Callable[[Walk], Awaitable[None]]]:
        """Return a decorator that lists a function under the sentence that it drives."""

        def add(drive: Callable[[Walk], Awaitable[None]]) -> Callable[[Walk], Awaitable[None]]:
            SENTENCES.append(Sentence(self._name, text, lives, changed, drive))
            return drive

        return add


@asynccontextmanager
async def walking(folder: Path) -> AsyncIterator[Walk]:
    """Open a hub to walk on, with its state in *folder*; it listens from the first command on."""
    opening = answering(folder, body_bytes=BODY_BYTES)
    async with opening as hub, over_unix(hub) as client, AsyncExitStack() as resources:
        tasks = await resources.enter_async_context(anyio.create_task_group())
        resources.callback(tasks.cancel_scope.cancel)
        await tasks.start(hub.app.heartbeats.serve)
        yield Walk(hub, client, resources, tasks)


def _done(answer: httpx2.Response) -> Any:
    assert answer.is_success, f"{answer.status_code} {answer.text}"
    return answer.json() if answer.content else None
