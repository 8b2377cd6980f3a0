"""Refusal of a hello: the error, the close code, and the party charged with the failure."""

from protocol.errors import CATALOGUE, CloseCode, ErrorCode, HubError
from protocol.handshake import Error


class Refusal(HubError):
    """The hello is refused: send *error*, then close with *close*.

    Attributes:
        is_failure: True if it counts as a failed attempt of the network, and of *party* if set.
        party: the key or token of the device, once the device has proved to hold it.
    """

    def __init__(
        self, error: Error, close: CloseCode, *, is_failure: bool = True, party: str | None = None
    ) -> None:
        super().__init__(f"{error.code}: {error.message}")
        self.error = error
        self.close = close
        self.is_failure = is_failure
        self.party = party


def refuse(
    code: ErrorCode,
    message: str,
    close: CloseCode,
    *,
    is_failure: bool = True,
    party: str | None = None,
    pairing_code: str | None = None,
    retry_after_ms: int | None = None,
    hint: str | None = None,
) -> Refusal:
    """Return the refusal for *code*, with the catalogue's hint unless *hint* is given."""
    error = Error(
        code=code,
        message=message,
        hint=hint or CATALOGUE[code].hint,
        pairing_code=pairing_code,
        retry_after_ms=retry_after_ms,
    )
    return Refusal(error, close, is_failure=is_failure, party=party)
