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
    r"\b(?!(?:haben|sein|werden|wollen|können|sollen|müssen|dürfen|mögen|"
    r"gegen|neben|wegen|zwischen|einen|keinen|meinen|deinen|seinen|ihren|"
    r"unseren|allen|diesen|jeden|beiden|anderen|neuen|alten|ersten|letzten|"
    r"nächsten|gestern|sondern|wissen|oben|unten|innen|außen|zusammen|eben|"
    r"neun|sieben|ganzen|kleinen|großen|guten|vielen|wenigen|ge(?!hen|ben|stalten|nehmigen|"
    r"winnen|währ)[a-zäöüß]+en)\b)[a-zäöüß]{2,}(?:en|"
    r"ern|eln|tun)\b"
)
_NO_WORK: Final = (
    r"(?!(?:ist|hat|wird|war|beklagt|beschwert|fehlt|könnt|kannst|wollt|dürft|leicht|"
    r"ernst|recht|geht|steht|liegt|"
    r"bleibt|findet|gibt es|heißt|"
    r"scheint|glaubt|meint|sagt|sagte|denkt|weiß|kennt|mag|kann|darf|lebt|"
    r"wohnt|schläft|freut|spielt|gewinnt|fehlt|kostet|gehört|passt|klappt|"
    r"funktioniert|läuft|lacht|berichtet|erzählt|erklärt|zeigt sich|hofft|"
    r"fährt|sitzt|hängt|riecht|schmeckt|dauert|reicht|erinnert|lobt|dankt|"
    r"bedankt|fällt|verlässt|hält|bittet|fühlt|sieht|findet|gilt|enthält|"
    r"besteht|hält|arbeitet|kommt|beginnt|startet|endet|feiert|sucht noch|"
    r"nicht|mit|seit|dort|selbst|statt|fast|erst|sonst|jetzt|meist|oft|gut|"
    r"laut|bereit|wert|nächst|samt|hinkt|soll|muss|liebt|hasst|träumt|weint|"
    r"singt|tanzt|bekommt|erhält|wächst|trinkt|isst|möchte|wollte|fand|stellt "
    r"fest|regnet|schneit|leidet|lernt|studiert|verdient|vermutet|wünscht|"
    r"zweifelt|ärgert|wundert|schweigt|hört|trägt|scheitert|bedeutet|betrifft|"
    r"zählt|lautet|wirkt|tut weh|schließt um|öffnet|hatte|sind|tropft|klemmt|"
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
    r"(?![^,;:.!?()]*\b(?i:hat|haben|habe|ist|sind|war|waren|wird|werden|wurde|wurden|"
    r"bin|bist|kann|können|"
    r"konnten?|wollen|will|darf|dürfen|mag|ich|wir|er|sie|es|geht|gehen|gab|gibt|macht|"
    r"machte|kamen?|"
    r"ließ|ließen|seit|früher|den ganzen|den halben|tag für tag)\b)"
    r"(?![^,;:.!?()]*\b(?:fehlen|stehen|liegen|kommen|gehen|bleiben|hängen|warten|blühen|"
    r"funktionieren|passen|reichen|"
    r"gehören|spielen|schlafen|singen|lachen|freuen|fahren|sitzen|wohnen|lernen|laufen|"
    r"dauern|kosten)\W*$)"
)

