"""Test suite of the connector contract, for authors of plug-ins and for the built-in connectors.

It is a class of tests for pytest with the plugin of anyio. Derive from it in a test module and name the class
``Test...``. Define how a connector is opened and how a message arrives at its source::

    class TestRss(ConnectorConformance):
        @asynccontextmanager
        async def place(self):
            async with a_server_of_yours() as server:
                yield Place(lambda: Rss(context, settings, RssFilter()), server.publish, long_ago)

For a program in a jail, ``process_at`` opens it.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from hub.base.clock import SystemChance, SystemClock
from hub.base.outbound.client import OutboundClient
from hub.connectors.calling import CursorLost, ProviderCaller, Throttle
from hub.connectors.connector import PAGE_MESSAGES, Connector, Context, Cursor, Filter, Message, Page
from hub.connectors.process import ProcessConnector, ProcessSettings
from hub.document import Document

MAX_CURSOR_BYTES: Final = 64 * 1024
_SUBJECTS: Final = ("the first", "the second", "the third")


class Place(msgspec.Struct, frozen=True):
    """Source of a connector.

    Attributes:
        open: creates a connector, as for each run.
        arrive: delivers a message with that subject to the source.
        since: a time before any message arrived.
        has_cursors: True if a cursor records settled messages; False if settled messages are removed.
    """

    open: Callable[[], Connector]
    arrive: Callable[[str], Awaitable[None]]
    since: datetime
    has_cursors: bool = True


def process_at(
    client: OutboundClient, folder: Path, command: Sequence[str], *, secret: str = "", **settings: Any
) -> ProcessConnector:
    """Return the connector of the program in *folder*, as a run opens it.

    Args:
        settings: further keys of ``settings`` in hub.toml, such as *origins* and *options*.
    """
    chosen = ProcessSettings(folder=folder, command=tuple(command), **settings)
    clock, chance = SystemClock(), SystemChance()
    caller = ProviderCaller(
        client,
        tokens=None,
        throttle=Throttle(ProcessConnector.quota(chosen), clock),
        origins=ProcessConnector.origins(chosen),
        clock=clock,
        chance=chance,
    )
    give = (lambda: secret) if secret else None
    context = Context(account=folder.name, clock=clock, chance=chance, caller=caller, secret=give)
    return ProcessConnector(context, chosen, Filter())


class ConnectorConformance(ABC):
    """Tests of the contract. *secrets*: strings that a connector must not reveal."""

    secrets: tuple[str, ...] = ()

    @abstractmethod
    def place(self) -> AbstractAsyncContextManager[Place]:
        """Return a separate source for one test."""

    async def test_what_has_arrived_is_listed_with_plain_cursors_on_pages_of_bounded_size(self) -> None:
        async with self._three() as place:
            pages = await _pages(place)
            assert {message.subject for message in _messages(pages)} == set(_SUBJECTS)
            for page in pages:
                assert len(page.messages) <= PAGE_MESSAGES
                assert len(msgspec.json.encode(page.cursor)) <= MAX_CURSOR_BYTES
                json.dumps(page.cursor)  # raises for values that are not plain JSON, such as a date
            assert not place.has_cursors or pages[-1].cursor is not None

    async def test_listed_again_a_message_has_the_same_key_and_version(self) -> None:
        async with self._three() as place:
            first, second = [_known(await _pages(place)) for _ in range(2)]
            assert first == second
            assert len({key for key, _ in first}) == len(first)

    async def test_each_cursor_resumes_without_losing_a_message(self) -> None:
        async with self._three() as place:
            pages = await _pages(place)
            for number, page in enumerate(pages):
                if page.cursor is not None:
                    before = _known(pages[: number + 1])
                    assert before | _known(await _pages(place, page.cursor)) >= _known(pages)

    async def test_of_more_than_a_page_holds_nothing_is_left_out_or_lost_behind_a_cursor(self) -> None:
        async with self.place() as place:
            subjects = {f"number {number}" for number in range(PAGE_MESSAGES + 1)}
            for subject in sorted(subjects):
                await place.arrive(subject)
            pages = await _pages(place)
            assert {message.subject for message in _messages(pages)} == subjects
            assert all(len(page.messages) <= PAGE_MESSAGES for page in pages)
            first = next((number for number, page in enumerate(pages) if page.cursor is not None), None)
            if first is not None:
                behind = _known(await _pages(place, pages[first].cursor))
                assert _known(pages[: first + 1]) | behind >= _known(pages)

    async def test_a_later_message_is_listed_once_after_the_last_cursor(self) -> None:
        async with self._three() as place:
            if not place.has_cursors:
                return
            cursor = (await _pages(place))[-1].cursor
            await place.arrive("the latest")
            pages = await _pages(place, cursor)
            assert "the latest" in {message.subject for message in _messages(pages)}
            cursors = [page.cursor for page in pages if page.cursor is not None]
            assert _messages(await _pages(place, cursors[-1])) == []

    async def test_each_message_is_read_once_and_under_its_key(self) -> None:
        async with (
            self._three() as place,
            _opened(place) as connector,
            aclosing(connector.pages(None, place.since)) as pages,
        ):
            async for page in pages:
                found = [read async for read in connector.read(page.messages)]
                assert sorted(message.key for message, _ in found) == sorted(
                    message.key for message in page.messages
                )
                for message, outcome in found:
                    assert isinstance(outcome, Document)
                    assert outcome.unit_key == message.key
                    assert outcome.text

    async def test_a_cursor_that_is_none_of_its_own_is_lost_or_ignored(self) -> None:
        async with self._three() as place:
            for foreign in ({}, {"no": "such"}, {"version": 99, "folders": 7}):
                try:
                    pages = await _pages(place, foreign)
                except CursorLost:
                    continue
                assert {message.subject for message in _messages(pages)} == set(_SUBJECTS)

    async def test_a_check_names_the_account_and_closing_twice_does_no_harm(self) -> None:
        async with self._three() as place, _opened(place) as connector:
            assert (await connector.check()).name
            await connector.aclose()
            await connector.aclose()

    async def test_a_filter_takes_no_word_that_it_does_not_know(self) -> None:
        async with self.place() as place, _opened(place) as connector:
            connector.filter_model.model_validate({})
            try:
                connector.filter_model.model_validate({"no_such_word": 1})
            except ValidationError:
                return
            raise AssertionError("a filter with an unknown word was accepted")

    async def test_it_shows_no_secret(self) -> None:
        async with self.place() as place, _opened(place) as connector:
            shown = f"{connector!r} {connector.settings!r} {connector.context!r}"
            assert not any(secret in shown for secret in self.secrets)

    @asynccontextmanager
    async def _three(self) -> AsyncIterator[Place]:
        """Yield a source with three messages."""
        async with self.place() as place:
            for subject in _SUBJECTS:
                await place.arrive(subject)
            yield place


@asynccontextmanager
async def _opened(place: Place) -> AsyncIterator[Connector]:
    connector = place.open()
    try:
        yield connector
    finally:
        await connector.aclose()


async def _pages(place: Place, cursor: Cursor | None = None) -> list[Page]:
    stored = msgspec.json.decode(msgspec.json.encode(cursor))  # as the hub stores it
    async with _opened(place) as connector, aclosing(connector.pages(stored, place.since)) as pages:
        return [page async for page in pages]


def _messages(pages: list[Page]) -> list[Message]:
    return [message for page in pages for message in page.messages]


def _known(pages: list[Page]) -> set[tuple[str, str]]:
    return {(message.key, message.version) for message in _messages(pages)}
