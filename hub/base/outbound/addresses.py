"""Parsing of server addresses, and connections to only the addresses that a rule permitted.

The parts that ``parse_target`` returns are judged, and the same parts are connected to. So no other parser,
of a library or of the system, finds another host in the same text.
"""

import errno
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from itertools import islice
from typing import Final, NamedTuple

import anyio

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_PORTS: Final = {
    **{"http": 80, "https": 443, "ws": 80, "wss": 443},
    **{"smtp": 587, "smtps": 465, "nats": 4222, "tls": 4222},
}
_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z]+)://(?:\[(?P<v6>[^\[\]:]*+:[^\[\]]*+)\]|(?P<host>[^\[\]/?#:@%\\]+))"
    r"(?::(?P<port>[0-9]{0,5}))?(?:[/?#].*)?"
)
_NAME: Final = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*(?P<last>[a-z0-9_-]{1,63})\.?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as a last label, of an IPv4 address in some notation

MAX_TRIED: Final = 8  # addresses of a name: a server that names thousands would hold a caller for hours

_NO_WAY: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL)
_UNREACHED: Final[Mapping[type[BaseException], str]] = {
    ssl.SSLCertVerificationError: "",  # tls_faults has the words
    socket.gaierror: "its name is not known: is it spelled right, and is this machine online?",
    ConnectionRefusedError: "nothing accepts connections there: is it running, and is its address right?",
    ConnectionError: "it ended the connection: does it speak this protocol there?",
    TimeoutError: "it does not answer: is its address right, and does a firewall let it in?",
    ssl.SSLError: "it does not speak TLS there: is the port right?",
}


class UrlTarget(NamedTuple):
    """Scheme, host and port of a URL. *host*: a name in lower case and ASCII, or an IP address."""

    scheme: str
    host: str
    port: int


def parse_target(url: str) -> UrlTarget:
    """Parse the address of a server.

    Refused is what parsers take for different hosts: a user, a backslash, an escape, white space, a zone, an
    IPv4 address other than as four decimal numbers, and ASCII in other characters.

    Raises:
        ValueError: it is no address of a server.
    """
    parts = _URL.fullmatch(url) if url.isprintable() and " " not in url else None
    scheme = parts["scheme"].lower() if parts is not None else ""
    if parts is None or scheme not in _PORTS:
        raise ValueError("no address of a server, as in https://HOST:PORT")
    host = parse_host(parts["v6"] or parts["host"])
    port = int(parts["port"] or _PORTS[scheme])
    if not 0 < port < 65_536:
        raise ValueError(f"the port {port} is none from 1 to 65535")
    return UrlTarget(scheme, host, port)


def parse_host(text: str) -> str:
    """Parse a name, or an IP address without brackets; see ``UrlTarget``.

    Raises ValueError: it is neither.
    """
    if ":" in text:
        if "%" in text:
            raise ValueError("an address with a zone is of one machine alone")
        return str(IPv6Address(text))
    host = (text if text.isascii() else text.encode("idna").decode()).lower()
    name = _NAME.fullmatch(host)
    is_disguised = not text.isascii() and "xn--" not in host  # as 127。0。0。1 is
    if name is None or len(host) > 253 or is_disguised:
        raise ValueError("the host is no name that can be looked up")
    if _NUMBER.fullmatch(name["last"]):
        return str(ip_address(host))
    return host.removesuffix(".")


async def resolve(host: str, port: int) -> Sequence[str]:
    """Resolve *host* to addresses in the order of this machine's resolver. Raises OSError."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def unreached(error: BaseException | None) -> str:
    """Return why no connection was made, from the first of the causes that is known; else an empty text."""
    while error is not None:
        for kind, words in _UNREACHED.items():
            if isinstance(error, kind):
                return words
        if isinstance(error, OSError) and error.errno in _NO_WAY:
            return "no network leads there: is this machine online?"
        of_library = (arg for arg in error.args if isinstance(arg, BaseException))  # where it names no cause
        error = error.__cause__ or next(of_library, None)
    return ""


def is_own(address: str) -> bool:
    """Return True if this machine has the address: what it would send there comes from the same address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))  # sends nothing
        return bool(probe.getsockname()[0] == address)
    return False


def connect_to_first(addresses: Iterable[str], port: int, timeout_s: float) -> socket.socket:
    """Connect to the first of these addresses that answers, of eight; blocks. Raises OSError: none does."""
    failure = OSError("it has no address")
    for address in islice(addresses, MAX_TRIED):
        try:
            return socket.create_connection((address, port), timeout_s)
        except OSError as error:
            failure = error
    raise failure
