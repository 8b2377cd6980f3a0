"""What is found in hub.toml by looking further than at its types: files, sockets, limits."""

import os
import re
import resource
from datetime import timedelta
from pathlib import Path

import pytest

from hub import docs
from hub.app.connector_accounts import config_of
from hub.base.toml.values import SecretMissing, SecretRef
from hub.connectors.imap_settings import ImapSettings
from hub.settings.declared import declared_connectors
from hub.settings.reading import check_settings
from hub.settings.settings import Settings
from tests.support.certificates import write_certificate
from tests.support.families import each
from tests.support.served_settings import load_settings
from tests.support.settings import Check

TLS = '[listen.devices]\ntls = { certificate = "hub.crt", key = "hub.key" }\n'
OPENAI = '[model]\nkind = "openai"\nbase_url = "https://h/v1"\nname = "m"\napi_key = { credential = "llm" }\n'


@pytest.fixture
def check(file: Path) -> Check:
    def problems(text: str, *, serving: bool = True, **environ: str) -> list[str]:
        file.write_text(text)
        found = check_settings(file, environ=environ, serving=serving).problems
        return [str(problem).removeprefix(f"{file}:") for problem in found]

    return problems


def test_foreign_or_readable_certificate_key_is_reported(check: Check, tmp_path: Path) -> None:
    mine, other = write_certificate(tmp_path, "mine"), write_certificate(tmp_path, "other")
    text = TLS.replace("hub.crt", mine.certificate.name)
    for files in (mine, other):
        files.key.chmod(0o600)
    assert check(text.replace("hub.key", mine.key.name)) == []
    (told,) = check(text.replace("hub.key", other.key.name))
    assert told == f"2:7: error: listen.devices.tls: the key {other.key} is not that of {mine.certificate}"
    assert check(text.replace("hub.key", other.key.name), serving=False) == [told]  # that was read and is so
    mine.key.chmod(0o640)
    (told,) = check(text.replace("hub.key", mine.key.name))
    assert f"warning: listen.devices.tls.key: others may read {mine.key} - chmod 600 {mine.key}" in told


def test_a_missing_certificate_is_reported(check: Check, tmp_path: Path) -> None:
    (told,) = check(TLS)
    assert (
        told == f"2:7: error: listen.devices.tls: cannot read {tmp_path}/hub.crt: No such file or directory"
    )
    (told,) = check(TLS, serving=False)
    assert told.startswith("2:7: warning: ")  # who checks a file is often not who may read the key


@each(("days", "told"), [(-0.5, "ended on "), (20, "ends on "), (22, None)])
def test_certificate_is_reported_from_three_weeks_before_expiry(
    check: Check, tmp_path: Path, days: float, told: str | None
) -> None:
    write_certificate(tmp_path, lasts=timedelta(days=days))
    problems = check(TLS)
    assert [
        problem.startswith(f"2:23: warning: listen.devices.tls.certificate: {told}") for problem in problems
    ] == [True for _ in range(told is not None)]


def test_a_mistake_elsewhere_hides_neither_a_secret_nor_a_certificate(check: Check, tmp_path: Path) -> None:
    told = check(f'{TLS}prot = 1\n{OPENAI}names = 1\n[limits]\nruns = "x"\n')
    assert [problem.partition(" - ")[0] for problem in told] == [
        f"2:7: error: listen.devices.tls: cannot read {tmp_path}/hub.crt: No such file or directory",
        "3:1: error: listen.devices.prot: unknown key",
        "8:11: error: model.api_key: there is no credential llm: CREDENTIALS_DIRECTORY is not set",
        "9:1: error: model.names: unknown key",
        "11:8: error: limits.runs: a whole number is expected",
    ]


def test_byte_order_mark_in_the_settings_file_is_reported_by_name(check: Check) -> None:
    told = (
        "1:1: error: begins with a byte order mark, which TOML does not have - save it as UTF-8 without one"
    )
    assert check("\ufeff[limits]\n") == [told]


