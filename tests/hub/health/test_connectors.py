"""Doctor tells of connectors that wait for a person, and of a sign-in that is about to end."""

from functools import partial

import pytest

from hub.health.connectors import DAY_MS, check_connectors
from hub.health.issues import Finding
from storage.connectors import connectors, grants
from storage.connectors.connectors import DeclaredConnector
from storage.store import Store, open_store
from tests.support.clock import START, FakeClock

pytestmark = pytest.mark.anyio
AT = round(START.timestamp() * 1_000)


async def declare(store: Store) -> None:
    one = DeclaredConnector(name="work", user_name="owner", provider="gmail", needs_grant=True)
    await store.write(connectors.reconcile_connectors, declared=[one], at=AT, fresh_ids=["c-1", "u-1"])


async def grant(store: Store, at: int) -> None:
    change = partial(
        grants.grant_connector,
        sealed=b"s",
        key_id="k",
        scopes=[],
        expires_at=None,
        at=at,
        actor="me",
        activity_id=f"g-{at}",
    )
    await store.write(change, "c-1")


async def end(store: Store, version: int, at: int) -> None:
    change = partial(
        grants.refuse_connector,
        credential_version=version,
        state="sign_in",
        reason="sign_in_needed",
        detail="the provider ended the sign-in",
        at=at,
        activity_id=f"e-{at}",
    )
    await store.write(change, "c-1")


async def found(store: Store, clock: FakeClock) -> list[Finding]:
    return list(await check_connectors(store)(clock.now()))


async def test_who_has_to_sign_in_is_told_how() -> None:
    async with open_store("sqlite://") as store:
        await declare(store)
        (one,) = await found(store, FakeClock())
        assert (one.id, one.fix) == ("connector.sign_in", "hub connectors login work")
        await grant(store, AT)
        assert await found(store, FakeClock()) == []


@pytest.mark.parametrize(("lasted_days", "is_told"), [(7, True), (3, False), (30, False)])
async def test_a_sign_in_after_one_that_lasted_a_week_is_told_of_on_its_fifth_day(
    lasted_days: int, is_told: bool
) -> None:
    clock = FakeClock()
    async with open_store("sqlite://") as store:
        await declare(store)
        began = AT - lasted_days * DAY_MS
        await grant(store, began)
        await end(store, 1, AT)
        await grant(store, AT)
        clock.advance(5 * 86_400 - 1)
        assert await found(store, clock) == []
        clock.advance(1)
        assert [one.id for one in await found(store, clock)] == ["connector.ends_soon"] * is_told
