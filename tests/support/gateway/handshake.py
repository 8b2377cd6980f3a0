"""How a gateway decides who comes in: protocol, client, token, device, scopes."""

import hashlib
from base64 import urlsafe_b64decode
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.support.gateway.office import Device, Office, fresh


class TurnedAway(Exception):
    """Not let in: the error of the response, and the close code behind it."""

    def __init__(self, code: str, message: str, details: dict[str, Any], close: int = 1008) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "details": details}
        self.close = close

    @classmethod
    def by(cls, error: dict[str, Any], close: int) -> "TurnedAway":
        """With this error, as it stands."""
        away = cls("", "", {}, close)
        away.error = error
        return away


def judge(
    params: dict[str, Any],
    *,
    nonce: str,
    token: str,
    office: Office,
    is_remote: bool,
    auto_approve: bool,
) -> dict[str, Any]:
    """What stands under ``auth`` of the hello.

    Args:
        is_remote: a device is needed, and has to be approved.
        auto_approve: a new device, or one that wants more, is approved silently.
    """
    if (params.get("minProtocol"), params.get("maxProtocol")) != (4, 4):
        details = {"code": "PROTOCOL_MISMATCH", "expectedProtocol": 4, "minimumProbeProtocol": 3}
        raise TurnedAway("INVALID_REQUEST", "protocol mismatch", details, close=1002)
    client = params["client"]
    if client.get("id") != "gateway-client":
        said = "invalid connect params: at /client/id: must be equal to one of the allowed values"
        raise TurnedAway("INVALID_REQUEST", said, {})
    auth, scopes = params.get("auth") or {}, list(params["scopes"])
    proof = params.get("device")
    if proof is not None:
        _check_signature(params, proof, nonce)
    if "deviceToken" in auth:
        return _by_device_token(auth["deviceToken"], proof, scopes, office)
    shown = auth.get("token")
    if shown is not None and shown != token:
        may = proof is not None
        raise _unauthorized(
            "AUTH_TOKEN_MISMATCH",
            "token_mismatch",
            canRetryWithDeviceToken=may,
            recommendedNextStep="retry_with_device_token" if may else "update_auth_credentials",
        )
    if is_remote and shown is None:
        raise _unauthorized(
            "AUTH_TOKEN_MISSING", "token_missing", recommendedNextStep="update_auth_configuration"
        )
    granted: dict[str, Any] = {"method": "token", "role": "operator", "scopes": scopes}
    if not is_remote and shown is not None:
        return granted
    if proof is None:
        raise TurnedAway("NOT_PAIRED", "device identity required", {"code": "DEVICE_IDENTITY_REQUIRED"})
    device = office.devices.get(proof["id"])
    if device is None or not set(scopes) <= device.scopes:
        if not auto_approve:
            raise _pairing_required(office, proof["id"], scopes, is_new=device is None)
        device = approve(office, proof["id"], set(scopes))
    return granted | {"deviceToken": device.token, "issuedAtMs": 1}


def approve(office: Office, device_id: str, scopes: set[str]) -> Device:
    """Let a device in. A device that gets more than it had gets a new token, and the old one is dead."""
    known = office.devices.get(device_id)
    scopes = scopes | (known.scopes if known else set())
    device = office.devices[device_id] = Device(
        device_id, scopes, f"devtok-{fresh('secret')}-{device_id[:8]}"
    )
    return device


def _by_device_token(shown: str, proof: Any, scopes: list[str], office: Office) -> dict[str, Any]:
    device = office.devices.get(proof["id"]) if proof is not None else None
    if device is None or device.token != shown:
        raise _unauthorized(
            "AUTH_DEVICE_TOKEN_MISMATCH",
            "device_token_mismatch",
            canRetryWithDeviceToken=False,
            recommendedNextStep="update_auth_credentials",
        )
    if not set(scopes) <= device.scopes:
        raise _unauthorized(
            "AUTH_SCOPE_MISMATCH",
            "scope_mismatch",
            canRetryWithDeviceToken=False,
            recommendedNextStep="review_auth_configuration",
        )
    return {"method": "device-token", "role": "operator", "scopes": scopes}


def _pairing_required(office: Office, device_id: str, scopes: list[str], *, is_new: bool) -> TurnedAway:
    known = next((id for id, (device, _) in office.requests.items() if device == device_id), None)
    request_id = known or fresh("request")
    office.requests[request_id] = (device_id, set(scopes))
    details = {
        "code": "PAIRING_REQUIRED",
        "reason": "not-paired" if is_new else "scope-upgrade",
        "requestId": request_id,
        "requestedRole": "operator",
        "requestedScopes": scopes,
        "remediationHint": "Approve this device from the pending pairing requests.",
    }
    return TurnedAway("NOT_PAIRED", "pairing required: device is not approved yet", details)


def _unauthorized(code: str, reason: str, **more: Any) -> TurnedAway:
    return TurnedAway(
        "INVALID_REQUEST", f"unauthorized: {reason}", {"code": code, "authReason": reason} | more
    )


def _check_signature(params: dict[str, Any], proof: dict[str, Any], nonce: str) -> None:
    client, auth = params["client"], params.get("auth") or {}
    public = _decoded(proof["publicKey"])
    if hashlib.sha256(public).hexdigest() != proof["id"]:
        raise TurnedAway(
            "INVALID_REQUEST",
            "device identity mismatch",
            {"code": "DEVICE_AUTH_DEVICE_ID_MISMATCH", "reason": "device-id-mismatch"},
        )
    parts = (
        "v3",
        proof["id"],
        client["id"],
        client["mode"],
        params["role"],
        ",".join(params["scopes"]),
        str(proof["signedAt"]),
        auth.get("token") or auth.get("deviceToken") or "",
        nonce,
        client["platform"].lower(),
        client.get("deviceFamily", "").lower(),
    )
    try:
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(_decoded(proof["signature"]), "|".join(parts).encode())
    except InvalidSignature:
        raise TurnedAway(
            "INVALID_REQUEST",
            "device signature invalid",
            {"code": "DEVICE_AUTH_SIGNATURE_INVALID", "reason": "device-signature"},
        ) from None


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
