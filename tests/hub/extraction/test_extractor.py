"""From a document to its items: the whole way, with an oracle for a model."""

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from hub.document import Document
from hub.extraction.endpoint import Endpoint
from hub.extraction.extractor import Extractor
from hub.extraction.items import Extraction, ExtractionOptions
from hub.extraction.model import ExtractionError, Models, ModelUnavailable
from protocol.errors import ErrorCode
from protocol.secret_rules import RedactionRule
from protocol.tables import TableName
from tests.hub.extraction.conftest import model_at
from tests.support.oracle import Fault, Oracle, plant
from tests.support.runs import KeywordModel

TASKS = ExtractionOptions(data_types=(TableName.TASKS,))
FILLING = "In year {} the river was calm and the boats lay in the harbour as before. "
PLANTED = [
    plant(name, "send the report", "2026-12-01", f"K-{n:04}") for n, name in enumerate(("Anna", "Bob", "Eve"))
]


def note(text: str, name: str = "a.txt") -> Document:
    return Document(unit_key=name, text=text, content_hash="0" * 64)


def long_text(sentences: Sequence[str], filling: int = 40) -> str:
    """The sentences spread over many chunks of prose, no two of which are the same."""
    prose = [
        "".join(FILLING.format(at * filling + n) for n in range(filling)) for at in range(len(sentences) + 1)
    ]
    return "".join(f"{said}{sentence} " for said, sentence in zip(prose, sentences, strict=False)) + prose[-1]


async def extract(
    model: Endpoint | None, document: Document, wanted: ExtractionOptions = TASKS
) -> Extraction:
    extraction = await Extractor(Models(model, model), secret=bytes(32)).extract(document, wanted)
    for item in extraction.items:
        assert document.text[item.start : item.end] == item.quote
    return extraction


def quotes(extraction: Extraction) -> list[str]:
    return [item.quote for item in extraction.items]


async def test_every_fact_of_a_long_document_is_found_once(oracle: Oracle) -> None:
    sentences = [plant("Anna", f"do work {n}", "2026-12-01", f"K-{n:04}") for n in range(12)]
    async with aclosing(model_at(oracle.base_url, chunk_tokens=300)) as model:
        extraction = await extract(model, note(long_text(sentences)))
    assert quotes(extraction) == sentences
    assert extraction.requests == oracle.stats.calls == extraction.chunks + extraction.notes.looked_behind
    assert extraction.prompt_tokens == oracle.stats.prompt_tokens
    assert (extraction.completion_tokens, extraction.dropped) == (oracle.stats.completion_tokens, ())


async def test_a_cut_off_answer_is_asked_again_in_halves(oracle: Oracle, model: Endpoint) -> None:
    oracle.play(Fault.CUT_OFF)
    extraction = await extract(model, note(" ".join(PLANTED)))
    assert (quotes(extraction), extraction.requests) == (PLANTED, 3)


async def test_a_text_too_long_for_the_model_is_halved_as_well(oracle: Oracle, model: Endpoint) -> None:
    oracle.context_tokens = 650
    assert quotes(await extract(model, note(long_text(PLANTED, filling=6)))) == PLANTED
    assert oracle.stats.refused["400"] > 0


async def test_an_answer_that_is_always_cut_off_fails_the_document(oracle: Oracle, model: Endpoint) -> None:
    oracle.play(Fault.CUT_OFF, times=50)
    with pytest.raises(ExtractionError) as caught:
        await extract(model, note(PLANTED[0]))
    assert caught.value.code is ErrorCode.MODEL_ANSWER_CUT_OFF
    assert caught.value.spent.requests == oracle.stats.calls


async def test_a_list_as_long_as_was_allowed_is_not_believed_to_be_whole(
    oracle: Oracle, model: Endpoint
) -> None:
    sentences = [plant("Al", "go", "2026-12-01", f"K-{n:02}") for n in range(64)]
    assert quotes(await extract(model, note(" ".join(sentences)))) == sentences
    assert oracle.stats.calls > 1


