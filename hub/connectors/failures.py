"""What may go wrong at a provider, by what is to be done about it.

Each class is one meaning: sign in again, give a right, correct the
settings, wait until, pay, begin anew, try again. The message is for a person, and holds neither a secret
nor a word of a mail.
"""

from datetime import datetime
from typing import ClassVar

from protocol.errors import ErrorCode, HubError


class ConnectorFailure(HubError):
    """Root of what a connector raises on purpose."""

    code: ClassVar[ErrorCode] = ErrorCode.PROVIDER_UNAVAILABLE


class SignInNeeded(ConnectorFailure):
    """The provider ended the sign-in, or there was none: a person has to sign in again.

    Attributes:
        version: of the credential that was refused; an answer about an older one changes nothing.
    """

    code = ErrorCode.SIGN_IN_NEEDED

    def __init__(self, message: str, *, version: int = 0) -> None:
        super().__init__(message)
        self.version = version


class PermissionMissing(ConnectorFailure):
    """Signed in, and still not allowed: a scope, a licence, an administrator's rule."""

    code = ErrorCode.PROVIDER_FORBIDDEN


class Misconfigured(ConnectorFailure):
    """What hub.toml says does not fit the provider: a folder that is gone, a query it does not take."""

    code = ErrorCode.BAD_CONNECTOR


class ProviderBusy(ConnectorFailure):
    """The provider wants us to wait for so long that nobody should wait inside a run.

    Attributes:
        retry_at: aware UTC; ``None``: it did not say.
    """

    code = ErrorCode.PROVIDER_BUSY

    def __init__(self, message: str, *, retry_at: datetime | None = None) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class QuotaSpent(ConnectorFailure):
    """What was paid for is used up; waiting alone may not help."""

    code = ErrorCode.PROVIDER_QUOTA


class CursorLost(ConnectorFailure):
    """The provider does not know the cursor any more: the change stream begins anew, with an overlap."""

    code = ErrorCode.CURSOR_LOST


class Unavailable(ConnectorFailure):
    """A passing error: the network, a server's fault, half an answer. Another try may help."""

    code = ErrorCode.PROVIDER_UNAVAILABLE


class MessageUnreadable(ConnectorFailure):
    """One message that cannot be read. The others can."""

    code = ErrorCode.MESSAGE_UNREADABLE
