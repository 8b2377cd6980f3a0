"""How Standard Webhooks (1.0) signs what is posted."""

import base64
import hashlib
import hmac
from datetime import datetime


def signed(secret: str, body: bytes, at: datetime, *, id: str = "msg-1") -> dict[str, str]:
    """The headers of a post. *secret*: as it is, or ``whsec_`` and base64."""
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    seconds = str(int(at.timestamp()))
    made = hmac.new(key, f"{id}.{seconds}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(made).decode()}"
    return {"webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": signature}
