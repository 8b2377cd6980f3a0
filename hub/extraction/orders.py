"""A search for sentences that give orders to a machine (prompt injection), in six languages.

A linear model decides: each word, beginning of a word, pair of words and pair of ideographs has a weight. A
sentence whose weights sum up to more than zero resembles orders more than what people write to each other.
The weights are integers in one file, so that each machine decides alike. ``tests/evaluation/training.py``
learns them from orders and honest sentences. Patterns find the markup and code of orders.

The search is for normalized text: lower case, compatibility characters replaced, ``_`` as a blank, nothing
hidden. Pure functions.
"""

import re
from array import array
from collections.abc import Iterator, Set
from functools import cache, lru_cache
from itertools import combinations
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

_WEIGHTS: Final = Path(__file__).with_name("orders.weights")  # a signed byte for each residue of a checksum
BIAS: Final = ""  # a feature of every sentence
SCALE: Final = 16  # of the weights: logits are multiplied by it and rounded
_STRONG: Final = 2 * SCALE  # people do not write so to each other
_MOST_WORDS: Final = 40  # of a sentence; a text without punctuation is cut
_WORD: Final = re.compile(r"[\u2e80-\u9fff]{1,80}|[^\W\d_\u2e80-\u9fff]{1,40}|\d{1,40}|[^\w\s]{1,3}")
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s|$)|[\u3002\uff01\uff1f]|\n")
_IDEOGRAPHS: Final = "\u2e80", "\u9fff"
_STEMS: Final = 4, 6  # letters of the beginning of a word

# By topic, words of scripts with blanks. A topic, and a pair of them in a sentence, has a weight too.
_WORDS: Final = {
    "override": (
        r"ignor\w*|disregard\w*|forget|forgot|overrid\w+|bypass\w*|discard\w*|supersed\w+|vergiss"
        r"|vergesst|vergessen|missacht\w+|übergeh\w*|umgeh\w*|überspring\w*|oublie\w*|néglige\w*"
        r"|contourne\w*|outrepasse\w*|olvid\w+|omit\w+|descart\w+|desobede\w+|(?:про)?игнорир\w+"
        r"|забудь\w*|забыть|пренебрег\w+|отбрось\w*"
    ),
    "instruction": (
        r"instructions?|prompts?|guidelines?|directives?|commands?|restrictions?|guardrails?|guidance"
        r"|programming|anweisung\w*|instruktion\w*|vorgaben?|befehle?n?|richtlinien?|systemprompt\w*"
        r"|consignes?|instrucci[oó]n\w*|órdenes|indicaciones|инструкци\w+|указани\w+|команд\w+"
        r"|промпт\w*|приказ\w*"
    ),
    "rule": (r"rules?|polic(?:y|ies)|orders|limits?|regeln?|règles?|ordres|reglas?|правил\w*"),
    "machine": (
        r"llms?|models?|assistants?|assistent\w*|asistentes?|ассистент\w*|agents?|(?:chat)?bots?|chatgpt"
        r"|parsers?|machines?|crawlers?"
        r"|scrapers?|silicon|ki|sprachmodell\w*|modell\w*|maschinell?\w*|ia|modèles?"
        r"|modelos?|máquina\w*|analyseur|analizador|ии|модел\w+|машин\w+|нейросет\w+"
        r"|бот\w*|парсер\w*|интеллект\w*"
    ),
    "program": (
        r"systems?|programs?|software|tools?|scripts?|automat\w+|programm\w*|werkzeug\w*|skript\w*"
        r"|système|logiciel\w*|programmes?|outils?|sistema\w*|programas?|herramienta\w*|систем\w+"
        r"|программ\w+|скрипт\w*|автомат\w+"
    ),
    "output": (
        r"output\w*|respond\w*|responses?|repl(?:y|ies)|answers?|print|prints|append\w*|summar\w+|json"
        r"|canary|verbatim|ausgabe\w*|ausgeben|antwort\w*|zusammenfass\w*|réponse\w*|répond\w*"
        r"|résumé\w*|respuesta\w*|respond\w+|resumen|ответ\w*|сводк\w+|вывед\w+"
    ),
    "record": (
        r"tasks?|records?|entr(?:y|ies)|items?|to.?dos?|aufgaben?\w*|eintr[aä]g\w*|datens[aä]tz\w*"
        r"|tâches?|entrées?|enregistrements?|tareas?|entradas?|registros?|задач\w+|запис\w+|элемент\w*"
    ),
    "adding": (
        r"add|create|insert|inject|register|enter|extract|emit|include|list|log|füge\w*|erstelle\w*"
        r"|lege|erzeuge\w*|trage\w*|trag|eintragen|generier\w*|extrahier\w*|nimm|aufnehmen|ajoute\w*"
        r"|crée\w*|insère\w*|enregistre\w*|génère\w*|extrai\w*|inscri\w*|añad\w+|agreg\w+|cre[ae]r?"
        r"|insert\w+|registr[aeo]\w*|genera|anot\w+|добав\w+|созда\w+|внес\w+|вставь\w*|запиш\w+"
        r"|извле\w+"
    ),
    "scope": (
        r"previous\w*|prior|above|earlier|preceding|everything|regardless|instead|only|vorherig\w*"
        r"|bisherig\w*|obig\w*|früher\w*|oben|zuvor|alles|précédent\w*|désormais|anterior\w*"
        r"|previ[oa]s?|предыдущ\w+|прежн\w+|выше\w*|отныне|все|всё"
    ),
    "disguise": (
        r"decod\w*|obey\w*|comply|complies|pretend\w*|simulate\w*|persona|unrestricted|unfiltered"
        r"|uncensored|jailbreak\w*|base64|rot13|decrypt\w*|entwicklermodus|gehorch\w*|obéi\w*"
        r"|obedec\w*|подчин\w+"
    ),
    "authority": (
        r"execut\w*|reveal\w*|authori[sz]ed|approved|trusted|genehmigt|freigegeben|befolg\w*"
        r"|ausführ\w*|exécut\w*|approuvé\w*|validé\w*|aprobad\w+|ejecut\w+|одобрен\w*|утвержд[её]н\w*"
        r"|выполн\w+"
    ),
}
# By topic, words of scripts without blanks.
_SIGNS: Final = {
    "override": (r"不要(?:遵守|遵循|理[会會])|忽略|无视|無視|忘[记記掉]|[绕繞][过過]|跳过|抛开"),
    "instruction": (r"指令|指示|提示|[规規][则則定]|命令"),
    "machine": (r"人工智[能慧]|模型|机器人?|[机機]器|助手|助理"),
    "program": (r"系[统統]|程序|程式|[软軟][件體]|工具|自[动動]"),
    "output": (r"回[答复覆]|[输輸]出|摘要|[结結]果"),
    "record": (r"任[务務]|[记記][录錄]|[条條]目|待[办辦]"),
    "adding": (r"添加|新增|新建|[创創]建|插入|生成|加入|[写寫]入|提取|登[记記]|列入"),
    "scope": (r"之前|以上|上面|先前|一切|所有|从[现現]在"),
    "disguise": (r"服[从從]|解[码碼]|[开開][发發]者模式|扮演"),
    "authority": (r"批准|[审審][核]|核准|[执執]行"),
}

