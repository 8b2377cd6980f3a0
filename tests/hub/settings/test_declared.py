"""The agents of hub.toml as the rows keep them, with their configs, capabilities and needs."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hub.base.toml.problems import SettingsInvalid
from hub.settings.declared import declared_agent, declared_agents, declared_connectors
from hub.settings.reading import check_text
from protocol.configs import ConfigType
from protocol.ids import UserId
from storage.agents import agents, config_changes, configs
from storage.agents.config_changes import ConfigOfFile, NewConfig
from storage.agents.declared_agents import DeclaredAgent, reconcile_declared
from storage.connectors.connectors import Reconciled, grant_covers, stream_of
from storage.devices import users
from storage.schedules.schedule_rows import DeclaredSchedule
from storage.store import open_store
from tests.support import stored
from tests.support.families import each
from tests.support.served_settings import load_settings

AGENT = """\
[[agents]]
name = "notes"
device = "desk"
paths = ["~/notes"]
data_types = ["tasks"]
prompt = "Find what I promised to do."
timezone = "Europe/Berlin"
"""


def _declared(folder: Path, *lines: str) -> DeclaredAgent:
    file = folder / "hub.toml"
    file.write_text(AGENT + "\n".join(lines))
    settings = load_settings(file)
    return declared_agent(settings.agents[0], run_wall_s=1_800.0, patterns=settings.redaction.patterns)


@each(
    ("schedule", "declared"),
    [
        (
            '"0 7 * * 1-5"',
            DeclaredSchedule(kind="cron", expr="0 7 * * 1-5", tz="Europe/Berlin", run_timeout_ms=1_800_000),
        ),
        (
            '"@hourly"',
            DeclaredSchedule(
                kind="cron",
                expr="@hourly",
                tz="Europe/Berlin",
                jitter_ms=120_000,
                run_timeout_ms=1_800_000,
            ),
        ),
        (
            "{ at = 2026-12-01T09:00:00+01:00, start_deadline_s = 60, run_timeout_s = 90.5 }",
            DeclaredSchedule(
                kind="at",
                at_ms=1_796_112_000_000,
                tz="Europe/Berlin",
                start_deadline_ms=60_000,
                run_timeout_ms=90_500,
            ),
        ),
        (
            '{ every_s = 7.5, overlap = "queue_all", catch_up = "all", catch_up_window_s = 600,'
            " max_catch_up = 3, jitter_s = 2, max_attempts = 1, pause_after_failures = 0 }",
            DeclaredSchedule(
                kind="every",
                every_ms=7_500,
                tz="Europe/Berlin",
                overlap="queue_all",
                coalesce="all",
                catchup_window_ms=600_000,
                max_catchup=3,
                jitter_ms=2_000,
                run_timeout_ms=1_800_000,
                max_attempts=1,
                pause_after_failures=0,
            ),
        ),
        (
            '{ every_s = 60, catch_up = "none" }',
            DeclaredSchedule(
                kind="every",
                every_ms=60_000,
                tz="Europe/Berlin",
                catchup_window_ms=0,
                run_timeout_ms=1_800_000,
            ),
        ),
    ],
)
def test_declared_schedule_is_stored_in_milliseconds_with_defaults(
    tmp_path: Path, schedule: str, declared: DeclaredSchedule
) -> None:
    assert _declared(tmp_path, f"schedule = {schedule}").schedule == declared


@each(
    ("slot", "declared"),
    [
        (
            '{ label = "standup", cron = "0 9 * * 1-5", duration_s = 900 }',
            DeclaredSchedule(
                kind="cron",
                action="wake",
                label="standup",
                duration_ms=900_000,
                expr="0 9 * * 1-5",
                tz="Europe/Berlin",
                catchup_window_ms=900_000,
            ),
        ),
        (
            '{ label = "review", every_s = 3600, duration_s = 60, overlap = "allow",'
            " catch_up_window_s = 30 }",
            DeclaredSchedule(
                kind="every",
                action="wake",
                label="review",
                duration_ms=60_000,
                every_ms=3_600_000,
                tz="Europe/Berlin",
                overlap="allow",
                catchup_window_ms=30_000,
            ),
        ),
        (
            '{ label = "hourly", cron = "@hourly", duration_s = 60, catch_up = "none" }',
            DeclaredSchedule(
                kind="cron",
                action="wake",
                label="hourly",
                duration_ms=60_000,
                expr="@hourly",
                tz="Europe/Berlin",
                catchup_window_ms=0,
            ),
        ),
    ],
)
def test_declared_slot_is_caught_up_until_the_slot_ends_without_jitter(
    tmp_path: Path, slot: str, declared: DeclaredSchedule
) -> None:
    assert _declared(tmp_path, f"slots = [{slot}]").slots == (declared,)


def test_declared_agent_has_the_values_of_the_file(tmp_path: Path) -> None:
    assert _declared(tmp_path, 'user = "anna"', "priority = 3", "max_concurrent_runs = 2") == DeclaredAgent(
        name="notes",
        user_name="anna",
        device_name="desk",
        paths=("~/notes",),
        data_types=("tasks",),
        prompt="Find what I promised to do.",
        timezone="Europe/Berlin",
        priority=3,
        max_concurrent_runs=2,
    )


NOTES = """\
[[agents]]
name = "notes"
device = "desk"
paths = ["~/notes"]
data_types = ["tasks"]
prompt = "Find what I promised to do."
"""
MODEL = '[model]\nkind = "openai"\nbase_url = "https://models.example/v1"\nname = "m"\n'


def problems(text: str) -> list[str]:
    """Each as ``line: path: ...``."""
    found = check_text(text, Path("hub.toml"), environ={}).problems
    return [f"{one.line}: {one.path}: {one.message}" for one in found]


def test_declared_config_value_has_the_type_of_toml() -> None:
    said = 'config = { a = "x", b = 5, c = 0.5, d = true, e = [1, "y"], f = { g = [] } }\n'
    (agent,) = declared_agents(check_text(NOTES + said, Path("hub.toml"), environ={}).usable())
    assert agent.config == (
        NewConfig(key="a", value="x", type=ConfigType.STRING),
        NewConfig(key="b", value=5, type=ConfigType.INTEGER),
        NewConfig(key="c", value=0.5, type=ConfigType.FLOAT),
        NewConfig(key="d", value=True, type=ConfigType.BOOLEAN),
        NewConfig(key="e", value=[1, "y"], type=ConfigType.JSON),
        NewConfig(key="f", value={"g": []}, type=ConfigType.JSON),
    )


@each(
    ("lines", "problem"),
    [
        ("config = { timezone = 'UTC' }", "7: agents.notes.config.timezone: this is a setting of the agent"),
        ("config = { limit = nan }", "7: agents.notes.config.limit: expected a float that is finite"),
        ("config = { '9 lives' = 1 }", "7: agents.notes.config.9 lives: a key begins with a letter or _"),
        ("config = { at = 2026-01-05 }", "7: agents.notes.config.at: expected json, not a date"),
        ("config = { n = 9223372036854775808 }", "7: agents.notes.config.n: an integer has 64 bits"),
        (f"config = {{ t = '{'x' * 65_537}' }}", "7: agents.notes.config.t: a value of at most 65536 bytes"),
        (
            "[agents.config]\n" + "\n".join(f"t{n} = '{'x' * 60_000}'" for n in range(5)),
            "7: agents.notes.config: all configs of an agent together have at most 262144 bytes, ",
        ),
        ("config = 5", "7: agents.notes.config: "),
        (
            "[agents.config]\ngood = 1\nbad = inf",
            "9: agents.notes.config.bad: expected a float that is finite",
        ),
    ],
)
def test_invalid_setting_is_reported_with_the_position(lines: str, problem: str) -> None:
    (told,) = problems(f"{NOTES}{lines}\n{MODEL}")
    assert told.startswith(problem)


async def test_applying_a_file_changes_only_configs_of_the_file() -> None:
    def take_up(c: sa.Connection, at: int, config: str) -> Reconciled:
        owner = users.ensure_user(c, UserId("u"), "owner", 1)
        declared = declared_agents(check_text(NOTES + config, Path("hub.toml"), environ={}).usable())
        return reconcile_declared(
            c, user_id=owner, declared=declared, at=at, fresh_ids=["a-1", "d-1", "s-1", "u-1"]
        )

    async with open_store("sqlite://") as store:

        async def now() -> dict[str, Any]:
            row = await store.read(agents.find_agent_by_name, "notes")
            assert row is not None
            return await store.read(stored.configuration_of, row.id)

        assert (await store.write(take_up, 1, "config = { a = 1, b = 2 }\n")).created == ("notes",)
        row = await store.read(agents.find_agent_by_name, "notes")
        assert row is not None
        mine = [NewConfig(key="mine", value="x")]
        await store.write(config_changes.change, row.id, mine, at=2, actor="operator:7")
        with pytest.raises(ConfigOfFile):
            await store.write(config_changes.change, row.id, drops=["a"], at=2, actor="operator:7")
        assert (await store.write(take_up, 3, "config = { a = 1, b = 2 }\n")).updated == ()
        assert (await store.write(take_up, 4, "config = { b = 3 }\n")).updated == ("notes",)
        assert await now() == {"b": 3, "mine": "x"}
        assert (await store.write(take_up, 5, "")).updated == ("notes",)
        assert await now() == {"mine": "x"}
        history = await store.read(configs.config_history, row.id, limit=9)
        assert [(move.key, move.new_text, move.actor) for move in history] == [
            ("b", None, "hub.toml"),
            ("b", "3", "hub.toml"),
            ("a", None, "hub.toml"),
            ("mine", "x", "operator:7"),
            ("b", "2", "hub.toml"),
            ("a", "1", "hub.toml"),
        ]


def able(agent: DeclaredAgent) -> list[str]:
    return [f"{one.name} {one.version}{' enabled' if one.enabled else ''}" for one in agent.capabilities]


@each(
    ("written", "enabled"),
    [
        ('[{ name = "read" }]', ["read 1.0.0 enabled"]),
        (
            '[{ name = "read", version = "1.10.0" }, { name = "read", version = "1.9.0" }]',
            ["read 1.10.0 enabled", "read 1.9.0"],
        ),
        (
            '[{ name = "read", version = "2.0.0" }, { name = "read", version = "1.9.0", enabled = true }]',
            ["read 2.0.0", "read 1.9.0 enabled"],
        ),
        (
            '[{ name = "read", version = "2.0.0", enabled = false }, { name = "read", version = "1.9.0" }]',
            ["read 2.0.0", "read 1.9.0 enabled"],
        ),
        ('[{ name = "read", enabled = false }, { name = "web" }]', ["read 1.0.0", "web 1.0.0 enabled"]),
    ],
)
def test_newest_declared_capability_version_is_enabled_by_default(
    tmp_path: Path, written: str, enabled: list[str]
) -> None:
    assert able(_declared(tmp_path, f"capabilities = {written}")) == enabled


def test_declared_needs_are_normalized(tmp_path: Path) -> None:
    assert _declared(tmp_path, 'needs = ["read>=1.2,<2", "web"]').needs == ("read >= 1.2, < 2", "web")


@each(
    ("written", "told"),
    [
        ('capabilities = [{ version = "1.0.0" }]', "name"),
        ('capabilities = [{ name = "read files" }]', "1 to 255 letters"),
        ('capabilities = [{ name = "read", version = "1.0" }]', "'1.0' is no version"),
        ('capabilities = [{ name = "read" }, { name = "read" }]', "read 1.0.0 is listed twice"),
        (
            'capabilities = [{ name = "read", enabled = true },'
            ' { name = "read", version = "2.0.0", enabled = true }]',
            "read is enabled in 1.0.0 already",
        ),
        ('capabilities = [{ name = "read", config = { since = 2026-01-05 } }]', "config: expected a JSON"),
        ('needs = ["read => 1"]', "expected an operator"),
    ],
)
def test_invalid_value_is_refused_with_the_position(tmp_path: Path, written: str, told: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        _declared(tmp_path, written)
    said = str(caught.value)
    assert told in said and "hub.toml:8" in said


ENDPOINTS = '{ authorize_url = "https://sso.example.org/a", token_url = "https://sso.example.org/t" }'
BOX = 'host = "imap.example.org", username = "ana"'


@each(
    "case",
    [
        ("imap", BOX, BOX + ', authserv_id = "mx"', True),
        ("imap", BOX, BOX + ", port = 993", True),
        ("imap", BOX, BOX.replace("imap.", "evil."), False),
        ("imap", BOX + ", port = 993", BOX + ', port = 993, tls = "none", insecure = true', False),
        ("imap", BOX, BOX + ', ca_file = "evil.pem"', False),
        *(
            (
                "imap",
                f'{BOX}, auth = "xoauth2", oauth = {ENDPOINTS}',
                f'{BOX}, auth = "xoauth2", oauth = {ENDPOINTS.replace(*change)}',
                False,
            )
            for change in [
                ("sso.example.org/t", "evil.example/t"),
                ("}", ', revoke_url = "https://e.example/r" }'),
            ]
        ),
        ("gmail", "", 'token_url = "https://evil.example/t"', False),
        ("gmail", "", 'revoke_url = "https://evil.example/t"', False),
        ("outlook", "", 'login_url = "https://evil.example"', False),
    ],
)
def test_sign_in_is_bound_to_where_and_how_its_secret_is_sent(
    case: tuple[str, str, str, bool], tmp_path: Path
) -> None:
    provider, before, after, is_kept = case

    def origin(settings: str) -> str:
        (file := tmp_path / "hub.toml").write_text(
            f'[[connectors]]\nname = "m"\nprovider = "{provider}"\nclient_id = "c"\n'
            f"settings = {{ {settings} }}\n"
        )
        (declared,) = declared_connectors(load_settings(file))
        assert declared.problem is None
        return declared.origin

    assert grant_covers(origin(before), origin(after)) is is_kept
    assert grant_covers(stream_of(origin(before)), origin(before)), "of an older release"
