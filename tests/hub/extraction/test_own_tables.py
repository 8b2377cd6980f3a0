"""Tables of an operator: what a model is asked, and what of its answer, or of a file, becomes an item."""

import json
from collections.abc import Mapping

import jsonschema
import msgspec
import pytest

from hub.document import Document
from hub.extraction import duplicates
from hub.extraction.chunk import Chunk
from hub.extraction.extractor import Extractor
from hub.extraction.items import Extraction, ExtractionOptions, Item
from hub.extraction.model import Models
from hub.extraction.prompt import LiteralPrompt, Prompt, schema_of
from hub.extraction.quote_support import is_supported
from protocol.frame import Record
from protocol.tables import Column, DeviceTable, Kind, tables_with
from tests.hub.extraction.conftest import material_of
from tests.hub.extraction.test_extractor import Spoken

CONTACTS = DeviceTable(
    name="contacts",
    about="a person with an address",
    title="name",
    key=("name", "company"),
    fields=(
        Column(name="name", kind=Kind.TEXT, required=True, max_length=500, about="full name"),
        Column(name="company", kind=Kind.TEXT),
        Column(name="kind", kind=Kind.TEXT, choices=("Customer", "New lead")),
        Column(name="met", kind=Kind.EPOCH_MS),
        Column(name="fee", kind=Kind.NUMBER),
        Column(name="isMember", kind=Kind.FLAG),
        Column(name="languages", kind=Kind.NAMES),
    ),
)
OPTIONS = ExtractionOptions(
    data_types=("contacts", "tasks"), timezone="Europe/Berlin", own_tables=(CONTACTS,)
)
TABLES = tables_with((CONTACTS,))
TEXT = "Met Ada Lovelace of Engines on 3 March 2026, a new lead at 1,250.50 a day; she speaks French."


async def extract(
    record: Mapping[str, object], text: str = TEXT, options: ExtractionOptions = OPTIONS
) -> Extraction:
    model = Spoken(lambda *_: json.dumps({"items": [{"table": "contacts", "quote": text, **record}]}))
    document = Document(unit_key="a.txt", text=text, content_hash="0" * 64)
    return await Extractor(Models(model, model), secret=bytes(32)).extract(document, options)


async def test_custom_table_record_is_an_item_with_values_of_the_column_types() -> None:
    said = {"name": "Ada Lovelace", "company": "Engines", "kind": "new-lead", "met": "2026-03-03"}
    more = {"fee": 1250.5, "isMember": True, "languages": ["French", "Klingon"]}
    (item,) = (await extract(said | more)).items
    assert item.table == "contacts"
    assert item.data == {
        "name": "Ada Lovelace",
        "company": "Engines",
        "kind": "New lead",
        "met": 1772492400000,  # midnight of Berlin
        "fee": 1250.5,
        "isMember": 1,
        "languages": ["French"],  # the other one is not in the text
    }
    assert item.warnings == ()


async def test_wrong_date_of_a_custom_record_is_replaced_by_the_quoted_date() -> None:
    found = await extract({"name": "Ada Lovelace", "met": "2026-03-04"})
    assert (found.items[0].data["met"], found.notes.dropped) == (1772492400000, {"wrong_date": 1})


async def test_values_of_another_type_are_left_out_and_counted() -> None:
    found = await extract({"name": "Ada Lovelace", "fee": "much", "isMember": "perhaps", "kind": "friend"})
    assert (found.items[0].data, found.notes.dropped) == ({"name": "Ada Lovelace"}, {"bad_field": 3})


@pytest.mark.parametrize("record", [{"name": "Bob Rusk"}, {"name": "Ada Lovelace", "fee": 9_000.0}])
async def test_custom_table_value_missing_in_the_quote_is_marked_unsupported(
    record: dict[str, object],
) -> None:
    assert (await extract(record)).items[0].warnings == ("unsupported",)


@pytest.mark.parametrize(
    ("quote", "value"),
    [("costs 1.250,50 EUR", 1250.5), ("1 250", 1250.0), ("3.5 kg", 3.5), ("15 %", 0.15), ("-7", -7.0)],
)
def test_a_number_may_be_spelled_in_several_ways(quote: str, value: float) -> None:
    text = f"Ada Lovelace {quote}"
    data: Record = {"name": "Ada Lovelace", "fee": value}
    item = Item(table="contacts", data=data, quote=text, start=0, end=len(text), origin="model")
    assert is_supported(item, text, TABLES)


