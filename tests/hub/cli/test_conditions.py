"""Each issue that the hub knows is the same at every place where a person or a program reads of it."""

import json
from datetime import timedelta
from typing import Any

from anyio.from_thread import BlockingPortal

from hub.api.binding import Head
from hub.api.noun import DEFAULT_LIMIT
from hub.api.nouns.system import WORST, System
from hub.cli import show
from hub.health.issues import Finding, Severity, post
from hub.roles import Scope
from tests.hub.cli.conftest import Hub
from tests.support.hub import ServedHub
from tests.support.issue_page import issue_kinds

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
        ready = portal.call(served.noun(System).readiness, Head())
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
