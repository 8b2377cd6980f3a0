r"""Form of a lexicon for the rules about prose: words and patterns of clauses.

A pattern is a regular expression for the start of a clause. Its group ``what`` is the work, ``who`` the name
of a person who is to do it, ``np`` other words for people. No pattern repeats a repetition, and clauses are
short: the work grows with the text.

Patterns are written one a line; a line that ends with a backslash goes on in the next one. Case is ignored,
and ``(...)`` is no group of its own. ``{part}`` means a part of the language, or one of these:

- ``{A}`` and ``{a}``: a capital letter, and a small one,
- ``{who}`` and ``{names}``: the name of a person, and of up to four,
- ``{what}`` and ``{work}``: the work to the end of the clause, in any words, and from its verb.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

_PLACE: Final = re.compile(r"\{(\w*[^\W\d]\w*)\}")
_CONTINUED: Final = re.compile(r"\\\n\s*")
_GROUP: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?!\?)")
_WAY_FIELDS: Final = """
to cc bcc from sent reply-to von an kopie gesendet antwort à de cci envoyé copie répondre para enviado cco от
кому копия отправлено 发件人 收件人 抄送 密送 发送时间
"""
WAY_FIELDS: Final = frozenset(_WAY_FIELDS.split())  # by whom, to whom and when a mail was sent
_OTHER_FIELDS: Final = "subject re fwd date betreff datum objet asunto fecha тема дата 主题 日期"
MAIL_FIELDS: Final = WAY_FIELDS.union(_OTHER_FIELDS.split())
_PLURAL: Final = re.compile("(?<=[иьй])те$")  # of an imperative in Russian
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
}

Patterns = Sequence[re.Pattern[str]]


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """Words of one language. Every attribute but the first three is a pattern, or several.

    Attributes:
        common: words by which the language is recognized, as by *weekdays*; *letters*: likewise.
        no_names: words that are no names, although they often have a capital letter.
        weekdays, months: their spellings, which are no names either; in patterns ``{days}``.
        variants: pairs of characters, of which the first counts as the second.
        code: ISO 639 code.
        name: a person's name.
        parts: parts of patterns, written in them as ``{part}``.
        verbs: verbs of work, in the form of requests and of lists; *present*: in the present tense.
        inserted: words that may interrupt a clause, and are passed over.
        fillers: words without a meaning for the work, at any place of a clause.
        leads: words before the clause proper.
        joints: places at which a sentence is split into clauses.
        requests: requests, which also count in questions.
        duties: duties, promises and plans.
        reports: work in the present tense, which counts in minutes or next to a day ahead.
        listed: lines of a list that name work.
        spanning: promises and duties whose work may be in a later clause.
        addressed: requests that count after a name and a comma.
        gapped: work without a verb, after work with one.
        more: a further verb after "and".
        settled: work that is done, cancelled or refused.
        past: verbs in the past tense, whose forms nouns of an order may have.
        unreal: hopes, doubts and stories; *general*: what holds for people in general, habits, and sayings.
        advice: the first words of a text, or of a row, in which orders are for anybody.
        personal: words of a writer and a reader, without whom several orders in a text are advice.
        concrete: duties whose verb tells that they are work, also in prose without a reader.
        states: verbs that tell what is, and not what to do.
        openers: words at which a request or a duty may begin within a clause.
        questions: endings of questions without a question mark.
        tales: signs of texts that are no notes (recipes, rules, stories); two different ones are needed.
        metadata: the start of rows about a document or a ticket, which name no work.
        asks: questions who does a work; *answers*: short answers to them.
        events: nouns for events; *happens*: verbs for them.
        articles: articles at the beginning of the title of an event.
        absent: words for an event that does not take place.
        pronoun_subjects: words for an event that the sentence before names.
        decisions: decisions.
        facts: sentences with a value to look up; *places*: facts that count in short notes only.
        values: rows with a value to look up, also if other words in them sound like work.
        projects: projects, with the group ``name``.
        comments: remarks on a task; *tickets*: the first line of a ticket;
            *threads*: a heading of remarks.
        urgent: words of urgency.
        minutes: the first lines of minutes.
        to_do: headings of tasks; *finished*, *decided* and *talk* of other lists.
        labels: words before a colon that are no people.
        me: words for the speaker; *anyone*: other words before a duty that are no names.
        finite: verbs of which the base form names a task; *base_endings* has pairs of endings for it.
        rewrites: titles and their better forms, as for ``re.sub``.
        pronouns: work on something that the words before name ("bring it").
        brief: work that needs the words before to be understood ("have a look").
        edges: words for the edge of a span ("by the end of May").
        undated: words for a day that only tell the kind of a thing ("a weekend number").
        dated: words for a day, at least one of which is in every sentence with a date.
    """

    code: str
    common: str
    no_names: str
    name: str
    verbs: str
    weekdays: str = ""
    months: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    letters: str = _NEVER
    variants: str = ""
    present: str = _NEVER
    inserted: str = _NEVER
    fillers: str = _NEVER
    leads: str = _NEVER
    joints: str = _NEVER
    requests: str = _NEVER
    duties: str = _NEVER
    reports: str = _NEVER
    listed: str = _NEVER
    spanning: str = _NEVER
    addressed: str = _NEVER
    gapped: str = _NEVER
    more: str = _NEVER
    settled: str = _NEVER
    past: str = _NEVER
    unreal: str = _NEVER
    general: str = _NEVER
    advice: str = _NEVER
    personal: str = ""
    concrete: str = _NEVER
    states: str = _NEVER
    openers: str = _NEVER
    questions: str = _NEVER
    tales: str = _NEVER
    metadata: str = _NEVER
    asks: str = _NEVER
    answers: str = _NEVER
    events: str = _NEVER
    happens: str = _NEVER
    absent: str = _NEVER
    articles: str = _NEVER
    pronoun_subjects: str = ""
    decisions: str = _NEVER
    facts: str = _NEVER
    places: str = _NEVER
    values: str = _NEVER
    projects: str = _NEVER
    comments: str = _NEVER
    tickets: str = _NEVER
    threads: str = _NEVER
    urgent: str = _NEVER
    minutes: str = _NEVER
    to_do: str = _NEVER
    finished: str = _NEVER
    decided: str = _NEVER
    talk: str = _NEVER
    labels: str = _NEVER
    me: str = _NEVER
    anyone: str = _NEVER
    finite: str = _NEVER
    base_endings: str = ""
    rewrites: Sequence[tuple[str, str | Callable[[re.Match[str]], str]]] = ()
    pronouns: str = _NEVER
    brief: str = _NEVER
    edges: str = _NEVER
    undated: str = _NEVER
    dated: str = _NEVER

    @cached_property
    def common_words(self) -> frozenset[str]:
        """Words by which the language is recognized."""
        return frozenset(self.common.split()).union(_firsts(self.weekdays))

    @cached_property
    def other_words(self) -> frozenset[str]:
        """Words that are no names, in lower case."""
        return self.common_words.union(self.no_names.lower().split(), _firsts(self.months))

    @cached_property
    def translation(self) -> dict[int, str]:
        """Table for ``str.translate`` of the variants."""
        return {ord(pair[0]): pair[1] for pair in self.variants.split()}

    @cached_property
    def subjects(self) -> frozenset[str]:
        """Words for an event that the sentence before names."""
        return frozenset(self.pronoun_subjects.split())

    def patterns(self, attribute: str) -> Patterns:
        """Return the compiled patterns of an attribute."""
        found: Patterns | None = self.__dict__.get(f"_{attribute}")
        if found is None:
            found = self.__dict__[f"_{attribute}"] = [*map(self._compiled, _rows(getattr(self, attribute)))]
        return found

    def has(self, attribute: str, text: str) -> bool:
        """Return True if a pattern of the attribute occurs in *text*."""
        return any(pattern.search(text) is not None for pattern in self.patterns(attribute))

    def match(self, attribute: str, text: str) -> re.Match[str] | None:
        """Return the first match of the attribute's patterns at the start of *text*."""
        return next(filter(None, (pattern.match(text) for pattern in self.patterns(attribute))), None)

    def is_label(self, words: str) -> bool:
        """Return True for words before a colon that are no person: labels, or fields of a mail's header."""
        return words.strip().lower() in MAIL_FIELDS or self.match("labels", words) is not None

    def rewritten(self, title: str) -> str:
        """Return a title in the form of the first rule that matches the whole of it."""
        for pattern, form in self._compiled_rewrites:
            if (match := pattern.fullmatch(title)) is not None:
                return match.expand(form) if isinstance(form, str) else form(match)
        return title

    @cached_property
    def _compiled_rewrites(self) -> list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]]:
        return [(self._compiled(pattern), form) for pattern, form in self.rewrites]

    def base_form(self, word: str) -> str:
        """Return the form of a verb that names a task, or *word* itself."""
        verb = word.lower()
        if self.patterns("finite")[0].fullmatch(verb) is None:
            return word
        verb = _PLURAL.sub("", verb)
        plain = verb.replace("\u0451", "\u0435")
        endings = (pair.split("=") for pair in self.base_endings.split())
        old, new = next((pair for pair in endings if plain.endswith(pair[0])), ("", ""))
        return verb[: len(verb) - len(old)] + new

    def _compiled(self, pattern: str) -> re.Pattern[str]:
        while _PLACE.search(pattern):
            pattern = _PLACE.sub(lambda place: f"({self._part(place[1])})", pattern)
        pattern = _GROUP.sub(lambda sign: "(?:" if sign.group() == "(" else sign.group(), pattern)
        return re.compile(pattern, re.IGNORECASE)

    def _part(self, name: str) -> str:
        if name == "days" and self.weekdays:
            return "|".join([*_firsts(self.weekdays), *_firsts(self.months)])
        return "|".join(_rows(self.parts.get(name) or _PARTS.get(name) or getattr(self, name)))


def _firsts(spellings: str) -> list[str]:
    """Return the first spelling of each word of a calendar."""
    return [word.split()[0] for word in spellings.split(",") if word]


def _rows(written: str) -> list[str]:
    """Return the patterns that are written one a line."""
    written = _CONTINUED.sub("", written)
    return [row.strip() for row in written.strip().split("\n")] if "\n" in written else [written]


def either(*words: str) -> str:
    """Return a pattern for any of the words in these lists, whole and in any case; ``_`` is a blank."""
    return rf"\b({'|'.join(' '.join(words).split())})\b".replace("_", " ")
