"""Wordings of orders to a machine (prompt injection) in six languages, and a search for all of them at once.

The patterns are for normalized text: lower case, compatibility characters replaced, ``_`` as a blank, nothing
hidden. In a pattern, a blank matches one to four characters that are not letters, so that line breaks,
quotation marks and emphasis make no difference. ``~`` matches up to seven words; ``AI`` matches names for an
AI reader; ``DO`` matches verbs of orders.

*Strong* wordings do not occur in letters to people. *Weak* wordings may be meant for a colleague, so only
their own sentence is suspected.

A single alternation would be tried at every letter of a text, which takes twenty times as long. So the
initial letters of each pattern are derived from it, and it must start with letters: in groups, alternatives
and sets, also optional ones. Pure functions.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Final

LETTER: Final = "[a-zß-ÿа-яё0-9A]"  # of scripts whose words are separated

BLANK: Final = r"(?:[\W_]{1,4})"  # any separator between two words

_MOST_LETTERS: Final = 5  # of an initial part, counting a blank as one: "the a" excludes what "the" does not
_BLANK: Final = re.compile(BLANK)
_NO_LETTER: Final = LETTER.replace("[", "[^")
_IS_END: Final = rf"(?:(?!{LETTER})|(?<!{LETTER}))"
_GROUP: Final = re.compile(r"\(\?:")
_LOOKAROUND: Final = re.compile(r"\(\?<?[=!]")
_SET: Final = re.compile(r"\[([^\]\\^-]+)\]")
_COUNT: Final = re.compile(r"([?*]|\{0,\d*\}|\{\d+(?:,\d*)?\}|\+)?[?+]?")


class Wording:
    """Search for whole words; in scripts without blanks, words have no borders."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile the patterns. Raises ValueError for a pattern that does not start with a letter."""
        self._options = [
            (option, _beginnings(option)) for pattern in patterns for option, _ in _options(pattern)
        ]
        # By initial letters; compiled when a text contains them.
        self._patterns: dict[str, re.Pattern[str]] = {}
        begins = {begin for _, begins in self._options for begin in begins}
        spaced = set(filter(re.compile(LETTER).match, begins))
        # Letters inside words are skipped, so a word is recognized by the character before it.
        self._spaced = re.compile(rf"{_NO_LETTER}(?=({_one_of(spaced)}))")
        self._unspaced = re.compile(_one_of({begin[0] for begin in begins - spaced}))

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield all matches in order; a match that starts inside another is skipped."""
        begins = [(match.start(), _BLANK.sub(" ", match[1])) for match in self._spaced.finditer(f"\n{text}")]
        begins += [(match.start(), match[0]) for match in self._unspaced.finditer(text)]
        after = 0
        for start, begin in sorted(begins):
            if start >= after and (match := self._pattern(begin).match(text, start)):
                after = match.end()
                yield match.span()

    def _pattern(self, begin: str) -> re.Pattern[str]:
        """Return the pattern of all options that may start with *begin*."""
        if (pattern := self._patterns.get(begin)) is None:
            options = [
                option
                for option, begins in self._options
                if any(begin.startswith(one) or one.startswith(begin) for one in begins)
            ]
            pattern = re.compile(rf"(?:{'|'.join(options)}){_IS_END}", re.MULTILINE)
            self._patterns[begin] = pattern
        return pattern


def _one_of(words: set[str]) -> str:
    """Return a pattern for any of *words*, the longest match first, as a trie without repeated prefixes."""
    firsts = sorted({word[0] for word in words if word})
    if not firsts:
        return "" if words else "(?!)"
    options = (
        (BLANK if one == " " else re.escape(one)) + _one_of({word[1:] for word in words if word[:1] == one})
        for one in firsts
    )
    return f"(?:{'|'.join(options)}){'?' if '' in words else ''}"


def _options(pattern: str) -> list[tuple[str, int]]:
    """Return the top-level alternatives of *pattern*, with their ends."""
    options, begin, at = [], 0, 0
    while at < len(pattern):
        if pattern[at] == "|":
            options.append((pattern[begin:at], at))
            begin = at + 1
        at = _after(pattern, at)
    return [*options, (pattern[begin:], len(pattern))]


def _beginnings(option: str) -> set[str]:
    """Return the initial letters of all matches of *option*, shortened before parts that match anything."""
    cut, whole = _begun(option)
    if "" in cut | whole:
        raise ValueError(f"it may begin with nothing, or with anything: {option}")
    return cut | whole


def _begun(option: str) -> tuple[set[str], set[str]]:
    """Return initial parts that may be followed by anything, and matches shorter than an initial part."""
    cut: set[str] = set()
    whole = {""}
    at = 0
    while at < len(option) and whole:
        end = _after(option, at)
        if _LOOKAROUND.match(option, at):
            at = end
            continue
        part_cut, part_whole = _begun_by(option[at:end])
        count = _COUNT.match(option, end)
        assert count is not None  # it may be empty
        times = count[1] or ""
        if times not in ("", "?"):
            part_cut, part_whole = part_cut | part_whole, set()
        if part_whole == {" "}:
            cut |= {begin for begin in whole if begin.endswith(" ")}  # the end of a blank is unknown then
            whole = {begin for begin in whole if not begin.endswith(" ")}
        longer = {begin + more for begin in whole for more in part_whole}
        cut |= {(begin + more)[:_MOST_LETTERS] for begin in whole for more in part_cut}
        cut |= {begin[:_MOST_LETTERS] for begin in longer if len(begin) >= _MOST_LETTERS}
        is_optional = times[:2] in ("?", "*", "{0")
        whole = {begin for begin in longer if len(begin) < _MOST_LETTERS} | (whole if is_optional else set())
        at = count.end()
    return cut, whole


def _begun_by(part: str) -> tuple[set[str], set[str]]:
    """Return the same for a single character, a set of letters or a group."""
    if part == BLANK:
        return set(), {" "}
    if _GROUP.match(part):
        begun = [_begun(option) for option, _ in _options(part[3:-1])]
        return set().union(*(cut for cut, _ in begun)), set().union(*(whole for _, whole in begun))
    if (found := _SET.fullmatch(part)) and found[1].isalnum():
        return set(), set(found[1])
    if len(part) == 1 and part.isalnum():
        return set(), {part}
    return {""}, set()


def _after(pattern: str, at: int) -> int:
    """Return the position after the character, set or group at a position."""
    if pattern[at] == "\\":
        return at + 2
    if pattern[at] == "[":
        return pattern.index("]", at + 2) + 1
    if pattern[at] != "(":
        return at + 1
    at += 1
    while pattern[at] != ")":
        at = _after(pattern, at)
    return at + 1


# Names for an AI reader. A plain "assistant" is a person.
_AI: Final = (
    r"(?:the |an? |any |all |every |your |this )?(?:"
    r"ai|a\.i\.|llms?|(?:large )?language models?|chat ?gpt|gpt ?\d|chatbots?|claude|copilot"
    r"|(?:ai|llm|virtual|digital|e?mail) (?:assistants?|agents?|readers?|bots?)|(?:ai|llm) (?:models?"
    r"|systems?|tools?)"
    r"|(?:extraction|summari[sz]ation) (?:models?|systems?|agents?)|assistant model)"
    r"|(?:die |der |den |das |dem |alle |jede |eine? )?(?:"
    r"ki|künstlichen? intelligenz|sprachmodelle?n?|ki (?:assistent\w*|agent\w*|system\w*|modell\w*)"
    r"|digitale[rn]? assistent(?:en)?)"
    r"|(?:l |la |le |les |une |un |toute |cette )?(?:"
    r"ia|intelligence artificielle|modèles? (?:de langage|d ia)|assistants? (?:ia|virtuels?|numériques?))"
    r"|(?:la |el |los |una |un |toda |esta )?(?:"
    r"inteligencia artificial|modelos? de lenguaje|asistentes? (?:de ia|virtual(?:es)?|digital(?:es)?))"
    r"|ии(?: (?:ассистент|помощник|агент|модел)\w*)?|искусственн\w+ интеллект\w*|языков\w+ модел\w+"
    r"|нейросет\w+|чат ?бот\w*"
)
_AI_ZH: Final = (
    r"人工智[能慧](?:助手|助理|模型|系[统統])?|大?[语語]言模型|大模型|(?<![a-z])ai ?(?:助手|助理|模型"
    r"|系[统統]|代理)?(?![a-z])"
    r"|智能助手|智慧助理|(?<![a-z])llm(?![a-z])|chatgpt"
)

_DO: Final = (
    r"(?:please |also |now |immediately |always |only |bitte |sofort |auch |immédiatement |aussi |ahora "
    r"|también |сейчас |также )*"
    r"(?:add|create|insert|ignore|disregard|extract|output|report|set|mark|treat|write|respond|reply|obey"
    r"|follow|execute|generate"
    r"|return|process|include|forget|hinzufügen|erstelle\w*|füge\w*|ignorier\w*|extrahier\w*|ausgeben"
    r"|ausführen|eintragen"
    r"|ajoute[rz]?|crée[rz]?|ignore[rz]?|extraire|insérer|exécuter|répondre|añad\w+|agreg\w+|cre[ae]r?"
    r"|ignor\w+|insert\w+"
    r"|extra(?:er|iga)|respond\w+|добав\w+|созда\w+|игнорир\w+|внес\w+|извле\w+|выполн\w+|отве\w+)"
)

_STRONG: Final[tuple[str, ...]] = (
    # Ignore your instructions.
    r"(?:ignore|ignoring|disregard|forget|override|bypass|discard|(?:do not|don t|stop) (?:follow|obey)"
    r"(?:ing)?)~"
    r" (?:instructions?|prompts?|rules|directions|directives?|commands?|guidelines?|guardrails|programming"
    r"|orders)",
    r"(?:ignorier\w*|vergiss|vergesst|vergessen sie|missacht\w*|übergeh\w*|überspring\w*|umgeh\w*"
    r"|(?:beachte|befolge)\w*(?: sie)? (?:nicht|keine))~"
    r" (?:anweisung\w*|instruktion\w*|vorgaben?|regeln|befehle?n?|prompts?|richtlinien)",
    r"(?:anweisung\w*|instruktion\w*|vorgaben|befehle|regeln)~ (?:ignorieren|vergessen|missachten"
    r"|außer acht)",
    r"(?:ignore[rz]?|ignorons|oublie[rz]?|néglige[rz]?|contourne[rz]?|outrepasse[rz]?"
    r"|ne (?:tiens|tenez|tenir|suis|suivez) (?:pas|plus)(?: compte)?)~"
    r" (?:instructions?|consignes?|règles|ordres|directives|prompts?)",
    r"(?:ignor(?:a|e|ar|en|ad)|olvid(?:a|e|ar|en)|omit(?:e|a|ir|an)|descart(?:a|e|ar|en)|desobede(?:ce|zca)"
    r"|caso omiso"
    r"|no (?:sigas?|sigan|hagas? caso|obedezcas?))~"
    r" (?:instrucción|instrucciones|reglas|órdenes|indicaciones|directrices|prompts?)",
    r"(?:(?:про)?игнорир(?:уй|уйте|овать)|забудь(?:те)?|забыть|не обращай(?:те)? внимания|пренебреги(?:те)?"
    r"|отбрось(?:те)?|не (?:следуй|выполняй|соблюдай)(?:те)?|обойди(?:те)?)~"
    r" (?:инструкци\w+|указани\w+|правила?|команды?|промпт\w*|распоряжени\w+|предписани\w+)",
    r"(?:忽略|无视|無視|忘[记記掉]|不要(?:遵守|遵循|理[会會])|[绕繞]过|[绕繞]過|跳过|抛开)[^。！？\n]{0,14}?"
    r"(?:指令|指示|提示|[规規][则則]|命令|系统设定)",
    # Address to an AI reader.
    r"(?:notes?|messages?|instructions?|attention|notice|orders?|commands?|memo|dear|hey|hello|hi|hinweise?"
    r"|nachricht\w*"
    r"|anweisung\w*|achtung|befehle?|liebe[rs]?|consignes?|avis|ordre|chère?|nota|mensaje|instrucción"
    r"|instrucciones"
    r"|aviso|atención|orden|estimad[oa]|внимани[ея]|сообщение|инструкция|указание|команда|уважаем\w+"
    r"|дорог\w+)"
    r"(?: (?:to|for|an|für|à|pour|a|au|aux|para|для|к))? AI",
    r"(?:to|for|of|an|für|à|pour|a|al|para|для|к) AI ?[:\uff1a]",
    r"AI (?:reading|processing|parsing|summari[sz]ing|handling|that reads|who reads) (?:this|the|these|my"
    r"|it)",
    r"AI,? die (?:dies|das|diese)~ (?:liest|lesen|verarbeitet)|AI qui (?:lis|lit|lisez|traite)~|AI que "
    r"(?:lee|lea|procesa)"
    r"|AI котор\w+ (?:читает|обрабатывает)",
    r"AI (?:please|must|shall|should|(?:has|have|is|are|needs?) to|will now|are required to) DO",
    r"AI (?:muss|müssen|soll|sollen|sollte|bitte|du musst|sie müssen)~ DO",
    r"AI (?:doit|doivent|devrait|veuillez|vous devez|tu dois) DO|AI (?:debe|deben|debería|tiene que"
    r"|por favor) DO",
    r"AI (?:должна?|должны|обязан\w?|следует|нужно|необходимо|пожалуйста) DO",
    r"(?:if|when|since|because) you(?: are| re)?(?: reading this as)? AI|(?:if|when) you are an assistant",
    r"you(?: are| re) (?:now |no longer |actually )?(?:AI|an? (?:\w+ ){0,2}assistant|in \w+ mode|dan\b)",
    r"as AI|act as (?:AI|(?:the |an? )?(?:system|admin\w*))|pretend (?:to be|that you)",
    r"(?:wenn|falls|da|weil) (?:du|sie)~ AI|(?:du bist|sie sind) (?:jetzt |nun |ab jetzt |ab sofort )?AI"
    r"|als AI",
    r"du bist (?:jetzt|nun|ab jetzt|ab sofort)~ (?:assistent\w*|system|administrator|\w*modus)"
    r"|verhalte dich wie|gib dich als",
    r"(?:si|lorsque|quand|puisque) (?:tu es|vous êtes) AI|(?:tu es|vous êtes) (?:maintenant |désormais )?AI"
    r"|(?:tu es|vous êtes) (?:maintenant|désormais) (?:un système|une assistante?|en mode)|en tant qu(?:e"
    r"| une?)? AI",
    r"(?:si|cuando) (?:eres|usted es) AI|(?:eres|usted es) (?:ahora )?AI|ahora eres (?:una? )?(?:sistema"
    r"|asistente)|como AI",
    r"если (?:ты|вы) (?:это |являешься |являетесь )?AI|(?:ты|вы) (?:теперь |сейчас |больше не )?AI|как AI",
    r"你[现現]?在?(?:其实|从现在起)?(?:是|扮演|作[为為])(?:一[个個名])?[^。！？\n]{0,6}?(?:Z+"
    r"|系[统統]管理员)",
    r"(?:致|[给給]|告[诉訴]|提醒|通知|[请請]|作[为為]|如果你是|各位|所有"
    r"|任何)[^。！？\n]{0,8}?Z+(?![^。！？，,：:；\n]{0,6}(?:项目|公司|技术|课程))",
    r"Z+[^。！？\n]{0,10}?(?:必[须須]|[应應][该該当當]|[请請]|需要|务必)",
    r"(?:attention|notice|note|to|for|achtung|hinweis|an|für|l attention|avis|pour|la atención|aviso|para"
    r"|вниманию|для)~"
    r" (?:automated|automatic|automatische\w*|automatique|automático|automatizado|автоматическ\w+)~"
    r" (?:systems?|processing|processors?|readers?|verarbeitung|system\w*|auswertung|système|traitement"
    r"|sistema|proceso|систем\w+|обработк\w+)",
    r"自[动動][^。！？\n]{0,6}?系[统統][^。！？\n]{0,4}?(?:注意|[请請]|必[须須])",
    r"(?:when|while|whoever|whatever|anyone|before|after|model|system|tool)~"
    r" (?:extract\w*|summari[sz]\w*|process(?:es|ing)?|pars(?:es?|ing)|transcrib\w+|index(?:es|ing))"
    r" (?:\w+ ){0,3}(?:this|the|my|these) (?:text|e?mail|document|message|page|note|file|letter)s?",
    r"(?:beim|wer|wenn|modell|system)~ (?:text|mail|dokument|nachricht|seite)~ (?:zusammenfass\w+"
    r"|extrahier\w+|auswerte\w*|verarbeite\w*)",
    r"(?:obey|follow|execute|befolge?\w*|gehorch\w*|obéi\w*|suivez|suis|obedec\w*|sigue|выполняй\w*"
    r"|слушай\w*|подчиняй\w*)~"
    r" (?:my|meine[nr]?|mes|mis|мои|моим|моих) (?:commands?|orders|befehle?n?|anweisungen|ordres|órdenes"
    r"|команд\w*|приказ\w*)",
    r"(?:[听聽][从從]|[执執]行|服[从從])我的?(?:命令|指令|指示|[话話])",
    # Secrecy towards people, and internals of a machine.
    r"(?:do not|don t|never|without) (?:tell|telling|inform|informing|alert|alerting|notify|notifying|warn"
    r"|warning)~"
    r" (?:users?|reviewers?|operator|humans?)",
    r"do not (?:extract|flag|summari[sz]e) (?:this|these|any|anything|the)",
    r"(?:do not|don t) mention (?:this|these) (?:instructions?|orders?|text)",
    r"(?:sag\w*|zeig\w*|verrat\w*|informier\w*|warn\w*)~ (?:nutzer\w*|benutzer\w*|prüfer\w*) (?:nichts?"
    r"|davon)",
    r"ne (?:dis|dites|montre[rz]?|signale[rz]?|informe[rz]?) (?:rien|pas)~ (?:utilisateurs?|lecteurs?)",
    r"no (?:l[eo] )?(?:digas?|muestres?|informes?|avises?)~ (?:usuarios?|revisor)",
    r"не (?:говори|показывай|сообщай|предупреждай)(?:те)?~ пользовател\w+",
    r"(?:不要|别|[请請]勿)(?:告[诉訴]|通知|提醒|展示[给給])[^。！？\n]{0,6}?(?:用[户戶]|使用者|审核)",
    r"(?:system|hidden|developer|initial|secret) (?:prompts?|instructions?)|(?:developer|god|dan) mode"
    r"|jailbreak\w*",
    r"prompt injection|new (?:system )?instructions?(?: follow| for you|:)|system (?:override|notice"
    r"|command) ?:",
    r"systemprompt\w*|systemanweisung\w*|entwicklermodus|prompt système|instructions? système"
    r"|prompt del sistema",
    r"instrucciones del sistema|системн\w+ (?:промпт\w*|инструкци\w+)|режим\w* разработчика",
    r"系[统統]提示|提示[词詞]|系[统統]指令|开发者模式|開發者模式",
    r"is ?approved|is ?ai ?suggested|task ?comments|(?:project|task|client) ?id|(?:created"
    r"|updated) ?at ?[\"'=:]+",
    # Claims of trust that a document cannot grant.
    r"(?:set|mark|flag|treat|record|consider)~ (?:pre ?approved|auto ?approved|already approved|approved"
    r"|verified|trusted)",
    r"(?:the )?(?:users?|owner|administrator) (?:has |have )?(?:already |previously )(?:approved"
    r"|authori[sz]ed|confirmed)",
    r"no (?:review|approval|confirmation) (?:is )?(?:needed|required|necessary)",
    r"(?:markier\w*|setz\w*|kennzeichn\w*|stuf\w*)~ (?:genehmigt|freigegeben|bestätigt|geprüft)",
    r"(?:marque[rz]?|considère[rz]?|définis\w*)~ (?:approuvé\w*|validé\w*|confirmé\w*)",
    r"(?:marca|marque|márca\w*|marcar|considera|considere)~ (?:aprobad\w+|confirmad\w+|verificad\w+)",
    r"(?:отметь|пометь|считай|поставь|отметить|пометить)(?:те)?~ (?:одобрен\w*|утвержд[её]н\w*"
    r"|подтвержд[её]н\w*|проверен\w*)",
    r"(?:标记|標記|设置|设定|设为|視為|视为|标为)[^。！？\n]{0,12}?(?:已?批准|已?核准|已?审核|已确认)",
    # Form of an answer.
    r"(?:output|return|print|emit)(?: only| just| exactly)? (?:the following|json|an empty|nothing|this "
    r"(?:json|record|object))",
    r"(?:respond|reply|answer)(?: only| just| exactly)? (?:with|in) (?:json|an empty|the word|only)",
    r"your (?:only |next |final )?(?:output|response|answer) (?:must|should|shall) (?:be|only|contain"
    r"|include|start)",
    r"(?:antworte(?:st|t)?|antworten sie)~ (?:nur|ausschließlich)(?: noch)? (?:mit|als|json)",
    r"(?:gib|geben sie)~ (?:nur|ausschließlich)(?: noch)? (?:json|folgende\w*|(?:die|den|das) (?:aufgabe"
    r"|eintrag|datensatz|json))",
    r"(?:réponds|répondez|renvoie|renvoyez) (?:uniquement|seulement)|(?:respondes?|responda|devuelve) "
    r"(?:solo|sólo|únicamente)",
    r"(?:ответь|отвечай|отвечаешь|отвечаете|верни|выведи)(?:те)? только|(?:只|仅|僅)(?:需|要|能)?(?:输出"
    r"|輸出|返回|回[复覆])",
)
_WEAK: Final[tuple[str, ...]] = (
    # Earlier instructions are void, and there is a new task.
    r"(?:previous|prior|above|earlier|preceding|foregoing|original|initial) (?:prompts?|instructions?|rules"
    r"|orders|directives?|commands?)",
    r"(?:vorherige|bisherige|vorige|obige|frühere|ursprüngliche|vorangegangene)[nr]? (?:anweisung\w*"
    r"|instruktion\w*|befehle?n?|regeln|vorgaben)",
    r"(?:instructions?|consignes?|règles|ordres) (?:précédente?s|ci dessus|antérieure?s|initiale?s"
    r"|d origine)",
    r"(?:instrucciones|reglas|órdenes|indicaciones) (?:anteriores|previas|de arriba|originales|iniciales)",
    r"(?:предыдущ|прежн|вышеуказанн|исходн|первоначальн)\w+ (?:инструкци|указани|правил|команд|приказ)\w*",
    r"(?:以上|之前|上面|先前|原[来來]|上述)的?(?:所有|全部|任何)?(?:指令|指示|[规規][则則]|命令|提示)",
    r"(?:forget|ignore|disregard|erase) (?:everything|all|anything)~ (?:above|said|told|before|previously"
    r"|learned|wrote|written|know)",
    r"(?:vergiss|ignoriere|vergessen sie|ignorieren sie) alles~ (?:bisher|oben|zuvor|vorher|was)|"
    r"(?:oublie[rz]?|ignore[rz]?) tout ce",
    r"(?:olvid[ae]|ignor[ae]) todo lo|(?:забудь|игнорируй)(?:те)? вс[её]~ (?:что|выше|ранее)",
    r"(?:忘[记記掉]|忽略|[无無][视視])[^。！？\n]{0,8}?(?:一切|所有|全部)",
    r"your (?:new|real|actual|true|only|sole) (?:job|goals?|tasks?|mission|objective|purpose|instructions?)",
    r"(?:deine|ihre) (?:neue|eigentliche|wahre|einzige) (?:aufgabe|mission|anweisung)|neue anweisung\w* ?:",
    r"(?:ta|votre) (?:nouvelle|vraie|véritable|seule|unique) (?:mission|tâche)|nouvelles? (?:instructions?"
    r"|consignes?) ?:",
    r"(?:tu|su) (?:nueva|verdadera|única) (?:misión|tarea)|nuevas? instrucci[oó]n(?:es)? ?:",
    r"(?:твоя|ваша) (?:новая|настоящая|единственная) (?:задача|цель|миссия)|нов\w+ инструкци\w+ ?:",
    r"你的?(?:新|真正|唯一|全新)的?(?:任[务務]|目[标標]|使命|指令)|新的?(?:指令|指示) ?[:\uff1a]",
    r"(?:this|these) (?:message|text|e?mail|note|document|instruction)s? (?:overrides?|supersedes?)",
    r"(?:make sure|ensure|see to it)~ (?:summary|output|extraction|response)",
    # This has priority, and you are another persona.
    r"(?:priority|precedence)~ (?:rules|instructions)|vorrang~ (?:regeln|anweisungen)|prime~ (?:règles"
    r"|consignes|instructions)",
    r"prioridad~ (?:reglas|instrucciones)|важнее~ (?:правил|инструкци\w+)|(?:优先"
    r"|凌[驾駕])[^。！？\n]{0,6}?(?:[规規][则則]|指令|指示)",
    r"(?:imagine|pretend|simulate|suppose)~ (?:you are|you re|administrator|admin|user who)"
    r"|stell dir vor,? du (?:bist|wärst|wärest)",
    r"(?:imagine|suppose) que tu es|(?:imagina|supón) que eres|представь(?:те)? что (?:ты|вы)|"
    r"(?:假[设設装裝]|想象|扮演)你?是?",
    r"(?:in|into|as) your (?:answer|response|reply|output|summary)|in deine[rm]? (?:antwort|ausgabe"
    r"|zusammenfassung)",
    r"dans (?:ta|votre) (?:réponse|sortie)|en (?:tu|su) (?:respuesta|salida)|в (?:свой|сво[её]м|твой"
    r"|тво[её]м|ваш\w*) ответ\w*",
    r"在?你的?(?:回答|回[复覆]|[输輸]出)",
    r"(?:print|output|return|give|produce|emit|write)~ (?:json|records?|object with)|(?:debug|developer"
    r"|admin|maintenance) mode",
    r"(?:every|any|all|each|for|to) (?:assistants?|bots?|models?|agents?|scrapers?)|(?:an|à|a) (?:alle"
    r"|tous les|todos los) (?:modelle|modèles|modelos|bots)",
    r"(?:entry|entries|records?|tasks?|action items?|to dos?|eintrag|datensatz|aufgabe|entrée|tâche|entrada"
    r"|tarea|registro|запись|задач\w)"
    r" (?:titled|named|called|with the title|mit dem titel|mit dem namen|namens|intitulée?|nommée?"
    r"|titulad[ao]|llamad[ao]|под названием)",
    r"(?:名[为為]|[标標][题題][为為]|叫做)[^。！？\n]{0,20}?(?:任[务務]|[记記][录錄]|[条條]目)",
    r"(?:add|save|insert|include|copy|file)~ (?:action items?|into tasks|to tasks|to do)|wer~ (?:maschinell"
    r"|automatisch) (?:auswert\w*|verarbeit\w*|liest)",
    r"(?:add|include|put|list|mention|log|write)~ (?:in|into|to|as part of) (?:the|your|every|any) "
    r"(?:summary|results?|output|extraction|task list|list of tasks)",
    r"(?:in|zu) (?:die|der|deine[rn]?|jede[rm]?|ihre[rn]?) (?:zusammenfassung|ausgabe|aufgabenliste)~ "
    r"(?:aufnehmen|eintragen|ein|auf|aufgabe)",
    r"nimm~ (?:zusammenfassung|ausgabe|aufgabenliste|aufgabe|eintrag)|trag\w*~ aufgabe",
    r"(?:dans|à) (?:le|la|ton|ta|votre|chaque) (?:résumé|résultat|liste des? tâches)|(?:en|a) (?:el|la|tu"
    r"|su|cada) (?:resumen|resultado|lista de tareas)",
    r"(?:в|к) (?:итог|сводк|ответ|резюме|списо?к)\w*~ задач\w*",
    r"(?:加入|列入|[写寫]入|放入|添加到|[记記]入)[^。！？\n]{0,10}?(?:列表|摘要|[结結]果|清[单單])|以下"
    r"(?:任[务務]|[记記][录錄])[^。！？\n]{0,4}?加入",
    r"(?:log|record|note|list|save|enter|store|treat|report)~ as an? (?:\w+ )?(?:tasks?|record|to ?do)",
    r"(?:list|log|store|save|record|report)(?: (?:an|this|following|new|the following)){1,3} (?:tasks?"
    r"|records?|to ?dos?)",
    # Other names for a machine, and other masters.
    r"(?:software|programs?|robots?|machines?|scripts?|crawlers?)(?: that| which)? (?:reads?|reading|sees?"
    r"|scans?|scanning) (?:this|my)",
    r"(?:software|programm|maschine)~ (?:dies|das|diese) (?:liest|lesen|auswertet)|(?:logiciel|programme"
    r"|machine) qui lit (?:ceci|ce|cette)",
    r"(?:programa|máquina) que (?:lee|lea) (?:esto|este|esta)|программ\w+~ читает|[读讀]取(?:本文|此文"
    r"|[这這]段)[^。！？\n]{0,8}?(?:程序|[软軟][件體])",
    r"from now on you|ab sofort (?:arbeitest|bist|gehorchst) du|à partir de maintenant (?:tu|vous)"
    r"|a partir de ahora (?:trabajas|eres|obedeces)",
    r"(?:с этого момента|отныне) ты|[从從][现現]在[起开開]始?你",
    r"(?:your operator|dein betreiber|ton opérateur|tu operador|твой оператор|你的[运運][营營]者)",
    r"(?:title|quote|status|assignee) field|(?:field|feld|champ|campo|поле) (?:title|quote|status|assignee)",
    r"(?:skip|bypass|ignore|disable) your (?:\w+ )?(?:checks?|filters?|safeguards?|rules|safety)",
    # Descriptions of tools that process the text, and of the records that they should output.
    r"(?:programs?|tools?|parsers?|software|bots?|scripts?|services?|systems?)(?: that| which)?(?: is| are)?"
    r" (?:turn|mak|draw|pars|process|analy[sz]|extract|pull|collect)\w*~ (?:this|these|my)"
    r" (?:text|e?mail|document|note|message|page|file)s?",
    r"(?:programm|werkzeug|software|tool|parser|skript|dienst|system)\w{0,2} (?:das|die|der|dem)~"
    r" (?:text|e?mail|nachricht|dokument|brief|notiz|datei)~ (?:macht|zieht|holt|sammelt|gewinnt|erstellt)",
    r"(?:programme|outil|logiciel|analyseur|script|service|robot) qui (?:tire|fait|extrait|lit|traite|analyse"
    r"|crée)~ (?:ce|cet|cette) (?:texte|courriel|mail|message|document|note|page)",
    r"(?:programa|herramienta|analizador|script|servicio|robot) que (?:saca|hace|extrae|lee|procesa|analiza"
    r"|crea)~ (?:este|esta) (?:texto|correo|mensaje|documento|nota)",
    r"(?:программ|инструмент|парсер|скрипт|сервис|бот|систем)\w* котор\w+~ (?:этого|этот|это|эту|данн\w+)"
    r" (?:текст|письм|документ|сообщени|файл|заметк)\w*",
    r"(?:тот|те|та|всякий|каждый),? кто (?:обрабатывает|читает|анализирует|извлекает|обобщает)"
    r" (?:этот|это|данн\w+) (?:текст|письмо|документ|сообщение|файл)",
    r"(?:从|從|把|将|將|处理|處理|分析|[读讀]取|阅读|閱讀|解析|提取|总结|總結)[^。！？\n]{0,4}?"
    r"(?:本文|此文|本段|[这這本此][份段篇封个個]?(?:文本|文件|文[档檔]|邮件|郵件|信|消息|文字))"
    r"[^。！？\n]{0,8}?(?:的你|程序|程式|工具|[软軟][件體]|系[统統]|模型|[脚腳]本)",
    r"(?:parser|extractor|summari[sz]er|analyseur|analizador|парсер) ?[,:]",
    r"(?:model|parser|extractor|program|tool|script) (?:must|should|shall|has to|needs to|is to)~"
    r" (?:return|output|add|append|include|list|emit|insert)~ (?:items?|entry|entries|records?|tasks?)",
    r"(?:modell|parser|programm|werkzeug|skript) (?:muss|soll|sollte|hat)~"
    r" (?:eintrag|einträge|datensatz|datensätze|aufgaben?|element)",
    r"(?:modèle|analyseur|programme|outil|script) (?:doit|devra|devrait)~"
    r" (?:enregistrements?|entrées?|tâches?|éléments?)",
    r"(?:modelo|analizador|programa|herramienta|script) (?:debe|deberá|debería|tiene que|ha de)~"
    r" (?:registros?|entradas?|tareas?|elementos?)",
    r"(?:модель|парсер|программа|инструмент|скрипт) (?:должн\w+|обязан\w*)~ (?:запис|задач|элемент)\w*",
    r"(?:dear|hey|hello|liebe[rs]?|chère?|querid[oa]|дорог\w+) (?:bot|robot\w*|робот)"
    r"|亲爱的(?:机器人|程序|系统|工具|软件)",
    # Restrictions are lifted.
    r"you(?: have| ve)? (?:been|were) (?:told|taught|given)~ (?:superseded|obsolete|void|outdated)",
    r"(?:(?:your|the) )?(?:instructions?|rules|guidance|guidelines|brief|prompt)~"
    r" (?:no longer (?:appl\w+|holds?)|(?:is|are) (?:void|cancell?ed|obsolete))",
    r"your (?:earlier|previous|prior|former|old) (?:brief|job|tasks?|assignment|mission|orders?|role)",
    r"(?:disregard|ignore|(?:do not|don t) (?:follow|obey|heed))~ guidance",
    r"(?:deine?|ihre?) (?:bisherige|frühere|vorige|alte|ursprüngliche)[rs]? (?:auftrag|aufgabe|rolle"
    r"|mission)",
    r"(?:halte? dich|halten sie sich) nicht~ (?:vorgaben|anweisung\w*|regeln|auftrag)",
    r"(?:ta|ton|votre) (?:mission|tâche|rôle|travail) (?:précédente?|antérieure?|initiale?)",
    r"ne (?:respecte|applique|écoute)z? (?:pas|plus)~ (?:consignes?|instructions?|règles)",
    r"(?:tu|su) (?:encargo|tarea|misión|papel) (?:anterior|previ[oa]|inicial)",
    r"no (?:respetes?|cumplas?|apliques?|atiendas?)~ (?:indicaciones|instrucciones|reglas)",
    r"(?:тво|ваш)\w+ (?:прежн|предыдущ|стар|первоначальн)\w+ (?:поручени|задани|задач|рол|мисси)\w+",
    r"你(?:之前|以前|原[来來本]|先前)的?(?:任[务務]|工作|角色|[职職][责責]|[设設]定)|(?:不要|[别別])(?:遵守|遵循"
    r"|理[会會])[^。！？\n]{0,8}?[规規]定",
    r"(?:以上|之前|上面|先前|此前)的?[^。！？\n]{0,8}?(?:作[废廢]|失效|[无無]效|不再(?:有效|[适適]用))",
    # Claims of approval.
    r"(?:record|register|enter|list|log|file)~ as (?:already |previously )?(?:approved|confirmed"
    r"|authori[sz]ed)",
    r"als (?:bereits |schon )?(?:genehmigt|freigegeben)~ (?:ein|an|eintragen|anlegen|erfassen|vermerken)",
    r"(?:inscri|enregistr|not|ajout|marqu)\w+~ comme (?:déjà )?(?:approuvé|validé|confirmé)e?s?",
    r"(?:registr|anot|agreg|añad|marc|inscrib)\w+~ como (?:ya )?(?:aprobad|confirmad|validad)[oa]s?",
    r"(?:отмет|запи|внес|зарегистрир|пометь|помети)\w+~"
    r" как (?:уже )?(?:одобренн|утвержд[её]нн|подтвержд[её]нн)\w+",
    r"(?:登[记記]|[记記]|[标標]|[视視]|列)[为為]已(?:[经經])?(?:批准|[审審]核|核准|通[过過]|[确確][认認])",
    # Orders to add a record.
    r"(?:add|create|insert|inject|register|extract|output|emit|generate|append|include)"
    r"(?: (?:an?|the|this|these|one|another|following|new|urgent|top|high|priority|important|extra|also"
    r"|\d+)){0,5}"
    r" (?:tasks?|records?|entry|entries|to ?dos?)",
    r"(?:extract|insert|output|emit|inject)~ items?",
    r"(?:add|create|insert|save|append)(?: (?:an?|the|this|following|new)){0,3} (?:notes?|projects?"
    r"|comments?|events?)"
    r" (?:titled|named|called|saying|stating|that says|with the (?:title|name|text|words|content)"
    r"|as follows)",
    r"(?:füge|fügen sie|erstelle|erstellen sie|lege|legen sie|erzeuge|erzeugen sie|trage|tragen sie"
    r"|generiere|extrahiere)"
    r"(?: (?:bitte|eine?|einen|die|den|das|diese[ns]?|folgende[ns]?|neue[ns]?|dringende[ns]?|weitere[ns]?"
    r"|noch|auch)){0,5}"
    r" (?:aufgaben?|eintr[aä]ge?|datens[aä]tze?|tasks?|to ?dos?|records?)",
    r"(?:ajoute[rz]?|crée[rz]?|insère|insérez|insérer|enregistre[rz]?|génère|générez|extrais|extrayez)"
    r"(?: (?:une?|la|le|les|cette|ces|nouvelle|suivante|autre|aussi|également|urgente)){0,4}"
    r" (?:tâches?|enregistrements?|entrées?|records?)",
    r"(?:añade|añada|añadir|agrega|agregue|agregar|crea|cree|crear|inserta|inserte|registra|registre|genera"
    r"|genere)"
    r"(?: (?:una?|la|el|las|esta|estas|nueva|nuevo|siguiente|otra|también|urgente)){0,4} (?:tareas?"
    r"|registros?|entradas?)",
    r"(?:добавь|создай|создаст|внеси|вставь|сгенерируй|добавить|создать|внести|запиши|извлеки)(?:те)?"
    r"(?: (?:нов\w+|следующ\w+|эту|срочн\w+|важн\w+|ещ[её]|одну|также|ниже)){0,4} (?:задач\w+|запис\w+"
    r"|элемент\w*|задани\w+)",
    r"(?:添加|新增|新建|[创創]建|建立|插入|生成|加入|[写寫]入|提取|增加)(?:一[个個条條项項]|以下|如下|新的?"
    r"|[紧緊]急的?|[这這][个個]|\d+[个個]|的){0,4}"
    r"(?:任[务務]|[记記][录錄]|[条條]目|待[办辦])",
)
# Markup of conversations, prompts, answers and the hub's delimiters: a blank matches literally.
_MARKS: Final[tuple[str, ...]] = (
    r"^[>\s]{0,4}A+\s{0,2}[:\uff1a]",
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


def _spelled(words: str) -> str:
    """Compile the notation described in the module's docstring to a regular expression."""
    words = words.replace("AI", "A+").replace("DO", _DO).replace("~", r"(?: \w{1,30}){0,7}?")
    return words.replace(" ", BLANK)


