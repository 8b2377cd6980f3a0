"""Outbound HTTP calls of the hub: rules for addresses, and a client that enforces them."""

from httpx2 import DecodingError, InvalidURL, TransportError

from hub.outbound.client import (
    MAX_ANSWER_BYTES,
    AnswerTooLarge,
    OutboundClient,
    finite_number,
    retry_after_s,
    was_never_sent,
)
from hub.outbound.rules import AddressRefused, OutboundRules

__all__ = [
    "MAX_ANSWER_BYTES",
    "AddressRefused",
    "AnswerTooLarge",
    "DecodingError",
    "InvalidURL",
    "OutboundClient",
    "OutboundRules",
    "TransportError",
    "finite_number",
    "retry_after_s",
    "was_never_sent",
]
