"""The whole way: a hub asks a device, its browser goes to the provider and back, the hub has the grant."""

from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from hub.api.device import DeferredResponse, requests_of
from hub.api.resource import ResourceRegistry
from hub.api.resources.connectors import ConnectorsResource
from hub.base.clock import SystemClock
from hub.device.sign_in import Browser
from protocol.coordination import Method, Response
from protocol.errors import HubError
from protocol.frame import ErrorBody, Parameters
from protocol.tool_calls import Action, Answer, ToolCall
from storage.connectors import connectors
from tests.hub.accounts.bench import Bench, bench

pytestmark = pytest.mark.anyio


class Wire:
    """A device's link at the hub and its line at the device, in one."""

    device_id = "desk"

    def __init__(self, b: Bench, user_id: str) -> None:
        self.user_id = user_id
        self.bench = b
        self.told: list[str] = []
        self.browser = Browser(SystemClock(), self.told.append)
        hub = ResourceRegistry(b.store, b.clock)
        hub.add(ConnectorsResource(b.store, b.accounts, b.sign_ins, clock=b.clock))
        self.methods = requests_of(hub, b.store)

    def can(self, capability: str) -> bool:
        return capability == Action.BROWSER_OPEN

    async def call(self, frame: ToolCall) -> Answer:
        return await self.browser.done(frame)

    async def request(self, method: Method, params: Parameters) -> Response:
        link: Any = self
        try:
            later = await self.methods[method].answer(link, params)
            assert isinstance(later, DeferredResponse)
            return Response(id="r", result=dict(await later.answer()))
        except HubError as error:
            body = ErrorBody(code=error.code, message=str(error), retryable=error.retryable)
            return Response(id="r", error=body)


async def test_a_person_signs_in_with_the_browser_of_a_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The provider of this test is on this machine, where no device looks for one.
    monkeypatch.setattr("hub.device.sign_in.why_not_shown", lambda url: None)
    async with bench(tmp_path, clock=SystemClock()) as b:
        row = await b.store.read(connectors.get_connector, "work")
        wire: Any = Wire(b, row.user_id)
        b.links.append(wire)
        pages: list[httpx2.Response] = []

        async def person() -> None:
            async with httpx2.AsyncClient(follow_redirects=True, timeout=20) as browser:
                pages.append(await browser.get(wire.told[0].rpartition(" ")[2]))

        async with anyio.create_task_group() as tasks:
            begun = await b.sign_ins.begin("work", actor="me")
            assert begun.way == "device"
            tasks.start_soon(person)
            tasks.start_soon(wire.browser.serve, wire)
            while not pages:  # noqa: ASYNC110 - a thread answers
                await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()
        assert "Signed in" in pages[0].text
        assert (await b.sign_ins.find(begun.id)).outcome == "done"
        assert b.op.is_good(await b.token())
