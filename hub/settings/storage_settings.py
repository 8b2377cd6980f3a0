"""``[storage]``: the database."""

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Discriminator, Tag

from hub.settings.reload_policy import restart
from hub.settings.secret import IN_THE_OPEN, REFER_TO_IT, SecretMissing, SecretRef
from hub.settings.values import Table, refusal
from storage.kernel.address import SERVER, SQLITE, has_password

IN_MEMORY = SQLITE


def _is_database(url: str) -> bool:
    return url == IN_MEMORY or url.startswith((f"{SQLITE}/", SERVER))


def _database_url(url: str) -> str:
    if not _is_database(url):
        hint = f'as in "sqlite:///hub.db" or "{SERVER}user@host/name"'
        raise refusal("database", "not the address of a database", hint=hint)
    if url.startswith(SERVER) and has_password(url):
        raise refusal("literal_secret", IN_THE_OPEN, hint=REFER_TO_IT)
    return url


def _kind(value: object) -> str:
    return "reference" if isinstance(value, dict | SecretRef) else "plain"


class StorageSettings(Table):
    """``[storage]``: a relative path is in the state folder; ``sqlite://`` keeps nothing.

    An address with a password in it is a secret, and must be a reference.
    """

    url: Annotated[
        Annotated[str, AfterValidator(_database_url), Tag("plain")] | Annotated[SecretRef, Tag("reference")],
        Discriminator(_kind),
    ] = restart("sqlite:///hub.db", "The database: a file in the state folder, or a server.")

    def resolved(self, environ: Mapping[str, str] = os.environ) -> str:
        """Return the database's address, resolved if it is a reference.

        Raises:
            SecretMissing: the reference cannot be resolved, or not to a database address.
        """
        if isinstance(self.url, str):
            return self.url
        url = self.url.resolve(environ)
        if not _is_database(url):
            raise SecretMissing(f"{self.url.place} does not hold the address of a database")
        return url
