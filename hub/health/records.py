"""Issues about nodes, the database's write-ahead log, and devices that differ from the ledger."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from hub.base.clock import epoch_ms, from_epoch_ms
from hub.base.roles import Scope
from hub.health.issues import Finding, Fix, notice, warning
from storage.devices import devices
from storage.devices.devices import DeviceRow
from storage.devices.nodes import NodeRow
from storage.kernel import database
from storage.runs import agreement
from storage.runs.agreement import StoreRow
from storage.store import Store

WAL_BYTES: Final = 256 * 1024 * 1024  # the hub's own checkpoints keep the log far smaller
AGREEMENT_REPORTED: Final = timedelta(days=1)  # for so long a restored agreement is reported


async def check_nodes(
    list_nodes: Callable[[], Awaitable[Iterable[NodeRow]]], now: datetime
) -> Iterable[Finding]:
    """Find nodes that ended without a stop, or do not reach the database."""
    return [
        warning(
            "node.dead",
            f"node {node.name or node.id} is dead: it ended without a word, or its database is out of reach",
            fix=f"start it; if it is gone for good: hub nodes rm {node.id[-6:]}",
            subject=node.id,
            fixes=(
                Fix(
                    "Remove the node",
                    f"hub nodes rm {node.id[-6:]}",
                    "DELETE",
                    f"/v1/nodes/{node.id}",
                    Scope.SYSTEM,
                    is_final=True,
                ),
            ),
        )
        for node in await list_nodes()
        if node.expires_at is None and node.stopped_at is None
    ]


async def check_wal(store: Store, now: datetime) -> Iterable[Finding]:
    """Find a SQLite write-ahead log that keeps growing because of a long read."""
    log_bytes = (await store.read(database.measure_size)).log
    if log_bytes < WAL_BYTES:
        return []
    explanation = f"{log_bytes // 1_000_000} MB were written that cannot be taken into the database file"
    fix = "end whatever else has the database open, as a shell or a copy that is under way"
    return [warning("database.wal", explanation, fix=fix)]


_CAUSES: Final[Mapping[str, str]] = {
    "store_older": "the file of device {name} is older than it was: it was restored",
    "store_replaced": "device {name} has another file than before: it was lost, or replaced",
    "hub_older": "device {name} has rows that this hub did not know: the hub was restored, or is a new one",
    "asked": "the rows of device {name} are compared on request",
    "first": "the rows of device {name} are compared for the first time",
}


async def check_agreements(store: Store, now: datetime) -> Iterable[Finding]:
    """Find devices whose rows differed from the ledger after a restore or a loss."""
    since = epoch_ms(now - AGREEMENT_REPORTED)
    rows = await store.read(agreement.differing_stores, agreed_since=since)
    found_devices = await store.read(devices.devices_of, [row.device_id for row in rows])
    names = {device.id: device for device in found_devices}
    found: list[Finding] = []
    for row in rows:
        device = names.get(row.device_id)
        if device is None:
            continue  # its row is broken, which is an issue of its own
        if device.revoked_at is None and (finding := _about_agreement(row, device, now)) is not None:
            found.append(finding)
    return found


def _about_agreement(row: StoreRow, device: DeviceRow, now: datetime) -> Finding | None:
    began_at = from_epoch_ms(row.began_at)
    why = _CAUSES[row.cause].format(name=device.name)
    counts = f"{row.sent} rows were sent again, {row.taken} learnt of, {row.refused} refused by the device"
    if row.agreed_at is None:
        if row.cause == "first" and row.problem is None:
            return None
        because = f"; the last try ended with: {row.problem}" if row.problem else ""
        explanation = f"{why}. Its runs wait until both agree: {counts}{because}"
        fix = f"let the device connect; if that does not end it: hub logs --device {device.name}"
        return warning(
            "device.past", explanation, fix=fix, subject=device.id, user_id=device.user_id, since=began_at
        )
    is_reported = (
        now - from_epoch_ms(row.agreed_at) <= AGREEMENT_REPORTED and row.sent + row.taken + row.refused
    )
    if row.cause in ("first", "asked") or not is_reported:
        return None
    fix = f"nothing, if you restored it; what was done: hub devices show {device.name}"
    explanation = f"{why}. Both agree again: {counts}"
    return notice(
        "device.past", explanation, fix=fix, subject=device.id, user_id=device.user_id, since=began_at
    )
