"""Effects of grants and refusals on connectors: state, activity and audit entry, in one transaction."""

from collections.abc import Sequence

import sqlalchemy as sa

from storage.audit import activity, audit
from storage.connectors.connectors import ConnectorRow, State, allow_connector, find_connector, move_connector
from storage.connectors.credentials import drop_credential, find_credential, note_end, put_credential
from storage.connectors.sign_ins import settle_sign_in


def refuse_connector(
    c: sa.Connection,
    connector_id: str,
    *,
    credential_version: int,
    state: State,
    reason: str,
    detail: str,
    at: int,
    activity_id: str,
) -> ConnectorRow | None:
    """Suspend the connector's runs until a person acts. Return the connector if this call changed it.

    Args:
        credential_version: version of the credential that was refused; if it changed since, nothing changes.
            0: the refusal did not concern a credential.
    """
    grant = find_credential(c, connector_id, lock=True)  # prevents a sign-in between the check and the move
    if credential_version and (grant is None or grant.version != credential_version):
        return None
    row = find_connector(c, connector_id)
    if row is None or row.archived_at is not None:
        return None
    told = {"reason": reason, "detail": detail}
    if not move_connector(c, row.id, version=row.version, state=state, at=at, **told):
        return None
    if credential_version:
        note_end(c, connector_id, at=at)
    activity.record(
        c,
        id=activity_id,
        at=at,
        event_type="connector.refused",
        message=f"{row.name}: {detail}",
        actor="hub",
        level="warning",
        data={"connector": row.name, "connector_id": row.id, "reason": reason},
    )
    return find_connector(c, connector_id)


def grant_connector(
    c: sa.Connection,
    connector_id: str,
    *,
    sealed: bytes,
    key_id: str,
    scopes: Sequence[str],
    expires_at: int | None,
    at: int,
    actor: str,
    activity_id: str,
    sign_in_id: str | None = None,
) -> ConnectorRow | None:
    """Store a new credential, and let the runs start again. Return ``None`` without such a connector.

    Args:
        sign_in_id: sign-in to settle in the same transaction.
    """
    row = find_connector(c, connector_id)
    if row is None or row.archived_at is not None:
        return None
    put_credential(c, connector_id, sealed=sealed, key_id=key_id, scopes=scopes, expires_at=expires_at, at=at)
    allow_connector(c, connector_id, at=at)
    if sign_in_id is not None:
        settle_sign_in(c, sign_in_id, outcome="done", at=at)
    data = {"connector": row.name, "connector_id": row.id}
    activity.record(
        c,
        id=activity_id,
        at=at,
        event_type="connector.signed_in",
        message=f"{row.name}: signed in",
        actor=actor,
        data=data,
    )
    audit.append(
        c, at=at, actor=actor, event="connector.signed_in", subject=row.id, detail={"name": row.name}
    )
    return find_connector(c, connector_id)


def forget_grant(c: sa.Connection, connector_id: str, *, at: int, actor: str) -> bool:
    """Delete the connector's credential; its runs wait for a person. Return False if it has none."""
    row = find_connector(c, connector_id)
    if row is None or not drop_credential(c, connector_id):
        return False
    told = {"reason": "sign_in_needed", "detail": "what was granted was given back"}
    move_connector(c, row.id, version=row.version, state="sign_in", at=at, **told)
    audit.append(
        c, at=at, actor=actor, event="connector.forgotten", subject=row.id, detail={"name": row.name}
    )
    return True
