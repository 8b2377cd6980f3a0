"""Where a quote stands: to the letter, folded, or nearly; and never where it does not."""

import unicodedata
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hub.extraction.validate import Grounding, QuoteSpan
from hub.text.folding import fold, is_hidden, normalized, shown
from tests.support.calls import calls_of
from tests.support.families import each

TEXT = (
    "Hello all. Anna must send the quote to the printer by 12 May, without the old logo. "
    "Bob likes tea. The committee will meet again in the garden house on the first Sunday of June."
)


def places(quote: str, text: str = TEXT) -> list[tuple[str, bool]]:
    return [(text[start:end], is_near) for start, end, is_near in Grounding(text, 0, len(text)).places(quote)]


@pytest.mark.parametrize(
    "quote",
    [
        "Anna must sent the quote to the printer by 12 May, without the old logo.",
        "Anna must send quote to the printer by 12 May, without the old logo",
        "Anna must send the the quote to the printer by 12 May, without the old logo.",
        "nna must send the quote to the printer by 12 May, without the old log",
    ],
)
def test_a_typo_is_accepted_and_reported(quote: str) -> None:
    ((found, is_near),) = places(quote)
    assert found.rstrip(".") == "Anna must send the quote to the printer by 12 May, without the old logo"
    assert is_near


@pytest.mark.parametrize(
    "quote",
    [
        "Anna must send the quote to the printer by 13 May, without the old logo.",
        "Anna must send the quote to the printer by 12 May, with the old logo.",
        "Anna must not send the quote to the printer by 12 May, without the old logo.",
        "Anna must order the paper at the printer by 12 May, without the old logo.",
        "The committee will never meet again in the garden house on the first Sunday of June.",
        "Bob hates tea.",
        "Carla will paint the fence of the garden house on the last Sunday of July.",
    ],
)
def test_quote_with_another_number_negation_or_words_is_not_located(quote: str) -> None:
    assert places(quote) == []


def test_quote_with_an_ellipsis_is_located_including_the_omitted_text() -> None:
    quoted = "Anna must send the quote ... by 12 May, without the old logo"
    assert places(quoted) == [
        ("Anna must send the quote to the printer by 12 May, without the old logo", True)
    ]
    far = TEXT.replace("Bob likes tea.", "Bob likes tea. " * 12)
    assert places("Anna must send the quote [\u2026] on the first Sunday of June", far) == []
    assert places("without the old logo ... Anna must send the quote") == []  # the other way round


def test_exact_quote_is_preferred_to_a_similar_quote() -> None:
    text = "Please call Bob about the lease today. Please call Bob about the leash today."
    assert places("Please call Bob about the lease today.", text) == [
        ("Please call Bob about the lease today.", False)
    ]


def test_approximate_quote_is_located_at_every_similar_place() -> None:
    text = "Send Ms Novak the signed form. So: send Ms Nowak the signed form!"
    assert [found for found, _ in places("Send Ms Novack the signed form", text)] == [
        "Send Ms Novak the signed form",
        "send Ms Nowak the signed form",
    ]


FORM = "安娜必须在周五之前把报价单寄给城里的印刷厂"
MAIL = "Анна отправит смету в типографию\r\nдо пятницы"  # noqa: RUF001
ALARM = "we call the landlord about the 🔥 alarm"


@pytest.mark.parametrize(
    ("text", "quote", "found"),
    [
        (f"{FORM}。谢谢。", FORM.replace("里", "中"), FORM),
        ("Die Übergabe — mit „Siegel“ — ist heute.", 'Die Ubergabe - mit "Siegel" - ist heute', None),
        (f"{MAIL}.", MAIL.replace("ю\r\n", "я "), MAIL),
        (f"So 🙂 {ALARM}.", f"{ALARM}s", ALARM),
        ("Cafe\u0301 Zoë opens its new terrace soon.", "Café Zoë opens its new terace soon", None),
    ],
)
def test_approximate_quote_is_located_in_every_script(text: str, quote: str, found: str) -> None:
    assert places(quote, text) == [(found or text[:-1], True)]


def test_quote_place_in_a_part_is_a_position_in_the_whole_text() -> None:
    text = f"{TEXT}\n\n{TEXT}"
    start = len(TEXT) + 2
    ((begin, end, _),) = Grounding(text, start, len(text)).places("Bob likes tea.")
    assert (text[begin:end], begin > start) == ("Bob likes tea.", True)


@pytest.mark.parametrize("unit", ["a", "ab", "send the quote ", "a b c d ", "1", "各"])
def test_quote_search_in_repetitive_text_ends_in_bounded_time(unit: str) -> None:
    text = (unit * 10_000)[:10_000]
    grounding = Grounding(text, 0, len(text))
    for nth in range(8):
        assert grounding.places(f"{(unit * 300)[: 300 - nth]} xyz {unit * 3}q") is not None


SAID = "Anna must send the quote to the printer by Friday"


