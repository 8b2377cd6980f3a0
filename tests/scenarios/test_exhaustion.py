"""A quota that is used up, from the refusal on the wire to the end of the run that waited for it."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.scenarios.scene import Scene, are_there_once, rows, scene, sentences
from tests.support.hub_ahead import AheadHub
from tests.support.oracle import Fault, Oracle
from tests.support.processes import POLL_S

LETTERS, TITLES = sentences(1)
RUN_HISTORY = [
    *("QUEUED", "PREPARING", "RUNNING", "PAUSED"),
    *("QUEUED", "PREPARING", "RUNNING", "COMPLETED"),
]
STATE = """
    SELECT availability, exhaust_reason, exhausted_at, recovery_at, probe_at, exhaust_count FROM agent_states
"""
HISTORY = """
    SELECT new_value, reason, actor FROM agent_state_history WHERE axis = 'availability' ORDER BY seq
"""


async def time_goes_to(play: Scene, seconds: float) -> None:
    """It is so many seconds later, and the device, which slept through it, connects anew."""
    assert isinstance(play.hub, AheadHub)
    await play.device.kill()
    with anyio.fail_after(30):
        while (await play.hub.get("/v1/status"))["devices_connected"]:
            await anyio.sleep(POLL_S)
    play.hub.set_ahead(seconds)
    await play.device.start()


def state(play: Scene) -> tuple[Any, ...]:
    """The agent's availability, reason, since, until, probe and how often in a row."""
    (row,) = rows(play.folder / "hub.db", STATE)
    return row


@pytest.mark.soak
@pytest.mark.parametrize(("requested_s", "paused_s"), [(300, 300), (1e308, 86_400), (4_070_908_800, 86_400)])
async def test_a_429_pauses_the_run_until_retry_after_within_a_day_and_to_the_second(
    tmp_path: Path, requested_s: float, paused_s: int
) -> None:
    oracle = Oracle().play(Fault.RATE_LIMIT)
    oracle.retry_after_s = requested_s
    async with scene(tmp_path, LETTERS, oracle=oracle, kind=AheadHub) as play:
        await play.device.start()
        run_id = await play.hub.start_run()

        paused = await play.comes_to(run_id, "PAUSED")
        availability, reason, since, until, probe, times = state(play)
        assert (availability, reason, probe, times) == ("exhausted", "rate_limit", None, 1)
        assert until - since == paused_s * 1_000
        assert paused["waiting_for"].startswith("model's quota is used up; tried again at ")

        await time_goes_to(play, paused_s + 1)
        run = await play.hub.ended(run_id)

        assert run["outcome"] == "success"
        assert [move["after"] for move in run["history"]] == RUN_HISTORY
        assert state(play) == ("available", None, None, None, None, 0)  # forgiven: the model answered
        told = rows(play.folder / "hub.db", HISTORY)
        assert [(value, actor) for value, _, actor in told] == [("exhausted", "hub"), ("available", "hub")]
        assert (told[0][1][:10], told[1][1]) == ("rate_limit", "recovered")
        assert oracle.stats.refused == {"429": 1}
        are_there_once(play.items(), TITLES)


@pytest.mark.soak
async def test_an_account_without_quota_is_asked_again_after_ten_minutes(tmp_path: Path) -> None:
    oracle = Oracle().play(Fault.SPENT_QUOTA, times=2)
    async with scene(tmp_path, LETTERS, oracle=oracle, kind=AheadHub) as play:
        await play.device.start()
        run_id = await play.hub.start_run()

        paused = await play.comes_to(run_id, "PAUSED")
        availability, reason, since, until, probe, times = state(play)
        assert (availability, reason, until, times) == ("exhausted", "billing", None, 1)
        assert probe - since == 600_000
        assert paused["waiting_for"].startswith("model's bill is not paid; tried again at ")

        await time_goes_to(play, 601)  # the probe is refused, too: twice as long
        with anyio.fail_after(30):
            while state(play)[5] != 2 or state(play)[0] != "exhausted":
                await anyio.sleep(POLL_S)
        _, _, since, _, probe, _ = state(play)
        assert probe - since == 1_200_000

        await time_goes_to(play, 601 + 1_201)
        run = await play.hub.ended(run_id)

        assert run["outcome"] == "success"
        assert [move["after"] for move in run["history"]] == [
            *RUN_HISTORY[:4],
            *RUN_HISTORY[:4],
            *RUN_HISTORY[4:],
        ]
        told = [
            (value, str(why).partition(":")[0]) for value, why, _ in rows(play.folder / "hub.db", HISTORY)
        ]
        assert told == [("exhausted", "billing"), ("available", "probe")] * 2
        are_there_once(play.items(), TITLES)