GERMAN: Final = Lexicon(
    code="de",
    letters=r"[äöüß]|(?:ung|ungen|lich|isch|sch|icht)\b",
    common=(
        "montag dienstag mittwoch donnerstag freitag samstag sonntag heute "
        "kannst könnt könnte habe hatte wurde diese dieser dieses einen keinen "
        "gibt geht macht der die das und in muss müssen soll sollen sollte "
        "beim wird werden euch alle jemand deine deinen meine meinen seine "
        "ihre ihren eure unsere keine ist sind war nicht ein eine einen einem "
        "einer auf für mit von zu dem den des im am um bei nach aus wie auch "
        "noch nur aber oder wenn wir ihr sie ich du er es sich wird werden "
        "hat haben kann bitte bis zum zur vom über vor dass als an uns mir "
        "mich dir ihnen ihm ihn euch mein dein sein unser schon mal was wer "
        "wo"
    ),
    no_names=(
        "die der das den dem des ein eine einen es er sie wir ihr ich du man "
        "alle jeder jede niemand keiner jemand wer was wo wann warum wie wenn "
        "falls ob dass und oder aber denn nicht bitte danke hallo liebe lieber "
        "sehr guten moin heute morgen gestern übermorgen montag dienstag mittwoch "
        "donnerstag freitag samstag sonntag januar februar märz april mai juni "
        "juli august september oktober november dezember am im um bis zum zur "
        "vom für mit nach vor ab seit wegen trotz während ohne gegen unser unsere euer eure "
        "ihre mein meine dein deine "
        "sein seine dieser diese dieses nächste nächster letzte letzter top "
        "beschluss termin projekt dann danach außerdem also noch auch nur schon "
        "neu neues alles nichts etwas viele einige beim gruß grüße viele tschüss "
        "ja nein ok hier da dort draußen trotzdem leider vielleicht thema punkt "
        "anwesend protokoll hinweis achtung wichtig erinnerung notiz wetter "
        "sonne"
    ),
    name=(
        r"(?:(?:Herrn?|Frau|Dr\.|Prof\.|Familie|Hr\.|Fr\.|Onkel|Tante|Oma|Opa) "
        r")?[A-ZÄÖÜ][\wäöüß-]+(?: (?:von|[A-ZÄÖÜ][\wäöüß-]+)){0,2}"
    ),
    verbs=_INFINITIVE,
    present=_PRESENT,
    fillers=r"(?i:\bbitte\b,?|\bdringend\b|\bunbedingt\b|\bübrigens\b,?|\bdoch mal\b)",
    leads=(
        r"(?i:(?:und|aber|also|dann|danach|außerdem|zudem|oder|denn|ok(?:ay)?|"
        r"gut|ja|zuerst|erstens|zweitens|als nächstes|anschließend|schließlich|"
        r"übrigens|ps|p\.s\.|wie besprochen|wie vereinbart|nochmal|noch einmal|"
        r"noch eine bitte|noch etwas|noch was|kurze erinnerung|zur erinnerung|"
        r"erinnerung|wichtig|achtung|dringend|bis dahin|vorher|davor|inzwischen|"
        r"daher|deshalb|deswegen|nebenbei|hallo|hi|moin|hey|sorry|dafür|hierfür|"
        r"dazu|hinweis|ach ja|um \d{1,2}(?:[.:]\d\d)? uhr|jedenfalls|wenn möglich|dass|neu "
        r"ist|offen ist "
        r"noch|@)\b[,:!.\s–-]*)|\w+ (?:sagt|sagte|meint|meinte|berichtet|schlägt "
        r"vor|schreibt|erinnert daran|bittet|weist darauf hin)(?:,)? (?:dass "
        r")?"
    ),
    joints=(
        r"(?i:\s*(?:[;–—]|->|→)\s+|\s-\s|,?\s(?:und|sowie|aber)\s(?:dann\s|auch\s)?|"
        r",\s(?:dass\s|"
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
        (
            r"(?i:(?:bitte |und )?(?:vergiss|vergesst|vergessen sie)(?: bitte)? "
            r"nicht,? (?P<what>.+))"
        ),
        (
            r"(?i:(?:bitte )?(?:nicht vergessen|dran denken|daran denken|bitte beachten|"
            r"merken)\s*[:,–-]?\s*(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:bitte )?(?:denk|denkt|denken sie)(?: bitte)?(?: auch| noch)? "
            r"(?:daran|dran|an),? ?(?P<what>.+))"
        ),
        (
            r"(?i:(?:bitte )?(?:sorg|sorge|sorgt|sorgen sie|achte|achtet|achten "
            r"sie|stellen sie|stell|stellt)(?: bitte)? (?:dafür|darauf|sicher),? "
            r"(?P<what>.+))"
        ),
        (
            r"(?i:(?P<what>{verbs} sie\b (?!sich wohl|recht|herzlich|nichts|nicht|"
            r"keine|gern|einfach|wohl|bloß)\w.+))"
        ),
        (
            r"(?i:bitte (?P<what>(?!sehr|schön|nicht |keine|um entschuldigung|entschuldig|"
            r"wundert|melde[nt]? (?:sie )?(?:dich|euch|sich) (?:gern|jederzeit|bei "
            r"fragen))\w.+))"
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
            r"(?i:(?:den|die|das|ihre?n?|eure?n?|deine?n?) (?P<what>[^,;:.!?]+? (?:erbitten|"
            r"erwarten|"
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
            r"[^,;:.!?]*\bbitte\b.*|"
            r"\w+(?:t|en) bitte\b.*))"
        ),
        (
            r"(?P<what>(?i:(?!kennst|weißt|hast|bist|kommst|magst|siehst|glaubst|denkst|meinst|"
            r"willst|gehst|findest)\w+st) du "
            r"(?!(?i:dich|schon|auch|gerade|heute abend)\b)[^?]{4,}(?=\?))"
        ),
        (r"(?i:(?:to-?do|aufgabe|ap|offen|zu erledigen|nächste schritte?|action)\s*[:–-]\s*(?P<what>\w.+))"),
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
            rf"glaube|denke|meine|mag|"
            rf"weiß|liebe|kenne|sehe|höre|hatte|wollte|musste|sollte|müsste|lese|esse|vermisse|"
            rf"trage|hasse|genieße|verstehe)\b)"
            rf"[a-zäöüß]+e (?i:ich)\b.*)"
        ),
        (
            r"(?P<what>[^,;:.!?]{2,60} (?i:ist|sind) (?!(?i:nicht|nichts|kaum)\b)[^;:!?]*\b(?:ab|"
            r"an|auf|aus|bei|ein|mit|nach|"
            r"um|vor|weg|zurück)zu\w{3,}en\b.*)"
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
            r"(?P<who>(?i:ich|wir)) (?i:muss|müssen|müsste|müssten|werde|werden|"
            r"soll|sollen|sollten|sollte|will|wollen)(?i: noch| auch| dann| jetzt|"
            r" unbedingt| dringend| mal)* (?P<what>(?!(?i:nicht|nichts|keine?n?|"
            r"es |sagen|sehen|schauen|mal sehen)\b)\w.*?{verbs}.*)"
        ),
        (
            r"(?i:muss|müssen|werde|werden|will) (?P<who>(?i:ich|wir)|"
            r"{name})(?i: noch| auch| dann| jetzt| unbedingt)* (?P<what>(?!(?i:nicht|"
            r"keine?n?|nichts)\b)\w.*?{verbs}.*)"
        ),
        (
            rf"(?P<who>(?i:ich)) (?P<what>(?i:(?:{_IMPERATIVE})e?|nehme?|übernehme?|"
            rf"gebe?|lese?|gehe?|fahre?|komme? vorbei|mache? das|kümmere? mich|kümmer "
            rf"mich)\b(?! (?:mal wieder|nicht|nichts|mich|auch nicht|daran|immer|"
            rf"gern|oft|lieber|seit|jeden|meist)\b).*)"
        ),
        (
            rf"(?P<what>(?i:(?!brauch)(?:{_IMPERATIVE})e?|nehme?|übernehme?|gebe?|lese?|gehe?|"
            rf"fahre?|mache?|kümmere?)) (?P<who>(?i:ich))\b .+"
        ),
        (
            r"(?P<who>{name}(?:(?:,| und) {name}){0,3}) (?P<what>(?i:kümmer[nt]e? "
            r"sich|kümmern sich|übernimmt|übernehmen|besorgt|besorgen|organisiert|"
            r"organisieren|erledigt noch|bereitet|ist zuständig|ist verantwortlich|"
            r"bringt|bringen|holt|holen|schickt|schicken|fragt|fragen|macht|machen|"
            r"klärt|klären|prüft|prüfen|bestellt|bestellen|ruft|rufen|schreibt|schreiben|"
            r"reserviert|bucht|meldet|druckt|leitet|nimmt|schaut|liest|gibt|stellt|"
            r"legt|liefert|baut|räumt|putzt|kauft|kaufen|kocht|backt|repariert|sammelt|"
            r"lädt|erstellt|verschickt|verteilt|verfasst|formuliert|überarbeitet|"
            r"aktualisiert|informiert|kontaktiert|vereinbart|testet|spricht|hilft|"
            r"näht|malt|zeichnet|übersetzt|sucht|plant|trägt|tauscht|zahlt|überweist|"
            r"fährt|holt|hängt)\b .+)"
        ),
        (
            r"(?i:(?:du|sie|ihr)(?: alle| beide)? (?:musst|müsst|müssen|sollst|sollt|"
            r"solltest|sollten|solltet)(?: noch| bitte| auch| unbedingt)* (?P<what>(?!nicht|"
            r"keine?n?|nichts|nur)\w.*?{verbs}.*))"
        ),
        (
            r"(?i:(?:es|das|jemand|irgendwer|irgendjemand|einer|eine|wer|wir|man|alle|jeder|jede) "
            r"(?:muss|müssen|"
            r"soll|sollte|sollten|müsste)(?: noch| auch| dringend| bitte)* (?P<what>(?!nicht|"
            r"nichts|keine?n?|sein|man sagen)\w.*?{verbs}.*))"
        ),
        (
            rf"(?P<what>{_NP} (?i:ist|sind) (?!(?i:nicht|nichts)\b)[^,;:!?]*\b(?i:zu) "
            rf"{{verbs}}.*)"
        ),
        (
            r"(?P<who>{name}) (?i:hat|haben) (?P<what>(?!(?i:nicht|nichts)\b)[^,;:!?]*\b(?i:zu)"
            r" {verbs}.*)"
        ),
        rf"(?P<what>{_DET} [A-ZÄÖÜ]\w+ (?:{_PRESENT})(?: \w+){{0,2}}) (?P<who>{{name}})\b.*",
        r"(?P<who>{name}) ?[:–-] (?P<what>[^,;:.!?]*{verbs})\W*$",
        (
            rf"(?P<what>(?i:(?:{_IMPERATIVE})(?:e|t|et)?|{_IRREGULAR})\b (?!du\b|"
            rf"dir keine|dich nicht)(?!(?i:ist|war|wird|hat|sich|nicht|für \d)\b)\S.+)(?=!|"
            rf"$|\.)"
        ),
        (
            rf"(?P<what>{_NO_FINITE}(?:[A-ZÄÖÜ]\w+|[Dd]ie|[Dd]en|[Dd]as|[Aa]lle|[Dd]em|neue[nrs]?|"
            rf"zwei|drei|noch|weitere) "
            rf"[^,;:.!?()]*?{{verbs}})"
            rf"\s*(?:bitte)?\s*(?:!|$|\.$)"
        ),
        (
            r"(?i:(?:frist|abgabe|abgabeschluss|einsendeschluss|anmeldeschluss)(?: "
            r"für)? (?P<what>.+))"
        ),
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
        r"(?i:\bman (?:muss|müsse|sollte|soll|darf|kann)|muss man|heißt es|sprichwort|"
        r"\bfrüher\b|"
        r"damals|als kind|"
        r"(?:jeden|jede|jedes) (?:tag|morgen|abend|nacht|jahr|stunde|kampf)|\b(?:sie|er) "
        r"muss wieder|geduld haben|"
        r"(?:sagte?|rief|flüsterte|meinte|brummte|behauptete?|erzählte?|sprach) (?:der|die|"
        r"das|mein|er|sie|man|[A-Z])|"
        r"behauptet|nicht jeder|\bmüsse\b|\böfter\b|können\W*$|weiter so|ernst nehmen|soll "
        r"ja|bloß nicht|"
        r"\btäglich\b|tagelang)"
    ),
    openers=(
        r"(?i:(?<!\w)(?:bitte|könntest|kannst|könnten sie|könnt ihr|ich muss|ich sollte|wir "
        r"müssen|muss ich|vergiss|"
        r"vergesst|denk(?:t|en sie)?(?: bitte)? (?:dran|daran|an)|jemand (?:muss|müsste|sollte|"
        r"soll)|wenn (?=[A-ZÄÖÜ]\w+ |jemand|du|ihr|sie)|"
        r"ich bitte|wir bitten|es müsste|es muss|(?:suchen|brauchen) wir|wären sie|wärst du)\b)"
        r"|(?<=[ ,])(?:Herrn?|Frau|Dr\.) [A-ZÄÖÜ]\w+(?= (?i:soll|muss|wird) )|(?<=, ){name}(?= "
        r"(?i:soll|muss|übernimmt|kümmert sich)\b)"
    ),
    asks=(
        r"(?i:(?:und |also |nur )?wer (?:kann |könnte |will |möchte |würde |macht "
        r"noch )?(?P<what>\w[^?]{3,80})"
        r"\?)"
    ),
    answers=(
        r"(?i:(?:kann ich(?: \w+)?$|(?:das |den |die )?(?:mach|mache|nehm|nehme|übernehm|"
        r"übernehme|hol|hole|besorg|besorge|erledige?|kümmer mich|"
        r"bring|bringe|kann|schaff|schaffe) ich(?: das| drum| gern| gerne| mit)?|"
        r"ich(?: mach(?:e|"
        r"'s| es| das)?| kann(?: das)?"
        r"| übernehme(?: das)?| kümmere mich(?: darum| drum)?| nehm(?:e)?(?: den| die| das)?|"
        r" will)?|bei mir|bin dabei|alles klar|jaja)"
        r"(?: (?:heute|morgen|übermorgen|noch|dann|am|montag|dienstag|mittwoch|donnerstag|"
        r"freitag|samstag|sonntag|früh|abend|gern|gerne|gleich|selbst|darum|drum))*$)|"
        r"(?P<who>{name}) (?i:macht|übernimmt|kümmert sich|meldet sich|ist dabei|hat sich "
        r"gemeldet|hat sich bereit erklärt|erklärt sich bereit)(?i:'s| das| es| darum| drum)?$"
    ),
    settled=(
        r"(?i:\b(?:erledigt|schon|bereits|abgesagt|gestrichen|storniert|abgelehnt|"
        r"vergeben|hinfällig|nicht mehr|nichts mehr|niemanden mehr|keine?n? "
        r"mehr|nicht nötig|unnötig|überflüssig|gestern|vorgestern|letzte[nrs]? "
        r"(?:woche|monat|jahr|montag|dienstag|mittwoch|donnerstag|freitag|mal)|"
        r"vorige\w*|wurden?(?! (?:auf|für|vom)\b)|worden|brauch(?:en|st|t)? (?:\w+ "
        r"){0,3}(?:nicht|"
        r"nichts|keine?n?)|niemand|musste|mussten|hieß es|wollte|wollten|war|"
        r"waren|hatte|hatten|fertig(?! (?:mach|stell))|geschafft|gemacht|konnte|konnten|gelöst|"
        r"behoben|kann (?:ich )?(?:leider )?(?:\w+ ){0,2}nicht|muss(?:t|en)? "
        r"(?:\w+ ){0,3}(?:nicht|nichts)|entfällt|ausgefallen|fällt aus|besorgt$|"
        r"bezahlt$|bestellt$|zurückgezogen|vom tisch|habe ich|haben wir|hab "
        r"ich|hat \w+ (?:schon|bereits)|keine sorge|geregelt|längst|vor \w+ "
        r"(?:tagen|wochen|monaten|jahren))\b|✓|✔|☑|✅)"
    ),
    unreal=(
        r"(?i:\b(?:vielleicht|eventuell|evtl|möglicherweise|vermutlich|wahrscheinlich|"
        r"hätte|hätten|wäre|wären|würde|irgendwann|mal sehen|falls|man könnte|"
        r"überleg\w*|träum\w*|idee|angeblich|bestimmt|wenn ich|ob|hoffentlich|"
        r"am liebsten|gern(?:e)? (?:einmal|mal)|theoretisch|offen(?:,| ob)|unklar|"
        r"diskutiert|debatt\w+|roman|witz|rezept|film|wünsch\w*|zum beispiel|"
        r"z\. ?b\.|lust auf)\b)"
    ),
    states=r"(?i:\b(?:ist|sind|war|hat|haben|hatte|passt|klemmt|wartet|fällig)\b)",
    events=(
        r"(?i:\b\w*(?:sitzung|treffen|termin|besprechung|meeting|fest|feier|"
        r"party|hochzeit|geburtstag|ausflug|reise|fahrt|besuch|prüfung|klausur|"
        r"test|konzert|eröffnung|start|auftakt|kick-?off|beginn|premiere|probe|"
        r"aufführung|vorstellung|vortrag|lesung|workshop|seminar|schulung|kurs|"
        r"training|konferenz|tagung|messe|markt|basar|flohmarkt|inventur|umzug|"
        r"lieferung|abholung|ankunft|abfahrt|abreise|anreise|flug|zug|abgabe|"
        r"schluss|wahl|abstimmung|versammlung|elternabend|sprechstunde|untersuchung|"
        r"operation|zahnarzt|arzt|tierarzt|impfung|wartung|ablesung|begehung|"
        r"besichtigung|übergabe|abnahme|audit|kontrolle|übung|alarm|brandschutz|"
        r"turnier|spiel|rennen|lauf|wanderung|essen|frühstück|brunch|grillen|"
        r"stammtisch|abend|tag|nacht|ferien|feiertag|jubiläum|gottesdienst|taufe|"
        r"beerdigung|demo|präsentation|review|retro|release|abschaltung|sperrung|"
        r"stromausfall|räumung|einzug|auszug|interview|gespräch|telefonat|call|verhandlung|"
        r"gericht|"
        r"webinar|ausstellung|vernissage|theater|kino|aktion|putz|einsatz|notar|"
        r"friseur|handwerker|monteur|schornsteinfeger|gutachter|techniker)e?[nrs]?\b)"
    ),
    happens=(
        r"(?i:\b(?:findet|finden|statt|geschlossen|kommt|kommen|beginnt|beginnen|startet|"
        r"fängt|fangen|eröffnet|öffnet|schließt|geschlossen|gesperrt|treffen "
        r"wir uns|treffen uns|trifft sich|treffe|geplant|angesetzt|vorgesehen|"
        r"steigt|feiern|feiert|reist|fliegt|fahren|fährt|landet|zieht|ziehen|"
        r"\w+en wir|wir (?!müssen|sollten|wollen|haben|sind|bitten)\w+en|soll \w+ geliefert|"
        r"wird \w+ geliefert|erscheint|"
        r"endet|läuft ab|tagt|besucht|spielt|eingeladen|laden ein|geht los|wird "
        r"geliefert|liefert|ist wieder da)\b)"
    ),
    decisions=(
        (
            r"(?i:(?P<what>[^,;:]{4,100}), (?:so (?:ist|wurde|haben wir) (?:es )?|das (?:ist|"
            r"wurde|haben wir) (?:so )?|wurde |ist )?"
            r"(?:beschlossen|entschieden|vereinbart|abgemacht|ausgemacht|einstimmig "
            r"angenommen|steht fest))"
        ),
        (
            r"(?i:(?:beschluss|beschlüsse|entscheidung|beschlossen|entschieden|ergebnis|einstimmig "
            r"angenommen|angenommen|genehmigt|"
            r"fazit|festgelegt|vereinbart|vereinbarung|einigung|abgestimmt)\s*[:–-]\s*(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:[^,;:]{0,40}\b)?(?:wir|der vorstand|der beirat|das team|die "
            r"gruppe|die versammlung|alle|man|es|der verein|die mitglieder|die runde)\b(?: "
            r"\w+){0,3}? (?:beschlossen|entschieden|vereinbart|geeinigt|festgelegt|"
            r"beschließt|beschließen|einigt sich|entscheidet)(?: darauf)?,? ?(?:dass "
            r"|darauf, )?(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:wir|der vorstand|das team|man) (?:bleibt?|bleiben|nehmen) (?:bei|"
            r"dabei|(?=d(?:ie|"
            r"en|as) [a-zäöü]+e?n? )) ?"
            r"(?P<what>.+))"
        ),
        (
            r"(?i:(?P<what>ab (?:sofort|\w+|dem \S+ \w+) (?:gilt|gelten|nur noch|ist|sind|gibt|"
            r"bleibt|bleiben|darf|dürfen) .+))"
        ),
    ),
    facts=(
        r"(?i:\b\w*(?:nummer|nr\.|code|pin|passwort|kennwort|wlan|wi-?fi|iban|"
        r"zählerstand|stand|aktenzeichen|kennzeichen|größe|adresse|telefon|durchwahl|"
        r"konto|zugang|login|kennung|kombination|raum|blutgruppe|steuer-?id)\b[^.!?]{0,40}?(?:\bist\b|"
        r"\blautet\b|:|=)\s?[^.!?]*?(?:\d|\"|[A-Z]{2})|"
        r"\b\w*(?:schlüssel|zähler|akten?|ordner|unterlagen|haupthahn|ventil|sicherung\w*|"
        r"ersatz\w+|werkzeug|leiter|anleitung|"
        r"karton|pass|verbandskasten)\b.{0,30}? (?:ist|sind|liegt|liegen|hängt|hängen|steht|"
        r"stehen|bleibt|bleiben) .{0,20}?\b(?:im|in|am|an|auf|unter|hinter|neben|bei|beim|"
        r"über)\b|"
        r"^(?:vermieter(?:in)?|lieferant(?:in)?|ansprechpartner(?:in)?|kontakt|hausarzt|"
        r"notdienst|"
        r"versicherung|eigentümer(?:in)?|zuständig)\b.{0,30}: |"
        r"im preis (?:enthalten|inbegriffen)|(?:ist|sind) (?:nicht (?:erlaubt|gestattet|"
        r"zulässig)|"
        r"verboten|untersagt)|(?:darf|dürfen) (?:nur )?bis|bleiben gültig|allergisch|garantie "
        r"bis|gültig bis)"
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
        "start\\w* beginn\\w* begonnen los weiter\\w* fortgesetzt genehmigt "
        "bewilligt beschlossen läuft laufen angelaufen gestartet gegründet "
        "auftakt freigegeben vereinbart fortgeführt geht starten angenommen "
        "gefördert neue[ns]? leitet übernimmt kick-?off zugestimmt arbeiten"
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
        r"\basap\b|\bso schnell wie möglich\b|\bunbedingt\b|\bhöchste priorität\b|"
        r"!!)"
    ),
    deadlines=r"(?i:frist|abgabe|fällig|bis|datum|stand|heute|morgen)\b",
    minutes=(
        r"(?i:\b(?:\w*protokoll|\w*sitzung|\w*besprechung|jour fixe|anwesend|"
        r"teilnehmer|\w*versammlung|\w*beirat|\w*vorstand|tagesordnung|top \d|"
        r"weekly|stand-?up|meeting|\w*treffen|gespräch mit|telefonat mit|runde)\b)"
    ),
    to_do=(
        r"(?i:^\W*(?:aufgaben|to-?dos?|zu erledigen|noch (?:offen|zu tun)|offene "
        r"punkte|nächste schritte|maßnahmen|erledigungen|was noch fehlt|einkaufsliste|"
        r"einkauf|packliste|checkliste|besorgungen|(?:putz|dienst|haushalts)plan\b.{0,30}|"
        r"vor (?:dem|der) \w+|.*\bwer "
        r"macht was|was (?:noch )?zu tun ist)\W*$)"
    ),
    finished=r"(?i:^\W*(?:erledigt|fertig|abgeschlossen|geschafft|bereits erledigt)\W*$)",
    decided=r"(?i:^\W*(?:beschlüsse|entscheidungen|festlegungen)\W*$)",
    talk=(
        r"(?i:^\W*(?:tagesordnung|themen|ideen|fragen|offene fragen|teilnehmer|"
        r"anwesend|entschuldigt|diskussion|irgendwann|vielleicht|wunschliste|"
        r"zutaten|menü|zusammenfassung|neuigkeiten|hintergrund|abgesagt)\W*$)"
    ),
    labels=either(
        "von an cc betreff datum gesendet anwesend entschuldigt teilnehmer "
        "ort zeit wann wo wer was warum hinweis notiz ps re aw wg beschluss "
        "beschlüsse entscheidung aufgabe aufgaben todo erinnerung frist termin "
        "thema tagesordnung nächste nächster nächstes heute morgen gestern "
        "montag dienstag mittwoch donnerstag freitag samstag sonntag summe "
        "preis telefon tel e-?mail web adresse passwort wlan code nummer achtung "
        "tipp stand status priorität projekt zusammenfassung hintergrund beispiel "
        "zuständig verantwortlich zugewiesen bearbeiter gemeldet ergebnis ziel frage antwort "
        "idee kommentar auftrag "
        "titel kostüm beschlossen "
        "festgelegt "
        "top\\b.* zur zum verschiedenes wichtig "
        "neu"
    ),
    anyone=either("alle jeder jede jemand einer du sie ihr er wir man"),
    me=r"(?i:ich|wir|mich|uns)\b",
    articles=r"(?i:(?:der|die|das|eine?|unsere?) )",
    pronoun_subjects="es er sie das dies",
    goes_on=r"(?i:noch offen|macht (?:wie immer|diesmal|wieder)|übernimmt|kümmert)",
    spanning=(
        (
            rf"(?P<what>{_NP} (?i:ist|sind|hat|haben) [^;:.!?]{{2,40}} und (?i:{_MUST}) "
            rf"[^;:!?]*(?:werden|"
            rf"sein)\b.*)"
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
        (
            r"(?i:(?:ich|wir) (?:darf|dürfen) (?:auch |bloß |ja )?nicht vergessen,? "
            r"(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:ich|wir) (?:habe|haben) (?:\w+ )?(?:versprochen|zugesagt),? "
            r"(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:ich|wir) (?:bräuchte|bräuchten|brauche|brauchen|benötige|benötigen)(?: "
            r"noch| dringend| bitte)* (?P<what>(?!nicht|kein|nur |mehr zeit)\w.*(?:von "
            r"(?:dir|euch|ihnen|allen)|jemand\w*|rückmeldung|bis |freiwillige).*))"
        ),
        (
            r"(?i:(?:brauche|brauchen|bräuchte|benötigen) (?:ich|wir) (?P<what>(?!nicht|"
            r"kein)\w.+))"
        ),
        r"(?i:(?:um|für) (?P<what>[^,;:.!?]+?) (?:kümmert|kümmern) sich) (?P<who>{name})",
        (
            r"(?i:für (?P<what>[^,;:.!?]+?) (?:ist|sind)) (?P<who>{name})(?: und "
            r"{name})? (?i:zuständig|verantwortlich)"
        ),
        (
            r"(?P<what>(?:[Dd]ie|[Dd]as|[Dd]en) [^,;:.!?]{2,40}? (?i:übernimmt|übernehmen|"
            r"macht|machen|besorgt|besorgen|organisiert|organisieren|erledigt|bringt)) "
            r"(?P<who>{name})"
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
                rf"(?:[a-zäöüß. "
                rf"]*? )?(?P<apart>(?:{_APART}|be|er|ver|ent|zer|über|unter)(?=ge|\w+t\b|wiesen))?"
                rf"(?P<verb>ge\w+(?:t|en)|\w+iert|\w+t|wiesen)(?: (?:werden|sein))?"
            ),
            _passive,
        ),
        (
            (
                rf"(?:(?i:der|die|das) )?(?P<np>[^,;:]{{2,60}}?) (?i:ist|sind) (?:[a-zäöüß. "
                rf"]*? )?(?:(?P<apart>{_APART})"
                rf"zu|zu )(?P<verb>\w+e[rl]?n)(?: .*)?"
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
                rf"(?P<rest>[^,;:]+?)"
                rf" (?P<apart>{_APART})"
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
        r"(?i:\b(?:bis|vor|zum|gegen|am|im|in der) (?:zum |zur )?(?:ende|anfang|"
        r"mitte|monatsende|jahresende|quartalsende|wochenende|feierabend)(?: "
        r"(?:der|des|dieser|nächster|nächsten|dieses))?(?: (?:woche|monats|jahres|"
        r"quartals|januar|februar|märz|april|mai|juni|juli|august|september|"
        r"oktober|november|dezember))?)"
    ),
    dated=either(
        "heute morgen übermorgen montags? dienstags? mittwochs? donnerstags? "
        "freitags? samstags? sonntags? sonnabend \\w+abend \\w+morgen wochenende "
        "januar februar märz april mai juni juli august september oktober november "
        "dezember tage[ns]? wochen? monate?n? jahre?n? \\w*ende mittag abend "
        "feierabend"
    ),
)
