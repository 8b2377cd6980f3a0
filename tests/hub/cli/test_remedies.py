"""Commands that texts of the product name can be typed as they are written."""

import errno
import json
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import pytest
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal
from click.testing import Result

from hub.cli.errors import Exit
from hub.device.grants import changed
from hub.health import work
from hub.health.issues import FRESH_S
from hub.runs.budget import Reached
from hub.settings.reading import keep_last_good
from protocol.causes import ACCOUNT, AT_ONCE
from protocol.frame import ErrorBody
from protocol.lifecycles import RunState
from protocol.tool_calls import Answer
from storage import schema
from storage.agents import agents
from tests.hub.api.test_items import keep
from tests.hub.cli.conftest import Hub, ends
from tests.hub.cli.test_device import home, installed
from tests.hub.cli.test_doctor import MODEL, find
from tests.hub.cli.test_migrate import run_sql
from tests.hub.device.sinks.bench import SinkBench
from tests.support.dovecot import PASSWORD, Dovecot
from tests.support.handbook import parse
from tests.support.hub import WEEKDAYS, ServedHub
from tests.support.remedies import (
    PARTS,
    PLACEHOLDER,
    NamedCommand,
    commands_in,
    commands_of_page,
    named_commands,
    unquoted_values,
)

__all__ = ["home"]  # a fixture


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("see to it; then: hub runs show 1a2b --follow", [["hub", "runs", "show", "1a2b", "--follow"]]),
        ("hub doctor --online checks it, hub down ends it", [["hub", "doctor", "--online"], ["hub", "down"]]),
        ("the hub stops; this hub runs; ask hub support", []),
        ("type 'hub pair approve CODE'.", [["hub", "pair", "approve", "CODE"]]),
        ("hub grants +review.remote=marked there", [["hub", "grants", "+review.remote=marked"]]),
        ("in hub logs --since.", [["hub", "logs"]]),
    ],
)
def test_commands_in_a_text_end_before_its_prose(text: str, commands: list[list[str]]) -> None:
    assert list(commands_in(text)) == commands


@pytest.mark.parametrize("part", PARTS)
def test_every_command_in_a_text_of_a_package_can_be_typed(part: str) -> None:
    named = list(named_commands(part))
    assert len(named) > 20
    found = [(command, why) for command in named if (why := _why_not(command))]
    assert [f"{command.file}:{command.line}: {command.words}: {why}" for command, why in found] == []


def test_every_command_in_a_text_of_the_page_can_be_typed() -> None:
    named = list(commands_of_page())
    assert len(named) > 60
    found = [(command, why) for command in named if (why := _why_not(command))]
    assert [f"{command.file}:{command.line}: {command.words}: {why}" for command, why in found] == []


@pytest.mark.parametrize("part", PARTS)
def test_every_value_in_a_command_is_quoted_for_a_shell(part: str) -> None:
    assert list(unquoted_values(part)) == []


def _why_not(named: NamedCommand) -> str:
    """Return why click refuses the command; empty if it does not. A placeholder may be of options, too."""
    why = ""
    for words in (named.words, [word for word in named.words if word.strip("-") != PLACEHOLDER]):
        try:
            parse(words, is_whole=named.is_whole)
        except click.UsageError as error:
            why = why or error.format_message().splitlines()[0]
        else:
            return ""
    return why


Situation = Callable[["Desk"], Result]


class Desk(NamedTuple):
    """Command line with a hub that serves, and a folder for files."""

    hub: Hub
    served: ServedHub
    portal: BlockingPortal
    folder: Path

    def with_token(self, made: Result, *words: str) -> Result:
        """Type a command with the token that another command printed."""
        file = self.folder / "token"
        file.write_text(made.stdout)
        file.chmod(0o600)
        return self.hub(*words, "--url", f"http://{self.served.listening.tcp}", "--token-file", str(file))


def limited_token(desk: Desk) -> Result:
    made = desk.hub("token", "create", "--role", "viewer", "--table", "tasks")
    (command,) = [words for words in commands_in(made.stderr) if "--url" in words]
    return desk.with_token(made, *command[1 : command.index("--url")])


