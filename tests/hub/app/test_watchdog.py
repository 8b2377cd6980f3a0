"""What the beat of a whole hub stands for: that its database is read, and written."""

import socket
import threading
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import sqlalchemy as sa

from hub.app.hub import Hub
from hub.app.systemd import ServiceManager, Watchdog
from hub.supervisor import Service, Supervisor
from protocol.ids import BootId
from storage.devices import nodes
from storage.store import ObservedDatabase, open_store
from tests.hub.app.test_reload import grounded

PATIENCE_S = 30.0


async def test_a_database_that_takes_no_writes_any_more_ends_the_beat_though_it_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added: dict[str, Service] = {}
    add = Supervisor.add

    def keep(self: Supervisor, name: str, service: Service, **about: object) -> None:
        added[name] = service
        add(self, name, service, **about)  # type: ignore[arg-type]

    monkeypatch.setattr(Supervisor, "add", keep)
    writes, goes_on = threading.Event(), threading.Event()

    def stand_still(c: sa.Connection) -> None:
        writes.set()
        assert goes_on.wait(PATIENCE_S)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.setblocking(False)
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000000"})
        async with (
            grounded(tmp_path) as context,
            open_store("sqlite:///hub.db", base=tmp_path, boot_id=BootId("boot")) as store,
            AsyncExitStack() as resources,
        ):
            await Hub(replace(context, store=ObservedDatabase(store), manager=manager)).open(resources)
            watchdog = added["watchdog"]
            assert isinstance(watchdog, Watchdog)
            await watchdog.beat()
            assert heard.recv(100) == b"WATCHDOG=1"
            assert heard.recv(100).startswith(b"STATUS=")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.write, stand_still)
                assert await anyio.to_thread.run_sync(partial(writes.wait, PATIENCE_S))
                tasks.start_soon(watchdog.beat)
                await anyio.wait_all_tasks_blocked()
                await store.read(nodes.touch)  # after the watchdog's own
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(BlockingIOError):
                    heard.recv(100)
                goes_on.set()
            assert heard.recv(100) == b"WATCHDOG=1"
