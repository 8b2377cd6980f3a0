"""Redaction of values before a model is asked, and their restoration in the answer. Pure functions.

A value is replaced by its rule's name and a number, ``[EMAIL_1]``: the same value has the same placeholder in
the whole document, and no placeholder can be confused with the document's own words. Numbers follow the order
of the text, so the same document yields the same question. Nothing is stored beyond the document: copied
placeholders are restored from its text.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Final

from hub.extraction.folding import shown
from hub.extraction.items import RedactionRule
from hub.extraction.patterns import BadPattern, pattern_of

# Each pattern starts at a boundary and has no ambiguous repetition, so that its time is linear.
_EMAIL: Final = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+){1,8}+")
_GAP: Final = r"(?: |[ \t]?\r?\n[> \t]{0,8})"  # mails are wrapped at blanks, and quoted
_IBAN: Final = re.compile(
    rf"(?<!\w)[A-Z]{{2}}\d{{2}}(?:{_GAP}?[A-Z0-9]{{4}}){{2,7}}(?:{_GAP}?[A-Z0-9]{{1,3}})?(?!\w)",
    re.IGNORECASE,
)
# ISO 13616, the registry of IBAN formats.
_IBAN_LENGTHS: Final = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL", 19: "MK SI", 20: "AT BA EE KZ LT LU XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "PT ST", 26: "IS TR", 27: "FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC",
    }.items()
    for country in countries.split()
}  # fmt: skip
_CARD: Final = re.compile(rf"(?<![\w.,-])\d(?:(?:-|{_GAP})?\d){{12,18}}(?![\w-])")
_IP: Final = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7})(?![\w:]|\.\d)",
    re.IGNORECASE,
)
_PHONE: Final = re.compile(
    r"(?<![\w.,+/-])(?:"
    r"(?:\+|00)[1-9](?:[ ./()-]{0,2}\d){6,14}"  # with country code
    r"|\(?0\d{1,4}\)?(?:[ /-]{0,3}\d){5,10}"  # national format: de, fr, uk
    r"|\(?[2-9]\d{2}\)?[ .-]{1,2}\d{3}[ .-]\d{4}"  # us
    r"|8[ -]?\(?\d{3}\)?[ -]?\d{3}[ -]?\d{2}[ -]?\d{2}"  # ru
    r"|1[3-9]\d[ -]?\d{4}[ -]?\d{4}"  # zh
    r"|[6-9]\d{2}[ .-]?\d{3}[ .-]?\d{3}"  # es
    r")(?![\w-]|[.,/]\d)"
)
_DATE: Final = re.compile(r"\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d{2})|\d{4}([./-])\d{1,2}\2\d{1,2}")
# Street and number in six languages; names start with a capital where the script has capitals.
_ADDRESS: Final = re.compile(
    r"(?<!\w)(?:"
    r"\d{1,5}[a-z]? (?:[A-Z][\w'’-]{0,30} ){1,4}"
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Court|Square|Boulevard|Blvd)"
    r"|[^\W\d_][\w-]{0,40}?(?i:straße|strasse|str\.|weg|platz|allee|gasse) ?\d{1,4}[a-z]?"
    r"|\d{1,4}(?: bis| ter)?,? (?i:rue|avenue|boulevard|place|chemin|allée)(?: [\w'’-]{1,30}+){1,4}+"
    r"|(?i:calle|avenida|avda\.|plaza|paseo)(?: [^\W\d_][\w-]{0,30}+){1,5}+,? (?:n\.?º ?)?\d{1,4}"
    r"|(?i:ул\.|улица|проспект|пр-т|пер\.) ?[\w-]{1,40}+(?: [^\W\d_][\w-]{0,40}+)?,? (?:д\. ?|дом )?\d{1,4}"
    r")(?!\w)"
    r"|[\u4e00-\u9fff]{1,8}?(?:路|街|大道|巷)\d{1,5}号"
)


_PIECE_CHARS: Final = 16_384
_AROUND_CHARS: Final = 600  # context of a place: longer than any value


def _is_iban(value: str) -> bool:
    """Return True if the check digits (ISO 7064, mod 97-10) and the country's length are right."""
    bare = "".join(filter(str.isalnum, value)).upper()
    length = _IBAN_LENGTHS.get(bare[:2], len(bare))
    return (
        15 <= len(bare) == length <= 34
        and int("".join(str(int(c, 36)) for c in bare[4:] + bare[:4])) % 97 == 1
    )


def _is_card(value: str) -> bool:
    """Return True if Luhn's check digit (ISO/IEC 7812-1) is right."""
    digits = [int(char) for char in reversed(value) if char.isdigit()]
    return (
        sum(digit if nth % 2 == 0 else sum(divmod(2 * digit, 10)) for nth, digit in enumerate(digits)) % 10
        == 0
    )


