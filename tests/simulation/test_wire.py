"""Tests of the simulated connection: delivery, order, and losses at its end."""

import contextvars
from collections.abc import Awaitable, Callable

import anyio
import pytest

from protocol.errors import LinkLost
from protocol.frame import Frame
from protocol.work import AgentCredit
from tests.simulation.dice import Dice
from tests.simulation.loop import Process, run
from tests.simulation.wire import Tally, Traffic, Wire


class Listener:
    """End of a device that only records frames."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.has_lost = False

    def hears(self, wire: Wire, frame: Frame) -> None:
        assert isinstance(frame, AgentCredit)
        self.heard.append(frame.pieces)

    def lost(self, wire: Wire) -> None:
        self.has_lost = True


class Stage:
    """Wire between a listener and a hub that records the end of the connection."""

    def __init__(self, at_device: contextvars.Context | None = None) -> None:
        self.tally = Tally()
        self.listener = Listener()
        self.reasons: list[str] = []
        context = contextvars.copy_context()
        self.wire = Wire(
            self.listener,
            Traffic(Dice("traffic"), self.tally),
            at_hub=context,
            at_device=at_device or context,
            at_hub_lost=lambda wire, reason: self.reasons.append(reason),
            at_hub_asked=lambda link, asked: None,
        )

    def send(self, *pieces: int) -> None:
        for count in pieces:
            self.wire.greet(AgentCredit(run_id="r", pieces=count))


def played(play: Callable[[Stage], Awaitable[None]]) -> Stage:
    async def main() -> Stage:
        stage = Stage()
        await play(stage)
        await anyio.sleep(60)
        return stage

    return run(main, Dice("wire"))


def test_frames_of_one_lane_arrive_in_their_order() -> None:
    async def play(stage: Stage) -> None:
        stage.send(*range(1, 200))

    stage = played(play)
    assert stage.listener.heard == list(range(1, 200))
    assert stage.tally.frames == 199


def test_frames_of_one_lane_that_came_to_a_halted_device_are_heard_in_their_order() -> None:
    async def halt() -> Stage:
        device = Process("device")
        contexts: list[contextvars.Context] = []

        async def enter() -> None:
            device.enter()
            contexts.append(contextvars.copy_context())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter)
        stage = Stage(contexts[0])
        device.halt()
        stage.send(*range(100))
        await anyio.sleep(60)
        assert stage.listener.heard == []
        device.resume()
        await anyio.sleep(60)
        return stage

    assert run(halt, Dice("loop")).listener.heard == list(range(100))


def test_a_cut_loses_what_is_on_its_way_and_both_ends_learn_of_it() -> None:
    async def play(stage: Stage) -> None:
        stage.send(1)
        await anyio.sleep(30)
        stage.send(2, 3)
        stage.wire.cut(hub_after_s=5.0, device_after_s=1.0)
        await anyio.sleep(2)
        assert (stage.listener.has_lost, stage.reasons) == (True, [])

    stage = played(play)
    assert stage.listener.heard == [1]
    assert (stage.reasons, stage.tally.lost) == (["connection_lost"], 2)


def test_a_wire_can_be_cut_at_a_certain_frame() -> None:
    async def play(stage: Stage) -> None:
        stage.wire.frames_left = 2
        stage.send(1)
        await anyio.sleep(30)
        stage.send(2, 3)

    stage = played(play)
    assert stage.listener.heard == [1]
    assert stage.wire.is_cut


def test_a_mute_wire_loses_every_frame_unnoticed() -> None:
    async def play(stage: Stage) -> None:
        stage.wire.is_mute = True
        stage.send(1, 2)

    stage = played(play)
    assert (stage.listener.heard, stage.reasons, stage.listener.has_lost) == ([], [], False)
    assert stage.tally.lost == 2


def test_a_hub_that_knows_of_the_end_cannot_send() -> None:
    async def play(stage: Stage) -> None:
        stage.wire.cut(hub_after_s=0.0, device_after_s=9.0)
        await anyio.sleep(1)
        with pytest.raises(LinkLost):
            stage.wire.send_now(AgentCredit(run_id="r", pieces=1))

    played(play)
