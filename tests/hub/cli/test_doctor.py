"""``hub doctor`` and ``hub audit``: issues, each the same at every place, and the audit log."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from anyio.from_thread import BlockingPortal

from hub.api.binding import ResponseHead
from hub.api.resource import DEFAULT_LIMIT
from hub.api.resources.system import WORST, SystemResource
from hub.base.roles import Scope
from hub.cli import show
from hub.health import machine_and_load
from hub.health.issues import FRESH_S, Finding, Severity, error, notice, post, warning
from storage import audit
from tests.hub.cli.conftest import Hub, ends
from tests.support.broken_rows import faults, plant
from tests.support.database import new_database
from tests.support.hub import ServedHub
from tests.support.issue_page import issue_kinds

MODEL = """\
[model]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
name = "m"
api_key = { env = "NO_KEY" }
"""


def find(served: ServedHub, *found: Finding, online: bool = False) -> None:
    """What the hub's checks find from now on."""

    async def check(now: datetime) -> Iterable[Finding]:
        return found

    served.app.issues.add("test", check, online=online)


def append_events(served: ServedHub, portal: BlockingPortal, *events: str) -> None:
    """Entries of the audit log."""

    async def write() -> None:
        for event in events:
            at = served.now_ms
            await served.store.write(
                audit.append,
                at=at,
                actor="operator:77777",
                event=event,
                detail={"agent": "notes", "why": None},
            )

    portal.call(write)


def tamper(served: ServedHub, portal: BlockingPortal) -> None:
    def forge(c: sa.Connection) -> None:
        c.execute(sa.text("UPDATE audit_log SET actor = 'hub' WHERE seq = 2"))

    portal.call(served.store.write, forge)


def test_doctor_of_a_healthy_hub_finds_no_problems(hub: Hub, served: ServedHub) -> None:
    done = hub("doctor")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no problems found\n")


def test_doctor_lists_the_worst_problem_first_with_the_fix(hub: Hub, served: ServedHub) -> None:
    find(
        served,
        notice("backup.old", "there is no backup", fix="hub backup FILE"),
        error(
            "disk.full",
            "no room is left",
            fix="make room",
            fixes=post("Resume it", "hub agents resume a", "/v1/agents/a/resume", Scope.RUN),
        ),
    )
    done = hub("doctor")
    assert (done.exit_code, done.stdout.splitlines()) == (
        1,
        [
            "error: no room is left (disk.full, since 2026-01-05 09:00 UTC)",
            "  make room",
            "  Resume it: hub agents resume a",
            "notice: there is no backup (backup.old, since 2026-01-05 09:00 UTC)",
            "  hub backup FILE",
        ],
    )


def test_doctor_checks_other_machines_only_with_online(hub: Hub, served: ServedHub) -> None:
    find(served, notice("backup.old", "there is no backup", fix="hub backup FILE"))  # which is no failure
    find(served, error("model.unreachable", "no answer", fix="start it"), online=True)
    assert hub("doctor").exit_code == 0
    assert "model.unreachable" in hub("doctor", "--online").stdout


def test_status_ends_with_the_worst_problems_and_the_count_of_others(hub: Hub, served: ServedHub) -> None:
    assert ["issues", "none"] in [line.split() for line in hub("status").stdout.splitlines()]
    find(
        served,
        error("a.b", "it is broken", fix="hub mend"),
        *(warning(f"a.{name}", "-", fix="-") for name in "cde"),
        notice("a.f", "-", fix="-"),
    )
    served.clock.advance(FRESH_S)
    screen = hub("status").stdout
    assert "1 error, 3 warnings, 1 notice; list them: hub doctor" in screen
    *_, first, fix, _, _, _, _, more = screen.splitlines()
    assert (first, fix, more) == (
        "error: it is broken (a.b, since 2026-01-05 09:00:01 UTC)",
        "  hub mend",
        "and 1 more: hub doctor",
    )


def test_doctor_fix_closes_an_open_state_folder(hub: Hub, served: ServedHub, state: Path) -> None:
    state.chmod(0o755)
    (state / "hub.db").touch()
    (state / "hub.db").chmod(0o644)
    told = json.loads(hub("doctor", "--fix", "--json").stdout)
    assert told["schema"] == "hub.doctor/1"
    assert told["fixed"][0] == f"closed {state} to other users: mode 0755 is 0750 now"
    assert f"closed {state}/hub.db to other users: mode 0644 is 0600 now" in told["fixed"]
    assert json.loads(hub("doctor", "--fix", "--json").stdout)["fixed"] == []


def test_a_fixed_problem_is_not_listed_again(hub: Hub, served: ServedHub, state: Path) -> None:
    served.app.issues.add("folder", partial(machine_and_load.check_folder, state))
    state.chmod(0o755)
    assert "folder.open" in hub("doctor").stdout
    done = hub("doctor", "--fix")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.endswith("no problems found\n")


