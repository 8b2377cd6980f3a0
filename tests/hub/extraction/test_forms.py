"""Documents of many forms, read by a perfect model, without a hub."""

from datetime import UTC, datetime, timedelta

import anyio
import pytest

from hub.document import Document
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions, Item
from hub.extraction.model import Models
from hub.text.convert import convert
from protocol.tables import TableName
from tests.evaluation.forms.facts import Paper
from tests.evaluation.forms.reader import FormReader, Found, Sums, compare
from tests.evaluation.forms.writers import FORMS, papers
from tests.hub.extraction.conftest import HastyClock, model_at
from tests.support.oracle.traits import WORST_DAY

OPTIONS = ExtractionOptions(data_types=(TableName.TASKS, TableName.TIMELINES))
SEED = 3
PAPERS = papers(SEED)


def found(paper: Paper, item: Item) -> Found:
    at_ms = item.data.get("dueDate", item.data.get("date"))
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms) if isinstance(at_ms, int) else None
    who = item.data.get("assignee") or []
    assert isinstance(who, list)
    return Found(paper.name, str(item.data["title"]), who, day.date().isoformat() if day else None)


async def read(chosen: list[Paper], **traits: object) -> tuple[Sums, list[str]]:
    reader = FormReader(chosen, **traits)
    sums, differences = Sums(), list[str]()
    async with anyio.create_task_group() as tasks:
        model = model_at(await tasks.start(reader.serve), chunk_tokens=250, clock=HastyClock())
        extractor = Extractor(Models(model, model), secret=bytes(32))
        for paper in chosen:
            converted = convert(paper.text.encode(), path=paper.name)
            document = Document(
                unit_key=f"notes/{paper.name}",
                text=converted.text,
                content_hash="0" * 64,
                media_type=converted.media_type,
                modified_at=converted.date or paper.modified_at,
            )
            extraction = await extractor.extract(document, OPTIONS)
            assert all(converted.text[item.start : item.end] == item.quote for item in extraction.items)
            suggested = [found(paper, one) for one in extraction.items if one.data.get("status") != "done"]
            is_reported = extraction.notes.lost or extraction.notes.given_up
            failed = {f"notes/{paper.name}": "reported"} if is_reported else {}
            compare(paper, suggested, failed, sums, differences.append)
        await model.aclose()
        tasks.cancel_scope.cancel()
    return sums, differences


@pytest.mark.parametrize("form", FORMS)
async def test_every_task_of_a_form_is_found_once_with_its_person_and_its_date(form: str) -> None:
    sums, differences = await read([paper for paper in PAPERS if paper.form == form])
    assert sums.found == sums.planted > 20
    assert differences == []


async def test_no_task_is_lost_without_a_report_whatever_the_endpoint_does() -> None:
    chosen = [paper for paper in PAPERS if paper.form in ("chats", "lists", "mails")]
    sums, differences = await read(chosen, odds=WORST_DAY, retry_after_s=0.002, seed=SEED)
    assert (sums.false, sums.double, sums.unreported) == (0, 0, 0), differences
    assert sums.found >= 0.97 * sums.planted
