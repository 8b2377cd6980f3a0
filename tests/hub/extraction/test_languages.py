"""Data files of languages: what they mean, what is wrong in them, and that a new one needs no code."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from hub.document import Document
from hub.extraction.items import ExtractionOptions
from hub.extraction.ruled import ToRead
from hub.extraction.when.language import NotationError
from hub.extraction.when.resolve import resolve
from hub.extraction.wording import languages as module
from hub.extraction.wording import recognition
from hub.extraction.wording.languages import (
    ATTRIBUTES,
    Lexicon,
    languages,
    languages_in,
    read_language,
    script_of,
)
from protocol.tables import TABLES
from tests.support.families import each

# A language of a few words: Italian, in which "comprerà" is "will buy".
SMALL = r"""
rank = 9
script = 'latin'
example = 'Anna deve comprare il pane.'
common = 'il la di che deve entro e'
no_names = 'ieri oggi'
name = '(?-i:[A-Z]\w+)'
way_fields = 'inviato'
verbs = '\b{work_verbs}\b'
requests = '''
per favore( ora)? \
    {work}
{names} {must} {what}
(?P<what>{work_verbs:future} .+)
'''
duties = '{names} {must} {work}'
rewrites = '(?P<what>.+) da (?P<verb>{work_verbs:participle}) => {verb:infinitive} {what:lower}'
finite = '{work_verbs:future}'

[words]
work_verbs = 'comprare tagliare far_vedere'
irregular = 'visto=vedere'

[parts]
and = ' e'
must = 'deve|dovrà'

[forms.future]
rules = '(?P<stem>\w+)are(?P<more> .+)? => {stem}erà{more}'

[forms.base]
rules = '(?P<stem>\w+)erà => {stem}are'

[forms.participle]
rules = '(?P<stem>\w+)are => {stem}ato'

[forms.infinitive]
endings = 'irregular'
most_before = 2
alike = 'áa'
rules = '(?P<stem>\w+)ato => {stem}are'

[time]
months = '''
gennaio, febbraio, marzo, aprile, maggio, giugno, luglio, agosto, settembre, ottobre, novembre, dicembre
'''
weekdays = 'lunedì, martedì, mercoledì, giovedì, venerdì, sabato, domenica'
units = 'minuto, ora, giorno giorni, settimana, mese, trimestre, anno'
numbers = 'due=2 tre=3'
sayings = '''
{d}{to} {month}( {y})?
{weekday}
dopodomani      => days=2
tra {n} {unit}  => sign=1
{span} prossim[oa] => steps=1
'''
fillers = 'il|la'
dues = 'entro'
rewrites = '\bdal (?P<start>.+) al\b => {start} -'
is_day_first = true

[time.halves]
evening = 'sera'

[time.spans]
week = 'settimana'

