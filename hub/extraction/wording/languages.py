"""Words and sentence patterns of each language, loaded from data files.

A language is one data file, in the notation that ``en.toml`` explains: its words and patterns of clauses, and
its words about time. A pattern is a regular expression for the start of a clause. Its group ``what`` is the
work, ``who`` the name of a person who is to do it, ``np`` other words for people. No pattern repeats a
repetition, and clauses are short: the work grows with the text.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from hub.extraction.when.language import (
    Language,
    NotationError,
    has_cyrillic,
    has_han,
    pairs,
    rows,
    rules,
    uncaptured,
)

_PLACE: Final = re.compile(r"\{(\w*[^\W\d_]\w*(?::\w+)?)\}")
_RESULT: Final = re.compile(r"\{(\w+):?(\w*)\}")
_PAIR: Final = re.compile(r"(\w+)=\w*")
_GROUP: Final = re.compile(r"\(\?P<(\w+)>")
_REPEATED: Final = re.compile(r"\(\?P=(\w+)\)")
_HAN_SET: Final = re.compile(r"\[[^\]\\]*\u4e00-\u9fff[^\]\\]*\]")
_NEVER: Final = "(?!)"
_PARTS: Final = {
    "A": "(?-i:[A-ZÀ-ÖØ-ÞА-ЯЁ])",
    "a": "(?-i:[a-zß-öø-ÿœа-яё])",
    "who": "(?P<who>{name})",
    "names": "(?P<who>{name}(({and}) {name}){0,3})",
    # Not behind a colon of "14:00" or "3:1", which belongs to one word.
    "what": r"(?!(?<=\d:)\d)(?P<what>\w.+)",
    "rest": r"(?!(?<=\d:)\d)(?P<what>.+)",
    "work": "(?P<what>{verbs}.*)",
    # Behind a label of work: a person, and a colon before more than a sum, with marks of emphasis around.
    "labelled": r"s?\b[*_]{0,2}"
    r"(( ?[(\[\uff08]| {doer} )(?P<who>[^()\[\]:\uff08\uff09\uff1a]{2,40}?)[)\]\uff09]?)?"
    r"[*_]{0,2} ?([:\uff1a]|[\u2013-](?= ))[*_]{0,2}\s*(?=\S)(?!\W{0,2}\d[\d.,' ]*+\W?\w{0,3}\W{0,2}$)",
}

Script = Literal["latin", "cyrillic", "han"]
Patterns = Sequence[re.Pattern[str]]
Rules = Sequence[tuple[re.Pattern[str], str]]
Rows = Annotated[str, msgspec.Meta(description="patterns, one a line")]


class Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conversion of a word to another form: by its ending, else by the first rule that matches all of it.

    Attributes:
        endings: name of a list of pairs, of which the first counts with which the word ends.
        most_before: characters before such an ending.
        alike: pairs of characters, of which the first counts as the second in an ending.
        rules: patterns of the word, with the other form.
    """

    endings: str = ""
    most_before: int = 100
    alike: str = ""
    rules: str = ""


