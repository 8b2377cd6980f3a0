"""Senders whom the owner of an agent knows, so that the items of their mails bear no mark.

They are named in ``[trust]`` of hub.toml, or the owner approved an item of theirs. A mail counts as theirs
only if the mailbox's own server verified its sender.
"""

from collections.abc import Collection, Iterable

import msgspec

from hub.connectors.connector import Message
from hub.document import Document


class KnownSenders:
    """Addresses and domains of known senders.

    Args:
        named: addresses and domains, in lower case.
        authors: authors of approved items, as ``Provenance.author`` spells them.
    """

    def __init__(self, named: Collection[str], authors: Iterable[str] = ()) -> None:
        addresses = (author.lower().rpartition("<")[2].removesuffix(">") for author in authors)
        self._known = frozenset(named) | {address for address in addresses if "@" in address}

    def vouched(self, document: Document, message: Message) -> Document:
        """Return *document* with a trusted author, if a known and verified sender wrote it."""
        if document.provenance is None or message.sender is None or not message.is_verified:
            return document
        if not self._knows(message.sender.email):
            return document
        trusted = msgspec.structs.replace(document.provenance, trusted=True)
        return msgspec.structs.replace(document, provenance=trusted)

    def _knows(self, address: str) -> bool:
        """Return True for a known address, or one of a known domain, but not of a domain below it."""
        return address in self._known or address.rpartition("@")[2] in self._known
