"""The audit log, as it is told to operators."""

from typing import Any, Literal

from pydantic import AwareDatetime

from hub.api.views.view import View


class AuditEntryView(View):
    """One entry of the audit log.

    *actor* is who did it: ``operator:UID`` (over the Unix socket), ``token:ID``, ``device:ID`` or
    ``hub``; *subject* the id of what it is about. *hash* covers all the rest and *prev_hash*,
    the hash of the entry before.
    """

    seq: int
    at: AwareDatetime
    actor: str
    event: str
    subject: str | None
    outcome: Literal["done", "refused"]
    detail: dict[str, Any]
    prev_hash: str
    hash: str


class AuditBreakView(View):
    """A place where the chain does not hold: the number of the entry, and what is wrong there."""

    seq: int
    what: str


class AuditCheckView(View):
    """What a check of the whole chain found.

    *last_seq* and *last_hash* are its end: whoever keeps them elsewhere can have them checked later.
    """

    ok: bool
    entries: int
    first_seq: int | None = None
    last_seq: int | None = None
    last_hash: str | None = None
    breaks: tuple[AuditBreakView, ...] = ()
    more_breaks: int = 0  # found, and not listed
