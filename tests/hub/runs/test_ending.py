"""How an attempt ends, by the error that it ended in."""

import msgspec
import pytest

from hub.extraction.model import ModelExhausted, ModelUnavailable
from hub.runs.asking import NoModel
from hub.runs.attempt_ending import FULL_CAP_S, ending_of, gravest
from hub.runs.batches import BatchPending
from hub.runs.sources import DeviceStalled, NotTakenOn
from protocol.errors import LinkLost
from protocol.lifecycles import RunEvent, RunState
from storage.executing_runs import StaleRun
from storage.kernel.database import Conflict, DatabaseUnavailable
from tests.support.clock import SeededChance
from tests.support.families import each
from tests.support.runs import Bench

AWAY = LinkLost("the connection was cut", dispatched=True)
SPENT = ModelExhausted("429", reason="rate_limit", retry_after_s=90)
DOWN = ModelUnavailable("connection refused")
PENDING = BatchPending("handed in", wait_s=60.0)
PREPARING, RUNNING = RunState.PREPARING, RunState.RUNNING


@pytest.mark.parametrize(
    ("error", "state", "event"),
    [
        (NotTakenOn("busy", busy=True), PREPARING, RunEvent.SENT_BACK),
        (NotTakenOn("busy", busy=True), RUNNING, RunEvent.FAILED),
        (NotTakenOn("nothing shared", busy=False), PREPARING, RunEvent.FAILED),
        (NoModel("none on this machine"), RUNNING, RunEvent.FAILED),
        (PENDING, RUNNING, RunEvent.SENT_BACK),
        (SPENT, RUNNING, RunEvent.EXHAUSTED),
        (AWAY, RUNNING, RunEvent.DEVICE_LOST),
        (DOWN, RUNNING, RunEvent.RETRIED),
        (DeviceStalled("nothing came"), RUNNING, RunEvent.RETRIED),
        (DeviceStalled("nothing came"), PREPARING, RunEvent.SENT_BACK),
        # An outage of the database costs no attempt; what it refuses for good does.
        (DatabaseUnavailable("away"), RUNNING, RunEvent.SENT_BACK),
        (DatabaseUnavailable("full", "full"), RUNNING, RunEvent.SENT_BACK),
        (Conflict("held elsewhere"), RUNNING, RunEvent.RETRIED),
        (ValueError("a surprise"), RUNNING, RunEvent.FAILED),
    ],
)
async def test_each_error_ends_an_attempt_with_the_expected_run_event(
    bench: Bench, error: Exception, state: RunState, event: RunEvent
) -> None:
    bench.connect()
    await bench.control.submit(bench.agent)
    assert ending_of(error, await bench.claim(), state, SeededChance()).event is event


async def test_wait_of_a_run_for_disk_space_is_capped_after_many_dispatches(
    bench: Bench,
) -> None:
    bench.connect()
    await bench.control.submit(bench.agent)
    order = msgspec.structs.replace(await bench.claim(), dispatches=20)
    ending = ending_of(DatabaseUnavailable("full", "full"), order, RUNNING, SeededChance())
    assert ending.wait_s is not None
    assert ending.wait_s <= FULL_CAP_S


@each(
    ("errors", "decides"),
    [
        ([PENDING, DOWN, SPENT, AWAY], AWAY),
        ([DOWN, SPENT], SPENT),  # a wait of known length costs no attempt, an outage does
        ([PENDING, DOWN], DOWN),
    ],
)
def test_gravest_of_several_unit_errors_ends_the_run(errors: list[Exception], decides: Exception) -> None:
    assert gravest(ExceptionGroup("units", errors)) is decides
    assert gravest(ExceptionGroup("units", [ExceptionGroup("more", errors[::-1])])) is decides


def test_unexpected_error_is_graver_than_all_expected_errors() -> None:
    surprise = ValueError("a surprise")
    assert gravest(ExceptionGroup("units", [StaleRun("gone"), AWAY, surprise])) is surprise