class Lexicon(msgspec.Struct, frozen=True, kw_only=True, dict=True, eq=False, forbid_unknown_fields=True):
    """Words of one language. An attribute of the type ``Rows`` is a pattern, or several.

    Attributes:
        code: ISO 639 code, the name of the file.
        rank: place among the languages; the first of two that fit equally well counts.
        script: letters that tell a text in this language, or in another with these letters.
        example: sentence with a date, which is read once before texts are.
        time: words about time; in patterns, ``{days}`` are the first spellings of weekdays and months.
        words, parts, forms: lists of words, parts of patterns, and other forms of words.
        way_fields: fields of a mail's header: by whom, to whom and when it was sent; *other_fields*: others.
        least_title: characters of a title at least.
        is_past_nominal: nouns of an order may have the forms of verbs in the past tense.
        common: words by which the language is recognized, as by weekdays; *letters*: likewise.
        abbreviations: words before a dot that ends no sentence; with ``#``, before a number alone.
        no_names: words that are no names, although they often have a capital letter.
        variants: pairs of characters, of which the first counts as the second.
        name: a person's name.
        verbs: verbs of work, in the form of requests and of lists; *present*: in the present tense.
        inserted: words that may interrupt a clause, and are passed over.
        fillers: words without a meaning for the work, at any place of a clause.
        leads: words before the clause proper.
        joints: places at which a sentence is split into clauses.
        marks: labels of work before a colon ("Action:"), with the person it is for (``who``).
        requests: requests, which also count in questions.
        duties: duties, promises and plans.
        reports: work in the present tense, which counts in minutes or next to a day ahead.
        listed: lines of a list that name work.
        promises: what the writer promised to a person (``to``); ``no``: words that deny it or report it done.
        spanning: promises of others and duties whose work may be in a later clause.
        addressed: requests that count after a name and a comma.
        gapped: work without a verb, after work with one.
        more: a further verb after "and".
        settled: work that is done, cancelled or refused.
        negated: words by which work is refused, if its patterns do not know them.
        past: verbs in the past tense.
        owed: words for work that should have been done, on a day that may be past.
        unreal: hopes, doubts and stories; *general*: what holds for people in general, and habits.
        salutations: first lines of a letter below its head; *closings*: the last ones above its signature.
        reference: titles of texts without work for a certain person, such as licences.
        cooking: verbs of recipes, behind which a text with amounts is one.
        invoices: lines that tell an invoice: its first row is a title, the second a sum.
        openers: words at which a request or a duty may begin within a clause.
        questions: endings of questions without a question mark.
        participants: the start of rows about who took part in a meeting.
        metadata: the start of rows about a document or a ticket, which name no work.
        asks: questions who does a work; *answers*: short answers to them; *agreed*: words of consent.
        events: nouns for events; *happens*: verbs for them.
        articles: articles at the beginning of the title of an event.
        absent: words for an event that does not take place; *called_off*: those that end its clause.
        moved: words between an event and its new day, which is behind them or in the group ``new``; in the
            group ``same``, words for its old time.
        announced: words before the verb of a mail that moves an event or calls it off; *moving*: these
            verbs, in the group ``passive`` also without such words; *onto*: words between its old and its
            new day; *renewed*: labels of its new day.
        conditions: terms of an offer, no work.
        copulas: verbs between a title and its day, which neither begin nor end it.
        pronoun_subjects: words for an event that the sentence before names.
        decisions: decisions.
        facts: sentences with a value to look up; *places*: facts that count in short notes only.
        values: rows with a value to look up, also if other words in them sound like work.
        projects: projects, with the group ``name``.
        comments: remarks on a task; *tickets*: the first line of a ticket;
            *threads*: a heading of remarks.
        urgent: words of urgency.
        minutes: the first lines of minutes.
        goods: headings of lists of what to buy, to pack or to eat.
        to_do: headings of tasks; *finished*, *decided* and *talk* of other lists.
        labels: words before a colon that are no people.
        me: words for the speaker; *anyone*: other words before a duty that are no names.
        finite: verbs of which the base form names a task, its form ``base``.
        rewrites: patterns of titles, with their better forms.
        pronouns: work on something that the words before name ("bring it").
        brief: work that needs the words before to be understood ("have a look").
        each: words of repetition before a weekday, which stay in a title with it.
        dangling: words that neither begin nor end a title ("and"); those before days only end none ("by").
        edges: words for the edge of a span ("by the end of May"); in the group ``open``, for no certain day;
            with the group ``first``, for the week of that day.
        evenings: nouns for events of the evening, whose hour on a clock of twelve is not of the morning.
        timetables: words of timetables, opening hours and programmes, whose times are no appointments.
        undated: words for a day that is none of work: of a kind ("a weekend number"), or since when.
        lapses: words that make a day the end of what they are about ("expires on"), as a deadline is.
        inverted: a verb before its subject, which a day comes before ("Am 3. werden die Zähler gelesen").
        nominal: verbs that are nouns before the next word ("cita con"), and name an event on its day.
    """

    code: str
    rank: int
    script: Script
    example: str
    time: Language
    common: str
    no_names: str
    name: Rows
    verbs: Rows
    words: Mapping[str, str] = {}
    parts: Mapping[str, str] = {}
    forms: Mapping[str, Form] = {}
    abbreviations: str = ""
    rewrites: str = ""
    variants: str = ""
    copulas: str = ""
    each: str = ""
    pronoun_subjects: str = ""
    dangling: str = ""
    way_fields: str = ""
    other_fields: str = ""
    least_title: int = 5
    is_past_nominal: bool = False
    letters: Rows = _NEVER
    present: Rows = _NEVER
    inserted: Rows = _NEVER
    fillers: Rows = _NEVER
    leads: Rows = _NEVER
    joints: Rows = _NEVER
    marks: Rows = _NEVER
    requests: Rows = _NEVER
    duties: Rows = _NEVER
    reports: Rows = _NEVER
    listed: Rows = _NEVER
    promises: Rows = _NEVER
    spanning: Rows = _NEVER
    addressed: Rows = _NEVER
    gapped: Rows = _NEVER
    more: Rows = _NEVER
    settled: Rows = _NEVER
    negated: Rows = _NEVER
    past: Rows = _NEVER
    owed: Rows = _NEVER
    unreal: Rows = _NEVER
    general: Rows = _NEVER
    salutations: Rows = _NEVER
    closings: Rows = _NEVER
    reference: Rows = _NEVER
    cooking: Rows = _NEVER
    invoices: Rows = _NEVER
    openers: Rows = _NEVER
    questions: Rows = _NEVER
    participants: Rows = _NEVER
    metadata: Rows = _NEVER
    asks: Rows = _NEVER
    answers: Rows = _NEVER
    agreed: Rows = _NEVER
    events: Rows = _NEVER
    happens: Rows = _NEVER
    absent: Rows = _NEVER
    called_off: Rows = _NEVER
    moved: Rows = _NEVER
    announced: Rows = _NEVER
    moving: Rows = _NEVER
    onto: Rows = _NEVER
    renewed: Rows = _NEVER
    conditions: Rows = _NEVER
    articles: Rows = _NEVER
    decisions: Rows = _NEVER
    facts: Rows = _NEVER
    places: Rows = _NEVER
    values: Rows = _NEVER
    projects: Rows = _NEVER
    comments: Rows = _NEVER
    tickets: Rows = _NEVER
    threads: Rows = _NEVER
    urgent: Rows = _NEVER
    minutes: Rows = _NEVER
    goods: Rows = _NEVER
    to_do: Rows = _NEVER
    finished: Rows = _NEVER
    decided: Rows = _NEVER
    talk: Rows = _NEVER
    labels: Rows = _NEVER
    me: Rows = _NEVER
    anyone: Rows = _NEVER
    finite: Rows = _NEVER
    pronouns: Rows = _NEVER
    brief: Rows = _NEVER
    edges: Rows = _NEVER
    undated: Rows = _NEVER
    lapses: Rows = _NEVER
    evenings: Rows = _NEVER
    timetables: Rows = _NEVER
    nominal: Rows = _NEVER
    inverted: Rows = _NEVER

    def __post_init__(self) -> None:
        """Check what forms need.

        Raises:
            NotationError: a list of words or a form is missing.
        """
        for name, form in self.forms.items():
            if form.endings and form.endings not in self.words:
                raise NotationError(f"forms.{name}.endings: no list {form.endings!r} in words")
        if self.finite != _NEVER and "base" not in self.forms:
            raise NotationError("forms: 'base' is expected, the form of words that are finite")

    @cached_property
    def common_words(self) -> frozenset[str]:
        """Words by which the language is recognized."""
        weekdays = _firsts(self.time.weekdays) if self.time.is_spaced else ()  # "周日来" is one word
        return frozenset(self.common.split()).union(weekdays)

    @cached_property
    def other_words(self) -> frozenset[str]:
        """Words that are no names, in lower case."""
        return self.common_words.union(self.no_names.lower().split(), _firsts(self.time.months))

    @cached_property
    def opening_words(self) -> frozenset[str]:
        """Words that may begin a sentence, and are no nouns, in lower case."""
        return frozenset(self.common.split()).union(self.no_names.lower().split())

    @cached_property
    def translation(self) -> dict[int, str]:
        """Table for ``str.translate`` of the variants."""
        return _translation(self.variants)

    @cached_property
    def dangling_words(self) -> frozenset[str]:
        """Words that end no title."""
        return frozenset(self.dangling.split())

    @cached_property
    def each_words(self) -> frozenset[str]:
        """Words of repetition, in small letters."""
        return frozenset(self.each.split())

    @cached_property
    def copula_words(self) -> frozenset[str]:
        """Verbs between a title and its day."""
        return frozenset(self.copulas.split())

    @cached_property
    def subjects(self) -> frozenset[str]:
        """Words for an event that the sentence before names."""
        return frozenset(self.pronoun_subjects.split())

    def patterns(self, attribute: str) -> Patterns:
        """Return the patterns of an attribute."""
        found: Patterns | None = self.__dict__.get(f"_{attribute}")
        if found is None:
            found = self.__dict__[f"_{attribute}"] = _LazyPatterns(self, attribute)
        return found

    def _joined(self, attribute: str) -> re.Pattern[str]:
        """Return one pattern for all of the attribute, whose last group names the row that matches."""
        found: re.Pattern[str] | None = self.__dict__.get(f"_joined_{attribute}")
        if found is None:
            written = rows(getattr(self, attribute))
            found = self.patterns(attribute)[0] if len(written) == 1 else self._compiled(attribute, *written)
            self.__dict__[f"_joined_{attribute}"] = found
        return found

    def has(self, attribute: str, text: str) -> bool:
        """Return True if a pattern of the attribute occurs in *text*."""
        return self._joined(attribute).search(text) is not None

    def match(self, attribute: str, text: str) -> re.Match[str] | None:
        """Return the first match of the attribute's patterns at the start of *text*."""
        return next(self.matches(attribute, text), None)

    def matches_start(self, attribute: str, text: str) -> bool:
        """Return True if a pattern of the attribute matches at the start of *text*."""
        return self._joined(attribute).match(text) is not None

    def matches(self, attribute: str, text: str, at: int = 0) -> Iterator[re.Match[str]]:
        """Yield the matches of the attribute's patterns at a place, in their order."""
        found = self._joined(attribute).match(text, at)
        if found is None:
            return
        group = found.lastgroup or ""
        first = int(group[3:]) if group.startswith("row") else 0
        written = self.patterns(attribute)
        for nth in range(first, len(written)):
            if (match := written[nth].match(text, at)) is not None:
                yield match

    def rewritten(self, title: str) -> str:
        """Return a title in the form of the first rule that matches the whole of it."""
        return self._by_rule("rewrites", title)

    def base_form(self, word: str) -> str:
        """Return the form of a verb that names a task, or *word* itself."""
        verb = word.lower()
        return word if self.patterns("finite")[0].fullmatch(verb) is None else self.formed("base", verb)

    def formed(self, name: str, word: str) -> str:
        """Return another form of *word*; every language has the form ``lower``, in small letters."""
        word = word.lower()
        if name == "lower":
            return word
        form = self.forms[name]
        plain = word.translate(_translation(form.alike))
        for old, new in self._endings(form):
            if plain.endswith(old) and len(word) - len(old) <= form.most_before:
                return word[: len(word) - len(old)] + new
        return self._by_rule(name, word)

    def rules(self, name: str) -> Rules:
        """Return the compiled rules of a form, or those for titles, ``rewrites``."""
        found: Rules | None = self.__dict__.get(f"_rules_of_{name}")
        if found is None:
            written = self.rewrites if name == "rewrites" else self.forms[name].rules
            found = [(self._compiled(name, pattern), result) for pattern, result in rules(written)]
            for pattern, result in found:
                for group, form in _RESULT.findall(result):
                    if group not in pattern.groupindex or form not in ("", "lower", *self.forms):
                        raise NotationError(
                            f"{self.code}.toml: {name}: no such group or form in {result:.80}"
                        )
            self.__dict__[f"_rules_of_{name}"] = found
        return found

    def _by_rule(self, name: str, text: str) -> str:
        matches = ((pattern.fullmatch(text), result) for pattern, result in self.rules(name))
        match, result = next((found for found in matches if found[0] is not None), (None, ""))
        if match is None:
            return text

        def group(place: re.Match[str]) -> str:
            word = match[place[1]] or ""
            return self.formed(place[2], word) if place[2] else word

        return _RESULT.sub(group, result)

    def _endings(self, form: Form) -> Sequence[tuple[str, str]]:
        found: Sequence[tuple[str, str]] | None = self.__dict__.get(f"_pairs_of_{form.endings}")
        if found is None:
            found = [*pairs(self.words[form.endings]).items()] if form.endings else []
            self.__dict__[f"_pairs_of_{form.endings}"] = found
        return found

    def _compiled(self, key: str, *written: str) -> re.Pattern[str]:
        try:
            filled = [*map(self._filled, written)]
            if len(written) != 1:
                unnamed = (f"(?P<row{nth}>{_unnamed(row, nth)})" for nth, row in enumerate(filled))
                filled = ["|".join(unnamed) or _NEVER]
            # Signs of Han have one case, and the compiler would look for another one of each.
            return re.compile(_HAN_SET.sub(r"(?-i:\g<0>)", filled[0]), re.IGNORECASE)
        except (KeyError, RecursionError, re.error) as error:
            why = f"no list, part, form or pattern {error}" if isinstance(error, KeyError) else error
            raise NotationError(f"{self.code}.toml: {key}: {why}, in {written[0]:.80}") from error

    def _filled(self, pattern: str) -> str:
        return _PLACE.sub(lambda place: f"(?:{self._part(place[1])})", uncaptured(pattern))

    def _part(self, name: str) -> str:
        found: str | None = self._filled_parts.get(name)
        if found is None:
            found = self._filled_parts[name] = self._filled("|".join(self._alternatives(name)))
        return found

    @cached_property
    def _filled_parts(self) -> dict[str, str]:
        return {}

    def _alternatives(self, name: str) -> Sequence[str]:
        """Return what a place in a pattern may be."""
        words, _, form = name.partition(":")
        if words in self.words:
            found = [_PAIR.sub(r"\1", word).replace("_", " ") for word in self.words[words].split()]
            return [self.formed(form, word) for word in found] if form else found
        if (part := self.parts.get(name) or _PARTS.get(name)) is not None:
            return rows(part)
        if name == "days":
            return [*_firsts(self.time.weekdays), *_firsts(self.time.months)]
        if name not in ATTRIBUTES:
            raise KeyError(name)
        return rows(getattr(self, name))


