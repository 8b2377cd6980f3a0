"""Character set of a text: byte order mark, declaration, UTF-8, or a guess.

A charset has the meaning that it has for browsers and mail programs (WHATWG Encoding): ``iso-8859-1`` is
cp1252. A page may declare it in its head, but is often stored as UTF-8 all the same.

charset-normalizer says which encodings can be meant at all, and which bytes are no text. Of several that can
be, the text decides: letters of the languages that people write, in the order of case that words have. A
text in no such encoding is refused, because a wrong guess would end up in a user's task. The text is not
normalized: line ends are preserved, only a byte order mark is removed.
"""

import codecs
import encodings
import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Final

import webencodings

from hub.text.files import NotConvertible
from hub.text.folding import LEAD

# Longer marks first: UTF-32 LE starts with the mark of UTF-16 LE.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# In the order of how likely each is. Old Macintosh files end their lines with CR alone.
_EIGHT_BIT: Final = (
    *("cp1252", "cp1250", "mac_roman", "cp1251", "koi8_r", "cp866", "cp850", "gb18030", "big5"),
)
GUESSED: Final = frozenset((*_EIGHT_BIT, "utf_16_le", "utf_16_be"))
_OLD_MAC: Final = ("mac_roman", "cp1252", "cp1251")
_DOS: Final = tuple(name for name in _EIGHT_BIT if name != "mac_roman")  # lines end with CR and LF
_WIDE: Final = ("utf_16_le", "utf_16_be")

