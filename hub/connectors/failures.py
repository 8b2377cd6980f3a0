"""Failures at a provider, by the action that they require.

Each class has one meaning: sign in again, grant a permission, correct the settings, wait, pay, start anew, or
retry. The message is for a person, and contains neither secrets nor mail content.
"""

from datetime import datetime
from typing import Final

from protocol.errors import ErrorCode, HubError


class ConnectorFailure(HubError):
    """Base of all failures that a connector raises deliberately."""

    code = ErrorCode.PROVIDER_UNAVAILABLE


class SignInNeeded(ConnectorFailure):
    """Missing or ended sign-in: a person must sign in again.

    Attributes:
        version: version of the refused credential; a result for an older version is ignored.
    """

    code = ErrorCode.SIGN_IN_NEEDED

    def __init__(self, message: str, *, version: int = 0) -> None:
        super().__init__(message)
        self.version = version


class PermissionMissing(ConnectorFailure):
    """Missing permission despite a sign-in: a scope, a licence, or an administrator's rule."""

    code = ErrorCode.PROVIDER_FORBIDDEN


class Misconfigured(ConnectorFailure):
    """Settings in hub.toml that do not fit the provider: a deleted folder, or an invalid query."""

    code = ErrorCode.BAD_CONNECTOR


class FileUnusable(Misconfigured):
    """File that the settings name and this node cannot use; another node may have it."""


class ProviderBusy(ConnectorFailure):
    """Wait requested by the provider that is too long for a run.

    Attributes:
        retry_at: aware UTC; ``None`` if the provider did not say.
    """

    code = ErrorCode.PROVIDER_BUSY

    def __init__(self, message: str, *, retry_at: datetime | None = None) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class QuotaSpent(ConnectorFailure):
    """Paid quota that is used up; waiting alone may not help."""

    code = ErrorCode.PROVIDER_QUOTA


class CursorLost(ConnectorFailure):
    """Cursor that the provider has forgotten: the stream starts anew, with an overlap."""

    code = ErrorCode.CURSOR_LOST


class Unavailable(ConnectorFailure):
    """Transient error: the network, a server fault, or a truncated answer. A retry may help."""

    code = ErrorCode.PROVIDER_UNAVAILABLE


class Elsewhere(Unavailable):
    """Key or file that this node lacks and another node may have: that node can read the connector."""


NEEDS_A_PERSON: Final = (SignInNeeded, PermissionMissing, Misconfigured)


class MessageUnreadable(ConnectorFailure):
    """Message that cannot be read, unlike the others."""

    code = ErrorCode.MESSAGE_UNREADABLE
