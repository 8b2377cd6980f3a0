"""hub.toml: what it may say, and how everything wrong with it is told at once."""

from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from hub.base.toml.listeners import DeviceListener, Listener
from hub.base.toml.positions import KeyPath
from hub.base.toml.problems import SettingsInvalid, SettingsProblem
from hub.base.toml.schema import leaves, names_at, tables_at
from hub.base.toml.values import Effect, HostPort, SecretRef, SettingsTable
from hub.settings.agent_settings import AgentSettings, ScheduleTable
from hub.settings.reading import check_settings
from hub.settings.settings import LocalModelSettings, ModelTuning, OpenAIModelSettings, Settings
from protocol.tables import TableName
from tests.support.families import each
from tests.support.served_settings import load_settings
from tests.support.settings import Check

ROOT = Path(__file__).parents[3]
AGENT = """\
[[agents]]
name = "notes"
device = "desk"
paths = ["~/notes"]
data_types = ["tasks"]
prompt = "Find what I promised to do."
"""


def test_sample_settings_file_is_loaded_with_the_written_values(tmp_path: Path) -> None:
    settings = load_settings(ROOT / "hub.toml", environ={})
    assert (settings.hub.name, settings.listen.devices.address) == ("home", HostPort("127.0.0.1", 8770))
    assert settings.listen.operator.address == HostPort("127.0.0.1", 8771)
    assert settings.storage.url == "sqlite:///hub.db"
    assert settings.model is None
    (agent,) = settings.agents
    assert agent.data_types == (TableName.TASKS, TableName.NOTES, TableName.TIMELINES)
    assert (agent.schedule, agent.timezone) == (ScheduleTable(cron="0 7 * * 1-5"), "UTC")


def test_commented_model_of_the_sample_file_is_valid(tmp_path: Path) -> None:
    told = (ROOT / "hub.toml").read_text()
    begin = told.index("# [model]")
    model = [line.removeprefix("# ") for line in told[begin : told.index("\n\n", begin)].splitlines()]
    file = tmp_path / "hub.toml"
    file.write_text("\n".join(model))
    settings = load_settings(file, environ={"OPENAI_API_KEY": "k"})
    assert isinstance(settings.model, OpenAIModelSettings)
    assert settings.model.api_key == SecretRef(env="OPENAI_API_KEY")
    assert settings.model.model_fields_set == set(OpenAIModelSettings.model_fields)


def test_commented_settings_of_the_sample_file_are_the_defaults(tmp_path: Path) -> None:
    told = (ROOT / "hub.toml").read_text()
    lines = [line.removeprefix("# ") for line in told[told.index("# [limits]") :].splitlines()]
    file = tmp_path / "hub.toml"
    file.write_text("\n".join(lines))
    shown = load_settings(file)
    assert shown == Settings()
    for table in (
        shown.limits,
        shown.retention,
        shown.log,
        shown.reload,
        shown.outbound,
        shown.audit,
        shown.backup,
    ):
        assert table.model_fields_set == set(type(table).model_fields)


def test_each_schedule_of_the_sample_file_is_valid(check: Check) -> None:
    lines = (ROOT / "hub.toml").read_text().splitlines()
    shown = [line.removeprefix("# ") for line in lines if line.startswith("# schedule = ")]
    assert (len(shown), [check(AGENT + schedule) for schedule in shown]) == (4, [[]] * 4)


