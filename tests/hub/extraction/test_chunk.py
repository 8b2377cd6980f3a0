"""Prose into pieces, cut where a reader would pause."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.extraction import chunk
from hub.extraction.chunk import Chunk, Passage

SCRIPTS = [
    "The first sentence. The second one? Yes! And Dr. Smith met e.g. Mr. A. Jones at 3 p.m. today.",
    "第一句话。第二句话。「第三句。」最后一句没有句号",
    "يذهب إلى السوق. هل تعرف؟ نعم。",
    "पहला वाक्य। दूसरा वाक्य॥",
    "Family 👨\u200d👩\u200d👧\u200d👦 and flags 🇩🇪🇫🇷. Cafe\u0301 noir.\r\nNext line\r\n\r\nNext paragraph.",
]


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in chunk.sentences(text, 0, len(text))]


SENTENCES = {
    "abbreviations": (
        SCRIPTS[0],
        [
            "The first sentence.",
            "The second one?",
            "Yes!",
            "And Dr. Smith met e.g. Mr. A. Jones at 3 p.m. today.",
        ],
    ),
    "Chinese": (SCRIPTS[1], ["第一句话。", "第二句话。", "「第三句。」", "最后一句没有句号"]),
    "ordinal": (text := "Wir treffen uns am 3. Mai im Rathaus.", [text]),
    "margin": (
        "This line is long enough that only a margin can have\nbroken it. Short line\nanother short line",
        [
            "This line is long enough that only a margin can have\nbroken it.",
            "Short line",
            "another short line",
        ],
    ),
    "day at the start of a wrapped line": (
        "> We talked about the weather for a long while. Ich werde bis\n> 19. Juni den Vertrag prüfen.",
        ["> We talked about the weather for a long while.", "Ich werde bis\n> 19. Juni den Vertrag prüfen."],
    ),
    "rows of days": (
        "The topics of the next two meetings, in the order of their days.\n1. Mai: budget\n2. Juni: roof",
        [
            "The topics of the next two meetings, in the order of their days.",
            "1. Mai: budget",
            "2. Juni: roof",
        ],
    ),
    "list": (
        "We need the following things, and we need them all at once\n- paper\n- ink\n2) pens",
        ["We need the following things, and we need them all at once", "- paper", "- ink", "2) pens"],
    ),
    # Rows of marks that end no sentence, read in time.
    "full stops": (text := "." * 50_000 + "a", [text]),
    "initials": (text := "A. " * 17_000 + "b", [text]),
    "quotation marks": (text := '."' * 25_000 + "a", [text]),
}


@pytest.mark.parametrize(("text", "expected"), SENTENCES.values(), ids=SENTENCES)
def test_a_text_is_cut_into_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_sentences_are_packed_until_the_size_is_reached() -> None:
    text = "One two three four. " * 20
    pieces = chunk.split(text, [Passage(0, len(text))], 20)
    assert len(pieces) > 1
    assert all(chunk.estimated_tokens(text[piece.start : piece.end]) <= 30 for piece in pieces)
    assert all(text[piece.start : piece.end].endswith(".") for piece in pieces)


def test_by_sentence_nothing_is_packed() -> None:
    text = "One. Two. Three."
    pieces = chunk.split(text, [Passage(0, len(text))], 100, by_sentence=True)
    assert [text[piece.start : piece.end] for piece in pieces] == ["One.", "Two.", "Three."]


def test_a_chunk_stays_under_its_heading() -> None:
    text = "first\nsecond\n"
    pieces = chunk.split(text, [Passage(0, 6, ("A",)), Passage(6, 13, ("A", "B"))], 100)
    assert [piece.headings for piece in pieces] == [("A",), ("A", "B")]


def test_text_without_letters_has_no_chunk() -> None:
    text = "---\n\n***\n ... \n"
    assert chunk.split(text, [Passage(0, len(text))], 10) == []


@pytest.mark.parametrize("text", SCRIPTS)
@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_chunks_lose_nothing_but_blanks(text: str, size: int) -> None:
    assert_whole(text, chunk.split(text, [Passage(0, len(text))], size))


@given(st.text(alphabet="ab .。\n\r\u0301\u200d👩🇩🇪é-", max_size=200), st.integers(1, 20))
def test_chunks_of_any_text_lose_nothing_but_blanks(text: str, size: int) -> None:
    assert_whole(text, chunk.split(text, [Passage(0, len(text))], size))


def test_a_long_word_is_not_cut_inside_a_character() -> None:
    text = "e\u0301👨\u200d👩\u200d👧🇩🇪" * 50
    for piece in chunk.split(text, [Passage(0, len(text))], 4):
        assert text[piece.start] in "e👨🇩"


def test_half_and_half_are_the_whole() -> None:
    text = "One sentence stands here, rather long. Another one stands there, as long as the first."
    halves = chunk.halve(text, Chunk(0, len(text)))
    assert [text[half.start : half.end] for half in halves] == text.replace(". ", ".|").split("|")


def test_a_text_in_which_no_sentence_begins_is_halved_between_two_lines() -> None:
    lines = [f"We must paint the green door {door} of notes/3.txt edition 4." for door in range(3)]
    text = "\n".join(lines)
    halves = chunk.halve(text, Chunk(0, len(text)))
    assert [text[half.start + half.shared : half.end] for half in halves] == [lines[0], "\n".join(lines[1:])]
    assert text[halves[1].start :].startswith("0 of notes/3.txt edition 4.\n")


def test_a_short_piece_is_not_halved() -> None:
    assert chunk.halve("Too short.", Chunk(0, 10)) == []


def test_halving_ends() -> None:
    text = "word" * 500
    pieces = [Chunk(0, len(text))]
    for _ in range(12):
        pieces = [half for piece in pieces for half in (chunk.halve(text, piece) or [piece])]
    assert all(piece.end - piece.start <= chunk.LEAST_CHARS for piece in pieces)


def test_one_endless_character_is_not_halved_into_itself() -> None:
    text = "a" + "\u0301" * 200
    assert chunk.halve(text, Chunk(0, len(text))) == []


def test_an_endless_sentence_is_cut_soon() -> None:
    text = "é" * 1_000_000
    assert_whole(text, chunk.split(text, [Passage(0, len(text))], 20))


def assert_whole(text: str, pieces: list[Chunk]) -> None:
    """In order, no overlap but of shared words, and only what nobody reads is left out."""
    at = 0
    for piece in pieces:
        assert at <= piece.start + piece.shared < piece.end <= len(text)
        assert not chunk.is_readable(text[at : piece.start])
        assert text[piece.start : piece.end].strip() == text[piece.start : piece.end]
        at = piece.end
    assert not chunk.is_readable(text[at:])


def test_chunks_are_full_so_that_a_document_costs_few_questions() -> None:
    text = " ".join(
        f"Sentence {n * 7919 % 1009} says {'word ' * (3 + n * 13 % 17)}and ends." for n in range(400)
    )
    sizes = [
        chunk.estimated_tokens(text[one.start : one.end])
        for one in chunk.split(text, [Passage(0, len(text))], 500)
    ]
    assert min(sizes) >= 500 * 3 // 2 // 4
    assert sum(sizes) / len(sizes) > 400
