"""Locks over the REST interface."""

from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from protocol.ids import UserId
from storage import audit
from storage.agents import locks
from storage.devices import users
from tests.support.hub import ServedHub

ANNA, BERT = (locks.Holder("device", f"device-{name}") for name in ("anna", "bert"))


def keep(c: sa.Connection) -> None:
    """A lock that is held and waited for, one that is free, and one of another user."""
    owner = users.ensure_user(c, UserId("u"), "owner", 1)
    other = users.ensure_user(c, UserId("o"), "other", 1)
    take(c, owner, ANNA, "mailbox")
    take(c, owner, BERT, "mailbox", wait_ms=60_000)
    free = take(c, owner, ANNA, "calendar")
    assert free is not None
    locks.release(c, owner, free.fences, ANNA)
    take(c, other, ANNA, "mailbox")
    take(c, other, ANNA, "printer")


def take(
    c: sa.Connection, user_id: UserId, holder: locks.Holder, name: str, wait_ms: int = 0
) -> locks.LockGrant | None:
    wanted = locks.LockRequest(
        request_id=f"{user_id} {holder.id} {name}",
        user_id=user_id,
        names=(name,),
        holder=holder,
        ttl_ms=60_000,
        wait_ms=wait_ms,
    )
    return locks.acquire(c, wanted).grant


@pytest.fixture(autouse=True)
async def _rows(hub: ServedHub) -> None:
    """Store the rows of ``keep``."""
    await hub.store.write(keep)


async def listed(client: httpx2.AsyncClient, **asked: Any) -> list[tuple[str, str]]:
    answer = (await client.get("/v1/locks", params=asked)).json()
    return [(lock["user"], lock["resource"]) for lock in answer["locks"]]


async def test_locks_are_listed_with_holder_and_waiting_claims(client: httpx2.AsyncClient) -> None:
    first = (await client.get("/v1/locks", params={"user": "owner"})).json()["locks"][0]
    assert (first["resource"], first["fence"]) == ("mailbox", 1)
    assert first["holder"] == {"kind": "device", "id": "device-anna", "agent": None, "device": None}
    assert [wait["holder"]["id"] for wait in first["waiting"]] == ["device-bert"]


async def test_free_locks_are_listed_only_on_request(client: httpx2.AsyncClient) -> None:
    assert await listed(client, user="owner") == [("owner", "mailbox")]
    assert await listed(client, user="owner", free=True) == [("owner", "calendar"), ("owner", "mailbox")]


async def test_released_lock_passes_to_the_next_waiting_holder(
    client: httpx2.AsyncClient, hub: ServedHub
) -> None:
    asked = {"resource": "mailbox", "fence": 1}
    told = (await client.post("/v1/locks/release", params={"user": "owner"}, json=asked)).json()
    assert (told["holder"]["id"], told["fence"], told["waiting"]) == ("device-bert", 2, [])
    entry = (await hub.store.read(audit.list_entries, limit=1))[0]
    assert (entry.event, entry.subject) == ("lock.released", "mailbox")
    late = await client.post("/v1/locks/release", params={"user": "owner"}, json=asked)
    assert (late.status_code, late.json()["code"]) == (409, "lock_lost")


async def test_releasing_a_free_lock_changes_and_audits_nothing(
    client: httpx2.AsyncClient, hub: ServedHub
) -> None:
    before = await hub.store.read(audit.list_entries, limit=9)
    for _ in range(2):
        told = await client.post("/v1/locks/release", json={"resource": "calendar"})
        assert (told.status_code, told.json()["holder"]) == (200, None)
    assert await hub.store.read(audit.list_entries, limit=9) == before


async def test_lock_name_shared_by_several_users_requires_the_user(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/locks/release", json={"resource": "mailbox"})
    assert answer.status_code == 422
    assert "say whose" in answer.json()["detail"]
