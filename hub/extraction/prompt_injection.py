"""Detection of sentences that give orders to a machine (prompt injection), by a linear model. Pure.

A linear model decides, in six languages: each word, pair of words, beginning of a word and pair of
ideographs has a weight. A sentence whose weights sum up to more than zero resembles orders more than what
people write to each other. The weights are integers in one file, so that each machine decides alike.
``tests/evaluation/training.py`` learns them from orders and honest sentences. Patterns find the markup and
code of orders, and sentences that override what was said before. The search is for normalized text: lower
case, compatibility characters replaced, ``_`` as a blank, nothing hidden.
"""

import re
import zlib
from collections.abc import Iterator, Set
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

_WEIGHTS: Final = Path(__file__).with_name("orders.weights")  # a byte for each residue of a checksum
BIAS: Final = ""  # a feature of every sentence
SCALE: Final = 16  # of the weights: logits are multiplied by it and rounded
_STRONG: Final = 2 * SCALE  # people do not write so to each other
_MAX_WORDS: Final = 40  # of a sentence; a text without punctuation is cut
_DIGEST: Final = r"\b(?=[a-f]{0,40}\d)[a-f\d]{12,128}\b"
_WORD: Final = re.compile(
    rf"{_DIGEST}|[\u2e80-\u9fff]{{1,80}}|[^\W\d_\u2e80-\u9fff]{{1,40}}|\d{{1,40}}|[^\w\s]{{1,3}}"
)
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s|$)|[\u3002\uff01\uff1f]|[\n\f]")
_IDEOGRAPHS: Final = "\u2e80", "\u9fff"
_STEMS: Final = 4, 6  # letters of the beginning of a word

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
    r"<!--(?>(?:[^-]|-(?!->)){0,4000})(?:-->)?|^\[(?://|comment)\]:[^\n]{0,1000}",
    r"\bdisplay\s{0,2}:\s{0,2}none|\bvisibility\s{0,2}:\s{0,2}hidden|\bfont-size\s{0,2}:\s{0,2}0"
    r"|\bopacity\s{0,2}:\s{0,2}0(?![.\d])",
    r"(?<!\w)(?:[^\W\d_][ .\-]{1,3}){8,40}[^\W\d_](?!\w)",  # s p a c e d
    # A word that mixes two alphabets to imitate another word.
    r"(?<!\w)(?:[a-z]{1,20}[а-яёії]{1,20}[a-z]{1,20}|[а-яёії]{1,20}[a-z]{1,20}[а-яёії]{1,20})(?!\w)",
)


class Overriding(NamedTuple):
    """Words of a language by which a text tells its reader to leave what was said before."""

    verbs: str
    before: str  # on either side of the noun
    your: str  # before the noun alone
    nouns: str
    all_of_it: str  # without a noun