def token_without_a_scope(desk: Desk) -> Result:
    refused = desk.with_token(desk.hub("token", "create", "--role", "viewer"), "run", "notes")
    (command,) = commands_in(refused.stderr)
    return desk.with_token(desk.hub(*command[1:]), "run", "notes")


def token_of_tables_that_asks_for_files(desk: Desk) -> Result:
    words = ("token", "create", "--role", "viewer", "--scope", "read", "--scope", "files", "--table", "tasks")
    refused = desk.with_token(desk.hub(*words), "devices", "files", "desk")
    (command,) = commands_in(refused.stderr)
    return desk.hub(*command[1:])


@pytest.mark.parametrize(
    "situation", [limited_token, token_without_a_scope, token_of_tables_that_asks_for_files]
)
def test_remedy_typed_in_its_situation_works(
    situation: Situation, hub: Hub, served: ServedHub, portal: BlockingPortal, tmp_path: Path
) -> None:
    ends(situation(Desk(hub, served, portal, tmp_path)), 0)


def test_remedy_of_a_hub_that_does_not_run_is_the_command_that_started_the_hub(
    hub: Hub, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state.mkdir()
    ends(hub("status"), 3, f"hub serve --state {state} --config FILE\n")
    settings = tmp_path / "my hub.toml"
    settings.touch()
    keep_last_good(state, "", settings)
    ends(hub("status"), 3, f"hub serve --state {state} --config '{settings}'\n")
    ends(hub("doctor"), 1, stdout=[f"hub serve --state {state} --config '{settings}'\n"])
    (state / "up").mkdir()
    ends(hub("status"), 3, f"hub up --state {state} --config '{settings}'\n")
    (state / "hub.toml").touch()
    ends(hub("status"), 3, f"hub up --state {state} --config '{settings}'\n")
    (state / "other.toml").touch()
    keep_last_good(state, "", state / "other.toml")
    ends(hub("status"), 3, f"hub up --state {state} --config {state}/other.toml\n")
    (state / "other.toml").unlink()
    ends(hub("status"), 3, f"hub up --state {state}\n")
    (state / "up").rmdir()
    ends(hub("status"), 3, f"hub serve --state {state}\n")
    other = hub("init", "--state", str(settings / "state"))
    ends(other, Exit.CANNOT_CREATE, "name another folder: --state DIR")


NAMES: Final = re.compile(r"\b(?:notes|reader|desk)\b")  # of agents; in capitals, a name is no prose


def mend(hub: Hub, result: Result, first: str = "", input: str | None = None, **values: str) -> Result:
    """Type the first remedy that begins with *first* of those in a message, with *values* for its words.

    Args:
        input: what is typed then.
    """
    text = NAMES.sub(lambda name: name[0].upper(), result.output.rpartition("Error: ")[2])
    found = [words[1:] for words in commands_in(text) if " ".join(words[1:]).startswith(first)]
    assert found, result.output
    words = [values.get(word, NAMES_OF.get(word, word)) for word in found[0]]
    for word, value in values.items():
        words = [typed.replace(word, value) for typed in words]
    return hub(*words, **({} if input is None else {"input": input}))


NAMES_OF: Final = {name.upper(): name for name in ("notes", "reader", "desk")}


def agent_that_is_paused(desk: Desk) -> None:
    ends(mend(desk.hub, desk.hub("agents", "pause", "notes")), 0, "agent notes is active")
    ends(desk.hub("agents"), 0, unsaid=["paused"])


def schedule_that_rests_after_failures(desk: Desk) -> None:
    id = desk.portal.call(desk.served.reschedule, WEEKDAYS)
    desk.portal.call(partial(desk.served.store.write, _pause_schedule, id, desk.served.now_ms))
    doctor = desk.hub("doctor")
    ends(doctor, 1, stdout=["(schedule.paused"])
    ends(mend(desk.hub, doctor, "runs ls"), 0)
    ends(mend(desk.hub, doctor, "agents resume"), 0)
    desk.served.clock.advance(FRESH_S + 1)
    ends(desk.hub("doctor"), 0, unsaid=["schedule.paused"])


def _pause_schedule(c: sa.Connection, id: str, at: int) -> None:
    c.execute(
        sa.update(schema.schedules)
        .where(schema.schedules.c.id == id)
        .values(enabled=False, paused_reason="failures", next_fire_at=None)
    )


def run_that_finds_nothing_shared(desk: Desk) -> None:
    words = ("--device", "desk", "--path", "/old", "--data-type", "tasks", "--prompt", "Find tasks.")
    ends(desk.hub("agents", "create", "reader", *words), 0)
    desk.portal.call(partial(desk.served.run, agent="reader"))
    desk.portal.call(partial(desk.served.move, "r-1", RunState.FAILED, reason="nothing_shared"))
    doctor = desk.hub("doctor")
    ends(doctor, 1, stdout=["agent reader failed in its last run"])
    ends(mend(desk.hub, doctor, "agents edit READER", PATH="/new"), 0)
    ends(mend(desk.hub, doctor, "run READER"), 0)


def folder_that_was_renamed(desk: Desk) -> None:
    words = ("--device", "desk", "--path", "/old", "--data-type", "tasks", "--prompt", "Find tasks.")
    ends(desk.hub("agents", "create", "reader", *words), 0)
    link = desk.portal.call(desk.served.connect, desk.portal.call(desk.served.device, "desk"))
    link.missing = ("/old",)
    doctor = desk.hub("doctor")
    ends(doctor, 1, stdout=["(device.no_folder", "hub help device"])
    page = desk.hub("help", "device")
    ends(mend(desk.hub, page, "agents edit", NAME="reader", **{"~/papers": "/new"}), 0)
    ends(desk.hub("agents", "show", "reader"), 0, stdout=["reads         /new for tasks"])


def agent_of_another_time_zone(desk: Desk) -> None:
    words = ("--device", "desk", "--path", "/old", "--data-type", "tasks", "--prompt", "Find tasks.")
    ends(desk.hub("agents", "create", "reader", *words), 0)
    (here := desk.served.folder / "devices").mkdir(exist_ok=True)
    (here / "desk.db").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        ends(desk.hub("doctor"), 0, unsaid=["(agent.zone"])
        ends(desk.hub("agents", "create", "other", *words, "--timezone", "Asia/Seoul"), 0)
        ends(desk.hub("agents", "create", "third", *words), 0)
        ends(desk.hub("agents", "show", "third", "--json"), 0, stdout=["Asia/Seoul"])
        doctor = desk.hub("doctor")
        ends(doctor, 0, stdout=["reader reads times of the zone UTC, and others read those of Asia/Seoul"])
        patch.setenv("TZ", "Asia/Tokyo")
        doctor = desk.hub("doctor")
        ends(doctor, 0, stdout=["agent reader reads times of the zone UTC", "(agent.zone"])
        ends(mend(desk.hub, doctor, "agents edit READER"), 0)
        ends(desk.hub("doctor"), 0, unsaid=["agent reader reads times"])


def marked_item_in_a_pipe(desk: Desk) -> None:
    desk.portal.call(desk.served.store.write, keep)
    refused = desk.hub("items", "approve", "i-4")
    ends(refused, Exit.USAGE, "then add --marked")
    ends(desk.hub("items", "approve", "i-4", "--marked"), 0, output=["approve task 4: pending"])


def deed_without_a_terminal(desk: Desk) -> None:
    refused = desk.hub("devices", "revoke", "desk")
    ends(refused, Exit.USAGE, "confirm with --yes")
    ends(desk.hub("devices", "revoke", "desk", "--yes"), 0)


def unknown_names(desk: Desk) -> None:
    for kind in ("agents", "devices", "connectors", "gateways", "boards", "templates"):
        ends(mend(desk.hub, desk.hub(kind, "show", "nothing")), 0)
    for words in (
        ["runs", "show", "zz"],
        ["items", "show", "zz"],
        ["notify", "test", "zz"],
        ["users", "remove", "zz"],
    ):
        ends(mend(desk.hub, desk.hub(*words)), 0)


def misspelt_events(desk: Desk) -> None:
    for words, meant in (
        (["audit", "ls", "--event", "run.strated"], "run.started"),
        (["audit", "ls", "--event", "tokn."], "token."),
        (["audit", "ls", "--event", "token"], "token."),
        (["activity", "--event", "agent.nudg.sent"], "agent.nudge.sent"),
    ):
        refused = desk.hub(*words)
        ends(refused, Exit.USAGE, f"did you mean {meant}?")
        ends(desk.hub(*words[:-1], meant), 0)


def settings_that_do_not_exist(desk: Desk) -> None:
    for words in (
        ["config", "set", "limits.rusn=3"],
        ["config", "set", "limits.runs=0"],
        ["config", "get", "limits.rusn"],
        ["config", "revert", "limits.runs"],
        ["config", "show", "--revision", "9"],
        ["config", "diff", "3", "7"],
    ):
        ends(mend(desk.hub, desk.hub(*words), "config"), 0)


def lists_without_entries(desk: Desk) -> None:
    ends(mend(desk.hub, desk.hub("agents", "config", "notes"), **{"KEY=VALUE": "a=1"}), 0)
    ends(mend(desk.hub, desk.hub("agents", "tokens", "notes")), 0)
    ends(mend(desk.hub, desk.hub("token", "ls"), "token create", NAME="desk"), 0)
    ends(desk.hub("boards", "create", "house"), 0, "hub boards add house AGENT")


def issue_that_is_no_issue(desk: Desk) -> None:
    for words in (["mute", "backup.old", "--reason", "TEXT"], ["unmute", "backup.old"]):
        ends(mend(desk.hub, desk.hub("issues", *words)), 0)


def state_of_things_as_the_state_folder(desk: Desk) -> None:
    for words, state, meant in (
        (["ask", "ls"], "opne", "open ones are listed without"),
        (["ask", "ls"], "answered", "did you mean --all?"),
        (["items", "ls"], "aproved", "did you mean --in-state approved?"),
        (["items", "ls"], "pendng", "pending ones are listed without"),
        (["runs", "ls"], "faild", "did you mean --in-state FAILED?"),
        (["issues", "ls"], "mutd", "did you mean --muted?"),
        (["messages", "ls"], "snt", "did you mean --only sent?"),
    ):
        ends(desk.hub(*words, "--state", state), Exit.USAGE, meant)
        option = meant.partition("mean ")[2].rstrip("?").split()
        ends(desk.hub(*words, *option), 0)


def settings_that_may_not_be_read(desk: Desk) -> None:
    settings, read = desk.served.settings, Path.read_bytes

    def refused(path: Path) -> bytes:  # also to root, whom no mode stops
        if not path.stat().st_mode & 0o444:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", refused)
        for words in (["reload"], ["config", "set", "limits.runs=3"]):
            settings.chmod(0o200)
            found = re.search(r"chmod (\S+) (\S+)", desk.hub(*words).output)
            assert found is not None and found[2] == str(settings), words
            subprocess.run(["chmod", found[1], found[2]], check=True)
            ends(desk.hub("reload"), 0)


def key_of_a_model_that_is_not_set(desk: Desk) -> None:
    desk.served.settings.write_text(f"{desk.served.settings.read_text()}\n{MODEL}")
    ends(desk.hub("reload"), Exit.SETTINGS, "NO_KEY is not set", "restart the hub; or name a { file = PATH }")
    (desk.folder / "key").write_text("secret")
    (desk.folder / "key").chmod(0o600)
    text = desk.served.settings.read_text()
    desk.served.settings.write_text(text.replace('env = "NO_KEY"', f'file = "{desk.folder}/key"'))
    ends(desk.hub("reload"), 0)


def add_mailbox(desk: Desk, name: str, provider: str, **settings: object) -> None:
    listed = ", ".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
    ends(
        desk.hub(
            "config", "set", f'connectors.{name}={{ provider = "{provider}", settings = {{ {listed} }} }}'
        ),
        0,
    )


def mailbox_with_a_wrong_password(desk: Desk, dovecot: Dovecot) -> None:
    user = dovecot.fresh_user()
    add_mailbox(desk, "M1", "imap", host=dovecot.host, port=dovecot.port, tls="none", username=user)
    doctor = desk.hub("doctor")
    ends(doctor, 1, stdout=["(connector.sign_in"])
    refused = mend(desk.hub, doctor, "connectors login", input="wrong\n")
    ends(refused, Exit.FAILED, f"does not let {user} in", "hub connectors login M1")
    ends(mend(desk.hub, refused, "connectors login", input=f"{PASSWORD}\n"), 0)
    ends(desk.hub("connectors", "test", "M1"), 0)


def mailbox_with_a_foreign_certificate(desk: Desk, dovecot: Dovecot) -> None:
    user = dovecot.fresh_user()
    add_mailbox(desk, "M1", "imap", host=dovecot.host, port=dovecot.tls_port, username=user)
    refused = desk.hub("connectors", "login", "M1", input=f"{PASSWORD}\n")
    ends(refused, Exit.FAILED, "certificate that is not trusted")
    tested = desk.hub("connectors", "test", "M1")
    ends(mend(desk.hub, tested, "config set", FILE=str(dovecot.certificate)), 0)
    ends(mend(desk.hub, tested, "connectors login", input=f"{PASSWORD}\n"), 0)
    ends(desk.hub("connectors"), 0, stdout=["ok"])


def mailbox_whose_server_is_away(desk: Desk, dovecot: Dovecot) -> None:
    user = dovecot.fresh_user()
    add_mailbox(desk, "M1", "imap", host=dovecot.host, port=1, tls="none", username=user)
    refused = desk.hub("connectors", "login", "M1", input=f"{PASSWORD}\n")
    ends(refused, Exit.FAILED, "hub config set connectors.M1.settings")
    doctor = desk.hub("doctor")
    ends(doctor, 1, stdout=["(connector.blocked"])
    ends(mend(desk.hub, doctor, "config set", **{"settings.KEY=VALUE": f"settings.port={dovecot.port}"}), 0)
    asked = desk.hub("connectors")  # another server does not get the password of the first
    ends(mend(desk.hub, asked, "connectors login", input=f"{PASSWORD}\n"), 0)
    ends(desk.hub("connectors", "test", "M1"), 0)
    desk.served.clock.advance(FRESH_S + 1)
    ends(desk.hub("doctor"), 0, unsaid=["connector."])


def device_without_the_grant_of_files(desk: Desk) -> None:
    ends(desk.hub("devices", "grant", "desk", "--", "-files"), 0, unsaid=["files"])
    desk.portal.call(partial(desk.served.run, agent="notes"))
    desk.portal.call(partial(desk.served.move, "r-1", RunState.FAILED, reason="not_granted"))
    doctor = desk.hub("doctor")
    ends(doctor, 1, stdout=["(device.no_files", "(agent.runs_fail"])
    ends(mend(desk.hub, doctor, "devices grant"), 0, output=["files"])
    ends(mend(desk.hub, doctor, "run"), 0)


def program_without_the_grants_of_the_owner(desk: Desk) -> None:
    device = desk.portal.call(desk.served.device, "desk")
    link = desk.portal.call(
        partial(desk.served.connect, device, answers=lambda _: Answer(error=ErrorBody(code="busy")))
    )
    link.roots, link.capabilities = ("/home/ana/my notes",), frozenset({"files.list", "files.read"})
    granted: dict[str, Any] = {}
    for words in (["devices", "files", "desk"], ["devices", "read", "desk", "my notes/a.md"]):
        link.owner_grants = {}
        refused = desk.hub(*words)
        (command,) = commands_in(refused.output)
        granted = changed({}, command[2:], folders=["my notes"])
        link.owner_grants = granted
        assert "hub grants" not in desk.hub(*words).output
    assert granted == {"files.read": ["my notes"]}
    assert changed({}, ["+files.read=/home/ana/my notes"], folders=["my notes"]) == granted


def budgets_that_are_used_up(desk: Desk) -> None:
    words = ("--device", "desk", "--path", "/old", "--data-type", "tasks", "--prompt", "Find tasks.")
    ends(desk.hub("agents", "create", "reader", *words), 0)
    names = ("notes", "reader")
    rows = [desk.portal.call(desk.served.store.read, agents.agent_called, name, None) for name in names]
    used = [Reached("agents.budget_usd", "it is reached", None, row.id) for row in rows]
    used.append(Reached("budget.day_usd", "it is reached", None))
    findings = desk.portal.call(work.check_budgets, desk.served.store, lambda: used, desk.served.clock.now())
    find(desk.served, *findings)
    doctor = desk.hub("doctor")
    ends(doctor, 1, stdout=["(budget.reached"])
    more = {"NUMBER": "9"}
    ends(mend(desk.hub, doctor, "config set budget", **more), 0)
    ends(mend(desk.hub, doctor, "agents edit", **more), 0)
    for name in names:
        ends(mend(desk.hub, doctor, f"agents resume {name.upper()}"), 0)


def folder_of_mails_that_is_away(desk: Desk) -> None:
    add_mailbox(desk, "M1", "maildir", path=str(desk.folder / "Mail"))
    untested = desk.hub("connectors")
    tested = mend(desk.hub, untested, "connectors test")
    ends(tested, Exit.FAILED, stdout=["No such file or directory"])
    for name in ("cur", "new", "tmp"):
        (desk.folder / "Other" / name).mkdir(parents=True)
    doctor = desk.hub("doctor")
    ends(doctor, 1, stdout=["(connector.blocked"])
    other = {"settings.KEY=VALUE": f"settings.path={desk.folder / 'Other'}"}
    ends(mend(desk.hub, doctor, "config set", **other), 0)
    ends(mend(desk.hub, doctor, "connectors test"), 0)
    refused = desk.hub("connectors", "login", "M1")
    ends(refused, Exit.USAGE, "has no sign-in here")
    ends(mend(desk.hub, refused), 0)


SITUATIONS: Final[list[Callable[[Desk], None]]] = [
    agent_that_is_paused,
    key_of_a_model_that_is_not_set,
    schedule_that_rests_after_failures,
    run_that_finds_nothing_shared,
    folder_that_was_renamed,
    agent_of_another_time_zone,
    marked_item_in_a_pipe,
    deed_without_a_terminal,
    unknown_names,
    misspelt_events,
    settings_that_do_not_exist,
    lists_without_entries,
    issue_that_is_no_issue,
    state_of_things_as_the_state_folder,
    settings_that_may_not_be_read,
    budgets_that_are_used_up,
    folder_of_mails_that_is_away,
    device_without_the_grant_of_files,
    program_without_the_grants_of_the_owner,
]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_remedy_typed_at_the_hub_mends_its_situation(
    situation: Callable[[Desk], None], hub: Hub, served: ServedHub, portal: BlockingPortal, tmp_path: Path
) -> None:
    situation(Desk(hub, served, portal, tmp_path))


STATES: Final = {"sign_in": "sign_in", "secret": "sign_in", "bad_connector": "blocked"} | {
    "provider_forbidden": "blocked"
}


@pytest.mark.parametrize("word", ACCOUNT)
def test_cause_of_an_account_is_at_all_doors_with_the_declared_remedy(
    word: str, hub: Hub, served: ServedHub, portal: BlockingPortal, tmp_path: Path
) -> None:
    desk, cause = Desk(hub, served, portal, tmp_path), ACCOUNT[word]
    add_mailbox(desk, "M1", "maildir" if word == "secret" else "imap", **_SETTINGS[word == "secret"])
    portal.call(served.store.write, partial(_fail, word, served.now_ms))
    remedy = cause.remedy.format(account="M1")
    ends(hub("connectors"), 0, remedy)
    ends(hub("connectors", "show", "M1"), 0, remedy)
    lasts = cause.lasts_after_s == AT_ONCE
    for door in ("doctor", "status"):
        shown = hub(door)
        assert (remedy in shown.stdout) is lasts, shown.output


_SETTINGS: Final = {True: {"path": "/nowhere"}, False: {"host": "127.0.0.1", "username": "ana"}}


def _fail(word: str, at: int, c: sa.Connection) -> None:
    code = {"never_reached": "provider_unavailable", "secret": "sign_in_needed"}.get(word, word)
    state, is_new = STATES.get(word, "ok"), word in ("never_reached", "untested")
    c.execute(
        sa.update(schema.connectors).values(
            state=state,
            reason=None if word == "untested" else code,
            detail=None if word == "untested" else "so says the provider",
            failures=0 if state != "ok" or word == "untested" else 1,
            last_ok_at=None if is_new else at,
        )
    )


@pytest.mark.parametrize(
    "situation",
    [mailbox_with_a_wrong_password, mailbox_with_a_foreign_certificate, mailbox_whose_server_is_away],
)
def test_remedy_typed_for_a_mailbox_mends_its_situation(
    situation: Callable[[Desk, Dovecot], None],
    hub: Hub,
    served: ServedHub,
    portal: BlockingPortal,
    tmp_path: Path,
    dovecot: Dovecot,
) -> None:
    situation(Desk(hub, served, portal, tmp_path), dovecot)


def device_that_is_paused(hub: Hub, home: Path) -> None:
    installed(hub, home)
    ends(hub("device", "pause"), 0, "hub device resume")
    ends(mend(hub, hub("device", "status"), "device resume"), 0)
    ends(hub("device", "status"), 0, unsaid=["pause  "])


def device_that_did_not_run_yet(hub: Hub, home: Path) -> None:
    installed(hub, home)
    for words in (["review"], ["grants"], ["open"]):
        refused = hub(*words)
        ends(refused, Exit.FAILED, "hub device run", unsaid=["--name NAME"])
    ends(mend(hub, hub("device", "status"), "device install"), 0)


def place_that_is_missing(hub: Hub, home: Path) -> None:
    installed(hub, home)
    (home / "state/devices").mkdir(parents=True)
    SinkBench(home / "state/devices").approve({"title": "Call Ana"})
    (home / "vault").mkdir()
    ends(hub("places", "add", "vault", str(home / "vault/a.md"), "--name", "todo", "--yes"), 0)
    ends(hub("places", "test", "tood"), Exit.FAILED, "known: todo")
    (home / "vault").rename(home / "other")
    ends(hub("device", "sync"), Exit.FAILED, "once it is made, or back")
    (home / "other").rename(home / "vault")
    ends(hub("device", "sync"), 0)


def backup_that_is_not_there(hub: Hub, home: Path) -> None:
    ends(hub("migrate", "up"), 0)
    ends(mend(hub, hub("backup", "--verify", str(home / "x")), "backup", FILE=str(home / "x")), 0)
    ends(hub("backup", "--verify", str(home / "x")), 0)


def database_of_a_newer_release(hub: Hub, home: Path) -> None:
    ends(hub("migrate", "up"), 0)
    ends(hub("backup", str(home / "x")), 0)
    run_sql(home / "state", "UPDATE alembic_version SET version_num = '9999'")
    (home / "hub.toml").write_text("# defaults")
    for words in (["migrate", "status"], ["doctor"]):
        found = hub(*words, "--config", str(home / "hub.toml"))
        assert ["hub", "restore", "FILE"] in commands_in(found.output), found.output
    ends(hub("restore", str(home / "x"), "--yes"), 0)
    ends(hub("migrate", "status"), 0)


@pytest.mark.parametrize(
    "situation",
    [
        device_that_is_paused,
        device_that_did_not_run_yet,
        place_that_is_missing,
        backup_that_is_not_there,
        database_of_a_newer_release,
    ],
)
def test_remedy_typed_at_the_desktop_mends_its_situation(
    situation: Callable[[Hub, Path], None], hub: Hub, home: Path
) -> None:
    situation(hub, home)
