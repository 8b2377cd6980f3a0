"""Who may change settings may not therefore read the hub's files, nor send its secrets elsewhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from hub.roles import Role, Scope
from hub.settings.edits import GUARDED, BeyondSettings, check_guarded
from hub.settings.problems import KeyPath
from hub.settings.settings import Settings
from hub.settings.values import SecretRef
from storage import audit
from tests.support.families import each
from tests.support.hub import TEXT, answering, over_tcp, over_unix

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


async def test_the_scope_of_settings_alone_opens_no_file_and_no_other_model(tmp_path: Path) -> None:
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


async def test_a_text_that_is_only_tried_does_not_tell_which_files_there_are(tmp_path: Path) -> None:
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


async def test_an_admin_and_a_user_of_the_hubs_machine_may_change_them(
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
def test_a_guarded_key_stays_what_it_is_however_the_text_is_written(after: str) -> None:
    with pytest.raises(BeyondSettings, match="model"):
        check_guarded(MODEL, after)
    check_guarded(MODEL, MODEL.replace(' = "m"', ' = "n"') + "\n[limits]\nruns = 3\n")
    check_guarded(MODEL, MODEL.replace('{ env = "HUB_TEST_KEY" }', "{env='HUB_TEST_KEY'}"))
    check_guarded(MODEL, "no toml")


def test_a_fallback_model_is_added_with_all_scopes_only() -> None:
    fallback = MODEL.replace("[model]", "[[fallback_models]]")
    with pytest.raises(
        BeyondSettings, match=r"fallback_models \(a secret, a file or where the model is found\)"
    ):
        check_guarded(MODEL, MODEL + fallback)
    check_guarded(MODEL + fallback, MODEL + fallback)
