# ruff: noqa: RUF001 - letters of other alphabets
"""German words of requests, duties, plans and decisions.

A finite verb is recognized by its ending and its place: after a name, or before "Sie". Verbs that tell what
is, and not what is done, are listed.
"""

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
    r"\b(?!(?:haben|sein|werden|wollen|können|sollen|müssen|dürfen|mögen|gegen|neben|"
    r"wegen|zwischen|einen|keinen|meinen|deinen|seinen|ihren|unseren|allen|diesen|"
    r"jeden|beiden|anderen|neuen|alten|ersten|letzten|nächsten|gestern|sondern|wissen|"
    r"oben|unten|innen|außen|zusammen|eben|neun|sieben|ganzen|kleinen|großen|guten|"
    r"vielen|wenigen)\b)[a-zäöüß]{2,}(?:en|ern|eln|tun)\b"
)
_NO_WORK: Final = (
    r"(?!(?:ist|hat|wird|war|geht|steht|liegt|bleibt|findet|gibt es|heißt|scheint|"
    r"glaubt|meint|sagt|sagte|denkt|weiß|kennt|mag|kann|darf|lebt|wohnt|schläft|"
    r"freut|spielt|gewinnt|fehlt|kostet|gehört|passt|klappt|funktioniert|läuft|lacht|"
    r"berichtet|erzählt|erklärt|zeigt sich|hofft|fährt|sitzt|hängt|riecht|schmeckt|"
    r"dauert|reicht|erinnert|lobt|dankt|bedankt|fällt|verlässt|hält|bittet|fühlt|"
    r"sieht|findet|gilt|enthält|besteht|hält|arbeitet|kommt|beginnt|startet|endet|"
    r"feiert|sucht noch|nicht|mit|seit|dort|selbst|statt|fast|erst|sonst|jetzt|meist|"
    r"oft|gut|laut|bereit|wert|nächst|samt|hinkt|soll|muss|liebt|hasst|träumt|weint|"
    r"singt|tanzt|bekommt|erhält|wächst|trinkt|isst|möchte|wollte|fand|stellt fest|"
    r"regnet|schneit|leidet|lernt|studiert|verdient|vermutet|wünscht|zweifelt|ärgert|"
    r"wundert|schweigt|hört|trägt|scheitert|bedeutet|betrifft|zählt|lautet|wirkt|"
    r"tut weh|schließt um|öffnet|hatte|sind|tropft|klemmt|brennt|blüht|stimmt|lohnt|"
    r"überlegt|fragt sich|stammt|nennt|ruht|wartet)\b)"
)
_PRESENT: Final = rf"{_NO_WORK}\b(?:[a-zäöüß]{{2,}}t|nimmt|tut)\b"
_DET: Final = (
    r"(?:[Dd]er|[Dd]ie|[Dd]as|[Dd]en|[Dd]em|[Aa]lle|[Jj]eder|[Uu]nser[e]?|[Ii]hre?|"
    r"[Ee]ure?|[Ss]ämtliche|[Bb]eide|[Ee]ine?)"
)
_NP: Final = r"[^\s,;:.!?()][^,;:!?()]{0,60}?"
_MUST: Final = (
    r"(?:muss|müssen|müsste|müssten|soll|sollen|sollte|sollten|hat noch zu|haben "
    r"noch zu|braucht noch)"
)

