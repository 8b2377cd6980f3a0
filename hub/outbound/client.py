"""HTTP client under the name that test kits of release 0.2 import; the product uses ``hub.base.outbound``."""

from hub.base.outbound.client import OutboundClient

__all__ = ["OutboundClient"]
