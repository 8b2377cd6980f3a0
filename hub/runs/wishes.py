"""Additions of a run's requester to the settings of its agent."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from protocol.locks import lock_names
from protocol.requirements import BadRequirement, parse_requirement

MOST_NEEDS: Final = 32
TASK: Final = "task_id"  # key in the context


class RunWish(msgspec.Struct, frozen=True, kw_only=True):
    """Capabilities and locks of a run in addition to its agent's, and its context.

    The context is stored with the run, sent to its device, and may have a ``task_id``.
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
    """Return the validated additions; *task_id* overrides the context's.

    Raises:
        BadRequirement: a need cannot be parsed, or there are more than ``MOST_NEEDS``.
        BadLockName: a lock has an invalid name.
    """
    if len(needs) > MOST_NEEDS:
        raise BadRequirement(f"needs: a run has at most {MOST_NEEDS}, not {len(needs)}")
    told = dict(context or {})
    return RunWish(
        needs=tuple(str(parse_requirement(need)) for need in needs),
        locks=lock_names(locks),
        context=told if task_id is None else told | {TASK: task_id},
    )
