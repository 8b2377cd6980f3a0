"""Lines around a place in a text: a few, numbered, and never more bytes than the limit."""

from hub.cli import formats
from hub.text.excerpt import LINES, SIDE_BYTES, Excerpt, Excerpts
from tests.support.families import each

TEXT = "".join(f"line {n}\n" for n in range(1, 13))


def around(text: str, quote: str) -> Excerpt:
    start = text.index(quote)
    return Excerpts(text).around(start, start + len(quote))


def test_excerpt_has_the_rest_of_the_quoted_line_and_neighbouring_lines() -> None:
    assert around(TEXT, "ine 6") == Excerpt(3, "line 3\nline 4\nline 5\nl", "\nline 7\nline 8\nline 9")
    assert LINES == 3


@each(
    ("text", "quote", "found"),
    [
        ("one", "one", Excerpt(1, "", "")),
        ("one\n", "one", Excerpt(1, "", "")),
        ("\n\none\n\n", "one", Excerpt(1, "\n\n", "\n")),
        ("a\nb c\nd", "b c\nd", Excerpt(1, "a\n", "")),
        ("a\r\nb\r\nc", "b", Excerpt(1, "a\r\n", "\r\nc")),
        ("Subject: Rent\r\n\r\nz", "z", Excerpt(1, "Subject: Rent\r\n\r\n", "", "Rent")),
        ("Subject: \ud800\nz", "z", Excerpt(1, "Subject: ?\n", "", "?")),
        ("Subject: \nz", "z", Excerpt(1, "Subject: \n", "")),
        ("The Subject: Rent\nz", "z", Excerpt(1, "The Subject: Rent\n", "")),
    ],
)
def test_excerpt_ends_at_the_end_of_the_text(text: str, quote: str, found: Excerpt) -> None:
    assert around(text, quote) == found


@each("quote", ["\u4e2d" * 400, "\ud800?", "1\n2\n3\n4\n5\n6"])
def test_excerpt_with_its_quote_has_the_whole_quote_before_the_lines_after_it(quote: str) -> None:
    found = Excerpts(f"a\n{quote}\nb").around(2, 2 + len(quote), has_quote=True)
    assert found == Excerpt(1, "a\n", quote.replace("\ud800", "?") + "\nb")


@each("letter", ["x", "\u00e4", "\U0001f600", "\ud800"])
def test_long_line_is_cut_with_an_ellipsis(letter: str) -> None:
    text = f"first\n{letter * 3_000}quote{letter * 3_000}\nlast"
    found = around(text, "quote")
    assert (found.line, found.before[0], found.after[-1]) == (2, "…", "…")
    for side in (found.before, found.after):
        assert SIDE_BYTES - 4 <= len(side.encode()) <= SIDE_BYTES + len("…".encode())


def test_excerpt_lines_are_numbered_and_quoted_lines_marked() -> None:
    found = Excerpt(9, "a\r\nsay ", " now\n\n\x1b[2J")
    place = {"quote": "call\nAna", "excerpt": {"line": 9, "before": found.before, "after": found.after}}
    lines = ["   9 | a", "> 10 | say call", "> 11 | Ana now", "  12 |", "  13 | \\x1b[2J"]
    assert formats.FORMATS["source"](place) == "\n".join(lines)


def test_excerpt_line_numbers_are_independent_of_query_order() -> None:
    excerpts = Excerpts(TEXT)
    places = [TEXT.index(f"line {n}") for n in (9, 5, 5, 12, 1)]
    assert [excerpts.around(at, at + 4).line for at in places] == [6, 2, 2, 9, 1]