def _is_ip(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


# The order decides between values with the same place.
BUILT_IN: Final[dict[str, tuple[re.Pattern[str], Callable[[str], bool]]]] = {
    "email": (_EMAIL, bool),
    "iban": (_IBAN, _is_iban),
    "card": (_CARD, _is_card),
    "ip": (_IP, _is_ip),
    "phone": (_PHONE, lambda value: _DATE.match(value) is None),
    "address": (_ADDRESS, bool),
}
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")


def problem_of(rule: RedactionRule) -> str | None:
    """Return the problem of a rule and its remedy, or ``None``."""
    if _NAME.fullmatch(rule.name) is None or len(rule.name) > 40:
        return "a name is small letters, digits and - between them, at most 40 characters"
    if rule.regex is None:
        known = ", ".join(BUILT_IN)
        return None if rule.name in BUILT_IN else f"has no pattern, and is none of {known}"
    try:
        pattern_of(rule.regex)
    except BadPattern as error:
        return str(error)
    return None


class Redaction:
    """Redaction of one document. Without rules, it changes nothing and is false.

    Attributes:
        count: number of different hidden values.
    """

    def __init__(self, rules: Sequence[RedactionRule], text: str) -> None:
        """Find the values of *text* to hide. Raises BadPattern for rules that ``problem_of`` refuses."""
        self._finders = [(_tag_of(rule, text), _finder_of(rule)) for rule in rules]
        self._placeholders: dict[str, str] = {}
        self._values: dict[str, str] = {}
        numbers: dict[str, int] = {}
        visible = shown(text) if rules else ""
        for start, end, tag in self._found(visible):
            value = visible[start:end]
            if value not in self._placeholders:
                numbers[tag] = numbers.get(tag, 0) + 1
                self._placeholders[value] = f"[{tag}_{numbers[tag]}]"
                self._values[f"{tag}_{numbers[tag]}"] = value
        tags = "|".join(re.escape(tag) for tag, _ in self._finders)
        # A model may drop the brackets, or change the case.
        self._placeholder = re.compile(rf"\[?(?<![A-Za-z0-9_])((?:{tags})_\d{{1,9}})(?!\d)\]?", re.IGNORECASE)
        self.count = len(self._values)

    def __bool__(self) -> bool:
        return bool(self._finders)

    def hide(self, part: str) -> str:
        """Return *part* as displayed, without hidden values.

        A value that does not occur in the document in this form gets a placeholder without a number, and
        cannot be restored.
        """
        return self._hidden("", part, "")

    def hide_place(self, text: str, start: int, end: int) -> str:
        """Return ``text[start:end]`` of the document as ``hide`` does.

        If the place cuts a value in two, its half, which may not match the pattern, gets a placeholder
        without a number.
        """
        if not self:
            return shown(text[start:end])
        before, after = text[max(start - _AROUND_CHARS, 0) : start], text[end : end + _AROUND_CHARS]
        return self._hidden(shown(before), shown(text[start:end]), shown(after))

    def _hidden(self, before: str, part: str, after: str) -> str:
        text, at, stop = before + part + after, len(before), len(before) + len(part)
        pieces = []
        for start, end, tag in self._found(text):
            if end <= at or start >= stop:
                continue
            is_whole = start >= len(before) and end <= stop
            placeholder = self._placeholders.get(text[start:end]) if is_whole else None
            pieces += [text[at:start], placeholder or f"[{tag}]"]
            at = min(end, stop)
        return "".join((*pieces, text[at:stop]))

    def restore(self, value: object) -> object:
        """Replace placeholders by the document's own words in all nested strings; keys are unchanged."""
        match value:
            case str() if self._values:
                return self._placeholder.sub(
                    lambda match: self._values.get(match[1].upper(), match.group()), value
                )
            case list():
                return [self.restore(inner) for inner in value]
            case dict():
                return {key: self.restore(inner) for key, inner in value.items()}
            case _:
                return value

    def _found(self, text: str) -> list[tuple[int, int, str]]:
        """Return the places to hide, with overlapping places merged."""
        every = sorted(
            ((start, end, tag) for tag, find in self._finders for start, end in find(text)),
            key=lambda found: (found[0], -found[1]),
        )
        apart: list[tuple[int, int, str]] = []
        for start, end, tag in every:
            if apart and start < apart[-1][1]:
                # Hiding only one of two overlapping values would leave the rest of the other: one placeholder
                # for both.
                begin, stop, first = apart[-1]
                apart[-1] = begin, max(stop, end), first
            else:
                apart.append((start, end, tag))
        return apart


def _finder_of(rule: RedactionRule) -> Callable[[str], Iterator[tuple[int, int]]]:
    if rule.regex is not None:
        return pattern_of(rule.regex).find
    if rule.name not in BUILT_IN:
        raise BadPattern(f"{rule.name!r} has no pattern")
    pattern, is_one = BUILT_IN[rule.name]
    return lambda text: (
        place for begin, end in _pieces(text) for place in _places(pattern, is_one, text, begin, end)
    )


def _places(
    pattern: re.Pattern[str], is_one: Callable[[str], bool], text: str, begin: int, end: int
) -> Iterator[tuple[int, int]]:
    """Yield values between two places of *text*.

    A following word may look like the end of a value, so each match is tried at all of its ends, the last one
    first.
    """
    while (match := pattern.search(text, begin, end)) is not None:
        start, begin = match.span()
        for stop in _ends(match):
            if is_one(text[start:stop]):
                yield start, stop
                begin = stop
                break


def _ends(match: re.Match[str]) -> Iterator[int]:
    """Yield possible ends of a value: that of the match, or before a blank inside."""
    yield match.end()
    if match.re in (_IBAN, _CARD):  # a value with check digits, so that a part of it can be recognized
        value = match.group()
        yield from (match.start() + at for at in range(len(value) - 1, 12, -1) if not value[at].isalnum())


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Split *text* into pieces of whole paragraphs, to let other threads run in between.

    Unusually long paragraphs are split at line ends.
    """
    begin = 0
    while begin < len(text):
        least, most = begin + _PIECE_CHARS, begin + 4 * _PIECE_CHARS
        end = text.find("\n\n", least, most) + 2
        if end < 2:
            end = text.find("\n", most) + 1 or len(text)
        yield begin, end
        begin = end


def _tag_of(rule: RedactionRule, text: str) -> str:
    """Return the rule's name for placeholders, changed if it occurs in the text."""
    tag = re.sub(r"[^A-Z0-9]+", "_", rule.name.upper())
    used = text.upper()
    while f"{tag}_" in used or f"[{tag}]" in used:
        tag += "X"
    return tag
