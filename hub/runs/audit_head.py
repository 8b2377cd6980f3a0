"""The end of the audit log's chain, written to the log as a copy that is kept elsewhere.

``hub audit verify --known NUMBER:HASH`` compares the chain with that copy.
"""

from hub.log import Channel
from storage.audit import audit
from storage.store import Store

log = Channel(__name__)


async def tell_audit_head(store: Store) -> None:
    """Log the number and the hash of the last audit entry, if the audit log has any."""
    head = await store.read(audit.end_of_chain)
    if head is not None:
        log.info("audit.head", seq=head.seq, hash=head.hash.hex())