_PHRASES: Final = {
    "override": (
        r"außer acht|caso omiso|(?:do not|don t|stop) (?:follow|obey|heed)\w*|halte? dich nicht"
        r"|ne (?:respecte|suis|suive|tiens|tene)z?|no (?:respetes|sigas|cumplas|obedezcas|hagas caso)"
        r"|не (?:соблюдай|следуй|слушай)(?:те)?"
    ),
    "machine": r"a\.i|language models?|gpt ?\d",
    "output": r"word for word",
    "record": r"action items?|to dos?",
    "scope": (
        r"no longer|from now on|no matter|ab sofort|ab jetzt|nur noch|ci dessus|tout ce|plus tenir|todo lo"
        r"|a partir de ahora|с этого момента"
    ),
    "disguise": (
        r"(?:to the|as an|are an) ai|ai (?:assistant|model|system|agent|reader)s?|from now on you"
        r"|you are now an? (?:ai|assistant)|your (?:only|new|real) (?:job|task)|act as|is ?approved"
        r"|role ?play\w*|(?:developer|debug|god|admin) mode|api keys?|system prompts?"
        r"|pre ?approved|modo desarrollador|режим\w* (?:разработчика|обслуживания)"
    ),
}
_BLANK: Final = r"(?:[\W_]{1,4})"

# Markup of conversations, prompts, answers and the hub's delimiters: a blank matches literally.
_MARKS: Final[tuple[str, ...]] = (
    r"<\|[a-z ]{2,30}\|>|\[/?inst\]|<</?sys>>",
    r"</?(?:system|assistant|instructions?|prompts?|tool call|tool|function|think|admin"
    r"|human)\b[^<>\n]{0,80}>",
    r"^[>\s#*\-]{0,8}(?:system|assistant|developer|human|ai)(?: prompt| message"
    r"| note)?\*{0,2}\s{0,2}[:\uff1a]",
    r"^[>\s]{0,4}#{2,6}\s{0,3}(?:instructions?|system|prompt|response|anweisung\w{0,3})\b",
    r"^[>\s]{0,4}-{3,9}\s{0,2}[0-9a-f]{6,64}\s{0,2}$",
    r"\b(?:end|begin|start) (?:prompt|instructions?)\b|\b(?:end|beginning|start|begin) of (?:the )?"
    r"(?:document|text|prompt|input|data|instructions|untrusted \w{1,20})\b",
    r"[\"'\u201c\u201d\u300c](?:tables?|items|quote|tasks|notes|timelines|projects|assignee|duedate|role"
    r"|tool calls?|function|title|isapproved)"
    r"[\"'\u201c\u201d\u300d]\s{0,3}[:\uff1a]",
    r"<!--(?:[^-]|-(?!->)){0,4000}+(?:-->)?|^\[(?://|comment)\]:[^\n]{0,1000}",
    r"\bdisplay\s{0,2}:\s{0,2}none|\bvisibility\s{0,2}:\s{0,2}hidden|\bfont-size\s{0,2}:\s{0,2}0"
    r"|\bopacity\s{0,2}:\s{0,2}0(?![.\d])",
    r"(?<!\w)(?:[^\W\d_][ .\-]{1,3}){8,40}[^\W\d_](?!\w)",  # s p a c e d
    # A word that mixes two alphabets to imitate another word.
    r"(?<!\w)(?:[a-z]{1,20}[а-яёії]{1,20}[a-z]{1,20}|[а-яёії]{1,20}[a-z]{1,20}[а-яёії]{1,20})(?!\w)",
)


