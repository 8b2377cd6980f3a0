"""Issues about devices, tokens, pairings, shared folders, grants, a broken hub.toml and certificates.

Checks of hub.toml: refused or pending changes, insecure listeners and expiring certificates. How long before
its end a certificate is reported is decided in ``hub.base.certificates``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from hub.base.certificates import RENEW, ending
from hub.base.clock import Clock, epoch_ms, from_epoch_ms, utc_text
from hub.base.name_lists import count_waiting, listed, often
from hub.base.roles import Scope
from hub.base.version import RESTART
from hub.health.issues import Finding, Fix, error, notice, post, warning
from hub.links.device_link import DeviceLink
from hub.links.refusals import OTHERS, RefusedPeer
from hub.links.roster import SharedRoots
from hub.settings.reload import Reloader
from protocol.causes import AWAY, SHARE_MORE, AwayCause, cause_of, without_folders
from protocol.errors import connect_command
from protocol.grants import Grant
from protocol.ids import DeviceId, NodeId
from storage.agents import agents_in_trouble, state_history
from storage.agents.agents_in_trouble import AbsentDevice
from storage.devices import credential_copies, devices, nodes, pairings, settings_revisions
from storage.devices.devices import DeviceRow
from storage.devices.tokens import DEVICE_TOKENS, OPERATOR_TOKENS
from storage.effects import node_declarations
from storage.store import Store

REPORTED_BEFORE_EXPIRY: Final = timedelta(days=14)  # before a token expires
REPORTED_AFTER_EXPIRY: Final = timedelta(days=30)  # after this time an expired token is no longer reported
UNUSED: Final = timedelta(days=90)
ABSENT_LONG: Final = timedelta(days=3)  # longer than a weekend
FLAPS: Final = 15  # connections of one device within WITHIN_S
WITHIN_S: Final = 900.0
REMEMBERED: Final = 10_000  # devices whose connection times are kept
MAX_NAMED: Final = 5  # agents named in one sentence


async def check_tokens(store: Store, now: datetime) -> Iterable[Finding]:
    """Find tokens that expire soon, expired lately, or were unused for three months."""
    found: list[Finding] = []
    times = {
        "ends_after": epoch_ms(now - REPORTED_AFTER_EXPIRY),
        "ends_by": epoch_ms(now + REPORTED_BEFORE_EXPIRY),
        "unused_since": epoch_ms(now - UNUSED),
    }
    for row in await store.read(OPERATOR_TOKENS.ending_or_unused, **times):
        if row.renewed_at is not None:  # its assistant asks its person again
            continue
        called, used = f"operator token {row.name!r} (...{row.last4})", row.last_used_at
        revoke = _revoke_token(row.id, "operator-tokens", Scope.TOKENS)
        found += _about_token(row.id, called, row.created_at, row.expires_at, used, now, revoke)
    for device in await store.read(DEVICE_TOKENS.ending_or_unused, **times):
        called, used = f"the token of device {device.device_name}", device.last_used_at
        revoke = _revoke_token(device.id, "tokens", Scope.DEVICES)
        found += _about_token(device.id, called, device.created_at, device.expires_at, used, now, revoke)
    return found


def _revoke_token(id: str, list_of: str, scope: Scope) -> Fix:
    path, command = f"/v1/{list_of}/{id}", f"hub token revoke {id}"
    return Fix("Revoke the token", command, "DELETE", path, scope, is_final=True)


def _about_token(
    id: str,
    called: str,
    created_at: int,
    expires_at: int | None,
    used_at: int | None,
    now: datetime,
    revoke: Fix,
) -> Iterable[Finding]:
    end = None if expires_at is None else from_epoch_ms(expires_at)
    if end is not None and end - now <= REPORTED_BEFORE_EXPIRY:
        if now - end > REPORTED_AFTER_EXPIRY:
            return
        yield warning(
            "token.ends",
            f"{called} {'ended' if end <= now else 'ends'} on {end:%Y-%m-%d}",
            fix=f"make a new one where it is used, then revoke it: hub token revoke {id}",
            subject=id,
            fixes=(revoke,),
        )
    elif now - from_epoch_ms(used_at or created_at) > UNUSED:
        since = f"since {from_epoch_ms(used_at):%Y-%m-%d}" if used_at else "ever"
        yield notice(
            "token.unused",
            f"{called} was not used {since}; anyone who finds it can sign in",
            fix=f"revoke it: hub token revoke {id}",
            subject=id,
            fixes=(revoke,),
        )


async def check_pairings(store: Store, now: datetime) -> Iterable[Finding]:
    """Find devices whose pairing code an operator has yet to enter."""
    return [
        notice(
            "pairing.waits",
            f"a device from {row.network} named {row.label!r} asks for access",
            fix=f"hub pair approve CODE, as the device shows it; or hub pair deny {row.id}",
            subject=row.id,
            since=from_epoch_ms(row.created_at),
            fixes=post("Deny it", f"hub pair deny {row.id}", f"/v1/pairings/{row.id}/deny", Scope.DEVICES),
        )
        for row in await store.read(pairings.list_pairings, at=epoch_ms(now))
    ]


class Arrived:
    """Recent connection times of each device."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: dict[DeviceId, tuple[float, ...]] = {}  # a deque takes 700 bytes more

    def record(self, device_id: DeviceId) -> None:
        """Record that a device has connected."""
        times = (*self._at.pop(device_id, ()), self._clock.monotonic())[-FLAPS:]
        # Reinserted at the end, so that the first key is the device that connected longest ago.
        self._at[device_id] = times
        if len(self._at) > REMEMBERED:
            del self._at[next(iter(self._at))]

    def flapping(self) -> list[DeviceId]:
        """Return the devices that connected fifteen times within a quarter of an hour."""
        since = self._clock.monotonic() - WITHIN_S
        return [device for device, times in self._at.items() if len(times) == FLAPS and times[0] > since]


