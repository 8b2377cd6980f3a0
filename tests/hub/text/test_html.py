"""What a page shows becomes text; what it hides does not."""

import pytest

from hub.text.html import TooTangled, text_of_html
from tests.support.families import each


@each(
    ("html", "text"),
    [
        (
            "<html><head><title>Tab</title></head><body><h1>Monday</h1>\n"
            "<p>Call <b>Ana</b>\n today.<br>Pay rent</p></body>",
            "# Monday\nCall Ana today.\nPay rent",
        ),
        (
            "<h2>Work</h2><ul>\n<li>\n  <p>Ana</p>\n<p>in Rome</p><ul><li>Pay rent</li>\n<li></li></ul></li>"
            "<li>Ben<ol><li>Call Eve<br>at home</li></ol></li></ul><h3></h3><p>Bye</p>",
            "## Work\n- Ana\n  in Rome\n  - Pay rent\n- Ben\n  - Call Eve\n    at home\nBye",
        ),
        (
            "<ul><li>milk<li><p>bread</p><li></ul>"
            "<table><tr><td>rent</td><td>900</td></tr><tr><td>gas</td></tr></table>",
            "- milk\n- bread\nrent\t900\ngas",
        ),
        ("<p>see</p><pre>a\n  b</pre><p>c   d</p>", "see\na\n  b\nc d"),
        ("<p style='font-size:0.5em; opacity: 0.9'>small</p>", "small"),
        ("<p>a<!-- order --></p>", "a"),
        (
            "<p>Pay <a href=x>here</a>.</p><a href=x>Track\n<b>parcel</b></a><ul><li><a href=x>Ana</a></ul>",
            "Pay here.\n[Track parcel]\n- Ana",
        ),
    ],
)
def test_a_page_becomes_the_lines_its_reader_sees(html: str, text: str) -> None:
    page = text_of_html(html)
    assert (page.text, page.dropped) == (text, 0)


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
def test_hidden_html_is_left_out_and_counted(hidden: str) -> None:
    page = text_of_html(f"<p>seen</p>{hidden}<p>too</p>")

    assert (page.text, page.dropped) == ("seen\ntoo", 1)


@pytest.mark.parametrize(
    "bomb",
    ["<div>" * 100_000, "".join(f"<b id={n}>" for n in range(200)) + "<p>x" * 50_000],
    ids=["nested", "reopened"],
)
def test_a_page_built_to_explode_a_parser_is_refused_before_it_gets_there(bomb: str) -> None:
    with pytest.raises(TooTangled):
        text_of_html(bomb)


def test_a_long_honest_table_is_not_taken_for_a_bomb() -> None:
    table = "<table>" + "<tr><td>some<td>cell</tr>" * 20_000 + "</table>"
    assert text_of_html(table).text.count("\n") == 19_999


@each("broken", ["", "<", "<p", "</div></div>", "<<<>>>", "<table><p>x", "\x00<p>x"])
def test_broken_pages_never_raise(broken: str) -> None:
    text_of_html(broken)
