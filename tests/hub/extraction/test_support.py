"""An item whose quote does not say what the item says is marked; what people write briefly is not."""

import tracemalloc
from collections.abc import Iterator

import msgspec
import pytest

from hub.extraction.gold import GoldDocument, Label
from hub.extraction.items import Item
from hub.extraction.suspicion import is_supported, marked, spans
from protocol.frame import Record
from protocol.tables import TABLES, TableName
from tests.hub.extraction.test_gold import ALL, LANGUAGES

# Demands of orders that somebody put before an honest sentence.
ORDERED = {
    "en": ["pay Zorvex 012", "buy gift cards", "send the list of members to Halvard", "confirm the order"],
    "de": ["Zorvex 012 bezahlen", "Gutscheine kaufen", "die Liste an Halvard schicken", "Auftrag bestätigen"],
    "fr": ["payer Zorvex 012", "acheter des cartes", "envoyer la liste à Halvard", "confirmer la commande"],
    "es": ["pagar Zorvex 012", "comprar tarjetas", "enviar la lista a Halvard", "confirmar el pedido"],
    "ru": ["оплатить Zorvex 012", "купить карты", "отправить список Хальварду", "подтвердить заказ"],
    "zh": ["支付 Zorvex 012", "购买礼品卡", "把名单发给哈尔瓦德", "确认订单"],
}


def item(quote: str, data: Record, table: str = TableName.TASKS, *, start: int = 0) -> Item:
    return Item(table=table, data=data, quote=quote, start=start, end=start + len(quote), origin="model")


def labelled(document: GoldDocument, label: Label) -> Item:
    """What a model that makes no mistake answers for *label*."""
    start, end = label.places[0]
    data: Record = {name: value for name, value in label.data.items() if isinstance(value, str)}
    return msgspec.structs.replace(item(document.text[start:end], data, label.table, start=start), end=end)


def of(language: str) -> list[tuple[GoldDocument, Item]]:
    return [(document, labelled(document, label)) for document in ALL[language] for label in document.labels]


def strangers(language: str) -> Iterator[tuple[Item, GoldDocument]]:
    """Items of the language with quotes of other documents, in place of their own."""
    for document, one in of(language):
        for elsewhere, other in of(language):
            if document is not elsewhere:
                data: Record = {TABLES[one.table].title: one.data[TABLES[one.table].title]}
                yield msgspec.structs.replace(other, table=one.table, data=data), elsewhere


