"""Edits of hub.toml change the lines that they are about; their history, and guarded keys."""

import json
import tomllib
from collections.abc import Iterator
from difflib import ndiff
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from hub.base.roles import Role, Scope
from hub.base.toml.positions import KeyPath, document
from hub.base.toml.values import SecretRef
from hub.settings.edits import (
    GUARDED,
    BeyondSettings,
    CannotEdit,
    KeyChange,
    check_guarded,
    combined,
    edited,
    key_changes,
    undone,
)
from hub.settings.settings import Settings
from storage import audit
from tests.support.families import each
from tests.support.hub import TEXT, answering, over_tcp, over_unix

SAMPLE = (Path(__file__).parents[3] / "hub.toml").read_text()


def lines_changed(before: str, after: str) -> list[str]:
    return [line for line in ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


def test_edit_of_a_value_changes_only_the_value_and_preserves_the_comment() -> None:
    after = edited(SAMPLE, {"hub.name": "cabin"})
    removed, added = lines_changed(SAMPLE, after)
    assert removed == '- name = "home"                       # name of the hub'
    assert added.startswith('+ name = "cabin"')
    assert added.endswith("# name of the hub")


def test_edit_writes_a_new_key_after_the_other_keys_of_the_table() -> None:
    after = edited(SAMPLE, {"agents.notes.priority": 3})
    assert lines_changed(SAMPLE, after) == ["+ priority = 3"]
    assert "and of dates without one\npriority = 3\n# description" in after


def test_edit_adds_a_new_table_at_the_end_of_the_file() -> None:
    assert edited("[hub]\n", {"limits.runs": 40, "limits.run_files": 9}) == (
        "[hub]\n\n[limits]\nruns = 40\nrun_files = 9\n"
    )


def test_edit_adds_a_table_within_an_inline_table_as_inline() -> None:
    after = edited('[listen]\ndevices = { address = "a" }\n', {"listen.devices.tls.key": "k"})
    assert tomllib.loads(after) == {"listen": {"devices": {"address": "a", "tls": {"key": "k"}}}}


def test_edit_uncomments_a_commented_setting_and_table() -> None:
    after = edited(SAMPLE, {"limits.connections": 5, "limits.runs": 7})
    changed = lines_changed(SAMPLE, after)
    assert [line for line in changed if line[0] == "+"] == [
        "+ [limits]",
        "+ connections = 5               # also bounded by the limit of open files",
        *(line for line in changed if line.startswith("+ runs = 7")),
    ]
    assert tomllib.loads(after)["limits"] == {"connections": 5, "runs": 7}
    assert lines_changed(after, edited(after, {"limits.runs": 8}))[0].startswith("- runs = 7")


def test_edit_leaves_a_commented_multiline_value_as_a_comment() -> None:
    text = '# [model]\n# name = """\n# a"""\n'
    assert edited(text, {"model.name": "b"}) == '[model]\nname = "b"\n# name = """\n# a"""\n'


def test_edit_removing_a_key_removes_the_line() -> None:
    after = edited(SAMPLE, {}, ["agents.notes.schedule", "limits.runs"])
    (removed,) = lines_changed(SAMPLE, after)
    assert removed.startswith('- schedule = "0 7 * * 1-5"')


def test_reference_to_a_secret_is_written_on_a_single_line() -> None:
    text = f'{SAMPLE}\n[model]\napi_key = {{ env = "KEY" }} # mine\n'
    after = edited(text, {"model.api_key": {"file": "key"}})
    assert tomllib.loads(after)["model"]["api_key"] == {"file": "key"}
    assert len(lines_changed(text, after)) == 2


def test_edit_preserves_the_line_ends_of_the_file() -> None:
    text = SAMPLE.replace("\n", "\r\n")
    assert edited(text, {"hub.name": "x", "hub.more": 1}).count("\r\n") == text.count("\r\n") + 1
    assert edited(text, {"hub.name": "x"}).count("\n") == text.count("\n")


@each(
    ("key", "told"),
    [
        ("runs", "'runs' is no key; a key is TABLE.NAME"),
        ("limits..runs", "is no key"),
        ("agents.notes", "can only be added, with its name, or removed"),
        ("agents.mail.prompt", "no agent of hub.toml is named mail"),
        ("hub.name.first", "hub.name.first: name is no table"),
    ],
)
def test_edit_of_an_unlocatable_key_is_refused(key: str, told: str) -> None:
    with pytest.raises(CannotEdit, match=told):
        edited(SAMPLE, {key: 1})


@each("value", [None, {"a": None}, [None]])
def test_edit_with_a_value_inexpressible_in_toml_is_refused(value: object) -> None:
    with pytest.raises(CannotEdit):
        edited(SAMPLE, {"hub.name": value})


NAMES = st.sampled_from(["a", "b", "c", "with space", "ü", "x.y"]).filter(lambda name: "." not in name)
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(st.integers(0, 9), max_size=3),
)