def test_doctor_without_a_running_hub_checks_settings_folder_and_database(
    hub: Hub, state: Path, tmp_path: Path
) -> None:
    state.mkdir(mode=0o755)
    (state / "hub.db").write_bytes(b"SQLite format 3\0" + b"rubbish" * 1_000)
    settings = tmp_path / "hub.toml"
    settings.write_text("[hub]\nnam = 'x'\n")
    told = hub("doctor", "--config", str(settings))
    assert told.exit_code == 1
    assert [line.rpartition("(")[2] for line in told.stdout.splitlines() if not line.startswith(" ")] == [
        "hub.down)",
        "settings.wrong)",
        "folder.open)",
        "folder.open)",
    ]
    settings.write_text("# defaults\n")
    told = hub("doctor", "--fix", "--config", str(settings))
    assert "(database.damaged)" in told.stdout and "hub restore FILE" in told.stdout
    assert "folder.open" not in told.stdout


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (MODEL, "model.api_key: the environment variable NO_KEY is not set"),
        ('[storage]\nurl = { file = "nowhere" }\n', "storage.url: cannot read"),
        ('[storage]\nurl = { env = "NO_KEY" }\n', "storage.url: the environment variable NO_KEY is not set"),
        ('[listen.devices]\ntls = { certificate = "a.pem", key = "b.pem" }\n', "listen.devices.tls: "),
        ("[storage]\nurl = 'mysql://x'\n", "not the address of a database"),
        ("[storage\n", "Expected"),
        ("[hub]\nname = 3\n", "hub.name"),
    ],
    ids=["key", "database-file", "database-variable", "certificate", "database", "syntax", "kind"],
)
def test_a_fault_of_the_settings_is_listed_without_advice_to_restore(
    hub: Hub, state: Path, tmp_path: Path, settings: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_KEY", raising=False)
    state.mkdir(mode=0o700)
    new_database(state / "hub.db")
    file = tmp_path / "hub.toml"
    file.write_text(settings)
    done = hub("doctor", "--config", str(file))
    issues = [line.rpartition("(")[2] for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert set(issues) == {"hub.down)", "settings.wrong)"}
    assert told in done.stdout
    assert "restore" not in done.stdout


def test_doctor_reports_an_unopenable_database_as_unreadable_not_damaged(
    hub: Hub, state: Path, tmp_path: Path
) -> None:
    (tmp_path / "hub.toml").write_text("# defaults\n")
    (state / "hub.db").mkdir(parents=True)
    state.chmod(0o700)
    done = hub("doctor", "--config", str(tmp_path / "hub.toml"))
    assert "(database.unreadable)" in done.stdout
    assert "restore" not in done.stdout
    (state / "hub.db").rmdir()
    (state / "hub.db").touch(mode=0o600)  # no hub has begun it
    assert "(database." not in hub("doctor", "--config", str(tmp_path / "hub.toml")).stdout


def test_doctor_without_a_running_hub_lists_each_broken_row_with_the_fix(hub: Hub, state: Path) -> None:
    state.mkdir(mode=0o700)
    new_database(state / "hub.db")
    (fault,) = [one for one in faults() if one.world == "agents.needs.json"]
    plant(state / "hub.db", [fault])
    issues = json.loads(hub("doctor", "--json").stdout)["issues"]
    (found,) = [one for one in issues if one["id"] not in ("hub.down", "settings.wrong")]
    assert (found["id"], found["subject"]) == ("row.broken", f"agents {fault.world}")
    assert "needs is no JSON" in found["explanation"]
    assert "correct the row with SQL" in found["fix"]


def test_doctor_with_bundle_writes_a_debug_bundle(hub: Hub, served: ServedHub, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.tar.gz"
    done = hub("doctor", "--bundle", str(bundle))
    assert done.exit_code == 0
    assert bundle.stat().st_size > 100
    assert f"wrote {bundle}" in done.stderr


def test_audit_command_lists_entries_with_actors(hub: Hub, served: ServedHub, portal: BlockingPortal) -> None:
    assert "no matching entries" in hub("audit", "ls", "--event", "run.").stderr
    append_events(served, portal, "run.started", "token.created")
    lines = hub("audit").stdout.splitlines()[:-1]  # the first entry is the start of the hub
    assert [line.split() for line in lines] == [
        ["entry", "at", "(UTC)", "actor", "event", "subject", "detail"],
        ["3", "01-05", "09:00", "operator:77777", "token.created", "-", "agent=notes"],
        ["2", "01-05", "09:00", "operator:77777", "run.started", "-", "agent=notes"],
    ]
    told = json.loads(hub("audit", "ls", "--event", "run.", "--json").stdout)
    assert (told["schema"], [entry["seq"] for entry in told["entries"]]) == ("hub.audit/1", [2])


def test_audit_verify_of_an_intact_log_reports_the_last_entry(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    append_events(served, portal, "run.started", "token.created")
    done = hub("audit", "verify")
    ends(done, 0, stdout=("the chain is intact; entries: 3",))
    told = json.loads(hub("audit", "verify", "--json").stdout)
    known = f"{told['last_seq']}:{told['last_hash']}"
    assert f"last entry: {known}" in done.stdout
    assert hub("audit", "verify", "--known", known).exit_code == 0
    assert hub("audit", "verify", "--known", f"1:{told['last_hash']}").exit_code == 1


@pytest.mark.parametrize("words", [["audit", "verify"], ["doctor", "--audit"]])
def test_audit_verify_of_an_edited_log_fails_with_the_entry(
    hub: Hub, served: ServedHub, portal: BlockingPortal, words: list[str]
) -> None:
    append_events(served, portal, "run.started", "token.created", "run.cancelled")
    tamper(served, portal)
    ends(hub(*words), 1, stdout=("entry 2 was edited",))


def test_the_audit_log_is_exported_oldest_first_as_json_lines(
    hub: Hub, served: ServedHub, portal: BlockingPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.cli.hub_client.PAGE", 2)
    append_events(served, portal, "a.1", "a.2", "a.3")
    file = tmp_path / "audit.jsonl"
    assert hub("audit", "export", str(file)).exit_code == 0
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert [entry["event"] for entry in entries] == ["hub.created", "a.1", "a.2", "a.3"]
    assert {entry["schema"] for entry in entries} == {"hub.audit_entry/1"}
    assert hub("audit", "export").stdout == file.read_text()
    assert hub("audit", "export", str(file)).exit_code != 0  # never over a file that is there


PLACES = ("doctor", "doctor --json", "/v1/issues", "status", "status --json", "hub_issues", "/readyz")


def _planted(served: ServedHub) -> list[Finding]:
    """Return a finding of each kind and severity, each with a start of its own; each second one is a stop."""
    kinds = [(one.id, severity) for one in issue_kinds() for severity in one.severities]
    assert len({id for id, _ in kinds}) > 80
    return [
        Finding(
            Severity(severity),
            id,
            f"the condition no. {number} holds.",
            fix=f"hub mend {number}",
            subject=f"s-{number}",
            since=served.clock.now() - timedelta(hours=number),
            is_stop=number % 2 == 0,
            fixes=post("Mend it", f"hub fix {number}", "/v1/reload", Scope.SETTINGS)
            if number % 3 == 0
            else (),
        )
        for number, (id, severity) in enumerate(kinds)
    ]


def _as_view(found: Finding) -> dict[str, Any]:
    assert found.since is not None
    fix = [one.command for one in found.fixes]
    since = found.since.isoformat().replace("+00:00", "Z")
    return {
        **{"id": found.id, "subject": found.subject, "severity": found.severity, "since": since},
        **{"explanation": found.explanation, "fix": found.fix, "fixes": fix},
    }


def _of_view(view: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "subject", "severity", "since", "explanation", "fix")
    return {name: view[name] for name in names} | {"fixes": [one["command"] for one in view["fixes"]]}


def test_every_issue_is_the_same_in_doctor_status_home_rest_metrics_and_readiness(
    hub: Hub, served: ServedHub, portal: BlockingPortal
) -> None:
    """Home reads ``GET /v1/status`` and ``GET /v1/issues``, which the commands print with ``--json``."""
    everything = _planted(served)
    now: list[Finding] = [*everything]
    served.app.issues.watch(lambda _: now)
    doctor = hub("doctor").stdout
    views = {one["subject"]: _of_view(one) for one in json.loads(hub("doctor", "--json").stdout)["issues"]}
    listed: dict[str, dict[str, Any]] = {}
    for start in range(0, len(everything), DEFAULT_LIMIT):  # a page of a list
        now[:] = everything[start : start + DEFAULT_LIMIT]
        page = json.loads(hub("issues", "ls", "--json").stdout)["issues"]
        listed |= {one["subject"]: _of_view(one) for one in page}
    for start in range(0, len(everything), WORST):
        now[:] = everything[start : start + WORST]
        status, screen = json.loads(hub("status", "--json").stdout), hub("status").stdout
        worst = {one["subject"]: _of_view(one) for one in status["worst"]}
        ready = portal.call(served.resource(SystemResource).readiness, ResponseHead())
        metrics = served.context.metrics.render().decode()
        assert ready.ready != any(found.is_stop for found in now)
        for found in now:
            text, view = "\n".join(show.issue_lines(_shown(found))), _as_view(found)
            known = {(one.id, Severity(one.severity)): one.explanation for one in ready.issues}
            same = (
                text in doctor,
                views[found.subject] == view,
                listed[found.subject] == view,
                (text in screen) == (found.severity is not Severity.NOTICE),
                worst[found.subject] == view,
                f'hub_issues{{id="{found.id}",severity="{found.severity}"}}' in metrics,
                known[found.id, found.severity] == (found.explanation if found.is_stop else None),
            )
            words = (word if ok else f"NOT {word}" for word, ok in zip(PLACES, same, strict=True))
            print(f"{found.id:<28} {found.severity:<8}", *words, sep="  ")  # noqa: T201  the table, with -s
            assert all(same), found.id


def _shown(found: Finding) -> dict[str, Any]:
    fixes = [{"title": one.title, "command": one.command} for one in found.fixes]
    return _as_view(found) | {"fixes": fixes}
