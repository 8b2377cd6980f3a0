"""Transfer of a node's sealing keys to the other nodes of its database, encrypted for each node."""

from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus

from hub.accounts.sealing_keys import BadKeys, KeyStore
from hub.base.clock import Clock, now_ms
from hub.base.log import Channel
from hub.base.periodic_loop import PeriodicLoop
from protocol.ids import NodeId
from storage import audit
from storage.audit import AuditEntry
from storage.devices import nodes
from storage.devices.nodes import NodeRow
from storage.store import Connection, Store

log = Channel(__name__)

EVERY_S: Final = 2.0


class KeySharing:
    """Sealing of this node's keys for another node, and a service that takes those sealed for this node."""

    def __init__(self, store: Store, keys: KeyStore, *, node_id: NodeId, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._node_id = node_id
        self._clock = clock
        self.loop = PeriodicLoop(clock)

    async def share(self, called: str, code: str, *, actor: str) -> NodeRow:
        """Seal the keys of this node for another one, which takes them within seconds. Return that node.

        Args:
            called: name or id of the node.
            code: the node's own, as it shows it.

        Raises:
            CodedError: there is none, or several.
            CodedError (BAD_PARAMS): *code* is none of a node.
            BadKeys: it is this node, or the keys cannot be read.
        """
        node = await self._store.read(nodes.node_called, called)
        if node.id == self._node_id:
            raise BadKeys(f"{called} is this node, which has these keys")
        sealed = await anyio.to_thread.run_sync(self._keys.seal_for, node.id, code)
        at = now_ms(self._clock)

        def write(c: Connection) -> None:
            nodes.give_keys(c, node.id, sealed)
            audit.append(c, at=at, actor=actor, event="keys.shared", subject=node.id)

        await self._store.write(write)
        return node

    async def receive_keys(self) -> None:
        """Take the keys that another node sealed for this one, if there are any."""
        sealed = await self._store.read(nodes.given_keys, self._node_id)
        if sealed is None:
            return
        why = ""
        try:
            await anyio.to_thread.run_sync(self._keys.accept, self._node_id, sealed)
            log.info("keys.taken")
        except BadKeys as error:
            why = str(error)
            log.error("keys.not_taken", reason=why)
        entry = AuditEntry(
            at=now_ms(self._clock),
            actor="hub",
            event="keys.taken",
            subject=self._node_id,
            outcome="refused" if why else "done",
            detail={"why": why} if why else {},
        )

        def write(c: Connection) -> None:
            nodes.drop_given_keys(c, self._node_id, sealed)
            audit.append_entry(c, entry)

        await self._store.write(write)

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take keys until cancelled."""
        task_status.started()
        await self.loop.serve(self.receive_keys, of="shared keys", every_s=EVERY_S)