@settings(max_examples=30)
@given(
    table=st.sampled_from(["hub", "listen.devices", "limits", "storage", "model", "agents.notes", "new"]),
    name=NAMES,
    value=VALUES,
)
def test_edited_value_is_read_back_and_other_settings_are_unchanged(
    table: str, name: str, value: Any
) -> None:
    after = edited(SAMPLE, {f"{table}.{name}": value})
    doc, expected = tomllib.loads(after), tomllib.loads(SAMPLE)
    here: Any = expected
    for part in table.replace("agents.notes", "agents").split("."):
        here = here.setdefault(part, {}) if part != "agents" else here["agents"][0]
    here[name] = value
    assert doc == expected
    assert [line for line in lines_changed(SAMPLE, after) if line.startswith("-")] in ([], [f"- # [{table}]"])
    assert tomllib.loads(edited(after, {}, [f"{table}.{name}"])).keys() >= tomllib.loads(SAMPLE).keys()


NOTES = """
[[agents]]
name = "notes"   # the first
device = "desk"
prompt = "Find."
schedule = { every_s = 900 }
"""
MAIL = """
[[agents]]
name = "mail"
device = "desk"
connector = "work"

[[agents.slots]]
label = "stand-up"
duration_s = 900
# [limits]  a comment
"""
LIMITS = "[limits]\nruns = 4   # at once\n[listen.devices]\naddress = '127.0.0.1:1'\n"


def changed(before: str, after: str) -> tuple[KeyChange, ...]:
    """The changes between two texts."""
    return key_changes(document(before), document(after))


def test_settings_changes_list_each_key_with_old_and_new_value() -> None:
    after = LIMITS.replace("runs = 4", "run_files = 9") + NOTES.replace("900", "60")
    assert changed(LIMITS + NOTES, after) == (
        KeyChange("limits.runs", "4", None),
        KeyChange("agents.notes.schedule", "{ every_s = 900 }", "{ every_s = 60 }"),
        KeyChange("limits.run_files", None, "9"),
    )
    assert changed(LIMITS + NOTES, "# the same\n" + LIMITS + NOTES) == ()
    (added,) = changed(NOTES, NOTES + MAIL)
    assert (added.key, added.old) == ("agents.mail", None)


def test_settings_changes_support_dotted_names_and_equal_names_of_two_users() -> None:
    dotted = NOTES.replace('"notes"', '"my.notes"')
    assert changed(dotted, dotted.replace("Find.", "Look.")) == (
        KeyChange("agents.my.notes.prompt", '"Find."', '"Look."'),
    )
    values, without = undone(changed("", dotted))
    assert (values, edited(dotted, values, without).strip()) == ({}, "")
    values, without = undone(changed(dotted, ""))
    assert changed(dotted, edited("", values, without)) == ()
    hers = NOTES + NOTES.replace("Find.", 'Find."\nuser = "anna')
    (change,) = changed(hers, hers.replace("900", "60", 1))
    assert change.key == "agents.notes.schedule"
    (change,) = changed(hers, hers[::-1].replace("009", "06", 1)[::-1])
    assert change.key == "agents.notes (of anna).schedule"
    with pytest.raises(CannotEdit, match="is named"):
        edited(hers, *undone([change]))


