# ruff: noqa: RUF001 - letters of other alphabets
"""German words of requests, duties, plans and decisions.

A finite verb is recognized by its ending and its place: after a name, or before "Sie". Verbs that tell what
is, and not what is done, are listed.
"""

import re
from typing import Final

from hub.extraction.when import languages
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
_NP: Final = r"[^\s,;:.!?()][^,;:!?()]{0,60}?"

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


GERMAN: Final = Lexicon(
    code="de",
    weekdays=languages.GERMAN.weekdays,
    months=languages.GERMAN.months,
    letters=r"[äöüß]|(ung|ungen|lich|isch|sch|icht)\b",
    common="""
        heute kannst könnt könnte habe hatte wurde diese dieser dieses einen keinen gibt geht macht der
        die das und in muss müssen soll sollen sollte beim wird werden euch alle jemand deine deinen
        meine meinen seine ihre ihren eure unsere keine ist sind war nicht ein eine einem einer auf für
        mit von zu dem den des im am um bei nach aus wie auch noch nur aber oder wenn wir ihr sie ich du
        er es sich hat haben kann bitte bis zum zur vom über vor dass als an uns mir mich dir ihnen ihm
        ihn mein dein sein unser schon mal was wer wo
    """,
    no_names="""
        man jeder jede niemand keiner wann warum falls ob denn danke hallo liebe lieber sehr guten moin
        morgen gestern übermorgen ab seit wegen trotz während ohne gegen euer nächste nächster letzte
        letzter top beschluss termin projekt dann danach außerdem also neu neues alles nichts etwas
        viele einige gruß grüße tschüss ja nein ok hier da dort draußen trotzdem leider vielleicht thema
        punkt anwesend protokoll hinweis achtung wichtig erinnerung notiz wetter sonne
    """,
    name=r"""
        (?-i:((Herrn?|Frau|Dr\.|Prof\.|Familie|Hr\.|Fr\.|Onkel|Tante|Oma|Opa) )?[A-ZÄÖÜ][\w-]+( (von\
            |[A-ZÄÖÜ][\w-]+)){0,2})
    """,
    verbs=r"""
        (?-i:\b(?!(haben|werden|wollen|können|sollen|müssen|dürfen|mögen|gegen|neben|wegen|zwischen\
            |einen|keinen|meinen|deinen|seinen|ihren|unseren|allen|diesen|jeden|beiden|anderen|neuen\
            |alten|ersten|letzten|nächsten|gestern|sondern|wissen|oben|unten|innen|außen|zusammen|eben\
            |sieben|ganzen|kleinen|großen|guten|vielen|wenigen|ge(?!hen|ben|stalten|nehmigen|winnen\
            |währ){a}+en)\b){a}{2,}(en|ern|eln|tun)\b)
    """,
    present=r"(?-i:{no_work}\b({a}{2,}t|nimmt|tut)\b)",
    parts={
        "no_work": r"""
            (?!(ist|hat|beklagt|beschwert|fehlt|könnt|kannst|wollt|dürft|leicht|ernst|recht|geht|steht\
                |liegt|bleibt|findet|gibt es|heißt|scheint|glaubt|meint|sagt|denkt|kennt|lebt|wohnt\
                |schläft|freut|spielt|gewinnt|kostet|gehört|passt|klappt|funktioniert|läuft|lacht\
                |berichtet|erzählt|erklärt|zeigt sich|hofft|fährt|sitzt|hängt|riecht|schmeckt|dauert\
                |reicht|erinnert|lobt|dankt|bedankt|fällt|verlässt|hält|bittet|fühlt|sieht|gilt|enthält\
                |besteht|arbeitet|kommt|beginnt|startet|endet|feiert|sucht noch|nicht|mit|seit|dort\
                |selbst|statt|fast|erst|sonst|jetzt|meist|oft|gut|laut|bereit|wert|nächst|samt|hinkt\
                |liebt|hasst|träumt|weint|singt|tanzt|bekommt|erhält|wächst|trinkt|isst|stellt fest\
                |regnet|schneit|leidet|lernt|studiert|verdient|vermutet|wünscht|zweifelt|ärgert|wundert\
                |schweigt|hört|trägt|scheitert|bedeutet|betrifft|zählt|lautet|wirkt|tut weh|schließt um\
                |öffnet|tropft|klemmt|brennt|blüht|stimmt|lohnt|überlegt|fragt sich|stammt|nennt|ruht\
                |wartet)\b)
        """,
        "and": ",| und",
        "np": r"[^\s,;:.!?()][^,;:!?()]{0,60}?",
        "det": "der|die|das|den|dem|alle|jeder|unser[e]?|ihre?|eure?|sämtliche|beide|eine?",
        "must": r"""
            muss|müssen|müsste|müssten|soll|sollen|sollte|sollten|hat noch zu|haben noch zu|braucht noch
        """,
        "imperative": _IMPERATIVE,
        "irregular": r"""
            gib|nimm|lies|sieh|hilf|vergiss|wirf|sprich|iss|triff|lass|lasst|geh|komm|fahr|tu|halt\
                |haltet|schlag
        """,
        "no_finite": r"""
            (?![^,;:.!?()]*\b(hat|haben|habe|ist|sind|war|waren|wird|werden|wurde|wurden|bin|bist|kann\
                |können|konnten?|wollen|will|darf|dürfen|mag|ich|wir|er|sie|es|geht|gehen|gab|gibt\
                |macht|machte|kamen?|ließ|ließen|seit|früher|den ganzen|den halben\
                |tag für tag)\b)(?![^,;:.!?()]*\b(fehlen|stehen|liegen|kommen|gehen|bleiben|hängen\
                |warten|blühen|funktionieren|passen|reichen|gehören|spielen|schlafen|singen|lachen\
                |freuen|fahren|sitzen|wohnen|lernen|laufen|dauern|kosten)\W*$)
        """,
        "apart": r"""
            ab|an|auf|aus|bei|ein|fest|frei|her|hin|los|mit|nach|rein|raus|um|vor|weg|weiter|zu|zurück\
                |zusammen
        """,
    },
    fillers=r"\bbitte\b,?|\bdringend\b|\bunbedingt\b|\bübrigens\b,?|\bdoch mal\b",
    leads=r"""
        (und|aber|also|dann|danach|außerdem|zudem|oder|denn|ok(ay)?|gut|ja|zuerst|erstens|zweitens\
            |als nächstes|anschließend|schließlich|übrigens|ps|p\.s\.|wie besprochen|wie vereinbart\
            |nochmal|noch einmal|noch eine bitte|noch etwas|noch was|kurze erinnerung|zur erinnerung\
            |erinnerung|wichtig|achtung|dringend|bis dahin|vorher|davor|inzwischen|daher|deshalb\
            |deswegen|nebenbei|hallo|hi|moin|hey|sorry|dafür|hierfür|dazu|hinweis|ach ja\
            |um \d{1,2}([.:]\d\d)? uhr|jedenfalls|wenn möglich|dass|neu ist|offen ist noch\
            |@)\b[,:!.\s–-]*|\w+ (sagt|sagte|meint|meinte|berichtet|schlägt vor|schreibt|erinnert daran\
            |bittet|weist darauf hin)(,)? (dass )?
    """,
    joints=r"""
        \s*([;–—]|->|→)\s+|\s-\s|,?\s(und|sowie|aber)\s(dann\s|auch\s)?|,\s(dass\s|dann\s|denn\s)?|:\s\
            |\s\(|\)\s?
    """,
    requests=r"""
        (wäre|ist) es (ihnen |dir |euch )?möglich,? (dass (du|sie|ihr) )?{what}
        \w+ bittet (darum|alle|uns|euch|sie),? (dass )?{what}
        (wärst du so (nett|lieb|gut) und|könn(test|ten|tet|te)|kannst|kannste|könntste|könnt|können\
            |würd(est|en|et|e)|magst|mögen|mögt|wür?dest|kann) (du|sie|ihr|jemand|einer|eine|wer\
            |bitte jemand|{who})( bitte| mir| uns| mal| noch| vielleicht| eventuell| auch| kurz| dann\
            | dich| euch| sich| doch| schon| evtl\.?)* (?P<what>.+)
        (bitte |und )?(vergiss|vergesst|vergessen sie)( bitte)? nicht,? (?P<what>.+)
        (bitte )?(nicht vergessen|dran denken|daran denken|bitte beachten|merken)\s*[:,–-]?\s*{what}
        (bitte )?(denk|denkt|denken sie)( bitte)?( auch| noch)? (daran|dran|an),? ?(?P<what>.+)
        (bitte )?(sorg|sorge|sorgt|sorgen sie|achte|achtet|achten sie|stellen sie|stell\
            |stellt)( bitte)? (dafür|darauf|sicher),? (?P<what>.+)
        (?P<what>{verbs} sie\b (?!sich wohl|recht|herzlich|nichts|nicht|keine|gern|einfach|wohl\
            |bloß)\w.+)
        bitte (?P<what>(?!sehr|schön|nicht |keine|um entschuldigung|entschuldig|wundert\
            |melde[nt]? (sie )?(dich|euch|sich) (gern|jederzeit|bei fragen))\w.+)
        (wir|ich) (bitte|bitten|ersuchen|möchten?) (dich|sie|euch|alle|jeden)( herzlich| höflich\
            | darum)*,? (?P<what>.+)
        (es wäre|wäre)( es)? (gut|schön|toll|nett|super|prima|klasse|lieb),? wenn (du|sie|ihr\
            |jemand) (?P<what>.+)
        ich wäre (dir|ihnen|euch) dankbar,? wenn (?P<what>.+)
        wenn ((du|ihr|sie|jemand|einer|wer)|{who}) (?P<what>[^,;:.!?]+ (könnten?|könntest|würden?\
            |würdest))
        (wären|wärst|wärt) (sie|du|ihr) so (nett|lieb|gut|freundlich),? (und )?{what}
        (vergiss|vergesst|vergessen sie) (?P<what>[^,;:.!?]+?) nicht\b
        um (?P<what>[^,;:.!?]+?) wird (\w+ )?gebeten
        (ich|wir) bitten? (\w+ )?um (?P<what>(?!verständnis|entschuldigung|geduld|nachsicht)\w.+)
        (?P<what>(?!kennst|weißt|hast|bist|kommst|magst|siehst|glaubst|denkst|meinst|willst|gehst\
            |findest)\w+st du (?!(dich|schon|auch|gerade|heute abend)\b)[^?]{4,}(?=\?))
        (to-?do|aufgabe|ap|offen|zu erledigen|nächste schritte?|action)\s*[:–-]\s*{what}
        (gib|geben sie|gebt|sag|sagt|sagen sie) (mir|uns) (bitte )?(bescheid|rückmeldung)(?P<what>.*)
        (?P<what>[^,;:.!?]{3,80}), bitte\b.*
        (?P<what>[^,;:.!?]{3,80} bitte [^,;:.!?]*{verbs}.*)
    """,
    duties=r"""
        (?P<what>{np} {must} (?!(nicht|nichts|keine?n?|niemand\w*|sein|es\
            |man sagen)\b)(?![^,;:!?]*\b(geliefert|erwartet|gerechnet)\b)[^,;:!?]*(werden|sein|raus|weg\
            |rein|fertig|fort|los|hin|her|da))\b(?!{a}).*
        (?P<what>[^,;:.!?]{2,60} (gehört|gehören) (\w+ ){0,4}\w+(t|en)\b)
        (?P<what>[^,;:.!?]{2,60} (braucht|brauchen|benötigt|benötigen) [^,;:!?]*\b(bis|spätestens)\b.*)
        (?P<what>[^,;:.!?]{2,60} (bräuchten?|brauchen?|benötigen?|hätten?) (ich|wir) [^,;:!?]*\b(bis\
            |spätestens|noch|gerne?)\b.*)
        (suchen|brauchen|bräuchten) (wir )?(noch |dringend )*(jemand\w*|einen|eine|leute\
            |freiwillige),? ?(der|die) {what}
        (?P<what>({det}|Zum|Zur) [^,;:.!?]{2,40}? (muss|müssen|werde|werden|sollte|soll|will) (ich\
            |wir) [^,;:!?]*{verbs})
        (?P<what>{det} [^,;:.!?]{2,50}? (?!(habe|hätte|wäre|würde|könnte|möchte|finde|glaube|denke\
            |meine|mag|weiß|liebe|kenne|sehe|höre|hatte|wollte|musste|sollte|müsste|lese|esse|vermisse\
            |trage|hasse|genieße|verstehe)\b){a}+e ich\b.*)
        (?P<what>[^,;:.!?]{2,60} (ist|sind) (?!(nicht|nichts|kaum)\b)[^;:!?]*\b(ab|an|auf|aus|bei|ein\
            |mit|nach|um|vor|weg|zurück)zu\w{3,}en\b.*)
        {names} ({must}|wird|werden|will|möchte|darf)( bitte| noch| auch| dann| nun\
            | jetzt)* (?P<what>(?!(nicht|nichts|keine?n?|es|wohl|ja|sicher|immer|nie)\b)\w.*?{verbs}.*)
        (?P<np>{det} [^,;:.!?]{2,40}?) {must} (?P<what>(?!(nicht|nichts|keine?n?|es)\b)\w.*?{verbs}.*)
        {names} (?P<what>[^,;:!?]+{verbs} (soll|sollen|sollte|solle|muss|müssen|müsse|möge|wird|will\
            |möchte))\b
        (?P<who>ich|wir) (muss|müssen|müsste|müssten|werde|werden|soll|sollen|sollten|sollte|will\
            |wollen)( noch| auch| dann| jetzt| unbedingt| dringend| mal)* (?P<what>(?!(nicht|nichts\
            |keine?n?|es |sagen|sehen|schauen|mal sehen)\b)\w.*?{verbs}.*)
        (muss|müssen|werde|werden|will) (?P<who>(ich|wir)|{name})( noch| auch| dann| jetzt\
            | unbedingt)* (?P<what>(?!(nicht|keine?n?|nichts)\b)\w.*?{verbs}.*)
        (?P<who>ich) (?P<what>(({imperative})e?|nehme?|übernehme?|gebe?|lese?|gehe?|fahre?\
            |komme? vorbei|mache? das|kümmere? mich|kümmer mich)\b(?! (mal wieder|nicht|nichts|mich\
            |auch nicht|daran|immer|gern|oft|lieber|seit|jeden|meist)\b).*)
        (?P<what>(?!brauch)({imperative})e?|nehme?|übernehme?|gebe?|lese?|gehe?|fahre?|mache?\
            |kümmere?) (?P<who>ich)\b .+
        {names} (?P<what>(kümmer[nt]e? sich|(?!reich)({imperative})(e?t|en(?! lassen))|übernimmt|nimmt\
            |liest|gibt|spricht|hilft|lädt|trägt|fährt|backt|malt|verfasst|ist zuständig\
            |ist verantwortlich)\b .+)
        (du|sie|ihr)( alle| beide)? (musst|müsst|müssen|sollst|sollt|solltest|sollten|solltet)( noch\
            | bitte| auch| unbedingt)* (?P<what>(?!nicht|keine?n?|nichts|nur)\w.*?{verbs}.*)
        (es|das|jemand|irgendwer|irgendjemand|einer|eine|wer|wir|man|alle|jeder|jede) (muss|müssen|soll\
            |sollte|sollten|müsste)( noch| auch| dringend| bitte)* (?P<what>(?!nicht|nichts|keine?n?\
            |sein|man sagen)\w.*?{verbs}.*)
        (?P<what>{np} (ist|sind) (?!(nicht|nichts)\b)[^,;:!?]*\bzu {verbs}.*)
        {who} (hat|haben) (?P<what>(?!(nicht|nichts)\b)[^,;:!?]*\bzu {verbs}.*)
        (?P<what>{det} {A}\w+ ({present})( \w+){0,2}) {who}\b.*
        {who} ?[:–-] (?P<what>[^,;:.!?]*{verbs})\W*$
        (?P<what>(({imperative})(e|t|et)?|{irregular})\b (?!du\b|dir keine|dich nicht)(?!(ist|war|wird\
            |hat|sich|nicht|für \d)\b)\S.+)(?=!|$|\.)
        (?P<what>{no_finite}({A}\w+|die|den|das|alle|dem|neue[nrs]?|zwei|drei|noch\
            |weitere) [^,;:.!?()]*?{verbs})\s*(bitte)?\s*(!|$|\.$)
    """,
    reports="{names} (?P<what>{present} .+)",
    listed=r"(?P<what>{no_finite}[^;:!?]*?{verbs})\s*(?=$|[(,.!–\d-]|: )",
    more="(?P<what>{present} .+|{a}+e (die|den|das|dir|euch|Ihnen|ihn|sie) .+|[^,;:!?]+{verbs}.*)",
    general=r"""
        \bman (muss|müsse|sollte|soll|darf|kann)|muss man|heißt es|sprichwort|\bfrüher\b|damals\
            |als kind|(jeden|jede|jedes) (tag|morgen|abend|nacht|jahr)|(sagte?|rief|flüsterte|meinte\
            |brummte|behauptete?|erzählte?|sprach) (der|die|das|mein|er|sie|man|[A-Z])|behauptet\
            |nicht jeder|\bmüsse\b|\böfter\b|können\W*$|\btäglich\b
    """,
    openers=r"""
        (?<!\w)(bitte|könntest|kannst|könnten sie|könnt ihr|ich muss|ich sollte|wir müssen|muss ich\
            |vergiss|vergesst|denk(t|en sie)?( bitte)? (dran|daran|an)|jemand (muss|müsste|sollte|soll)\
            |wenn (?=[A-ZÄÖÜ]\w+ |jemand|du|ihr|sie)|ich bitte|wir bitten|es müsste|es muss|(suchen\
            |brauchen) wir|wären sie|wärst du)\b|(?<=[ ,])(Herrn?|Frau|Dr\.) {A}\w+(?= (soll|muss\
            |wird) )|(?<=, ){name}(?= (soll|muss|übernimmt|kümmert sich)\b)
    """,
    asks=r"""
        (und |also |nur )?wer (kann |könnte |will |möchte |würde |macht noch )?(?P<what>\w[^?]{3,80})\?
    """,
    answers=r"""
        (kann ich( \w+)?$|(das |den |die )?(mach|mache|nehm|nehme|übernehm|übernehme|hol|hole|besorg\
            |besorge|erledige?|kümmer mich|bring|bringe|kann|schaff|schaffe) ich( das| drum| gern\
            | gerne| mit)?|ich( mach(e|'s| es| das)?| kann( das)?| übernehme( das)?\
            | kümmere mich( darum| drum)?| nehm(e)?( den| die| das)?| will)?|bei mir|bin dabei\
            |alles klar)( (heute|morgen|übermorgen|noch|dann|am|{days}|früh|abend|gern|gerne|gleich\
            |selbst|darum|drum))*$|{who} (macht|übernimmt|kümmert sich|meldet sich|ist dabei\
            |hat sich gemeldet|hat sich bereit erklärt|erklärt sich bereit)('s| das| es| darum| drum)?$
    """,
    settled=r"""
        \b(erledigt|schon|bereits|abgesagt|gestrichen|storniert|abgelehnt|vergeben|hinfällig|nicht mehr\
            |nichts mehr|niemanden mehr|keine?n? mehr|nicht nötig|unnötig|überflüssig|gestern\
            |vorgestern|letzte[nrs]? (woche|monat|jahr|{days}|mal)|vorige\w*|wurden?(?! (auf|für\
            |vom)\b)|worden|brauch(en|st|t)? (\w+ ){0,3}(nicht|nichts|keine?n?)|niemand|musste|mussten\
            |hieß es|wollte|wollten|war|waren|hatte|hatten|fertig(?! (mach|stell))|geschafft|gemacht\
            |konnte|konnten|gelöst|behoben|kann (ich )?(leider )?(\w+ ){0,2}nicht|muss(t\
            |en)? (\w+ ){0,3}(nicht|nichts)|entfällt|ausgefallen|fällt aus|besorgt$|bezahlt$|bestellt$\
            |zurückgezogen|vom tisch|habe ich|haben wir|hab ich|hat \w+ (schon|bereits)|keine sorge\
            |geregelt|längst|vor \w+ (tagen|wochen|monaten|jahren))\b|✓|✔|☑|✅
    """,
    unreal=r"""
        \b(vielleicht|eventuell|evtl|möglicherweise|vermutlich|wahrscheinlich|hätte|hätten|wäre|wären\
            |würde|irgendwann|mal sehen|falls|man könnte|überleg\w*|träum\w*|idee|angeblich|bestimmt\
            |wenn ich|ob|hoffentlich|am liebsten|gern(e)? (einmal|mal)|theoretisch|offen(,| ob)|unklar\
            |diskutiert|debatt\w+|roman|witz|rezept|film|wünsch\w*|zum beispiel|z\. ?b\.|lust auf)\b
    """,
    states=r"\b(ist|sind|war|hat|haben|hatte|passt|klemmt|wartet|fällig)\b",
    events=r"""
        \b\w*(sitzung|treffen|termin|besprechung|meeting|fest|feier|party|hochzeit|geburtstag|ausflug\
            |reise|fahrt|besuch|prüfung|klausur|test|konzert|eröffnung|start|auftakt|kick-?off|beginn\
            |premiere|probe|aufführung|vorstellung|vortrag|lesung|workshop|seminar|schulung|kurs\
            |training|konferenz|tagung|messe|markt|basar|flohmarkt|inventur|umzug|lieferung|abholung\
            |ankunft|abfahrt|abreise|anreise|flug|zug|abgabe|schluss|wahl|abstimmung|versammlung\
            |elternabend|sprechstunde|untersuchung|operation|zahnarzt|arzt|tierarzt|impfung|wartung\
            |ablesung|begehung|besichtigung|übergabe|abnahme|audit|kontrolle|übung|alarm|brandschutz\
            |turnier|spiel|rennen|lauf|wanderung|essen|frühstück|brunch|grillen|stammtisch|abend|tag\
            |nacht|ferien|feiertag|jubiläum|gottesdienst|taufe|beerdigung|demo|präsentation|review\
            |retro|release|abschaltung|sperrung|stromausfall|räumung|einzug|auszug|interview|gespräch\
            |telefonat|call|verhandlung|gericht|webinar|ausstellung|vernissage|theater|kino|aktion|putz\
            |einsatz|notar|friseur|handwerker|monteur|schornsteinfeger|gutachter|techniker)e?[nrs]?\b
    """,
    happens=r"""
        \b(findet|finden|statt|geschlossen|kommt|kommen|beginnt|beginnen|startet|fängt|fangen|eröffnet\
            |öffnet|schließt|geschlossen|gesperrt|treffen wir uns|treffen uns|trifft sich|treffe\
            |geplant|angesetzt|vorgesehen|steigt|feiern|feiert|reist|fliegt|fahren|fährt|landet|zieht\
            |ziehen|\w+en wir|wir (?!müssen|sollten|wollen|haben|sind|bitten)\w+en|soll \w+ geliefert\
            |wird \w+ geliefert|erscheint|endet|läuft ab|tagt|besucht|spielt|eingeladen|laden ein\
            |geht los|wird geliefert|liefert|ist wieder da)\b
    """,
    absent=r"\bkein(e[nrms]?)? (?!problem|ahnung|frage|angst)\w",
    decisions=r"""
        (?P<what>[^,;:]{4,100}), (so (ist|wurde|haben wir) (es )?|das (ist|wurde|haben wir) (so )?\
            |wurde |ist )?(beschlossen|entschieden|vereinbart|abgemacht|ausgemacht\
            |einstimmig angenommen|steht fest)
        (beschluss|beschlüsse|entscheidung|beschlossen|entschieden|ergebnis|einstimmig angenommen\
            |angenommen|genehmigt|fazit|festgelegt|vereinbart|vereinbarung|einigung\
            |abgestimmt)\s*[:–-]\s*{what}
        ([^,;:]{0,40}\b)?(wir|der vorstand|der beirat|das team|die gruppe|die versammlung|alle|man|es\
            |der verein|die mitglieder|die runde)\b( \w+){0,3}? (beschlossen|entschieden|vereinbart\
            |geeinigt|festgelegt|beschließt|beschließen|einigt sich|entscheidet)( darauf)?,? ?(dass \
            |darauf, )?{what}
        (?P<what>ab (sofort|\w+|dem \S+ \w+) (gilt|gelten|nur noch|ist|sind|gibt|bleibt|bleiben|darf\
            |dürfen) .+)
    """,
    facts=r"""
        \b\w*(nummer|nr\.|code|pin|passwort|kennwort|wlan|wi-?fi|iban|zählerstand|stand|aktenzeichen\
            |kennzeichen|größe|adresse|telefon|durchwahl|konto|zugang|login|kennung|kombination|raum\
            |blutgruppe|steuer-?id)\b[^.!?]{0,40}?(\bist\b|\blautet\b|:|=)\s?[^.!?]*?(\d|"|[A-Z]{2})\
            |\b\w*(schlüssel|zähler|akten?|ordner|unterlagen|haupthahn|ventil|sicherung\w*|ersatz\w+\
            |werkzeug|leiter|anleitung|karton|pass|verbandskasten)\b.{0,30}? (ist|sind|liegt|liegen\
            |hängt|hängen|steht|stehen|bleibt|bleiben) .{0,20}?\b(im|in|am|an|auf|unter|hinter|neben\
            |bei|beim|über)\b|^(vermieter(in)?|lieferant(in)?|ansprechpartner(in)?|kontakt|hausarzt\
            |notdienst|versicherung|eigentümer(in)?|zuständig)\b.{0,30}: |im preis (enthalten\
            |inbegriffen)|(ist|sind) (nicht (erlaubt|gestattet|zulässig)|verboten|untersagt)|(darf\
            |dürfen) (nur )?bis|bleiben gültig|allergisch|garantie bis|gültig bis
    """,
    places=r"\w+\W+\w+\W+\w+",
    projects=r"""
        \b(projekt|vorhaben|initiative|kampagne|programm)s? ((namens\
            |mit dem namen) )?["“„«»‘](?P<name>[^"”“»«]{2,60})["”“»«]
        \b(projekt|initiative) (?P<name>{A}[\w-]+( (?-i:[A-ZÄÖÜ0-9])[\w-]*){0,3})
        ["“„«»](?P<name>[^"”“»«]{2,60})["”“»«]( |-)projekt
    """,
    comments=r"""
        (kommentar|anmerkung|bemerkung|notiz|hinweis)( von)? (?P<who>[^:]{1,40}):\s*(?P<what>.+)
        (zum|zur|zu|beim|wegen|bezüglich|betreffs?) (der |dem |die )?[^:,–]{0,40}(aufgabe|ticket\
            |vorgang|karte|to-?do|issue|task|punkt)[^:,–]{0,40}\s?[:,–-]\s*{rest}
    """,
    tickets=r"#\d+|(ticket|vorgang|störung|meldung|auftrag|fall|anfrage)\b.{0,6}\d",
    urgent=r"""
        \bdringend\w*\b|\beilt\b|\beilig\b|\bsofort\b|\bumgehend\b|\bschnellstmöglich\b|\basap\b\
            |\bso schnell wie möglich\b|\bunbedingt\b|\bhöchste priorität\b|!!
    """,
    minutes=r"""
        \b(\w*protokoll|\w*sitzung|\w*besprechung|jour fixe|anwesend|teilnehmer|\w*versammlung\
            |\w*beirat|\w*vorstand|tagesordnung|top \d|weekly|stand-?up|meeting|\w*treffen|gespräch mit\
            |telefonat mit|runde)\b
    """,
    to_do=r"""
        ^\W*(aufgaben|to-?dos?|zu erledigen|noch (offen|zu tun)|offene punkte|nächste schritte\
            |maßnahmen|erledigungen|was noch fehlt|einkaufsliste|einkauf|packliste|checkliste\
            |besorgungen|(putz|dienst|haushalts)plan\b.{0,30}|vor (dem|der) \w+|.*\bwer macht was\
            |was (noch )?zu tun ist)\W*$
    """,
    finished=r"^\W*(erledigt|fertig|abgeschlossen|geschafft|bereits erledigt)\W*$",
    decided=r"^\W*(beschlüsse|entscheidungen|festlegungen)\W*$",
    talk=r"""
        ^\W*(tagesordnung|themen|ideen|fragen|offene fragen|teilnehmer|anwesend|entschuldigt|diskussion\
            |irgendwann|vielleicht|wunschliste|zutaten|menü|zusammenfassung|neuigkeiten|hintergrund\
            |abgesagt)\W*$
    """,
    labels=either(r"""
        {days} von an cc betreff datum gesendet anwesend entschuldigt teilnehmer ort zeit wann wo wer
        was warum hinweis notiz ps re aw wg beschluss beschlüsse entscheidung aufgabe aufgaben todo
        erinnerung frist termin thema tagesordnung nächste nächster nächstes heute morgen gestern summe
        preis telefon tel e-?mail web adresse passwort wlan code nummer achtung tipp stand status
        priorität projekt zusammenfassung hintergrund beispiel zuständig verantwortlich zugewiesen
        bearbeiter gemeldet ergebnis ziel frage antwort idee kommentar auftrag titel kostüm beschlossen
        festgelegt top\b.* zur zum verschiedenes wichtig neu
    """),
    anyone=either("alle jeder jede jemand einer du sie ihr er wir man"),
    me=r"(ich|wir|mich|uns)\b",
    articles="(der|die|das|eine?|unsere?) ",
    pronoun_subjects="es er sie das dies",
    spanning=r"""
        {names} (hat|haben) (sich )?(zugesagt|versprochen|angeboten|bereit erklärt|angekündigt\
            |übernommen|verpflichtet|vorgenommen),? (?P<what>.*?\bzu {verbs}.*|\w.*zu\w+en\b.*)
        {names} (wurde|wird|werden|wurden) (gebeten|beauftragt|ersucht),? {what}
        (?P<np>(die|der|alle) \w+) (wird|werden|sind) (gebeten|aufgefordert|angehalten|verpflichtet\
            |eingeladen),? {what}
        (ich|wir) (darf|dürfen) (auch |bloß |ja )?nicht vergessen,? {what}
        (ich|wir) (habe|haben) (\w+ )?(versprochen|zugesagt),? {what}
        (ich|wir) (bräuchte|bräuchten|brauche|brauchen|benötige|benötigen)( noch| dringend\
            | bitte)* (?P<what>(?!nicht|kein|nur |mehr zeit)\w.*(von (dir|euch|ihnen|allen)|jemand\w*\
            |rückmeldung|bis |freiwillige).*)
        (brauche|brauchen|bräuchte|benötigen) (ich|wir) (?P<what>(?!nicht|kein)\w.+)
        (um|für) (?P<what>[^,;:.!?]+?) (kümmert|kümmern) sich {who}
        für (?P<what>[^,;:.!?]+?) (ist|sind) {who}( und {name})? (zuständig|verantwortlich)
        (zuständig für|verantwortlich für|verantwortlich|zuständig) ?(?P<what>[^:]{2,40}): ?{who}
    """,
    addressed=r"(du|ihr|sie) (?P<what>(?!bist|seid|hast|habt|warst|siehst|weißt)\w+ .+)",
    gapped=r"{who} (?P<what>(um|an|bei|mit|für|den|die|das) [^,;:.!?]+)\W*$",
    rewrites=(
        (r"(?P<np>.+?) (bräuchten?|brauchen?|benötigen?|hätten?) (ich|wir)\b.*", r"\g<np>"),
        (
            r"((der|die|das|den) )?(?P<np>[^,;:]{2,60}?) ({must}|gehört|gehören) ((?-i:[a-zäöüß. ]*?) )?"
            r"(?P<apart>({apart}|be|er|ver|ent|zer|über|unter)(?=ge|\w+t\b|wiesen))?"
            r"(?P<verb>ge\w+(t|en)|\w+iert|\w+t|wiesen)( (werden|sein))?",
            _passive,
        ),
        (
            r"((der|die|das) )?(?P<np>[^,;:]{2,60}?) (ist|sind) ((?-i:[a-zäöüß. ]*?) )?"
            r"((?P<apart>{apart})zu|zu )(?P<verb>\w+e[rl]?n)( .*)?",
            r"\g<np> \g<apart>\g<verb>",
        ),
        (
            r"(?P<rest>{det} [^,;:]+?) (?P<verb>{a}+e) ich( dir| euch| ihnen| selbst| noch| dann| gerne?|"
            r" in [^,;:]+?)*( (?P<apart>{apart}))?",
            _order,
        ),
        (
            r"(?P<np>.+?) (ist|wird|wurde)( auf| für)? "
            r"(festgelegt|angesetzt|geplant|vorgesehen|terminiert|verschoben)",
            r"\g<np>",
        ),
        (
            r"(?P<verb>{present}|({imperative})e?|(?!Die\b|Eine\b){A}\w+[te]) (?P<rest>[^,;:]+?) "
            r"(?P<apart>{apart})",
            _order,
        ),
        (r"(?P<verb>{present}|({imperative})e) (?P<rest>(?!man\b|[^,;:]*\b{a}+en$)[^,;:]+)", _order),
        (
            r"(?P<np>\w+)(?P<verb>(?<=\w\w\w)ung) (der|des|von|unserer|Ihrer) (?P<rest>.+)",
            lambda match: f"{match['rest']} {match['np'].lower()}en",
        ),
    ),
    pronouns="(es|das|ihn|sie|dies)( (bitte|noch|bis|am|dann))* ?{verbs}$",
    edges=r"""
        \b(bis|vor|zum|gegen|am|im|in der) (zum |zur )?(ende|anfang|mitte|monatsende|jahresende\
            |quartalsende|wochenende|feierabend)( (der|des|dieser|nächster|nächsten|dieses))?( (woche\
            |monats|jahres|quartals|{days}))?
    """,
    dated=either(r"""
        ({days})s? heute morgen übermorgen sonnabend \w+abend \w+morgen wochenende tage[ns]? wochen?
        monate?n? jahre?n? \w*ende mittag abend feierabend
    """),
)
