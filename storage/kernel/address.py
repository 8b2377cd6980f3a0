"""Addresses of databases, as text. Settings are read without the library that opens databases."""

SQLITE = "sqlite://"
SERVER = "postgresql://"


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
