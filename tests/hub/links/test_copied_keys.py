"""Two programs with one credential are distinguished from a device that reconnects; over real sockets."""

from typing import Any

import pytest

from hub.health.access_checks import check_copies
from protocol.errors import CloseCode, CodedError
from protocol.ids import DeviceId
from storage.devices import credential_copies
from tests.support.clock import START
from tests.support.wire import AT_MS, Port, open_port, until

LAPTOP = DeviceId("laptop")


def program(host: str, store: str, instance: str) -> dict[str, Any]:
    """Machine that a program names in its hello."""
    return {
        "client": {"name": "desk", "host": host, "instance": instance},
        "store": {"id": store, "counter": 0},
        "capabilities": [{"name": "rows.list"}],
    }


# the older program, the newer one, whether the older one still answers, whether these are two machines
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], bool, bool]] = {
    "another machine": (program("a", "store-a", "1"), program("b", "store-b", "2"), True, True),
    "a copy of all files": (program("a", "store-a", "1"), program("b", "store-a", "2"), True, True),
    "a copied key alone": (program("a", "store-a", "1"), program("a", "store-b", "2"), True, True),
    "an older program, by its file": (program("", "store-a", ""), program("", "store-b", ""), True, True),
    "the same program again": (program("a", "store-a", "1"), program("a", "store-a", "1"), True, False),
    "with a new file": (program("a", "store-a", "1"), program("a", "store-b", "1"), True, False),
    "started again": (program("a", "store-a", "1"), program("a", "store-a", "2"), True, False),
    "an older program again": (program("", "store-a", ""), program("", "store-a", ""), True, False),
    "after a power failure": (program("a", "store-a", "1"), program("b", "store-b", "2"), False, False),
}


async def test_credential_used_by_two_programs_is_an_issue() -> None:
    seen: dict[str, bool] = {}
    for name, (older, newer, answers, are_two) in CASES.items():
        async with open_port() as port:
            token = await port.pair()
            async with port.connect() as first, port.connect() as second:
                await first.greet(token, **older)
                if not answers:
                    first.socket.transport.pause_reading()
                assert (await second.greet(token, **newer))["type"] == "welcome"
                if answers:
                    assert await first.closed() == CloseCode.REPLACED
                if are_two:
                    notice = await second.hear()
                    assert (notice["type"], notice["code"]) == ("error", "replaced"), name
                    assert "in use on another machine too" in notice["message"], name
                    assert f"(file {older['store']['id'][-6:]})" in notice["message"], name
                    assert "hub devices keep laptop MACHINE" in notice["hint"], name
                else:
                    first.socket.transport.abort()
                await until(lambda port=port: len(port.listener._sockets) == 1)  # type: ignore[misc]
                found = list(await check_copies(port.store, START))
                seen[name] = [one.id for one in found] == ["device.copied"]
    assert seen == {name: are_two for name, (*_, are_two) in CASES.items()}


async def test_only_the_machine_chosen_for_a_copied_key_is_admitted() -> None:
    for called, is_first_kept in (("store-a"[-6:], True), ("b", False)):
        async with open_port() as port:
            token = await port.pair()
            first, second = program("a", "store-a", "1"), program("b", "store-b", "2")
            async with port.connect() as one, port.connect() as other:
                await one.greet(token, **first)
                await other.greet(token, **second)
                await one.closed()
                await until(lambda port=port: len(port.listener._sockets) == 1)  # type: ignore[misc]
            await keep(port, called)
            assert list(await check_copies(port.store, START)) == []
            for who, is_kept in ((first, is_first_kept), (second, not is_first_kept)):
                async with port.connect() as device:
                    answer = await device.greet(token, **who)
                    assert (answer["type"] == "welcome") == is_kept, answer
                    assert is_kept or "another machine keeps this key" in str(answer["message"])


async def test_choosing_a_machine_for_a_key_without_copies_is_refused(port: Port) -> None:
    await port.pair()
    with pytest.raises(CodedError, match="no other machine"):
        await keep(port, "a")


async def keep(port: Port, called: str) -> None:
    await port.store.write(credential_copies.keep, LAPTOP, called, at=AT_MS, actor="operator:0")


async def test_digests_of_an_absent_device_are_of_the_newest_program_there(port: Port) -> None:
    for capabilities in (("rows.sha256",), ()):
        async with port.device(capabilities=capabilities):
            pass
        origin = await port.store.read(credential_copies.origin_of, LAPTOP)
        assert origin.takes_sha256 is bool(capabilities)