def test_more_connections_than_files_may_be_open_are_a_warning(check: Check) -> None:
    (told,) = check("[limits]\nconnections = 9_000_000_000\n")
    assert told.startswith("2:15: warning: limits.connections: this process may open ")
    assert "raise LimitNOFILE= of the unit" in told
    assert check("[limits]\nconnections = 10\n") == []


def test_default_connections_above_the_open_file_limit_are_a_warning(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1_024))  # the hub raises the first by itself
    (told,) = check("# defaults\n")
    assert "limits.connections: this process may open 1024 files and keeps 256 for the rest" in told
    assert "no more than 768 of 10000 connections fit" in told
    assert check("[limits]\nconnections = 768\n") == []
    (told,) = check("[limits]\nconnections = 769\n")
    assert told.startswith("2:15: warning: ")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 10_256))
    assert check("# defaults\n") == []


@each("mode", [0o664, 0o646])
def test_file_writable_by_others_is_a_warning(check: Check, file: Path, mode: int) -> None:
    file.touch(mode=mode)
    file.chmod(mode)
    assert check("# defaults\n") == [
        f"1:1: warning: users other than its owner may change this file - chmod go-w {file}"
    ]
    file.chmod(0o644)
    assert check("# defaults\n") == []


def test_credential_is_read_from_the_credentials_directory(check: Check, tmp_path: Path) -> None:
    told = "5:11: error: model.api_key: there is no credential llm: CREDENTIALS_DIRECTORY is not set"
    assert check(OPENAI) == [told]
    folder = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    (told,) = check(OPENAI, **folder)
    assert told == f"5:11: error: model.api_key: cannot read {tmp_path}/llm: No such file or directory"
    (tmp_path / "llm").write_text("k\n")
    assert (check(OPENAI, **folder), SecretRef(credential="llm").resolve(folder)) == ([], "k")


@each("deep", [f"[{'a.' * 70}b]\nc = 1\n", f"[a]\nb = {'[' * 70}{']' * 70}\n", f"a.{'b.' * 400}c = 1\n"])
def test_too_deeply_nested_settings_are_reported_as_a_single_problem(check: Check, deep: str) -> None:
    assert check(deep) == ["1:1: error: [a] is nested more than 64 levels deep - no setting needs as many"]


def test_number_with_thousands_of_digits_is_a_settings_problem(check: Check) -> None:
    (told,) = check(f"[limits]\nruns = {'9' * 5_000}\n")
    assert told.endswith(": error: a number has too many digits")


@each("name", ["../key", "a/b", "", ".", "..", "key\\n"])
def test_credential_name_with_a_path_is_refused(check: Check, name: str) -> None:
    (told,) = check(OPENAI.replace("llm", name))
    assert told.startswith("5:26: error: model.api_key.credential: not a valid name")


@each(
    ("path", "told"),
    [
        ("~nobody-of-this-name/key", "there is no such user - write the path out"),
        ("a\\u0000b", "a path has no null character"),
    ],
)
def test_impossible_file_path_in_settings_is_reported(check: Check, path: str, told: str) -> None:
    secret = OPENAI.replace('credential = "llm"', f'file = "{path}"')
    assert check(secret) == [f"5:20: error: model.api_key.file: {told}"]
    assert check(TLS.replace("hub.key", path)) == [f"2:40: error: listen.devices.tls.key: {told}"]


def test_missing_secret_error_names_the_environment_variable() -> None:
    with pytest.raises(SecretMissing, match="the environment variable NO_SUCH is not set"):
        SecretRef(env="NO_SUCH").resolve({})
    assert "NO_SUCH" not in os.environ


FALLBACK = """
[[fallback_models]]
kind = "openai"
base_url = "https://other/v1"
name = "m"
"""


