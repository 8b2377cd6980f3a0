"""Faults of a peer's TLS certificate, each with its mend."""

import ssl
from collections.abc import Mapping
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


def certificate_fix(error: ssl.SSLCertVerificationError) -> str:
    """Return the mend of a certificate that a command refused."""
    return _FIXES.get(error.verify_code, _AUTHORITY)
