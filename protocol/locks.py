"""Names of locks: what agents agree on so that only one of them works on a thing at a time.

Pure, for hub and device. A lock needs no declaring: it begins with the first who takes
its name. Each user has names of their own.
"""

import re
from collections.abc import Iterable
from typing import Final

from protocol.errors import ErrorCode, HubError

NAME_CHARACTERS: Final = 255
MOST_LOCKS: Final = 16  # taken together by one request
MOST_OF_RUN: Final = 2 * MOST_LOCKS  # those of its agent, and its own
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*", re.ASCII)


class BadLockName(HubError):
    """It cannot be the name of a lock."""

    code = ErrorCode.BAD_PARAMS


def lock_names(given: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, in the order in which locks are taken.

    Raises:
        BadLockName: one of them is none, or there are more than ``MOST_LOCKS``.
    """
    names = tuple(sorted({lock_name(name) for name in given}))
    if len(names) > MOST_LOCKS:
        raise BadLockName(f"{len(names)} locks at once; at most {MOST_LOCKS} can be taken together")
    return names


def lock_name(given: str) -> str:
    """*given*, which can be the name of a lock.

    Raises:
        BadLockName: it cannot; the message says what can.
    """
    if len(given) > NAME_CHARACTERS or _NAME.fullmatch(given) is None:
        shown = given if len(given) <= 40 else f"{given[:40]}..."
        raise BadLockName(
            f"{shown!r} cannot be the name of a lock: expected 1 to {NAME_CHARACTERS} characters, "
            "a letter or digit first, then letters, digits and . _ : / @ + -, as in 'mailbox:anna'"
        )
    return given
