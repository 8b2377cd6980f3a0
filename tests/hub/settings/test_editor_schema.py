"""The JSON Schema of hub.toml, as an editor reads it."""

import tomllib
from pathlib import Path
from typing import Any

import jsonschema

from hub.base.toml.schema import leaves
from hub.settings.editor_schema import settings_schema
from hub.settings.reading import check_text
from hub.settings.settings import Settings
from tests.support.families import each

SAMPLE = Path(__file__).parents[3] / "hub.toml"
SCHEMA = settings_schema()
AGENT = '[[agents]]\nname = "n"\ndevice = "d"\npaths = ["p"]\ndata_types = ["tasks"]\nprompt = "x"\n'


def mistakes(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(tomllib.loads(text))]


def test_settings_schema_is_valid_and_accepts_the_sample_file() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert mistakes(SAMPLE.read_text()) == []


@each(
    ("text", "where"),
    [
        ("[hub]\nnmae = 'x'", "hub"),
        ("[limts]", ""),
        ("[limits]\nruns = 0", "limits.runs"),
        ("[limits]\nruns = 'x'", "limits.runs"),
        ("[log]\nlevel = 'loud'", "log.level"),
        ("[listen.devices]\naddress = 5", "listen.devices.address"),
        ("[storage]\nurl = { evn = 'X' }", "storage.url"),
        ("[model]\nkind = 'locl'", "model"),
        (AGENT + "schedule = 5", "agents.0.schedule"),
        (AGENT + "schedule = { evry_s = 5 }", "agents.0.schedule"),
        (AGENT.replace('"tasks"', '"ta sks"'), "agents.0.data_types.0"),
        (AGENT + "schedule = '0 7 * *'", "agents.0.schedule"),
        (AGENT + "schedule = { cron = '0 7 * * * *' }", "agents.0.schedule"),
        (AGENT + "timezone = 'Europe Berlin'", "agents.0.timezone"),
        (AGENT + "file_extensions = ['md']", "agents.0.file_extensions.0"),
        ("[listen.devices]\naddress = 'localhost'", "listen.devices.address"),
        ("[listen.devices]\naddress = '127.0.0.1:port'", "listen.devices.address"),
        ("[listen.devices]\norigins = ['app.example']", "listen.devices.origins.0"),
        ("[listen.devices]\nhosts = ['hub.example:8770']", "listen.devices.hosts.0"),
        ("[listen.devices]\ntrusted_proxies = ['proxy']", "listen.devices.trusted_proxies.0"),
        ("[storage]\nurl = 'mysql://host'", "storage.url"),
        ("[model]\nkind = 'openai'\nname = 'm'\nbase_url = 'host/v1'", "model"),
        ("[coordination]\nreply_url = 'hub.example'", "coordination.reply_url"),
        ("[[gateways]]\nname = 'g'\nurl = 'https://x'", "gateways.0.url"),
        ("[limits]\nrun_wall_s = '1h'", "limits.run_wall_s"),
    ],
)
def test_settings_schema_rejects_texts_rejected_by_the_hub(text: str, where: str) -> None:
    assert where in mistakes(text)
    assert check_text(text, Path("hub.toml")).settings is None


@each(
    "text",
    [
        '[listen.devices]\naddress = "127.0.0.1:0"\n',
        "[storage]\nurl = { env = 'X' }\n",
        "[model]\nkind = 'local'\n",
        AGENT + "schedule = '0 7 * * *'",
        AGENT + "schedule = { every_s = 900 }",
        AGENT + "schedule = '@daily'\ntimezone = 'America/Argentina/Buenos_Aires'",
        AGENT + "timezone = 'Etc/GMT+5'\nfile_extensions = ['.tar.gz']",
        '[listen.devices]\naddress = "[::1]:8770"\norigins = ["https://app.example:8443", "app://obsidian.md"]\n',
        "[storage]\nurl = 'postgresql://hub@db/hub'\n",
    ],
)
def test_settings_schema_accepts_texts_accepted_by_the_hub(text: str) -> None:
    assert mistakes(text) == []
    assert check_text(text, Path("hub.toml")).settings is not None


def test_settings_schema_field_has_default_description_and_effect() -> None:
    told = Settings().model_dump(mode="json")
    for leaf in leaves(Settings):
        field: dict[str, Any] = SCHEMA
        default: Any = told
        for part in leaf.path:
            field = SCHEMA["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field
            field = field["properties"][part]
            default = default[part]
        assert (field["description"], field["x-effect"]) == (leaf.field.description, leaf.effect)
        assert field.get("default") == default


def test_settings_schema_marks_limits_as_per_cluster_or_per_node() -> None:
    told = SCHEMA["$defs"]["Limits"]["properties"]
    of_all = {key for key, field in told.items() if field.get("x-scope") == "per cluster"}
    of_each = {key for key, field in told.items() if field.get("x-scope") == "per node"}
    assert of_all == {"connections_per_user", "agents_per_user", "database_bytes", "runs_per_device"}
    begins = ("Concurrent", "New con")
    assert of_each == {key for key in told.keys() - of_all if told[key]["description"].startswith(begins)}
