"""Bodies of calls about the places of approved rows: ``places.manage``."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from protocol.frame import Count, EpochMs, Name, Text

MAX_SINKS: Final = 50  # of a device, in an answer
PLACE_CHARACTERS: Final = 1_000
PlaceKind = Literal["markdown", "todo.txt", "ics", "csv", "jsonl", "caldav"]
_PlaceText = Annotated[str, Meta(max_length=PLACE_CHARACTERS)]
_User = Annotated[str, Meta(max_length=200)]
_Password = Annotated[str, Meta(max_length=500)]


class PlaceFields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Place as a person fills it in.

    Attributes:
        place: path of a file, or address of a calendar at a server.
        password: of *user* at that server; empty: the stored one, if server and user are those of before.
    """

    kind: PlaceKind
    place: _PlaceText
    user: _User = ""
    password: _Password = ""


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``data`` of a ``tool_call`` with action ``places.manage``.

    Attributes:
        name: of the place to test, save or remove; empty: a new place gets one.
        version: of the settings that the person saw; a hub needs it for ``save`` and ``remove``.
        kind: of the place to test or save, whose other fields are those of ``PlaceFields``; ``test`` without
            one tests the stored place.
    """

    do: Literal["list", "test", "save", "remove"]
    name: Text = ""
    version: Text = ""
    kind: PlaceKind | None = None
    place: _PlaceText = ""
    user: _User = ""
    password: _Password = ""

    @property
    def fields(self) -> PlaceFields | None:
        """Place to test or save, if the order has one."""
        if self.kind is None:
            return None
        return PlaceFields(kind=self.kind, place=self.place, user=self.user, password=self.password)


class KnownPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Place of a device's settings, and what is there and waits.

    Attributes:
        tables: whose approved rows go there.
        deleted: rows that were deleted there, and are still here.
        written_ms: when a row was written there last.
        problem: why rows wait, in words.
        remedy: what mends that.
        is_lasting: True if the problem does not pass by itself, or has not.
        asked: which hub asked for the place, and when; empty: its owner added it at the machine.
    """

    name: Name
    kind: Name
    place: _PlaceText
    user: Text = ""
    tables: Annotated[list[Name], Meta(max_length=100)] = []
    rows: Count = 0
    waiting: Count = 0
    deleted: Count = 0
    written_ms: EpochMs | None = None
    problem: Annotated[str, Meta(max_length=2_000)] = ""
    remedy: Text = ""
    is_lasting: bool = False
    asked: Text = ""


class FoundCalendar(msgspec.Struct, frozen=True, kw_only=True):
    """Calendar of a user at a server, or an address where the calendars are.

    Attributes:
        tables: those whose rows it takes; empty: it is not known yet.
    """

    url: _PlaceText
    name: Text = ""
    tables: Annotated[list[Name], Meta(max_length=100)] = []


class PlacesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to ``places.manage``.

    Attributes:
        version: of the settings now.
        problem: why the place was not tested with success, or not saved; empty: it was.
        about: the field of ``PlaceFields`` that the problem is about, or ``name``.
        candidates: files below shared folders that are likely to be meant.
        calendars: those of the user at the server that can be written.
        rows: approved rows that go to the tested or saved place.
        tables: whose approved rows go there.
        left_out: tables whose rows the calendar does not take.
    """

    version: Text = ""
    places: Annotated[list[KnownPlace], Meta(max_length=MAX_SINKS)] = []
    candidates: Annotated[list[PlaceFields], Meta(max_length=MAX_SINKS)] = []
    problem: Annotated[str, Meta(max_length=4_000)] = ""
    about: Name = ""
    calendars: Annotated[list[FoundCalendar], Meta(max_length=20)] = []
    rows: Count = 0
    tables: Annotated[list[Name], Meta(max_length=100)] = []
    left_out: Annotated[list[Name], Meta(max_length=100)] = []
