"""A person signs in, in three ways; each answer counts once, and verifier and tokens stay in the hub."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
import pytest

from hub.accounts.sign_in import LIFE_MS, SignInFailed
from protocol.ids import DeviceId
from protocol.tool_calls import Action, Answer, ToolCall
from storage.connectors import connectors
from tests.hub.accounts.bench import ID, Bench
from tests.support.services import running

pytestmark = pytest.mark.anyio


class Desktop:
    """A device that says where it listens, and keeps what it was told."""

    device_id = "desk"

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.calls: list[ToolCall] = []

    def can(self, capability: str) -> bool:
        return capability == Action.BROWSER_OPEN

    async def call(self, frame: ToolCall) -> Answer:
        self.calls.append(frame)
        return Answer(result={"port": 40_001} if "listen" in frame.data else {"opened": True})


async def consent(url: str) -> str:
    """A person allows it; where their browser ends."""
    async with httpx2.AsyncClient() as browser:
        answer = await browser.get(url)
    return answer.headers["location"]


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def desktop(b: Bench) -> Desktop:
    made = Desktop((await b.store.read(connectors.get_connector, "work")).user_id)
    link: Any = made
    b.links.append(link)
    return made


async def test_a_pasted_address_signs_in_once(b: Bench) -> None:
    begun = await b.sign_ins.begin("work", actor="me")
    assert (begun.way, query(begun.url)["code_challenge_method"]) == ("paste", "S256")
    ended = await consent(begun.url)
    assert (await b.sign_ins.pasted(ended)).outcome == "done"
    assert (await b.sign_ins.pasted(ended)).outcome == "done"  # told again
    assert b.op.posts == 1
    assert await b.state_of() == "ok"
    assert b.op.is_good(await b.token())


async def test_device_opens_the_browser_and_a_restarted_hub_accepts_the_answer(b: Bench) -> None:
    device = await desktop(b)
    begun = await b.sign_ins.begin("work", actor="me")
    assert begun.way == "device"
    listen, opened = device.calls
    assert opened.data["url"] == begun.url
    assert query(begun.url)["redirect_uri"] == "http://127.0.0.1:40001/"
    assert listen.data["state"] == query(begun.url)["state"]
    assert "verifier" not in repr(device.calls)
    told = query(await consent(begun.url))
    restarted = b.signing(b.process("process-2"))
    with pytest.raises(SignInFailed, match="no sign-in waits"):
        await restarted.answer(told["state"], code=told["code"], device_id=DeviceId("another"))
    row = await restarted.answer(told["state"], code=told["code"], device_id=device.device_id)  # type: ignore[arg-type]
    assert row.outcome == "done"
    assert b.op.is_good(await b.token())


async def test_an_address_of_an_unknown_sign_in_is_refused(b: Bench) -> None:
    await b.sign_ins.begin("work", actor="me")
    for address in ("http://127.0.0.1/?state=x&code=y", "http://127.0.0.1/", "rubbish"):
        with pytest.raises(SignInFailed):
            await b.sign_ins.pasted(address)
    assert b.op.posts == 0


async def test_an_answer_after_ten_minutes_is_refused(b: Bench) -> None:
    begun = await b.sign_ins.begin("work", actor="me")
    ended = await consent(begun.url)
    b.clock.advance(LIFE_MS / 1_000)
    with pytest.raises(SignInFailed, match="too long"):
        await b.sign_ins.pasted(ended)
    assert b.op.posts == 0
    assert (await b.sign_ins.find(begun.id)).outcome == "failed"


async def test_a_refusal_by_the_person_is_reported_without_the_text_of_the_provider(b: Bench) -> None:
    state = query((await b.sign_ins.begin("work", actor="me")).url)["state"]
    with pytest.raises(SignInFailed, match="was not allowed"):
        await b.sign_ins.answer(state, error="access_denied")
    with pytest.raises(SignInFailed, match="was not allowed"):
        await b.sign_ins.answer(state, code="late")


async def test_the_code_of_another_sign_in_is_refused_by_the_verifier(b: Bench) -> None:
    theirs = query(await consent((await b.sign_ins.begin("work", actor="me")).url))
    ours = query((await b.sign_ins.begin("work", actor="me")).url)
    with pytest.raises(SignInFailed):
        await b.sign_ins.answer(ours["state"], code=theirs["code"])
    assert await b.state_of() == "sign_in"


async def test_device_code_is_polled_until_approval_and_not_afterwards(b: Bench) -> None:
    async with running(b.sign_ins):
        begun = await b.sign_ins.begin("work", way="code", actor="me")
        assert (begun.user_code, begun.url) == ("ABCD-EFGH", "https://op.example/device")
        (code,) = b.op.device_codes
        for _ in range(200):
            if b.op.posts == 2:
                b.op.approve(code)
            if (await b.sign_ins.find(begun.id)).outcome is not None:
                break
            b.clock.advance(1)
            await anyio.sleep(0.005)
        assert (await b.sign_ins.find(begun.id)).outcome == "done"
        b.clock.advance(100)
        await anyio.sleep(0.02)
    assert b.op.posts <= 5
    assert [family.is_alive for family in b.op.families] == [True]
    assert b.op.is_good(await b.token())


async def test_device_code_is_not_redeemed_twice_after_a_crash_on_grant_storage(
    b: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(b.accounts, "_on_change", die)  # the first thing after the write
    begun = await b.sign_ins.begin("work", way="code", actor="me")
    b.op.approve(*b.op.device_codes)
    with pytest.raises(ExceptionGroup):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(b.sign_ins.serve)
            while True:
                b.clock.advance(1)
                await anyio.sleep(0.005)
    restarted = b.process("process-2")
    async with running(b.signing(restarted)):
        for _ in range(20):
            b.clock.advance(1)
            await anyio.sleep(0.005)
    assert b.op.posts == 1
    assert (await b.sign_ins.find(begun.id)).outcome == "done"
    assert b.op.is_good(await b.token(restarted))


async def test_sign_in_state_is_sealed_and_erased_after_settling(b: Bench) -> None:
    begun = await b.sign_ins.begin("work", actor="me")
    row = await b.store.read(connectors.find_sign_in, begun.id)
    assert row is not None
    assert query(begun.url)["state"].encode() not in row.sealed + row.state_hash
    await b.sign_ins.pasted(await consent(begun.url))
    row = await b.store.read(connectors.find_sign_in, begun.id)
    assert row is not None
    assert row.sealed == b""
    assert await b.store.read(connectors.find_credential, ID) is not None