async def check_device_names(store: Store, now: datetime) -> Iterable[Finding]:
    """Find agents whose device was revoked, or has a name that matches no paired device.

    A name may be that of a device that is to come: it is reported where other devices have been paired.
    """
    rows = await store.read(agents_in_trouble.on_unpaired_devices)
    if not rows:
        return []
    names = await store.read(pairings.list_names, at=epoch_ms(now))
    ids = {row.device_id for row in rows if row.device_id is not None}
    revoked = {
        device.id: device
        for device in await store.read(devices.devices_of, ids)
        if device.revoked_at is not None
    }
    hints = names.hints((row.device_name or "NAME", row.user_id) for row in rows)
    found = []
    for row, hint in zip(rows, hints, strict=True):
        device, name = revoked.get(row.device_id or DeviceId("")), row.device_name or "NAME"
        if row.lifecycle != "active" if device else row.lifecycle == "terminated" or not hint:
            continue
        because = "was revoked, so none of its runs starts" if device else f"is not paired; {hint}"
        command = connect_command(name, anew=device is not None)
        pause = f"; or hub agents pause {row.name}" if device else ""
        found.append(
            warning(
                "device.unknown",
                f"agent {row.name} reads from device {name!r}, which {because}",
                fix=f"correct the device of the agent, or let it in: {command}{pause}",
                subject=row.id,
                user_id=row.user_id,
                since=None if device is None else from_epoch_ms(device.revoked_at or 0),
            )
        )
    return found


async def check_shared_paths(store: Store, shared: SharedRoots, now: datetime) -> Iterable[Finding]:
    """Find agents whose paths lie outside the folders that their devices share."""
    return [
        warning(
            "agent.outside",
            f"agent {row.agent_name} is to read {', '.join(outside)}, outside of what device"
            f" {row.device_name} shares: {', '.join(shared.of(row.device_id))}",
            fix=f"correct the paths of the agent; or {SHARE_MORE.format(device=row.device_name)}",
            subject=row.agent_id,
            user_id=row.user_id,
        )
        for row in await store.read(agents_in_trouble.paths_on, shared.devices)
        if (outside := shared.outside(row.device_id, row.paths))
    ]


async def check_grants(store: Store, now: datetime) -> Iterable[Finding]:
    """Find devices without the files grant whose agents read files: those runs all fail."""
    readers: dict[DeviceId, list[str]] = {}
    for agent in await store.read(agents_in_trouble.reading_without_grant):
        reads_files = agent.executor == "device" and agent.lifecycle not in ("paused", "terminated")
        if reads_files and agent.paths and agent.device_id is not None:
            readers.setdefault(agent.device_id, []).append(agent.name)
    return [
        warning(
            "device.no_files",
            f"device {row.name} is not granted {Grant.FILES}, so every run fails that reads its files:"
            f" those of {listed(readers[row.id], MAX_NAMED)}",
            fix=f"grant it: hub devices grant {row.name} +{Grant.FILES};"
            " or pause these agents: hub agents pause NAME",
            subject=row.id,
            user_id=row.user_id,
            fixes=post(
                "Grant it",
                f"hub devices grant {row.name} +{Grant.FILES}",
                f"/v1/devices/{row.id}/grant",
                Scope.DEVICES,
                {"add": [Grant.FILES.value]},
            ),
        )
        for row in await store.read(devices.devices_of, list(readers))
    ]


