"""Connectors, as an operator asks for them."""

from collections.abc import Sequence
from typing import Literal, Protocol

from hub.api.views.connectors import (
    ConnectorDetail,
    ConnectorView,
    ForgottenView,
    SelfTestView,
    SignInView,
)


class ConnectorFacade(Protocol):
    """Connectors of hub.toml, by name or id. Each method that names one raises UnknownConnector."""

    async def all(self) -> Sequence[ConnectorView]:
        """All of them, by name."""
        ...

    async def get(self, connector: str) -> ConnectorDetail: ...

    async def test(self, connector: str, *, actor: str) -> SelfTestView:
        """Sign in, list and read a message, and tell how that went; one that works may start runs again."""
        ...

    async def try_again(self, connector: str, *, actor: str) -> ConnectorDetail:
        """Forget that messages could not be read, and that it failed."""
        ...

    async def sign_in(
        self, connector: str, way: Literal["device", "paste", "code"] | None, *, actor: str
    ) -> SignInView:
        """Begin a sign-in. Raises SignInFailed, ConnectorFailure: not so."""
        ...

    async def answer(self, connector: str, address: str, *, actor: str) -> SignInView:
        """Take the address that a browser ended at. Raises SignInFailed."""
        ...

    async def sign_in_of(self, connector: str, id: str) -> SignInView:
        """How a sign-in stands. Raises SignInFailed: there is none."""
        ...

    async def forget(self, connector: str, *, actor: str) -> ForgottenView:
        """Give what was granted back, and forget it."""
        ...
