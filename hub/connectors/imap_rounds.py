"""Plan for reading a folder in one round, and the state stored for it. Pure functions.

The numbers of a folder are divided into segments: of those before the first reading, only recent messages are
read; of the later ones, all.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from hub.connectors.imap_line import FolderStatus
from hub.connectors.imap_settings import ImapFilter
from hub.connectors.imap_wire import day, quoted

# Limit of numbers in one SEARCH answer, which is a single line of at most a megabyte.
_WINDOW: Final = 50_000
_OVERLAP: Final = timedelta(days=1)  # of a recreated folder with its previous content
_A_DAY: Final = timedelta(days=1)  # SEARCH SINCE has only dates, in the server's time zone
_FEW: Final = 100  # so few numbers are fetched without a search
_MOST_SENDERS: Final = 10  # in one SEARCH


class Known(msgspec.Struct, frozen=True, omit_defaults=True):
    """Stored state of a folder.

    Attributes:
        uid: all messages up to this number are settled.
        at: end of the last complete reading, epoch seconds.
        since, until: numbers up to *until* are read only if received at or after *since* (epoch seconds),
        because the first round is not complete.
        modseq: changes up to this one are known; only if the filter depends on flags.
    """

    uidvalidity: int
    uid: int
    at: float | None = None
    since: float | None = None
    until: int | None = None
    modseq: int | None = None


class Segment(msgspec.Struct, frozen=True):
    """Range of numbers from *first* to *last*, inclusive.

    Attributes:
        since: only messages received at or after this time.
        changed: only unread messages changed after this modseq.
        moves: True if the cursor advances with it.
    """

    first: int
    last: int
    since: datetime | None = None
    changed: int | None = None
    moves: bool = True

    def windows(self) -> Iterator["Segment"]:
        """Yield sub-ranges whose SEARCH answers are bounded; the last one may be empty."""
        first = self.first
        while True:
            last = min(first + _WINDOW - 1, self.last)
            yield Segment(first, last, self.since, self.changed, self.moves)
            first = last + 1
            if first > self.last:
                return


class Found(msgspec.Struct, frozen=True):
    """Numbers of one page. *done*: all numbers up to it were examined."""

    window: Segment
    uids: tuple[int, ...]
    done: int | None


class Round(msgspec.Struct, frozen=True):
    """Segments to read in a folder, and the state when all of them are settled."""

    segments: tuple[Segment, ...]
    start: Known  # state during the round, advanced with each page
    end: Known

    def behind(self, segment: Segment, found: Found) -> Known:
        """Return the state after a page."""
        uid = found.done if found.done is not None else (found.uids[-1] if found.uids else segment.first - 1)
        until = self.start.until
        if until is not None and uid >= until:
            return msgspec.structs.replace(self.start, uid=uid, since=None, until=None)
        return msgspec.structs.replace(self.start, uid=uid)


def plan(
    known: Known | None, status: FolderStatus, since: datetime, now: datetime, filter: ImapFilter
) -> Round | None:
    """Return the plan for a folder, or None if it has no new messages."""
    last = status.uidnext - 1
    end = Known(uidvalidity=status.uidvalidity, uid=last, at=now.timestamp(), modseq=_modseq(status, filter))
    if known is not None and known.uidvalidity == status.uidvalidity and last >= known.uid:
        return _go_on(known, since, end)
    if known is not None:
        # Recreated: all messages that may have come since the last reading are read again.
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


def _modseq(status: FolderStatus, filter: ImapFilter) -> int | None:
    """Return the modseq if the filter selects unread mail, since a mail may be marked as unread again."""
    return status.modseq if filter.unread_only else None


def search_words(window: Segment, filter: ImapFilter) -> list[bytes] | None:
    """Return the arguments of UID SEARCH, or None if the numbers are few enough to fetch all.

    The search has only conditions that no server applies more strictly than the hub.
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
    """Return conditions for senders, if all are addresses or domains; names may be encoded on the server."""
    senders = filter.from_any
    if (
        not senders
        or len(senders) > _MOST_SENDERS
        or not all("@" in one and one.isascii() for one in senders)
    ):
        return []
    try:
        # A domain includes its subdomains.
        spelled = [b"FROM " + quoted(one.removeprefix("@")) for one in senders]
    except ValueError:
        return []
    return [*[b"OR"] * (len(spelled) - 1), *spelled]
