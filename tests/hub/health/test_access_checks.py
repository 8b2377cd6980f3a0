"""Checks of who may come in, over a real store."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from hub.base.toml.problems import SettingsInvalid
from hub.health import access_checks
from hub.health.access_checks import FLAPS, MAX_NAMED, WITHIN_S, Arrived, Certificate
from hub.health.issues import Severity
from hub.links.roster import SharedRoots
from hub.settings.reload import Reloader
from protocol.grants import Grant
from protocol.ids import DeviceId, TokenId
from storage.agents import agents, declared_agents, state_moves
from storage.agents.configs import Mailbox
from storage.agents.declared_agents import DeclaredAgent
from storage.connectors import connectors
from storage.devices import devices, pairings
from storage.devices.devices import UnknownDevice
from storage.devices.tokens import DEVICE_TOKENS, OPERATOR_TOKENS
from tests.support.clock import START, FakeClock
from tests.support.identity import IdentityBench, open_identity
from tests.support.link import FakeLink
from tests.support.presence import BOOT, open_session
from tests.support.settings import SettingsBench

DAY_MS = 86_400_000


@pytest.fixture
async def bench() -> AsyncIterator[IdentityBench]:
    async with open_identity() as opened:
        yield opened


async def give(bench: IdentityBench, *, days: int | None = None, used_days_ago: int | None = None) -> None:
    """A token of the device desk that ends in so many days."""
    desk, at = await bench.device("desk"), bench.now_ms - 200 * DAY_MS
    id = TokenId(bench.ids.fresh())
    await bench.store.write(
        DEVICE_TOKENS.create,
        id=id,
        device_id=desk.id,
        token_hash=id.encode(),
        at=at,
        expires_at=None if days is None else bench.now_ms + days * DAY_MS,
    )
    if used_days_ago is not None:
        used_at = bench.now_ms - used_days_ago * DAY_MS
        await bench.store.write(
            open_session, desk.id, boot_id=BOOT, platform="linux", at=used_at, token_id=id
        )


@pytest.mark.parametrize(
    ("days", "used_days_ago", "told"),
    [
        (15, 1, []),
        (14, 1, ["token.ends"]),
        (-1, 1, ["token.ends"]),
        (-29, 1, ["token.ends"]),
        (-31, 1, []),
        (None, 1, []),
        (None, 91, ["token.unused"]),
        (None, None, ["token.unused"]),
        (60, None, ["token.unused"]),
    ],
)
async def test_expiring_or_unused_device_token_is_reported(
    bench: IdentityBench, days: int | None, used_days_ago: int | None, told: list[str]
) -> None:
    await give(bench, days=days, used_days_ago=used_days_ago)
    found = list(await access_checks.check_tokens(bench.store, bench.clock.now()))
    assert [one.id for one in found] == told
    assert all("device desk" in one.explanation for one in found)


async def test_expiring_operator_token_is_reported_by_name_and_last_characters(bench: IdentityBench) -> None:
    token = await bench.token()
    look = partial(access_checks.check_tokens, bench.store)
    assert list(await look(bench.clock.now())) == []
    (row,) = await bench.store.read(OPERATOR_TOKENS.page)
    end = START + timedelta(milliseconds=row.expires_at - bench.now_ms)
    (found,) = await look(end - timedelta(days=14))
    assert (found.id, found.subject, found.severity) == ("token.ends", row.id, Severity.WARNING)
    assert f"'test' (...{token[-4:]})" in found.explanation
    await bench.store.write(OPERATOR_TOKENS.revoke, row.id, at=bench.now_ms, actor="operator:0")
    assert list(await look(end)) == []


async def test_device_waiting_for_pairing_is_a_notice_until_the_code_expires(bench: IdentityBench) -> None:
    pairing = await bench.asks("kitchen")
    (found,) = await access_checks.check_pairings(bench.store, bench.clock.now())
    assert (found.id, found.subject, found.severity) == ("pairing.waits", pairing.id, Severity.NOTICE)
    assert "'kitchen'" in found.explanation
    assert found.since == START
    later = START + timedelta(milliseconds=pairing.expires_at - bench.now_ms)
    assert list(await access_checks.check_pairings(bench.store, later)) == []


async def test_an_unknown_device_name_is_reported_with_similar_names(
    bench: IdentityBench,
) -> None:
    await bench.agent()  # its device is desk, which is not paired
    check = partial(access_checks.check_device_names, bench.store)
    assert list(await check(bench.clock.now())) == []  # nor has any other
    await bench.connect(await bench.device("dsk"))
    (found,) = await check(bench.clock.now())
    assert (found.id, found.severity, found.user_id) == ("device.unknown", Severity.WARNING, bench.owner_id)
    assert found.explanation.endswith("'desk', which is not paired; did you mean 'dsk'?")
    desk = await bench.device("desk")
    await bench.connect(desk)
    assert list(await check(bench.clock.now())) == []


async def test_agent_path_outside_the_shared_folders_is_reported(bench: IdentityBench) -> None:
    await bench.store.write(
        declared_agents.reconcile_declared,
        user_id=bench.owner_id,
        declared=[DeclaredAgent(name="notes", device_name="desk", paths=("~/notes",))],
        at=bench.now_ms,
        fresh_ids=["a-1", "d-1", "s-1", "u-1"],
    )
    (agent,) = await bench.store.read(agents.list_agents)
    assert agent.device_id is not None
    shared = SharedRoots()
    check = partial(access_checks.check_shared_paths, bench.store, shared)
    for roots, told in ((["~/nots"], True), (["~/notes", "~/mail"], False), ([], False)):
        shared.record(agent.device_id, roots)
        assert bool(list(await check(bench.clock.now()))) == told
    shared.record(agent.device_id, ["~/nots"])
    (found,) = await check(bench.clock.now())
    assert "is to read ~/notes, outside of what device desk shares: ~/nots" in found.explanation


async def test_missing_files_grant_is_reported_while_agents_read_files_of_the_device(
    bench: IdentityBench,
) -> None:
    connector = connectors.DeclaredConnector(name="work", user_name="owner", provider="imap")
    await bench.store.write(
        connectors.reconcile_connectors, declared=[connector], at=bench.now_ms, fresh_ids=["c-1", "u-1"]
    )
    mailbox = Mailbox(connector="work")
    declared = [
        *(DeclaredAgent(name=name, device_name="desk", paths=("~/notes",)) for name in ("notes", "papers")),
        DeclaredAgent(name="mails", device_name="desk", mailbox=mailbox),
    ]
    await bench.store.write(
        declared_agents.reconcile_declared,
        user_id=bench.owner_id,
        declared=declared,
        at=bench.now_ms,
        fresh_ids=[f"id-{n}" for n in range(12)],
    )
    desk = await bench.device("desk")
    check = partial(access_checks.check_grants, bench.store)
    take = partial(devices.change_grants, add=(), remove=(Grant.FILES,), at=bench.now_ms, actor="me")
    assert list(await check(bench.clock.now())) == []

    await bench.store.write(take, desk.id)
    (found,) = await check(bench.clock.now())
    assert (found.id, found.severity, found.subject, found.user_id) == (
        "device.no_files",
        Severity.WARNING,
        desk.id,
        bench.owner_id,
    )
    assert found.explanation.endswith("every run fails that reads its files: those of notes, papers")
    assert "hub devices grant desk +files" in found.fix

    pause = partial(state_moves.move, at=bench.now_ms, actor="me")
    for agent in await bench.store.read(agents.list_agents):
        await bench.store.write(pause, agent.id, "lifecycle", "paused")
    assert list(await check(bench.clock.now())) == []


async def test_device_name_hint_lists_devices_of_the_user_and_waiting_devices(bench: IdentityBench) -> None:
    other = await bench.user("other")
    await bench.connect(await bench.device("tower", user_id=other))
    await bench.connect(await bench.device("laptop"))
    await bench.asks("kitchen")
    names = await bench.store.read(pairings.list_names, at=bench.now_ms)
    assert names.hint("laptpo", bench.owner_id) == "did you mean 'laptop'?"
    assert names.hint("kitchne", other) == "did you mean 'kitchen', which waits to be let in (hub pair)?"
    assert names.hint("zoo", bench.owner_id) == "known: laptop; waiting to be let in: kitchen"
    assert names.hint("zoo", other) == "known: tower; waiting to be let in: kitchen"
    assert {names.hint(name, bench.owner_id) for name in ("laptop", "kitchen")} == {""}
    *compared, last = names.hints([("laptpo", bench.owner_id)] * 21)
    assert set(compared) == {"did you mean 'laptop'?"}
    assert last == "known: laptop; waiting to be let in: kitchen"  # many comparisons hold the loop


async def test_an_unknown_device_name_is_answered_with_a_similar_name(bench: IdentityBench) -> None:
    await bench.connect(await bench.device("laptop"))
    devices = bench.identity.devices
    for ask in (devices.get, partial(devices.revoke, actor="operator:1")):
        with pytest.raises(UnknownDevice, match=r"there is no device 'labtop'; did you mean 'laptop'\?"):
            await ask("labtop")


def test_device_connecting_fifteen_times_in_fifteen_minutes_is_flapping() -> None:
    clock = FakeClock()
    arrived = Arrived(clock)
    for _ in range(FLAPS):
        assert arrived.flapping() == []
        arrived.record(DeviceId("d-1"))
        arrived.record(DeviceId(clock.now().isoformat()))  # others come once each
        clock.advance(WITHIN_S / FLAPS)
    assert arrived.flapping() == []  # the first one was too long ago by now
    arrived.record(DeviceId("d-1"))
    assert arrived.flapping() == ["d-1"]
    clock.advance(WITHIN_S / FLAPS)
    assert arrived.flapping() == []


def test_no_more_devices_are_remembered_than_ten_thousand() -> None:
    arrived = Arrived(FakeClock())
    for n in range(10_050):
        arrived.record(DeviceId(f"d-{n}"))
    assert len(arrived._at) == 10_000


async def test_flapping_device_is_reported_to_the_owner(bench: IdentityBench) -> None:
    desk = await bench.device("desk")
    flapping: list[DeviceId] = []
    look = partial(access_checks.check_flapping, bench.store, lambda: flapping)
    assert list(await look(START)) == []
    flapping.append(desk.id)
    (found,) = await look(START)
    assert (found.id, found.subject, found.user_id) == ("device.flapping", desk.id, bench.owner_id)


async def test_devices_of_another_version_are_reported_together(bench: IdentityBench) -> None:
    links = [FakeLink((await bench.device(f"desk{n}")).id) for n in range(MAX_NAMED + 2)]
    look = partial(access_checks.check_versions, bench.store, lambda: links)
    assert list(await look(START)) == []
    for link in links:
        link.skew = "the hub speaks 1, the device 2: update the hub"
    (found,) = await look(START)
    assert found.explanation.startswith("of desk")
    assert found.explanation.endswith(" and 2 others: the hub speaks 1, the device 2")
    assert (found.id, found.severity, found.fix) == ("device.version", Severity.NOTICE, "update the hub")


async def test_a_key_on_two_machines_is_reported_while_the_device_waits(bench: IdentityBench) -> None:
    desk = await bench.device("desk")
    waiting: dict[DeviceId, float] = {}
    look = partial(access_checks.check_takeovers, bench.store, lambda: waiting)
    assert list(await look(START)) == []
    waiting[desk.id] = 290.0
    (found,) = await look(START)
    assert (found.id, found.severity) == ("device.taken_over", Severity.ERROR)
    assert "the same key on two machines?" in found.explanation


GOOD = "# all defaults\n"


async def _refuse(bench: SettingsBench, text: str) -> None:
    await bench.reloader.begin()
    bench.path.write_text(text)
    with pytest.raises(SettingsInvalid):
        await bench.reloader.reload(actor="test")


async def test_refused_settings_file_is_reported_with_the_first_problem(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path, GOOD)
    assert list(access_checks.check_reload(bench.reloader, START)) == []
    await _refuse(bench, "[hub]\nnam = 'x'\n")
    (found,) = access_checks.check_reload(bench.reloader, START)
    assert (found.id, found.severity) == ("settings.refused", Severity.ERROR)
    assert "hub.toml:2:1" in found.explanation


async def test_a_start_with_the_last_good_settings_is_reported(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path, GOOD)
    await _refuse(bench, "[hub\n")
    restarted = Reloader(bench.opened(), state=bench.state, clock=bench.clock)
    (found,) = access_checks.check_reload(restarted, START)
    assert found.id == "settings.last_good"
    assert "hub reload" in found.fix


async def test_listener_reachable_by_others_without_tls_is_an_issue(tmp_path: Path) -> None:
    bench = SettingsBench(
        tmp_path,
        '[listen.devices]\naddress = "0.0.0.0:8770"\ninsecure = true\n'
        '[listen.operator]\naddress = "127.0.0.1:8771"\ninsecure = true\n',
    )
    (found,) = await access_checks.check_listeners(bench.reloader, START)
    assert (found.id, found.subject) == ("listener.insecure", "devices")
    assert list(await access_checks.check_warnings(bench.reloader, START)) == []


async def test_warnings_about_the_file_are_issues_of_the_running_hub(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path, '[storage]\nurl = "sqlite://"\n')
    (found,) = await access_checks.check_warnings(bench.reloader, START)
    assert (found.id, found.subject, found.severity) == ("settings.doubtful", "storage.url", Severity.WARNING)


async def test_settings_warning_issue_does_not_repeat_the_fix_in_the_explanation(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path, "[limits]\nhandshake_timeout_s = 5\n")
    (found,) = await access_checks.check_warnings(bench.reloader, START)
    assert found.fix == "remove the line"
    assert found.fix not in found.explanation


async def test_change_waiting_for_a_restart_is_a_notice(tmp_path: Path) -> None:
    bench = SettingsBench(tmp_path, GOOD)
    assert list(await access_checks.check_waiting(bench.reloader, START)) == []
    await bench.reloader.begin()
    bench.path.write_text('[listen.devices]\naddress = "127.0.0.1:9999"\n')
    await bench.reloader.reload(actor="test")
    (found,) = await access_checks.check_waiting(bench.reloader, START)
    assert (found.id, found.severity) == ("settings.waiting", Severity.NOTICE)
    assert "listen.devices.address" in found.explanation


async def test_certificate_is_reported_from_three_weeks_before_expiry() -> None:
    ends = START + timedelta(days=21)
    look = partial(access_checks.check_certificates, lambda: [Certificate("devices", ends)])
    assert list(await look(START - timedelta(seconds=1))) == []
    (soon,) = await look(START)
    assert (soon.id, soon.subject, soon.severity) == ("certificate.ends", "devices", Severity.WARNING)
    (over,) = await look(ends)
    assert (over.id, over.severity) == ("certificate.ends", Severity.ERROR)
    assert f"ended on {ends:%Y-%m-%d}" in over.explanation


async def test_unusable_new_certificate_is_reported() -> None:
    refused = Certificate("operator", START + timedelta(days=90), "the key does not fit")
    (found,) = await access_checks.check_certificates(lambda: [refused], START)
    assert (found.id, found.severity) == ("certificate.refused", Severity.ERROR)
    assert "the key does not fit" in found.explanation
