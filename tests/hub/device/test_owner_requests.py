"""Links to the hub's pages, over a socket with a path and over a port of this machine."""

import socket
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_thread
import msgspec
import pytest

from hub.base.system.files import is_open_to_others
from hub.device.connection import HubConnection
from hub.device.owner_requests import PageReply, ask_link, serve_links
from protocol.coordination import Response
from tests.support.clock import SeededChance

LINK: dict[str, Any] = {
    "path": "/login#abc",
    "host": "hub.example.org",
    "port": 8771,
    "tls": True,
}


class _Line:
    async def request(self, *_: Any) -> Response:
        return Response(id="1", result=LINK)


async def asked(file: anyio.Path) -> PageReply:
    return await anyio.to_thread.run_sync(ask_link, Path(file))


@pytest.mark.parametrize("has_paths", [True, False])
async def test_owner_gets_a_link_while_the_device_is_connected(
    has_paths: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_paths:
        monkeypatch.delattr(socket, "AF_UNIX", raising=False)
    elif not hasattr(socket, "AF_UNIX"):
        pytest.skip("this system has no sockets with a path")
    file = anyio.Path(tmp_path / "desk.sock")
    with pytest.raises(OSError):
        await asked(file)
    async with anyio.create_task_group() as tasks:
        address, chance = "ws://hub.example.org:8770", SeededChance()
        tasks.start_soon(serve_links, Path(file), cast(HubConnection, _Line()), address, "key", chance)
        await anyio.wait_all_tasks_blocked()
        assert not is_open_to_others(Path(file))
        assert await asked(file) == PageReply(link="https://hub.example.org:8771/login#abc")
        if not has_paths:
            known = msgspec.json.decode(await file.read_bytes())
            await file.write_bytes(msgspec.json.encode(known | {"secret": "0" * len(known["secret"])}))
            assert "try again" in (await asked(file)).problem
            await file.write_bytes(b"nonsense")
            with pytest.raises(OSError, match="names no port"):
                await asked(file)
        tasks.cancel_scope.cancel()
    assert not await file.exists()
