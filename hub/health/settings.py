"""Checks of hub.toml: refused or pending changes, insecure listeners and expiring certificates."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from hub.api.door.certificates import ending
from hub.health.issues import Check, Finding, error, notice, warning
from hub.settings.problems import Severity
from hub.settings.reload import Reloader


def check_reload(settings: Reloader) -> Check:
    """Return the check for a content of hub.toml that was refused."""

    async def check(now: datetime) -> Iterable[Finding]:
        if not settings.refused:
            return []
        first = settings.refused[0]
        fix = "correct the file; 'hub check' lists all problems"
        if settings.on_last_good:
            explanation = f"hub.toml is broken, so the hub uses the last good settings: {first}"
            return [error("settings.last_good", explanation, fix=f"{fix}; then 'hub reload'")]
        explanation = f"the changed hub.toml was refused, so the previous settings stay in use: {first}"
        return [error("settings.refused", explanation, fix=fix)]

    return check


def check_waiting(settings: Reloader) -> Check:
    """Return the check for changes in hub.toml that take effect after a restart."""

    async def check(now: datetime) -> Iterable[Finding]:
        if not settings.waiting:
            return []
        explanation = f"changed in hub.toml, and not in use before a restart: {', '.join(settings.waiting)}"
        return [
            notice("settings.waiting", explanation, fix="restart the hub when it suits; no device is refused")
        ]

    return check


def check_warnings(settings: Reloader) -> Check:
    """Return the check for warnings of ``hub check`` about the settings in use."""

    async def check(now: datetime) -> Iterable[Finding]:
        return [
            warning("settings.doubtful", str(problem), fix=problem.hint or "hub check", subject=problem.path)
            for problem in settings.reading.problems
            if problem.severity is Severity.WARNING and not problem.path.endswith(".insecure")
        ]

    return check


def check_listeners(settings: Reloader) -> Check:
    """Return the check for listeners that other machines reach without TLS."""

    async def check(now: datetime) -> Iterable[Finding]:
        listen = settings.current.listen
        return [
            warning(
                "listener.insecure",
                f"other machines reach {listener.address} without TLS: who listens in reads tokens and texts",
                fix=f"write tls = {{ certificate = PATH, key = PATH }} in [listen.{name}], or use a proxy",
                subject=name,
            )
            for name, listener in listen.named()
            if listener.insecure and listener.tls is None and not listener.address.is_loopback
        ]

    return check


class Certificate(NamedTuple):
    """Certificate in use, its expiry (aware, UTC), and why its changed files were refused."""

    listener: str
    ends_at: datetime
    refused: str = ""


def check_certificates(in_use: Callable[[], Iterable[Certificate]]) -> Check:
    """Return the check for certificates that expire soon, or whose replacement was refused."""

    async def check(now: datetime) -> Iterable[Finding]:
        return [found for one in in_use() for found in _about_certificate(one, now)]

    return check


def _about_certificate(one: Certificate, now: datetime) -> Iterator[Finding]:
    called = f"the certificate of [listen.{one.listener}]"
    fix = "put a new one in its place, then 'hub reload'"
    if explanation := ending(one.ends_at, now):
        finding = error if one.ends_at <= now else warning
        yield finding("certificate.ends", f"{called} {explanation}", fix=fix, subject=one.listener)
    if one.refused:
        yield error(
            "certificate.refused",
            f"a new pair of files for {called} was not applied: {one.refused}",
            fix="correct the files, then 'hub reload'; the one before is in use until then",
            subject=one.listener,
        )
