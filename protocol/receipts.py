"""Receipts about sent files: content, numbering and signed text.

A receipt names the previous receipt of the device and an entry of the audit log of the hub. So neither can be
replaced later.
"""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocol.frame import (
    Count,
    EpochMs,
    Id,
    Sha256,
)
from protocol.keys import signed_lines

RECEIPT_HEADER: Final = "hub-receipt-v1"
SENT_HEADER: Final = "hub-sent-v1"
PublicKey = Annotated[str, Meta(max_length=64)]  # base64url without padding
Signature = Annotated[str, Meta(max_length=128)]  # likewise
SentFile = tuple[str, int, str]  # path, bytes of the text as sent, and the announced digest


class Sent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Statement of a device about what it sent; signed by its key, if it has one."""

    files: Count
    bytes: Count
    root: Sha256
    public_key: PublicKey | None = None
    signature: Signature | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Statement of a hub about what it received, signed by the key that it proves in its challenge.

    Attributes:
        id: as ``agent_run`` named it.
        number: of the device's receipts at this hub, from 1.
        at_ms: when the hub wrote it.
        is_whole: True if the device ended the reading itself, so that nothing was under way.
        previous: digest of the device's receipt before this one; empty for the first.
        entry: number of the entry in the hub's audit log, with its hash.
    """

    id: Id
    hub: PublicKey
    device_id: Id
    run_id: Id
    number: Count
    at_ms: EpochMs
    files: Count
    bytes: Count
    root: Sha256
    is_whole: bool
    previous: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")]
    entry: Count
    entry_hash: Sha256
    signature: Signature


def sorted_files(files: Iterable[SentFile]) -> list[SentFile]:
    """Return the files in the order of a root, each once."""
    return sorted(set(files))


def root_of(files: Iterable[SentFile]) -> str:
    """Return the SHA-256 over sorted files: of each its path, NUL, bytes, NUL, digest and a line feed."""
    root = hashlib.sha256()
    for path, size, sha256 in files:
        root.update(f"{path}\0{size}\0{sha256}\n".encode())
    return root.hexdigest()


def sent_text(hub: str, receipt_id: str, sent: Sent) -> bytes:
    """Return the text that a device signs: six lines, joined by newlines, as UTF-8.

    The header, the hub's public key, the id of the receipt, the number of files, of bytes, and the root.

    Raises:
        ValueError: a part contains a line break.
    """
    return signed_lines(SENT_HEADER, hub, receipt_id, str(sent.files), str(sent.bytes), sent.root)


def receipt_text(receipt: Receipt) -> bytes:
    """Return the text that a hub signs: fourteen lines, joined by newlines, as UTF-8.

    The header, then the fields of the receipt in their order, *hub* first, without the signature.
    ``is_whole`` is ``whole`` or ``part``.

    Raises:
        ValueError: a part contains a line break.
    """
    return signed_lines(
        RECEIPT_HEADER,
        receipt.hub,
        receipt.id,
        receipt.device_id,
        receipt.run_id,
        str(receipt.number),
        str(receipt.at_ms),
        str(receipt.files),
        str(receipt.bytes),
        receipt.root,
        "whole" if receipt.is_whole else "part",
        receipt.previous,
        str(receipt.entry),
        receipt.entry_hash,
    )


def digest_of(receipt: Receipt) -> str:
    """Return the digest by which the next receipt names this one: SHA-256 of the signed text."""
    return hashlib.sha256(receipt_text(receipt)).hexdigest()