# Compiled on first use: that takes a tenth of a second, which most commands do not need.


@cache
def _machines() -> Sequence[tuple[Wording, str]]:
    return (Wording([_spelled(_AI)]), "A"), (Wording([_AI_ZH]), "Z")


@cache
def _wording(patterns: tuple[str, ...]) -> Wording:
    return Wording(map(_spelled, patterns))


@cache
def _dress() -> Sequence[re.Pattern[str]]:
    """Return the patterns individually: a combined one is slower."""
    return [re.compile(mark, re.MULTILINE | re.DOTALL) for mark in _MARKS]


def find_strong(plain: str) -> Iterator[tuple[int, int]]:
    """Yield the places in *plain* with wordings that do not occur in letters to people."""
    yield from _wording(_STRONG).find(plain)
    for dress in _dress():
        yield from (match.span() for match in dress.finditer(plain))


def find_weak(plain: str) -> Iterator[tuple[int, int]]:
    """Yield the places in *plain* with wordings that may be meant for a colleague."""
    yield from _wording(_WEAK).find(plain)


def machines_marked(plain: str) -> str:
    """Replace the names of machines in lower-case *plain* by capitals, without changing its length.

    The other two functions require this form.
    """
    for machines, sign in _machines():
        parts, at = [], 0
        for start, end in machines.find(plain):
            parts += [plain[at:start], sign * (end - start)]
            at = end
        plain = "".join((*parts, plain[at:]))
    return plain
