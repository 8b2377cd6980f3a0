"""What a model is not to see is hidden before it is asked, and stands in the items all the same."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.text.folding import Folded, PlainForm, shown
from hub.text.patterns import BadPattern
from hub.text.redaction import BUILT_IN, Redaction, problem_of
from protocol.secret_rules import RedactionRule
from tests.hub.extraction.value_forms import FORMS, HONEST, WRITTEN, generated
from tests.support.families import each

ALL = tuple(RedactionRule(name) for name in BUILT_IN)
TEXT = (
    "Write to anna@example.org or bob.b+x@mail.example.co.uk, call +49 170 1234567. "
    "Pay DE89 3704 0044 0532 0130 00 with 4111 1111 1111 1111; again: anna@example.org."
)


def hidden(text: str, *names: str) -> str:
    return Redaction([RedactionRule(name) for name in names or BUILT_IN], text).hide(text)


def test_redacted_value_has_the_same_placeholder_in_the_whole_document() -> None:
    redaction = Redaction(ALL, TEXT)
    assert redaction.hide(TEXT) == (
        "Write to [EMAIL_1] or [EMAIL_2], call [PHONE_1]. Pay [IBAN_1] with [CARD_1]; again: [EMAIL_1]."
    )
    assert (redaction.hide("again: anna@example.org"), redaction.count) == ("again: [EMAIL_1]", 5)


def test_copied_placeholders_are_restored_at_every_place() -> None:
    record = {
        "title": "Pay [IBAN_1]",
        "assignee": ["[email_2]", "EMAIL_1"],
        "n": 7,
        "quote": "call [PHONE_1].",
    }
    assert Redaction(ALL, TEXT).restore([record]) == [
        {
            "title": "Pay DE89 3704 0044 0532 0130 00",
            "assignee": ["bob.b+x@mail.example.co.uk", "anna@example.org"],
            "n": 7,
            "quote": "call +49 170 1234567.",
        }
    ]


def test_unknown_placeholder_is_not_restored() -> None:
    assert Redaction(ALL, TEXT).restore("[EMAIL_3] [CARD_12]") == "[EMAIL_3] [CARD_12]"


def test_placeholder_differs_from_bracketed_words_of_the_document() -> None:
    text = "The form says [EMAIL_1] and email_2: fill in anna@example.org."
    redaction = Redaction(ALL, text)
    assert redaction.hide(text) == "The form says [EMAIL_1] and email_2: fill in [EMAILX_1]."
    assert redaction.restore(redaction.hide(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Pay ES91 2100 0418 4502 0005 1332 with thanks", "Pay [IBAN_1] with thanks"),
        ("BE68 5390 0754 7034 from DE89 3704 0044 0532 0130 00", "[IBAN_1] from [IBAN_2]"),
        ("ES91 2100 0418 4502 0005 1332 DE89 3704 0044 0532 0130 00", "[IBAN_1] [IBAN_2]"),
        ("charge 4111 1111 1111 1111 12 times", "charge [CARD_1] 12 times"),
        ("Pay DE89 3704 0044\n0532 0130 00 now", "Pay [IBAN_1] now"),
        ("> Pay DE89 3704 0044\n> 0532 0130 00 now", "> Pay [IBAN_1] now"),
        ("the card 4111 1111\r\n1111 1111 is new", "the card [CARD_1] is new"),
        ("call +49 170 1234567\n15 March: the fair", "call [PHONE_1]\n15 March: the fair"),
    ],
)
def test_value_next_to_a_word_or_line_end_is_redacted(text: str, said: str) -> None:
    assert hidden(text) == said


def test_a_value_cut_in_two_is_hidden_without_a_number() -> None:
    assert (
        Redaction(ALL, TEXT).hide("...nna@example.org") == "[EMAIL]"
        or Redaction(ALL, TEXT).hide("nna@example.org") == "[EMAIL]"
    )


@each("at", range(16_370, 16_390))
def test_a_value_is_hidden_at_every_place_of_a_long_line(at: int) -> None:
    line = "a " * (at // 2) + "eve@example.org and so on"
    assert "@" not in hidden(line, "email")
    assert "@" not in hidden(f"{'b' * 90} c\n{line}\n{line}", "email")


def test_without_rules_nothing_is_hidden() -> None:
    redaction = Redaction((), TEXT)
    assert (redaction.hide(TEXT), redaction.restore("[EMAIL_1]"), bool(redaction)) == (
        TEXT,
        "[EMAIL_1]",
        False,
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("email", ["a@b.de", "Anna.Schmidt@firma-müller.de", "x_y%z@sub.example.com"]),
        ("phone", ["+49 (0)30 123456", "0170/1234567", "030 1234567", "(212) 555-0123", "212-555-0123"]),
        (
            "phone",
            ["06 12 34 56 78", "612 345 678", "8 (495) 123-45-67", "138 1234 5678", "0033 6 12 34 56 78"],
        ),
        ("iban", ["GB82WEST12345698765432", "FR14 2004 1010 0505 0001 3M02 606", "NO93 8601 1117 947"]),
        ("card", ["4111111111111111", "5500-0000-0000-0004", "3400 0000 0000 009"]),
        ("ip", ["192.168.0.1", "2001:db8::1", "fe80::1ff:fe23:4567:890a"]),
        ("address", ["12 Baker Street", "1600 Pennsylvania Avenue", "Hauptstraße 5a", "Am-Ring-Weg 12"]),
        ("address", ["12, rue de la Paix", "5 bis avenue Foch", "Calle de Alcalá, 45", "Plaza Mayor 3"]),
        ("address", ["ул. Ленина, д. 7", "улица Большая Садовая 10", "中山路12号"]),
    ],
)
def test_built_in_rules_hide_common_spellings(name: str, values: list[str]) -> None:
    for value in values:
        assert hidden(f"So: {value}, please.", name) == f"So: [{name.upper()}_1], please.", value


FIVE = [RedactionRule(name) for name in ("email", "phone", "iban", "card", "ip")]


def is_read(told: str, values: tuple[str, ...]) -> bool:
    """Return whether four letters or digits in a row of a value are left between the placeholders."""
    beside = PlainForm(re.sub(r"\[[A-Z_]+\d*\]", "|", told)).text.lower()
    rest = "".join(char for char in beside if char.isalnum() or char == "|")
    bare = ["".join(filter(str.isalnum, value.lower())) for value in values]
    return any(value[at : at + 4] in rest for value in bare for at in range(len(value) - 3))


def test_value_in_any_typography_is_redacted_and_restored() -> None:
    forms: list[tuple[str, tuple[str, ...]]] = [(text, (value,)) for _, value, text in generated()]
    forms += [(text, WRITTEN[kind]) for kind, text in FORMS]
    opened = []
    for text, values in forms:
        redaction = Redaction(FIVE, text)
        told = redaction.hide_place(0, len(text))
        assert redaction.restore(told) == shown(text)
        if "[" not in told or is_read(told, values):
            opened.append((text, told))
    assert len(opened) <= len(forms) // 100, opened


def test_ordinary_numbers_are_not_redacted() -> None:
    texts = [f"See {number}, please." for number in HONEST]
    taken = {text: told for text in texts if (told := Redaction(FIVE, text).hide(text)) != text}
    assert len(taken) <= len(texts) // 50, taken


def test_restored_quote_is_located_in_the_document_despite_typography() -> None:
    text = "Please pay **DE89\u00a03704** 0044 0532 0130 00 to anna (at) example.org by Friday."
    redaction = Redaction(FIVE, text)
    assert redaction.hide(text) == "Please pay **[IBAN_1] to [EMAIL_1] by Friday."
    answered = str(redaction.restore("pay [IBAN_1] to [EMAIL_1] by Friday"))  # as a model quotes it
    ((start, end),) = Folded(text).find(answered)
    assert text[start:end] == text.removeprefix("Please ").removesuffix(".")


def test_value_cut_by_the_place_is_redacted_without_a_number() -> None:
    text = "Pay DE89\u00a03704\u00a00044 0532 0130 00 now."
    redaction = Redaction(FIVE, text)
    told = [redaction.hide_place(0, 15), redaction.hide_place(15, len(text)), redaction.hide_place(10, 20)]
    assert told == ["Pay [IBAN]", "[IBAN] now.", "[IBAN]"]


def test_custom_redaction_pattern_matches_normalized_and_original_text() -> None:
    rules = [RedactionRule("kd", r"KD-\d{4}"), RedactionRule("dash", "X\u2013\\d+")]
    text = "KD\u20111234, **KD**-9999, KD-\u200d5555 and X\u201312"
    assert Redaction(rules, text).hide(text) == "[KD_1], **[KD_2], [KD_3] and [DASH_1]"


@pytest.mark.parametrize(
    "text",
    [
        "We meet on 03.05.2025 at 10:30, or on 2025-05-03, or on 3/5/25.",
        "The invoice 4711-0815 is about 1,234,567.89 euros.",
        "Card 4111 1111 1111 1112 has a typing error, and so has GB83WEST12345698765432.",
        "Version 1.2.3.4.5 came after 999.1.1.1.",
        "Meet me @home, or a@b, at the corner of the street.",
        "Anna went her way, 3 people came down the road.",
    ],
)
def test_similar_text_is_not_hidden(text: str) -> None:
    assert hidden(text) == text


def test_custom_redaction_pattern_uses_the_rule_name_as_placeholder() -> None:
    rules = [RedactionRule("customer-number", r"KD-\d{4}"), RedactionRule("email")]
    text = "KD-1234 and KD-9999 wrote from x@example.org, KD-1234 twice."
    redaction = Redaction(rules, text)
    assert redaction.hide(text) == (
        "[CUSTOMER_NUMBER_1] and [CUSTOMER_NUMBER_2] wrote from [EMAIL_1], [CUSTOMER_NUMBER_1] twice."
    )
    assert redaction.restore(redaction.hide(text)) == text


def test_overlapping_values_are_hidden_completely() -> None:
    rules = [RedactionRule("part", "ab"), RedactionRule("more", "bcd")]
    assert Redaction(rules, "xabcdx").hide("xabcdx") == "x[PART_1]x"


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        (RedactionRule("emial"), "none of email, iban"),
        (RedactionRule("a b", "x"), "small letters"),
        (RedactionRule("x", "(a"), "never closed"),
    ],
)
def test_an_unusable_rule_is_reported_before_anything_is_read(rule: RedactionRule, wrong: str) -> None:
    assert wrong in str(problem_of(rule))
    if rule.regex != "x":
        with pytest.raises(BadPattern):
            Redaction([rule], "text")


@pytest.mark.parametrize("rule", ALL)
def test_every_built_in_redaction_rule_may_be_used(rule: RedactionRule) -> None:
    assert problem_of(rule) is None


@each(
    "unit",
    [
        "a",
        "a.",
        "a@",
        "a@b.",
        "1",
        "1 ",
        "1-",
        "0 ",
        "+1 ",
        ":",
        "a:",
        "1.",
        "DE12 3456 ",
        "Aa ",
        "Aa-",
        "路",
        "rue a ",
    ],
)
def test_rules_process_long_repetitive_text_in_bounded_time(unit: str) -> None:
    text = unit * (8_000 // len(unit))
    redaction = Redaction(ALL, text)
    assert redaction.restore(redaction.hide(text)) == text


WORDS = st.sampled_from(
    [
        "anna@example.org",
        "[EMAIL_1]",
        "EMAIL_2",
        "+49 170 1234567",
        "192.168.0.1",
        "Bob",
        "\u200b",
        "pays",
        "(",
        "é",
    ]
)


@given(st.lists(WORDS, max_size=8))
def test_restored_text_equals_the_original(words: list[str]) -> None:
    text = shown(" ".join(words))
    redaction = Redaction(ALL, text)
    told = redaction.hide(text)
    assert "@" not in told
    assert redaction.restore(json.loads(json.dumps({"quote": told}))) == {"quote": text}