# In the middle of a character: programs fold the lines of calendars and of mails after so many bytes.
_FOLD: Final = re.compile(rb"(?<=[\x80-\xff])\r?\n[ \t](?=[\x80-\xbf])")
_CONTROLS: Final = re.compile(rb"[\x01-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_RUN: Final = re.compile(rb"([\x80-\xff])\1{2,}")  # such as a line of a frame, which no word has
_HIGH: Final = re.compile(rb"[\x80-\xff]")
_SAMPLE_BYTES: Final = 64 * 1024
_MAX_BROKEN: Final = 0.05  # share of what is no UTF-8 in a text that is UTF-8 but for it
_MAX_CHAOS: Final = 0.3
_FOREIGN_WORTH: Final = 0.75  # of a letter that only other languages have
_WIDE_CHARS: Final = re.compile(
    "[\t\r\n -~\u00a0-\u024f\u0400-\u04ff\u2010-\u2bff\u3000-\u9fff\uff00-\uffee\U0001f300-\U0001faff]"
)
_OWN: Final = re.compile(  # letters and signs of the supported languages, and the frames of tables
    "[äöüßÄÖÜàâæçéèêëîïôœùûÀÉÈÊÇñáíóúÑÁÍÓÚ¿¡«»\u2018\u2019“”„\u2013—…€£§°ºª·№"
    "\u2500-\u256c\u4e00-\u9fff\u3000-\u303f\uff00-\uffee]"
    r"|[\u0410-\u044fЁё](?:(?<=[\u0410-\u044fЁё]{3})|(?<=[\u0410-\u044fЁё]{2})(?=[\u0410-\u044fЁё])"
    r"|(?=[\u0410-\u044fЁё]{2}))"
)
_FOREIGN: Final = re.compile("[ąćęłńśźżŁŚŹŻčďěňřšťůýžČŘŠŽåãõÅ]")
# Frequent letters behind others of their script: read in a wrong encoding, they are rare ones.
_FREQUENT: Final = re.compile(
    "(?<=[\u0410-\u044f])[\u043e\u0435\u0430\u0438\u043d\u0442\u041e\u0415\u0410\u0418\u041d\u0422]"
    "|(?<=[\u4e00-\u9fff])[的一是不了我在有人这這个個们們上中大来來到时時要就会會可也你他她好]"
)
# A capital within a word, a sign between letters, two scripts in a word, and a letter three times.
_MISPLACED: Final = re.compile(
    r"(?<=[a-zß-öø-ÿąćęłńśźżčďěňřšťůž\u0430-\u044fё])"
    r"(?:[À-ÖØ-ÞĄĆĘŁŃŚŹŻČĎŇŘŠŤŮŽ\u0410-\u042fЁ]|[^\w\s\0-\x7f\u2018\u2019\u2013—…ºª](?=[^\W\d_]))"
    r"|([^\W\d_A-Za-z])\1\1|(?<=[A-Za-z])[\u0410-\u044f]|[\u0410-\u044f](?=[A-Za-z])"
)


# ASCII is no reason to refuse other bytes. The encodings of domain names take quadratic time.
_NO_CHARSETS: Final = frozenset(("ascii", "idna", "punycode"))
# Of the table: unknown, or with a meaning for browsers alone.
_NO_CODECS: Final = frozenset(("", "replacement", "x-user-defined"))
_HEAD_BYTES: Final = 4 * 1024
_COMMENT: Final = re.compile(rb"<!--.*?(?:-->|$)", re.DOTALL)
_META: Final = re.compile(
    rb"<meta\s[^>]{0,400}?\bcharset\s{0,9}=\s{0,9}[\"']?\s{0,9}([\w.:-]{1,60})"
    rb"|\A\s{0,9}<\?xml\s[^>]{0,200}?\bencoding\s{0,9}=\s{0,9}[\"']([\w.:-]{1,60})",
    re.IGNORECASE,
)


def load_codecs() -> None:
    """Import all codecs and the guess of them, for a process that can open no file later."""
    importlib.import_module("charset_normalizer")
    for module in pkgutil.iter_modules(encodings.__path__):
        if module.name not in ("mbcs", "oem", "cp65001"):  # Windows only
            importlib.import_module(f"encodings.{module.name}")


@lru_cache(maxsize=256)  # mails of one person have few charsets
def codec_of(charset: str | None) -> str | None:
    """Return the codec that programs use for a charset (WHATWG), or None for ASCII and unknown names."""
    try:
        known = codecs.lookup(charset).name if charset else ""
    except (LookupError, ValueError):
        known = ""
    if charset is None or known in _NO_CHARSETS:
        return None
    name = webencodings.LABELS.get(charset.strip().lower(), "")
    if name in _NO_CODECS or name.startswith("utf-16"):
        return known or None
    return "gb18030" if name == "gbk" else webencodings.lookup(name).codec_info.name


def _declared_in(page: bytes) -> str | None:
    """Return the codec of the charset that the head of a page declares, or None."""
    found = _META.search(_COMMENT.sub(b"", page[:_HEAD_BYTES]))
    codec = codec_of((found[1] or found[2]).decode("ascii", "replace")) if found else None
    # The declaration was read as ASCII, so the page is not in such an encoding.
    return None if codec is None or codec.replace("_", "-").startswith(("utf-16", "utf-32")) else codec


def from_first_letter(data: bytes) -> bytes:
    """Return a text from its first visible character on, as UTF-8 if it is in UTF-16."""
    if b"!" <= data[:1] <= b"~" and data[1:2] != b"\0":  # the usual case
        return data
    if b"\0" in data[:4]:
        with suppress(NotConvertible):
            data = decode(data).encode("utf-8", "replace")
    return data.decode("utf-8", "surrogateescape").lstrip(LEAD).encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """Decode bytes; see ``decode_or_guess``."""
    return decode_or_guess(data)[0]


def decode_or_guess(
    data: bytes, charset: str | None = None, *, is_page: bool = False, is_utf8: bool = False
) -> tuple[str, str | None]:
    """Decode bytes by their mark, else by their charset, as UTF-8, or in the most plausible encoding.

    The encoding is returned too if it was guessed. Of text with a few broken bytes, each of these is U+FFFD.

    Args:
        is_page: HTML or XML, which may declare its charset if no header does.
        is_utf8: UTF-8 is more probable than the charset.

    Raises:
        NotConvertible: no encoding fits, or the data is binary.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding), None
            except UnicodeDecodeError as error:
                raise NotConvertible(f"marked as {encoding}, but is not") from error
    codec = codec_of(charset)
    if codec is None and is_page and b"\0" not in data:
        codec, is_utf8 = _declared_in(data), True
    if codec is not None:
        # ISO-2022 and UTF-16 text may also be valid UTF-8.
        may_be_utf8 = is_utf8 and b"\x1b" not in data and b"\0" not in data
        for known in ("utf-8", codec) if may_be_utf8 else (codec,):
            with suppress(UnicodeError, LookupError):
                return data.decode(known), None
        with suppress(UnicodeDecodeError):
            return data.decode("utf-8"), None
        if codec != "utf-8" and (text := _with_few_broken(data, codec)) is not None:
            return text, None
    if b"\0" in data:
        wide = max(_read_as(data, _WIDE), key=lambda one: _share_of_wide(one[0]), default=("", None))
        if _share_of_wide(wide[0]) < 1 - _MAX_BROKEN:
            raise NotConvertible("binary: it contains NUL bytes")
        return wide
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError as error:
        with suppress(UnicodeDecodeError):
            return _FOLD.sub(b"", data).decode("utf-8"), None
        replaced = data.decode("utf-8", "replace")
        if not _CONTROLS.search(data):
            broken = replaced.count("\ufffd")
            is_utf8 = len(replaced) - len(replaced.encode("ascii", "ignore")) >= 2 * broken
            if not is_utf8 and (guessed := _guessed(data)) is not None:
                return guessed
            if broken <= len(data) * _MAX_BROKEN:
                return replaced, None
        raise NotConvertible("in no encoding that could be detected with confidence") from error


def _with_few_broken(data: bytes, codec: str) -> str | None:
    """Decode *data*, with U+FFFD in the place of broken bytes; None if these are too many."""
    with suppress(UnicodeError, LookupError):
        text = data.decode(codec, "replace")
        if text.count("\ufffd") <= len(data) * _MAX_BROKEN:
            return text
    return None


def _guessed(data: bytes) -> tuple[str, str] | None:
    """Decode 8-bit text in the encoding, returned too, in which its first such lines are most plausible."""
    high = _HIGH.search(data)
    start = data.rfind(b"\n", 0, high.start() if high else 0) + 1
    sample = data[start : start + _SAMPLE_BYTES]
    if start + len(sample) < len(data):
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    encodings = _OLD_MAC if b"\r" in data and b"\n" not in data else _DOS if b"\r\n" in data else _EIGHT_BIT
    from charset_normalizer import from_bytes  # imported here: takes 2 MB, and most texts are in UTF-8

    matches = from_bytes(
        _RUN.sub(rb"\1", sample), threshold=_MAX_CHAOS, cp_isolation=list(encodings), enable_fallback=False
    )
    possible = {name for match in matches for name in match.could_be_from_charset}
    worth = {name: _plausibility(text) for text, name in _read_as(sample, encodings) if name in possible}
    likely = [name for name in worth if worth[name] >= 0.5]
    likely.sort(key=worth.__getitem__, reverse=True)
    return next(_read_as(data, likely), None)


def _read_as(data: bytes, encodings: Iterable[str]) -> Iterator[tuple[str, str]]:
    for encoding in encodings:
        with suppress(UnicodeDecodeError):
            yield data.decode(encoding), encoding


def _plausibility(text: str) -> float:
    """Return the share of the characters beyond ASCII that people write in such a place."""
    others = len(text) - len(text.encode("ascii", "ignore"))
    worth = len(_OWN.findall(text)) + _FOREIGN_WORTH * len(_FOREIGN.findall(text))
    worth += 0.25 * len(_FREQUENT.findall(text)) - 2 * len(_MISPLACED.findall(text))
    return worth / others if others else 0.0


def _share_of_wide(text: str) -> float:
    return len(_WIDE_CHARS.findall(text)) / len(text) if text else 0.0
