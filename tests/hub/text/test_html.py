"""What a page shows becomes text; what it hides does not."""

import pytest

from hub.text.html import TooTangled, text_of_html
from tests.support.families import each


def test_a_page_becomes_the_lines_its_reader_sees() -> None:
    page = text_of_html(
        "<html><head><title>Tab</title></head><body><h1>Monday</h1>\n"
        "<p>Call <b>Ana</b>\n today.<br>Pay rent</p></body>"
    )

    assert page.text == "# Monday\nCall Ana today.\nPay rent"
    assert page.dropped == 0


def test_headings_and_nested_lists_keep_their_levels() -> None:
    page = text_of_html(
        "<h2>Work</h2><ul>\n<li>\n  <p>Ana</p>\n<p>in Rome</p><ul><li>Pay rent</li>\n<li></li></ul></li>"
        "<li>Ben<ol><li>Call Eve<br>at home</li></ol></li></ul><h3></h3><p>Bye</p>"
    )
    assert page.text == ("## Work\n- Ana\n  in Rome\n  - Pay rent\n- Ben\n  - Call Eve\n    at home\nBye")


def test_lists_keep_their_bullets_and_tables_their_cells() -> None:
    page = text_of_html(
        "<ul><li>milk<li><p>bread</p><li></ul><table><tr><td>rent</td><td>900</td></tr><tr><td>gas</td></tr></table>"
    )

    assert page.text == "- milk\n- bread\nrent\t900\ngas"


def test_preformatted_text_keeps_its_spaces() -> None:
    assert text_of_html("<p>see</p><pre>a\n  b</pre><p>c   d</p>").text == "see\na\n  b\nc d"


@each(
    "hidden",
    [
        "<script>order()</script>",
        "<style>order</style>",
        "<template><p>order</p></template>",
        "<div hidden><p>order</p></div>",
        "<span style='color: red; display:none'>order</span>",
        "<span style='VISIBILITY: hidden'>order</span>",
        "<span style='font-size:0px'>order</span>",
        "<span style='opacity: 0'>order</span>",
    ],
)
def test_what_is_hidden_from_the_eye_is_left_out_and_counted(hidden: str) -> None:
    page = text_of_html(f"<p>seen</p>{hidden}<p>too</p>")

    assert page.text == "seen\ntoo"
    assert page.dropped == 1


def test_small_print_is_not_hidden() -> None:
    assert text_of_html("<p style='font-size:0.5em; opacity: 0.9'>small</p>").text == "small"


def test_a_comment_says_nothing() -> None:
    assert text_of_html("<p>a<!-- order --></p>").text == "a"


@pytest.mark.parametrize(
    "bomb",
    ["<div>" * 100_000, "".join(f"<b id={n}>" for n in range(200)) + "<p>x" * 50_000],
    ids=["nested", "reopened"],
)
def test_a_page_built_to_explode_a_parser_is_refused_before_it_gets_there(bomb: str) -> None:
    with pytest.raises(TooTangled):
        text_of_html(bomb)


def test_a_long_honest_table_is_not_taken_for_a_bomb() -> None:
    page = text_of_html("<table>" + "<tr><td>some<td>cell</tr>" * 20_000 + "</table>")

    assert page.text.count("\n") == 19_999


@each("broken", ["", "<", "<p", "</div></div>", "<<<>>>", "<table><p>x", "\x00<p>x"])
def test_broken_pages_never_raise(broken: str) -> None:
    text_of_html(broken)