_OVERRIDING: Final = (
    Overriding(
        r"ignor(?:e|ing)|disregard(?:ing)?|forget|discard|overr(?:ide|ule)|overwrite|bypass|skip|drop|neglect"
        r"|never mind|pay no (?:attention|heed) to"
        r"|(?:do not|don['\u2019]t|never|stop|no longer|instead of|without)"
        r" (?:follow|obey|heed|respect|appl|observ|adher|compl|us)\w{0,4}",
        r"previous(?:ly)?|prior|preceding|earlier|above|foregoing|former|initial|original|you were given",
        "your",
        r"(?:instruction|directive|direction|guideline|rule|prompt|command|constraint|restriction)s?"
        r"|guidance",
        r"the (?:above|foregoing)(?![-\w])|(?:everything|anything|all|whatever|what)(?: (?:that|you|was"
        r"|were|is|has"
        r"|have|been|written|said|told|stated|comes|came|the|text)){0,4} (?:(?:above|earlier"
        r"|previously)\b(?! \d)"
        r"|before(?= this| that| here|\W{0,3}$|,| and\b))|system prompt",
    ),
    Overriding(
        r"ignorier\w{1,3}|vergiss|vergesst|vergessen sie|missacht\w{1,3}|verw[ie]rf\w{0,2}|übergeh\w{0,2}"
        r"|überschreib\w{0,2}|überspring\w{0,2}|umgeh\w{0,2}|setz\w{0,2} (?:dich|euch|sich|sie sich) über"
        r"|(?:beacht|befolg|folg|halt)\w{1,3}(?: dich| euch| sie| sich){0,2} (?:nicht|nie|niemals|keine)"
        r"|(?:beacht|befolg|folg|lass|leg)\w{0,3}(?=[^.!?]{0,80} (?:nicht|nie|niemals|außer acht"
        r"|beiseite)\b)",
        r"(?:vorherig|vorig|bisherig|obig|früher|vorangegangen|vorangehend|vorhergehend|vorstehend"
        r"|ursprünglich)"
        r"\w{1,2}|oben|zuvor|davor|vorher|bisher",
        r"(?:dein|eur|ihr)e[nr]?",
        r"(?:an)?weisung(?:en)?|instruktion(?:en)?|regeln?|vorgaben?|richtlinien?|befehle?n?|direktiven?"
        r"|vorschrift(?:en)?|prompts?",
        r"das obige|alles (?:obige|vorherige|bisherige|vorige|vorstehende|oben|davor|zuvor)"
        r"|alles,? was(?: \w{1,12}){0,3} (?:oben|davor|vorher|zuvor|bisher)|system-?(?:prompt|anweisung)",
    ),
    Overriding(
        r"ignor(?:a|e|en|ad|ar)|olvid(?:a|e|en|ad|ar)(?:te|se)?|descart(?:a|e|en|ar)|omit(?:e|a|an|ir)"
        r"|desobede(?:ce|zca|cer)|anul(?:a|e|en|ar)|desestim(?:a|e|ar)|(?:pas[ae]r?|haz|hagan?) (?:por alto"
        r"|caso omiso)"
        r"|dej(?:a|e|en|ar)(?=[^.!?]{0,80} lado\b)|no (?:hag\w{1,4} caso|teng\w{1,4} en cuenta"
        r"|(?:sig|obede|cumpl|respet|apliqu|acat|consider)\w{1,5})",
        r"anterior(?:es|mente)?|antes|previ[oa]s?|precedentes?|arriba|original(?:es)?|inicial(?:es)?",
        "tus?|vuestr[ao]s?",
        r"instrucci(?:ón|ones)|directri(?:z|ces)|(?:directiva|regla|norma|consigna|pauta|comando|prompt)s?"
        r"|órdenes"
        r"|indicaci(?:ón|ones)|restricciones",
        r"lo (?:anterior|precedente|previo|de arriba)|(?:todo )?lo que(?: \w{1,12}){0,3} (?:arriba|antes"
        r"|anteriormente)"
        r"|prompt (?:del )?sistema",
    ),
    Overriding(
        r"ignor(?:e|es|ez|er)|oubli(?:e|es|ez|er)|néglig(?:e|es|ez|er)|contourn(?:e|es|ez|er)|écart(?:e|es"
        r"|ez|er)"
        r"|annul(?:e|es|ez|er)|rejet(?:te|tes|ez|er)|désobéi\w{0,5}|outrepass(?:e|es|ez|er)|pass(?:e|es|ez"
        r"|er) outre"
        r"|fai(?:s|tes|re) (?:abstraction|fi)|laiss(?:e|es|ez|er) tomber|(?:laiss"
        r"|met)\w{1,4}(?=[^.!?]{0,80} de côté\b)"
        r"|n(?:e |['\u2019])(?:(?:pas|plus) )?(?:tien|ten|pren|sui|obéi|respect|appliqu|écout|observ)\w{0,5}"
        r"(?: (?:pas|plus|jamais))?",
        r"précédent\w{0,2}|précédemment|antérieur\w{0,2}|préalables?|initiale?s?|ci-dessus|plus haut"
        r"|au-dessus(?! d)",
        "tes|vos",
        r"(?:instruction|consigne|directive|règle|indication|recommandation|restriction|prompt)s?|ordres",
        r"ce qui précède|(?:tout )?ce (?:qui|que|qu)(?:[ '\u2019]\w{1,12}){0,3} (?:plus haut|ci-dessus"
        r"|précédemment"
        r"|au-dessus(?! d)|avant\b(?! l| d| \d))|prompt (?:du )?système",
    ),
    Overriding(
        r"(?:про)?игнорир(?:уй|уйте|овать)|забудь(?:те)?|забыть|отброс(?:ь|ьте|ить)|отмени(?:те|ть)?"
        r"|наруш(?:ь|ьте|ай|айте|ить)|пропусти(?:те|ть)?|обойди(?:те)?|обойти|пренебре(?:ги|гите|чь)"
        r"|отверг\w{1,4}"
        r"|не (?:обраща|след|выполн|учит|соблюд|исполн|слуш|подчин|придерж|принима)\w{0,8}",
        r"(?:предыдущ|прежн|предшествующ|вышеуказанн|вышеизложенн|вышеприведённ|вышеприведенн|исходн"
        r"|изначальн)"
        r"\w{2,3}|ранее|выше",
        r"(?:сво|тво)(?:и|их|им|ими)|ваш(?:и|их|им|ими)",
        r"инструкци\w{1,3}|указани\w{1,3}|правил\w{0,3}|директив\w{0,3}|команд\w{0,3}|распоряжени\w{1,3}"
        r"|предписани\w{1,3}|ограничени\w{1,3}|промпт\w{0,3}",
        r"выше(?:сказанн|изложенн|указанн|написанн|приведённ|приведенн)о[ем]"
        r"|вс[её],? что(?: \w{1,12}){0,3} (?:выше|ранее|раньше)|вс[её] (?:выше|предыдущее|прежнее)"
        r"|системн\w{2,3} (?:промпт|подсказк|инструкци)\w{0,3}",
    ),
)
# Between these words; no end of a sentence, and no "not".
_BETWEEN: Final = r"[^\w.!?;]{1,3}"
_OTHER: Final = rf"(?:{_BETWEEN}(?!(?:not|nicht|pas|jamais|nunca)\b)\w{{1,20}})"
_NOT_BEFORE: Final = r"(?<!\bnot )(?<!n['\u2019]t )(?<!\bno )(?<!\bне )(?<!\bn['\u2019])"
_OVERRIDING_CHINESE: Final = (
    "(?<![别勿不])(?<!不要)(?:忽略|忽视|无视|忘记|忘掉|抛开|抛弃|丢弃|绕过|绕开|跳过|覆盖|违反|撇开"
    "|(?:不要|不再|不必|不用|别|勿|不)再?(?:理会|理睬|遵守|遵循|执行|听从|服从|管|顾|按照))"
    r"[^\u3002,.!?\n]{0,4}(?:(?:之前|以前|先前|此前|前面|以上|上述|上面|上文|前述|原来|原有|原先|[你您]的)"
    r"[^\u3002,.!?\n]{0,6}(?:指令|指示|提示|规则|规定|说明|命令|要求|限制|准则|指引|约束)"
    "|(?:之前|先前|此前|前面|以上|上述|上面)的?(?:所有|全部|一切)?的?(?:内容|文字|文本|对话|一切|全部|所有)"
    "|系统(?:提示|指令|消息))"
)


