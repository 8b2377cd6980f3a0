"""Names of locks, which agents agree on so that only one of them works on a resource at a time.

Pure, for hub and device. A lock needs no declaration: the first request for its name creates it. Each user
has a separate namespace.
"""

import re
from collections.abc import Iterable
from typing import Final

from protocol.errors import ErrorCode, HubError

NAME_CHARACTERS: Final = 255
MOST_LOCKS: Final = 16  # acquired together by one request
MOST_OF_RUN: Final = 2 * MOST_LOCKS  # those of its agent, and its own
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*", re.ASCII)


class BadLockName(HubError):
    """Error: invalid name of a lock."""

    code = ErrorCode.BAD_PARAMS


def lock_names(given: Iterable[str]) -> tuple[str, ...]:
    """Validate and sort the names without duplicates, in the order in which locks are acquired.

    Raises:
        BadLockName: a name is invalid, or there are more than ``MOST_LOCKS``.
    """
    names = tuple(sorted({lock_name(name) for name in given}))
    if len(names) > MOST_LOCKS:
        raise BadLockName(f"{len(names)} locks at once; at most {MOST_LOCKS} can be taken together")
    return names


def lock_name(given: str) -> str:
    """Validate the name of a lock and return it.

    Raises:
        BadLockName: the name is invalid; the message describes valid ones.
    """
    if len(given) > NAME_CHARACTERS or _NAME.fullmatch(given) is None:
        shown = given if len(given) <= 40 else f"{given[:40]}..."
        raise BadLockName(
            f"{shown!r} cannot be the name of a lock: expected 1 to {NAME_CHARACTERS} characters, "
            "a letter or digit first, then letters, digits and . _ : / @ + -, as in 'mailbox:anna'"
        )
    return given
