"""Checks of services of the hub that failed and were restarted."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from hub.app.supervisor import Failures
from hub.health.issues import Check, Finding, error, warning

TOLD_FOR: Final = timedelta(hours=1)  # after the last failure of a service that runs again


def check_services(failures: Callable[[], Mapping[str, Failures]]) -> Check:
    """Return the check for services that are down, or failed within the last hour."""

    async def look(now: datetime) -> Iterable[Finding]:
        return [_finding(name, of) for name, of in failures().items() if of.is_down or now - of.at < TOLD_FOR]

    return look


def _finding(name: str, of: Failures) -> Finding:
    often = "once" if of.count == 1 else f"{of.count} times"
    told = f"the hub's service {name!r} broke {often} since the start, last with {of.error}"
    severity, now = (error, "it is down and is tried again") if of.is_down else (warning, "it runs again")
    return severity(
        "service.broken",
        f"{told}; {now}",
        fix="hub logs --level error says where; that is a fault in hub, which its authors should see",
        subject=name,
    )
