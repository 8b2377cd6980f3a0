"""Agents written in hub.toml, brought in line with the rows.

The file is the truth about them: what it names is created or updated, what it no
longer names is archived with its history. Takes plain values, not settings.
"""

from collections.abc import Sequence

from hub.clock import Clock, IdFactory, epoch_ms
from hub.log import Channel
from protocol.ids import UserId
from storage.store import DeclaredAgent, Entry, Reconciled, Store, activity, agents, declaring, users

log = Channel(__name__)


async def reconcile(
    store: Store,
    declared: Sequence[DeclaredAgent],
    *,
    user_id: UserId,
    clock: Clock,
    ids: IdFactory,
    entry: Entry | None = None,
) -> Reconciled:
    """Bring the rows in line with *declared*, all or nothing.

    Args:
        entry: goes into the audit log with it.

    Raises:
        NameTaken: a name is used by an agent made over the API; nothing was changed.
    """
    at = epoch_ms(clock.now())
    named = [agent.user_name for agent in declared if agent.user_name is not None]
    for name in await store.read(users.not_made_yet, named):
        log.warning("user.named_first", user=name)
    fresh = [ids.fresh() for _ in range(agents.IDS_PER_AGENT * len(declared))]
    taken_up = await store.write(
        declaring.take_up,
        user_id=user_id,
        declared=list(declared),
        at=at,
        fresh_ids=fresh,
        entry=entry,
    )
    done = taken_up.agents
    log.info(
        "agents.reconciled",
        created=len(done.created),
        updated=len(done.updated),
        revived=len(done.revived),
        archived=len(done.archived),
    )
    for run_id in taken_up.followed:
        log.info("run.followed", run_id=run_id)
    for run_id in taken_up.orphaned:
        log.info("run.orphaned", run_id=run_id)
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
                actor=declaring.ACTOR,
            )
    return done