def test_fallback_models_must_be_distinct_and_of_the_model_kind(check: Check) -> None:
    first = OPENAI.replace('api_key = { credential = "llm" }\n', "")
    assert check(first + FALLBACK) == []
    (told,) = check(FALLBACK)
    assert "2:1: error: fallback_models.m: there is no model that it could replace" in told
    (told,) = check(f'{first}[[fallback_models]]\nkind = "local"\n')
    assert (
        "error: kind of the first [[fallback_models]]: the small model on this machine and an endpoint are"
        in told
    )
    (told,) = check(first + FALLBACK.replace("other", "h"))
    assert "error: fallback_models.m: this model is asked already" in told
    (told,) = check('[model]\nkind = "local"\n[[fallback_models]]\nkind = "local"\ntimeout_s = 9.0\n')
    assert "error: the first [[fallback_models]]: this model is asked already" in told


def test_secrets_and_addresses_of_fallback_models_are_checked(check: Check) -> None:
    first = OPENAI.replace('api_key = { credential = "llm" }\n', "")
    (told,) = check(f'{first}{FALLBACK}api_key = {{ env = "OTHER" }}\n')
    assert "error: fallback_models.m.api_key: the environment variable OTHER is not set" in told
    assert any(
        "a secret must not be written in this file" in told
        for told in check(f'{first}{FALLBACK}api_key = "x"\n')
    )
    (told,) = check(first + FALLBACK.replace("other", "10.0.0.1"))
    assert "warning: fallback_models.m.base_url: 10.0.0.1 is not called" in told


def test_model_price_needs_both_the_input_and_the_output_price(check: Check) -> None:
    first = OPENAI.replace('api_key = { credential = "llm" }\n', "")
    assert check(f"{first}price_in_usd = 1\nprice_out_usd = 0.5\n") == []
    (told,) = check(f"{first}price_in_usd = 1.0\n")
    assert "error: model.price_in_usd: the price of questions and that of answers are given together" in told


def test_a_known_sender_is_an_address_or_a_domain(check: Check) -> None:
    assert check('[trust]\nsenders = ["Anna@Example.org", "@example.org", "münchen.example"]') == []
    for wrong in ("anna", "anna@", "a b@example.org", "Anna <anna@example.org>", "*.org"):
        (problem,) = check(f'[trust]\nsenders = ["{wrong}"]')
        assert problem.startswith("2:") and "neither a mail address nor a domain" in problem, wrong


TEMPLATE = """\
[[templates]]
name = "researcher"
prompt = "Find what {{ agent }} promised about {{ project }}."
default_configuration = { depth = 2 }
configuration_schema = '''
{"required": ["project"], "additionalProperties": false,
 "properties": {"project": {"type": "string"}, "depth": {"type": "integer"}}}'''
"""
AGENT = """\
[[agents]]
name = "notes"
device = "desk"
paths = ["notes"]
data_types = ["tasks"]
"""


def test_agent_matching_the_template_is_no_finding(check: Check) -> None:
    assert check(TEMPLATE + AGENT + 'template = "researcher"\nconfig = { project = "x" }') == []


def test_the_template_agent_and_slot_of_the_handbook_are_right(check: Check) -> None:
    (block,) = re.findall(r"```toml\n(\[\[templates\]\].*?)```", docs.page("agents"), re.DOTALL)
    assert all(table in block for table in ("[[agents]]", "[[agents.slots]]"))
    assert check(block) == []


