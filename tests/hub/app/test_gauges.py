"""Numbers that nobody counts as they change."""

import math
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from hub.app.hub import EVERY_S, Gauges
from hub.clock import epoch_ms
from hub.log import Channel
from hub.metrics import Metrics
from hub.runs.disk import DiskGuard
from protocol.ids import ConnectionId, KeyId, PairingId
from storage import audit
from storage.devices import pairings
from storage.devices.pairings import PairingAsk
from storage.store import Store, open_store
from tests.support.clock import FakeClock
from tests.support.log import opened_log
from tests.support.services import running

log = Channel("hub.somewhere")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store("sqlite:///hub.db", base=tmp_path) as opened:
        yield opened


async def ask_to_be_let_in(store: Store, clock: FakeClock) -> None:
    asking = PairingAsk(
        id=PairingId("p-1"),
        code_hash=b"code",
        known_code_hash=None,
        key_id=KeyId("k-1"),
        public_key=b"key",
        label="desk",
        platform="linux",
        network="192.0.2.7",
        connection_id=ConnectionId("c-1"),
    )
    at = epoch_ms(clock.now())
    await store.write(pairings.ask, asking, at=at, expires_at=at + 600_000, most=50, most_per_network=3)


async def test_database_disk_and_backup_are_looked_up_again_and_again(store: Store, tmp_path: Path) -> None:
    clock, metrics = FakeClock(), Metrics()
    value = metrics.registry.get_sample_value
    disk = DiskGuard(tmp_path, clock=clock)
    with opened_log() as opened:
        gauges = Gauges(store=store, clock=clock, metrics=metrics, log=opened.log, disk=disk)
        assert math.isnan(value("hub_disk_free_bytes") or 0.0), "nobody has looked yet"
        async with running(gauges):
            disk.check()
            with anyio.fail_after(5):
                while not value("hub_db_size_bytes"):
                    await clock.pass_time(EVERY_S)
            assert value("hub_backup_last_success_timestamp_seconds") == 0
            assert value("hub_review_queue_items") == 0
            await store.write(audit.append, at=1_767_604_442_000, actor="hub", event="backup.made")
            with anyio.fail_after(5):
                while value("hub_backup_last_success_timestamp_seconds") != 1_767_604_442:
                    await clock.pass_time(EVERY_S)
            assert value("hub_pairing_pending") == 0
            await ask_to_be_let_in(store, clock)  # which of the hubs on a database took it is all the same
            with anyio.fail_after(5):
                while value("hub_pairing_pending") != 1:
                    await clock.pass_time(EVERY_S)
    assert (value("hub_db_size_bytes") or 0) > 100_000
    assert (value("hub_db_wal_bytes") or 0) > 0
    assert (value("hub_disk_free_bytes") or 0) > 0


async def test_what_the_log_did_not_write_is_counted(store: Store, tmp_path: Path) -> None:
    clock, metrics = FakeClock(), Metrics()
    with opened_log() as opened:
        Gauges(
            store=store,
            clock=clock,
            metrics=metrics,
            log=opened.log,
            disk=DiskGuard(tmp_path, clock=clock),
        )
        for _ in range(25):
            log.info("a.b")
        assert metrics.registry.get_sample_value("hub_log_suppressed_total") == 15
        assert metrics.registry.get_sample_value("hub_log_dropped_total") == 0
