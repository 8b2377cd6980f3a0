"""The address of a database: a file on this machine, or a server."""

SQLITE = "sqlite://"
SERVER = "postgresql://"


def shown(url: str) -> str:
    """*url* without the password and without options, for people."""
    scheme, _, rest = url.partition("://")
    login, at, where = rest.rpartition("@")  # the last one: a password may have it in it
    user, colon, _ = login.partition(":")
    return f"{scheme}://{user}{':***' if colon else ''}{at}{where.partition('?')[0]}"


def has_password(url: str) -> bool:
    """Whether somebody who reads *url* may get in by it."""
    login, _, where = url.partition("://")[2].rpartition("@")
    return ":" in login or "password=" in where
