"""Listening address: ``host:port``, ``[::1]:port``."""

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True)
class Address:
    """Host (a name, or an IP address without brackets) and port; port 0 selects a free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse an address. Raises ValueError with the problem."""
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = str(ipaddress.IPv6Address(host[1:-1]))
        elif ":" in host:
            raise ValueError("an IPv6 address stands in brackets: [::1]:8770")
        if not colon or not host:
            raise ValueError("an address is host:port")
        if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
            raise ValueError("a port is a number from 0 to 65535")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False  # a name may resolve to any address

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
