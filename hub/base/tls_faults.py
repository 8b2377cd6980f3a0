"""Explanations of TLS certificate faults of a server, each with its fix."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_CLOCK: Final = "look whether the clock of this machine is right"
_NAMES: Final = "use one of the names in the certificate, or put this one into it"
_AUTHORITY: Final = (
    "trust its authority (a hub's own: hub-ca.crt beside its hub.toml): SSL_CERT_FILE=FILE before the command"
)
_FIXES: Final[Mapping[int, str]] = {  # by OpenSSL's X509_V_ERR_*; all others are of the authority
    9: f"it is not valid yet: {_CLOCK}",
    10: f"renew it where it is served (a hub's own: hub tls init), or {_CLOCK}",
    62: f"{_NAMES} (a hub's own: hub tls init --name NAME)",
    64: f"{_NAMES} (a hub's own: hub tls init --name ADDRESS)",
}


def certificate_fault(where: str, error: ssl.SSLCertVerificationError) -> str:
    """Return what is wrong with the certificate of the peer at *where*."""
    return f"the certificate of {where} is not trusted ({error.verify_message.rstrip('.')})"


def certificate_fix(error: ssl.SSLCertVerificationError, authority: str = _AUTHORITY) -> str:
    """Return the mend of a refused certificate; *authority*: the mend of an unknown one."""
    return _FIXES.get(error.verify_code, authority)


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Return the TLS context of a client; certificate and host name are always verified.

    Args:
        ca_file: certificates (PEM) that are trusted instead of this machine's; ``None``: this machine's.

    Raises:
        OSError: *ca_file* does not exist, or contains no certificates.
    """
    return ssl.create_default_context(cafile=ca_file)


def ca_file_fault(ca_file: Path | None, error: OSError) -> str:
    """Return why *ca_file* cannot be used, from an error of ``trusting``."""
    return f"ca_file {ca_file} cannot be used here: {error.strerror or type(error).__name__}"
