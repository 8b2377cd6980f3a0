"""Checks of hub.toml: refused or pending changes, insecure listeners and expiring certificates."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from hub.certificates import RENEW, ending
from hub.clock import from_epoch_ms
from hub.health.issues import Finding, error, notice, post, warning
from hub.roles import Scope
from hub.settings.problems import Severity
from hub.settings.reload import Reloader
from protocol.ids import NodeId
from storage.agents import declaring, settings_revisions
from storage.devices import nodes
from storage.store import Store

MOST_NAMED: Final = 5
MOST_NODES: Final = 1_000
RELOAD: Final = post("Read the file anew", "hub reload", "/v1/reload", Scope.SETTINGS)
_WITH_A_CHECK: Final = (".insecure", ".tls.certificate")  # keys whose warnings have a check of their own
REVISION_TAKES: Final = timedelta(seconds=30)  # at most, until every node uses a new one


def check_reload(settings: Reloader, now: datetime) -> Iterable[Finding]:
    """Find refused content of hub.toml."""
    if not settings.refused:
        return []
    first = settings.refused[0]
    fix = "correct the file; 'hub check' lists all problems"
    if settings.on_last_good:
        explanation = f"hub.toml is broken, so the hub uses the last good settings: {first}"
        return [error("settings.last_good", explanation, fix=f"{fix}; then 'hub reload'", fixes=RELOAD)]
    explanation = f"the changed hub.toml was refused, so the previous settings stay in use: {first}"
    return [error("settings.refused", explanation, fix=fix, fixes=RELOAD)]


async def check_waiting(settings: Reloader, now: datetime) -> Iterable[Finding]:
    """Find changes in hub.toml that take effect after a restart."""
    if not settings.waiting:
        return []
    explanation = f"changed in hub.toml, and not in use before a restart: {', '.join(settings.waiting)}"
    return [
        notice(
            "settings.waiting",
            explanation,
            fix="stop the hub with Ctrl-C, or with hub drain; when it has ended: hub serve;"
            " as a service: systemctl restart hub",
        )
    ]


async def check_warnings(settings: Reloader, now: datetime) -> Iterable[Finding]:
    """Find warnings of ``hub check`` about the settings in use."""
    return [
        warning(
            "settings.doubtful",
            str(problem._replace(hint="")),
            fix=problem.hint or "hub check",
            subject=problem.path,
        )
        for problem in settings.reading.problems
        if problem.severity is Severity.WARNING and not problem.path.endswith(_WITH_A_CHECK)
    ]


async def check_declarations(store: Store, node_id: NodeId, now: datetime) -> Iterable[Finding]:
    """Find declarations that differ between nodes of one database, and those only of nodes that are down."""
    if not store.is_shared:
        return []
    known = await store.read(declaring.list_declarations)
    ours = next((one.declared for one in known if one.node_id == node_id), None)
    if ours is None:
        return []
    living = [one.declared for one in known if one.is_alive and one.declared is not None]
    found: list[Finding] = []
    for other in known:
        if other.declared is None or other.node_id == node_id:
            continue
        if other.is_alive and (names := _listed(ours.differing(other.declared))):
            explanation = f"node {other.name} declares otherwise than this node: {names}"
            fix = "'hub config push hub.toml' at one of them gives its settings to all nodes"
            found.append(warning("settings.differ", explanation, fix=fix, subject=other.node_id))
        if not other.is_alive and (names := _listed(other.declared.beyond(living))):
            explanation = f"only node {other.name}, which does not run, declares {names}"
            fix = f"start it; or 'hub nodes rm {other.name}', and the next 'hub reload' archives them"
            found.append(notice("settings.left", explanation, fix=fix, subject=other.node_id))
    return found


async def check_revisions(store: Store, now: datetime) -> Iterable[Finding]:
    """Find nodes that do not use the newest revision of the shared settings, some time after it appeared."""
    newest = await store.read(settings_revisions.newest_revision)
    if newest is None:
        return []
    is_fresh = now < from_epoch_ms(newest.at) + REVISION_TAKES
    fix = "correct that node, then 'hub --node NODE reload'; or 'hub config push' what all nodes can use"
    return [
        warning(
            "settings.behind",
            f"node {node.name or node.id} does not use settings revision {newest.number}: "
            + (node.settings_refused or "its release knows none, or it hangs"),
            fix=fix,
            subject=node.id,
        )
        for node in await store.read(nodes.list_nodes, limit=MOST_NODES)
        if node.expires_at is not None
        and node.settings_number != newest.number
        and (node.settings_refused or not is_fresh)
    ]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


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
    if explanation := ending(one.ends_at, now):
        finding = error if one.ends_at <= now else warning
        yield finding("certificate.ends", f"{called} {explanation}", fix=RENEW, subject=one.listener)
    if one.refused:
        yield error(
            "certificate.refused",
            f"a new pair of files for {called} was not applied: {one.refused}; the one in use ends on"
            f" {one.ends_at:%Y-%m-%d}",
            fix="correct the files; the hub takes them up within seconds, or by 'hub reload'",
            subject=one.listener,
            fixes=RELOAD,
        )
