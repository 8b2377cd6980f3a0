"""The hub's client and a real OpenClaw gateway, told of by OPENCLAW_GATEWAY_URL and OPENCLAW_GATEWAY_TOKEN.

It may be somebody's own: one agent is made there, told one short message, and removed again. What
needs a gateway that may be stopped, and a model that does as it is told, is ``make gateway-check``.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.clock import IdFactory, SystemChance, SystemClock
from hub.openclaw import FileConflict, Gateway, GatewayRefused, GatewayState, Need, methods
from protocol.coordination import SOUL_FILE, QueueMode
from tests.gateways.clients import client
from tests.gateways.place import until

URL, TOKEN = (os.environ.get(f"OPENCLAW_GATEWAY_{name}", "") for name in ("URL", "TOKEN"))
LISTED_WITHIN_S = 30.0
READ_WITHIN_S = 120.0  # its model may be slow, or have none: the message is in its history either way

pytestmark = pytest.mark.skipif(
    not (URL and TOKEN), reason="needs a real gateway: OPENCLAW_GATEWAY_URL, OPENCLAW_GATEWAY_TOKEN"
)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with client(URL, TOKEN, tmp_path, []) as connected:
        await connected.ready(60)
        yield connected


@pytest.fixture
async def agent(gateway: Gateway) -> AsyncIterator[str]:
    """One that nobody else uses; its name sorts it to this test."""
    name = f"hub-check-{IdFactory(SystemClock(), SystemChance()).fresh()}"
    made = await methods.create_agent(gateway, name)

    async def listed() -> bool | None:
        return True if (await methods.agents_list(gateway)).find(made.agent_id) else None

    try:
        await until(listed, LISTED_WITHIN_S)
        yield made.agent_id
    finally:
        asked = {"agentId": made.agent_id, "deleteFiles": True}
        await gateway.call("agents.delete", asked, needs=Need.ADMIN)


async def test_the_hub_is_let_in_with_no_more_scopes_than_it_asks_for(gateway: Gateway) -> None:
    health = gateway.health()
    assert health.state is GatewayState.READY
    assert health.boot_id and health.version
    assert set(health.scopes) == {"operator.read", "operator.write"}


async def test_what_a_gateway_refuses_is_told_by_its_structure(gateway: Gateway) -> None:
    with pytest.raises(GatewayRefused) as refused:
        await methods.file_get(gateway, "nobody-has-this-agent", SOUL_FILE)
    assert not refused.value.retryable


async def test_a_soul_is_never_written_over_one_that_was_not_read(gateway: Gateway, agent: str) -> None:
    read = await methods.file_get(gateway, agent, SOUL_FILE)
    first = await methods.file_set(gateway, agent, SOUL_FILE, "one\n", expected_hash=read.hash)
    with pytest.raises(FileConflict) as conflict:
        await methods.file_set(gateway, agent, SOUL_FILE, "two\n", expected_hash=read.hash)
    assert conflict.value.current_hash == first.hash
    assert (await methods.file_get(gateway, agent, SOUL_FILE)).content == "one\n"


async def test_a_message_stands_in_its_agents_history_under_its_own_key(gateway: Gateway, agent: str) -> None:
    key, session = f"{agent}-1", f"agent:{agent}:main"
    mode = QueueMode.FOLLOWUP
    for _ in range(2):  # said again under its key, it is said once
        ack = await methods.chat_send(gateway, session, "Say yes.", key=key, queue_mode=mode)
        assert ack.run_id == key

    async def read() -> list[str] | None:
        shown = await methods.chat_history(gateway, session, limit=100)
        return None if shown.place(key) is None else [row.key or "" for row in shown.messages]

    assert (await until(read, READ_WITHIN_S)).count(f"{key}:user") == 1