@each(
    ("line", "key"),
    [
        ("[agents.config]\ntoken = '{}'", "agents.notes.config"),
        ("prompt2 = 'sk-{}'", "agents.notes.prompt2"),
        ("config = {{ inner = {{ password = '{}' }} }}", "agents.notes.config"),
    ],
)
def test_settings_change_shows_a_secret_only_as_a_digest(line: str, key: str) -> None:
    (change,) = changed(NOTES, NOTES + line.format("abcdefghijklmnopqrstuvwxyz"))
    assert change.key == key
    assert change.new is not None and change.new.startswith("(secret, SHA-256 ")
    (other,) = changed(NOTES, NOTES + line.format("zyxwvutsrqponmlkjihgfedcba"))
    assert other.new != change.new
    with pytest.raises(CannotEdit, match="was not kept"):
        undone([KeyChange(change.key, change.new)])


def test_settings_change_shows_a_reference_to_a_secret_as_written() -> None:
    text = '[model]\nkind = "openai"\napi_key = { env = "KEY" }\n'
    assert KeyChange("model.api_key", None, '{ env = "KEY" }') in changed("", text)


def test_settings_change_shows_a_long_value_as_a_digest() -> None:
    (change,) = changed(NOTES, NOTES.replace("Find.", "Find." * 5_000))
    assert (change.old, str(change.new)[:6]) == ('"Find."', "(long,")


def test_combined_changes_of_a_key_span_first_to_last_value() -> None:
    there_and_back = [KeyChange("limits.runs", "4", "5"), KeyChange("limits.runs", "5", "4")]
    assert combined(there_and_back) == ()
    more = [KeyChange("hub.name", None, '"x"'), KeyChange("limits.runs", "4", "6")]
    assert combined([*there_and_back, *more]) == tuple(more)


@each(
    "after",
    [
        LIMITS.replace("4", "5") + NOTES + MAIL,
        LIMITS.replace("runs = 4   # at once\n", "") + NOTES + MAIL,
        LIMITS + "tls = { certificate = 'a', key = 'b' }\n" + NOTES + MAIL,
        LIMITS + NOTES.replace("Find.", 'Find \\"all\\" ü\\n.') + MAIL,
        LIMITS + NOTES.replace("schedule = { every_s = 900 }", "schedule = '0 7 * * *'") + MAIL,
        LIMITS
        + NOTES.replace("schedule = { every_s = 900 }", "schedule = { at = 2026-12-01T09:00:00Z }")
        + MAIL,
        LIMITS + NOTES,
        LIMITS + MAIL,
        LIMITS,
        NOTES,
        LIMITS + NOTES + MAIL + "[model]\nkind = 'openai'\nname = 'm'\nbase_url = 'http://x'\n",
        "",
    ],
)
def test_undone_settings_change_restores_values_and_preserves_comments(after: str) -> None:
    before = LIMITS + NOTES + MAIL
    values, without = undone(changed(before, after))
    assert changed(before, edited(after, values, without)) == ()
    values, without = undone(changed(after, before))
    back = edited(before, values, without)
    assert changed(after, back) == ()
    assert "# [limits]  a comment" in back


MODEL = """
[model]
kind = "openai"
base_url = "https://model.example/v1"
name = "m"
api_key = { env = "HUB_TEST_KEY" }
"""
REACHING = [
    ("model.base_url", "https://evil.example/v1"),
    ("model.api_key", {"file": "/etc/passwd"}),
    ("model.api_key.file", "/etc/passwd"),
    ("model.private", True),
    ("storage.url", {"file": "/etc/passwd"}),
    ("storage.url", "sqlite:////tmp/other.db"),
    ("listen.operator.tls", {"certificate": "/etc/a", "key": "/etc/b"}),
    ("listen.devices.tls.key", "/etc/shadow"),
    ("listen.webhooks.tls", {"certificate": "/etc/a", "key": "/etc/b"}),
]


