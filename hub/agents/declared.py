"""Agents written in hub.toml, brought in line with the rows.

The file is the truth about them: what it names is created or updated, what it no
longer names is archived with its history. Takes plain values, not settings.
"""

from collections.abc import Sequence

from hub.clock import Clock, IdFactory, epoch_ms
from hub.log import Channel
from protocol.ids import UserId
from storage.store import DeclaredAgent, Reconciled, Store, activity, agents, runs

log = Channel(__name__)


async def reconcile(
    store: Store, declared: Sequence[DeclaredAgent], *, user_id: UserId, clock: Clock, ids: IdFactory
) -> Reconciled:
    """Bring the rows in line with *declared*, all or nothing.

    Raises:
        Conflict: a name is used by an agent made over the API; nothing was changed.
    """
    at = epoch_ms(clock.now())
    # One id for the agent, one for its device, one for its schedule, should they be new.
    fresh = [ids.fresh() for _ in range(3 * len(declared))]
    done = await store.write(
        agents.reconcile_declared, user_id=user_id, declared=list(declared), at=at, fresh_ids=fresh
    )
    log.info(
        "agents.reconciled",
        created=len(done.created),
        updated=len(done.updated),
        revived=len(done.revived),
        archived=len(done.archived),
    )
    for happened, names in (
        ("created", done.created),
        ("updated", done.updated),
        ("revived", done.revived),
        ("archived", done.archived),
    ):
        for name in names:
            await store.write(
                activity.record,
                id=ids.fresh(),
                at=at,
                event_type=f"agent.{happened}",
                message=f"Agent {name} was {happened} from hub.toml",
                actor="hub.toml",
            )
    for run_id in await store.write(runs.follow_agents, at, actor="hub.toml"):
        log.info("run.followed", run_id=run_id)
    reason = "the agent is no longer declared"
    for run_id in await store.write(runs.cancel_orphans, reason, at, actor="hub.toml"):
        log.info("run.orphaned", run_id=run_id)
    return done
