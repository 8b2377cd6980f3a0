"""What somebody who asks for a run adds to what its agent's settings say."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from protocol.locks import lock_names
from protocol.requirements import BadRequirement, parse_requirement

MOST_NEEDS: Final = 32
TASK: Final = "task_id"  # where the context has it


class RunWish(msgspec.Struct, frozen=True, kw_only=True):
    """Capabilities that this run needs and locks that it takes, beside its agent's, and what it is for.

    *context* is kept with the run, is told to its device, and may name a ``task_id``.
    """

    needs: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    context: dict[str, Any] = {}


NOTHING_MORE: Final = RunWish()


def wish_of(
    *,
    needs: Sequence[str] = (),
    locks: Sequence[str] = (),
    context: Mapping[str, Any] | None = None,
    task_id: str | None = None,
) -> RunWish:
    """What was asked for, checked; a *task_id* is laid over the context's.

    Raises:
        BadRequirement: a need is none, or there are more than ``MOST_NEEDS``.
        BadLockName
    """
    if len(needs) > MOST_NEEDS:
        raise BadRequirement(f"needs: a run has at most {MOST_NEEDS}, not {len(needs)}")
    told = dict(context or {})
    return RunWish(
        needs=tuple(str(parse_requirement(need)) for need in needs),
        locks=lock_names(locks),
        context=told if task_id is None else told | {TASK: task_id},
    )
