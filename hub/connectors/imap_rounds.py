"""What of a folder is looked at in one round, and what is remembered of it. Pure.

The numbers of a folder are cut into segments: those that came to be before the hub first looked, of which
only the recent ones are wanted, and those that came since, all of which are.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from hub.connectors.imap_line import Look
from hub.connectors.imap_settings import ImapFilter
from hub.connectors.imap_words import day, quoted

# How many numbers one SEARCH may find: its answer is one line, and of a line a megabyte is read.
_WINDOW: Final = 50_000
_OVERLAP: Final = timedelta(days=1)  # of a folder that was made anew with what it had before
_A_DAY: Final = timedelta(days=1)  # SEARCH SINCE knows days alone, in a zone of the server's own
_FEW: Final = 100  # so few numbers are fetched without being searched for
_MOST_SENDERS: Final = 10  # in one SEARCH


class Known(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of a folder.

    Attributes:
        uid: all up to this number is settled.
        at: when the folder was last looked at to its end, epoch seconds.
        since, until: numbers up to *until* are wanted only where they were received at or after *since*
            (epoch seconds): the first round did not come to its end.
        modseq: changes up to this one are known; only where the filter depends on flags.
    """

    uidvalidity: int
    uid: int
    at: float | None = None
    since: float | None = None
    until: int | None = None
    modseq: int | None = None


class Segment(msgspec.Struct, frozen=True):
    """Numbers from *first* to *last*, both included.

    Attributes:
        since: only what was received at or after it.
        changed: only what is unread and was changed after this modseq.
        moves: the cursor moves with it.
    """

    first: int
    last: int
    since: datetime | None = None
    changed: int | None = None
    moves: bool = True

    def windows(self) -> Iterator["Segment"]:
        """It, in pieces whose SEARCH has a bounded answer; the last one may have no numbers."""
        first = self.first
        while True:
            last = min(first + _WINDOW - 1, self.last)
            yield Segment(first, last, self.since, self.changed, self.moves)
            first = last + 1
            if first > self.last:
                return


class Found(msgspec.Struct, frozen=True):
    """Numbers of one page. *done*: with them everything up to it was looked at."""

    window: Segment
    uids: tuple[int, ...]
    done: int | None


class Round(msgspec.Struct, frozen=True):
    """What is looked at in a folder, and what is remembered when all of it is settled."""

    segments: tuple[Segment, ...]
    start: Known  # while it is under way: to be moved on with each page
    end: Known

    def behind(self, segment: Segment, found: Found) -> Known:
        """What is remembered behind a page."""
        uid = found.done if found.done is not None else (found.uids[-1] if found.uids else segment.first - 1)
        until = self.start.until
        if until is not None and uid >= until:
            return msgspec.structs.replace(self.start, uid=uid, since=None, until=None)
        return msgspec.structs.replace(self.start, uid=uid)


def plan(known: Known | None, look: Look, since: datetime, now: datetime, filter: ImapFilter) -> Round | None:
    """What to do with a folder; ``None``: nothing, there is nothing new."""
    last = look.uidnext - 1
    end = Known(uidvalidity=look.uidvalidity, uid=last, at=now.timestamp(), modseq=_modseq(look, filter))
    if known is not None and known.uidvalidity == look.uidvalidity and last >= known.uid:
        return _go_on(known, since, end)
    if known is not None:
        # It was made anew: all that may have come since the last look is looked at again.
        times = [at for at in (known.at, known.since) if at is not None]
        since = min(since, *(datetime.fromtimestamp(at, UTC) - _OVERLAP for at in times)) if times else since
    start = msgspec.structs.replace(end, uid=0, at=None, since=since.timestamp(), until=last)
    return Round((Segment(1, last, since),) if last else (), start, end)


def _go_on(known: Known, since: datetime, end: Known) -> Round | None:
    is_changed = end.modseq is not None and known.modseq is not None and end.modseq > known.modseq
    is_same_filter = (end.modseq is None) == (known.modseq is None)
    if end.uid == known.uid and known.until is None and not is_changed and is_same_filter:
        return None
    segments = []
    if is_changed and known.uid:
        segments.append(Segment(1, known.uid, since, known.modseq, moves=False))
    first = known.uid + 1
    if known.until is not None and known.since is not None and known.until >= first:
        segments.append(Segment(first, known.until, datetime.fromtimestamp(known.since, UTC)))
        first = known.until + 1
    if first <= end.uid:
        segments.append(Segment(first, end.uid))
    return Round(tuple(segments), known, end)


def _modseq(look: Look, filter: ImapFilter) -> int | None:
    """Flags matter only to who wants unread mail: a mail may be marked as unread again."""
    return look.modseq if filter.unread_only else None


def search_words(window: Segment, filter: ImapFilter) -> list[bytes] | None:
    """What follows UID SEARCH; ``None``: so few are just fetched.

    The server is asked for nothing that it might understand more narrowly than the hub does.
    """
    words = [b"UID", b"%d:%d" % (window.first, window.last)]
    if window.since is not None:
        words += [b"SINCE", day((window.since - _A_DAY).date())]
    if filter.unread_only:
        words.append(b"UNSEEN")
    if window.changed is not None:
        words += [b"MODSEQ", b"%d" % (window.changed + 1)]
    words += _from_words(filter)
    is_bare = len(words) == 2
    if is_bare and window.last - window.first < _FEW:
        return None
    return [*words, b"UNDELETED"]


def _from_words(filter: ImapFilter) -> list[bytes]:
    """Senders, where all are addresses or domains: parts of a name may be encoded on the server."""
    senders = filter.from_any
    if (
        not senders
        or len(senders) > _MOST_SENDERS
        or not all("@" in one and one.isascii() for one in senders)
    ):
        return []
    try:
        # Of a domain, its subdomains are wanted, too.
        spelled = [b"FROM " + quoted(one.removeprefix("@")) for one in senders]
    except ValueError:
        return []
    return [*[b"OR"] * (len(spelled) - 1), *spelled]
