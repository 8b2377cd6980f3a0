"""Fixtures of the tests of extraction: the oracle, and the hub's client pointed at it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import datetime

import anyio
import pytest

from hub.base.clock import SystemClock
from hub.document import Document
from hub.extraction.dating import PassageDates
from hub.extraction.endpoint import Endpoint
from hub.extraction.items import ExtractionOptions, Reference
from hub.extraction.validate import Material
from hub.text.folding import fold
from hub.text.redaction import Redaction
from tests.support.clock import FakeClock, SeededChance
from tests.support.oracle import MODEL_NAME, Oracle


class HastyClock(FakeClock):
    """Sleeps a small share of what it is asked to, so that real servers see the order of waits."""

    def __init__(self, share: float = 0.001) -> None:
        super().__init__()
        self._share = share

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds * self._share)
        self.advance(seconds)


def model_at(base_url: str, **options: object) -> Endpoint:
    """The hub's own client; tests say only what they are about."""
    settings: dict[str, object] = {"clock": SystemClock(), "chance": SeededChance()} | options
    settings = {"name": MODEL_NAME, "api_key": "key"} | settings
    return Endpoint(base_url, **settings)  # type: ignore[arg-type]


@pytest.fixture
async def oracle() -> AsyncIterator[Oracle]:
    """An oracle that is listening; its ``base_url`` says where."""
    server = Oracle()
    async with anyio.create_task_group() as tasks:
        await tasks.start(server.serve)
        yield server
        tasks.cancel_scope.cancel()


@pytest.fixture
async def model(oracle: Oracle) -> AsyncIterator[Endpoint]:
    """The hub's client of the oracle."""
    async with aclosing(model_at(oracle.base_url)) as opened:
        yield opened


def material_of(
    text: str,
    options: ExtractionOptions,
    *,
    date: datetime | None = None,
    labels: Mapping[str, Reference] | None = None,
) -> Material:
    """A document of this text, with what its questions and answers need."""
    document = Document(unit_key="a.txt", text=text, content_hash="0" * 64, modified_at=date)
    return Material(
        document=document,
        options=options,
        known=fold(f"{text}\n{options.prompt}"),
        dates=PassageDates.of(document, date=date, timezone=options.timezone),
        redaction=Redaction(options.redact, text),
        labels=labels or {},
    )
