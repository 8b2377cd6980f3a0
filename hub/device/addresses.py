"""Addresses of the hub: which a device connects to next, and which of a hub's suggestions it follows.

A hub names the addresses of its nodes in ``welcome.hubs`` and in ``hubs``, and one of them in ``goodbye.to``.
The device's file keeps them, so that the device reaches a node that its owner never named. What answers at
such an address must prove the key of the hub that named it.
"""

import re
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import anyio.to_thread

from hub.base.clock import Chance
from hub.base.outbound.addresses import connect_to_first, parse_target, resolve
from hub.base.outbound.rules import is_here, leads_here
from protocol.errors import ErrorCode, HubError
from protocol.frame import PATH

CONNECT_S: Final = 5.0  # to one address of a host
# After the last group of a bare address, four or five decimal digits are a port.
_BARE_IPV6: Final = re.compile(r"^(\w+://)((?:[\da-fA-F]{0,4}:){2,7}?[\da-fA-F]{0,4}?)(:\d{4,5})?(?=/|$)")

# *is_named*: in the hub's last list. *is_last*: address of the last welcome.
CREATE: Final = """
CREATE TABLE IF NOT EXISTS hub_addresses (
    hub TEXT NOT NULL,
    url TEXT NOT NULL,
    is_named INTEGER NOT NULL CHECK (is_named IN (0, 1)),
    is_last INTEGER NOT NULL CHECK (is_last IN (0, 1)),
    PRIMARY KEY (hub, url)
) STRICT, WITHOUT ROWID
"""


class UnusableHubAddress(HubError):
    """Unusable URL of the hub."""

    code = ErrorCode.BAD_PARAMS


def address_of(url: str) -> str:
    """Return the hub's URL with the path that devices connect to.

    Raises:
        BadAddress: not a ``ws://`` or ``wss://`` URL, or a URL with a query, fragment or user.
    """
    try:
        is_web_socket = parse_target(url).scheme in ("ws", "wss")
    except ValueError:
        is_web_socket = False
    if not is_web_socket:
        corrected = in_brackets(url if "://" in url else f"ws://{url}")
        hint = (
            "which looks like wss://hub.example"
            if corrected == url or not url
            else f"did you mean {corrected}?"
        )
        raise UnusableHubAddress(f"{url!r} is no address of a hub, {hint}")
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise UnusableHubAddress("the address of a hub has no query and no user; a token goes into a file")
    return urlunsplit(parts._replace(path=parts.path if parts.path not in ("", "/") else PATH))


def in_brackets(url: str) -> str:
    """Return *url* with a bare IPv6 address in brackets: ``ws://[::1]:8770`` for ``ws://::1:8770``."""
    return _BARE_IPV6.sub(lambda found: f"{found[1]}[{found[2]}]{found[3] or ''}", url)


def is_local(url: str) -> bool:
    """Return True if *url* leads to this machine, or is none whose host is certain."""
    try:
        return leads_here(parse_target(url).host)
    except ValueError:
        return True


async def connect_elsewhere(url: str) -> socket.socket:
    """Connect to the host of *url* at an address that is not of this machine, whatever its name is.

    Raises:
        OSError: it has none, or none answers.
    """
    _, host, port = parse_target(url)
    found = await resolve(host, port)
    others = [address for address in found if not is_here(ip_address(address.partition("%")[0]))]
    if not others:
        raise OSError(f"{host} leads to this machine, which only the owner of the device may name")
    return await anyio.to_thread.run_sync(connect_to_first, others, port, CONNECT_S, abandon_on_cancel=True)


