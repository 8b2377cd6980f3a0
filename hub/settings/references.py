"""Checks of references in hub.toml: secrets and certificates.

Each reference is checked separately, so that a problem of another key hides none of their problems.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from hub.settings.listen_settings import TlsSettings
from hub.settings.locate import KeyPath
from hub.settings.places import Places
from hub.settings.problems import Problem, Telling
from hub.settings.secret import SecretMissing, SecretRef, is_open_to_others
from hub.settings.storage_settings import StorageSettings

_Table = TypeVar("_Table", bound=BaseModel)

_KEY: Final = ("model", "api_key")
_DATABASE: Final = ("storage", "url")
_LISTENERS: Final = ("devices", "operator")


class Around(NamedTuple):
    """Context for the resolution of references.

    Attributes:
        folder: base of relative paths.
        is_server: True if the checking process will serve; otherwise it may lack access to some files.
        now: current time, aware.
    """

    folder: Path
    environ: Mapping[str, str]
    is_server: bool
    now: datetime


def found_in_references(doc: Mapping[str, Any], places: Places, around: Around) -> Iterator[Problem]:
    """Yield the problems of all references in *doc*, valid or not.

    An unreadable target is an error only for a process that will serve; an invalid target is always an error.
    """
    tell = Telling(places)
    missing = tell.error if around.is_server else tell.warning
    for path, secret, resolve in _secrets(doc, around):
        try:
            resolve(around.environ)
        except SecretMissing as error:
            yield missing(path, str(error))
        if secret.file is not None and is_open_to_others(secret.file):
            yield tell.warning(path, f"others may read {secret.file}", f"chmod 600 {secret.file}")
    for name in _LISTENERS:
        tls_path = ("listen", name, "tls")
        if (tls := _read(TlsSettings, _at(doc, tls_path), around)) is not None:
            yield from _found_in_certificate(tls_path, tls, tell, missing, around.now)


def _found_in_certificate(
    path: KeyPath, tls: TlsSettings, tell: Telling, missing: Callable[[KeyPath, str], Problem], now: datetime
) -> Iterator[Problem]:
    from hub.api.door.certificates import (  # imported here: it needs a library
        CertificateUnread,
        CertificateUnusable,
        ending,
        load_pair,
    )

    try:
        pair = load_pair(tls.certificate, tls.key)
    except CertificateUnread as error:
        yield missing(path, str(error))
        return
    except CertificateUnusable as error:
        yield tell.error(path, str(error))
        return
    if told := ending(pair.expires_at, now):
        yield tell.warning((*path, "certificate"), told, "put a new one in its place, then hub reload")
    if is_open_to_others(tls.key):
        yield tell.warning((*path, "key"), f"others may read {tls.key}", f"chmod 600 {tls.key}")


def _secrets(
    doc: Mapping[str, Any], around: Around
) -> Iterator[tuple[KeyPath, SecretRef, Callable[[Mapping[str, str]], str]]]:
    """Yield every reference to a secret, with the function that resolves it."""
    if (database := _read(SecretRef, _at(doc, _DATABASE), around)) is not None:
        yield _DATABASE, database, StorageSettings(url=database).resolved
    keys = (
        _KEY,
        *_in_each(doc, "fallback_models", "api_key"),
        *_in_each(doc, "gateways", "token"),
        *_in_each(doc, "connectors", "secret"),
        *_in_each(doc, "connectors", "previous_secret"),
        *_in_each(doc, "connectors", "client_secret"),
    )
    for path in keys:
        if (key := _read(SecretRef, _at(doc, path), around)) is not None:
            yield path, key, key.resolve


def _in_each(doc: Mapping[str, Any], tables: str, key: str) -> Iterator[KeyPath]:
    listed = doc.get(tables)
    yield from ((tables, number, key) for number in range(len(listed) if isinstance(listed, list) else 0))


def _at(doc: Mapping[str, Any], path: KeyPath) -> object:
    """Return the value at *path*, or None."""
    here: object = doc
    for part in path:
        match here, part:
            case Mapping(), str():
                here = here.get(part)
            case list(), int():
                here = here[part]
            case _:
                return None
    return here


def _read(model: type[_Table], value: object, around: Around) -> _Table | None:
    """Validate the table *value*; return None if it is invalid, which another check reports."""
    if not isinstance(value, Mapping):
        return None
    try:
        return model.model_validate(value, context={"base": around.folder})
    except ValidationError:
        return None
