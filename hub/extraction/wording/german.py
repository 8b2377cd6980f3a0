# ruff: noqa: RUF001 - letters of other alphabets
"""German words of requests, duties, plans and decisions.

A finite verb is recognized by its ending and its place: after a name, or before "Sie". Verbs that tell what
is, and not what is done, are listed.
"""

import re
from typing import Final

from hub.extraction.wording.lexicon import Lexicon, either

_ROOTS: Final = """
änder arbeit back bau beantrag beantwort bearbeit bereit beschrift besorg bestell bestätig besuch bezahl
bohr brauch bring buch check dekorier denk druck dreh erinner erledig ersetz erstell faxe feg formulier
frag füg führ füll gieß google häng hak heft hol informier installier kauf kehr kläre klär kleb klingel
koch kontaktier kontrollier kopier korrigier kümmer kündig kürz lad leer leg leih leit liefer lösch mach
mäh mail meld merk miet mix montier näh nenn notier öffn organisier pack park pfleg pflanz plan pump
putz räum recherchier rechn regel reich reinig renovier reparier reservier richt ruf sag sammel schau
schick schließ schmück schneid schraub schreib setz sicher sortier spül stapel staub steck stell stimm
streich such tausch teil telefonier teste test trag überarbeit übergeb überleg übernehm überprüf
übersetz überweis unterschreib verabred vereinbar verkauf verläng verlänger verleg vermiet verschick
verschieb versend verteil vorbereit wart wasch wechsel wend wisch zahl zeichn zeig zieh
"""
_IMPERATIVE: Final = "|".join(_ROOTS.split())
_IRREGULAR: Final = (
    "gib|nimm|lies|sieh|hilf|vergiss|wirf|sprich|iss|triff|lass|lasst|geh|komm|fahr|tu|halt|haltet|schlag"
)
_INFINITIVE: Final = (
    r"\b(?!(?:haben|sein|werden|wollen|können|sollen|müssen|dürfen|mögen|gegen|neben|wegen|"
    r"zwischen|einen|keinen|meinen|deinen|seinen|ihren|unseren|allen|diesen|jeden|beiden|"
    r"anderen|neuen|alten|ersten|letzten|nächsten|gestern|sondern|wissen|oben|unten|innen|außen|"
    r"zusammen|eben|neun|sieben|ganzen|kleinen|großen|guten|vielen|wenigen|ge(?!hen|ben|stalten|"
    r"nehmigen|winnen|währ)[a-zäöüß]+en)\b)[a-zäöüß]{2,}(?:en|ern|eln|tun)\b"
)
_NO_WORK: Final = (
    r"(?!(?:ist|hat|wird|war|beklagt|beschwert|fehlt|könnt|kannst|wollt|dürft|leicht|ernst|"
    r"recht|geht|steht|liegt|bleibt|findet|gibt es|heißt|scheint|glaubt|meint|sagt|sagte|denkt|"
    r"weiß|kennt|mag|kann|darf|lebt|wohnt|schläft|freut|spielt|gewinnt|fehlt|kostet|gehört|"
    r"passt|klappt|funktioniert|läuft|lacht|berichtet|erzählt|erklärt|zeigt sich|hofft|fährt|"
    r"sitzt|hängt|riecht|schmeckt|dauert|reicht|erinnert|lobt|dankt|bedankt|fällt|verlässt|hält|"
    r"bittet|fühlt|sieht|findet|gilt|enthält|besteht|hält|arbeitet|kommt|beginnt|startet|endet|"
    r"feiert|sucht noch|nicht|mit|seit|dort|selbst|statt|fast|erst|sonst|jetzt|meist|oft|gut|"
    r"laut|bereit|wert|nächst|samt|hinkt|soll|muss|liebt|hasst|träumt|weint|singt|tanzt|bekommt|"
    r"erhält|wächst|trinkt|isst|möchte|wollte|fand|stellt fest|regnet|schneit|leidet|lernt|"
    r"studiert|verdient|vermutet|wünscht|zweifelt|ärgert|wundert|schweigt|hört|trägt|scheitert|"
    r"bedeutet|betrifft|zählt|lautet|wirkt|tut weh|schließt um|öffnet|hatte|sind|tropft|klemmt|"
    r"brennt|blüht|stimmt|lohnt|überlegt|fragt sich|stammt|nennt|ruht|wartet)\b)"
)
_PRESENT: Final = rf"{_NO_WORK}\b(?:[a-zäöüß]{{2,}}t|nimmt|tut)\b"
_DET: Final = (
    r"(?:[Dd]er|[Dd]ie|[Dd]as|[Dd]en|[Dd]em|[Aa]lle|[Jj]eder|[Uu]nser[e]?|"
    r"[Ii]hre?|[Ee]ure?|[Ss]ämtliche|[Bb]eide|[Ee]ine?)"
)
_NP: Final = r"[^\s,;:.!?()][^,;:!?()]{0,60}?"
_MUST: Final = (
    r"(?:muss|müssen|müsste|müssten|soll|sollen|sollte|sollten|hat noch "
    r"zu|haben noch zu|braucht noch)"
)

_APART: Final = (
    "ab|an|auf|aus|bei|ein|fest|frei|her|hin|los|mit|nach|rein|raus|um|vor|weg|weiter|zu|zurück|zusammen"
)
_STRONG_FORMS: Final = """
nimmt=nehmen gibt=geben liest=lesen hilft=helfen spricht=sprechen trägt=tragen lädt=laden fährt=fahren
hält=halten wäscht=waschen läuft=laufen trifft=treffen wirft=werfen lässt=lassen tut=tun gib=geben
nimm=nehmen lies=lesen sprich=sprechen hilf=helfen wirf=werfen gegossen=gießen geschrieben=schreiben
gebracht=bringen genommen=nehmen gegeben=geben geschnitten=schneiden gestrichen=streichen
gesprochen=sprechen getroffen=treffen geworfen=werfen gehoben=heben gezogen=ziehen geladen=laden
gewaschen=waschen gefahren=fahren gerufen=rufen gelesen=lesen gewogen=wiegen geschlossen=schließen
getragen=tragen gehangen=hängen gebrannt=brennen gestoßen=stoßen gehalten=halten gefunden=finden
gebunden=binden gebrochen=brechen gestellt=stellen getan=tun geschoben=schieben wiesen=weisen
"""
_STRONG: Final = dict(pair.split("=") for pair in _STRONG_FORMS.split())