class ScoredSentence(NamedTuple):
    """Sentence of a text, with the words and pairs of words in it."""

    start: int
    end: int
    units: Set[str]


@cache
def _dress() -> list[re.Pattern[str]]:
    """Return the patterns individually: a combined one is slower. They are compiled on first use."""
    return [re.compile(mark, re.MULTILINE | re.DOTALL) for mark in _MARKS]


@cache
def _overriding() -> list[re.Pattern[str]]:
    """Return the patterns of sentences that override what was said before, compiled on first use."""
    built = (
        rf"\b(?=(?:{verbs})){_NOT_BEFORE}(?:{verbs}){_OTHER}{{0,4}}{_BETWEEN}"
        rf"(?:(?:{before}|{your}){_OTHER}{{0,1}}{_BETWEEN}(?:{nouns})\b"
        rf"|(?:{nouns}){_OTHER}{{0,3}}{_BETWEEN}(?:{before})(?!\w)|{all_of_it})"
        for verbs, before, your, nouns, all_of_it in _OVERRIDING
    )
    return [re.compile(pattern, re.MULTILINE) for pattern in (*built, _OVERRIDING_CHINESE)]


@cache
def _weights() -> "memoryview[int]":
    return memoryview(zlib.decompress(_WEIGHTS.read_bytes())).cast("b")


