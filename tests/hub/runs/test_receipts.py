"""Receipts of a hub: what one contains, what the audit log says of it, and which devices get none."""

import json
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.base.clock import IdFactory
from hub.device.credentials import DeviceIdentity
from hub.links.device_keys import check_signature
from hub.links.hub_key import HubKey
from hub.runs.receipts import ReceiptSender, ReceivedFiles
from protocol import keys
from protocol.errors import LinkLost
from protocol.frame import ErrorBody
from protocol.ids import DeviceId, UserId
from protocol.receipts import Receipt, Sent, digest_of, receipt_text, root_of, sent_text
from protocol.work import AgentComplete, AgentReceipt, FilePiece
from storage.devices import devices, receipts, users
from storage.effects import retention
from storage.schema import audit_log
from storage.store import Store
from tests.support.clock import FakeClock, SeededChance
from tests.support.link import FakeLink

pytestmark = pytest.mark.anyio
AT = 1_767_000_000_000
HUB = HubKey(bytes(32))
DESK = DeviceIdentity(Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\x01"))
A, B = "a" * 64, "b" * 64
FILES = [("n/a.md", 3, A), ("n/b.md", 4, B)]


@pytest.fixture
async def link(store: Store) -> FakeLink:
    """A device that lists receipts, connected by its key."""
    user = await store.write(users.ensure_user, UserId("u"), "anna", AT)
    await store.write(devices.ensure_device, id=DeviceId("d"), user_id=user, name="desk", at=AT)
    found = FakeLink("d", capabilities=["agent_receipt"])
    found.credential = f"key:{keys.key_id(DESK.public_key)}"
    return found


def giver(store: Store) -> ReceiptSender:
    clock = FakeClock()
    return ReceiptSender(store, HUB, clock=clock, ids=IdFactory(clock, SeededChance()))


def arrived(*, sent: Sent | None = None, error: ErrorBody | None = None) -> ReceivedFiles:
    """Two files, one in two pieces, and the beginning of a third one."""
    received = ReceivedFiles()
    for path, content, piece, pieces, digest in (
        ("n/b.md", "x€", 0, 1, B),
        ("n/a.md", "a", 0, 2, A),
        ("n/a.md", "bc", 1, 2, A),
        ("n/c.md", "half", 0, 2, A),
    ):
        received.add(FilePiece(path=path, content=content, piece=piece, pieces=pieces, sha256=digest))
    received.end = AgentComplete(run_id="r", sent=sent, error=error)
    return received


def statement(receipt_id: str, files: Sequence[tuple[str, int, str]] = FILES) -> Sent:
    sent = Sent(files=len(files), bytes=sum(size for _, size, _ in files), root=root_of(files))
    signature = DESK.sign(sent_text(HUB.public_key, receipt_id, sent))
    return Sent(
        files=sent.files,
        bytes=sent.bytes,
        root=sent.root,
        public_key=keys.encode(DESK.public_key),
        signature=signature,
    )


async def entries(store: Store) -> list[dict[str, object]]:
    """Details of the entries about receipts."""
    query = sa.select(audit_log.c.detail).where(audit_log.c.event == "receipt.made").order_by(audit_log.c.seq)
    return [json.loads(one) for one in await store.read(lambda c: c.execute(query).scalars().all())]


def given(link: FakeLink) -> list[Receipt]:
    return [frame.receipt for frame in link.sent if isinstance(frame, AgentReceipt)]


async def test_receipt_of_arrived_files_is_signed_by_hub_and_device_and_audited(
    store: Store, link: FakeLink
) -> None:
    sent = statement("q-1")
    await giver(store).give(link, "q-1", "r", arrived(sent=sent))
    await giver(store).give(link, "q-2", "r", arrived(error=ErrorBody(code="cancelled")))
    first, second = given(link)
    assert (first.number, first.files, first.bytes, first.is_whole) == (1, 2, 7, True)
    assert first.root == root_of(FILES) == sent.root
    assert (second.number, second.previous, second.is_whole) == (2, digest_of(first), False)
    for receipt in (first, second):
        assert receipt.hub == HUB.public_key
        check_signature(keys.decode(receipt.hub, 32), receipt.signature, receipt_text(receipt))
    assert await store.read(receipts.find_files, DeviceId("d"), "q-1") == FILES
    with_signature, without = await entries(store)
    assert with_signature["root"] == first.root
    assert with_signature["device_key"] == sent.public_key
    assert with_signature["device_signature"] == sent.signature
    assert "device_signature" not in without
    listed = await store.read(receipts.list_receipts, DeviceId("d"))
    assert [(one.receipt, one.entry_hash) for one in listed] == [
        (first, first.entry_hash),
        (second, second.entry_hash),
    ]


async def test_device_statement_with_other_files_or_bad_signature_is_audited_without_signature(
    store: Store, link: FakeLink
) -> None:
    await giver(store).give(link, "q-1", "r", arrived(sent=statement("q-1", FILES[:1])))
    await giver(store).give(link, "q-2", "r", arrived(sent=statement("another")))
    differs, forged = await entries(store)
    assert (differs["device_files"], differs["device_root"]) == (1, root_of(FILES[:1]))
    assert "device_root" not in forged and "device_signature" not in forged


async def test_device_without_the_capability_and_reading_without_files_have_no_receipt(
    store: Store, link: FakeLink
) -> None:
    assert giver(store).promise(FakeLink("d")) is None
    assert giver(store).promise(link) is not None
    await giver(store).give(link, "q-1", "r", ReceivedFiles())
    assert (given(link), await entries(store)) == ([], [])


async def test_receipt_of_a_lost_connection_is_stored_for_the_next_connection(
    store: Store, link: FakeLink
) -> None:
    async def lose(frame: object) -> None:
        raise LinkLost("gone", dispatched=False)

    link.send = lose  # type: ignore[method-assign]
    await giver(store).give(link, "q-1", "r", arrived())
    (found,) = await store.read(receipts.list_receipts, DeviceId("d"), ids=["q-1", "other"])
    assert found.receipt.id == "q-1"


async def test_newest_receipt_of_a_device_is_not_pruned(store: Store, link: FakeLink) -> None:
    for number in range(3):
        await giver(store).give(link, f"q-{number}", "r", arrived())
    assert await store.write(retention.prune_receipts, before=2**53) == 2
    (found,) = await store.read(receipts.list_receipts, DeviceId("d"))
    assert found.receipt.number == 3