async def check_flapping(
    store: Store, flapping: Callable[[], Iterable[DeviceId]], now: datetime
) -> Iterable[Finding]:
    """Find devices that connect and disconnect repeatedly."""
    return [
        warning(
            "device.flapping",
            f"device {row.name} loses its connection again and again",
            fix=f"see to its network, then to the log: hub logs --device {row.name}",
            subject=row.id,
            user_id=row.user_id,
        )
        for row in await store.read(devices.devices_of, list(flapping()))
    ]


async def check_refused(
    store: Store, refused: Callable[[], Sequence[RefusedPeer]], now: datetime
) -> Iterable[Finding]:
    """Find devices that this hub refuses, and networks from which it refused unknown ones."""
    found = refused()
    ids = {refusal.peer.device_id for refusal in found if refusal.peer.device_id}
    known = {row.id: row for row in await store.read(devices.devices_of, ids)}
    return [_about_refused(refusal, known.get(refusal.peer.device_id or DeviceId(""))) for refusal in found]


def _about_refused(refusal: RefusedPeer, device: DeviceRow | None) -> Finding:
    peer = refusal.peer
    who = f"a device that calls itself {peer.name!r}" if peer.name else "a device"
    who = who if device is None else f"device {device.name}"
    where = "further addresses" if peer.network == OTHERS else peer.network
    return (notice if device is None else warning)(
        "device.refused",
        f"{who} at {where} was refused {often(refusal.count)}: {refusal.message}",
        fix=refusal.hint,
        subject=" ".join(
            (peer.device_id or peer.network, refusal.code, peer.credential or peer.name)
        ).strip(),
        user_id=None if device is None else device.user_id,
        since=refusal.since,
    )


async def check_versions(
    store: Store, connected: Callable[[], Sequence[DeviceLink]], now: datetime
) -> Iterable[Finding]:
    """Find connected devices that speak newer or older versions of the protocol than the hub."""
    by_skew: dict[str, list[DeviceId]] = {}
    for link in connected():
        if link.skew:
            by_skew.setdefault(link.skew, []).append(link.device_id)
    found = []
    for skew, ids in by_skew.items():
        named = [row.name for row in await store.read(devices.devices_of, ids[:MAX_NAMED])]
        more = f" and {len(ids) - MAX_NAMED} others" if len(ids) > MAX_NAMED else ""
        versions, _, fix = skew.partition(": ")
        explanation = f"of {', '.join(named)}{more}: {versions}"
        found.append(notice("device.version", explanation, fix=fix, subject=versions))
    return found


async def check_folders(
    store: Store, connected: Callable[[], Sequence[DeviceLink]], now: datetime
) -> Iterable[Finding]:
    """Find connected devices of which a shared folder is not there."""
    missing = {link.device_id: without_folders(link.missing) for link in connected() if link.missing}
    return [
        warning(
            "device.no_folder",
            cause.sentence,
            fix=cause.remedy.format(device=row.name),
            subject=row.id,
            user_id=row.user_id,
        )
        for row in await store.read(devices.devices_of, list(missing))
        if (cause := cause_of(missing[row.id]))
    ]


async def check_absence(store: Store, now: datetime) -> Iterable[Finding]:
    """Find devices that are away while runs wait for them: a notice, and after days a warning.

    A cause that lasts is reported at once, and one by the owner's wish after days.
    """
    rows = await store.read(agents_in_trouble.absent_devices, epoch_ms(now))
    left = await store.read(state_history.why_left, [row.id for row in rows]) if rows else {}
    found = (_about_absence(row, cause_of(left.get(row.id)), now) for row in rows)
    return [finding for finding in found if finding is not None]


