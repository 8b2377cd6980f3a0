"""What a page shows becomes text; what it hides does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.text.html import DOUBT, TooTangled, text_of_html
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
def test_html_page_is_converted_to_the_visible_lines(html: str, text: str) -> None:
    page = text_of_html(html)
    assert (page.text, page.dropped) == (text, 0)


INLINE = [
    *("display:none", "DISPLAY: NONE !important", "visibility: hidden", "opacity: 0", "opacity:1%"),
    *("font-size:0px", "font-size:1px", "font: 0/0 a", "font-size: calc(0px)", "font-size:0.05em"),
    *("color:#fff", "color:white;background:white", "color:#fefefe", "color:transparent", "color:#f0f"),
    *("position:absolute;left:-9999px", "position:fixed;top:-200vh", "position:absolute;right:-99em"),
    *("position:absolute;left:calc(-9999px + 0px)", "margin-left:-5000px", "text-indent:-9999px"),
    *("position:absolute;clip:rect(0,0,0,0)", "clip:rect(1px, 1px, 1px, 1px)", "clip-path:inset(50%)"),
    *("clip-path:circle(0)", "transform:scale(0)", "transform:scaleY(.0)", "transform:translateX(-9999px)"),
    *("width:0;overflow:hidden", "height:1px;overflow:clip", "max-height:0;overflow-y:hidden"),
    *("text-indent:100%;overflow:hidden", "filter:opacity(0)", "mso-hide:all", "color:rgb(255 255 255 / 1)"),
    *("--c:#fff;color:var(--c)", "color:var(--none, white)", "-webkit-text-fill-color:white"),
    *("color:oklch(1 0 0)", "color:lab(100 0 0)", "color:hwb(0 100% 0%)", "color:light-dark(white, black)"),
    *("color:color-mix(in srgb, white 50%, white)", "color:color(display-p3 1 1 1)"),
    *("background:#000 none;color:#010101", "content-visibility:hidden", "color:hsl(0 0% 100%)"),
]
SHEETS = [
    ".x{%}",
    "#I{%}",
    "p.x{%}",
    "body .y > .x{%}",
    "@media screen{.x{%}}",
    "@media all and (min-width:400px){.x{%}}",
    "@supports (display:grid){.x{%}}",
    "<!-- .x{%} -->",
    "div p{%}",
    "*{color:#123} .x{%}",
    "p{color:black} .y .x{%}",
    "a,.x,b{%}",
    "[data-k=v]{%}",
    ".x:link, .x:root, .x{%}",
    ":root{--a:1} .x{%}",
]
HIDDEN = [
    *("<script>order()</script>", "<style>order</style>", "<template><p>order</p></template>"),
    *(
        "<div hidden><p>order</p></div>",
        "<title>order</title>",
        "<dialog>order</dialog>",
        "<noembed>order</noembed>",
    ),
    *(
        "<font color=white>order</font>",
        "<table bgcolor=#eeeeee><tr><td><font color=#eeeeee>order</font></table>",
    ),
    "<div style='color:#fff'><p><b>order</b></p></div>",
    "<div style='visibility:hidden'><p>order</p></div>",
    *(f"<span style='{style}'>order</span>" for style in INLINE if style != "color:#f0f"),
    *(
        f"<style>{sheet.replace('%', style)}</style><div class=y><p class='x z' id=i data-k=v>order</p></div>"
        for sheet in SHEETS
        for style in ("display:none", "color:white !important", "font-size:1px")
    ),
]


@each("hidden", HIDDEN)
def test_hidden_html_is_left_out_and_counted(hidden: str) -> None:
    page = text_of_html(f"<p>seen</p>{hidden}<p>too</p>")

    sheets = hidden.count("<style>") if "<div" in hidden else 0
    assert (page.text.split(), page.dropped) == (["seen", "too"], 1 + sheets)


@each(
    "html",
    [
        "<p style='color:#f0f'>seen</p>",
        "<div style='font-size:0'><span style='font-size:14px'>seen</span></div>",
        "<div style='visibility:hidden'><p style='visibility:visible'>seen</p></div>",
        "<div style='color:#fff'><p style='color:#000'>seen</p></div>",
        "<div style='background:#000'><p style='color:#fff'>seen</p></div>",
        "<body bgcolor=black><p><font color=white>seen</font>",
        "<table><tr bgcolor=#123456><td style='color:#fff'>seen</table>",
        "<style>.x{display:none} .x.y{display:block}</style><p class='x y'>seen",
        "<style>p{display:none} p{display:block}</style><p>seen",
        "<style>.x{display:none}</style><p class=x style='display:block'>seen",
        "<style>#i{display:block} .x{display:none}</style><p class=x id=i>seen",
        "<style>.x{display:none !important} .x{color:red}</style><p class=y>seen",
        "<style>@media print{p{display:none}}</style><p>seen",
        "<style media=print>p{display:none}</style><p>seen",
        "<style>@media (max-width:600px){p{display:none}}</style><p>seen",
        "<style>@media not screen{p{display:none}}</style><p>seen",
        "<style>@media (prefers-color-scheme:dark){p{color:#fff}}</style><p>seen",
        "<style>@supports not (display:grid){p{display:none}}</style><p>seen",
        "<style>p:hover{display:none} p::before{font-size:0}</style><p>seen",
        "<style>.a > p{display:none}</style><div class=a><div><p>seen</div></div>",
        "<style>.x{display:none</style><p>seen",
        "<p style='display:none;display:block'>seen",
        "<p style='max-height:0'>seen",
        "<p style='height:0'>seen",
        "<table><tr><td style='max-width:0;overflow:hidden;text-overflow:ellipsis'>seen</table>",
        "<p style='margin-left:-100%'>seen",
        "<p style='left:-9999px'>seen",
        "<p style='text-indent:-20px;opacity:.6;transform:translate(-50%,-50%) scale(1.5)'>seen",
        "<p style='font:italic bold 12px/30px Georgia;font-size:clamp(1rem, 2vw, 3rem)'>seen",
        "<p hidden style='display:block'>seen",
        "<p aria-hidden=true>seen",
        "<style>body{background:#222;color:#eee}</style><p>seen",
        "<p style='color:oklch(0.5 0.1 20);background:lab(90 0 0)'>seen",
    ],
)
def test_not_really_hidden_html_text_is_read(html: str) -> None:
    assert text_of_html(html).text == "seen"


@each(
    "html",
    [
        "<style>p:nth-child(odd){display:none}</style><p>in doubt",
        "<style>h1 + p{color:#fff}</style><p>in doubt",
        "<style>@media (min-resolution:0dpi){p{display:none}}</style><p>in doubt",
        "<style>@container (width>1px){p{display:none}}</style><p>in doubt",
        "<p style='background:url(x.png);color:#fff'>in doubt",
        "<p style='background-color:made-up(1);color:#fff'>in doubt",
        "<div><img src=x><p style='position:absolute;color:#fff'>in doubt</div>",
        "<link rel=stylesheet href=x.css><p style='color:#fff'>in doubt",
        "<style>@import 'x.css';</style><p style='color:#fff'>in doubt",
        f"<style>{'a{color:red}' * 50_000}</style><p>in doubt",
    ],
)
def test_possibly_hidden_html_text_is_prefixed_with_the_doubt_sign(html: str) -> None:
    assert text_of_html(html).text == f"{DOUBT}in doubt"


HOSTILE = {
    "thousands of rules": f"<style>{'p{color:red}' * 1_500}</style>{'<p>a' * 1_500}",
    "rules of all elements": f"<style>{'b * * * * *{color:red}' * 1_000}</style>{'<i>' * 90}{'<p>a' * 1_000}",
    "open brackets": f"<style>{'(' * 40_000}</style><p>a",
    "blocks in blocks": f"<style>{'a{' * 20_000}</style><p>a",
    "conditions in conditions": f"<style>{'@media screen{' * 10_000}</style><p>a",
    "comments": f"<style>{'/*' * 80_000}</style><p>a",
    "names of names": f"<style>{':root{--a:var(--a)var(--a)}' * 9}p{{color:var(--a)}}</style><p>a",
    "colours": "".join(f"<p style='color:rgb({n},0,0);background:{'#' * n}'>a" for n in range(0, 1_000, 10)),
    "long inline style": f"<p style='{'color:red;' * 40_000}'>a",
    "functions": f"<p style='color:{'rgb(' * 1_000};transform:{'translate(' * 1_000}'>a",
    "numbers": "".join(
        f"<p style='{style}'>a"
        for number in ("1e308", "-1e308", "9" * 400, "0" * 400, "1e-400", "nan", "infinity", "1e9999")
        for style in (
            *(
                f"color:{space}({number} {number} {number})"
                for space in ("rgb", "lab", "oklch", "hsl", "hwb")
            ),
            *(f"{name}:{number}px" for name in ("font-size", "left", "text-indent", "width", "margin-left")),
            *(f"color:color(xyz {number} 1 1)", f"opacity:{number}", f"transform:scale({number})"),
            f"font-size:{number}em;text-indent:{number}em;clip:rect({number}px,{number}px,1px,1px)",
        )
    )
    + "<p>a",
    "scopes": "".join(f"<div style='--a{n}:{n}'>" for n in range(300)) + "<p style='color:var(--a1)'>a",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_html_with_hostile_styles_is_read(name: str) -> None:
    page = text_of_html(HOSTILE[name])

    assert "a" in page.text.replace(DOUBT, "")


@pytest.mark.parametrize(
    "bomb",
    ["<div>" * 100_000, "".join(f"<b id={n}>" for n in range(200)) + "<p>x" * 50_000],
    ids=["nested", "reopened"],
)
def test_hostile_html_page_is_refused_as_too_tangled(bomb: str) -> None:
    with pytest.raises(TooTangled):
        text_of_html(bomb)


def test_a_long_honest_table_is_not_taken_for_a_bomb() -> None:
    table = "<table>" + "<tr><td>some<td>cell</tr>" * 8_000 + "</table>"
    assert text_of_html(table).text.count("\n") == 7_999


@each("broken", ["", "<", "<p", "</div></div>", "<<<>>>", "<table><p>x", "\x00<p>x"])
def test_broken_pages_never_raise(broken: str) -> None:
    text_of_html(broken)


def test_doubtful_html_text_has_a_sign_per_sentence_and_per_five_words() -> None:
    words = "Call Ana. Pay the rent by Friday or tell me why"
    page = f"<style>p:first-child{{color:#fff}}</style><p>{words}"
    assert text_of_html(page).text == (
        f"{DOUBT}Call Ana.{DOUBT} Pay the rent{DOUBT} by Friday or tell me{DOUBT} why"
    )


TOKENS = (
    *(
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ":",
        ";",
        ",",
        ".",
        "#",
        "*",
        ">",
        "+",
        "~",
        "@",
        "!",
        "/*",
        "*/",
        "<!--",
        "'",
    ),
    *(
        " ",
        "\\",
        "p",
        ".x",
        "#i",
        "::before",
        ":hover",
        ":not(",
        ":root",
        "@media",
        "screen",
        "@supports",
        "and",
    ),
    *(
        "(max-width:",
        "color:",
        "background:",
        "font:",
        "font-size:",
        "clip:rect(",
        "transform:scale(",
        "opacity:",
    ),
    *(
        "var(--a",
        "--a:",
        "rgb(",
        "calc(",
        "1",
        "0",
        "-9999px",
        "%",
        "em",
        "white",
        "url(x)",
        "none",
        "!important",
    ),
)


@given(st.lists(st.sampled_from(TOKENS), max_size=25).map("".join))
def test_broken_styles_never_raise(css: str) -> None:
    page = text_of_html(f'<style>{css}</style><p class=x id=i style="{css}">a</p><div {css}>b</div>')
    assert isinstance(page.text, str)
