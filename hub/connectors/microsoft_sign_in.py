"""Sign-in errors of Microsoft by their numbers (AADSTS...), whose texts change.

They occur in answers of the token endpoint and of Graph.
"""

import re
from collections.abc import Iterable
from typing import Final

from hub.connectors.calling import (
    ConnectorFailure,
    Misconfigured,
    PermissionMissing,
    SignInNeeded,
    Unavailable,
)

_CODE: Final = re.compile(r"AADSTS(\d{4,8})")

_MEANINGS: Final[dict[int, tuple[type[ConnectorFailure], str]]] = {
    # A person must sign in again.
    50034: (SignInNeeded, "Microsoft does not know this account in this tenant"),
    50053: (SignInNeeded, "Microsoft locked the account after too many wrong sign-ins"),
    50055: (SignInNeeded, "the account's password has expired"),
    50057: (SignInNeeded, "the account is disabled"),
    50058: (SignInNeeded, "the sign-in has ended"),
    50072: (SignInNeeded, "the account has to set up a second factor"),
    50074: (SignInNeeded, "Microsoft wants the second factor again"),
    50076: (SignInNeeded, "Microsoft wants the second factor: a rule or the location has changed"),
    50078: (SignInNeeded, "the second factor has expired"),
    50079: (SignInNeeded, "the account has to set up a second factor"),
    50133: (SignInNeeded, "the session ended: the password was changed or has expired"),
    50173: (SignInNeeded, "the password was changed, or sessions were revoked"),
    54005: (SignInNeeded, "this code was used before"),
    65004: (SignInNeeded, "the person declined to give access"),
    70000: (SignInNeeded, "Microsoft does not take this sign-in any more"),
    70008: (SignInNeeded, "the sign-in expired"),
    70019: (SignInNeeded, "the code expired before it was used"),
    70043: (SignInNeeded, "the sign-in expired: an administrator limits how long one lasts"),
    700081: (SignInNeeded, "the sign-in reached the greatest age that is allowed"),
    700082: (SignInNeeded, "the sign-in was not used for so long that it expired"),
    700084: (SignInNeeded, "the sign-in ended after a day, as those of a page in a browser do"),
    # An administrator must act.
    50020: (PermissionMissing, "the account is of another tenant: an administrator has to invite it"),
    50105: (PermissionMissing, "an administrator has to assign the application to this person"),
    53000: (PermissionMissing, "a rule of the tenant wants a compliant device"),
    53001: (PermissionMissing, "a rule of the tenant wants a device that is joined to it"),
    53003: (PermissionMissing, "a Conditional Access rule of the tenant blocks this sign-in"),
    530034: (PermissionMissing, "the tenant's security defaults block this sign-in"),
    65001: (PermissionMissing, "consent is missing: sign in again, or ask an administrator to grant it"),
    90094: (PermissionMissing, "only an administrator can grant this access"),
    # hub.toml, or the application that it names, must be corrected.
    50011: (Misconfigured, "the application does not have http://localhost among its redirect addresses"),
    50128: (Misconfigured, "there is no such tenant"),
    50194: (Misconfigured, "the application is of one tenant: write its name as settings.tenant"),
    70001: (Misconfigured, "there is no application of this client_id in the tenant"),
    70011: (Misconfigured, "the application may not ask for these scopes"),
    7000012: (Misconfigured, "the sign-in was given by another tenant: settings.tenant has changed"),
    700016: (Misconfigured, "there is no application of this client_id in the tenant"),
    7000215: (Misconfigured, "the client_secret is wrong"),
    7000218: (
        Misconfigured,
        "the application wants a client_secret: allow public client flows, or write one",
    ),
    7000222: (Misconfigured, "the client_secret has expired: make a new one"),
    90002: (Misconfigured, "there is no such tenant"),
    # Transient errors.
    90033: (Unavailable, "Microsoft's sign-in does not work just now"),
    90055: (Unavailable, "Microsoft's sign-in wants fewer requests"),
}


def sign_in_codes(text: str) -> list[int]:
    """Return the error numbers in *text*, in order."""
    return [int(number) for number in _CODE.findall(text)]


def sign_in_failure(codes: Iterable[int]) -> ConnectorFailure | None:
    """Return the failure of the first known number, or None."""
    for code in codes:
        if code in _MEANINGS:
            kind, sentence = _MEANINGS[code]
            return kind(f"{sentence} (AADSTS{code})")
    return None
