"""Replacement of private values before a question to a model, and restoration in its answer. Pure.

A value is replaced by its rule's name and a number, ``[EMAIL_1]``: the same value has the same placeholder in
the whole document, and no placeholder can be confused with the document's own words. Numbers follow the order
of the text, so the same document yields the same question. Nothing is stored beyond the document: copied
placeholders are restored from its text.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from ipaddress import ip_address
from operator import itemgetter
from typing import Final

from hub.text.folding import PlainForm, shown
from hub.text.patterns import BadPattern, Pattern, pattern_of
from protocol.secret_rules import RedactionRule

# The patterns match text in plain form. Each starts at a boundary and has no ambiguous repetition, so that
# its time is linear. Scripts without blanks between words do not count as letters at the boundary.
_LETTERS: Final = "0-9A-Za-z\u00c0-\u024f\u0370-\u04ff"
_BEFORE: Final = rf"(?<![{_LETTERS}])"
_AFTER: Final = rf"(?![{_LETTERS}])"
_LINE: Final = r" ?\r?\n[> ]{0,8}"  # mails are wrapped at blanks, and quoted
_GAP: Final = rf"(?:[ ./_|-]{{1,3}}|{_LINE})?"  # between the characters of a value with check digits
_LABEL: Final = rf"[\w-]{{1,63}}+(?:(?<=-){_LINE}[\w-]{{1,63}}+)?"
_EMAIL: Final = (
    r"(?<![\w.+%-])[\w.+%-]{1,64}+(?:"
    rf"@{_LABEL}(?>(?:\.{_LABEL}){{1,8}})"
    # After a blank or the end of a line, and spelled out, only with a name that starts with a letter.
    rf"| {{0,3}}@(?: {{0,3}}|{_LINE}){_LABEL}(?:(?:\.| \. )[\w-]{{1,63}}){{0,7}}"
    r"(?:\.| \. )[^\W\d_][\w-]{1,62}+"
    r"| {1,2}(?i:at) {1,2}[\w-]{1,63}+(?>(?: {1,2}(?i:dot) {1,2}[\w-]{1,63}+){1,8})"
    r")"
)
# ISO 13616, the registry of IBAN formats.
_IBAN_LENGTHS: Final = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC",
        32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
_IBAN: Final = (
    rf"(?i)(?:{_BEFORE}|(?<=IBAN))(?=[A-Z]{_GAP}[A-Z]{_GAP}\d)(?:"
    + "|".join(
        rf"{country[0]}{_GAP}{country[1]}{_GAP}\d{_GAP}\d(?:{_GAP}[A-Z0-9]){{{length - 4}}}"
        for country, length in _IBAN_LENGTHS.items()
    )
    + rf"){_AFTER}"
)
_CARD: Final = rf"{_BEFORE}(?<!\d\.)[1-689](?:{_GAP}\d){{13,18}}(?!\d)"
# ISO/IEC 7812: first digits and lengths of cards that pay; no IMEI and no EAN has them.
_CARD_NUMBER: Final = re.compile(
    r"4(?:\d{15}|\d{18})|[56]\d{14,18}|3[47]\d{13}|3[0689]\d{12,17}|35\d{14,17}"
    r"|(?:2[2-7]|8[12])\d{14,17}|9792\d{12}|1\d{14}"
)
_NO_DIGITS: Final = dict.fromkeys(map(ord, " ./_|->\r\n"))
_DOUBLED: Final = str.maketrans("0123456789", "0246813579")
_DOT: Final = rf"(?:\.(?:{_LINE})?| \. )"
_IP: Final = (
    rf"(?i){_BEFORE}(?<!\d\.)(?<!version )(?<!release )(?<!build )"
    rf"\d{{1,3}}(?:{_DOT}\d{{1,3}}){{3}}{_AFTER}(?!\.\d)"
    r"|(?<![\w.:])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?![\w:]|\.\d)"
)
_PHONE: Final = (
    rf"(?<![\w+])\+[1-9](?:[ ./()-]{{0,3}}\d){{0,8}}{_LINE}\d{{2}}"
    rf"(?:[ ./()-]{{0,3}}\d){{0,9}}{_AFTER}(?!\.\d)"
    rf"|(?:(?<![\w+])\+|{_BEFORE}(?<![+/-])(?<!\d\.)00)[1-9](?:[ ./()-]{{0,3}}\d){{6,14}}{_AFTER}(?!\.\d)"
    rf"|{_BEFORE}(?<![+/-])(?<!\d\.)(?:"
    r"\(?0[1-9]\d{0,3}\)?(?:[ /-]{0,3}\d){5,10}"  # national format: de, fr, uk
    r"|0[1-9]\d{1,3}\.(?:[ .-]?\d){5,9}|0[1-9](?:\.\d\d){4}"
    r"|\(?[2-9]\d{2}\)?[ .-]{1,2}\d{3}[ .-]\d{4}"  # us
    r"|8[ -]?\(?\d{3}\)?[ -]?\d{3}[ -]?\d{2}[ -]?\d{2}"  # ru
    r"|1[3-9]\d[ -]?\d{4}[ -]?\d{4}"  # zh
    r"|[6-9]\d{2}[ .-]?\d{3}[ .-]?\d{3}(?!,\d\d?(?!\d))"  # es
    rf"){_AFTER}(?![./]\d)"
)
_DATE: Final = re.compile(
    r"\d{1,2}([./-]) ?\d{1,2}\1 ?(?:\d{4}|\d{2})(?!\1?\d)|\d{4}([./-])\d{1,2}\2\d{1,2}(?!\2?\d)"
)
# Street and number in six languages; names start with a capital where the script has capitals.
_ADDRESS: Final = (
    r"(?<!\w)(?:"
    r"\d{1,5}[a-z]? (?:[A-Z][\w'’-]{0,30} ){1,4}"
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Court|Square|Boulevard|Blvd)"
    r"|(?<!\w-)[^\W\d_][\w-]{0,40}?(?i:straße|strasse|str\.|weg|platz|allee|gasse) ?\d{1,4}[a-z]?"
    r"|\d{1,4}(?: bis| ter)?,? (?i:rue|avenue|boulevard|place|chemin|allée)(?>(?: [\w'’-]{1,30}+){1,4})"
    r"|(?i:calle|avenida|avda\.|plaza|paseo)(?>(?: [^\W\d_][\w-]{0,30}+){1,5}),? (?:n\.?º ?)?\d{1,4}"
    r"|(?i:ул\.|улица|проспект|пр-т|пер\.) ?[\w-]{1,40}+(?: [^\W\d_][\w-]{0,40}+)?,? (?:д\. ?|дом )?\d{1,4}"
    r")(?!\w)"
    r"|[\u4e00-\u9fff]{1,8}?(?:路|街|大道|巷)\d{1,5}号"
)


_PIECE_CHARS: Final = 16_384


def _is_iban(value: str) -> bool:
    """Return True if the check digits (ISO 7064, mod 97-10) are right; the pattern knows the lengths."""
    bare = "".join(filter(str.isalnum, value)).upper()
    return (
        sum(map(str.isdigit, bare[4:])) >= 8  # after the check digits, so that no prose is one by chance
        and int("".join(str(int(char, 36)) for char in bare[4:] + bare[:4])) % 97 == 1
    )


def _is_card(value: str) -> bool:
    """Return True if the first digits, the groups and Luhn's check digit (ISO/IEC 7812-1) are right."""
    digits = value.translate(_NO_DIGITS)
    if _CARD_NUMBER.fullmatch(digits) is None:
        return False
    doubled = digits[-2::-2].translate(_DOUBLED)
    if (sum(map(int, digits[::-2])) + sum(map(int, doubled))) % 10:
        return False
    # Numbers of orders and pairs of dates have other groups; blanks may be anywhere.
    groups = [len(group) for group in re.findall(r"\d+", value)]
    is_even = len(set(groups[:-1])) <= 1 and groups[-1] <= groups[0]
    return is_even or groups[:2] == [4, 6] or set("./_|-").isdisjoint(value)


