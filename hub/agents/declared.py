"""Agents written in hub.toml, brought in line with the rows.

The file is the truth about them: what it names is created or updated, what it no
longer names is archived with its history. Takes plain values, not settings.
"""

from collections.abc import Sequence

from hub.clock import Clock, IdFactory, epoch_ms
from hub.log import Channel
from protocol.ids import UserId
from protocol.lifecycles import RunState
from storage.store import DeclaredAgent, Reconciled, Store, activity, agents, runs

log = Channel(__name__)

MOST_WAITING = 10_000  # looked at in one start; what is beyond waits for the next


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
    await _cancel_orphans(store, at)
    return done


async def _cancel_orphans(store: Store, at: int) -> None:
    """Runs of agents that are no longer there would wait for ever, and hold what they planned."""
    waiting = await store.read(runs.list_runs, states=(RunState.QUEUED, RunState.PAUSED), limit=MOST_WAITING)
    for run in waiting:
        if (await store.read(agents.get_agent, run.agent_id)).archived_at is not None:
            reason = "the agent is no longer declared"
            await store.write(runs.request_cancel, run.id, reason=reason, at=at, actor="hub.toml")
            log.info("run.orphaned", run_id=run.id)
