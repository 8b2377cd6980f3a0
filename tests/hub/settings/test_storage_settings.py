"""``[storage]``: the address of a database, in the file or where the file says."""

from pathlib import Path

import pytest

from hub.settings.reading import check_settings, load_settings
from hub.settings.settings import Settings, StorageSettings
from hub.settings.values import SecretMissing, SecretRef

SERVER = "postgresql://hub:correct-horse@db/hub"
VARIABLE = 'url = { env = "HUB_DATABASE_URL" }'


def told(file: Path, line: str, *, serving: bool = True, **environ: str) -> list[str]:
    """The problems of a ``[storage]`` with this line."""
    file.write_text(f"[storage]\n{line}\n")
    problems = check_settings(file, environ=environ, serving=serving).problems
    return [str(problem).removeprefix(f"{file}:") for problem in problems]


def test_a_path_in_relative_settings_or_in_the_environment_is_absolute_once_it_was_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file.parent / "database").write_text("sqlite:///hub.db")
    file.write_text('[storage]\nurl = { file = "database" }\n')
    monkeypatch.chdir(file.parent.parent)
    relative = file.relative_to(file.parent.parent)
    for environ in ({}, {"HUB__STORAGE__URL": '{ file = "database" }'}):
        url = load_settings(relative, environ=environ).storage.url
        assert isinstance(url, SecretRef)
        assert url.file == file.parent / "database"


def test_everything_is_stored_in_one_file_by_default() -> None:
    assert Settings().storage.resolved({}) == "sqlite:///hub.db"


@pytest.mark.parametrize(
    "url",
    ["sqlite:////var/lib/hub.db", "postgresql://hub@db/hub", "postgresql://db:5433/hub?sslmode=verify-full"],
)
def test_an_address_without_a_password_may_stand_in_the_file(file: Path, url: str) -> None:
    assert (told(file, f'url = "{url}"'), load_settings(file).storage.resolved({})) == ([], url)


@pytest.mark.parametrize(
    "url",
    [
        SERVER,
        "postgresql://hub:correct/horse@db/hub",
        "postgresql://hub:correct@horse@db/hub",
        "postgresql://db/hub?user=hub&password=correct-horse",
    ],
)
def test_a_password_may_not_and_is_not_repeated(file: Path, url: str) -> None:
    (problem,) = told(file, f'url = "{url}"')
    assert problem == (
        "2:7: error: storage.url: a secret must not be written in this file"
        ' - name where it is: { env = "NAME" } or { file = "PATH" }'
    )


def test_an_address_with_a_password_comes_from_the_environment_or_from_a_file(file: Path) -> None:
    assert told(file, VARIABLE, HUB_DATABASE_URL=SERVER) == []
    found = load_settings(file, environ={"HUB_DATABASE_URL": SERVER}).storage
    assert found.url == SecretRef(env="HUB_DATABASE_URL")
    assert found.resolved({"HUB_DATABASE_URL": SERVER}) == SERVER

    secret = file.with_name("database.url")
    secret.write_text(SERVER + "\n")
    secret.chmod(0o600)
    assert told(file, 'url = { file = "database.url" }') == []
    assert load_settings(file).storage.resolved({}) == SERVER
    secret.chmod(0o644)
    assert told(file, 'url = { file = "database.url" }') == [
        f"2:7: warning: storage.url: others may read {secret} - chmod 600 {secret}"
    ]


def test_an_address_that_is_not_there_is_an_error_when_serving_else_a_warning(file: Path) -> None:
    assert told(file, VARIABLE) == [
        "2:7: error: storage.url: the environment variable HUB_DATABASE_URL is not set"
    ]
    assert told(file, VARIABLE, serving=False)[0].startswith("2:7: warning")


def test_an_invalid_database_address_is_reported_and_not_repeated(file: Path) -> None:
    (problem,) = told(file, VARIABLE, HUB_DATABASE_URL="correct-horse")
    assert problem.endswith("HUB_DATABASE_URL does not hold the address of a database")
    assert "correct" not in problem
    with pytest.raises(SecretMissing, match="does not hold"):
        StorageSettings(url=SecretRef(env="X")).resolved({"X": "mysql://db"})


def test_an_option_that_no_server_knows_is_a_problem_wherever_the_address_is(file: Path) -> None:
    url = f"{SERVER}?sslmode=foo"
    fault = "sslmode=foo of the address is not known; known are disable, allow,"
    assert fault in told(file, VARIABLE, HUB_DATABASE_URL=url)[0]
    assert fault in told(file, f'url = "{url.replace(":correct-horse", "")}"')[0]
