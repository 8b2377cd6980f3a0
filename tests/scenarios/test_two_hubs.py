"""Two hubs on one PostgreSQL: one is frozen past its leases, starved or ahead, or ends."""

import os
import signal
from pathlib import Path

import pytest

from tests.scenarios import why
from tests.scenarios.fires import EVERY_5_S, each_was_decided_once
from tests.scenarios.scene import are_there_once, check_boxes, rows
from tests.scenarios.two_hubs import TTL_S, Side, two_hubs
from tests.support.nats import Nats
from tests.support.pgbouncer import running_pgbouncer, why_no_pgbouncer
from tests.support.postgres import Postgres

FILES, PLANTED = check_boxes(12, each=1)
FIRES = "SELECT 1 FROM schedule_fires"
LED_BY_ANOTHER = "SELECT 1 FROM leases WHERE name = 'scheduler' AND fence > 1"
BOTH_CONNECTED = "SELECT 1 FROM devices HAVING count(boot_id) = 2"
AHEAD_S = 7_200
# of schedules whose newest fire is of the last seconds by the server's clock
FIRING = """\
SELECT 1 FROM (SELECT max(fire_at) AS newest FROM schedule_fires GROUP BY schedule_id) AS fires
WHERE newest BETWEEN extract(epoch FROM clock_timestamp()) * 1000 - 10000
AND extract(epoch FROM clock_timestamp()) * 1000 + 1000 HAVING count(*) = 2"""
TAKEN_OVER = "SELECT 1 FROM run_state_history WHERE reason = 'hub_restart'"


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("decide:1:before", id="about to decide", marks=pytest.mark.soak),
        pytest.param("decide:1:after", id="about to commit", marks=pytest.mark.soak),
    ],
)
async def test_each_fire_is_decided_once_when_the_leader_freezes_past_the_lease(
    tmp_path: Path, postgres: Postgres, moment: str
) -> None:
    async with two_hubs(tmp_path, postgres, east=("--freeze-at", moment), schedule=EVERY_5_S) as hubs:
        await hubs.east.has_frozen()
        assert hubs.sql(FIRES) == []
        await hubs.until(LED_BY_ANOTHER)
        await hubs.until(FIRES)
        hubs.east.thaw()
        await hubs.east.hub.says("no longer held under fence")
        await hubs.east.hub.says("scheduler.deposed")
        await hubs.until(f"{FIRES} GROUP BY schedule_id HAVING count(*) > 1")

        assert each_was_decided_once(hubs.sql) > 0
        await hubs.until("SELECT 1 FROM runs HAVING bool_and(state = 'COMPLETED')")


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("send:1:before", id="when it hands out a run", marks=pytest.mark.soak),
        pytest.param("send:8:before", id="when it sends a call", marks=pytest.mark.soak),
    ],
)
async def test_hub_with_a_starved_loop_keeps_the_lease_of_the_run(
    tmp_path: Path, postgres: Postgres, moment: str
) -> None:
    starved = ("--starve-at", moment, "--starve-s", str(2 * TTL_S))
    async with two_hubs(tmp_path, postgres, east=starved) as hubs:
        for name, text in FILES.items():
            hubs.east.device.write(name, text)
        run = await hubs.east.hub.ended(await hubs.east.hub.start_run("east"))

        assert (run["state"], run["outcome"], hubs.sql(TAKEN_OVER)) == ("COMPLETED", "success", [])
        are_there_once(hubs.east.items(), PLANTED)


@pytest.mark.soak
@pytest.mark.skipif(why_no_pgbouncer() is not None, reason="no PgBouncer on this machine")
async def test_two_hubs_behind_pgbouncer_deliver_and_count_each_item_once(
    tmp_path: Path, postgres: Postgres
) -> None:
    with running_pgbouncer(postgres, connections=4) as address:
        async with two_hubs(tmp_path, postgres, pgbouncer=address) as hubs:
            sides = (hubs.east, hubs.west)
            for side in sides:
                for name, text in FILES.items():
                    side.device.write(name, text)
            started = [await side.hub.start_run(side.name) for side in sides]
            for side, run_id in zip(sides, started, strict=True):
                run = await side.hub.ended(run_id)

                assert (run["state"], run["outcome"]) == ("COMPLETED", "success")
                are_there_once(side.items(), PLANTED)

            await hubs.until("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM runs WHERE measured_at IS NULL)")
            for side in sides:
                listed = (await side.hub.get("/v1/metrics/series"))["series"]
                whole = {(one["name"], *one["tags"].values()): one["whole"] for one in listed}
                assert (whole["hub.runs", "success"], whole["hub.items", "created"]) == (2, 2 * len(PLANTED))
                devices = [one["whole"] for one in listed if one["name"] == "hub.node_devices"]
                assert len(devices) == 2, "of each hub its own"