def _paths(annotation: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every type that a value of hub.toml may have, where it stands."""
    yield path, annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            for about in field.metadata:
                yield (*path, name), about
            yield from _paths(field.annotation, (*path, name))
    for part in (*getattr(annotation, "__args__", ()), *getattr(annotation, "__metadata__", ())):
        yield from _paths(part, path)


def test_every_secret_and_every_file_of_the_settings_is_guarded() -> None:
    reaching = {path for path, kind in _paths(Settings) if kind is SecretRef or kind is Path}
    assert reaching
    unguarded = {path for path in reaching if not any(path[: len(key)] == key for key in GUARDED)}
    assert not unguarded


async def test_settings_scope_alone_cannot_change_guarded_keys(tmp_path: Path) -> None:
    scopes, details = [Scope.READ, Scope.SETTINGS], []
    async with answering(tmp_path) as hub, over_tcp(hub, await hub.token(Role.ADMIN, scopes)) as client:
        for key, value in REACHING:
            refused = await client.patch("/v1/config", json={"values": {key: value}})
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), key
            details.append(refused.json()["detail"])
            assert ".".join(key.split(".")[:2]) in details[-1], key
            assert "all scopes of an admin" in details[-1], key
        allowed = await client.patch("/v1/config", json={"values": {"limits.runs": 5}})
        refusals = await hub.store.read(audit.list_entries, event="settings.refused", oldest_first=True)
    assert [json.loads(one.detail)["why"] for one in refusals] == details
    assert (allowed.status_code, hub.settings.read_text()) == (200, TEXT.replace("4", "5"))


async def test_config_check_by_settings_scope_does_not_reveal_existing_files(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("a secret")
    async with answering(tmp_path) as hub:
        narrow = await hub.token(Role.ADMIN, [Scope.SETTINGS])
        async with over_tcp(hub, narrow) as client:
            answers = [
                await client.post(
                    "/v1/config/check",
                    json={"text": f'{TEXT}\n[storage]\nurl = {{ file = "{tmp_path / name}" }}\n'},
                )
                for name in ("there", "missing")
            ]
            harmless = await client.post("/v1/config/check", json={"text": TEXT.replace("4", "5")})
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].json() == answers[1].json()
    assert (harmless.status_code, harmless.json()["ok"]) == (200, True)


async def test_guarded_keys_are_changed_by_admins_and_over_the_unix_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "url").write_text("sqlite:///b.db")
    async with answering(tmp_path) as hub:
        async with over_tcp(hub, await hub.token(Role.ADMIN)) as admin:
            by_token = await admin.patch("/v1/config", json={"values": {"storage.url": "sqlite:///a.db"}})
        async with over_unix(hub) as unix:
            here = await unix.patch("/v1/config", json={"values": {"storage.url": {"file": "url"}}})
    assert (by_token.status_code, here.status_code) == (200, 200)


@each(
    "after",
    [
        MODEL.replace("HUB_TEST_KEY", "PATH"),
        MODEL.replace('{ env = "HUB_TEST_KEY" }', '{ file = "HUB_TEST_KEY" }'),
        MODEL.replace("model.example", "evil.example"),
        MODEL.replace('api_key = { env = "HUB_TEST_KEY" }\n', ""),
        "",
    ],
)
def test_guarded_key_change_is_refused_in_every_spelling_of_the_text(after: str) -> None:
    with pytest.raises(BeyondSettings, match="model"):
        check_guarded(MODEL, after)
    check_guarded(MODEL, MODEL.replace(' = "m"', ' = "n"') + "\n[limits]\nruns = 3\n")
    check_guarded(MODEL, MODEL.replace('{ env = "HUB_TEST_KEY" }', "{env='HUB_TEST_KEY'}"))
    for unread in ("no toml", f"{MODEL}\n[x]\na = {'1' * 5_000}\n", f"a = {'[' * 5_000}"):
        check_guarded(MODEL, unread)
        with pytest.raises(CannotEdit):
            edited(unread, {"limits.runs": 3})


def test_fallback_model_is_a_guarded_setting() -> None:
    fallback = MODEL.replace("[model]", "[[fallback_models]]")
    with pytest.raises(
        BeyondSettings, match=r"fallback_models \(a secret, a file or where the model is found\)"
    ):
        check_guarded(MODEL, MODEL + fallback)
    check_guarded(MODEL + fallback, MODEL + fallback)