def _unnamed(row: str, nth: int) -> str:
    """Return a row without names of groups, but those that it repeats, with the row's number behind them."""
    for name in _REPEATED.findall(row):
        row = row.replace(f"(?P<{name}>", f"(?P<{name}{nth}>").replace(f"(?P={name})", f"(?P={name}{nth})")
    return _GROUP.sub(lambda group: group[0] if group[1].endswith(str(nth)) else "(?:", row)


class _LazyPatterns(Sequence[re.Pattern[str]]):
    """Patterns of an attribute, each compiled when it is first used."""

    def __init__(self, lexicon: Lexicon, attribute: str) -> None:
        self._lexicon, self._attribute = lexicon, attribute
        self._rows: list[str | re.Pattern[str]] = [*rows(getattr(lexicon, attribute))]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, nth: int) -> re.Pattern[str]:  # type: ignore[override]
        row = self._rows[nth]
        if isinstance(row, str):
            row = self._rows[nth] = self._lexicon._compiled(self._attribute, row)
        return row


ATTRIBUTES: Final = tuple(field.name for field in msgspec.structs.fields(Lexicon) if field.type is Rows)


def _firsts(spellings: str) -> list[str]:
    """Return the first spelling of each word of a calendar."""
    return [word.split()[0] for word in spellings.split(",") if word]