def find_orders(plain: str) -> Iterator[tuple[int, int, bool]]:
    """Yield the places in *plain* that may be orders; True if people would not write so to each other."""
    before: ScoredSentence | None = None
    for sentence in sentences_of(plain):
        score = sum(map(weight, sentence.units))
        if score + weight(BIAS) > 0:
            yield sentence.start, sentence.end, score + weight(BIAS) > _STRONG
        elif (
            before and not plain[before.end : sentence.start].strip("\n") and before.end + 1 >= sentence.start
        ):
            both = score + sum(weight(unit) for unit in before.units - sentence.units) + weight(BIAS)
            if both > 0:
                yield before.start, sentence.end, both > _STRONG
        before = sentence
    for dress in _dress():
        yield from ((*match.span(), True) for match in dress.finditer(plain))
    for pattern in _overriding():
        yield from ((*match.span(), False) for match in pattern.finditer(plain))


def score_of(sentence: ScoredSentence) -> int:
    """Return the score of a sentence, which is that of an order if it is more than zero."""
    return sum(map(weight, sentence.units)) + weight(BIAS)


def sentences_of(plain: str) -> Iterator[ScoredSentence]:
    """Yield the sentences of *plain* with their units."""
    begin = 0
    for end in (*(match.end() for match in _SENTENCE_END.finditer(plain)), len(plain)):
        words = list(_WORD.finditer(plain, begin, end))
        for first in range(0, len(words), _MAX_WORDS):
            some = words[first : first + _MAX_WORDS]
            start, stop = some[0].start(), some[-1].end()
            yield ScoredSentence(start, stop, units_of([word[0] for word in some]))
        begin = end


def units_of(words: list[str]) -> set[str]:
    """Return the units of a sentence: its words, pairs of words, and pairs of beginnings of words.

    Of ideographs, pairs and triples are units; of any number or digest, a zero.
    """
    units: set[str] = set()
    before = ""
    for word in words:
        if _IDEOGRAPHS[0] <= word[0] <= _IDEOGRAPHS[1]:
            units.update(word[at : at + size] for size in (2, 3) for at in range(len(word) - size + 1))
            before = word[-1]
            continue
        plain = "0" if word.isalnum() and not word.isalpha() else word
        units.add(plain)
        if before:
            units.add(f"{before} {plain}")
            units.add(f"{before[: _STEMS[0]]}* {plain[: _STEMS[0]]}*")
        before = plain
    return units


@lru_cache(maxsize=65_536)  # texts repeat their words
def weight(unit: str) -> int:
    """Return the weight of a unit, which is the sum of those of its features."""
    weights = _weights()
    return sum(weights[place] for place in features(unit, len(weights)))


def features(unit: str, count: int) -> list[int]:
    """Return the places of the features of *unit* among *count*: itself, and beginnings of a word."""
    stems = [f"{unit[:size]}*" for size in _STEMS if len(unit) > size] if unit.isalpha() else []
    return [crc32(feature.encode()) % count for feature in (unit, *stems)]
