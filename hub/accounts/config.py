"""Configuration of an account in hub.toml."""

from collections.abc import Callable
from dataclasses import dataclass

from hub.connectors.connector import Connector, OAuth, ProviderSettings
from hub.connectors.failures import Misconfigured


@dataclass(frozen=True, kw_only=True)
class AccountConfig:
    """An entry of ``[[connectors]]``.

    Attributes:
        kind: connector class of the provider.
        secret, previous_secret, client_secret: return the current secret on each call; never part of a
        ``repr``.
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
        """Return the OAuth parameters. Raises Misconfigured if the provider or configuration has none."""
        found = self.kind.oauth(self.settings)
        if found is None:
            raise Misconfigured(f"{self.name}: nobody signs in at {self.provider}; it has a secret")
        if self.client_id is None:
            raise Misconfigured(f"{self.name}: write client_id, the OAuth client that you registered")
        return found
