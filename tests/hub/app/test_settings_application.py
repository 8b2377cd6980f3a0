"""What the settings say is used when is used then: nothing waits for a restart unsaid."""

import gc
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from sqlalchemy import Connection, insert

from hub.api.http.listening import listen_on_tcp
from hub.app.boot import HubContext
from hub.app.hub import Hub
from hub.base.clock import SystemClock
from hub.base.metrics import Metrics
from hub.base.toml.positions import KeyPath
from hub.base.toml.problems import SettingsInvalid
from hub.base.toml.schema import leaves
from hub.base.toml.values import HostPort, SettingsTable
from hub.links.roster import DeviceReady
from hub.settings.edits import Revision
from hub.settings.reading import check_text
from hub.settings.reload import ChangedKeys, Edit, Parts, Reloader, Unfit
from hub.settings.settings import Settings
from protocol.handshake import DeviceHello
from protocol.ids import AgentId, DeviceId, UserId
from storage import audit
from storage.agents import agent_states
from storage.coordination import gateway_agents, gateways
from storage.devices import devices, users
from storage.schema import agents as agent_table
from tests.support.families import each
from tests.support.hub import open_context
from tests.support.link import FakeLink
from tests.support.log import opened_log
from tests.support.presence import BOOT, open_session
from tests.support.source import modules_of_the_product

TEXT = '[listen.devices]\naddress = "127.0.0.1:0"\n[listen.operator]\naddress = "127.0.0.1:0"\n'
AGENT = '[[agents]]\nname = "notes"\ndevice = "desk"\npaths = ["~"]\ndata_types = ["tasks"]\nprompt = "x"\n'
GATEWAY = '[[gateways]]\nname = "office"\nurl = "ws://127.0.0.1:1"\n'
WITH_WEBHOOKS = TEXT + '[listen.webhooks]\naddress = "127.0.0.1:0"\n'
# Read where it is needed, from the settings in use.
READ_LATER: set[KeyPath] = {("reload", "watch")}


class Watched(Reloader):
    """Lets a test have the parts of a hub."""

    parts: Parts

    def attach(self, parts: Parts, metrics: Metrics, *, generation: int = 1) -> None:
        self.parts = parts
        super().attach(parts, metrics, generation=generation)


HANDED_OVER: WeakSet["Read"] = WeakSet()  # and held by those that they were handed to


class Read:
    """A table that remembers which of its fields, and of those of the tables in it, were looked at."""

    def __init__(self, table: SettingsTable, seen: set[KeyPath], path: KeyPath = ()) -> None:
        self._table, self._seen, self.path = table, seen, path
        HANDED_OVER.add(self)

    def __getattr__(self, name: str) -> Any:
        value, path = getattr(self._table, name), (*self.path, name)
        if isinstance(value, SettingsTable):
            return Read(value, self._seen, path)
        self._seen.add(path)
        return value


@asynccontextmanager
async def grounded(folder: Path, text: str = TEXT) -> AsyncIterator[HubContext]:
    """Open the context of a hub with a reloader that is ``Watched``."""
    with opened_log() as opened:
        async with open_context(
            folder, text, clock=SystemClock(), reloader=Watched, log=opened.log
        ) as context:
            yield context


@asynccontextmanager
async def opened_hub(folder: Path, text: str = TEXT) -> AsyncIterator[tuple[Hub, HubContext]]:
    """Open a hub that serves nothing, and its context."""
    async with grounded(folder, text) as context, AsyncExitStack() as resources:
        hub = Hub(context)
        await hub.open(resources)
        yield hub, context


@asynccontextmanager
async def built(folder: Path, text: str = TEXT) -> AsyncIterator[Watched]:
    """The reloader of a hub that was built, and serves nobody."""
    async with grounded(folder, text) as context, AsyncExitStack() as resources:
        await Hub(context).open(resources)
        reloader = context.watch_settings.reloader
        assert isinstance(reloader, Watched)
        yield reloader


async def test_every_setting_without_restart_effect_is_used_without_a_restart(tmp_path: Path) -> None:
    seen: set[KeyPath] = set()
    async with built(tmp_path, WITH_WEBHOOKS) as reloader:
        settings: Any = Read(reloader.current, seen)
        commit = reloader.parts.prepare(settings)
        await reloader.parts.reconcile(settings, "operator:7", ChangedKeys(), Revision(2, "file"))
        commit()
        del settings, commit
        gc.collect()
        held = {group.path for group in HANDED_OVER}
    promised = {leaf.path for leaf in leaves(Settings) if leaf.effect != "restart"}
    later = {path for path in promised - seen if path[:-1] in held and path[-1] in read_in_the_code()}
    assert promised - seen - later == READ_LATER


@cache
def read_in_the_code() -> frozenset[str]:
    """The names of all attributes that the hub reads."""
    return frozenset(name for one in modules_of_the_product() for name in re.findall(r"\.(\w+)", one.source))