_LONGEST_PREFIX: Final = 5


def _infinitive(verb: str) -> str:
    """Return the infinitive of a verb in the present tense, an imperative or a participle."""
    for form, infinitive in _STRONG.items():
        if verb.endswith(form) and len(verb) - len(form) <= _LONGEST_PREFIX:
            return verb.removesuffix(form) + infinitive
    stem = re.sub(r"(?:(?<=[td])et|t|e|st)$", "", verb)
    return f"{stem}n" if re.search(r"[^aeiou](?:el|er)$", stem) else f"{stem}en"


def _passive(match: re.Match[str]) -> str:
    """Return "Ofen reinigen" for "Der Ofen muss gereinigt werden"."""
    before, verb = match["apart"] or "", match["verb"]
    if verb not in _STRONG:
        verb = verb.removeprefix("ge") if before or verb.startswith("ge") else verb
    strong = _STRONG.get(verb) or (verb if verb.endswith("en") else _infinitive(verb))
    return f"{match['np'].strip()} {before}{strong}"


def _order(match: re.Match[str]) -> str:
    """Return "den Text umschreiben" for "schreibt den Text um"."""
    parts = match.groupdict()
    return (
        f"{parts['rest'].removeprefix('ich ').strip()} {parts.get('apart') or ''}{_infinitive(parts['verb'])}"
    )


_NO_FINITE: Final = (
    r"(?![^,;:.!?()]*\b(?i:hat|haben|habe|ist|sind|war|waren|wird|werden|wurde|wurden|bin|bist|"
    r"kann|können|konnten?|wollen|will|darf|dürfen|mag|ich|wir|er|sie|es|geht|gehen|gab|gibt|"
    r"macht|machte|kamen?|ließ|ließen|seit|früher|den ganzen|den halben|tag für tag)\b)"
    r"(?![^,;:.!?()]*\b(?:fehlen|stehen|liegen|kommen|gehen|bleiben|hängen|warten|blühen|"
    r"funktionieren|passen|reichen|gehören|spielen|schlafen|singen|lachen|freuen|fahren|sitzen|"
    r"wohnen|lernen|laufen|dauern|kosten)\W*$)"
)

