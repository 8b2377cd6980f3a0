"""What is found in hub.toml by looking further than at its types: files, sockets, limits."""

import os
import resource
from datetime import timedelta
from pathlib import Path

import pytest

from hub.settings.reading import check_settings
from hub.settings.values import SecretMissing, SecretRef
from tests.support.certificates import write_certificate
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


def test_a_certificate_has_its_own_key_and_keeps_it_private(check: Check, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("days", "told"), [(-0.5, "ended on "), (20, "ends on "), (22, None)], ids=["over", "soon", "later"]
)
def test_a_certificate_is_reported_from_three_weeks_before_its_end(
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


def test_a_byte_order_mark_is_reported_by_name(check: Check) -> None:
    told = (
        "1:1: error: begins with a byte order mark, which TOML does not have - save it as UTF-8 without one"
    )
    assert check("\ufeff[limits]\n") == [told]


def test_more_connections_than_files_may_be_open_are_a_warning(check: Check) -> None:
    (told,) = check("[limits]\nconnections = 9_000_000_000\n")
    assert told.startswith("2:15: warning: limits.connections: this process may open ")
    assert "raise LimitNOFILE= of the unit" in told
    assert check("[limits]\nconnections = 10\n") == []


def test_the_default_may_be_more_connections_than_files_may_be_open(
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


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_change_is_a_warning(check: Check, file: Path, mode: int) -> None:
    file.touch(mode=mode)
    file.chmod(mode)
    assert check("# defaults\n") == [
        f"1:1: warning: users other than its owner may change this file - chmod go-w {file}"
    ]
    file.chmod(0o644)
    assert check("# defaults\n") == []


def test_a_credential_is_a_file_that_the_service_manager_hands_over(check: Check, tmp_path: Path) -> None:
    told = "5:11: error: model.api_key: there is no credential llm: CREDENTIALS_DIRECTORY is not set"
    assert check(OPENAI) == [told]
    folder = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    (told,) = check(OPENAI, **folder)
    assert told == f"5:11: error: model.api_key: cannot read {tmp_path}/llm: No such file or directory"
    (tmp_path / "llm").write_text("k\n")
    assert (check(OPENAI, **folder), SecretRef(credential="llm").resolve(folder)) == ([], "k")


@pytest.mark.parametrize(
    "deep",
    [f"[{'a.' * 70}b]\nc = 1\n", f"[a]\nb = {'[' * 70}{']' * 70}\n", f"a.{'b.' * 400}c = 1\n"],
    ids=["head", "list", "dotted key"],
)
def test_what_is_nested_too_deep_is_one_problem(check: Check, deep: str) -> None:
    assert check(deep) == ["1:1: error: [a] is nested more than 64 levels deep - no setting needs as many"]


def test_a_number_of_thousands_of_digits_is_a_problem(check: Check) -> None:
    (told,) = check(f"[limits]\nruns = {'9' * 5_000}\n")
    assert told.endswith(": error: a number has too many digits")


@pytest.mark.parametrize("name", ["../key", "a/b", "", ".", "..", "key\\n"])
def test_a_credential_is_named_and_is_no_path(check: Check, name: str) -> None:
    (told,) = check(OPENAI.replace("llm", name))
    assert told.startswith("5:26: error: model.api_key.credential: not a valid name")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("~nobody-of-this-name/key", "there is no such user - write the path out"),
        ("a\\u0000b", "a path has no null character"),
    ],
)
def test_an_impossible_path_is_reported(check: Check, path: str, told: str) -> None:
    secret = OPENAI.replace('credential = "llm"', f'file = "{path}"')
    assert check(secret) == [f"5:20: error: model.api_key.file: {told}"]
    assert check(TLS.replace("hub.key", path)) == [f"2:40: error: listen.devices.tls.key: {told}"]


def test_a_secret_that_cannot_be_read_says_where_it_was_looked_for() -> None:
    with pytest.raises(SecretMissing, match="the environment variable NO_SUCH is not set"):
        SecretRef(env="NO_SUCH").resolve({})
    assert "NO_SUCH" not in os.environ


FALLBACK = """
[[fallback_models]]
kind = "openai"
base_url = "https://other/v1"
name = "m"
"""


def test_models_that_stand_in_for_each_other_read_in_the_same_way(check: Check) -> None:
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


def test_keys_and_addresses_of_models_that_stand_in_are_looked_at_too(check: Check) -> None:
    first = OPENAI.replace('api_key = { credential = "llm" }\n', "")
    (told,) = check(f'{first}{FALLBACK}api_key = {{ env = "OTHER" }}\n')
    assert "error: fallback_models.m.api_key: the environment variable OTHER is not set" in told
    assert any(
        "a secret must not be written in this file" in told
        for told in check(f'{first}{FALLBACK}api_key = "x"\n')
    )
    (told,) = check(first + FALLBACK.replace("other", "10.0.0.1"))
    assert "warning: fallback_models.m.base_url: 10.0.0.1 is not called" in told


def test_a_price_has_two_halves(check: Check) -> None:
    first = OPENAI.replace('api_key = { credential = "llm" }\n', "")
    assert check(f"{first}price_in_usd = 1\nprice_out_usd = 0.5\n") == []
    (told,) = check(f"{first}price_in_usd = 1.0\n")
    assert "error: model.price_in_usd: the price of questions and that of answers are given together" in told


def test_a_known_sender_is_an_address_or_a_domain(check: Check) -> None:
    assert check('[trust]\nsenders = ["Anna@Example.org", "@example.org", "münchen.example"]') == []
    for wrong in ("anna", "anna@", "a b@example.org", "Anna <anna@example.org>", "*.org"):
        (problem,) = check(f'[trust]\nsenders = ["{wrong}"]')
        assert problem.startswith("2:") and "neither a mail address nor a domain" in problem, wrong
