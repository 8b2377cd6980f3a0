"""Table ``[cluster]`` of hub.toml: the bus between the nodes of a hub, and the address of this node."""

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import (
    AfterValidator,
    Discriminator,
    StringConstraints,
    Tag,
)

from hub.base.toml.values import (
    IN_THE_OPEN,
    REFER_TO_IT,
    Name,
    SecretMissing,
    SecretRef,
    SettingsTable,
    refusal,
    restart,
    shaped,
    url_parts,
)


def _fault_of(url: str) -> str | None:
    """Return what is wrong with the address of a bus, or None."""
    scheme, _, rest = url.partition("://")
    parts = url_parts(f"{scheme}://{rest.rpartition('@')[2]}", "nats", "tls")
    is_right = parts is not None and not parts.path.strip("/") and not parts.query
    return None if is_right else "not the address of a NATS server"


def _bus_url(url: str) -> str:
    if (fault := _fault_of(url)) is not None:
        raise refusal("bus", fault, hint='as in "nats://10.0.0.5:4222", or "tls://..." with TLS')
    if "@" in url:
        raise refusal("literal_secret", IN_THE_OPEN, hint=REFER_TO_IT)
    return url


BusUrl = Annotated[str, AfterValidator(_bus_url), shaped("^(nats|tls)://", "nats://10.0.0.5:4222")]


def _node_address(url: str) -> str:
    parts = url_parts(url, "ws", "wss")
    if parts is None or parts.path.strip("/") or parts.query or parts.fragment or "@" in url:
        raise refusal("address", "not the address of a hub", hint='as in "wss://a.example:8770"')
    return url


NodeAddress = Annotated[
    str,
    StringConstraints(max_length=300),
    AfterValidator(_node_address),
    shaped("^wss?://[^/?#@ ]+/?$", "wss://a.example:8770"),
]


def _kind(value: object) -> str | None:
    if value is None:
        return None
    return "reference" if isinstance(value, dict | SecretRef) else "plain"


class ClusterSettings(SettingsTable):
    """``[cluster]``: this hub as one of several on one PostgreSQL.

    An address with a user or token in it is a secret, and must be a reference.
    """

    bus: (
        Annotated[
            Annotated[BusUrl, Tag("plain")] | Annotated[SecretRef, Tag("reference")], Discriminator(_kind)
        ]
        | None
    ) = restart(None, "NATS server through which the nodes reach each other.")
    address: NodeAddress | None = restart(None, "Address of this node for devices, as they dial it.")
    node: Name | None = restart(None, "Name of this node; by default that of the machine.")

    def resolved(self, environ: Mapping[str, str] = os.environ) -> str:
        """Return the bus's address, resolved if it is a reference; empty without a bus.

        Raises:
            SecretMissing: the reference cannot be resolved, or not to the address of a bus.
        """
        if self.bus is None or isinstance(self.bus, str):
            return self.bus or ""
        url = self.bus.resolve(environ)
        if (fault := _fault_of(url)) is not None:
            raise SecretMissing(f"{self.bus.place}: {fault}")
        return url