def test_empty_settings_file_yields_a_loopback_hub_without_a_model(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("# defaults\n")
    assert load_settings(file) == Settings()
    assert Settings().model is None
    assert Settings().listen.devices.address.is_loopback


@each(
    ("text", "problem"),
    [
        ("[hub]\nnmae = 1", "2:1: error: hub.nmae: unknown key - did you mean 'name'?"),
        ("[limts]\nruns = 1", "1:2: error: limts: unknown table - did you mean 'limits'?"),
        (
            "[model]\nkind = 'locl'",
            "2:8: error: model.kind: must be 'openai' or 'local' - did you mean 'local'?",
        ),
        ("[hub]\nnmae = 1\nname = 'x'", "2:1: error: hub.nmae: unknown key - 'name' is set already"),
        ("[hub]\nruns = 1", "2:1: error: hub.runs: unknown key - a key of [limits]"),
        ("[hub]\nprompt = 1", "2:1: error: hub.prompt: unknown key - a key of [[agents]] or [[templates]]"),
        (
            "secret = 'x'",
            "1:1: error: secret: unknown key - the hub itself has no such key: it belongs to an entry of"
            " [[connectors]] or [[notify]], below that line",
        ),
        (
            "[limits]\nurl = 1",
            "2:1: error: limits.url: unknown key - a key of [storage], [[gateways]] or [[notify]]",
        ),
        (
            "[limits]\nname = 'x'",
            "2:1: error: limits.name: unknown key - a key of [hub], [model], [[fallback_models]] or another",
        ),
        (
            "runs = 4",
            "1:1: error: runs: unknown key - the hub itself has no such key: it belongs to [limits]",
        ),
        ("[LIMITS]\nruns = 1", "1:2: error: LIMITS: unknown table - did you mean 'limits'?"),
        (
            "[log]\nlevel = 'WARNING'",
            "2:9: error: log.level: must be 'debug', 'info', 'warning' or 'error' - did you mean 'warning'?",
        ),
        ("[hub]\nname = 5", "2:8: error: hub.name: a text is expected - write a text in quotes"),
        ("[limits]\nruns = 1.0", "2:8: error: limits.runs: a whole number is expected - write it without"),
        ("[limits]\nrun_wall_s = nan", "2:14: error: limits.run_wall_s: inf and nan are no limits"),
        ("[limits]\nruns = 99_999_999_999_999_999", "2:8: error: limits.runs: must be at most 9_007_199"),
        ("[reload]\nwatch = 'yes'", "2:9: error: reload.watch: true or false is expected - without quotes"),
        (
            "[listen.devices]\norigins = 'a'",
            "2:11: error: listen.devices.origins: a list is expected - as in",
        ),
        ("[hub]\nname = home", "2:8: error: Invalid value - a text is written in quotes, as in"),
        ("[log]\nx = False", "2:5: error: Invalid value - a switch is true or false, in small letters"),
        (
            "[hub]\nname = \u201cx\u201d",
            "2:8: error: Invalid value - these quotes are curly; write straight ones",
        ),
        ('[hub]\nname = "C:\\Users"', "2:13: error: Invalid hex value - a backslash begins"),
        (
            '[hub]\nname = "C:\\work"',
            "2:13: error: Unescaped '\\' in a string - a backslash begins an escape",
        ),
        (
            '[hub]\nname = "x\n',
            "2:10: error: Illegal character '\\n' - the text that begins in this",
        ),
        ("[log]\nx = 1\nx = 2", "3:6: error: Cannot overwrite a value - this key is written twice"),
        (
            "[hub]\n[log]\n[hub]",
            "3:1: error: [hub] is in line 1 already - put the keys of both",
        ),
        (
            "[[agents]]\n[agents]",
            "2:1: error: [agents] is in line 1 already - put the keys of both",
        ),
        ("hub", "1:4: error: Expected '=' after a key in a key/value pair - write key = value, or [table]"),
        ("[model]\nname = 'x'", "1:1: error: model.kind: missing"),
        ("[model]\nkind = 'openai'\nname = 'x'", "1:1: error: model.base_url: missing"),
        (
            "[limits]\nruns = '32'",
            "2:8: error: limits.runs: a whole number is expected - write a number without quotes",
        ),
        (
            "[traces]\notlp = 'http://collector.example:4318'",
            "2:8: error: traces.otlp: other machines are called by https only - run a collector here",
        ),
        ("[limits]\nruns = 0", "2:8: error: limits.runs: must be at least 1"),
        ("[limits]\nruns = true", "2:8: error: limits.runs: a whole number is expected"),
        (
            "[listen]\ndevices = { compression = 1 }",
            "2:27: error: listen.devices.compression: true or false is expected - as in key = true",
        ),
        (
            '[listen.devices]\naddress = "8770"',
            "2:11: error: listen.devices.address: an address is host:port",
        ),
        (
            '[listen.devices]\naddress = "::1:8770"',
            "2:11: error: listen.devices.address: write an IPv6 address in brackets: [::1]:8770",
        ),
        (
            '[listen.devices]\naddress = "a:70000"',
            "2:11: error: listen.devices.address: a port is a number from 0 to 65535",
        ),
        ('[storage]\nurl = "mysql://db/hub"', "2:7: error: storage.url: not the address of a database"),
        (
            '[storage]\nurl = "postgresql://db/h?ssl=1"',
            "2:7: error: storage.url: the option 'ssl' of the address",
        ),
        ('[storage]\nurl = "sqlite:hub.db"', "2:7: error: storage.url: not the address of a database"),
        ("[storage]\nurl = 5", "2:7: error: storage.url: a text is expected - write a text in quotes"),
        ('[storage]\nurl = { evn = "X" }', "2:9: error: storage.url.evn: unknown key - did you mean 'env'?"),
        (
            '[model]\nkind = "openai"\nname = "m"\nbase_url = "host/v1"',
            "4:12: error: model.base_url: not the address of a web service",
        ),
        (
            '[model]\nkind = "openai"\nname = "m"\nbase_url = "http://gpu.lan/v1"',
            "4:12: error: model.base_url: documents and key would cross the network unencrypted",
        ),
        (
            "[model]\nkind = 'local'\nbase_url = 'x'",
            "3:1: error: model.base_url: unknown key - another kind of this table has it",
        ),
        ('x = "a"\ny = [1,\n  2', "3:4: error: Unclosed array"),
        ("a = 1\na = 2", "2:6: error: Cannot overwrite a value"),
    ],
)
def test_invalid_setting_is_reported_with_the_position(check: Check, text: str, problem: str) -> None:
    assert any(told.startswith(problem) for told in check(text))


@each(
    ("line", "problem"),
    [
        ('name = "my notes"', "name of the first [[agents]]: not a valid name - letters, digits"),
        ("paths = []", "agents.notes.paths: may not be empty"),
        ('data_types = ["taks"]', "there is no table 'taks' - did you mean 'tasks'?"),
        (
            'file_extensions = [".md", "txt"]',
            'the second of agents.notes.file_extensions: a file extension begins with a dot - as in ".md"',
        ),
        ('prompt = ""', "prompt: may not be empty"),
        ('schedule = "0 7 * * 1-5 0"', "schedule: 6 fields instead of five"),
        ('schedule = "0 0 31 2 *"', "schedule: never fires within 8 years"),
        ('timezone = "Europe/Brlin"', "timezone: no such time zone - did you mean 'Europe/Berlin'?"),
        ('timezone = "../../etc/passwd"', 'timezone: no such time zone - as in "Europe/Berlin"'),
        ('timezone = "Europe"', "timezone: no such time zone"),
        (f'timezone = "Europe{"/Berlin" * 700}"', 'timezone: no such time zone - as in "Europe/Berlin"'),
    ],
)
def test_a_mistake_in_an_agent_is_reported(check: Check, line: str, problem: str) -> None:
    key = line.split(" = ")[0]
    rest = "\n".join(other for other in AGENT.splitlines() if not other.startswith(f"{key} ="))
    assert any(problem in told for told in check(f"{rest}\n{line}\n"))


@each(
    ("schedule", "problem"),
    [
        (
            "5",
            "7:12: error: agents.notes.schedule: a cron expression or a table is expected"
            ' - as in "0 9 * * 1-5"',
        ),
        (
            "{}",
            "7:12: error: agents.notes.schedule: when it fires is missing - give one of cron, every_s and at",
        ),
        (
            '{ cron = "@daily", every_s = 60 }',
            "7:41: error: agents.notes.schedule.every_s: there is cron already - keep one of them",
        ),
        (
            '{ cron = "R 0 * * *" }',
            "7:21: error: agents.notes.schedule.cron: minute: 'R' is not a value",
        ),
        (
            "{ every_s = 4 }",
            "7:24: error: agents.notes.schedule.every_s: must be at least 5",
        ),
        (
            "{ evry_s = 4 }",
            "7:14: error: agents.notes.schedule.evry_s: unknown key - did you mean 'every_s'?",
        ),
        (
            "{ at = 2026-12-01T09:00:00 }",
            "7:19: error: agents.notes.schedule.at: a date, a time of day and its offset from UTC are"
            " expected - as in 2026-12-01T09:00:00+01:00, without quotes",
        ),
        (
            '{ every_s = 60, overlap = "skp" }',
            "7:38: error: agents.notes.schedule.overlap: must be 'skip', 'queue_one', 'queue_all', "
            "'cancel_running' or 'allow' - did you mean 'skip'?",
        ),
        (
            '{ every_s = 60, catch_up = "all" }',
            "7:39: error: agents.notes.schedule.catch_up: how old a fire may be is missing"
            " - give catch_up_window_s too",
        ),
        (
            '{ every_s = 60, catch_up = "none", catch_up_window_s = 60 }',
            "7:67: error: agents.notes.schedule.catch_up_window_s: nothing is caught up",
        ),
        (
            "{ every_s = 60, jitter_s = 30 }",
            "7:39: error: agents.notes.schedule.jitter_s: the runs of two fires could change their order"
            " - less than half of 0:01:00, its shortest time between two",
        ),
        (
            '{ cron = "*/10,*/15 * * * *", jitter_s = 150 }',
            "7:53: error: agents.notes.schedule.jitter_s: the runs of two fires could change their order"
            " - less than half of 0:05:00, its shortest time between two",
        ),
        (
            "{ every_s = 60, jitter_s = 5, exact = true }",
            "7:50: error: agents.notes.schedule.exact: exact and jitter_s",
        ),
    ],
)
def test_mistake_in_a_schedule_is_reported_with_the_position(
    check: Check, schedule: str, problem: str
) -> None:
    (told,) = check(f"{AGENT}schedule = {schedule}\n")
    assert told.startswith(problem)


@each(
    ("slot", "problem"),
    [
        (
            'cron = "0 9 * * *"\nduration_s = 60',
            "7:1: error: label of the first of agents.notes.slots: missing",
        ),
        (
            'label = "x"\ncron = "0 9 * * *"\nduration_s = 1',
            "10:14: error: agents.notes.slots.x.duration_s: must be at least 10",
        ),
        (
            'label = "x"\ncron = "0 9 * * *"\nduration_s = 60\nmax_attempts = 3',
            "11:1: error: agents.notes.slots.x.max_attempts: unknown key",
        ),
        (
            'label = "x"\nevery_s = 60\nduration_s = 60\njitter_s = 40',
            "11:12: error: agents.notes.slots.x.jitter_s: the runs of two fires could change their order",
        ),
        (
            'label = "x"\nevery_s = 60\nduration_s = 30\n'
            '[[agents.slots]]\nlabel = "x"\nevery_s = 90\nduration_s = 30',
            "12:9: error: agents.notes.slots.x.label: another slot is called 'x'"
            " - a slot is known by its label",
        ),
        (
            'label = "x"\nat = 2020-01-05T09:00:00Z\nduration_s = 60',
            "9:6: warning: agents.notes.slots.x.at: is in the past and will not fire",
        ),
    ],
)
def test_mistake_in_a_slot_is_reported_with_the_position(check: Check, slot: str, problem: str) -> None:
    (told,) = check(f"{AGENT}[[agents.slots]]\n{slot}\n")
    assert told.startswith(problem)


@each(
    ("schedule", "kind", "jitter"),
    [
        ('"0 9 * * 1-5"', "cron", 0),
        ('"0 * * * *"', "cron", 120),
        ('"@hourly"', "cron", 120),
        ('"0 */2 * * *"', "cron", 120),
        ('{ cron = "0 * * * *", exact = true }', "cron", 0),
        ('{ cron = "0 * * * *", jitter_s = 30 }', "cron", 30),
        ('"30 * * * *"', "cron", 0),
        ("{ every_s = 900, jitter_s = 60 }", "every", 60),
        ("{ at = 2026-12-01T09:00:00+01:00 }", "at", 0),
    ],
)
def test_schedule_at_the_full_hour_has_jitter_unless_exact(
    tmp_path: Path, schedule: str, kind: str, jitter: float
) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(f"{AGENT}schedule = {schedule}\n")
    found = load_settings(file).agents[0].schedule
    assert found is not None
    assert (found.kind, found.jitter) == (kind, jitter)


def test_all_settings_problems_are_reported_in_file_order(check: Check) -> None:
    told = check(AGENT + AGENT + 'timezone = "x"\n[model]\nkind = "openai"\n[hub]\nname = ""\nage = 1\n')
    assert [line.split(":")[0] for line in told] == ["8", "13", "14", "14", "17", "18"]
    assert "agents.notes.name: another agent has this name - the other one is in line 2" in told[0]


def test_settings_problem_names_a_list_entry_by_name_or_ordinal(check: Check) -> None:
    for text, path in {
        "[[agents]]\nname = 'notes'\nx = 1": "agents.notes.x",
        "[[agents]]\nname = 'v1.2'\nconfig = { limit = nan }": "agents.v1.2.config.limit",
        "[[agents]]\nx = 1\nname = 'two words'": "x of the first [[agents]]",
        "[[agents]]\nx = 1\nname = ''": "x of the first [[agents]]",
        "[[agents]]\nx = 1\nname = 5": "x of the first [[agents]]",
        "[[agents]]\nx = 1\nname = 'sk-0123456789abcdef0123'": "x of the first [[agents]]",
        "[[agents]]\nname = 'a'\n[[agents]]\nname = 'b'\n[[agents]]\nx = 1": "x of the third [[agents]]",
        "[[agents]]\n" * 20 + "[[agents]]\nx = 1": "x of number 21 [[agents]]",
        "[[connectors]]\nname = 'work'\nx = 1": "connectors.work.x",
        "[[gateways]]\nname = 'office'\nx = 1": "gateways.office.x",
        "[[templates]]\nname = 't'\nx = 1": "templates.t.x",
        "[[tables]]\nname = 'people'\nfields = [{ name = 'met', x = 1 }]": "tables.people.fields.met.x",
        "[[tables]]\nfields = [{ x = 1 }]": "x of the first of fields of the first [[tables]]",
        "[[fallback_models]]\nkind = 'openai'\nx = 1": "x of the first [[fallback_models]]",
        "[[agents]]\nname = 'a'\n[[agents.slots]]\nlabel = 'noon'\nx = 1": "agents.a.slots.noon.x",
        "[[agents]]\nname = 'a'\npaths = ['x', 5]": "the second of agents.a.paths",
    }.items():
        paths = [problem.split(": ")[2] for problem in check(f"{text}\n")]
        assert path in paths, (path, paths)


@each("address", ["0.0.0.0:8770", "[::]:8770", "192.168.1.5:8770", "hub.lan:8770"])
def test_public_address_without_tls_requires_the_insecure_setting(check: Check, address: str) -> None:
    text = f'[listen.devices]\naddress = "{address}"\n'
    assert [line.split(" - ")[0] for line in check(text)] == [
        "2:11: error: listen.devices.address: other machines could reach this address without TLS"
    ]
    assert check(text + "insecure = true\n") == [
        "3:12: warning: listen.devices.insecure: other machines reach this address without TLS"
    ]


@each("address", ["127.0.0.1:0", "127.8.8.8:1", "[::1]:8770", "localhost:8770"])
def test_loopback_address_is_accepted(check: Check, address: str) -> None:
    assert check(f'[listen.operator]\naddress = "{address}"') == []
    assert str(HostPort.parse(address)) == address


OPENAI = '[model]\nkind = "openai"\nbase_url = "http://127.0.0.1/v1"\nname = "m"\n'


def test_plain_secret_in_the_file_is_an_error_without_the_secret(check: Check) -> None:
    secret = "sk-abcdefghijklmnopqrstuvwxyz"
    for text in (
        f'{OPENAI}api_key = "{secret}"',
        f'[model]\nkind = "nonsense"\napi_key = "{secret}"',
        f'{AGENT}schedule = "{secret}"',
        f'{AGENT}[agents.more]\nx = ["{secret}"]',
        f'[model]\nkind = "openai"\nname = "m"\nbase_url = "https://me:{secret}@host/v1"',
    ):
        told = check(text)
        assert any("a secret must not be written in this file" in line for line in told)
        assert not any(secret in line for line in told)


def test_plain_text_api_key_is_reported_once(check: Check) -> None:
    assert check(f'{OPENAI}api_key = "hunter2"') == [
        "5:11: error: model.api_key: a secret must not be written in this file"
        ' - name where it is: { env = "NAME" } or { file = "PATH" }'
    ]


def test_missing_secret_is_an_error_when_serving_else_a_warning(check: Check) -> None:
    text = f'{OPENAI}api_key = {{ env = "KEY" }}'
    told = (
        "model.api_key: the environment variable KEY is not set; set it where the hub starts,"
        " and restart the hub; or name a { file = PATH }"
    )
    assert check(text) == [f"5:11: error: {told}"]
    assert (check(text, serving=False), check(text, KEY="k")) == ([f"5:11: warning: {told}"], [])


def test_secret_file_beside_the_settings_must_exist_be_private_and_filled(
    check: Check, tmp_path: Path
) -> None:
    text = f'{OPENAI}api_key = {{ file = "key" }}'
    file = tmp_path / "key"
    assert check(text) == [f"5:11: error: model.api_key: cannot read {file}: No such file or directory"]
    file.write_text(" k\n")
    file.chmod(0o644)
    assert check(text) == [f"5:11: warning: model.api_key: others may read {file} - chmod 600 {file}"]
    file.chmod(0o600)
    assert (check(text), SecretRef(file=file).resolve()) == ([], "k")
    file.write_text("\n")
    assert check(text) == [f"5:11: error: model.api_key: {file} is empty"]


def test_list_with_an_invalid_item_is_not_reported_as_empty(check: Check) -> None:
    told = check(AGENT.replace('["tasks"]', '["taks"]'))
    assert [problem.split(": ")[2] for problem in told] == ["the first of agents.notes.data_types"]


def test_secret_reference_requires_exactly_a_single_source(check: Check) -> None:
    at = "5:11: error: model.api_key:"
    assert check(f"{OPENAI}api_key = {{}}") == [f"{at} give one of env, file and credential"]
    both = f'{OPENAI}api_key = {{ env = "A", file = "b" }}'
    assert check(both) == [f"{at} only one of env, file and credential is meant"]


def test_cron_with_day_of_month_and_day_of_week_is_a_warning(check: Check) -> None:
    (told,) = check(AGENT + 'schedule = "0 0 13 * 5"')
    assert told.startswith("7:12: warning: agents.notes.schedule: day-of-month and day-of-week are OR-ed")
    (told,) = check(AGENT + 'schedule = { cron = "0 0 13 * 5" }')
    assert told.startswith("7:21: warning: agents.notes.schedule.cron: day-of-month and")


def test_past_instant_is_a_warning(check: Check) -> None:
    (told,) = check(AGENT + "schedule = { at = 2020-12-01T09:00:00Z }")
    assert told.startswith("7:19: warning: agents.notes.schedule.at: is in the past and will not fire")


@each("overlap", ["skip", "queue_one", "cancel_running"])
def test_catch_up_all_with_a_replacing_overlap_is_a_warning(check: Check, overlap: str) -> None:
    everything = 'cron = "0 7 * * *", catch_up = "all", catch_up_window_s = 259200'
    (told,) = check(f'{AGENT}schedule = {{ {everything}, overlap = "{overlap}" }}')
    assert f'warning: agents.notes.schedule.catch_up: with overlap = "{overlap}" one run replaces' in told
    assert 'write overlap = "queue_all"' in told
    assert check(f'{AGENT}schedule = {{ {everything}, overlap = "queue_all" }}') == []


def test_non_utf8_text_is_reported_with_the_position_of_the_first_fault(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_bytes(b'[hub]\nname = "\xff"')
    assert check_settings(file).problems == [SettingsProblem(str(file), 2, 9, "", "not UTF-8")]


def test_loading_settings_raises_errors_without_warnings(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('[storage]\nurl = "sqlite://"\n')
    assert load_settings(file).storage.url == "sqlite://"
    file.write_text('[storage]\nurl = "sqlite://"\n[hub]\nx = 1')
    with pytest.raises(SettingsInvalid) as invalid:
        load_settings(file)
    assert [problem.severity for problem in invalid.value.problems] == ["error"]


def test_local_model_settings_need_only_the_kind(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('[model]\nkind = "local"\n')
    assert load_settings(file).model == LocalModelSettings(kind="local")


def test_every_settings_field_has_a_description_and_an_effect() -> None:
    def below(model: type[BaseModel]) -> set[type[BaseModel]]:
        return {model}.union(*(below(inner) for inner in model.__subclasses__()))

    tables = below(SettingsTable) - {SettingsTable, Listener, ModelTuning}
    for table in tables:
        for leaf in leaves(table):
            assert leaf.field.description, (table, leaf.path)
            assert leaf.effect in get_args(Effect), (table, leaf.path)


@each(
    ("path", "model"),
    [
        ((), Settings),
        (("listen", "devices"), DeviceListener),
        (("storage", "url"), SecretRef),
        (("model", "api_key"), SecretRef),
        (("agents", 3), AgentSettings),
        (("agents", 0, "schedule"), ScheduleTable),
    ],
)
def test_settings_path_resolves_to_the_table_model(path: KeyPath, model: type[BaseModel]) -> None:
    assert (tables_at(path, Settings), names_at(path, Settings)) == ([model], list(model.model_fields))


def test_settings_table_with_several_kinds_has_the_keys_of_all_kinds() -> None:
    assert tables_at(("model",), Settings) == [OpenAIModelSettings, LocalModelSettings]
    assert names_at(("model", "name"), Settings) == []
