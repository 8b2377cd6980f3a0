"""What was granted is changed by who saw it last, and refreshed by one at a time."""

from typing import Any

import pytest
import sqlalchemy as sa

from storage import audit
from storage.connectors import connectors
from storage.connectors.connectors import DeclaredConnector, SignInRow, state_hash
from storage.effects import retention
from tests.storage.rows import AT, some

TTL = 60_000
ID = "connector-1"


@pytest.fixture(autouse=True)
def connector(c: sa.Connection) -> None:
    one = DeclaredConnector(name="work", user_name="owner", provider="gmail", needs_grant=True)
    connectors.reconcile_connectors(c, declared=[one], at=AT, fresh_ids=[ID, "user-1"])


def test_grant_of_an_older_release_is_kept_and_then_bound_to_how_its_secret_is_sent(c: sa.Connection) -> None:
    def declared(origin: str) -> str:
        one = DeclaredConnector(
            name="work", user_name="owner", provider="gmail", needs_grant=True, origin=origin
        )
        connectors.reconcile_connectors(c, declared=[one], at=AT, fresh_ids=[ID, "user-1"])
        return connectors.get_connector(c, ID).state

    assert declared("o") == "sign_in"
    grant(c)
    assert declared(f"o{connectors.BOUND}1") == "ok"
    assert declared(f"o{connectors.BOUND}2") == "sign_in"


def grant(c: sa.Connection, sealed: bytes = b"s1", *, key: str = "k1", id: str = "a1") -> None:
    connectors.grant_connector(
        c,
        ID,
        sealed=sealed,
        key_id=key,
        scopes=["mail.read"],
        expires_at=AT + 1,
        at=AT,
        actor="me",
        activity_id=id,
    )


def refuse(c: sa.Connection, version: int, id: str) -> bool:
    told: dict[str, Any] = {"state": "sign_in", "reason": "sign_in_needed", "detail": "over", "at": AT}
    return connectors.refuse_connector(c, ID, credential_version=version, activity_id=id, **told) is not None


def save(c: sa.Connection, version: int, sealed: bytes) -> bool:
    new: dict[str, Any] = {
        "sealed": sealed,
        "key_id": "k1",
        "scopes": ["mail.read"],
        "expires_at": AT + 2,
        "at": AT + 1,
    }
    return connectors.save_refreshed(c, ID, version=version, **new)


@pytest.fixture
def granted(c: sa.Connection) -> None:
    """A sign-in at the provider."""
    grant(c)


def test_granted_connector_has_state_ok_and_a_sealed_secret(c: sa.Connection) -> None:
    assert connectors.get_connector(c, "work").state == "sign_in"
    grant(c)
    seen = some(connectors.find_grant_state(c, ID))
    assert seen.row is not None
    assert (seen.state, seen.row.version, seen.row.sealed, seen.is_leased, seen.row.scopes) == (
        "ok",
        1,
        b"s1",
        False,
        ("mail.read",),
    )
    assert b"s1".decode() not in repr(seen)


@pytest.mark.usefixtures("granted")
def test_credential_lease_is_granted_to_a_single_refresher_of_two(c: sa.Connection) -> None:
    assert connectors.lease_credential(c, ID, version=1, owner="a", ttl_ms=TTL)
    assert not connectors.lease_credential(c, ID, version=1, owner="b", ttl_ms=TTL)
    assert some(connectors.find_grant_state(c, ID)).is_leased
    connectors.release_credential(c, ID, owner="b")
    assert not connectors.lease_credential(c, ID, version=1, owner="b", ttl_ms=TTL)
    connectors.release_credential(c, ID, owner="a")
    assert connectors.lease_credential(c, ID, version=1, owner="b", ttl_ms=TTL)


@pytest.mark.usefixtures("granted")
def test_grant_refused_by_the_provider_is_not_leased_for_refresh(
    c: sa.Connection,
) -> None:
    assert connectors.lease_credential(c, ID, version=1, owner="a", ttl_ms=TTL) and refuse(c, 1, "a2")
    connectors.release_credential(c, ID, owner="a")
    assert not connectors.lease_credential(c, ID, version=1, owner="b", ttl_ms=TTL)
    assert not some(connectors.find_grant_state(c, ID)).is_leased


@pytest.mark.usefixtures("granted")
def test_credential_lease_of_a_dead_owner_expires_by_the_database_clock(c: sa.Connection) -> None:
    assert connectors.lease_credential(c, ID, version=1, owner="a", ttl_ms=0)
    assert connectors.lease_credential(c, ID, version=1, owner="b", ttl_ms=TTL)


@pytest.mark.usefixtures("granted")
def test_refresh_of_a_replaced_credential_version_changes_nothing(c: sa.Connection) -> None:
    connectors.lease_credential(c, ID, version=1, owner="a", ttl_ms=TTL)
    grant(c, b"s2", id="a2")  # somebody signs in
    assert not save(c, 1, b"old")
    row = some(connectors.find_credential(c, ID))
    assert (row.version, row.sealed, row.lease_owner) == (2, b"s2", None)
    assert save(c, 2, b"s3") and not save(c, 2, b"s4")


@pytest.mark.usefixtures("granted")
def test_new_grant_clears_success_and_failures_of_the_previous_sign_in(c: sa.Connection) -> None:
    connectors.note_failure(c, ID, reason="provider_unavailable", detail="away", at=AT)
    connectors.note_success(c, ID, at=AT)
    row = connectors.get_connector(c, "work")
    assert (row.failures, row.detail, row.last_ok_at) == (0, None, AT)
    connectors.note_failure(c, ID, reason="provider_unavailable", detail="away", at=AT, retry_at=AT + 9)
    grant(c, id="a2")
    row = connectors.get_connector(c, "work")
    assert (row.failures, row.retry_at, row.detail, row.last_ok_at) == (0, None, None, None)


