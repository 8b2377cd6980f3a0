"""Verdicts that were given at the hub, on their way to a device whose connection breaks."""

from collections.abc import Sequence

import anyio
import sqlalchemy as sa

from hub.runs.agreement import VerdictDelivery
from protocol.errors import ErrorCode, LinkLost
from protocol.work import Answer, ToolCall
from storage.schema import devices, items
from storage.store import Store
from tests.storage.test_items import DESK, EPOCH, at_device, give, stored
from tests.support.clock import FakeClock
from tests.support.link import FakeLink

GRANT = "review.remote"


async def deliver(store: Store, clock: FakeClock, link: FakeLink) -> Sequence[ToolCall]:
    """Let a hub send what is open over this connection, and return what it sent."""

    def connect(c: sa.Connection) -> None:
        c.execute(sa.update(devices).values(session_epoch=link.epoch))

    await store.write(connect)
    delivery = VerdictDelivery(store, find_link={DESK: link}.get, clock=clock)
    async with anyio.create_task_group() as tasks:
        await tasks.start(delivery.serve)
        await clock.pass_time(0.0)
        tasks.cancel_scope.cancel()
    return link.calls


def rejected(c: sa.Connection) -> None:
    """An item that its owner has rejected at the hub."""
    at_device(c)
    give(c, "reject")


def linked(epoch: int, *answers: Answer | Exception, grants: Sequence[str] = ()) -> FakeLink:
    link = FakeLink(DESK, epoch=epoch, capabilities={"item.review"}, answers=answers)
    link.owner_grants = {grant: [] for grant in grants}
    return link


async def test_a_verdict_whose_answer_was_lost_is_asked_for_again_without_the_grant(store: Store) -> None:
    clock = FakeClock()
    await store.write(rejected)
    lost = LinkLost("the connection was cut", dispatched=True)
    (sent,) = await deliver(store, clock, linked(EPOCH, lost, grants=[GRANT]))
    assert (await store.read(stored)).state == "sent"
    (again,) = await deliver(store, clock, linked(EPOCH + 1, Answer(result={"state": "rejected"})))
    assert (again.id, (await store.read(stored)).state) == (sent.id, "done")


async def test_an_approval_of_a_marked_item_is_sent_only_with_the_grant_for_those(store: Store) -> None:
    def approved(c: sa.Connection) -> None:
        at_device(c)
        c.execute(sa.update(items).values(warnings=["instruction"]))
        give(c, "approve")

    await store.write(approved)
    assert await deliver(store, FakeClock(), linked(EPOCH, grants=[GRANT])) == []
    assert (await store.read(stored)).reason == ErrorCode.NOT_GRANTED


async def test_a_verdict_that_was_never_sent_is_refused_without_the_grant(store: Store) -> None:
    await store.write(rejected)
    assert await deliver(store, FakeClock(), linked(EPOCH)) == []
    row = await store.read(stored)
    assert (row.state, row.reason) == ("refused", ErrorCode.NOT_GRANTED)
