"""Words of orders to a machine (prompt injection) in six languages, and a search for sentences with them.

Orders are worded in endless ways, but speak of few things: of instructions and the end of their validity, of
a machine, its output and the records in it. People hardly ever write about two of these in one sentence. So
the words are sorted by topic, and a sentence with two topics is suspected; some phrases are enough alone. A
list of wordings was three times as long, and found fewer orders of corpora that its author had not seen.

The search is for normalized text: lower case, compatibility characters replaced, ``_`` as a blank, nothing
hidden. Pure functions.
"""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Final

# By topic, words of scripts with blanks.
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
_ENOUGH: Final = "disguise"  # alone
_OF_PEOPLE: Final = {"machine", "rule"}  # an assistant may read the rules
_STRONG_TOPICS: Final = 3  # in one sentence: not a word to a colleague
_LEAST_TOPICS: Final = 2
_MOST_WORD_CHARS: Final = 40
_WORD: Final = re.compile(r"[^\W_\u2e80-\u9fff]+")
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s|$)|[\u3002\uff01\uff1f]|\n")
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
    r"|tool calls?|function|title)"
    r"[\"'\u201c\u201d\u300d]\s{0,3}[:\uff1a]",
    r"<!--(?:[^-]|-(?!->)){0,4000}+(?:-->)?|^\[(?://|comment)\]:[^\n]{0,1000}",
    r"\bdisplay\s{0,2}:\s{0,2}none|\bvisibility\s{0,2}:\s{0,2}hidden|\bfont-size\s{0,2}:\s{0,2}0"
    r"|\bopacity\s{0,2}:\s{0,2}0(?![.\d])",
    r"(?<!\w)(?:[^\W\d_][ .\-]{1,3}){8,40}[^\W\d_](?!\w)",  # s p a c e d
    # A word that mixes two alphabets to imitate another word.
    r"(?<!\w)(?:[a-z]{1,20}[а-яёії]{1,20}[a-z]{1,20}|[а-яёії]{1,20}[a-z]{1,20}[а-яёії]{1,20})(?!\w)",
)


# Compiled on first use, which most commands do not need.


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


@cache
def _dress() -> list[re.Pattern[str]]:
    """Return the patterns individually: a combined one is slower."""
    return [re.compile(mark, re.MULTILINE | re.DOTALL) for mark in _MARKS]


@lru_cache(maxsize=8_192)  # texts repeat their words
def _topics_of(word: str) -> frozenset[str]:
    return frozenset(topic for topic, pattern in _words().items() if pattern.fullmatch(word))


def find_orders(plain: str) -> Iterator[tuple[int, int, bool]]:
    """Yield the places in *plain* that may be orders; True if people would not write so to each other."""
    topics = sorted(_places(plain))
    begin = at = 0
    for end in (*(match.end() for match in _SENTENCE_END.finditer(plain)), len(plain)):
        here = []
        while at < len(topics) and topics[at][0] < end:
            here.append(topics[at])
            at += 1
        named = {topic for _, _, topic in here}
        if named == _OF_PEOPLE:
            named.clear()
        if len(named) >= _LEAST_TOPICS or _ENOUGH in named:
            is_strong = len(named) >= _STRONG_TOPICS or _ENOUGH in named
            yield max(here[0][0], begin), max(place[1] for place in here), is_strong
        begin = end
    for dress in _dress():
        yield from ((*match.span(), True) for match in dress.finditer(plain))


def _places(plain: str) -> Iterator[tuple[int, int, str]]:
    """Yield the places of all words and phrases with a topic."""
    for match in _WORD.finditer(plain):
        for topic in _topics_of(match[0][:_MOST_WORD_CHARS]):
            yield *match.span(), topic
    for topic, pattern in _phrases():
        yield from ((*match.span(), topic) for match in pattern.finditer(plain))
