"""Database URLs: allowed forms, errors, and display without the password."""

import os
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

SQLITE = "sqlite://"
SERVER = "postgresql://"
# Options of a server's address: those of libpq that the driver knows, and a schema. The driver would send
# others to the server as parameters, over which the hub decides. "pgbouncer" is the hub's own option.
_FILES = ("passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl")
OPTIONS = (
    *("host", "port", "user", "password", "dbname", "database", "service", "target_session_attrs"),
    *("sslmode", "sslnegotiation", "sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version"),
    *("gsslib", "krbsrvname", "search_path", "pgbouncer", *_FILES),
)

_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_VALUES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "gsslib": ("gssapi", "sspi"),
    "target_session_attrs": ("any", "primary", "standby", "prefer-standby", "read-write", "read-only"),
    "pgbouncer": ("true", "false"),
}


def shown(url: str) -> str:
    """Return *url* without its password and options, for messages."""
    scheme, _, rest = url.partition("://")
    login, at, where = rest.rpartition("@")  # from the right, because a password may contain "@"
    user, colon, _ = login.partition(":")
    return f"{scheme}://{user}{':***' if colon else ''}{at}{where.partition('?')[0]}"


def has_password(url: str) -> bool:
    """Return True if *url* contains a password."""
    login, _, where = url.partition("://")[2].rpartition("@")
    return ":" in login or "password=" in where


def fault_of(url: str, *, with_files: bool = False) -> str | None:
    """Return a description of the first invalid option of a server's address, or None if all are valid.

    Args:
        with_files: also check that the named files exist.
    """
    try:
        options = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    except ValueError:
        return None  # no address at all, which is reported elsewhere
    for name, value in options:
        if name not in OPTIONS:
            known = ", ".join(sorted(OPTIONS))
            return f"the option {name!r} of the address is not known; known are {known}"
        if name in _VALUES and value not in _VALUES[name]:
            return f"{name}={value} of the address is not known; known are {', '.join(_VALUES[name])}"
        if with_files and name in _FILES and value != "system" and not os.access(value, os.R_OK):
            return f"the file {value!r} of the option {name!r} does not exist, or the hub may not read it"
    return None


def without_pooler(url: str) -> tuple[str, bool]:
    """Return the address for the driver, and True if the option ``pgbouncer=true`` is set."""
    parts = urlsplit(url)
    options = parse_qsl(parts.query, keep_blank_values=True)
    others = [(name, value) for name, value in options if name != "pgbouncer"]
    if others == options:
        return url, False
    return urlunsplit(parts._replace(query=urlencode(others))), ("pgbouncer", "true") in options
