"""Text of others drives no terminal, hides nothing and adds no line."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.base.printable import (
    MAX_LONE_SURROGATES,
    one_line,
    printable,
    printable_json,
    shell_word,
    shortened,
    spelled,
    with_whole_characters,
)
from tests.support.written_forms import active_texts, obeyed_by_a_terminal

TITLE = "\x1b]0;a title\x07"  # OSC: sets the title of the window
ORDER = "\u202egpj.exe"  # right to left: reads exe.jpg


def test_control_characters_of_terminals_are_escaped() -> None:
    assert printable(f"a{TITLE}b\x9b2J{ORDER}\rc\nd") == "a\\x1b]0;a title\\x07b\\x9b2J\\u202egpj.exe\\rc\nd"
    assert (one_line("a\nb\tc"), spelled("a\nb\tc")) == ("a b c", "a\\nb\\tc")


def test_characters_without_width_are_escaped() -> None:
    for hidden in ("\u00ad", "\u200b", "\u2060", "\u2063", "\ufeff", "\u3164", "\U000e0041", "\U000e01ef"):
        told = hidden.encode("unicode_escape").decode()
        assert printable(f"pay{hidden}pal") == f"pay{told}pal"
    assert printable("pay\u00ad\u200dpal") == "pay\\xad\\u200dpal"
    assert printable("pay\u200dpal \U0001f469\u200d\u200d") == "pay\\u200dpal \U0001f469\u200d\\u200d"


def test_printable_leaves_letters_joiners_and_emoji_unchanged() -> None:
    for text in (
        "Zażółć gęślą jaźń",
        "\U0001f469\u200d\U0001f52c",
        "\u0646\u0645\u06cc\u200c\u062e",
        "日本語",
        "\u2764\ufe0f",
    ):
        assert printable(text) == one_line(text) == spelled(text) == text


@given(st.text())
def test_printable_json_parses_to_the_same_text_without_control_characters(text: str) -> None:
    shown = printable_json(json.dumps({"it": text}, ensure_ascii=False))
    assert (json.loads(shown), printable(shown)) == ({"it": text}, shown)


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "x; touch pwn",
        "$(touch${IFS}pwn)",
        "`touch pwn`",
        "it's",
        "-rf",
        "a\nb\tc",
        "\x1b[2K\\\x9b'",
        "\udcff",
        *[found.text for found in active_texts() if "\0" not in found.text][:40],
    ],
)
def test_word_of_a_command_reaches_shell_and_terminal_as_named(name: str, tmp_path: Path) -> None:
    word = shell_word(name)
    assert one_line(word) == word
    done = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], capture_output=True, cwd=tmp_path, env={"LC_ALL": "C.UTF-8"}
    )
    assert done.stdout.decode(errors="surrogateescape") == ("./" if name.startswith("-") else "") + name
    assert list(tmp_path.iterdir()) == []


def test_shortened_cuts_only_long_quotations_and_words() -> None:
    message = f"the hub's agent 'a' {'is away, ' * 40} and the device's too"
    assert (shortened(message), shortened("x" * 200)) == (message, "x" * 200)
    for long in ("x" * 5_000, "'" + "x y " * 1_250 + "'", '"' + "it's " * 1_000 + '"'):
        cut = shortened(f"there is no agent {long} here")
        assert len(cut) < 200 and cut.endswith(f" ({len(long)} characters) here"), cut


def test_generated_texts_drive_no_terminal_and_add_no_line() -> None:
    for one in active_texts():
        shown, line = printable(one.text), one_line(one.text)
        assert obeyed_by_a_terminal(shown) == [], ascii(one.text)
        assert len(shown.splitlines()) <= one.text.count("\n") + 1, ascii(one.text)
        assert (obeyed_by_a_terminal(line), len(line.splitlines())) == ([], 1), ascii(one.text)


def test_lone_surrogates_of_a_json_text_become_replacement_characters_up_to_a_limit() -> None:
    given = r'{"a": "\\ud83d \ud83d\ude00 \ud83d \udead\udead", "b": "퟿"}'
    mended = with_whole_characters(given)
    assert mended is not None
    assert json.loads(mended) == {"a": "\\ud83d \U0001f600 \ufffd \ufffd\ufffd", "b": "\ud7ff"}
    assert with_whole_characters(b'"\\ud83d' * 2) is None
    assert with_whole_characters('"whole"') is None
    most = '"%s"' % ("\\ud83d" * MAX_LONE_SURROGATES)
    assert with_whole_characters(most) is not None
    assert with_whole_characters(most[:-1] + '\\ud83d"') is None