async def test_an_unreadable_answer_is_asked_for_once_more(oracle: Oracle, model: Endpoint) -> None:
    oracle.play(Fault.MALFORMED_ANSWER)
    extraction = await extract(model, note(PLANTED[0]))
    assert (quotes(extraction), extraction.requests) == (PLANTED[:1], 2)


async def test_an_answer_unreadable_twice_fails_the_document(oracle: Oracle, model: Endpoint) -> None:
    oracle.play(Fault.MALFORMED_ANSWER, times=2)
    with pytest.raises(ExtractionError) as caught:
        await extract(model, note(PLANTED[0]))
    assert caught.value.code is ErrorCode.MODEL_ANSWER_INVALID
    assert PLANTED[0] not in str(caught.value)
    assert caught.value.spent.requests == 2
    assert caught.value.spent.completion_tokens == oracle.stats.completion_tokens


async def test_chatter_around_an_answer_does_no_harm(oracle: Oracle, model: Endpoint) -> None:
    oracle.play(Fault.CHATTER)
    assert quotes(await extract(model, note(PLANTED[0]))) == PLANTED[:1]


async def test_an_invented_record_is_dropped(oracle: Oracle, model: Endpoint) -> None:
    oracle.play(Fault.INVENTED)
    extraction = await extract(model, note(PLANTED[0]))
    assert quotes(extraction) == PLANTED[:1]
    assert [note.reason for note in extraction.dropped] == ["bad_field", "ungrounded"]


async def test_every_record_whose_second_answer_fails_is_counted_as_lost(
    oracle: Oracle, model: Endpoint
) -> None:
    bad = (Fault.CUT_OFF, Fault.RUNAWAY_BLANKS, Fault.RUNAWAY_RECORDS, Fault.MALFORMED_ANSWER)
    lost = 0
    for fault in bad * 2:
        oracle.play(Fault.INVENTED, fault, *[fault] * (fault is Fault.MALFORMED_ANSWER))
        extraction = await extract(model, note(FILLING.format(lost) * 5))
        assert extraction.items == ()
        lost += extraction.notes.lost
    assert lost == 8


async def test_an_endpoint_without_answers_fails_the_document_and_reports_the_cost(oracle: Oracle) -> None:
    oracle.play(Fault.SERVER_ERROR)
    async with aclosing(model_at(oracle.base_url, max_tries=1)) as model:
        with pytest.raises(ModelUnavailable) as caught:
            await extract(model, note(PLANTED[0]))
    assert caught.value.spent.requests == 1


async def test_the_same_sentence_twice_is_two_items(oracle: Oracle, model: Endpoint) -> None:
    text = f"{PLANTED[0]} And again: {PLANTED[0]}"
    first, second = (await extract(model, note(text))).items
    assert (first.start, second.start) == (0, text.rindex(PLANTED[0]))


async def test_check_boxes_come_before_what_the_model_finds_and_are_not_shown_to_it(
    oracle: Oracle, model: Endpoint
) -> None:
    text = f"# Plan\n{PLANTED[0]}\n- [ ] {PLANTED[1]}\n"
    extraction = await extract(model, note(text, "plan.md"))
    assert [(item.origin, item.quote) for item in extraction.items] == [
        ("rule", PLANTED[1]),
        ("model", PLANTED[0]),
    ]
    assert all(PLANTED[1] not in asked["messages"][-1]["content"] for asked in oracle.requests)


async def test_a_file_read_by_rules_costs_no_question(oracle: Oracle, model: Endpoint) -> None:
    extraction = await extract(model, note("(A) Pay rent", "todo.txt"))
    assert (len(extraction.items), extraction.requests, oracle.stats.calls) == (1, 0, 0)


async def test_without_a_model_only_rules_apply_and_the_rest_is_reported_unread() -> None:
    extraction = await extract(None, note("- [ ] Call Bob\n\nSome prose.\n", "a.md"))
    assert (quotes(extraction), extraction.ruled_chars) == (["Call Bob"], len("Someprose."))