def keep_addresses(db: sqlite3.Connection, hub: str, named: Sequence[str], last: str) -> None:
    """Store the addresses that *hub*, identified by its key, names, and the one that it answered at."""
    rows = sorted((url, int(url in named), int(url == last)) for url in {*named, last})
    select = "SELECT url, is_named, is_last FROM hub_addresses WHERE hub = ? ORDER BY url"
    if [tuple(row) for row in db.execute(select, (hub,))] != rows:
        db.execute("DELETE FROM hub_addresses WHERE hub = ?", (hub,))
        db.executemany("INSERT INTO hub_addresses VALUES (?, ?, ?, ?)", [(hub, *row) for row in rows])


def read_addresses(db: sqlite3.Connection, hub: str) -> tuple[list[str], str]:
    """Return the addresses that *hub* named, and the one of its last welcome, or an empty text."""
    rows = db.execute("SELECT url, is_named, is_last FROM hub_addresses WHERE hub = ?", (hub,)).fetchall()
    last = next((url for url, _, is_last in rows if is_last), "")
    return [url for url, is_named, _ in rows if is_named], last


class HubRoute:
    """Addresses of one hub, and the one to connect to next.

    The address of the last welcome is kept. If its connection ends, the others are tried in random order, so
    that the devices of a node that died spread over those that live.

    Args:
        given: addresses that the owner gave, as ``address_of`` returns them.
    """

    def __init__(self, given: Sequence[str], chance: Chance) -> None:
        self._given = list(dict.fromkeys(given))
        self.named: list[str] = []  # by the hub, as it spells them
        self._urls = self._given
        self._distrusted: set[str] = set()
        self._chance = chance
        self.current = self._urls[0]
        self.welcomed()

    def __len__(self) -> int:
        return len(self._urls)

    def learn(self, named: Iterable[str]) -> None:
        """Use the addresses that the hub names in addition to the given ones, instead of those before."""
        self.named = list(named)
        urls = dict.fromkeys([*self._given, *self._usable(self.named)])
        self._urls = [url for url in urls if url not in self._distrusted]
        self.welcomed()

    def begin_at(self, url: str) -> None:
        """Connect to this address first, if it is known."""
        if url in self._urls:
            self.current = url
            self.welcomed()

    @property
    def is_foreign(self) -> bool:
        """True if only the hub named the current address, and the owner none of this machine."""
        return self.current not in self._given and not any(map(is_local, self._given))

    def welcomed(self) -> None:
        """Record that the hub at the current address accepted the device."""
        self._good = self.current
        self._untried = [url for url in self._urls if url != self.current]

    def turn(self) -> bool:
        """Turn to an address that was not tried since the last welcome.

        Returns:
            False if all were tried: they will be tried again, beginning with the one of the last welcome.
        """
        if self._untried:
            drawn = int(self._chance.uniform(0.0, 1.0) * len(self._untried))
            self.current = self._untried.pop(min(drawn, len(self._untried) - 1))
            return True
        self.current = self._good
        self.welcomed()
        return False

    def turn_to(self, named: str) -> bool:
        """Turn to the address that the hub names. Return False if the device may not use it."""
        for url in self._usable([named]):
            if url in self._distrusted:
                break
            if url not in self._urls:
                self._urls = [*self._urls, url]
            self._untried = [other for other in self._untried if other != url]
            self.current = url
            return True
        return False

    def leave_out(self) -> bool:
        """Remove the current address for good. Return False if it was the last one."""
        self._distrusted.add(self.current)
        self._urls = [url for url in self._urls if url != self.current]
        if self._urls and self._good == self.current:
            self._good = self._urls[0]
        return bool(self._urls)

    def _usable(self, named: Iterable[str]) -> Iterator[str]:
        """Yield the addresses that a hub may name, as ``address_of`` returns them.

        If the owner gave one with TLS, all must have it. One of this machine is another one at each device.
        """
        has_tls = any(url.startswith("wss:") for url in self._given)
        may_be_local = any(map(is_local, self._given))
        for spelled in named:
            with suppress(UnusableHubAddress):
                url = address_of(spelled)
                if (url.startswith("wss:") or not has_tls) and (may_be_local or not is_local(url)):
                    yield url
