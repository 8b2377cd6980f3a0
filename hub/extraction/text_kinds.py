"""Detection of published texts and invoices, which contain no tasks of a person. Pure.

Texts of reference, such as change logs, licences, guides and recipes, are published and are no notes. The
text as a whole decides: its title, titles and versions among its headings, and numbers of clauses.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Final

from hub.extraction.chunk import Passage
from hub.extraction.wording.languages import is_line_of, languages_in, script_of

_MIN_CLAUSES: Final = 3
_MAX_LINES: Final = 80  # of a recipe
_LONG: Final = 1_500  # characters
_PAGES: Final = frozenset(
    {".htm", ".html", ".xhtml", ".rst"}
)  # such texts are published, whatever their length

# Names by which packages have such texts, whatever the language.
_NAMES: Final = re.compile(
    r"(?:(?:un)?licen[cs]es?|copying|copyright|notice|authors|contributors|maintainers|changes?(?:log)?"
    r"|history|news|release[_ -]?notes|relnotes|readme|install|contributing|code[_ -]of[_ -]conduct|security"
    r"|agents|claude|gemini|copilot[_ -]instructions|skill"  # rules for assistants
    r")(?![^\W_])",
    re.IGNORECASE,
)
# The first words of a prompt.
_PROMPT: Final = re.compile(
    r"^[#>* \t]*(?:You are (?:an? |the |now |working in )|Du bist (?:ein|der|die) |Tu es une? |Eres una? "
    r"|Ты [—-] |你是一)[^\n]{0,200}?(?:assistant|agent|model|expert|engineer|repository|codebase|Assistent"
    r"|Experte|asistente|agente|ассистент|помощник|助手|专家)",
    re.MULTILINE,
)
_ENDS: Final = (".", "!", "?", "\u3002", "\uff01", "\uff1f")
_MARKS: Final = " \t#*_=>\ufeff"
_VERSION: Final = re.compile(
    r"\W{0,3}(?:v(?:ersion )?\d{1,4}\.\d|\d{1,4}\.\d{1,4}(?:\.\w|\W{1,3}\d{4}\b))", re.IGNORECASE
)
_BEFORE_SENTENCES: Final = re.compile(r":(?= [^:.!?]{1,200}[.!?] )")
_OPEN: Final = re.compile(r"^[ \t]*+(?:[-*+]|\d{1,3}\.) (?:\[ \]|TODO\b)", re.MULTILINE)
_CLAUSE: Final = re.compile(r"^[ \t]*+(\d{1,2})\.(\d{1,2})\.?[ \t]++[^\W\d_]", re.MULTILINE)


# Units of a kitchen, and of a time of cooking.
_UNITS: Final = """
g kg mg ml cl dl l oz lb tsp tbsp cup cups el tl bund prise cuillère cuillères cda cdas cucharada min mins
minute minutes minuten minutos h hour hours stunde stunden heure heures hora horas °c \u0433 кг мл л стакан
стакана щепотка мин минут минуты час часа часов
"""
_AMOUNT: Final = re.compile(
    rf"\d ?(?:{'|'.join(_UNITS.split())})(?!\w)|\d ?(?:克|千克|毫升|勺|分钟|小时)", re.IGNORECASE
)
_MIN_STEPS: Final = 2  # of a recipe, and amounts


def _is_recipe(text: str) -> bool:
    """Return True if half of the lines of a text have an amount, or a verb of cooking, and none a box."""
    lines = [line for line in text.splitlines() if line.strip(_MARKS)]
    if len(lines) > _MAX_LINES or _OPEN.search(text):
        return False
    cooked = {
        line for language in languages_in(script_of(text)) for line in lines if language.has("cooking", line)
    }
    measured = {line for line in lines if _AMOUNT.search(line)}
    is_both = min(len(cooked), len(measured)) >= _MIN_STEPS
    return is_both and 2 * len(cooked | measured) >= len(lines)


def is_reference(name: str, text: str, passages: Sequence[Passage], *, has_day: bool) -> bool:
    """Return True if *text* is read to know something, and not to do it.

    A long text and a page are, unless they tell a day of writing, or have a list of work: what people write
    for each other, or for themselves, does.

    Args:
        name: of its file.
    """
    if _NAMES.match(PurePosixPath(name.replace("\\", "/")).name) or _PROMPT.search(text[:_LONG]):
        return True
    first = next((line for line in text.splitlines() if line.strip(_MARKS)), "").strip(_MARKS)
    titles = {title.strip(_MARKS): None for passage in passages for title in passage.headings}
    first = _BEFORE_SENTENCES.split(first)[0]  # "Recipe of the week: Wash the jars. Dry them."
    if _is_title(first) or any(_is_title(title) for title in list(titles)[:1]):
        return True
    if _is_recipe(text):
        return True
    is_page = PurePosixPath(name).suffix.lower() in _PAGES
    if (
        (is_page or len(text) > _LONG)
        and not has_day
        and not (is_line_of("salutations", first) or _OPEN.search(text))
        and not any(is_line_of("to_do", title) for title in titles)
    ):
        return True
    found = sum(_is_title(title) or _VERSION.match(title) is not None for title in titles)
    clauses = _CLAUSE.findall(text)  # "2.1", "2.2"; times and days are in no such order
    in_order = sum(
        (first, int(nth) + 1) == (other, int(next_)) for (first, nth), (other, next_) in pairwise(clauses)
    )
    return found >= 2 or in_order >= _MIN_CLAUSES - 1  # of sections that stand in such texts alone


def is_invoice(text: str) -> bool:
    """Return True if one of the first lines is the title of an invoice, and another one its sum."""
    lines = [line.strip(_MARKS) for line in text.splitlines()[:60]]  # of an invoice
    return any(
        all(any(map(pattern.match, lines)) for pattern in language.patterns("invoices"))
        for language in languages_in(script_of(text))
    )


def _is_title(words: str) -> bool:
    return len(words) <= 80 and not words.endswith(_ENDS) and is_line_of("reference", words)