def _translation(alike: str) -> dict[int, str]:
    return {ord(pair[0]): pair[1] for pair in alike.split()}


_HAN: Final = re.compile("[\u4e00-\u9fff]")
_CYRILLIC: Final = re.compile("[\u0400-\u04ff]+")
_LATIN: Final = re.compile("[A-Za-z\u00c0-\u024f]+")
FOLDER: Final = Path(__file__).parent


@cache
def languages() -> tuple[Lexicon, ...]:
    """Return all languages by their rank."""
    paths = sorted(FOLDER.glob("??.toml"))
    found = [read_language(path.stem, path.read_text(encoding="utf-8")) for path in paths]
    return tuple(sorted(found, key=lambda language: language.rank))


@cache
def language_of(code: str) -> Lexicon:
    """Return the language of a code."""
    return next(language for language in languages() if language.code == code)


@cache
def languages_in(script: Script) -> tuple[Lexicon, ...]:
    """Return the languages that are written in a script."""
    return tuple(language for language in languages() if language.script == script)


def script_of(text: str) -> Script:
    """Return the script of most words of a text; two signs of Han are counted as a word."""
    if not (has_han(text) or has_cyrillic(text)):
        return "latin"
    counts: Mapping[Script, float] = {
        "han": len(_HAN.findall(text)) / 2,
        "cyrillic": len(_CYRILLIC.findall(text)),
        "latin": len(_LATIN.findall(text)),
    }
    return max(counts, key=lambda script: counts[script])


@cache
def way_fields() -> frozenset[str]:
    """Return the fields of a mail's header that tell by whom, to whom and when it was sent."""
    return frozenset(field for language in languages() for field in language.way_fields.split())


@cache
def mail_fields() -> frozenset[str]:
    """Return the fields of a mail's header, in all languages."""
    return way_fields().union(*(language.other_fields.split() for language in languages()))


def is_label(lexicon: Lexicon, words: str) -> bool:
    """Return True for words before a colon that are no person: labels, or fields of a mail's header."""
    return words.strip().lower() in mail_fields() or lexicon.match("labels", words) is not None


def is_line_of(attribute: str, words: str) -> bool:
    """Return True if a pattern of *attribute* in any language matches from the start of *words*."""
    return any(language.matches_start(attribute, words) for language in languages())


def read_language(code: str, text: str) -> Lexicon:
    """Return the language of a data file.

    Raises:
        NotationError: it is no TOML, or has a key that is missing, unknown or of another type.
    """
    try:
        written = tomllib.loads(text)
        for named in (written, written.get("time")):
            if isinstance(named, dict):
                named["code"] = code
        return msgspec.convert(written, Lexicon)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise NotationError(f"{code}.toml: {error}") from error