GERMAN: Final = Lexicon(
    code="de",
    letters=r"[äöüß]|(?:ung|ungen|lich|isch|sch|icht)\b",
    common=(
        "montag dienstag mittwoch donnerstag freitag samstag sonntag heute kannst könnt könnte "
        "habe hatte wurde diese dieser dieses einen keinen gibt geht macht der die das und in muss "
        "müssen soll sollen sollte beim wird werden euch alle jemand deine deinen meine meinen "
        "seine ihre ihren eure unsere keine ist sind war nicht ein eine einen einem einer auf für "
        "mit von zu dem den des im am um bei nach aus wie auch noch nur aber oder wenn wir ihr sie "
        "ich du er es sich wird werden hat haben kann bitte bis zum zur vom über vor dass als an "
        "uns mir mich dir ihnen ihm ihn euch mein dein sein unser schon mal was wer wo"
    ),
    no_names=(
        "die der das den dem des ein eine einen es er sie wir ihr ich du man alle jeder jede "
        "niemand keiner jemand wer was wo wann warum wie wenn falls ob dass und oder aber denn "
        "nicht bitte danke hallo liebe lieber sehr guten moin heute morgen gestern übermorgen "
        "montag dienstag mittwoch donnerstag freitag samstag sonntag januar februar märz april mai "
        "juni juli august september oktober november dezember am im um bis zum zur vom für mit "
        "nach vor ab seit wegen trotz während ohne gegen unser unsere euer eure ihre mein meine "
        "dein deine sein seine dieser diese dieses nächste nächster letzte letzter top beschluss "
        "termin projekt dann danach außerdem also noch auch nur schon neu neues alles nichts etwas "
        "viele einige beim gruß grüße viele tschüss ja nein ok hier da dort draußen trotzdem "
        "leider vielleicht thema punkt anwesend protokoll hinweis achtung wichtig erinnerung notiz "
        "wetter sonne"
    ),
    name=(
        r"(?:(?:Herrn?|Frau|Dr\.|Prof\.|Familie|Hr\.|Fr\.|Onkel|Tante|Oma|Opa) "
        r")?[A-ZÄÖÜ][\wäöüß-]+(?: (?:von|[A-ZÄÖÜ][\wäöüß-]+)){0,2}"
    ),
    verbs=_INFINITIVE,
    present=_PRESENT,
    fillers=r"(?i:\bbitte\b,?|\bdringend\b|\bunbedingt\b|\bübrigens\b,?|\bdoch mal\b)",
    leads=(
        r"(?i:(?:und|aber|also|dann|danach|außerdem|zudem|oder|denn|ok(?:ay)?|gut|ja|zuerst|erstens|"
        r"zweitens|als nächstes|anschließend|schließlich|übrigens|ps|p\.s\.|wie besprochen|wie "
        r"vereinbart|nochmal|noch einmal|noch eine bitte|noch etwas|noch was|kurze erinnerung|zur "
        r"erinnerung|erinnerung|wichtig|achtung|dringend|bis dahin|vorher|davor|inzwischen|daher|"
        r"deshalb|deswegen|nebenbei|hallo|hi|moin|hey|sorry|dafür|hierfür|dazu|hinweis|ach ja|um "
        r"\d{1,2}(?:[.:]\d\d)? uhr|jedenfalls|wenn möglich|dass|neu ist|offen ist noch|@)"
        r"\b[,:!.\s–-]*)|\w+ (?:sagt|sagte|meint|meinte|berichtet|schlägt vor|schreibt|erinnert "
        r"daran|bittet|weist darauf hin)(?:,)? (?:dass )?"
    ),
    joints=(
        r"(?i:\s*(?:[;–—]|->|→)\s+|\s-\s|,?\s(?:und|sowie|aber)\s(?:dann\s|auch\s)?|,\s(?:dass\s|"
        r"dann\s|denn\s)?|:\s|\s\(|\)\s?)"
    ),
    requests=(
        (
            r"(?i:(?:wäre|ist) es (?:ihnen |dir |euch )?möglich,? (?:dass (?:du|sie|"
            r"ihr) )?(?P<what>\w.+))"
        ),
        r"(?i:(?:sucht|suchen|braucht|brauchen) (?:\w+ ){0,3}\w+, (?:der|die) (?P<what>\w.+))",
        r"(?i:\w+ bittet (?:darum|alle|uns|euch|sie),? (?:dass )?(?P<what>\w.+))",
        (
            r"(?i:(?:ich|wir) (?:benötigen?|brauchen?|bräuchten?) (?:noch |dringend |von (?:ihnen|"
            r"dir|euch) )+(?P<what>(?!zeit|geduld)\w.+))"
        ),
        r"(?P<what>\w+t (?:\w+ )?jemand (?!schon|eine idee)[^?]{3,})(?=\?)",
        (
            r"(?i:(?:wärst du so (?:nett|lieb|gut) und|könn(?:test|ten|tet|te)|kannst|"
            r"kannste|könntste|könnt|können|würd(?:est|en|et|e)|magst|mögen|mögt|wür?dest|"
            r"kann) (?:du|sie|ihr|jemand|einer|eine|wer|bitte jemand|(?-i:(?P<who>{name})))(?: "
            r"bitte| mir| uns| mal| noch| vielleicht| eventuell| auch| kurz| dann|"
            r" dich| euch| sich| doch| schon| evtl\.?)* (?P<what>.+))"
        ),
        r"(?i:(?:bitte |und )?(?:vergiss|vergesst|vergessen sie)(?: bitte)? nicht,? (?P<what>.+))",
        (
            r"(?i:(?:bitte )?(?:nicht vergessen|dran denken|daran denken|bitte beachten|"
            r"merken)\s*[:,–-]?\s*(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:bitte )?(?:denk|denkt|denken sie)(?: bitte)?(?: auch| noch)? "
            r"(?:daran|dran|an),? ?(?P<what>.+))"
        ),
        (
            r"(?i:(?:bitte )?(?:sorg|sorge|sorgt|sorgen sie|achte|achtet|achten sie|stellen sie|stell|"
            r"stellt)(?: bitte)? (?:dafür|darauf|sicher),? (?P<what>.+))"
        ),
        (
            r"(?i:(?P<what>{verbs} sie\b (?!sich wohl|recht|herzlich|nichts|nicht|"
            r"keine|gern|einfach|wohl|bloß)\w.+))"
        ),
        (
            r"(?i:bitte (?P<what>(?!sehr|schön|nicht |keine|um entschuldigung|entschuldig|wundert|"
            r"melde[nt]? (?:sie )?(?:dich|euch|sich) (?:gern|jederzeit|bei fragen))\w.+))"
        ),
        (
            r"(?i:(?:wir|ich) (?:bitte|bitten|ersuchen|möchten?) (?:dich|sie|euch|"
            r"alle|jeden)(?: herzlich| höflich| darum)*,? (?P<what>.+))"
        ),
        (
            r"(?i:(?:es wäre|wäre)(?: es)? (?:gut|schön|toll|nett|super|prima|klasse|"
            r"lieb),? wenn (?:du|sie|ihr|jemand) (?P<what>.+))"
        ),
        (
            r"(?i:(?:den|die|das|ihre?n?|eure?n?|deine?n?) (?P<what>[^,;:.!?]+? (?:erbitten|erwarten|"
            r"benötigen|brauchen) wir [^,;:!?]+))"
        ),
        r"(?i:ich wäre (?:dir|ihnen|euch) dankbar,? wenn (?P<what>.+))",
        (
            r"(?i:wenn) (?:(?i:du|ihr|sie|jemand|einer|wer)|(?P<who>{name})) (?P<what>[^,;:.!?]+ "
            r"(?i:könnten?|könntest|würden?|würdest))"
        ),
        (
            r"(?i:(?:wären|wärst|wärt) (?:sie|du|ihr) so (?:nett|lieb|gut|freundlich),? (?:und "
            r")?(?P<what>\w.+))"
        ),
        r"(?i:(?:vergiss|vergesst|vergessen sie) (?P<what>[^,;:.!?]+?) nicht\b)",
        r"(?i:um (?P<what>[^,;:.!?]+?) wird (?:\w+ )?gebeten)",
        (
            r"(?i:(?:ich|wir) bitten? (?:\w+ )?um (?P<what>(?!verständnis|entschuldigung|geduld|"
            r"nachsicht)\w.+))"
        ),
        (
            r"(?i:(?:jeder|jede|alle|jeder von euch|jede gruppe) (?P<what>\w+(?:t|en)\b "
            r"[^,;:.!?]*\bbitte\b.*|\w+(?:t|en) bitte\b.*))"
        ),
        (
            r"(?P<what>(?i:(?!kennst|weißt|hast|bist|kommst|magst|siehst|glaubst|denkst|meinst|willst|"
            r"gehst|findest)\w+st) du (?!(?i:dich|schon|auch|gerade|heute abend)\b)[^?]{4,}(?=\?))"
        ),
        r"(?i:(?:to-?do|aufgabe|ap|offen|zu erledigen|nächste schritte?|action)\s*[:–-]\s*(?P<what>\w.+))",
        (
            r"(?i:(?:gib|geben sie|gebt|sag|sagt|sagen sie) (?:mir|uns) (?:bitte "
            r")?(?:bescheid|rückmeldung)(?P<what>.*))"
        ),
        r"(?i:(?P<what>[^,;:.!?]{3,80}), bitte\b.*)",
        r"(?P<what>[^,;:.!?]{3,80} (?i:bitte) [^,;:.!?]*{verbs}.*)",
    ),
    duties=(
        (
            rf"(?P<what>{_NP} (?i:{_MUST}) (?!(?i:nicht|nichts|keine?n?|niemand\w*|"
            rf"sein|es|man sagen)\b)(?![^,;:!?]*\b(?:geliefert|erwartet|gerechnet)\b)[^,;:!?]*(?:werden|"
            rf"sein|raus|weg|rein|fertig|fort|los|hin|her|da))\b(?![a-zäöü]).*"
        ),
        r"(?P<what>[^,;:.!?]{2,60} (?i:gehört|gehören) (?:\w+ ){0,4}\w+(?:t|en)\b)",
        (
            r"(?P<what>[^,;:.!?]{2,60} (?i:braucht|brauchen|benötigt|benötigen) [^,;:!?]*\b(?:bis|"
            r"spätestens)\b.*)"
        ),
        (
            r"(?P<what>[^,;:.!?]{2,60} (?i:bräuchten?|brauchen?|benötigen?|hätten?) (?i:ich|wir) "
            r"[^,;:!?]*\b(?:bis|spätestens|noch|gerne?)\b.*)"
        ),
        (
            r"(?i:(?:suchen|brauchen|bräuchten) (?:wir )?(?:noch |dringend )*(?:jemand\w*|einen|"
            r"eine|leute|freiwillige),? ?(?:der|die) (?P<what>\w.+))"
        ),
        (
            rf"(?P<what>(?:{_DET}|Zum|Zur) [^,;:.!?]{{2,40}}? (?i:muss|müssen|werde|werden|sollte|"
            rf"soll|will) (?i:ich|wir) [^,;:!?]*{{verbs}})"
        ),
        (
            rf"(?P<what>{_DET} [^,;:.!?]{{2,50}}? (?!(?i:habe|hätte|wäre|würde|könnte|möchte|finde|"
            rf"glaube|denke|meine|mag|weiß|liebe|kenne|sehe|höre|hatte|wollte|musste|sollte|müsste|lese|"
            rf"esse|vermisse|trage|hasse|genieße|verstehe)\b)[a-zäöüß]+e (?i:ich)\b.*)"
        ),
        (
            r"(?P<what>[^,;:.!?]{2,60} (?i:ist|sind) (?!(?i:nicht|nichts|kaum)\b)[^;:!?]*\b(?:ab|an|auf|"
            r"aus|bei|ein|mit|nach|um|vor|weg|zurück)zu\w{3,}en\b.*)"
        ),
        (
            rf"(?P<who>{{name}}(?:(?:,| und) {{name}}){{0,3}}) (?i:{_MUST}|wird|werden|"
            rf"will|möchte|darf)(?i: bitte| noch| auch| dann| nun| jetzt)* (?P<what>(?!(?i:nicht|"
            rf"nichts|keine?n?|es|wohl|ja|sicher|immer|nie)\b)\w.*?{{verbs}}.*)"
        ),
        (
            rf"(?P<np>{_DET} [^,;:.!?]{{2,40}}?) (?i:{_MUST}) (?P<what>(?!(?i:nicht|"
            rf"nichts|keine?n?|es)\b)\w.*?{{verbs}}.*)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| und) {name}){0,3}) (?P<what>[^,;:!?]+{verbs} "
            r"(?i:soll|sollen|sollte|solle|muss|müssen|müsse|möge|wird|will|möchte))\b"
        ),
        (
            r"(?P<who>(?i:ich|wir)) (?i:muss|müssen|müsste|müssten|werde|werden|soll|sollen|sollten|"
            r"sollte|will|wollen)(?i: noch| auch| dann| jetzt| unbedingt| dringend| mal)* "
            r"(?P<what>(?!(?i:nicht|nichts|keine?n?|es |sagen|sehen|schauen|mal sehen)\b)\w.*?{verbs}.*)"
        ),
        (
            r"(?i:muss|müssen|werde|werden|will) (?P<who>(?i:ich|wir)|{name})(?i: noch| auch| dann| "
            r"jetzt| unbedingt)* (?P<what>(?!(?i:nicht|keine?n?|nichts)\b)\w.*?{verbs}.*)"
        ),
        (
            rf"(?P<who>(?i:ich)) (?P<what>(?i:(?:{_IMPERATIVE})e?|nehme?|übernehme?|gebe?|lese?|gehe?|"
            rf"fahre?|komme? vorbei|mache? das|kümmere? mich|kümmer mich)\b(?! (?:mal wieder|nicht|"
            rf"nichts|mich|auch nicht|daran|immer|gern|oft|lieber|seit|jeden|meist)\b).*)"
        ),
        (
            rf"(?P<what>(?i:(?!brauch)(?:{_IMPERATIVE})e?|nehme?|übernehme?|gebe?|lese?|gehe?|"
            rf"fahre?|mache?|kümmere?)) (?P<who>(?i:ich))\b .+"
        ),
        (
            r"(?P<who>{name}(?:(?:,| und) {name}){0,3}) (?P<what>(?i:kümmer[nt]e? sich|kümmern sich|"
            r"übernimmt|übernehmen|besorgt|besorgen|organisiert|organisieren|erledigt noch|bereitet|ist "
            r"zuständig|ist verantwortlich|bringt|bringen|holt|holen|schickt|schicken|fragt|fragen|"
            r"macht|machen|klärt|klären|prüft|prüfen|bestellt|bestellen|ruft|rufen|schreibt|schreiben|"
            r"reserviert|bucht|meldet|druckt|leitet|nimmt|schaut|liest|gibt|stellt|legt|liefert|baut|"
            r"räumt|putzt|kauft|kaufen|kocht|backt|repariert|sammelt|lädt|erstellt|verschickt|verteilt|"
            r"verfasst|formuliert|überarbeitet|aktualisiert|informiert|kontaktiert|vereinbart|testet|"
            r"spricht|hilft|näht|malt|zeichnet|übersetzt|sucht|plant|trägt|tauscht|zahlt|überweist|"
            r"fährt|holt|hängt)\b .+)"
        ),
        (
            r"(?i:(?:du|sie|ihr)(?: alle| beide)? (?:musst|müsst|müssen|sollst|sollt|"
            r"solltest|sollten|solltet)(?: noch| bitte| auch| unbedingt)* (?P<what>(?!nicht|"
            r"keine?n?|nichts|nur)\w.*?{verbs}.*))"
        ),
        (
            r"(?i:(?:es|das|jemand|irgendwer|irgendjemand|einer|eine|wer|wir|man|alle|jeder|jede) "
            r"(?:muss|müssen|soll|sollte|sollten|müsste)(?: noch| auch| dringend| bitte)* "
            r"(?P<what>(?!nicht|nichts|keine?n?|sein|man sagen)\w.*?{verbs}.*))"
        ),
        (rf"(?P<what>{_NP} (?i:ist|sind) (?!(?i:nicht|nichts)\b)[^,;:!?]*\b(?i:zu) {{verbs}}.*)"),
        (
            r"(?P<who>{name}) (?i:hat|haben) (?P<what>(?!(?i:nicht|nichts)\b)[^,;:!?]*\b(?i:zu)"
            r" {verbs}.*)"
        ),
        rf"(?P<what>{_DET} [A-ZÄÖÜ]\w+ (?:{_PRESENT})(?: \w+){{0,2}}) (?P<who>{{name}})\b.*",
        r"(?P<who>{name}) ?[:–-] (?P<what>[^,;:.!?]*{verbs})\W*$",
        (
            rf"(?P<what>(?i:(?:{_IMPERATIVE})(?:e|t|et)?|{_IRREGULAR})\b (?!du\b|dir keine|dich nicht)"
            rf"(?!(?i:ist|war|wird|hat|sich|nicht|für \d)\b)\S.+)(?=!|$|\.)"
        ),
        (
            rf"(?P<what>{_NO_FINITE}(?:[A-ZÄÖÜ]\w+|[Dd]ie|[Dd]en|[Dd]as|[Aa]lle|[Dd]em|neue[nrs]?|zwei|"
            rf"drei|noch|weitere) [^,;:.!?()]*?{{verbs}})\s*(?:bitte)?\s*(?:!|$|\.$)"
        ),
        r"(?i:(?:frist|abgabe|abgabeschluss|einsendeschluss|anmeldeschluss)(?: für)? (?P<what>.+))",
        r"(?P<what>[^,;:!?]{3,60} (?i:fällig|abzugeben|einzureichen)\b.*)",
    ),
    reports=(
        r"(?P<who>{name}(?:(?:,| und) {name}){0,3}) (?P<what>{present} .+)",
        rf"(?P<what>{_PRESENT}) (?P<who>{{name}}) .+",
    ),
    listed=(rf"(?P<what>{_NO_FINITE}[^;:!?]*?{{verbs}})\s*(?=$|[(,.!–\d-]|: )",),
    more=(
        r"(?P<what>(?:{present} .+|[a-zäöüß]+e (?:die|den|das|dir|euch|Ihnen|ihn|sie) .+|"
        r"[^,;:!?]+{verbs}.*))"
    ),
    general=(
        r"(?i:\bman (?:muss|müsse|sollte|soll|darf|kann)|muss man|heißt es|sprichwort|\bfrüher\b|"
        r"damals|als kind|(?:jeden|jede|jedes) (?:tag|morgen|abend|nacht|jahr|stunde|kampf)|"
        r"\b(?:sie|er) muss wieder|geduld haben|(?:sagte?|rief|flüsterte|meinte|brummte|behauptete?|"
        r"erzählte?|sprach) (?:der|die|das|mein|er|sie|man|[A-Z])|behauptet|nicht jeder|\bmüsse\b|"
        r"\böfter\b|können\W*$|weiter so|ernst nehmen|soll ja|bloß nicht|\btäglich\b|tagelang)"
    ),
    openers=(
        r"(?i:(?<!\w)(?:bitte|könntest|kannst|könnten sie|könnt ihr|ich muss|ich sollte|wir müssen|"
        r"muss ich|vergiss|vergesst|denk(?:t|en sie)?(?: bitte)? (?:dran|daran|an)|jemand (?:muss|"
        r"müsste|sollte|soll)|wenn (?=[A-ZÄÖÜ]\w+ |jemand|du|ihr|sie)|ich bitte|wir bitten|es "
        r"müsste|es muss|(?:suchen|brauchen) wir|wären sie|wärst du)\b)|(?<=[ ,])(?:Herrn?|Frau|"
        r"Dr\.) [A-ZÄÖÜ]\w+(?= (?i:soll|muss|wird) )|(?<=, ){name}(?= (?i:soll|muss|übernimmt|"
        r"kümmert sich)\b)"
    ),
    asks=(
        r"(?i:(?:und |also |nur )?wer (?:kann |könnte |will |möchte |würde |macht noch "
        r")?(?P<what>\w[^?]{3,80})\?)"
    ),
    answers=(
        r"(?i:(?:kann ich(?: \w+)?$|(?:das |den |die )?(?:mach|mache|nehm|nehme|übernehm|übernehme|"
        r"hol|hole|besorg|besorge|erledige?|kümmer mich|bring|bringe|kann|schaff|schaffe) ich(?: "
        r"das| drum| gern| gerne| mit)?|ich(?: mach(?:e|'s| es| das)?| kann(?: das)?| übernehme(?: "
        r"das)?| kümmere mich(?: darum| drum)?| nehm(?:e)?(?: den| die| das)?| will)?|bei mir|bin "
        r"dabei|alles klar|jaja)(?: (?:heute|morgen|übermorgen|noch|dann|am|montag|dienstag|"
        r"mittwoch|donnerstag|freitag|samstag|sonntag|früh|abend|gern|gerne|gleich|selbst|darum|"
        r"drum))*$)|(?P<who>{name}) (?i:macht|übernimmt|kümmert sich|meldet sich|ist dabei|hat sich "
        r"gemeldet|hat sich bereit erklärt|erklärt sich bereit)(?i:'s| das| es| darum| drum)?$"
    ),
    settled=(
        r"(?i:\b(?:erledigt|schon|bereits|abgesagt|gestrichen|storniert|abgelehnt|vergeben|"
        r"hinfällig|nicht mehr|nichts mehr|niemanden mehr|keine?n? mehr|nicht nötig|unnötig|"
        r"überflüssig|gestern|vorgestern|letzte[nrs]? (?:woche|monat|jahr|montag|dienstag|mittwoch|"
        r"donnerstag|freitag|mal)|vorige\w*|wurden?(?! (?:auf|für|vom)\b)|worden|brauch(?:en|st|t)? "
        r"(?:\w+ ){0,3}(?:nicht|nichts|keine?n?)|niemand|musste|mussten|hieß es|wollte|wollten|war|"
        r"waren|hatte|hatten|fertig(?! (?:mach|stell))|geschafft|gemacht|konnte|konnten|gelöst|"
        r"behoben|kann (?:ich )?(?:leider )?(?:\w+ ){0,2}nicht|muss(?:t|en)? (?:\w+ ){0,3}(?:nicht|"
        r"nichts)|entfällt|ausgefallen|fällt aus|besorgt$|bezahlt$|bestellt$|zurückgezogen|vom "
        r"tisch|habe ich|haben wir|hab ich|hat \w+ (?:schon|bereits)|keine sorge|geregelt|längst|"
        r"vor \w+ (?:tagen|wochen|monaten|jahren))\b|✓|✔|☑|✅)"
    ),
    unreal=(
        r"(?i:\b(?:vielleicht|eventuell|evtl|möglicherweise|vermutlich|wahrscheinlich|hätte|hätten|"
        r"wäre|wären|würde|irgendwann|mal sehen|falls|man könnte|überleg\w*|träum\w*|idee|angeblich|"
        r"bestimmt|wenn ich|ob|hoffentlich|am liebsten|gern(?:e)? (?:einmal|mal)|theoretisch|"
        r"offen(?:,| ob)|unklar|diskutiert|debatt\w+|roman|witz|rezept|film|wünsch\w*|zum beispiel|"
        r"z\. ?b\.|lust auf)\b)"
    ),
    states=r"(?i:\b(?:ist|sind|war|hat|haben|hatte|passt|klemmt|wartet|fällig)\b)",
    events=(
        r"(?i:\b\w*(?:sitzung|treffen|termin|besprechung|meeting|fest|feier|party|hochzeit|"
        r"geburtstag|ausflug|reise|fahrt|besuch|prüfung|klausur|test|konzert|eröffnung|start|"
        r"auftakt|kick-?off|beginn|premiere|probe|aufführung|vorstellung|vortrag|lesung|workshop|"
        r"seminar|schulung|kurs|training|konferenz|tagung|messe|markt|basar|flohmarkt|inventur|"
        r"umzug|lieferung|abholung|ankunft|abfahrt|abreise|anreise|flug|zug|abgabe|schluss|wahl|"
        r"abstimmung|versammlung|elternabend|sprechstunde|untersuchung|operation|zahnarzt|arzt|"
        r"tierarzt|impfung|wartung|ablesung|begehung|besichtigung|übergabe|abnahme|audit|kontrolle|"
        r"übung|alarm|brandschutz|turnier|spiel|rennen|lauf|wanderung|essen|frühstück|brunch|"
        r"grillen|stammtisch|abend|tag|nacht|ferien|feiertag|jubiläum|gottesdienst|taufe|beerdigung|"
        r"demo|präsentation|review|retro|release|abschaltung|sperrung|stromausfall|räumung|einzug|"
        r"auszug|interview|gespräch|telefonat|call|verhandlung|gericht|webinar|ausstellung|"
        r"vernissage|theater|kino|aktion|putz|einsatz|notar|friseur|handwerker|monteur|"
        r"schornsteinfeger|gutachter|techniker)e?[nrs]?\b)"
    ),
    happens=(
        r"(?i:\b(?:findet|finden|statt|geschlossen|kommt|kommen|beginnt|beginnen|startet|fängt|"
        r"fangen|eröffnet|öffnet|schließt|geschlossen|gesperrt|treffen wir uns|treffen uns|trifft "
        r"sich|treffe|geplant|angesetzt|vorgesehen|steigt|feiern|feiert|reist|fliegt|fahren|fährt|"
        r"landet|zieht|ziehen|\w+en wir|wir (?!müssen|sollten|wollen|haben|sind|bitten)\w+en|soll "
        r"\w+ geliefert|wird \w+ geliefert|erscheint|endet|läuft ab|tagt|besucht|spielt|eingeladen|"
        r"laden ein|geht los|wird geliefert|liefert|ist wieder da)\b)"
    ),
    decisions=(
        (
            r"(?i:(?P<what>[^,;:]{4,100}), (?:so (?:ist|wurde|haben wir) (?:es )?|das (?:ist|wurde|"
            r"haben wir) (?:so )?|wurde |ist )?(?:beschlossen|entschieden|vereinbart|abgemacht|"
            r"ausgemacht|einstimmig angenommen|steht fest))"
        ),
        (
            r"(?i:(?:beschluss|beschlüsse|entscheidung|beschlossen|entschieden|ergebnis|einstimmig "
            r"angenommen|angenommen|genehmigt|"
            r"fazit|festgelegt|vereinbart|vereinbarung|einigung|abgestimmt)\s*[:–-]\s*(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:[^,;:]{0,40}\b)?(?:wir|der vorstand|der beirat|das team|die gruppe|die versammlung|"
            r"alle|man|es|der verein|die mitglieder|die runde)\b(?: \w+){0,3}? (?:beschlossen|"
            r"entschieden|vereinbart|geeinigt|festgelegt|beschließt|beschließen|einigt sich|entscheidet)"
            r"(?: darauf)?,? ?(?:dass |darauf, )?(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:wir|der vorstand|das team|man) (?:bleibt?|bleiben|nehmen) (?:bei|dabei|(?=d(?:ie|"
            r"en|as) [a-zäöü]+e?n? )) ?(?P<what>.+))"
        ),
        (
            r"(?i:(?P<what>ab (?:sofort|\w+|dem \S+ \w+) (?:gilt|gelten|nur noch|ist|sind|gibt|"
            r"bleibt|bleiben|darf|dürfen) .+))"
        ),
    ),
    facts=(
        r"(?i:\b\w*(?:nummer|nr\.|code|pin|passwort|kennwort|wlan|wi-?fi|iban|zählerstand|stand|"
        r"aktenzeichen|kennzeichen|größe|adresse|telefon|durchwahl|konto|zugang|login|kennung|"
        r"kombination|raum|blutgruppe|steuer-?id)\b[^.!?]{0,40}?(?:\bist\b|\blautet\b|:|=)"
        r"\s?[^.!?]*?(?:\d|\"|[A-Z]{2})|\b\w*(?:schlüssel|zähler|akten?|ordner|unterlagen|haupthahn|"
        r"ventil|sicherung\w*|ersatz\w+|werkzeug|leiter|anleitung|karton|pass|verbandskasten)"
        r"\b.{0,30}? (?:ist|sind|liegt|liegen|hängt|hängen|steht|stehen|bleibt|bleiben) "
        r".{0,20}?\b(?:im|in|am|an|auf|unter|hinter|neben|bei|beim|über)\b|^(?:vermieter(?:in)?|"
        r"lieferant(?:in)?|ansprechpartner(?:in)?|kontakt|hausarzt|notdienst|versicherung|"
        r"eigentümer(?:in)?|zuständig)\b.{0,30}: |im preis (?:enthalten|inbegriffen)|(?:ist|sind) "
        r"(?:nicht (?:erlaubt|gestattet|zulässig)|verboten|untersagt)|(?:darf|dürfen) (?:nur )?bis|"
        r"bleiben gültig|allergisch|garantie bis|gültig bis)"
    ),
    places=r"\w+\W+\w+\W+\w+",
    projects=(
        (
            r"\b(?i:projekt|vorhaben|initiative|kampagne|programm)s? (?i:(?:namens|"
            r"mit dem namen) )?[\"“„«»‘](?P<name>[^\"”“»«]{2,60})[\"”“»«]"
        ),
        r"\b(?i:projekt|initiative) (?P<name>[A-ZÄÖÜ][\w-]+(?: [A-ZÄÖÜ0-9][\w-]*){0,3})",
        r"[\"“„«»](?P<name>[^\"”“»«]{2,60})[\"”“»«](?: |-)(?i:projekt)",
    ),
    begins=either(
        "start\\w* beginn\\w* begonnen los weiter\\w* fortgesetzt genehmigt bewilligt beschlossen "
        "läuft laufen angelaufen gestartet gegründet auftakt freigegeben vereinbart fortgeführt "
        "geht starten angenommen gefördert neue[ns]? leitet übernimmt kick-?off zugestimmt arbeiten"
    ),
    comments=(
        (
            r"(?i:(?:kommentar|anmerkung|bemerkung|notiz|hinweis)(?: von)?) (?P<who>[^:]{1,40})"
            r":\s*(?P<what>.+)"
        ),
        (
            r"(?i:(?:zum|zur|zu|beim|wegen|bezüglich|betreffs?) (?:der |dem |die "
            r")?[^:,–]{0,40}(?:aufgabe|ticket|vorgang|karte|to-?do|issue|task|punkt)[^:,–]{0,40}\s?[:,–-]"
            r"\s*(?P<what>.+))"
        ),
    ),
    tickets=r"(?i:(?:#\d+|(?:ticket|vorgang|störung|meldung|auftrag|fall|anfrage)\b.{0,6}\d))",
    urgent=(
        r"(?i:\bdringend\w*\b|\beilt\b|\beilig\b|\bsofort\b|\bumgehend\b|\bschnellstmöglich\b|"
        r"\basap\b|\bso schnell wie möglich\b|\bunbedingt\b|\bhöchste priorität\b|!!)"
    ),
    deadlines=r"(?i:frist|abgabe|fällig|bis|datum|stand|heute|morgen)\b",
    minutes=(
        r"(?i:\b(?:\w*protokoll|\w*sitzung|\w*besprechung|jour fixe|anwesend|"
        r"teilnehmer|\w*versammlung|\w*beirat|\w*vorstand|tagesordnung|top \d|"
        r"weekly|stand-?up|meeting|\w*treffen|gespräch mit|telefonat mit|runde)\b)"
    ),
    to_do=(
        r"(?i:^\W*(?:aufgaben|to-?dos?|zu erledigen|noch (?:offen|zu tun)|offene punkte|nächste "
        r"schritte|maßnahmen|erledigungen|was noch fehlt|einkaufsliste|einkauf|packliste|checkliste|"
        r"besorgungen|(?:putz|dienst|haushalts)plan\b.{0,30}|vor (?:dem|der) \w+|.*\bwer macht was|"
        r"was (?:noch )?zu tun ist)\W*$)"
    ),
    finished=r"(?i:^\W*(?:erledigt|fertig|abgeschlossen|geschafft|bereits erledigt)\W*$)",
    decided=r"(?i:^\W*(?:beschlüsse|entscheidungen|festlegungen)\W*$)",
    talk=(
        r"(?i:^\W*(?:tagesordnung|themen|ideen|fragen|offene fragen|teilnehmer|"
        r"anwesend|entschuldigt|diskussion|irgendwann|vielleicht|wunschliste|"
        r"zutaten|menü|zusammenfassung|neuigkeiten|hintergrund|abgesagt)\W*$)"
    ),
    labels=either(
        "von an cc betreff datum gesendet anwesend entschuldigt teilnehmer ort zeit wann wo wer "
        "was warum hinweis notiz ps re aw wg beschluss beschlüsse entscheidung aufgabe aufgaben "
        "todo erinnerung frist termin thema tagesordnung nächste nächster nächstes heute morgen "
        "gestern montag dienstag mittwoch donnerstag freitag samstag sonntag summe preis telefon "
        "tel e-?mail web adresse passwort wlan code nummer achtung tipp stand status priorität "
        "projekt zusammenfassung hintergrund beispiel zuständig verantwortlich zugewiesen "
        "bearbeiter gemeldet ergebnis ziel frage antwort idee kommentar auftrag titel kostüm "
        "beschlossen festgelegt top\\b.* zur zum verschiedenes wichtig neu"
    ),
    anyone=either("alle jeder jede jemand einer du sie ihr er wir man"),
    me=r"(?i:ich|wir|mich|uns)\b",
    articles=r"(?i:(?:der|die|das|eine?|unsere?) )",
    pronoun_subjects="es er sie das dies",
    goes_on=r"(?i:noch offen|macht (?:wie immer|diesmal|wieder)|übernimmt|kümmert)",
    spanning=(
        (
            rf"(?P<what>{_NP} (?i:ist|sind|hat|haben) [^;:.!?]{{2,40}} und (?i:{_MUST}) "
            rf"[^;:!?]*(?:werden|sein)\b.*)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| und) {name}){0,3}) (?i:hat|haben) (?:sich )?(?i:zugesagt|"
            r"versprochen|angeboten|bereit erklärt|angekündigt|übernommen|verpflichtet|"
            r"vorgenommen),? (?P<what>.*?\bzu {verbs}.*|\w.*zu\w+en\b.*)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| und) {name}){0,3}) (?i:wurde|wird|werden|wurden) "
            r"(?i:gebeten|beauftragt|ersucht),? (?P<what>\w.+)"
        ),
        (
            r"(?P<np>(?i:die|der|alle) \w+) (?i:wird|werden|sind) (?i:gebeten|aufgefordert|"
            r"angehalten|verpflichtet|eingeladen),? (?P<what>\w.+)"
        ),
        r"(?i:(?:ich|wir) (?:darf|dürfen) (?:auch |bloß |ja )?nicht vergessen,? (?P<what>\w.+))",
        r"(?i:(?:ich|wir) (?:habe|haben) (?:\w+ )?(?:versprochen|zugesagt),? (?P<what>\w.+))",
        (
            r"(?i:(?:ich|wir) (?:bräuchte|bräuchten|brauche|brauchen|benötige|benötigen)(?: "
            r"noch| dringend| bitte)* (?P<what>(?!nicht|kein|nur |mehr zeit)\w.*(?:von "
            r"(?:dir|euch|ihnen|allen)|jemand\w*|rückmeldung|bis |freiwillige).*))"
        ),
        r"(?i:(?:brauche|brauchen|bräuchte|benötigen) (?:ich|wir) (?P<what>(?!nicht|kein)\w.+))",
        r"(?i:(?:um|für) (?P<what>[^,;:.!?]+?) (?:kümmert|kümmern) sich) (?P<who>{name})",
        (
            r"(?i:für (?P<what>[^,;:.!?]+?) (?:ist|sind)) (?P<who>{name})(?: und "
            r"{name})? (?i:zuständig|verantwortlich)"
        ),
        (
            r"(?P<what>(?:[Dd]ie|[Dd]as|[Dd]en) [^,;:.!?]{2,40}? (?i:übernimmt|übernehmen|macht|machen|"
            r"besorgt|besorgen|organisiert|organisieren|erledigt|bringt)) (?P<who>{name})"
        ),
        (
            r"(?i:zuständig für|verantwortlich für|verantwortlich|zuständig) ?(?P<what>[^:]{2,40})"
            r": ?(?P<who>{name})"
        ),
    ),
    addressed=(
        r"(?i:(?:du|ihr|sie) (?P<what>(?!bist|seid|hast|habt|warst|siehst|weißt)\w+ .+))",
        r"(?P<what>(?i:kannst du|könntest du|machst du|schaust du|würdest du|bitte) .+)",
    ),
    gapped=(r"(?P<who>{name}) (?P<what>(?i:um|an|bei|mit|für|den|die|das) [^,;:.!?]+)\W*$",),
    rewrites=(
        (r"(.+?) (?i:bräuchten?|brauchen?|benötigen?|hätten?) (?:ich|wir)\b.*", r"\1"),
        (
            (
                rf"(?:(?i:der|die|das|den) )?(?P<np>[^,;:]{{2,60}}?) (?i:{_MUST}|gehört|gehören) "
                rf"(?:[a-zäöüß. ]*? )?(?P<apart>(?:{_APART}|be|er|ver|ent|zer|über|unter)(?=ge|\w+t\b|"
                rf"wiesen))?(?P<verb>ge\w+(?:t|en)|\w+iert|\w+t|wiesen)(?: (?:werden|sein))?"
            ),
            _passive,
        ),
        (
            (
                rf"(?:(?i:der|die|das) )?(?P<np>[^,;:]{{2,60}}?) (?i:ist|sind) (?:[a-zäöüß. ]*? "
                rf")?(?:(?P<apart>{_APART})zu|zu )(?P<verb>\w+e[rl]?n)(?: .*)?"
            ),
            r"\g<np> \g<apart>\g<verb>",
        ),
        (
            (
                rf"(?P<rest>{_DET} [^,;:]+?) (?P<verb>[a-zäöüß]+e) ich(?: dir| euch| Ihnen| selbst|"
                rf" noch| dann| gern| gerne| in [^,;:]+?)*(?: (?P<apart>{_APART}))?"
            ),
            _order,
        ),
        (
            (
                r"(.+?) (?i:ist|wird|wurde)(?: auf| für)? (?:festgelegt|angesetzt|geplant|vorgesehen|"
                r"terminiert|verschoben)"
            ),
            r"\1",
        ),
        (
            (
                rf"(?P<verb>{_PRESENT}|(?i:{_IMPERATIVE})e?|(?!Die\b|Eine\b)[A-ZÄÖÜ]\w+[te]) "
                rf"(?P<rest>[^,;:]+?) (?P<apart>{_APART})"
            ),
            _order,
        ),
        (
            (rf"(?P<verb>{_PRESENT}|(?i:{_IMPERATIVE})e) (?P<rest>(?!man\b|[^,;:]*\b[a-zäöü]+en$)[^,;:]+)"),
            _order,
        ),
        (
            r"(?P<np>\w+)(?P<verb>(?<=\w\w\w)ung) (?:der|des|von|unserer|Ihrer) (?P<rest>.+)",
            lambda match: f"{match['rest']} {match['np'].lower()}en",
        ),
    ),
    pronouns=r"(?i:(?:es|das|ihn|sie|dies)(?: (?:bitte|noch|bis|am|dann))* ?{verbs}$)",
    edges=(
        r"(?i:\b(?:bis|vor|zum|gegen|am|im|in der) (?:zum |zur )?(?:ende|anfang|mitte|monatsende|"
        r"jahresende|quartalsende|wochenende|feierabend)(?: (?:der|des|dieser|nächster|nächsten|"
        r"dieses))?(?: (?:woche|monats|jahres|quartals|januar|februar|märz|april|mai|juni|juli|"
        r"august|september|oktober|november|dezember))?)"
    ),
    dated=either(
        "heute morgen übermorgen montags? dienstags? mittwochs? donnerstags? freitags? samstags? "
        "sonntags? sonnabend \\w+abend \\w+morgen wochenende januar februar märz april mai juni "
        "juli august september oktober november dezember tage[ns]? wochen? monate?n? jahre?n? "
        "\\w*ende mittag abend feierabend"
    ),
)