@each(
    ("text", "words"),
    [
        (
            TEMPLATE + AGENT + 'template = "researcher"\nprompt = "x"',
            ("9:8: error", "$: missing: project", "researcher"),
        ),
        (
            TEMPLATE + AGENT + 'template = "researcher"\nconfig = { project = "x", dept = 1 }',
            ("there is no key dept; known are depth, project",),
        ),
        (
            AGENT + 'prompt = "Find {{ projct }}."\nconfig = { project = "x" }',
            ("6:10: error: agents.notes.prompt", "'projct'", "did you mean 'project'"),
        ),
        (AGENT + 'template = "reseacher"', ("6:12: warning: agents.notes.template", "hub templates put")),
        (
            AGENT + 'schedule = { cron = "0 7 * * *" }',
            (
                "6:12: error: agents.notes.schedule: its runs cannot start without prompt",
                "template that has one",
            ),
        ),
        (
            '[[agents]]\nname = "calendar"\nslots = [{ label = "standup", every_s = 900, duration_s = 60 }]',
            ("3:9: error: agents.calendar.slots: nothing can wake it without device",),
        ),
        (
            '[[templates]]\nname = "t"\n' + AGENT + 'template = "t"\nschedule = { cron = "0 7 * * *" }',
            ("agents.notes.schedule: its runs cannot start without prompt",),
        ),
        (TEMPLATE + TEMPLATE, ("another template has this name", "line 2")),
        ('[[templates]]\nname = "t"\nconfiguration_schema = "{"', ("3:24", "is no JSON")),
        (
            '[[templates]]\nname = "t"\nconfiguration_schema = { type = "objet" }',
            ("templates.t.configuration_schema: $.type",),
        ),
        (
            '[[templates]]\nname = "t"\ndefault_configuration = { a = 1 }\n'
            'configuration_schema = { properties = { a = { type = "string" } } }',
            ("3:25: error: templates.t.default_configuration: $.a: a text is expected",),
        ),
        (
            '[[templates]]\nname = "t"\nprompt = "Find {{ this one }}."',
            ("3:10: error: templates.t.prompt", "opens no variable"),
        ),
    ],
)
def test_invalid_value_is_reported_with_the_position(check: Check, text: str, words: tuple[str, ...]) -> None:
    (told,) = check(text)
    assert [word for word in words if word not in told] == []


def test_external_id_used_by_another_agent_is_refused(check: Check) -> None:
    one = AGENT + 'prompt = "x"\nexternal_id = "crm-7"\n'
    (told,) = check(one + one.replace('"notes"\ndevice', '"mail"\ndevice'))
    assert "14:15: error: agents.mail.external_id: another agent" in told and "line 7" in told


MODEL = '[model]\nkind = "openai"\nbase_url = "http://127.0.0.1:1/v1"\nname = "m"\n'
CONNECTOR = """\
[[connectors]]
name = "work"
provider = "imap"
secret = { file = "pw" }
settings = { host = "imap.example.org", username = "ana" }
"""
MAIL = """\
[[agents]]
name = "mail"
device = "desk"
connector = "work"
filter = { folders = ["INBOX"] }
data_types = ["tasks"]
prompt = "Find."
"""
WHOLE = MODEL + CONNECTOR + MAIL