async def test_reload_refuses_a_listen_address_already_in_use(tmp_path: Path) -> None:
    with listen_on_tcp(HostPort("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        async with built(tmp_path) as reloader:
            with pytest.raises(Unfit, match=f"cannot listen on 127.0.0.1:{taken}") as unfit:
                reloader.parts.prepare(listening(f'address = "127.0.0.1:{taken}"'))
    assert unfit.value.path == ("listen", "devices", "address")


async def test_settings_check_reports_an_agent_name_taken_over_the_api(
    tmp_path: Path,
) -> None:
    wanted = TEXT + AGENT
    async with opened_hub(tmp_path) as (_, context):
        reloader = context.watch_settings.reloader
        problems, found = await reloader.check(Edit(text=wanted))
        assert problems == []
        assert found.live
        await context.store.write(make_over_the_api)
        before = await context.store.read(audit.list_entries, limit=99)
        (told,), _ = await reloader.check(Edit(text=wanted))
        assert (told.severity, told.message) == (
            "error",
            "an agent created over the API has this name",
        )
        assert told.line == wanted.splitlines().index('name = "notes"') + 1
        assert await context.store.read(audit.list_entries, limit=99) == before


def make_over_the_api(c: Connection) -> None:
    """The owner's agent called notes."""
    owner = users.ensure_user(c, UserId("u-fresh"), "owner", 1)
    about = {"id": "a-1", "user_id": owner, "name": "notes", "source": "api", "executor": "device"}
    c.execute(insert(agent_table), about | {"created_at": 1, "updated_at": 1})
    agent_states.create_state(c, AgentId("a-1"), lifecycle="active", online=False, at=1, actor="operator:7")


@each(("table", "text"), [("agents", AGENT), ("gateways", GATEWAY)])
async def test_user_to_be_created_by_a_setting_is_reported(tmp_path: Path, table: str, text: str) -> None:
    settings = check_text(f'{text}user = "nobody"\n', Path("hub.toml"), environ={}).usable()
    async with built(tmp_path) as reloader:
        (told,) = await reloader.parts.remark(settings)
        assert (told.path, told.message) == ((table, 0, "user"), "makes user 'nobody'")
        await reloader.parts.reconcile(settings, "operator:7", ChangedKeys(), Revision(2, "file"))
        assert await reloader.parts.remark(settings) == []


def let_in_desk(c: Connection) -> None:
    """The owner's device called desk, which has connected."""
    (owner,) = users.list_users(c)
    desk = devices.ensure_device(c, id=DeviceId("d-9"), user_id=owner.id, name="desk", at=1)
    open_session(c, desk.id, boot_id=BOOT, platform="linux", at=1)


async def test_settings_check_reports_an_unknown_device_with_the_line(tmp_path: Path) -> None:
    agent = AGENT.replace("desk", "dsek")
    async with opened_hub(tmp_path) as (_, context):
        reloader = context.watch_settings.reloader
        assert [one.path for one in (await reloader.check(Edit(text=TEXT + agent)))[0]] == []
        await context.store.write(let_in_desk)
        (told,), _ = await reloader.check(Edit(text=TEXT + agent))
        assert (told.severity, told.hint) == ("warning", "did you mean 'desk'?")
        assert told.message == "no device 'dsek' has been let in"
        assert told.line == (TEXT + agent).splitlines().index('device = "dsek"') + 1


async def test_settings_check_reports_a_path_outside_the_shared_folders_with_the_line(tmp_path: Path) -> None:
    agent = AGENT.replace("~", "~/nots")
    async with opened_hub(tmp_path) as (hub, context):
        await context.store.write(let_in_desk)
        hub._route(DeviceReady(FakeLink("d-9"), DeviceHello(roots=["~/notes"])))
        (told,), _ = await context.watch_settings.reloader.check(Edit(text=TEXT + agent))
        assert (told.message, told.hint) == (
            "~/nots lies outside of what the device shares",
            "it shares ~/notes",
        )
        assert told.line == (TEXT + agent).splitlines().index('paths = ["~/nots"]') + 1


async def test_settings_check_reports_a_main_agent_already_known_by_another_name(tmp_path: Path) -> None:
    async with opened_hub(tmp_path, TEXT + GATEWAY) as (_, context):
        reloader = context.watch_settings.reloader
        (office,) = await context.store.read(gateways.list_gateways)
        await context.store.write(
            gateway_agents.make_gateway_agent,
            gateway_id=office.id,
            user_id=office.user_id,
            name="reader",
            remote_id="reader",
            fresh_id=AgentId("a-2"),
            at=1,
            actor="operator:7",
        )
        wanted = f'{TEXT}{GATEWAY}main_agent = "reader"\n'
        (told,), _ = await reloader.check(Edit(text=wanted))
        assert told.message == "agent 'reader' is 'reader' at gateway 'office' already"
        assert told.line == len(wanted.splitlines())
        await reloader.begin()
        reloader.path.write_text(wanted)
        with pytest.raises(SettingsInvalid, match="agent 'reader' is 'reader' at gateway 'office' already"):
            await reloader.reload(actor="operator:7")


async def test_reload_accepts_the_own_port_at_a_wider_address(tmp_path: Path) -> None:
    with listen_on_tcp(HostPort("127.0.0.1", 0)) as sock:
        own = sock.getsockname()[1]
    text = f'[listen.devices]\naddress = "127.0.0.1:{own}"\n[listen.operator]\naddress = "127.0.0.1:0"\n'
    async with built(tmp_path, text) as reloader:  # it listens there itself, until it is restarted
        reloader.parts.prepare(listening(f'address = "0.0.0.0:{own}"\ninsecure = true'))


async def test_problems_of_a_file_are_reported_even_if_the_audit_log_cannot_be_written(
    tmp_path: Path,
) -> None:
    async with opened_hub(tmp_path) as (_, context):
        reloader = context.watch_settings.reloader
        await reloader.begin()
        reloader.path.write_text("[limits]\nrusn = 1\n")
        no_room = "CREATE TRIGGER no_room BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'full'); END"
        await context.store.write(lambda c: c.exec_driver_sql(no_room).close())
        with pytest.raises(SettingsInvalid, match="unknown key"):
            await reloader.reload(actor="operator:7")
        await context.store.write(lambda c: c.exec_driver_sql("DROP TRIGGER no_room").close())


def listening(devices: str) -> Settings:
    """Settings whose ``[listen.devices]`` says this."""
    text = f'[listen.devices]\n{devices}\n[listen.operator]\naddress = "127.0.0.1:0"\n'
    return check_text(text, Path("hub.toml"), environ={}).usable()
