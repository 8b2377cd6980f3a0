"""What hub.toml says of an account, as far as it takes to open it."""

from collections.abc import Callable
from dataclasses import dataclass

from hub.connectors.connector import Connector, OAuth, ProviderSettings
from hub.connectors.failures import Misconfigured


@dataclass(frozen=True, kw_only=True)
class AccountConfig:
    """One of ``[[connectors]]``.

    Attributes:
        kind: the class of its provider.
        secret, previous_secret, client_secret: look it up anew each time; never in a ``repr``.
    """

    name: str
    provider: str
    kind: type[Connector]
    settings: ProviderSettings
    secret: Callable[[], str] | None = None
    previous_secret: Callable[[], str] | None = None
    client_id: str | None = None
    client_secret: Callable[[], str] | None = None

    def oauth(self) -> OAuth:
        """How a person signs in. Raises Misconfigured: nobody does, or there is no client to do it as."""
        found = self.kind.oauth(self.settings)
        if found is None:
            raise Misconfigured(f"{self.name}: nobody signs in at {self.provider}; it has a secret")
        if self.client_id is None:
            raise Misconfigured(f"{self.name}: write client_id, the OAuth client that you registered")
        return found