async def test_the_same_answers_give_the_same_items_in_the_same_order(oracle: Oracle) -> None:
    document = note(long_text(PLANTED))
    async with aclosing(model_at(oracle.base_url, chunk_tokens=100, in_flight=4)) as model:
        first = await extract(model, document)
        oracle.latency_s = 0.001
        assert (await extract(model, document)).items == first.items


async def test_a_literal_model_is_asked_by_sentence_and_by_table(oracle: Oracle) -> None:
    both = ExtractionOptions(data_types=(TableName.TIMELINES, TableName.TASKS))
    async with aclosing(model_at(oracle.base_url, is_literal=True)) as model:
        extraction = await extract(model, note(f"Ideas:\n\nHello there. {PLANTED[0]} Good bye."), both)
    assert quotes(extraction) == PLANTED[:1]
    asked = Counter(one["messages"][-1]["content"] for one in oracle.requests)  # some at the same time
    assert asked == Counter({"Ideas:": 2, "Hello there.": 2, PLANTED[0]: 1, "Good bye.": 2})


async def test_a_literal_model_is_asked_only_about_sentences_that_no_rule_reads(oracle: Oracle) -> None:
    async with aclosing(model_at(oracle.base_url, is_literal=True)) as model:
        extraction = await extract(model, note("Hello there. Please call Bob. Good bye."))
    assert [(item.origin, item.quote) for item in extraction.items] == [("rule", "Please call Bob.")]
    asked = {one["messages"][-1]["content"] for one in oracle.requests}
    assert asked == {"Hello there.", "Good bye."}


async def test_a_literal_model_is_not_asked_where_rules_read_prose_alone(oracle: Oracle) -> None:
    async with aclosing(model_at(oracle.base_url, is_literal=True)) as model:
        extractor = Extractor(Models(model, model), secret=bytes(32), asks_small=False)
        extraction = await extractor.extract(note("Hello there. Please call Bob."), TASKS)
        alone = Extractor(Models(), secret=bytes(32))
        assert extractor.fingerprint(TASKS) == alone.fingerprint(TASKS)
    assert (quotes(extraction), extraction.requests, oracle.stats.calls) == (["Please call Bob."], 0, 0)
    assert extraction.ruled_chars > 0


def test_a_fingerprint_differs_between_configurations() -> None:
    small, other = (model_at("http://127.0.0.1:1/v1", name=name) for name in ("a", "b"))
    extractors = [Extractor(Models(model, model), secret=bytes(32)) for model in (None, small, other)]
    wanted = [
        TASKS,
        ExtractionOptions(data_types=(TableName.NOTES,)),
        ExtractionOptions(data_types=(TableName.TASKS,), prompt="x"),
        ExtractionOptions(data_types=(TableName.TASKS,), redact=(RedactionRule("email"),)),
    ]
    prints = {extractor.fingerprint(one) for extractor in extractors for one in wanted}
    assert (len(prints), extractors[1].fingerprint(TASKS)) == (12, extractors[1].fingerprint(TASKS))


@pytest.mark.parametrize(
    ("models", "allow_cloud", "reader"),
    [
        (Models(), True, "rules"),
        (Models(KeywordModel()), True, "cloud keyword"),
        (Models(KeywordModel()), False, "rules"),
        (Models(KeywordModel(), KeywordModel()), True, "local keyword"),
        (Models(local=KeywordModel()), False, "local keyword"),
    ],
)
def test_extractor_names_the_reader_of_an_agents_prose(
    models: Models, allow_cloud: bool, reader: str
) -> None:
    extractor = Extractor(models, secret=bytes(32), asks_small=False)
    assert extractor.reader(ExtractionOptions(data_types=(), allow_cloud=allow_cloud)) == reader
    if models.local is not None:
        models.local.is_literal = True  # type: ignore[misc]  # the small model, which is not asked about prose
        assert extractor.reader(ExtractionOptions(data_types=(), allow_cloud=False)) == "rules"
