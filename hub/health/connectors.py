"""Checks of connectors: sign-in required, blocked, failing, or about to lose their sign-in."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from hub.clock import epoch_ms, from_epoch_ms
from hub.health.issues import Check, Finding, error, warning
from storage.connectors import connectors, credentials
from storage.connectors.connectors import ConnectorRow
from storage.connectors.credentials import GrantAge
from storage.store import Store

DAY_MS: Final = 86_400_000
# A provider that ended a sign-in after a week will end the next after a week too: Google does so to OAuth
# clients in status "Testing". The range holds integers only; a lookup of None would compare every element,
# which takes three seconds.
WEEK_MS: Final = range(6 * DAY_MS + DAY_MS // 2, 7 * DAY_MS + DAY_MS // 2)
WARN_MS: Final = 5 * DAY_MS
FAILURES: Final = 3  # in a row; shorter series are treated as transient


def check_connectors(store: Store) -> Check:
    """Return the check for connectors that need their user to sign in or correct something, now or soon."""

    async def look(now: datetime) -> Iterable[Finding]:
        ages = {one.connector_id: one for one in await store.read(credentials.list_grants)}
        return [
            found
            for row in await store.read(connectors.list_connectors)
            for found in _about(row, ages.get(row.id), epoch_ms(now))
        ]

    return look


def _about(row: ConnectorRow, grant: GrantAge | None, now: int) -> Iterator[Finding]:
    told = f"connector {row.name}: {row.detail}"
    if row.state == "sign_in":
        yield error(
            "connector.sign_in",
            told,
            fix=f"hub connectors login {row.name}",
            subject=row.name,
            user_id=row.user_id,
        )
    elif row.state == "blocked":
        yield error(
            "connector.blocked",
            told,
            fix=f"hub connectors show {row.name}",
            subject=row.name,
            user_id=row.user_id,
        )
    elif row.failures >= FAILURES:
        yield warning(
            "connector.failing",
            f"connector {row.name}: {row.failures} runs in a row ended with a passing error",
            fix=f"hub connectors show {row.name}",
            subject=row.name,
            user_id=row.user_id,
        )
    elif grant is not None and (grant.ended_after or 0) in WEEK_MS and now - grant.granted_at >= WARN_MS:
        ends = from_epoch_ms(grant.granted_at + 7 * DAY_MS)
        yield warning(
            "connector.ends_soon",
            f"connector {row.name}: its last sign-in was ended after a week, and this one may be on {ends:%A}"
            " (Google does so to a client in status Testing)",
            fix=f"hub connectors login {row.name}; a client in status In production keeps its sign-ins",
            subject=row.name,
            user_id=row.user_id,
        )