def _is_ip(value: str) -> bool:
    try:
        ip_address("".join(char for char in value if char not in " >\r\n"))
    except ValueError:
        return False
    return True


def _is_phone(value: str) -> bool:
    """Return False for more digits than a number has (E.164 allows 15, behind 00), and for a date."""
    return 7 <= sum(map(str.isdigit, value)) <= 17 and _DATE.match(value) is None


# The order decides between values with the same place.
BUILT_IN: Final[dict[str, tuple[str, Callable[[str], bool]]]] = {
    "email": (_EMAIL, bool),
    "iban": (_IBAN, _is_iban),
    "card": (_CARD, _is_card),
    "ip": (_IP, _is_ip),
    "phone": (_PHONE, _is_phone),
    "address": (_ADDRESS, bool),
}
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")


@cache
def _pattern_of(name: str) -> re.Pattern[str]:
    """Compile a built-in pattern. All of them take 35 ms, which most starts can do without."""
    return re.compile(BUILT_IN[name][0])


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
        self._text = text
        self._places = self._found(text)
        self._placeholders: dict[str, str] = {}
        self._values: dict[str, str] = {}
        numbers: dict[str, int] = {}
        for start, end, tag in self._places:
            value = shown(text[start:end])
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
        return self._hidden(part, self._found(part), 0, len(part))

    def hide_place(self, start: int, end: int) -> str:
        """Return a place of the document as ``hide`` does.

        If the place cuts a value in two, its half, which may not match the pattern, gets a placeholder
        without a number.
        """
        first = bisect_right(self._places, start, key=itemgetter(1))
        return self._hidden(self._text, self._places[first:], start, end)

    def _hidden(self, text: str, places: Iterable[tuple[int, int, str]], at: int, stop: int) -> str:
        """Return ``text[at:stop]`` as displayed, with placeholders at the places, which are in order."""
        pieces, begin = [], at
        for start, end, tag in places:
            if start >= stop:
                break
            is_whole = begin <= start and end <= stop
            placeholder = self._placeholders.get(shown(text[start:end])) if is_whole else None
            pieces += [shown(text[at:start]), placeholder or f"[{tag}]"]
            at = min(end, stop)
        return "".join((*pieces, shown(text[at:stop])))

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
        """Return the places to hide, in order, with overlapping places merged."""
        plain = PlainForm(text) if self._finders else None
        every = sorted(
            ((*place, tag) for tag, find in self._finders if plain for place in find(plain)),
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


def _finder_of(rule: RedactionRule) -> Callable[[PlainForm], Iterator[tuple[int, int]]]:
    """Return a function that finds the values of a rule, as places in the original of a text."""
    if rule.regex is not None:
        return partial(_places_of_own, pattern_of(rule.regex))
    if rule.name not in BUILT_IN:
        raise BadPattern(f"{rule.name!r} has no pattern")
    return partial(_places, rule.name)


def _places_of_own(pattern: Pattern, plain: PlainForm) -> Iterator[tuple[int, int]]:
    """Yield the values that match a pattern of the owner, which may name signs that the plain form lacks."""
    yield from (plain.place(start, end) for start, end in pattern.find(plain.text))
    if plain.text != plain.original:
        yield from pattern.find(plain.original)


def _places(name: str, plain: PlainForm) -> Iterator[tuple[int, int]]:
    """Yield the values that match the built-in pattern of this name.

    A following word may look like the end of a value, so each match is tried at all of its ends, the last one
    first. The text is searched in pieces, to let other threads run in between.
    """
    pattern, (_, is_one) = _pattern_of(name), BUILT_IN[name]
    text, begin = plain.text, 0
    for piece_end in range(_PIECE_CHARS, len(text) + _PIECE_CHARS, _PIECE_CHARS):
        while match := pattern.search(text, begin, piece_end + 1_000):  # more than any value has
            start, begin = match.start(), match.start() + 1
            for end in _ends(match, has_groups=name in ("card", "phone")):
                if is_one(text[start:end]):
                    yield plain.place(start, end)
                    begin = end
                    break
        begin = max(begin, piece_end)


def _ends(match: re.Match[str], *, has_groups: bool) -> Iterator[int]:
    """Yield possible ends of a value: that of the match, or that of a group of its digits."""
    yield match.end()
    if has_groups:
        value = match.group()
        ends = range(len(value) - 1, 7, -1)
        yield from (match.start() + at for at in ends if value[at - 1].isdigit() and not value[at].isdigit())


def _tag_of(rule: RedactionRule, text: str) -> str:
    """Return the rule's name for placeholders, changed if it occurs in the text."""
    tag = re.sub(r"[^A-Z0-9]+", "_", rule.name.upper())
    used = text.upper()
    while f"{tag}_" in used or f"[{tag}]" in used:
        tag += "X"
    return tag