@pytest.mark.soak
async def test_verdicts_of_a_killed_hub_are_delivered_once_where_the_device_reconnects(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with two_hubs(tmp_path, postgres, roams=True, grants=["+review.remote"]) as hubs:
        for name, text in FILES.items():
            hubs.east.device.write(name, text)
        await hubs.east.hub.ended(await hubs.east.hub.start_run("east"))
        listed = (await hubs.west.hub.get("/v1/items"))["items"]
        assert len(listed) == len(PLANTED)

        async def give(verdict: str, side: Side, items: list[dict[str, str]]) -> None:
            given = [{"id": item["id"], "verdict": verdict} for item in items]
            await side.hub.post("/v1/items/verdicts", {"verdicts": given})

        await give("approve", hubs.west, listed[:4])  # the device is at the other hub
        await hubs.until("SELECT 1 FROM item_verdicts WHERE state <> 'pending'")
        os.kill(hubs.east.hub.pid, signal.SIGSTOP)  # some are brought, some sent, the others pending
        await give("reject", hubs.west, listed[4:])
        await hubs.east.hub.kill()
        settled = "SELECT 1 FROM item_verdicts HAVING count(*) = 12 AND bool_and(state = 'done')"
        await hubs.until(settled, within_s=60.0)

        done = "SELECT count(*), count(DISTINCT call_id) FROM calls WHERE action = 'review.apply'"
        assert rows(hubs.east.device.db, done) == [(12, 12)]
        assert rows(hubs.east.device.db, "SELECT count(*), sum(isApproved) FROM tasks") == [(4, 4)]
        verdicts = "SELECT verdict, count(*) FROM items GROUP BY verdict ORDER BY verdict"
        assert hubs.sql(verdicts) == [("approved", 4), ("rejected", 8)]


@pytest.mark.soak
async def test_device_of_a_dead_hub_is_shown_as_disconnected(tmp_path: Path, postgres: Postgres) -> None:
    async with two_hubs(tmp_path, postgres) as hubs:
        west = hubs.west.hub
        await hubs.until(BOTH_CONNECTED)
        assert (await west.get("/v1/status"))["devices_connected"] == 2
        await hubs.east.hub.kill()
        await hubs.until("SELECT 1 FROM devices WHERE name = 'east' AND boot_id IS NULL", within_s=3 * TTL_S)

        connected = {one["name"]: one["connected"] for one in (await west.get("/v1/devices"))["devices"]}
        assert connected == {"east": False, "west": True}
        assert (await west.get("/v1/status"))["devices_connected"] == 1
        agents = {one["name"]: one for one in (await west.get("/v1/agents"))["agents"]}
        assert [agents[side]["device_connected"] for side in ("east", "west")] == [False, True]
        assert [agents[side]["connectivity"] for side in ("east", "west")] == ["offline", "online"]


@pytest.mark.soak
@pytest.mark.parametrize("has_model", [False, True], ids=["by rules", "by a model"])
async def test_each_hub_explains_a_planted_sentence_alike_with_and_without_the_device(
    tmp_path: Path, postgres: Postgres, nats: Nats, has_model: bool
) -> None:
    with postgres.database() as url:
        shared = f'[storage]\nurl = "{url}"\n[cluster]\nbus = "{nats.url}"\n'
        play = await (
            why.by_model(tmp_path / "state", 1, shared)
            if has_model
            else why.by_rules(tmp_path / "state", 1, 2, shared)
        )
        assert why.wrong_in([play]) == 0


async def test_devices_with_a_single_address_reconnect_to_the_other_hub_after_the_end_of_their_hub(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with two_hubs(tmp_path, postgres, names_addresses=True) as hubs:

        async def all_are_at(side: Side) -> None:
            node = (tmp_path / side.name / "node_id").read_text().split()[0]
            boot = f"(SELECT boot_id FROM nodes WHERE id = '{node}')"
            await hubs.until(f"SELECT 1 FROM devices HAVING bool_and(COALESCE(boot_id, '') = {boot})")

        for side in (hubs.east, hubs.west):  # its row is written before its hub tells it the addresses
            await side.device.reports("connected as ")
        await hubs.west.hub.kill()
        await all_are_at(hubs.east)
        await hubs.west.hub.start()
        await hubs.east.hub.stop()  # whose own device was never told of the west before
        await all_are_at(hubs.west)


@pytest.mark.soak
async def test_hub_with_a_clock_ahead_stops_no_other_hub_of_the_database(
    tmp_path: Path, postgres: Postgres
) -> None:
    ahead = tmp_path / "ahead"
    ahead.write_text(str(AHEAD_S))
    async with two_hubs(tmp_path, postgres, east=("--clock-file", str(ahead)), schedule=EVERY_5_S) as hubs:
        await hubs.until(FIRING)  # decided in the east
        assert "clock.wrong" in str(await hubs.east.hub.get("/v1/issues?anew=true"))
        assert "clock.wrong" not in str(await hubs.west.hub.get("/v1/issues?anew=true"))
        ahead.write_text("0")
        await hubs.east.hub.kill()
        await hubs.until(LED_BY_ANOTHER)
        await hubs.until(FIRING)
        assert each_was_decided_once(hubs.sql) > 1
