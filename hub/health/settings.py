"""Checks of hub.toml: refused or pending changes, insecure listeners and expiring certificates."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from hub.api.door.certificates import ending
from hub.health.issues import Finding, error, notice, warning
from hub.settings.problems import Severity
from hub.settings.reload import Reloader


async def check_reload(settings: Reloader, now: datetime) -> Iterable[Finding]:
    """Find refused content of hub.toml."""
    if not settings.refused:
        return []
    first = settings.refused[0]
    fix = "correct the file; 'hub check' lists all problems"
    if settings.on_last_good:
        explanation = f"hub.toml is broken, so the hub uses the last good settings: {first}"
        return [error("settings.last_good", explanation, fix=f"{fix}; then 'hub reload'")]
    explanation = f"the changed hub.toml was refused, so the previous settings stay in use: {first}"
    return [error("settings.refused", explanation, fix=fix)]


async def check_waiting(settings: Reloader, now: datetime) -> Iterable[Finding]:
    """Find changes in hub.toml that take effect after a restart."""
    if not settings.waiting:
        return []
    explanation = f"changed in hub.toml, and not in use before a restart: {', '.join(settings.waiting)}"
    return [
        notice("settings.waiting", explanation, fix="restart the hub when it suits; no device is refused")
    ]


async def check_warnings(settings: Reloader, now: datetime) -> Iterable[Finding]:
    """Find warnings of ``hub check`` about the settings in use."""
    return [
        warning("settings.doubtful", str(problem), fix=problem.hint or "hub check", subject=problem.path)
        for problem in settings.reading.problems
        if problem.severity is Severity.WARNING and not problem.path.endswith(".insecure")
    ]


async def check_listeners(settings: Reloader, now: datetime) -> Iterable[Finding]:
    """Find listeners that other machines reach without TLS."""
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


class Certificate(NamedTuple):
    """Certificate in use, its expiry (aware, UTC), and why its changed files were refused."""

    listener: str
    ends_at: datetime
    refused: str = ""


async def check_certificates(in_use: Callable[[], Iterable[Certificate]], now: datetime) -> Iterable[Finding]:
    """Find certificates that expire soon, or whose replacement was refused."""
    return [found for one in in_use() for found in _about_certificate(one, now)]


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