class Sentence(NamedTuple):
    """Sentence of a text, with the words and pairs of words in it."""

    start: int
    end: int
    units: Set[str]


@cache
def _dress() -> list[re.Pattern[str]]:
    """Return the patterns individually: a combined one is slower. They are compiled on first use."""
    return [re.compile(mark, re.MULTILINE | re.DOTALL) for mark in _MARKS]


@cache
def _weights() -> "array[int]":
    return array("b", _WEIGHTS.read_bytes())


def find_orders(plain: str) -> Iterator[tuple[int, int, bool]]:
    """Yield the places in *plain* that may be orders; True if people would not write so to each other."""
    before: Sentence | None = None
    for one in sentences_of(plain):
        score = sum(map(weight, one.units))
        if score + weight(BIAS) > 0:
            yield one.start, one.end, score + weight(BIAS) > _STRONG
        elif before and not plain[before.end : one.start].strip("\n") and before.end + 1 >= one.start:
            both = score + sum(weight(unit) for unit in before.units - one.units) + weight(BIAS)
            if both > 0:
                yield before.start, one.end, both > _STRONG
        before = one
    for dress in _dress():
        yield from ((*match.span(), True) for match in dress.finditer(plain))


def sentences_of(plain: str) -> Iterator[Sentence]:
    """Yield the sentences of *plain* with their units."""
    begin = 0
    for end in (*(match.end() for match in _SENTENCE_END.finditer(plain)), len(plain)):
        words = list(_WORD.finditer(plain, begin, end))
        for first in range(0, len(words), _MOST_WORDS):
            some = words[first : first + _MOST_WORDS]
            start, stop = some[0].start(), some[-1].end()
            yield Sentence(start, stop, units_of([word[0] for word in some], plain[start:stop]))
        begin = end


def units_of(words: list[str], text: str) -> set[str]:
    """Return the units of a sentence: words and pairs of words, topics and pairs of topics.

    Of ideographs, pairs and triples are units; of any number, a zero.
    """
    units: set[str] = set()
    topics = {topic for topic, phrase in _phrases() if phrase.search(text)}
    before = ""
    for word in words:
        if _IDEOGRAPHS[0] <= word[0] <= _IDEOGRAPHS[1]:
            units.update(word[at : at + size] for size in (2, 3) for at in range(len(word) - size + 1))
            before = word[-1]
            continue
        plain = "0" if word[0].isdigit() else word
        topics |= _topics_of(plain)
        units.add(plain)
        if before:
            units.add(f"{before} {plain}")
        before = plain
    units.update(f"#{topic}" for topic in topics)
    units.update("#{} #{}".format(*pair) for pair in combinations(sorted(topics), 2))
    return units


@cache
def _words() -> dict[str, re.Pattern[str]]:
    return {topic: re.compile(pattern) for topic, pattern in _WORDS.items()}


@cache
def _phrases() -> list[tuple[str, re.Pattern[str]]]:
    spaced = [
        (topic, re.compile(rf"(?<![^\W_])(?:{pattern.replace(' ', _BLANK)})(?![^\W_])"))
        for topic, pattern in _PHRASES.items()
    ]
    return spaced + [(topic, re.compile(pattern)) for topic, pattern in _SIGNS.items()]


@lru_cache(maxsize=8_192)  # texts repeat their words
def _topics_of(word: str) -> frozenset[str]:
    return frozenset(topic for topic, pattern in _words().items() if pattern.fullmatch(word))


@lru_cache(maxsize=65_536)  # texts repeat their words
def weight(unit: str) -> int:
    """Return the weight of a unit, which is the sum of those of its features."""
    weights = _weights()
    return sum(weights[place] for place in features(unit, len(weights)))


def features(unit: str, count: int) -> list[int]:
    """Return the places of the features of *unit* among *count*: itself, and beginnings of a word."""
    stems = [f"{unit[:size]}*" for size in _STEMS if len(unit) > size] if unit.isalpha() else []
    return [crc32(feature.encode()) % count for feature in (unit, *stems)]