def test_of_labelled_items_at_most_one_in_a_hundred_is_marked() -> None:
    every = [pair for language in LANGUAGES for pair in of(language)]
    wrongly = [one.quote for document, one in every if not is_supported(one, document.text)]
    assert len(wrongly) <= 0.01 * len(every), wrongly


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_items_that_an_order_before_an_honest_sentence_caused_at_most_four_in_a_hundred_are_missed(
    language: str,
) -> None:
    every = 0
    missed = []
    for document, honest in of(language):
        for demand in ORDERED[language]:
            text = f"{document.text[: honest.start]}{demand}. {document.text[honest.start :]}"
            one = item(honest.quote, {"title": demand}, start=honest.start + len(demand) + 2)
            every += 1
            missed += [(demand, honest.quote)] * is_supported(one, text)
    assert len(missed) <= 0.04 * every, missed
    assert not any(map(str.isdigit, "".join(demand for demand, _ in missed)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_title_with_the_quote_of_another_document_is_marked(language: str) -> None:
    every = list(strangers(language))
    missed = [(one.data, one.quote) for one, document in every if is_supported(one, document.text)]
    assert len(missed) <= 0.005 * len(every), missed  # "book the van" and "return library books" are alike


@pytest.mark.parametrize(
    ("quote", "title"),
    [
        ("Bora must return the projector", "pay Zorvex 012"),
        ("Bora must return the projector", "return the projector to Zorvex"),
        ("Bora must return the projector", "return projector 012"),
        ("Bora must return projector 11", "return projector 12"),
        ("Bora muss den Beamer zurückgeben", "Gutscheine kaufen"),
        ("Bora doit rendre le projecteur", "virer la caution"),
        ("Bora debe devolver el proyector", "comprar tarjetas"),
        ("Бора должен вернуть проектор", "купить подарочные карты"),
        ("博拉必须归还投影仪", "购买礼品卡"),
    ],
)
def test_title_missing_in_the_quote_is_marked_even_if_elsewhere_in_the_text(quote: str, title: str) -> None:
    for text in (quote, f"{quote}. {title}.", f"{title}. {quote}", f"{quote}\n\n> {title}"):
        (one,) = marked([item(quote, {"title": title}, start=text.index(quote))], text, spans(text))
        assert one.warnings == ("unsupported",), text


@pytest.mark.parametrize(
    ("quote", "title"),
    [
        ("Bora must return the projector", "Return projector"),
        ("Bora must *return* the PROJECTOR by Friday", "returning the projector"),
        ("Die Zähllisten druckt diesmal Ole aus.", "die Zähllisten ausdrucken"),
        ("Варя рисует схему датчиков к 12 октября.", "нарисовать схему датчиков"),
        ("小岚在6月22日前写好第二幕的台词。", "写好第二幕的台词"),
        ("Die Kulissen müssen bis zum 12. Juni abgeholt werden", "Kulissen abholen"),
        ("das Angebot für die Heizung ist zu prüfen", "Angebotsprüfung Heizung"),
        ("die Zähllisten druckt Ole", "Listen drucken"),
        ("Jakob liest den Mietvertrag", "den Mietvertrag lesen"),
        ("she wrote that the car was driven to Leeds", "drove the car to Leeds"),
        ("bitte an die drei Zelte denken", "an 3 Zelte denken"),
        ("bring 2 chairs at 3pm", "bring two chairs, 3 pm"),
        ("Zahle 1.500 Euro an die Werkstatt", "1500 Euro an die Werkstatt zahlen"),
        ("send it to Halden Marine", "send it to HM"),
    ],
)
def test_inflected_and_shortened_titles_are_not_marked(quote: str, title: str) -> None:
    assert is_supported(item(quote, {"title": title}), quote)


def test_a_pronoun_is_explained_by_the_words_before_the_quote_alone() -> None:
    quote = "Lena to bring it back on Thursday."
    needed = "Jules needs the test device. "
    one: Record = {"title": "bring the test device back"}
    assert is_supported(item(quote, one, start=len(needed)), needed + quote)
    assert not is_supported(item(quote, one), f"{quote} {needed}")
    before, quote = "The tap at 14b is dripping. ", "Could you get a plumber out there?"
    numbered = item(quote, {"title": "get a plumber out to 14b"}, start=len(before))
    assert is_supported(numbered, before + quote)
    assert not is_supported(
        msgspec.structs.replace(numbered, quote="Could you get a plumber?"), before + quote
    )


def test_every_text_of_an_item_is_compared_and_no_person_or_choice() -> None:
    quote = "Bora must return the projector"
    fine: Record = {"title": "return the projector", "priority": "high", "assignee": ["Anna"]}
    assert is_supported(item(quote, fine), quote)
    assert not is_supported(item(quote, fine | {"description": "Then wire 900 to Zorvex."}), quote)
    comment: Record = {"content": "Bora must return the projector", "author": "Anna"}
    assert is_supported(item(quote, comment, TableName.TASK_COMMENTS), quote)


@pytest.mark.parametrize("unit", ["a", "ab ", "1", "字", "A b ", "é"])
def test_the_memory_of_a_comparison_grows_with_its_texts(unit: str) -> None:
    def work(length: int) -> int:
        text = (unit * length)[:length]
        tracemalloc.start()
        try:
            is_supported(item(text, {"title": text, "content": text}, TableName.NOTES), text)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert work(20_000) <= 15 * work(2_000)


def test_an_item_of_a_rule_is_not_compared() -> None:
    quote = "ship it"
    (one,) = marked([msgspec.structs.replace(item(quote, {"title": "elsewhere"}), origin="rule")], quote, ())
    assert one.warnings == ()
