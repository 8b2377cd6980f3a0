import pytest
import sqlalchemy as sa

from protocol.errors import CodedError, ErrorCode
from protocol.ids import DeviceId, UserId
from storage import audit
from storage.devices import devices
from storage.devices.devices import UserRow
from tests.storage.rows import AT
from tests.support.coded import coded


def test_a_name_is_unique_among_users(c: sa.Connection) -> None:
    anna = devices.create_user(c, id=UserId("u-1"), name="anna", at=AT, actor="operator:7")
    assert devices.find_user_by_name(c, "anna") == anna
    assert devices.ensure_user(c, UserId("u-2"), "anna", AT) == "u-1"
    with pytest.raises(CodedError, check=coded(ErrorCode.NAME_TAKEN), match="anna"):
        devices.create_user(c, id=UserId("u-2"), name="anna", at=AT, actor="operator:7")
    assert devices.list_users(c) == [anna]


def test_users_are_listed_by_name_with_the_devices_that_count(c: sa.Connection) -> None:
    for id, name in (("u-1", "otto"), ("u-2", "anna")):
        devices.create_user(c, id=UserId(id), name=name, at=AT, actor="operator:7")
    for id, name in (("d-1", "desk"), ("d-2", "lab")):
        devices.ensure_device(c, id=DeviceId(id), user_id=UserId("u-1"), name=name, at=AT)
    devices.revoke_device(c, DeviceId("d-2"), at=AT, actor="operator:7")
    assert devices.list_users(c) == [
        UserRow(UserId("u-2"), "anna", AT, 0),
        UserRow(UserId("u-1"), "otto", AT, 1),
    ]


def test_an_unknown_user_is_reported(c: sa.Connection) -> None:
    assert devices.find_user_by_name(c, "nobody") is None
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_USER), match="nobody"):
        devices.remove_user(c, "nobody", at=AT, actor="operator:7")


def test_the_maker_of_a_user_is_in_the_audit_log(c: sa.Connection) -> None:
    devices.create_user(c, id=UserId("u-1"), name="anna", at=AT, actor="token:t-1")
    (entry,) = c.execute(audit.ONWARDS, {"after": 0})
    assert (entry.event, entry.actor, entry.subject) == ("user.created", "token:t-1", "u-1")


def test_a_user_goes_once_nothing_is_theirs_any_more(c: sa.Connection) -> None:
    devices.create_user(c, id=UserId("u-1"), name="anna", at=AT, actor="operator:7")
    devices.ensure_device(c, id=DeviceId("d-1"), user_id=UserId("u-1"), name="desk", at=AT)
    with pytest.raises(
        CodedError, check=coded(ErrorCode.ILLEGAL_TRANSITION), match=r"user 'anna' still owns: devices \(1\)$"
    ):
        devices.remove_user(c, "anna", at=AT, actor="operator:7")
    devices.revoke_device(c, DeviceId("d-1"), at=AT, actor="operator:7")
    assert devices.remove_user(c, "anna", at=AT, actor="operator:7").id == "u-1"
    assert devices.list_users(c) == []
    *_, entry = c.execute(audit.ONWARDS, {"after": 0})
    assert (entry.event, entry.actor, entry.subject) == ("user.removed", "operator:7", "u-1")
    with pytest.raises(CodedError, check=coded(ErrorCode.UNKNOWN_USER), match="anna"):
        devices.remove_user(c, "anna", at=AT, actor="operator:7")


def test_those_that_are_no_user_yet_are_named_once(c: sa.Connection) -> None:
    devices.create_user(c, id=UserId("u-1"), name="anna", at=AT, actor="operator:7")
    assert devices.not_made_yet(c, ["otto", "anna", "otto"]) == ["otto"]
