"""Changes go one after the other, and nobody makes the others wait by being slow himself."""

import os
from pathlib import Path

import anyio
from starlette.types import Message, Receive, Scope, Send

from hub.api.door.access import PEER_UID, Access
from hub.links.hosts import Hosts
from tests.support.families import each
from tests.support.hub import over_unix, serving

SLOW = (
    b"PATCH /v1/devices/desk HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\n"
    b'if-match: *\r\ncontent-length: 16\r\n\r\n{"name":'
)


async def test_a_body_that_comes_slowly_holds_up_nobodys_change(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as hub,
        over_unix(hub) as client,
        await anyio.connect_unix(str(hub.listening.unix)) as slow,
    ):
        await slow.send(SLOW)
        await client.get("/v1/status")  # by now the slow one is being listened to
        with anyio.fail_after(3):
            changed = await client.patch("/v1/devices/desk", json={"name": "lab"}, headers={"if-match": "*"})
        await slow.send(b' "wall"}')
        late = await slow.receive()
    assert changed.status_code == 200
    assert late.startswith(b"HTTP/1.1 404 ")  # it was renamed meanwhile


async def test_a_client_that_disconnects_in_the_middle_of_a_body_changes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as hub, over_unix(hub) as client:
        await hub.run("r-1")
        async with await anyio.connect_unix(str(hub.listening.unix)) as gone:
            head = b"POST /v1/runs/r-1/cancel HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\n"
            await gone.send(head + b"content-length: 3\r\n\r\n{}")
        assert (await client.get("/v1/runs/r-1")).json()["state"] == "QUEUED"


class Slow:
    """An application whose first change takes until it is let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_go_on = anyio.Event()
        self._access = Access(self._change, hosts=Hosts(), body_bytes=10)

    async def ask(self, method: str, path: str) -> None:
        """Ask it, as the hub's own user does, without a tag."""

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            return

        said = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
        await self._access(said | {"client": None, "state": {PEER_UID: os.getuid()}}, receive, send)

    async def _change(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        if len(self.begun) == 1:
            await self.may_go_on.wait()


@each(
    ("method", "path", "waits"),
    [
        ("PATCH", "/v1/devices/0197", True),  # of the same thing, perhaps, by another name
        ("POST", "/v1/devices/desk/revoke", True),
        ("GET", "/v1/devices/desk", False),
        ("PATCH", "/v1/config", False),
        ("POST", "/v1/agents/notes/pause", False),
        ("POST", "/v1/invitations", False),
    ],
)
async def test_between_looking_and_changing_nobody_else_changes_a_thing_of_that_kind(
    method: str, path: str, waits: bool
) -> None:
    slow = Slow()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow.ask, "PATCH", "/v1/devices/desk")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(slow.ask, method, path)
        await anyio.wait_all_tasks_blocked()
        meanwhile = slow.begun[1:]
        slow.may_go_on.set()
    assert (meanwhile, slow.begun) == ([] if waits else [path], ["/v1/devices/desk", path])


async def test_a_device_that_answers_an_estimate_drop_by_drop_holds_up_no_edit_of_an_agent() -> None:
    slow = Slow()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow.ask, "POST", "/v1/agents/notes/estimate")
        await anyio.wait_all_tasks_blocked()
        await slow.ask("PATCH", "/v1/agents/notes")
        assert slow.begun[1:] == ["/v1/agents/notes"]
        slow.may_go_on.set()


@each(
    ("method", "path", "waits"),
    [
        ("PATCH", "/v1/boards/lawn", True),
        ("POST", "/v1/boards/roses/agents", True),
        ("POST", "/v1/connectors/mail/test", False),
        ("POST", "/v1/boards/roses/agents/notes/nudge", False),
        ("POST", "/v1/boards/roses/lead/message", False),
        ("POST", "/v1/boards/roses/lead/ensure", False),
        ("POST", "/v1/boards/roses/ask-user", False),
        ("PUT", "/v1/boards/roses/agents/notes/soul", False),
        ("POST", "/v1/boards/roses/memory", False),
    ],
)
async def test_what_waits_for_an_agent_holds_up_no_change_and_is_held_up_by_none(
    method: str, path: str, waits: bool
) -> None:
    for first, then in (
        (("PATCH", "/v1/boards/roses"), (method, path)),
        ((method, path), ("PATCH", "/v1/boards/lawn")),
    ):
        slow = Slow()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slow.ask, *first)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(slow.ask, *then)
            await anyio.wait_all_tasks_blocked()
            meanwhile = slow.begun[1:]
            slow.may_go_on.set()
        assert meanwhile == ([] if waits else [then[1]])
