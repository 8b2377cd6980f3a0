"""Where the audit log's chain ends, told in the log: who keeps that has an end kept elsewhere.

``hub audit verify --known NUMBER:HASH`` compares the chain with it.
"""

from hub.log import Channel
from storage.audit import audit
from storage.store import Store

log = Channel(__name__)


async def tell_audit_head(store: Store) -> None:
    """Log the number and the hash of the last entry, if there is one."""
    head = await store.read(audit.end_of_chain)
    if head is not None:
        log.info("audit.head", seq=head.seq, hash=head.hash.hex())
