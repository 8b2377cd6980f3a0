"""Taking up what hub.toml declares: the agents, their waiting runs, and the audit entry, all at once."""

from collections.abc import Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from protocol.ids import RunId, UserId
from storage import agents, audit, runs
from storage.agents import DeclaredAgent, Reconciled
from storage.audit import Entry

ACTOR: Final = "hub.toml"
GONE: Final = "the agent is no longer declared"


class TakenUp(msgspec.Struct, frozen=True):
    """What taking up did.

    Attributes:
        followed: waiting runs whose agent works on another device by now.
        orphaned: waiting runs that were cancelled with their agent.
    """

    agents: Reconciled
    followed: tuple[RunId, ...] = ()
    orphaned: tuple[RunId, ...] = ()


def take_up(
    c: sa.Connection,
    *,
    user_id: UserId,
    declared: Sequence[DeclaredAgent],
    at: int,
    fresh_ids: Sequence[str],
    entry: Entry | None = None,
) -> TakenUp:
    """Make the agents those that are declared, and let their runs follow. See ``reconcile_declared``.

    Args:
        entry: tells who wanted it.

    Raises:
        NameTaken: an agent made over the API bears a declared name; nothing was written.
    """
    done = agents.reconcile_declared(c, user_id=user_id, declared=declared, at=at, fresh_ids=fresh_ids)
    followed = runs.follow_agents(c, at, actor=ACTOR)
    orphaned = runs.cancel_orphans(c, GONE, at, actor=ACTOR)
    if entry is not None:
        audit.append(c, **msgspec.structs.asdict(entry))
    return TakenUp(done, tuple(followed), tuple(orphaned))
