"""How the hub calls others: which addresses it may reach, and a client that keeps to that."""

from httpx2 import TransportError

from hub.outbound.client import MAX_ANSWER_BYTES, AnswerTooLarge, OutboundClient
from hub.outbound.rules import AddressRefused, OutboundRules

__all__ = [
    "MAX_ANSWER_BYTES",
    "AddressRefused",
    "AnswerTooLarge",
    "OutboundClient",
    "OutboundRules",
    "TransportError",
]