GERMAN: Final = Lexicon(
    code="de",
    letters="äöüß",
    common=(
        "der die das und in deine deinen meine meinen seine ihre ihren eure unsere "
        "keine ist sind war nicht ein eine einen einem einer auf für mit "
        "von zu dem den des im am um bei nach aus wie auch "
        "noch nur aber oder wenn wir ihr sie ich du er es sich wird werden hat haben "
        "kann bitte bis zum zur vom über vor dass als an "
        "uns mir mich dir ihnen ihm ihn euch mein dein sein unser schon mal was wer wo"
    ),
    no_names=(
        "die der das den dem des ein eine einen es er sie wir ihr ich du man alle jeder "
        "jede niemand keiner jemand wer was wo wann "
        "warum wie wenn falls ob dass und oder aber denn nicht bitte danke hallo liebe "
        "lieber sehr guten moin heute morgen gestern "
        "übermorgen montag dienstag mittwoch donnerstag freitag samstag sonntag januar "
        "februar märz april mai juni juli august "
        "september oktober november dezember am im um bis zum zur vom für mit nach "
        "vor unser unsere euer eure ihre mein meine dein "
        "deine sein seine dieser diese dieses nächste nächster letzte letzter "
        "top beschluss "
        "termin projekt dann danach außerdem "
        "also noch auch nur schon neu neues alles nichts etwas viele einige beim gruß "
        "grüße viele tschüss ja nein ok hier da dort "
        "draußen trotzdem leider vielleicht thema punkt anwesend protokoll hinweis "
        "achtung wichtig erinnerung notiz wetter sonne"
    ),
    name=(
        r"(?:(?:Herrn?|Frau|Dr\.|Prof\.|Familie|Hr\.|Fr\.|Onkel|Tante|Oma|Opa) "
        r")?[A-ZÄÖÜ][\wäöüß-]+(?: "
        r"(?:von|[A-ZÄÖÜ][\wäöüß-]+)){0,2}"
    ),
    verbs=_INFINITIVE,
    present=_PRESENT,
    fillers=r"(?i:\bbitte\b,?|\bdringend\b|\bunbedingt\b|\bübrigens\b,?|\bdoch mal\b)",
    leads=(
        r"(?i:(?:und|aber|also|dann|danach|außerdem|zudem|oder|denn|ok(?:ay)?|gut|ja|"
        r"zuerst|erstens|zweitens|als nächstes|anschließend|schließlich|"
        r"übrigens|ps|p\.s\.|wie besprochen|wie vereinbart|nochmal|noch einmal|noch "
        r"eine bitte|noch etwas|noch was|kurze erinnerung|zur erinnerung|erinnerung|"
        r"wichtig|achtung|dringend|"
        r"bis dahin|vorher|davor|inzwischen|daher|deshalb|deswegen|nebenbei|hallo|hi|"
        r"moin|hey|sorry|dafür|hierfür|dazu|hinweis|ach ja|jedenfalls|wenn möglich|"
        r"dass|neu ist|offen ist noch|@)\b[,:!.\s–-]*)"
        r"|\w+ (?:sagt|sagte|meint|meinte|berichtet|schlägt vor|schreibt|erinnert daran|"
        r"bittet|weist darauf hin)(?:,)? (?:dass )?"
    ),
    joints=(
        r"(?i:\s*[;–—]\s+|\s-\s|,?\s(?:und|sowie|aber)\s(?:dann\s|auch\s)?|,\s(?:dass\s|"
        r"dann\s|denn\s)?|:\s|\s\(|\)\s?)"
    ),
    requests=(
        (
            r"(?i:(?:könn(?:test|ten|tet|te)|kannst|könnt|können|würd(?:est|en|et|e)|magst|"
            r"mögen|wür?dest|kann) (?:du|sie|ihr|jemand|einer|eine|wer|bitte jemand|"
            r"(?-i:(?P<who>{name})))"
            r"(?: bitte| mir| uns| mal| noch| vielleicht| eventuell| auch| kurz| dann| dich|"
            r" euch| sich| doch| schon| evtl\.?)* (?P<what>.+))"
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
            r"(?i:(?:bitte )?(?:denk|denkt|denken sie)(?: bitte)?(?: auch| noch)? (?:daran|"
            r"dran|an),? ?(?P<what>.+))"
        ),
        (
            r"(?i:(?:bitte )?(?:sorg|sorge|sorgt|sorgen sie|achte|achtet|achten sie|stellen "
            r"sie|stell|stellt)(?: bitte)? (?:dafür|darauf|sicher),? (?P<what>.+))"
        ),
        (
            r"(?i:(?P<what>{verbs} sie\b (?!sich wohl|recht|herzlich|nichts|nicht|keine|"
            r"gern|einfach|wohl|bloß)\w.+))"
        ),
        (
            r"(?i:bitte (?P<what>(?!sehr|schön|nicht |keine|um entschuldigung|entschuldig|"
            r"wundert|melde[nt]? (?:sie )?(?:dich|euch|sich) (?:gern|jederzeit|bei "
            r"fragen))\w.+))"
        ),
        (
            r"(?i:(?:wir|ich) (?:bitte|bitten|ersuchen|möchten?) (?:dich|sie|euch|"
            r"alle|jeden)(?: "
            r"herzlich| höflich| darum)*,? (?P<what>.+))"
        ),
        (
            r"(?i:(?:es wäre|wäre)(?: es)? (?:gut|schön|toll|nett|super|prima|klasse|lieb),? "
            r"wenn (?:du|sie|ihr|jemand) (?P<what>.+))"
        ),
        r"(?i:ich wäre (?:dir|ihnen|euch) dankbar,? wenn (?P<what>.+))",
        (r"(?i:(?:to-?do|aufgabe|ap|offen|zu erledigen|nächste schritte?|action)\s*[:–-]\s*(?P<what>\w.+))"),
        (
            r"(?i:(?:gib|geben sie|gebt|sag|sagt|sagen sie) (?:mir|uns) (?:bitte )?(?:bescheid|"
            r"rückmeldung)(?P<what>.*))"
        ),
        r"(?i:(?P<what>[^,;:.!?]{3,80}), bitte\b.*)",
        r"(?P<what>[^,;:.!?]{3,80} (?i:bitte) [^,;:.!?]*{verbs}.*)",
    ),
    duties=(
        (
            rf"(?P<what>{_NP} (?i:{_MUST}) (?!(?i:nicht|nichts|keine?n?|niemand\w*|sein|es|"
            rf"man sagen)\b)[^,;:!?]*(?:werden|sein))\b(?![a-zäöü]).*"
        ),
        (
            rf"(?P<who>{{name}}(?:(?:,| und) {{name}}){{0,3}}) (?i:{_MUST}|wird|werden|will|"
            rf"möchte|darf)(?i: bitte| noch| auch| dann| nun| jetzt)* (?P<what>(?!(?i:nicht|"
            rf"nichts|keine?n?|es|wohl|sicher|immer|nie)\b)\w.*?{{verbs}}.*)"
        ),
        (
            rf"(?P<np>{_DET} [^,;:.!?]{{2,40}}?) (?i:{_MUST}) (?P<what>(?!(?i:nicht|nichts|"
            rf"keine?n?|es)\b)\w.*?{{verbs}}.*)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| und) {name}){0,3}) (?P<what>[^,;:!?]+{verbs} (?i:soll|"
            r"sollen|sollte|solle|muss|müssen|müsse|möge|wird|will|möchte))\b"
        ),
        (
            r"(?P<who>(?i:ich|wir)) (?i:muss|müssen|müsste|müssten|werde|werden|soll|sollen|"
            r"sollten|sollte|will|wollen)(?i: noch| auch| dann| jetzt| unbedingt| dringend|"
            r" mal)* (?P<what>(?!(?i:nicht|nichts|keine?n?|es |sagen|sehen|schauen|"
            r"mal sehen)\b)\w.*?{verbs}.*)"
        ),
        (
            r"(?i:muss|müssen|werde|werden|soll|sollten|will) (?P<who>(?i:ich|wir)|{name})(?i: "
            r"noch| auch| dann| jetzt| unbedingt)* (?P<what>(?!(?i:nicht|keine?n?|"
            r"nichts)\b)\w.*?{verbs}.*)"
        ),
        (
            rf"(?P<who>(?i:ich)) (?P<what>(?i:(?:{_IMPERATIVE})e?|nehme?|übernehme?|gebe?|"
            rf"lese?|gehe?|fahre?|komme? vorbei|mache? das|kümmere? mich|kümmer mich)\b(?! "
            rf"(?:mal wieder|nicht|nichts|mich|auch nicht|daran|immer|gern|oft)\b).*)"
        ),
        (
            rf"(?P<what>(?i:(?:{_IMPERATIVE})e?|nehme?|übernehme?|gebe?|lese?|gehe?|fahre?|"
            rf"mache?|kümmere?)) (?P<who>(?i:ich))\b .+"
        ),
        (
            r"(?P<who>{name}(?:(?:,| und) {name}){0,3}) (?P<what>(?i:kümmer[nt]e? sich|kümmern "
            r"sich|übernimmt|übernehmen|besorgt|besorgen|organisiert|organisieren|erledigt "
            r"noch|bereitet|ist zuständig|ist verantwortlich|bringt|bringen|holt|holen|schickt|"
            r"schicken|fragt|fragen|macht|machen|klärt|klären|prüft|prüfen|bestellt|bestellen|"
            r"ruft|rufen|schreibt|schreiben|reserviert|bucht|meldet|druckt|leitet|nimmt|"
            r"schaut|liest|gibt|stellt|legt|liefert|baut|räumt|putzt|kauft|kaufen|kocht|"
            r"backt|repariert|sammelt|lädt|erstellt|verschickt|verteilt|verfasst|formuliert|"
            r"überarbeitet|aktualisiert|informiert|kontaktiert|vereinbart|testet|spricht|"
            r"hilft|näht|malt|zeichnet|übersetzt|sucht|plant|trägt|tauscht|zahlt|überweist|"
            r"fährt|holt|hängt)\b .+)"
        ),
        (
            r"(?i:(?:du|sie|ihr)(?: alle| beide)? (?:musst|müsst|müssen|sollst|sollt|solltest|"
            r"sollten|solltet)(?: noch| bitte| auch| unbedingt)* (?P<what>(?!nicht|keine?n?|"
            r"nichts|nur)\w.*?{verbs}.*))"
        ),
        (
            r"(?i:(?:es|das|jemand|einer|wir|man|alle|jeder|jede) (?:muss|müssen|soll|sollte|"
            r"sollten|müsste)(?: noch| auch| dringend| bitte)* (?P<what>(?!nicht|nichts|"
            r"keine?n?|sein|man sagen)\w.*?{verbs}.*))"
        ),
        (
            rf"(?P<what>{_NP} (?i:ist|sind) (?!(?i:nicht|nichts)\b)[^,;:!?]*\b(?i:zu) "
            rf"{{verbs}}.*)"
        ),
        (
            r"(?P<who>{name}) (?i:hat|haben) (?P<what>(?!(?i:nicht|nichts)\b)[^,;:!?]*\b(?i:zu)"
            r" "
            r"{verbs}.*)"
        ),
        rf"(?P<what>{_DET} [A-ZÄÖÜ]\w+ (?:{_PRESENT})(?: \w+){{0,2}}) (?P<who>{{name}})\b.*",
        r"(?P<who>{name}) ?[:–-] (?P<what>[^,;:.!?]*{verbs})\s*$",
        (
            rf"(?P<what>(?i:(?:{_IMPERATIVE})(?:e|t|et)?|{_IRREGULAR})\b (?!du\b)(?!(?i:ist|"
            rf"war|wird|hat|sich|nicht|für \d)\b)\S.+)(?=!|$|\.)"
        ),
        (
            r"(?P<what>(?![^,;:.!?()]*\b(?i:hat|haben|habe|ist|sind|war|waren|wird|werden|"
            r"wurde|wurden|bin|bist|kann|können|konnten?|wollen|will|darf|dürfen|mag|ich|"
            r"wir|er|sie|es|zu|geht|gehen|gab|gibt|macht|machte|kamen?|ließ|ließen)\b)(?:[A-ZÄÖÜ]"
            r"\w+|"
            r"[Dd]ie|[Dd]en|[Dd]as|[Aa]lle) [^,;:.!?()]*?{verbs})\s*(?:!|$|\.$)"
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
    listed=(r"(?P<what>[^;:!?]*?{verbs})\s*(?=$|[(,.!–-]|: )",),
    more=r"(?P<what>(?:{present} .+|[^,;:!?]+{verbs}.*))",
    settled=(
        r"(?i:\b(?:erledigt|schon|bereits|abgesagt|gestrichen|storniert|abgelehnt|vergeben|"
        r"hinfällig|nicht mehr|nichts mehr|niemanden mehr|keine?n? mehr|"
        r"nicht nötig|unnötig|überflüssig|gestern|vorgestern|letzte[nrs]? (?:woche|monat|"
        r"jahr|montag|dienstag|mittwoch|donnerstag|freitag|mal)|vorige\w*|wurde|wurden|"
        r"worden|"
        r"brauch(?:en|st|t)? (?:\w+ ){0,3}(?:nicht|nichts|keine?n?)|niemand|musste|mussten|"
        r"hieß es|wollte|wollten|war|waren|hatte|hatten|fertig|geschafft|gemacht|konnte|"
        r"konnten|gelöst|behoben|"
        r"kann (?:ich )?(?:leider )?(?:\w+ ){0,2}nicht|muss(?:t|en)? (?:\w+ ){0,3}(?:nicht|"
        r"nichts)|entfällt|ausgefallen|fällt aus|besorgt$|bezahlt$|bestellt$|zurückgezogen|"
        r"vom tisch|"
        r"habe ich|haben wir|hab ich|hat \w+ (?:schon|bereits)|keine sorge|geregelt|"
        r"längst|vor \w+ (?:tagen|wochen|monaten|jahren))\b|✓|✔|☑|✅)"
    ),
    unreal=(
        r"(?i:\b(?:vielleicht|eventuell|evtl|möglicherweise|vermutlich|wahrscheinlich|"
        r"hätte|hätten|wäre|wären|würde|irgendwann|mal sehen|falls|man könnte|"
        r"überleg\w*|träum\w*|idee|angeblich|bestimmt|wenn ich|ob|hoffentlich|am liebsten|"
        r"gern(?:e)? (?:einmal|mal)|theoretisch|offen(?:,| ob)|unklar|diskutiert|debatt\w+|"
        r"roman|witz|rezept|film|wünsch\w*|zum beispiel|z\. ?b\.|lust auf)\b)"
    ),
    events=(
        r"(?i:\b\w*(?:sitzung|treffen|termin|besprechung|meeting|fest|feier|party|hochzeit|"
        r"geburtstag|ausflug|reise|fahrt|besuch|prüfung|klausur|test|konzert|"
        r"eröffnung|start|auftakt|kick-?off|beginn|premiere|probe|aufführung|vorstellung|"
        r"vortrag|lesung|workshop|seminar|schulung|kurs|training|konferenz|tagung|messe|"
        r"markt|basar|flohmarkt|inventur|umzug|lieferung|abholung|ankunft|abfahrt|abreise|"
        r"anreise|flug|zug|abgabe|schluss|wahl|abstimmung|versammlung|elternabend|"
        r"sprechstunde|untersuchung|operation|zahnarzt|arzt|tierarzt|impfung|wartung|"
        r"ablesung|begehung|besichtigung|übergabe|abnahme|audit|kontrolle|übung|alarm|"
        r"brandschutz|"
        r"turnier|spiel|rennen|lauf|wanderung|essen|frühstück|brunch|grillen|stammtisch|"
        r"abend|tag|nacht|ferien|feiertag|jubiläum|gottesdienst|taufe|beerdigung|"
        r"demo|präsentation|review|retro|release|abschaltung|sperrung|stromausfall|räumung|"
        r"einzug|auszug|interview|gespräch|telefonat|call|webinar|ausstellung|vernissage|"
        r"theater|kino|aktion|putz|einsatz|notar|friseur|handwerker|monteur|"
        r"schornsteinfeger|"
        r"gutachter|techniker)e?[nrs]?\b)"
    ),
    happens=(
        r"(?i:\b(?:findet|finden|statt|kommt|kommen|beginnt|beginnen|startet|fängt|fangen|"
        r"eröffnet|öffnet|schließt|geschlossen|gesperrt|treffen wir uns|treffen uns|"
        r"trifft sich|treffe|"
        r"geplant|angesetzt|vorgesehen|steigt|feiern|feiert|reist|fliegt|fahren|fährt|"
        r"landet|zieht|ziehen|endet|läuft ab|tagt|besucht|spielt|eingeladen|laden ein|"
        r"geht los|wird geliefert|liefert|ist wieder da)\b)"
    ),
    decisions=(
        (
            r"(?i:(?:beschluss|beschlüsse|entscheidung|beschlossen|entschieden|ergebnis|"
            r"fazit|festgelegt|vereinbart|vereinbarung|einigung|abgestimmt)\s*[:–-]\s*(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:[^,;:]{0,40}\b)?(?:wir|der vorstand|der beirat|das team|die gruppe|"
            r"die versammlung|alle|man|es|der verein|die mitglieder|die runde)\b(?: \w+){0,3}? "
            r"(?:beschlossen|entschieden|vereinbart|geeinigt|festgelegt|beschließt|beschließen|"
            r"einigt sich|entscheidet)(?: darauf)?,? ?(?:dass |darauf, )?(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:wir|der vorstand|das team|man) (?:bleibt?|bleiben) (?:bei|dabei) "
            r"(?P<what>.+))"
        ),
        r"(?i:(?P<what>ab (?:sofort|\w+) (?:gilt|gelten|nur noch|ist|sind) .+))",
    ),
    facts=(
        r"(?i:\b\w*(?:nummer|nr\.|code|pin|passwort|kennwort|wlan|wi-?fi|iban|zählerstand|"
        r"stand|aktenzeichen|kennzeichen|größe|adresse|telefon|durchwahl|konto|zugang|"
        r"login|kennung|kombination|raum|blutgruppe|steuer-?id)\b[^.!?]{0,40}?(?:\bist\b|"
        r"\blautet\b|:|=)\s?[^.!?]*?(?:\d|\"|[A-Z]{2}))"
    ),
    places=r"\w+\W+\w+\W+\w+",
    projects=(
        (
            r"\b(?i:projekt|vorhaben|initiative|kampagne|programm)s? (?i:(?:namens|mit dem "
            r"namen) )?[\"“„«»‘](?P<name>[^\"”“»«]{2,60})[\"”“»«]"
        ),
        r"\b(?i:projekt|initiative) (?P<name>[A-ZÄÖÜ][\w-]+(?: [A-ZÄÖÜ0-9][\w-]*){0,3})",
        r"[\"“„«»](?P<name>[^\"”“»«]{2,60})[\"”“»«](?: |-)(?i:projekt)",
    ),
    begins=either(
        "start\\w* beginn\\w* begonnen los weiter\\w* fortgesetzt genehmigt bewilligt "
        "beschlossen läuft laufen angelaufen gestartet gegründet "
        "auftakt freigegeben vereinbart fortgeführt geht starten angenommen gefördert "
        "neue[ns]? leitet übernimmt kick-?off zugestimmt arbeiten"
    ),
    comments=(
        (
            r"(?i:(?:kommentar|anmerkung|bemerkung|notiz|hinweis)(?: von)?) (?P<who>[^:]{1,40})"
            r":\s*(?P<what>.+)"
        ),
        (
            r"(?i:(?:zum|zur|zu|beim|wegen|bezüglich|betreffs?) (?:der |dem |die "
            r")?[^:,–]{0,40}(?:aufgabe|"
            r"ticket|vorgang|karte|to-?do|issue|task|punkt)[^:,–]{0,40}\s?[:,–-]\s*(?P<what>.+))"
        ),
    ),
    tickets=r"(?i:(?:#\d+|(?:ticket|vorgang|störung|meldung|auftrag|fall|anfrage)\b.{0,6}\d))",
    urgent=(
        r"(?i:\bdringend\w*\b|\beilt\b|\beilig\b|\bsofort\b|\bumgehend\b|\bschnellstmöglich\b|"
        r"\basap\b|\bso schnell wie möglich\b|\bunbedingt\b|\bhöchste priorität\b|!!)"
    ),
    minutes=(
        r"(?i:\b(?:\w*protokoll|\w*sitzung|\w*besprechung|jour fixe|anwesend|teilnehmer|"
        r"\w*versammlung|\w*beirat|\w*vorstand|tagesordnung|top \d|weekly|stand-?up|"
        r"meeting|\w*treffen|gespräch mit|telefonat mit|runde)\b)"
    ),
    to_do=(
        r"(?i:^\W*(?:aufgaben|to-?dos?|zu erledigen|noch (?:offen|zu tun)|offene punkte|"
        r"nächste schritte|maßnahmen|erledigungen|was noch fehlt|einkaufsliste|einkauf|"
        r"packliste|checkliste|besorgungen|vor (?:dem|der) \w+|.*\bwer macht was|was "
        r"(?:noch )?zu tun ist)\W*$)"
    ),
    finished=r"(?i:^\W*(?:erledigt|fertig|abgeschlossen|geschafft|bereits erledigt)\W*$)",
    decided=r"(?i:^\W*(?:beschlüsse|entscheidungen|festlegungen)\W*$)",
    talk=(
        r"(?i:^\W*(?:tagesordnung|themen|ideen|fragen|offene fragen|teilnehmer|anwesend|"
        r"entschuldigt|diskussion|irgendwann|vielleicht|wunschliste|zutaten|"
        r"menü|zusammenfassung|"
        r"neuigkeiten|hintergrund|abgesagt)\W*$)"
    ),
    labels=either(
        "von an cc betreff datum gesendet anwesend entschuldigt teilnehmer ort zeit "
        "wann wo wer was warum hinweis notiz ps re aw wg beschluss beschlüsse entscheidung "
        "aufgabe aufgaben "
        "todo erinnerung frist termin thema tagesordnung nächste nächster nächstes "
        "heute morgen gestern montag dienstag mittwoch donnerstag freitag samstag sonntag "
        "summe preis telefon tel "
        "e-?mail web adresse passwort wlan code nummer achtung tipp stand status priorität "
        "projekt zusammenfassung hintergrund beispiel ergebnis ziel frage antwort idee "
        "top\\b.* zur zum verschiedenes wichtig neu"
    ),
    anyone=either("alle jeder jede jemand einer du sie ihr er wir man"),
    me=r"(?i:ich|wir|mich|uns)\b",
    pronoun_subjects="es er sie das dies",
    goes_on=r"(?i:noch offen|macht (?:wie immer|diesmal|wieder)|übernimmt|kümmert)",
    addressed=(
        r"(?i:(?:du|ihr|sie) (?P<what>(?!bist|seid|hast|habt|warst|siehst|weißt)\w+ .+))",
        r"(?P<what>(?i:kannst du|könntest du|machst du|schaust du|würdest du|bitte) .+)",
    ),
    gapped=(r"(?P<who>{name}) (?P<what>(?i:um|an|bei|mit|für|den|die|das) [^,;:.!?]+)\W*$",),
    pronouns=r"(?i:(?:es|das|ihn|sie|dies)(?: (?:bitte|noch|bis|am|dann))* ?{verbs}$)",
    edges=(
        r"(?i:\b(?:bis|vor|zum|gegen|am|im|in der) (?:zum |zur )?(?:ende|anfang|mitte|"
        r"monatsende|jahresende|quartalsende|wochenende|feierabend)(?: (?:der|des|dieser|"
        r"nächster|nächsten|dieses))?(?: (?:woche|monats|jahres|quartals|januar|februar|"
        r"märz|april|mai|juni|juli|august|september|oktober|november|dezember))?)"
    ),
    dated=either(
        "heute morgen übermorgen montags? dienstags? mittwochs? donnerstags? freitags? "
        "samstags? sonntags? sonnabend \\w+abend \\w+morgen wochenende januar februar "
        "märz april mai juni juli august september "
        "oktober november dezember tage[ns]? wochen? monate?n? jahre?n? \\w*ende mittag "
        "abend feierabend"
    ),
)
