"""``[[connectors]]``: accounts, for example at mail providers, which agents read instead of files."""

from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from hub.settings.reload_policy import REQUIRED, live
from hub.settings.secret import SecretRef
from hub.settings.values import Name, Table

MOST: Final = 200  # each needs a client and a rate limiter in memory
MOST_SETTINGS: Final = 64

Provider = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
ClientId = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class ConnectorSettings(Table):
    """Settings of an account; ``hub.settings.connector_findings`` lets the provider check *settings*."""

    name: Name = live(REQUIRED, "What people call it.")
    provider: Provider = live(REQUIRED, "gmail, outlook, teams, imap, webhook, or a plug-in's.")
    user: Name = live("owner", "Whose it is; who is named first is made.")
    secret: SecretRef | None = live(
        None, "Where its password, app password or signing secret is found; none where somebody signs in."
    )
    previous_secret: SecretRef | None = live(
        None, "The signing secret before this one; good beside it while senders change."
    )
    client_id: ClientId | None = live(None, "The OAuth client that the provider knows the hub by.")
    client_secret: SecretRef | None = live(None, "Where that client's secret is found, if it has one.")
    settings: Annotated[dict[str, Any], Field(max_length=MOST_SETTINGS)] = live(
        {}, "What its provider has to know, as its server."
    )


Connectors = Annotated[tuple[ConnectorSettings, ...], Field(max_length=MOST)]
