"""Digests of listings that are settled as a whole.

A tree is the digest of a complete listing. A run that may change the agent's ledger first adds a row without
a digest, and deletes the row with one. At its end it adds the digest to its row. It does not if the ledger
lacks a listed file, or another run of the agent could write meanwhile. So a digest in the database is true of
the ledger beside it, also after a restore.

Any other change of the ledger spoils the trees in the same transaction: a settled digest is forgotten, and a
run that is reading settles none.

A tree is believed for ``RENEWED_AFTER_MS``. The next run then lists every file, which renews their entries.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import sqlalchemy as sa

from protocol.ids import DeviceId
from storage.kernel.columns import Int
from storage.runs.runs import HeldRun, check_held
from storage.runs.units import NO_ENTRY, RENEWED_AFTER_MS, ledger_entries
from storage.schema import agents, folder_trees, run_units, runs

SPOILED: Final = ""  # as digest: the ledger was changed while the run was reading


OF_RUN = sa.select(runs.c.agent_id, runs.c.config_fingerprint).where(runs.c.id == sa.bindparam("run"))
IS_SETTLED = sa.select(folder_trees.c.digest).where(
    folder_trees.c.agent_id == sa.bindparam("agent"),
    folder_trees.c.digest == sa.bindparam("digest"),
    folder_trees.c.config_fingerprint == sa.bindparam("fingerprint"),
    folder_trees.c.listed_at >= sa.bindparam("since", type_=Int),
)
ANY_UNIT = sa.select(run_units.c.unit_key).where(run_units.c.run_id == sa.bindparam("run")).limit(1)
FORGET = sa.delete(folder_trees).where(
    folder_trees.c.agent_id == sa.bindparam("agent"),
    sa.or_(
        folder_trees.c.run_id == sa.bindparam("run"),
        folder_trees.c.digest != SPOILED,
        ~sa.exists().where(runs.c.id == folder_trees.c.run_id, runs.c.completed_at.is_(None)),
    ),
)
BEGIN = sa.insert(folder_trees)


def has_settled_tree(c: sa.Connection, held: HeldRun, digest: str | None, at: int) -> bool:
    """Return True if all files of the tree are settled; otherwise note that the run may change the ledger.

    Args:
        digest: of the tree; None if it is not known.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    agent_id, fingerprint = c.execute(OF_RUN, {"run": held.id}).one()
    sought = {"agent": agent_id, "digest": digest, "fingerprint": fingerprint, "since": at - RENEWED_AFTER_MS}
    if digest is not None and c.execute(IS_SETTLED, sought).one_or_none() is not None:
        is_first_attempt = c.execute(ANY_UNIT, {"run": held.id}).one_or_none() is None
        if is_first_attempt:  # a later one counts the units that the run has
            return True
    c.execute(FORGET, {"agent": agent_id, "run": held.id})
    row = {"agent_id": agent_id, "run_id": held.id, "config_fingerprint": fingerprint, "listed_at": at}
    c.execute(BEGIN, row)
    return False


READERS = sa.select(folder_trees.c.run_id, folder_trees.c.digest).where(
    folder_trees.c.agent_id == sa.bindparam("agent")
)
SETTLE = (
    sa.update(folder_trees)
    .where(folder_trees.c.agent_id == sa.bindparam("agent"))
    .values(digest=sa.bindparam("tree"))
)


def settle_tree(c: sa.Connection, held: HeldRun, digest: str, units: Mapping[str, str]) -> bool:
    """Store the tree of a run that settled all of it. Return False if that is not certain.

    Args:
        units: content hash, by key, of the listed units that were not settled when the run listed them.

    Raises:
        StaleRun: the run has another fence, or has ended; nothing was written.
    """
    check_held(c, held)
    agent_id, fingerprint = c.execute(OF_RUN, {"run": held.id}).one()
    # Another run of the agent may have settled other content of a listed unit meanwhile.
    if [tuple(row) for row in c.execute(READERS, {"agent": agent_id})] != [(held.id, None)]:
        return False
    entries = ledger_entries(c, agent_id, fingerprint, list(units))
    if any(entries.get(key, NO_ENTRY).content_hash != sha256 for key, sha256 in units.items()):
        return False
    c.execute(SETTLE, {"agent": agent_id, "tree": digest})
    return True


SPOIL = sa.update(folder_trees).values(digest=SPOILED)
SPOIL_OF_AGENTS = SPOIL.where(folder_trees.c.agent_id.in_(sa.bindparam("agents", expanding=True)))
SPOIL_OF_DEVICE = SPOIL.where(
    folder_trees.c.agent_id.in_(sa.select(agents.c.id).where(agents.c.device_id == sa.bindparam("device")))
)


def spoil_trees_of(c: sa.Connection, agent_ids: Iterable[str]) -> None:
    """Forget the trees of these agents, because entries of their ledgers are deleted."""
    if ids := sorted(set(agent_ids)):
        c.execute(SPOIL_OF_AGENTS, {"agents": ids})


def spoil_trees_of_device(c: sa.Connection, device_id: DeviceId | None) -> None:
    """Forget the trees of a device's agents, because some of its files are to be read again."""
    if device_id is not None:
        c.execute(SPOIL_OF_DEVICE, {"device": device_id})
