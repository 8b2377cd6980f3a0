"""The device in TypeScript at a real hub: pairing, runs, verdicts, and kills of either process."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from tests.scenarios.scene import Scene, are_there_once, check_boxes, scene, write
from tests.support.clock import SeededChance
from tests.support.node_device import NodeDevice, needs_node
from tests.support.processes import POLL_S

pytestmark = [needs_node, pytest.mark.slow]  # a hub and Node as processes
BOXES, TITLES = check_boxes(4)


@asynccontextmanager
async def connecting(
    folder: Path, token: str | None = None, **options: Any
) -> AsyncIterator[tuple[Scene, NodeDevice]]:
    """Start a hub, and a device in TypeScript; with a key of its own if *token* is empty."""
    async with scene(folder, BOXES) as play:
        play.device = device = NodeDevice(
            folder, play.wire.url, await play.hub.token() if token is None else token, **options
        )
        play.also(device)
        if token is not None:  # whoever is paired under the name of a revoked device is that device
            await play.hub.post("/v1/devices/desk/revoke")
        await device.start()
        yield play, device


async def paired(play: Scene, device: NodeDevice) -> None:
    """Type the code that the device shows, and wait until it is let in."""
    (shown,) = await device.happens("pairing")
    (waiting,) = (await play.hub.get("/v1/pairings"))["pairings"]
    assert waiting["fingerprint"] == shown["keyId"]
    await play.hub.post("/v1/pairings/approve", {"code": shown["code"]})
    await device.happens("connected")


async def verdicts(play: Scene, expected: dict[str, str]) -> None:
    """Wait until the hub has these verdicts, by title."""
    found: dict[str, str] = {}
    with anyio.move_on_after(20):
        while found != expected:
            items = (await play.hub.get("/v1/items?limit=100"))["items"]
            found = {item["title"]: item["verdict"] for item in items if item["title"] in expected}
            await anyio.sleep(POLL_S)
    assert found == expected


async def test_device_is_paired_reads_keeps_items_once_and_reports_verdicts(tmp_path: Path) -> None:
    async with connecting(tmp_path, token="") as (play, device):
        await paired(play, device)
        run = await play.hub.ended(await play.hub.start_run())
        assert (run["outcome"], run["units_done"]) == ("success", len(BOXES))
        await device.happens("suggestion", len(TITLES))
        suggestions = await device.does("suggestions")
        are_there_once((one["row"]["title"] for one in suggestions), TITLES)
        assert {one["source"]["provenance"]["origin"] for one in suggestions} == {"own"}

        assert await device.does("request", "unsubscribe", {"events": []}) == {
            "events": []
        }  # asks if it lives
        assert await device.does("request", "tea.make") == "unknown_method"
        await play.restart_device()
        await device.happens("connected", 2)
        ids = {one["row"]["title"]: one["id"] for one in await device.does("suggestions")}
        first, second, third, *_ = TITLES
        assert await device.does("approve", ids[first]) is None
        assert await device.does("edit", ids[second], {"priority": "high"}) is None
        assert await device.does("edit", ids[second], {"priority": "soon"}) == "bad_record"
        assert await device.does("reject", ids[third]) is None
        assert await device.does("reject", ids[third]) == "database_conflict"
        assert await device.does("reject", ids[first]) == "bad_record"
        await verdicts(play, {first: "approved", second: "edited", third: "rejected", TITLES[3]: "open"})

        run = await play.hub.ended(await play.hub.start_run())
        assert (run["outcome"], run["items_created"], run["units_skipped"]) == ("success", 0, len(BOXES))
        assert await device.stop() == 0
        assert device.events("closed")[-1][0]["code"] == 1000


async def test_programs_read_files_of_the_granted_folders_alone(tmp_path: Path) -> None:
    async with connecting(tmp_path, fileGrants=["notes"]) as (play, device):
        await device.happens("connected")
        (tmp_path / "notes" / ".hidden.md").write_text("hidden")
        (tmp_path / "notes" / "long.md").write_text("# Plan\n" + f"{'a€𝄞' * 10}\n" * 1_000)
        (tmp_path / "notes" / "way.md").symlink_to(tmp_path / "hub.toml")
        calls = "/v1/devices/desk/calls"
        assert (await play.hub.post(f"{calls}/list-files", {}))["folders"] == ["notes"]
        page = await play.hub.post(f"{calls}/list-files", {"folder": "notes", "limit": 2})
        rest = await play.hub.post(f"{calls}/list-files", {"folder": "notes", "cursor": page["next_cursor"]})
        paths = [one["path"] for one in (*page["files"], *rest["files"])]
        assert (
            paths == sorted([*(f"notes/{name}" for name in BOXES), "notes/long.md"])
            and rest["next_cursor"] is None
        )
        text, offset = "", 0
        for _ in range(3):
            asked = {"path": "notes/long.md", "offset": offset, "lines": 2_000}
            part = await play.hub.post(f"{calls}/read-file", asked)
            text, offset = text + part["content"], part["next_offset"] or offset
            if part["next_offset"] is None:
                break
        assert text == (tmp_path / "notes" / "long.md").read_text()
        second = await play.hub.post(f"{calls}/read-file", {"path": "notes/long.md", "line": 2, "lines": 1})
        assert (second["content"], second["offset"], second["line"]) == (f"{'a€𝄞' * 10}\n", 7, 2)
        assert (await device.happens("read"))[0]["path"] == "notes/long.md"
        for path in ("notes/.hidden.md", "notes/way.md", "notes/no.md"):
            refused = await play.hub.ask("POST", f"{calls}/read-file", json={"path": path})
            assert refused.json()["code"] == "unknown_file", refused.text


@pytest.mark.soak
async def test_device_with_an_invitation_connects_without_pairing(tmp_path: Path) -> None:
    async with scene(tmp_path, BOXES) as play:
        await play.hub.post("/v1/devices/desk/revoke")
        made = await play.hub.post("/v1/invitations", {"device": "desk"})
        device = NodeDevice(tmp_path, play.wire.url, invitation=made["token"])
        play.also(device)
        await device.start()
        await device.happens("connected")
        await play.kill_hub()
        (lost,) = await device.happens("disconnected")
        assert lost["waitMs"] <= 500
        await play.start_hub()
        await device.happens("connected", 2)


KILLS = 14
LIVES_S = (0.0, 1.2)
EVERY_S = 0.2
FINAL = ("COMPLETED", "FAILED", "CANCELLED")


class Work:
    """Files that come and runs over them, until *is_over*."""

    def __init__(self, play: Scene) -> None:
        self.play = play
        self.titles: list[str] = []
        self.is_over = False

    async def write_files(self) -> None:
        for number in count():
            if self.is_over:
                return
            titles = [f"Task {number:04}-{box}" for box in range(3)]
            write(self.play.folder, {f"page{number:04}.md": "".join(f"- [ ] {title}\n" for title in titles)})
            self.titles += titles
            await anyio.sleep(EVERY_S)

    async def order_runs(self) -> None:
        while not self.is_over:
            with suppress(httpx2.TransportError, httpx2.HTTPStatusError, OSError):  # the hub is dead just now
                await self.order()
            await anyio.sleep(EVERY_S)

    async def order(self) -> None:
        """Start a run of the agent, unless it has one."""
        (agent,) = (await self.play.hub.get("/v1/agents"))["agents"]
        if agent["last_run"] is None or agent["last_run"]["state"] in FINAL:
            await self.play.hub.start_run()


async def settled(play: Scene) -> None:
    """Wait until the run that was ordered last has ended, and another one after it."""
    for run in (await play.hub.get("/v1/runs"))["runs"]:
        await play.hub.ended(run["id"])
    run = await play.hub.ended(await play.hub.start_run())
    assert (run["state"], run["outcome"]) == ("COMPLETED", "success"), run


@pytest.mark.soak
@pytest.mark.parametrize("ends", [["hub", "device"], ["device"], ["hub"]], ids="-".join)
async def test_no_item_is_lost_or_doubled_while_either_side_is_killed(
    tmp_path: Path, ends: Sequence[str]
) -> None:
    chance = SeededChance(len(ends))
    async with scene(tmp_path, {}) as play:
        play.device = device = NodeDevice(tmp_path, play.wire.url, await play.hub.token())
        play.also(device)
        work = Work(play)
        (tmp_path / "notes").mkdir(exist_ok=True)
        await device.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work.write_files)
            tasks.start_soon(work.order_runs)
            for number in range(KILLS):
                await anyio.sleep(chance.uniform(*LIVES_S))
                if ends[number % len(ends)] == "hub":
                    await play.kill_hub()
                    await play.start_hub()
                else:
                    await play.restart_device()
            work.is_over = True
        await play.has_connected(within_s=70)  # a device that was thrown off so often waits up to a minute
        await settled(play)
        are_there_once((row["row"]["title"] for row in device.kept()), work.titles)
        assert len(work.titles) > KILLS