@pytest.fixture(autouse=True)
def _password(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("secret\n")
    (tmp_path / "pw").chmod(0o600)


@each("written", ["tls/ca.pem", "/etc/hub/ca.pem", "~/ca.pem"])
def test_relative_file_of_a_connector_begins_at_the_settings_or_home_folder(
    tmp_path: Path, written: str
) -> None:
    file = tmp_path / "hub.toml"
    without_secret = CONNECTOR.replace('secret = { file = "pw" }\n', "")
    file.write_text(without_secret.replace('"ana"', f'"ana", ca_file = "{written}"'))
    settings = load_settings(file, environ={})
    config = config_of(settings.connectors[0], settings)
    assert config is not None and isinstance(config.settings, ImapSettings)
    assert config.settings.ca_file == tmp_path / Path(written).expanduser()


def test_mailbox_settings_are_valid_without_a_password(check: Check) -> None:
    assert (check(WHOLE), check(WHOLE.replace('secret = { file = "pw" }\n', ""))) == ([], [])


@each(
    ("was", "wrong", "told"),
    [
        ('"imap"', '"imab"', "7:12: error: connectors.work.provider: there is no provider 'imab'"),
        ('"imap"', '"imab"', "did you mean 'imap'?"),
        ("username", "user_name", "connectors.work.settings.user_name"),
        ('host = "imap.example.org", ', "", "connectors.work.settings"),
        (
            CONNECTOR,
            CONNECTOR + '[[connectors]]\nname = "builds"\nprovider = "webhook"\n',
            "webhook requires a secret",
        ),
        ('{ file = "pw" }', '"hunter2"', "a secret must not be written in this file"),
        ('connector = "work"', 'connector = "wrok"', "there is no connector 'wrok' - did you mean 'work'?"),
        ('device = "desk"', 'device = "desk"\nuser = "eve"', "there is no connector 'work'"),
        ("folders", "folder", "agents.mail.filter.folder"),
        ('connector = "work"', 'connector = "work"\npaths = ["~/notes"]', "instead of files"),
        ('connector = "work"\n', 'paths = ["~/notes"]\n', "it reads no connector"),
        (
            'connector = "work"\nfilter = { folders = ["INBOX"] }\n',
            'schedule = { cron = "0 7 * * *" }\n',
            "schedule: its runs cannot start without paths (what it reads there) or connector",
        ),
        (CONNECTOR, CONNECTOR * 2, "another connector has this name"),
    ],
)
def test_invalid_setting_is_reported_with_the_position(check: Check, was: str, wrong: str, told: str) -> None:
    assert was in WHOLE
    problems = check(WHOLE.replace(was, wrong))
    assert any(told in problem for problem in problems), problems


def test_push_is_refused_for_a_provider_without_notifications(check: Check) -> None:
    gmail = CONNECTOR.replace('"imap"', '"gmail"').replace('secret = { file = "pw" }', 'client_id = "hub"')
    gmail = gmail.replace('{ host = "imap.example.org", username = "ana" }', "{}")
    agent = MAIL.replace('filter = { folders = ["INBOX"] }', "push = true")
    (problem,) = check(MODEL + gmail + agent)
    assert "agents.mail.push: gmail cannot notify of new messages" in problem


MANIFEST = """\
[[connectors]]
name = "tickets"
provider = "manifest"
settings = { manifest = "tickets.toml", base_url = "https://tickets.example" }
"""


@each(
    ("content", "told"),
    [
        (None, "tickets.toml: it cannot be read: No such file or directory"),
        ('name = "tickets"', "tickets.toml: url: Field required"),
        ('name = "tickets"\nurl = "{base}/x"\n[settings.base]', "connectors.tickets.settings.base"),
        ('name = "tickets"\nurl = "{base_url}/x"\n[settings.base_url]', None),
    ],
)
def test_unusable_connector_manifest_is_reported_and_does_not_prevent_start(
    check: Check, tmp_path: Path, content: str | None, told: str | None
) -> None:
    if content is not None:
        (tmp_path / "tickets.toml").write_text(content)
    problems = check(MANIFEST)
    assert (problems == []) is (told is None)
    assert told is None or any(told in problem for problem in problems), problems
    if told is not None and told.startswith("tickets.toml"):
        settings = load_settings(tmp_path / "hub.toml", environ={})
        assert config_of(settings.connectors[0], settings) is None
        (row,) = declared_connectors(settings)
        assert told in (row.problem or "")


MODEL_AT = '[model]\nkind = "openai"\nbase_url = "{url}"\nname = "m"\ninsecure = true\n'


def test_hosts_addresses_and_networks_may_be_listed(check: Check) -> None:
    assert check('[outbound]\nallow = ["model.lan", "192.168.1.5", "10.0.0.0/8"]\n') == []


@each("entry", ["http://model.lan", "10.0.0.1/8", ""])
def test_value_of_another_type_is_an_error_with_the_position(check: Check, entry: str) -> None:
    (told,) = check(f'[outbound]\nallow = ["10.0.0.0/8", "{entry}"]\n')
    assert told.startswith("2:24: error: the second of outbound.allow: ")
    assert 'as in "10.0.0.0/8"' in told


def test_model_at_a_blocked_address_is_a_warning(check: Check) -> None:
    text = MODEL_AT.format(url="http://192.168.1.5:11434/v1")
    (told,) = check(text)
    assert told.startswith("3:12: warning: model.base_url: 192.168.1.5 is not called")
    assert check(text + '[outbound]\nallow = ["192.168.1.0/24"]\n') == []


@each("url", ["http://127.0.0.1:11434/v1", "https://8.8.8.8/v1", "https://model.lan/v1"])
def test_model_at_a_public_or_loopback_address_is_no_warning(check: Check, url: str) -> None:
    assert check(MODEL_AT.format(url=url)) == []


@each("url", ["https://169.254.169.254/x", "https://[::ffff:10.0.0.1]/x"])
def test_notify_target_at_a_blocked_address_is_a_warning(check: Check, url: str) -> None:
    text = f'[[notify]]\nname = "ops"\nkind = "ntfy"\nurl = "{url}"\n'
    (told,) = check(text)
    assert told.startswith("4:7: warning: notify.ops.url: ")
    assert "is not called" in told
    assert check(text + '[outbound]\nallow = ["169.254.169.254", "10.0.0.0/8"]\n') == []


DATABASE = '[storage]\nurl = "postgresql://hub@db/hub"\n'


def problems(file: Path, line: str, *, database: str = DATABASE, **environ: str) -> list[str]:
    """Return the problems of a ``[cluster]`` with this line."""
    file.write_text(f"{database}[cluster]\n{line}\n")
    return [str(one) for one in check_settings(file, environ=environ, serving=True).problems]


def test_a_hub_has_no_bus_by_default() -> None:
    assert Settings().cluster.resolved({}) == ""


@each("url", ["nats://10.0.0.5:4222", "tls://bus.example", "nats://[::1]:4222"])
def test_bus_address_is_read_from_the_settings_file(file: Path, url: str) -> None:
    assert problems(file, f'bus = "{url}"\nnode = "east"') == []
    assert load_settings(file).cluster.resolved({}) == url


@each("url", ["10.0.0.5:4222", "http://bus", "nats://", "nats://bus:port", "nats://bus/x?y=z"])
def test_bus_address_other_than_a_nats_address_is_refused(file: Path, url: str) -> None:
    (problem,) = problems(file, f'bus = "{url}"')
    assert "not the address of a NATS server" in problem
    (problem,) = problems(file, 'bus = { env = "BUS" }', BUS=url)
    assert "the environment variable BUS: not the address of a NATS server" in problem


@each("url", ["wss://a.example:8770", "ws://10.0.0.5:8770/", "wss://[::1]"])
def test_node_address_for_devices_is_read_from_the_settings_file(file: Path, url: str) -> None:
    assert (problems(file, f'address = "{url}"'), load_settings(file).cluster.address) == ([], url)


@each("url", ["a.example:8770", "https://a.example", "wss://", "wss://a:port", "wss://a/hub", "wss://me@a"])
def test_node_address_undialable_by_devices_is_refused(file: Path, url: str) -> None:
    (problem, *_) = problems(file, f'address = "{url}"')
    assert "not the address of a hub" in problem


def test_bus_address_with_a_password_must_be_a_reference(file: Path) -> None:
    url = "nats://hub:correct-horse@bus:4222"
    found = problems(file, f'bus = "{url}"')
    assert found and all("secret" in one and "correct-horse" not in one for one in found)
    assert problems(file, 'bus = { env = "BUS" }', BUS=url) == []
    assert load_settings(file, environ={"BUS": url}).cluster.resolved({"BUS": url}) == url


def test_bus_without_a_shared_database_is_a_warning(file: Path) -> None:
    (problem,) = problems(file, 'bus = "nats://bus:4222"', database="")
    assert "no other hub can use this hub's database" in problem


def test_address_reachable_by_other_machines_needs_tls_or_a_proxy(check: Check, tmp_path: Path) -> None:
    write_certificate(tmp_path)
    open_to_all = '[listen.devices]\naddress = "0.0.0.0:8770"\n'
    (told,) = check(open_to_all)
    assert "other machines could reach this address without TLS" in told
    assert check(open_to_all + 'tls = { certificate = "hub.crt", key = "hub.key" }') == []
    assert check(open_to_all + 'trusted_proxies = ["10.0.0.5"]') == []


@each(
    ("line", "told"),
    [
        ('trusted_proxies = ["10.0.0.0/33"]', "not an address or a network of addresses"),
        ('trusted_proxies = ["proxy.example"]', "not an address or a network of addresses"),
        ('hosts = ["hub.example:8770"]', "a host name has no port and no scheme"),
        ('hosts = ["https://hub.example"]', "a host name has no port and no scheme"),
        ('tls = { certificate = "hub.crt" }', "missing"),
    ],
)
def test_unintended_value_is_refused_with_the_position(check: Check, line: str, told: str) -> None:
    (found,) = check(f"[listen.devices]\n{line}")
    assert found.startswith("2:")
    assert told in found


def test_relative_certificate_path_begins_at_the_settings_folder(check: Check, tmp_path: Path) -> None:
    text = '[listen.operator]\ntls = { certificate = "a/hub.crt", key = "/etc/hub.key" }'
    settings = Settings.model_validate(
        {"listen": {"operator": {"tls": {"certificate": "a/hub.crt", "key": "/etc/hub.key"}}}},
        context={"base": tmp_path},
    )
    tls = settings.listen.operator.tls
    assert tls is not None
    assert (tls.certificate, tls.key) == (tmp_path / "a/hub.crt", Path("/etc/hub.key"))
    assert any("cannot read" in problem for problem in check(text))


HOOK = """\
[listen.webhooks]
address = "127.0.0.1:0"
[[connectors]]
name = "builds"
provider = "webhook"
secret = { file = "pw" }
settings = { source = "SOURCE" }
"""
TARGET = '[[notify]]\nname = "ops"\nkind = "webhook"\nurl = "https://example.org"\nsecret = { file = "pw" }\n'


@each(
    ("text", "secret", "problem"),
    [
        (HOOK.replace("SOURCE", "github"), "short", "a webhook's secret has 16 characters at least"),
        (HOOK.replace("SOURCE", "github"), "whsec_" + "?" * 32, ""),
        (HOOK.replace("SOURCE", "standard"), "whsec_" + "?" * 32, "the text after whsec_ is not base64"),
        (HOOK.partition("settings")[0], "whsec_" + "?" * 32, "the text after whsec_ is not base64"),
        (HOOK.replace("secret =", "previous_secret ="), "short", "16 characters at least"),
        (TARGET, "plain", "key 1 is neither whsec_ and base64"),
        (TARGET, "whsec_" + "A" * 32, ""),
        (TARGET.replace("webhook", "ntfy").replace("org", "org/topic"), "plain", ""),
    ],
)
@each("serving", [True, False])
def test_content_of_an_unusable_secret_is_reported_without_the_text(
    check: Check, tmp_path: Path, serving: bool, text: str, secret: str, problem: str
) -> None:
    (tmp_path / "pw").write_text(f"{secret}\n")
    if "previous_secret" in text:
        (tmp_path / "good").write_text("x" * 16)
        (tmp_path / "good").chmod(0o600)
        text = text.replace("SOURCE", "github") + 'secret = { file = "good" }\n'
    found = check(text, serving=serving)
    assert len(found) == bool(problem), found
    severity = "error" if serving else "warning"  # a hub elsewhere may have another secret
    assert all(problem in line and severity in line and secret not in line for line in found)
