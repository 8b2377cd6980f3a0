"""Certificate of a listener: TLS versions, exchange without restart, and how early its expiry is reported.

A new pair is loaded in a context of its own before it is used: a broken pair leaves the current pair in use.
Open connections keep the pair that they were accepted with. A warning is due 21 days before the end
(``BEFORE_THE_END``).
"""

import ssl
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from protocol.errors import ErrorCode, HubError

BEFORE_THE_END: Final = timedelta(days=21)  # a person is warned this long before a certificate expires
RENEW: Final = (
    "replace it by a new one (one of 'hub tls init': by the same command again);"
    " the hub takes it up within seconds, or by 'hub reload'"
)


class CertificateUnusable(HubError):
    """An unusable certificate or key; the message names the file."""

    code = ErrorCode.BAD_SETTINGS


class CertificateUnread(CertificateUnusable):
    """A file that this process cannot read; its content may be valid."""


class KeyPair(NamedTuple):
    """A certificate and its matching key, loaded."""

    context: ssl.SSLContext
    expires_at: datetime  # of the hub's own certificate, aware, UTC
    names: tuple[str, ...]  # DNS names and addresses of the certificate
    digest: bytes  # of the certificate with its chain: tells two pairs apart


def ending(ends_at: datetime, now: datetime) -> str:
    """Return a warning about a certificate that expires soon, or an empty text. Both times are aware."""
    if ends_at <= now:
        return f"ended on {ends_at:%Y-%m-%d}: no client can connect any more"
    if ends_at - now <= BEFORE_THE_END:
        return f"ends on {ends_at:%Y-%m-%d}: then no client can connect any more"
    return ""


def load_pair(certificate: Path, key: Path) -> KeyPair:
    """Read a certificate with its chain, and its key: both PEM.

    Raises:
        CertificateUnread: a file cannot be read.
        CertificateUnusable: a file has no certificate or key, or the two do not match.
    """
    chain = _read(certificate)
    try:
        expires_at, names = _end_and_names(chain)
    except ValueError as error:
        raise CertificateUnusable(f"{certificate} has no certificate in PEM") from error
    _read(key)
    context = _make_context()

    def refuse_password() -> bytes:
        raise CertificateUnusable(f"{key} has a password; the hub needs a key without one")

    try:
        context.load_cert_chain(certificate, key, password=refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateUnusable(f"the key {key} is not that of {certificate}") from error
        raise CertificateUnusable(f"{key} has no private key in PEM: {error.reason or error}") from error
    return KeyPair(context, expires_at, names, sha256(chain).digest())


class Certificates:
    """The TLS context of a listener. *context* stays the same object when the pair is replaced.

    Raises:
        CertificateUnusable: the first pair is unusable.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self.pair = load_pair(certificate, key)
        self.context = _make_context()
        self.context.load_cert_chain(certificate, key)
        self.context.sni_callback = self._choose

    def use(self, pair: KeyPair) -> None:
        """Use *pair* from the next connection on."""
        self.pair = pair

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Select the current pair. Called by ssl at each ClientHello, with or without a server name."""
        connection.context = self.pair.context


def _make_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificateUnread(f"cannot read {file}: {error.strerror}") from error


def _end_and_names(chain: bytes) -> tuple[datetime, tuple[str, ...]]:
    """Return the end and the names of the first certificate of a chain. Raises ValueError."""
    from cryptography import x509  # imported here: it takes 20 ms, and most hubs listen without TLS

    own = x509.load_pem_x509_certificates(chain)[0]
    try:
        found = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return own.not_valid_after_utc, ()
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return own.not_valid_after_utc, (*found.get_values_for_type(x509.DNSName), *addresses)