[time.parts]
to = '( ?- ?\d{1,2})?'
"""


@pytest.fixture
def small() -> Lexicon:
    return read_language("it", SMALL)


def test_language_file_rows_are_compiled_into_matching_patterns(small: Lexicon) -> None:
    order, duty, future = small.patterns("requests")
    for pattern, text, groups in (
        (order, "PER FAVORE ora comprare uova", {"what": "comprare uova"}),
        (duty, "Anna e Bruno dovrà cantare", {"who": "Anna e Bruno", "what": "cantare"}),
        (duty, "anna deve cantare", None),
        (future, "Taglierà il pane", {"what": "Taglierà il pane"}),
        (future, "far vederà il pane", None),
        (small.patterns("verbs")[0], "far vedere", {}),
    ):
        match = pattern.match(text)
        assert (match and match.groupdict()) == groups, text


def test_language_rules_rewrite_words_into_base_forms(small: Lexicon) -> None:
    assert small.rewritten("Pane da tagliato") == "tagliare pane"
    assert small.rewritten("Pane da vendere") == "Pane da vendere"
    assert (small.base_form("Taglierà"), small.base_form("Vende")) == ("tagliare", "Vende")
    for word, form in (("rivisto", "rivedere"), ("previsto", "previsto"), ("tagliáto", "tagliáto")):
        assert small.formed("infinitive", word) == form


def test_language_file_date_phrases_are_parsed_into_parts(small: Lexicon) -> None:
    for text, parts in (
        ("5-7 maggio 2026", {"day": 5, "month": 5, "year": 2026}),
        ("entro venerdi", {"is_due": True, "weekday": 4}),
        ("dopodomani", {"days": 2}),
        ("tra tre giorni", {"shift": (3, "day")}),
        ("settimana prossima", {"span": ("week", 1)}),
        ("dal 5 maggio al 7 maggio", {"day": 7, "month": 5, "is_to": True}),
    ):
        found: dict[str, object] = {}
        for part in small.time.parse(text) or ():
            found |= {
                name: value for name in part.__struct_fields__ if (value := getattr(part, name)) is not None
            }
        assert found.items() >= parts.items(), text


@each(
    ("old", "new", "error"),
    [
        ("verbs = '\\b{work_verbs}\\b'", "", "it.toml: Object missing required field `verbs`"),
        ("finite = ", "fnite = ", "it.toml: Object contains unknown field `fnite`"),
        ("most_before = 2", "most_before = 'two'", "it.toml: Expected `int`, got `str` - at `$.forms[...]"),
        ("rank = 9", "rank = ", "it.toml: Invalid value (at line 2, column 8)"),
        ("script = 'latin'", "script = 'runic'", "it.toml: Invalid enum value 'runic' - at `$.script`"),
        ("evening = ", "dusk = ", "it.toml: Invalid enum value 'dusk' - at `key` in `$.time.halves`"),
        ("lunedì, ", "", "it.toml: weekdays: 7 words are expected between commas, not 6 - at `$.time`"),
        ("due=2", "due", "it.toml: numbers: pairs such as 'two=2' are expected, not 'due' - at `$.time`"),
        ("{work}\n", "{wrok}\n", "it.toml: requests: no list, part, form or pattern 'wrok', in per favore"),
        ("must = 'deve", "must = '{must}", "it.toml: requests: maximum recursion depth exceeded"),
        (
            "favore( ora)?",
            "favore( ora?",
            "it.toml: requests: missing ), unterminated subpattern at position 10",
        ),
        (
            "{work_verbs:future} .+",
            "{work_verbs:fture} .+",
            "it.toml: requests: no list, part, form or pattern",
        ),
        (
            "endings = 'irregular'",
            "endings = 'regular'",
            "it.toml: forms.infinitive.endings: no list 'regular' in words",
        ),
        (
            "[forms.base]",
            "[forms.basis]",
            "it.toml: forms: 'base' is expected, the form of words that are finite",
        ),
        (
            "{what:lower}",
            "{waht:lower}",
            "it.toml: rewrites: no such group or form in {verb:infinitive} {waht",
        ),
        (
            "{what:lower}",
            "{what:small}",
            "it.toml: rewrites: no such group or form in {verb:infinitive} {what",
        ),
        (
            "days=2",
            "day=two",
            "it.toml: time.sayings: Expected `int | null`, got `str` - at `$.day`, in dopodomani",
        ),
        ("days=2", "dyas=2", "it.toml: time.sayings: Object contains unknown field `dyas`, in dopodomani"),
        ("{d}{to}", "{d}{two}", "it.toml: time.sayings: no part or place 'two', in {d}{two} {month}"),
        (" => steps=1", "", "it.toml: time.sayings: no part or place 'steps', in {span} prossim[oa]"),
    ],
)
def test_language_file_error_names_the_file_the_key_and_the_expected_value(
    old: str, new: str, error: str
) -> None:
    assert SMALL.count(old) == 1
    with pytest.raises(NotationError) as raised:
        built(read_language("it", SMALL.replace(old, new)))
    assert str(raised.value).startswith(error)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of data files, with those of the product."""
    for path in module.FOLDER.glob("*.toml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    forget()
    yield tmp_path
    forget()


def test_added_language_file_enables_prose_and_date_reading(folder: Path) -> None:
    text = "Anna deve comprare il pane entro dopodomani."
    document = Document(unit_key="", text=text, content_hash="")
    request = ToRead(document=document, options=ExtractionOptions(data_types=tuple(TABLES)), reads_prose=True)
    assert request.answer().items == []
    (folder / "it.toml").write_text(SMALL, encoding="utf-8")
    forget()
    (item,) = request.answer().items
    assert (item.data["title"], item.data["assignee"]) == ("comprare il pane entro dopodomani", ["Anna"])
    assert module.is_label(languages()[0], "Inviato")
    moment = resolve("dopodomani", anchor=date(2026, 3, 4), timezone="UTC")
    assert moment is not None
    assert moment.at.date() == date(2026, 3, 6)


def test_faulty_language_file_is_an_error_for_dates_of_every_language(folder: Path) -> None:
    (folder / "it.toml").write_text(SMALL.replace("{d}{to}", "{d}{two}"), encoding="utf-8")
    forget()
    with pytest.raises(NotationError, match=r"it\.toml: time\.sayings"):
        resolve("tomorrow", anchor=date(2026, 3, 4), timezone="UTC")


def forget() -> None:
    """Let the data files be read again."""
    known = (recognition.unread_languages, recognition.common_codes)
    for cached in (languages, languages_in, module.way_fields, module.mail_fields, *known):
        cached.cache_clear()


def built(language: Lexicon) -> None:
    """Compile all patterns of a language."""
    for attribute in ATTRIBUTES:
        _ = [*language.patterns(attribute)]
    for rules in ("rewrites", *language.forms):
        language.rules(rules)
        language.formed(rules, "visto") if rules in language.forms else language.rewritten("Pane da visto")
    assert language.time.parse("lunedi") is not None


def test_no_pattern_of_a_language_is_written_twice() -> None:
    for language in languages():
        for attribute in ("requests", "spanning", "addressed", "duties", "reports", "decisions", "projects"):
            rows = [pattern.pattern for pattern in language.patterns(attribute)]
            assert len(set(rows)) == len(rows) > 0, (language.code, attribute)


def test_word_list_of_an_unspaced_language_has_no_word_after_a_prefix() -> None:
    for language in languages():
        lists = [] if language.time.is_spaced else [words.split() for words in language.words.values()]
        for words in lists:
            hidden = [word for at, word in enumerate(words) if word.startswith(tuple(words[:at]))]
            assert hidden == [], language.code


def test_language_ranks_are_unique_and_sorted() -> None:
    ranks = [language.rank for language in languages()]
    assert ranks == sorted(set(ranks))


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Return the \u9451\u5b9a to Kaito by Friday", "latin"),
        ("Boris meets \u0410\u043d\u043d\u0430 at the station tomorrow", "latin"),
        ("\u66f4\u65b0 documentation", "han"),
        ("\u628a API \u6587\u6863\u53d1\u7ed9 Marco", "han"),
        ("\u041e\u0431\u043d\u043e\u0432\u0438\u0442\u044c README", "cyrillic"),
        ("2026-12-04", "latin"),
    ],
)
def test_script_of_a_text_is_the_predominant_script(text: str, script: str) -> None:
    assert script_of(text) == script