@each(
    "text",
    [
        "So: **Anna** must _send_ the ~~quote~~ to the ==printer== by `Friday`.",
        "So: ***Anna** must* send __the quote__ to the **prin**ter by Friday.",
        *(
            f"{'> ' * deep}Anna must send the quote\n{'> ' * deep}to the printer by Friday."
            for deep in range(1, 9)
        ),
        ">>> Anna must send\r\n>>> the quote to the\r\n>>> printer by Friday.",
        "1\r\n00:00:01,000 --> 00:00:04,000\r\nAnna must send the\r\n\r\n"
        "2\r\n00:00:04,000 --> 00:00:07,500\r\nquote to the printer by Friday.\r\n",
        "WEBVTT\n\n00:01.000 --> 00:04.000\n<v Eve>Anna must send the</v>\n\nsecond\n"
        "00:04.000 --> 00:07.500 align:start\nquote <i>to the</i> <00:05.000>printer by Friday.\n",
    ],
)
@each("quote", [SAID, SAID.replace("quote", "**quote**"), f"> {SAID}"])
def test_quote_is_located_despite_emphasis_reply_and_caption_marks(text: str, quote: str) -> None:
    ((found, is_near),) = places(quote, text)
    assert (found.endswith("Friday"), is_near) == (True, False)
    assert found.startswith(("Anna", "prin"))


def test_non_emphasis_signs_are_part_of_the_quoted_text() -> None:
    text = "The field is called user_name, and its size is 2*3 inches, more or less."
    assert places("The field is called username", text) == [("The field is called user_name", True)]
    assert places("its size is 23 inches, more or less", text) == []


def notes(count: int) -> list[str]:
    """Sentences of which no two are the same, in the same few words."""
    who, what = ("Anna", "Bob", "Carla", "Dina"), ("report", "budget", "letter", "offer", "plan")
    return [
        f"{who[n % 4]} must send the {what[n % 5]} number {n} to the printer by Friday" for n in range(count)
    ]


def emphasised(said: str) -> str:
    return "- " + " ".join(f"{'*_`'[n % 3]}{word}{'*_`'[n % 3]}" for n, word in enumerate(said.split())) + "."


@pytest.mark.parametrize("slip", ["printer", "printr"])
def test_quotes_in_text_full_of_marks_are_located_in_linear_work(
    slip: str,
) -> None:
    counts = []
    for count in (50, 100):
        said = notes(count)
        text = "\n".join(map(emphasised, said))
        grounding = Grounding(text, 0, len(text))
        quotes = [one.replace("printer", slip) for one in said]
        found: list[list[QuoteSpan]] = []
        calls = calls_of(partial(found.extend, map(grounding.places, quotes)))
        numbers = [[text[place.start : place.end].replace("_", "") for place in one] for one in found]
        assert all(len(one) == 1 and f"number` *{n}*" in one[0] for n, one in enumerate(numbers)), numbers
        counts.append(calls / len(text))
    assert counts[1] <= 1.1 * counts[0]


TEXTS = st.text(alphabet="abc de.\u0301ﬁ各\u200b\r\n", min_size=0, max_size=80)


@given(TEXTS, st.integers(0, 80), st.integers(12, 60), st.integers(0, 60), st.sampled_from(["", "x", "各"]))
@example(text="a" * 30, start=0, length=30, at=7, slip="x")
def test_place_found_for_a_misspelled_quote_is_inside_the_text(
    text: str, start: int, length: int, at: int, slip: str
) -> None:
    quote = text[start : start + length]
    grounding = Grounding(text, 0, len(text))
    for begin, end, _ in grounding.places(quote[:at] + slip + quote[at + 1 :]):
        assert 0 <= begin < end <= len(text)


WORDS = st.lists(
    st.sampled_from(["anna", "bob", "sends", "quote", "printer", "garden", "house"]), min_size=6, max_size=12
)


@given(WORDS, WORDS, WORDS, st.data())
def test_long_quote_with_a_changed_letter_is_still_located(
    before: list[str], words: list[str], after: list[str], data: st.DataObject
) -> None:
    said = " ".join(words)
    at = data.draw(st.integers(0, len(said) - 1))
    text = f"{' '.join(before)}. {said}. {' '.join(after)}."
    found = [
        text[start:end]
        for start, end, _ in Grounding(text, 0, len(text)).places(f"{said[:at]}z{said[at + 1 :]}")
    ]
    assert any(len(set(one.split()) & set(words)) >= len(set(words)) - 1 for one in found)


lines = st.text(st.characters(max_codepoint=0x7F), max_size=40)


@given(line=lines)
def test_folding_of_a_line_is_independent_of_neighbouring_words(line: str) -> None:
    assert fold(f"{line} \u00e9") == f"{fold(line)} \u00e9".strip()


@given(line=lines)
def test_display_form_of_a_line_is_independent_of_neighbouring_words(line: str) -> None:
    assert shown(f"{line}\u00e9") == shown(line) + "\u00e9"
    assert shown(line) == "".join(char for char in line if not is_hidden(char))


@pytest.mark.parametrize("marks", ["\u0300\u0316", "\u0316"])
def test_text_is_compared_with_thirty_marks_in_a_row_at_most(marks: str) -> None:
    assert normalized("NFC", "a" + marks * 15) == unicodedata.normalize("NFC", "a" + marks * 15)
    assert normalized("NFC", "a" + marks * 30_000 + "b") == normalized("NFC", ("a" + marks * 30)[:31] + "b")
    assert normalized("NFC", "\u2500" * 100) == "\u2500" * 100