def test_later_connector_refusal_updates_the_detail_without_a_second_report(c: sa.Connection) -> None:
    refusal: dict[str, Any] = {"credential_version": 0, "state": "blocked", "reason": "bad_connector"}
    shown = []
    for number, detail in enumerate(("no such folder", "no permission")):
        connectors.refuse_connector(c, ID, **refusal, detail=detail, at=AT, activity_id=f"b-{number}")
        shown.append(connectors.get_connector(c, "work").detail)
    assert shown == ["no such folder", "no permission"]
    connectors.note_failure(c, ID, reason="provider_unavailable", detail="away", at=AT)
    assert connectors.get_connector(c, "work").detail == "no permission"
    assert [one.event_type for one in audit.list_activity(c)].count("connector.refused") == 1


@pytest.mark.usefixtures("granted")
def test_repeated_refusals_of_a_grant_are_reported_once_and_outdated_ones_never(c: sa.Connection) -> None:
    assert refuse(c, 1, "r1") and not refuse(c, 1, "r2")
    grant(c, id="a2")
    assert not refuse(c, 1, "r3")
    assert connectors.get_connector(c, "work").state == "ok"
    assert [one.event_type for one in audit.list_activity(c)].count("connector.refused") == 1


@pytest.mark.usefixtures("granted")
def test_reseal_all_reseals_each_secret_and_preserves_refresh_leases(c: sa.Connection) -> None:
    connectors.begin_sign_in(c, sign_in("one", "state-1"))
    connectors.lease_credential(c, ID, version=1, owner="a", ttl_ms=TTL)
    assert connectors.reseal_all(c, lambda row, connector, key, sealed: ("k2", b"new:" + sealed)) == 2
    assert connectors.keys_in_use(c) == {"k2": 2}
    row = some(connectors.find_credential(c, ID))
    assert (row.version, row.sealed, row.lease_owner) == (1, b"new:s1", "a")
    assert save(c, 1, b"refreshed")


@pytest.mark.usefixtures("granted")
def test_forgotten_grant_is_deleted_and_the_connector_requires_a_sign_in(c: sa.Connection) -> None:
    assert connectors.forget_grant(c, ID, at=AT, actor="me") and connectors.find_credential(c, ID) is None
    assert connectors.get_connector(c, "work").state == "sign_in"
    assert not connectors.forget_grant(c, ID, at=AT, actor="me")


def test_sign_in_is_settled_once_and_the_secret_is_erased(c: sa.Connection) -> None:
    connectors.begin_sign_in(c, sign_in("one", "state-1"))
    assert connectors.aim_sign_in(c, "one", "http://127.0.0.1:1/")
    found = some(connectors.find_by_state(c, "state-1"))
    assert (found.id, found.redirect_uri) == ("one", "http://127.0.0.1:1/")
    assert connectors.find_by_state(c, "state-2") is None
    assert connectors.settle_sign_in(c, "one", outcome="failed", problem="no", at=AT)
    assert not connectors.settle_sign_in(c, "one", outcome="done", at=AT)
    found = some(connectors.find_sign_in(c, "one"))
    assert (found.outcome, found.sealed, connectors.keys_in_use(c)) == ("failed", b"", {})
    assert retention.prune_sign_ins(c, before=AT + 600_001) == 1


def test_new_sign_in_ends_the_previous_open_sign_in(c: sa.Connection) -> None:
    connectors.begin_sign_in(c, sign_in("one", "state-1"))
    connectors.begin_sign_in(c, sign_in("two", "state-2"))
    assert [row.id for row in connectors.open_sign_ins(c)] == ["two"]


def sign_in(id: str, state: str) -> SignInRow:
    return SignInRow(
        id=id,
        connector_id=ID,
        way="paste",
        state_hash=state_hash(state),
        sealed=b"v",
        key_id="k1",
        redirect_uri=None,
        device_id=None,
        actor="me",
        outcome=None,
        problem=None,
        created_at=AT,
        expires_at=AT + 600_000,
        settled_at=None,
    )


@pytest.mark.usefixtures("granted")
def test_duration_of_an_ended_grant_is_recorded(c: sa.Connection) -> None:
    refuse(c, 1, "r1")
    grant(c, id="a2")
    assert [(one.granted_at, one.ended_after) for one in connectors.list_grants(c)] == [(AT, 0)]


@pytest.mark.parametrize("is_granted", [True, False])
def test_connector_is_unblocked_when_the_problem_ends_with_equal_settings(
    c: sa.Connection, is_granted: bool
) -> None:
    right = DeclaredConnector(
        name="work", user_name="owner", provider="gmail", needs_grant=True, origin="o", settings_digest="d"
    )
    wrong = DeclaredConnector(name="work", user_name="owner", provider="gmail", problem="no such file")

    def declare(one: DeclaredConnector) -> tuple[str, str | None]:
        connectors.reconcile_connectors(c, declared=[one], at=AT, fresh_ids=[ID, "user-1"])
        row = connectors.get_connector(c, "work")
        return row.state, row.detail

    declare(right)
    if is_granted:
        grant(c)
    assert declare(wrong) == ("blocked", "no such file")
    assert declare(wrong) == ("blocked", "no such file")
    assert declare(right)[0] == ("ok" if is_granted else "sign_in")
    assert (connectors.find_credential(c, ID) is not None) is is_granted
    assert declare(right)[0] == ("ok" if is_granted else "sign_in")