def _about_absence(row: AbsentDevice, known: AwayCause | None, now: datetime) -> Finding | None:
    since = row.waits_since if row.last_seen_at is None else row.last_seen_at
    cause = known or AWAY["connection_lost"]
    lasts_after = timedelta(seconds=cause.lasts_after_s)
    if now - from_epoch_ms(max(since, row.waits_since)) < lasts_after:
        return None
    is_long = now - from_epoch_ms(since) >= ABSENT_LONG
    never = row.last_seen_at is None
    remedy = connect_command(row.name) if never else cause.remedy.format(device=row.name)
    because = f" ({known.sentence})" if known else ""
    last_seen = "has never connected" if never else f"is away since {utc_text(since)}"
    return (warning if is_long else notice)(
        "device.absent",
        f"device {row.name} {last_seen}{because}, and"
        f" {count_waiting(row.runs, 'run')} for it since {utc_text(row.waits_since)}",
        fix=f"{remedy}; if it does not come back: hub devices revoke {row.name},"
        f" and hub agents pause {row.agent_name}",
        subject=row.id,
        user_id=row.user_id,
        since=from_epoch_ms(since),
    )


async def check_copies(store: Store, now: datetime) -> Iterable[Finding]:
    """Find devices whose key or token is on two machines."""
    return [
        error(
            "device.copied",
            f"the key of device {row.name} is on two machines: {copy.newer} connected at"
            f" {utc_text(copy.newer.at)} and replaced {copy.older}, connected since"
            f" {utc_text(copy.older.at)}",
            fix=f"keep one by its host, address or file: hub devices keep {row.name} MACHINE",
            subject=row.id,
            user_id=row.user_id,
            since=from_epoch_ms(copy.newer.at),
        )
        for row, copy in await store.read(credential_copies.list_copies)
    ]


async def check_takeovers(
    store: Store, waiting: Callable[[], Mapping[DeviceId, float]], now: datetime
) -> Iterable[Finding]:
    """Find devices whose connection is taken over repeatedly.

    Args:
        waiting: returns the devices that must wait before another takeover, with the remaining seconds.
    """
    return [
        error(
            "device.taken_over",
            f"device {row.name} replaces its own connection again and again: the same key on two machines?",
            fix=f"remove the key from one of them, or revoke it: hub devices revoke {row.name}",
            subject=row.id,
            user_id=row.user_id,
        )
        for row in await store.read(devices.devices_of, list(waiting()))
    ]


MAX_NODES: Final = 1_000
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
            fix=f"start the hub anew: {RESTART}",
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
        if problem.severity == "warning" and not problem.path.endswith(_WITH_A_CHECK)
    ]


async def check_declarations(store: Store, node_id: NodeId, now: datetime) -> Iterable[Finding]:
    """Find declarations that differ between nodes of one database, and those only of nodes that are down."""
    if not store.is_shared:
        return []
    known = await store.read(node_declarations.list_declarations)
    ours = next((node.declared for node in known if node.node_id == node_id), None)
    if ours is None:
        return []
    living = [node.declared for node in known if node.is_alive and node.declared is not None]
    found: list[Finding] = []
    for other in known:
        if other.declared is None or other.node_id == node_id:
            continue
        if other.is_alive and (names := listed(ours.differing(other.declared), MAX_NAMED)):
            explanation = f"node {other.name} declares otherwise than this node: {names}"
            fix = "'hub config push hub.toml' at one of them gives its settings to all nodes"
            found.append(warning("settings.differ", explanation, fix=fix, subject=other.node_id))
        if not other.is_alive and (names := listed(other.declared.beyond(living), MAX_NAMED)):
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
        for node in await store.read(nodes.list_nodes, limit=MAX_NODES)
        if node.expires_at is not None
        and node.settings_number != newest.number
        and (node.settings_refused or not is_fresh)
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
    return [found for certificate in in_use() for found in _about_certificate(certificate, now)]


def _about_certificate(certificate: Certificate, now: datetime) -> Iterator[Finding]:
    called = f"the certificate of [listen.{certificate.listener}]"
    if explanation := ending(certificate.ends_at, now):
        finding = error if certificate.ends_at <= now else warning
        yield finding("certificate.ends", f"{called} {explanation}", fix=RENEW, subject=certificate.listener)
    if certificate.refused:
        yield error(
            "certificate.refused",
            f"a new pair of files for {called} was not applied: {certificate.refused}; the one in use ends on"
            f" {certificate.ends_at:%Y-%m-%d}",
            fix="correct the files; the hub takes them up within seconds, or by 'hub reload'",
            subject=certificate.listener,
            fixes=RELOAD,
        )
