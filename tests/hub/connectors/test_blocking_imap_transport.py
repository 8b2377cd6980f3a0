"""How IMAP spells things, and what the hub makes of whatever a server sends. Without a server."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.connectors.blocking_imap_transport import ImapResponse
from hub.connectors.imap import attached, chosen, fetched, parts_of
from hub.connectors.imap_syntax import Lost, day, folder_name, folder_word, iso_of, quoted, set_of, values
from hub.text.header_values import date_in
from tests.support.families import each

_PLAIN = b'("TEXT" "PLAIN" ("CHARSET" "utf-8") NIL NIL "7BIT" 500 9 NIL NIL NIL NIL)'
_HTML = b'("TEXT" "HTML" ("CHARSET" "utf-8") NIL NIL "BASE64" 900 12 NIL NIL NIL NIL)'
_ENVELOPE = b'(NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL)'


def _parts(structure: bytes) -> list[str]:
    (tree,) = values([structure])
    assert isinstance(tree, list)
    return [
        f"{part.number} {part.media_type}" + (f" {part.name}" if part.name else "") for part in parts_of(tree)
    ]


def test_single_part_mail_has_part_number_1() -> None:
    assert _parts(_PLAIN) == ["1 text/plain"]


def test_imap_body_parts_are_numbered_as_in_fetch_requests() -> None:
    pdf = (
        b'("APPLICATION" "PDF" ("NAME" "=?utf-8?b?0YHRh9GR0YI=?=") NIL NIL "BASE64" 99 NIL'
        b' ("ATTACHMENT" NIL) NIL NIL)'
    )
    inner = b'("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 300 ' + _ENVELOPE + b" " + _PLAIN + b" 9)"
    tree = b"((" + _PLAIN + _HTML + b' "ALTERNATIVE" ("BOUNDARY" "x"))' + pdf + inner + b' "MIXED" NIL)'
    assert _parts(tree) == ["1.1 text/plain", "1.2 text/html", "2 application/pdf счёт", "3 message/rfc822"]
    (read,) = values([tree])
    assert isinstance(read, list)
    parts = parts_of(read)
    assert ([part.number for part in chosen(parts)], [part.number for part in attached(parts)]) == (
        ["1.1"],
        ["2", "3"],
    )


def test_continued_attachment_name_is_joined() -> None:
    pieces = b'("FILENAME*0*" "utf-8\'\'%D0%BF%D0%BB" "FILENAME*1*" "%D0%B0%D0%BD" "FILENAME*2" ".txt")'
    file = b'("TEXT" "PLAIN" NIL NIL NIL "7BIT" 5 1 NIL ("ATTACHMENT" ' + pieces + b") NIL NIL)"
    assert _parts(file) == ["1 text/plain план.txt"]


def test_imap_fetch_answer_with_literals_is_parsed() -> None:
    said = [
        b'* 3 FETCH (UID 5 BODY[HEADER.FIELDS (A "B")] ',
        b'Subject: ")(\r\n',
        b' FLAGS (\\Seen "x\\"y"))',
    ]
    (one,) = fetched(ImapResponse([said], "OK", "", ""))
    assert (one.uid, one.sections, one.flags) == (
        *(5, {"HEADER": b'Subject: ")(\r\n'}),
        frozenset({"\\seen", 'x"y'}),
    )


def test_endlessly_nested_imap_structure_is_refused() -> None:
    with pytest.raises(Lost):
        values([b"(" * 100_000])


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_arbitrary_imap_fetch_answer_is_parsed_or_refused(pieces: list[bytes]) -> None:
    for said in (pieces, [b"* 1 FETCH (UID 1 BODYSTRUCTURE (" + pieces[0] + b"))", *pieces[1:]]):
        with suppress(Lost):
            list(fetched(ImapResponse([said], "OK", "", "")))


@given(st.lists(st.sampled_from([b"(", b")", b'"TEXT"', b'"a*"', b'""', b"NIL", b"7", b'"ATTACHMENT"'])))
def test_arbitrary_imap_body_structure_is_parsed_or_refused(words: list[bytes]) -> None:
    said = b"* 1 FETCH (UID 1 BODYSTRUCTURE (" + b" ".join(words) + b"))"
    with suppress(Lost):
        list(fetched(ImapResponse([[said]], "OK", "", "")))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0")))
def test_imap_folder_name_survives_encoding_and_decoding(name: str) -> None:
    (read,) = values([folder_word(name)])
    assert isinstance(read, bytes) and folder_name(read) == name


def test_malformed_imap_folder_name_is_decoded_unchanged() -> None:
    assert folder_name(b"&BCEERwQ1BEIEMA-") == "Счета"
    assert folder_name(b"A&-B") == "A&B"
    assert folder_name(b"&!!!-") == "&!!!-"


def test_imap_string_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line ends"):
        quoted('x"\r\na1 DELETE INBOX')
    assert b"\r" not in folder_word("x\r\na1 DELETE INBOX")


@given(st.sets(st.integers(1, 300)))
def test_imap_set_names_exactly_the_given_uids(uids: set[int]) -> None:
    named: list[int] = []
    for piece in filter(None, set_of(sorted(uids)).split(b",")):
        first, _, last = piece.partition(b":")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(uids)
    assert set_of([1, 2, 3, 7]) == b"1:3,7"


def test_imap_dates_use_english_month_names_and_invalid_ones_are_none() -> None:
    assert day(datetime(2026, 3, 7, tzinfo=UTC).date()) == b"7-Mar-2026"
    assert date_in(" 7-Mar-2026 01:30:00 +0530") == datetime(2026, 3, 6, 20, 0, tzinfo=UTC)
    for odd in (
        "",
        "30-Feb-2026 01:30:00 +0000",
        "1-Foo-2026 01:30:00 +0000",
        "31-Dec-9999 23:59:00 -2359",
    ):
        assert date_in(odd) is None


@each(
    "internal",
    [
        "17-Jul-1996 02:44:25 -0700",
        " 7-Jan-2026 12:44:25 +0530",
        "nonsense",
        "17-Foo-1996 02:44:25 -0700",
        "",
    ],
)
def test_a_time_of_receipt_is_the_same_in_both_spellings(internal: str) -> None:
    assert date_in(iso_of(internal)) == date_in(internal)