def test_prompt_and_schema_describe_a_custom_table_with_column_types() -> None:
    asked = Prompt(material_of(TEXT, OPTIONS), ["tasks", "contacts"], secret=bytes(32)).ask(Chunk(0, 9))
    assert "- contacts: a person with an address. Fields: name (full name, required)" in (
        asked.messages[0].content
    )
    shown = schema_of([CONTACTS], 1)["properties"]["items"]["items"]  # type: ignore[index]
    assert shown["additionalProperties"] is False
    assert shown["required"] == list(shown["properties"])
    types = {name: one["type"] for name, one in shown["properties"].items()}
    assert types == {
        "quote": "string",
        "table": "string",
        "name": "string",
        "company": ["string", "null"],
        "kind": ["string", "null"],
        "met": ["string", "null"],
        "fee": ["number", "null"],
        "isMember": ["boolean", "null"],
        "languages": ["array", "null"],
    }


def test_generated_examples_of_a_custom_table_match_the_schema() -> None:
    material = material_of("x" * 500, OPTIONS)
    for asked in (Prompt(material, ["contacts"], secret=bytes(32)), LiteralPrompt(material, "contacts")):
        request = asked.ask(Chunk(0, 500))
        answers = [turn.content for turn in request.messages if turn.role == "assistant"]
        assert any("Alder" in answer for answer in answers)
        for answer in answers:
            jsonschema.validate(msgspec.json.decode(answer), request.schema)


def test_changed_custom_table_declaration_changes_the_fingerprint() -> None:
    extractor = Extractor(Models(None, None), secret=bytes(32))
    changed = msgspec.structs.replace(CONTACTS, about="somebody to call")
    other = msgspec.structs.replace(OPTIONS, own_tables=(changed,))
    assert extractor.fingerprint(OPTIONS) != extractor.fingerprint(other)


def contact(at: int, **data: str) -> Item:
    return Item(table="contacts", data={**data}, quote="x", start=at, end=at + 1, origin="model")


def test_rows_with_the_same_key_merge_if_either_row_includes_all_values() -> None:
    short, other = contact(0, name="Ada", company="E"), contact(9, name="Ada", company="F")
    whole = contact(20, name="ADA", company="e", kind="Customer")
    again, unlike = (
        contact(30, name="Ada", company="E"),
        contact(40, name="Ada", company="E", kind="New lead"),
    )
    kept, doubles = duplicates.deduplicate([short, other, whole, again, unlike], TABLES)
    assert (kept, [one.reason for one in doubles]) == ((other, whole, unlike), ["duplicate"] * 2)


async def test_a_spreadsheet_with_the_names_of_the_fields_is_read_by_rules() -> None:
    text = (
        "Name;Company;Kind;Met;Fee;Is member;Languages\n"
        "Ada Lovelace;Engines;new lead;2026-03-03;12.5;yes;French;\n".replace("French;", "French")
        + "Bob Rusk;;friend;;;;\n"
    )
    extractor = Extractor(Models(None, None), secret=bytes(32))
    found = await extractor.extract(
        Document(unit_key="a.csv", text=text, content_hash="0" * 64, media_type="text/csv"), OPTIONS
    )
    (item,) = found.items
    assert (item.table, item.origin) == ("contacts", "rule")
    assert item.data == {
        "name": "Ada Lovelace",
        "company": "Engines",
        "kind": "New lead",
        "met": 1772492400000,
        "fee": 12.5,
        "isMember": 1,
        "languages": ["French"],
    }


async def test_built_in_status_words_are_plain_text_in_a_custom_column() -> None:
    fields = (Column(name="name", kind=Kind.TEXT, required=True), Column(name="kind", kind=Kind.TEXT))
    own = DeviceTable(
        name="papers",
        about="a paper",
        title="name",
        key=("name",),
        fields=(*fields, Column(name="status", kind=Kind.TEXT)),
    )
    options = ExtractionOptions(data_types=("papers",), own_tables=(own,))
    document = Document(
        unit_key="a.csv", text="name,kind,status\nDeed,note,archived\nWill,copy,lost\n", content_hash="0" * 64
    )
    found = await Extractor(Models(None, None), secret=bytes(32)).extract(document, options)
    assert [tuple(item.data.values()) for item in found.items] == [
        ("Deed", "note", "archived"),
        ("Will", "copy", "lost"),
    ]
