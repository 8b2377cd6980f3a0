"""Rules of addresses, as test kits of release 0.2 import them; the product uses ``hub.base.outbound``."""

from hub.base.outbound.rules import AddressRefused, OutboundRules

__all__ = ["AddressRefused", "OutboundRules"]
