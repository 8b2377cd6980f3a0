# ruff: noqa: RUF001, RUF003 - letters of three alphabets
"""Meanings of words about time in English, German, French, Spanish, Russian and Chinese.

Where "next Friday" is not the next Friday after today, the comment of the language says so.
"""

from typing import Final

from hub.extraction.when.language import Language

# --- English ---

_EN_ORD: Final = "(?:st|nd|rd|th)?"
_EN_TO: Final = rf"(?: ?(?:-|to|through|until) ?(?:the )?\d{{1,2}}{_EN_ORD})?"
_EN_WORDS: Final = "one two three four five six seven eight nine ten eleven"
_EN_ORDINALS: Final = "first second third fourth fifth sixth seventh eighth ninth"

# "Next Friday" counts weeks: it is the Friday of the next week, because the coming one would be "this
# Friday" or "Friday". "03/04" is in March for some readers and in April for others.
ENGLISH: Final = Language(
    months=(
        "january jan, february feb, march mar, april apr, may, june jun, july jul, august aug, "
        "september sept sep, october oct, november nov, december dec"
    ),
    weekdays=(
        "monday mon, tuesday tues tue, wednesday wed, thursday thurs thur thu, friday fri, "
        "saturday sat, sunday sun"
    ),
    numbers={word: value for value, word in enumerate(_EN_WORDS.split(), start=1)}
    | {"twelve": 12, "a": 1, "an": 1, "fourteen": 14, "fifteen": 15, "twenty": 20, "thirty": 30},
    ordinals={word: value for value, word in enumerate(_EN_ORDINALS.split(), start=1)}
    | {"tenth": 10, "1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5, "last": -1},
    units=(
        "minute minutes min mins, hour hours hr hrs, day days, week weeks wk wks, month months, "
        "quarter quarters, year years"
    ),
    halves={half: half for half in ("am", "pm", "morning", "afternoon", "evening", "night")},
    sayings=(
        (rf"{{d}}{_EN_ORD}{_EN_TO}(?: day)?(?: of)? {{month}}(?: (?:of )?{{y}})?", {}),
        (rf"{{month}} (?:the )?{{d}}{_EN_ORD}{_EN_TO}(?: (?:of )?{{y}})?", {}),
        ("{dth}(?: day)? of {month}(?: {y})?", {}),
        ("{month} {dth}(?: {y})?", {}),
        ("{month}(?: (?:of )?{y})?", {}),
        ("{d}(?:st|nd|rd|th)(?: day)?", {}),
        ("the {dth}(?! [a-z]+day)", {}),
        ("{y}", {}),
        ("{weekday}", {}),
        ("{nth} {weekday}(?= (?:of|in) )", {}),
        ("this {weekday}", {"pick": "this"}),
        ("(?:this )?(?:coming|upcoming) {weekday}", {"pick": "coming"}),
        ("next {weekday}", {"span": ("week", 1)}),
        ("(?:last|past) {weekday}", {"pick": "last"}),
        ("{weekday} after next", {"pick": "second"}),
        ("{weekday} week", {"shift": (1, "week")}),
        ("{weekday} fortnight", {"shift": (2, "week")}),
        ("(?:this |the )?weekend", {"weekday": 5, "pick": "weekend"}),
        ("next weekend", {"weekday": 5, "span": ("week", 1)}),
        ("today", {"days": 0}),
        ("tonight", {"days": 0, "half": "evening"}),
        ("tomorrow|tmrw", {"days": 1}),
        ("(?:the )?day after tomorrow", {"days": 2}),
        ("yesterday", {"days": -1}),
        ("(?:the )?day before yesterday", {"days": -2}),
        ("this {half}", {"days": 0}),
        ("(?:in the |at )?{half}", {}),
        ("(?:in|within)(?: the next)? {n} {unit}(?:'s?)?(?: time)?", {"sign": 1}),
        ("{n} {unit} (?:from now|from today|from|after)", {"sign": 1}),
        ("{n} {unit} ago", {"sign": -1}),
        ("in a fortnight|a fortnight from(?: now| today)?", {"shift": (2, "week")}),
        ("in half an hour", {"shift": (30, "minute")}),
        ("in half a year", {"shift": (6, "month")}),
        ("next {unit}", {"steps": 1}),
        ("(?:this|the|of) {unit}", {"steps": 0}),
        ("(?:last|previous) {unit}", {"steps": -1}),
        ("{unit} after next", {"steps": 2}),
        ("end", {"edge": "end"}),
        ("beginning|start|early", {"edge": "start"}),
        ("middle|mid-?", {"edge": "middle"}),
        ("month[- ]?end|eom", {"edge": "end", "span": ("month", 0)}),
        ("year[- ]?end|eoy", {"edge": "end", "span": ("year", 0)}),
        ("eow", {"edge": "end", "span": ("week", 0)}),
        ("end of(?: the)?(?: business| working)? day|eod|close of business|cob", {"half": "close"}),
        ("q(?P<q>[1-4])(?: (?:of )?{y})?", {}),
        ("(?P<q>[1-4])(?:st|nd|rd|th) quarter", {}),
        ("(?P<zone>ist)", {}),  # a word in German
        (r"(?:calendar week|cw|week|wk) ?(?P<w>5[0-3]|[1-4]\d|0?[1-9])(?: (?:of )?{y})?", {}),
        ("{hour}(?:[:.]{min})? ?(?:o'clock ?)?(?:in the |at )?{half}", {}),
        ("{h}(?:[:.]{min})? a m", {"half": "am"}),
        ("{h}(?:[:.]{min})? p m", {"half": "pm"}),
        # the first end of "3 - 5 pm"
        (r"{h}(?::{min})?(?= ?(?:-|to|until|till|and) ?\d{1,2}(?::\d\d)? ?[ap] ?m\b)", {}),
        ("at {hour}(?::{min})?", {}),
        ("{hour} o'clock", {}),
        ("half past {hour}", {"minute": 30}),
        ("(?:a )?quarter past {hour}", {"minute": 15}),
        ("(?:a )?quarter to {hour}", {"less": 15}),
        ("(?:12 )?(?:noon|midday)", {"hour": 12}),
        ("midnight", {"half": "midnight"}),
        ("to|through|thru|until|till", {"is_to": True}),
    ),
    fillers=("on|at|in|the|of|for|from|is|starting|date|as of|local time|inclusive"),
    dues=("by|before|on or before|due|due date|deadline|no later than|not later than|at the latest"),
    is_day_first=None,
    rewrites=((r"\bbetween (.+) and\b", r"\1 -"),),
)


# --- German ---

_DE_NEXT: Final = "(?:nächste[nrms]?|naechste[nrms]?|kommende[nrms]?)"
_DE_SECOND: Final = "(?:übernächste[nrms]?|uebernaechste[nrms]?)"
_DE_LAST: Final = "(?:letzte[nrms]?|vergangene[nrms]?|vorige[nrms]?)"
_DE_THIS: Final = "diese[nrms]?"
_DE_WEEK: Final = "(?:woche)"
_DE_MONTH: Final = "(?:monats?)"
_DE_YEAR: Final = "(?:jahre?s?)"
_DE_QUARTER: Final = "(?:quartals?)"
_DE_SPANS: Final = {"week": _DE_WEEK, "month": _DE_MONTH, "quarter": _DE_QUARTER, "year": _DE_YEAR}
_DE_TO: Final = r"(?: ?(?:-|bis|bis zum|und) ?\d{1,2}\.?)?"
# "Mo" and "So" are also other words: only next to a date.
_DE_SHORT: Final = "(?:%s)(?=\\.?,? ?(?:den |dem )?\\d)"
_DE_SHORT_DAYS: Final = "mo di mi do fr sa so"
_DE_ENDINGS: Final = {"erste": 1, "zweite": 2, "dritte": 3, "vierte": 4, "fünfte": 5, "letzte": -1}
_DE_WORDS: Final = "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf"

# "Nächsten Freitag" counts days (according to the Duden): it is the coming Friday. "In acht Tagen" is a
# week from now. "Halb vier" is half past three.
GERMAN: Final = Language(
    months=(
        "januar jänner jan, februar feber feb, märz maerz mrz, april apr, mai, juni jun, juli jul, "
        "august aug, september sept sep, oktober okt, november nov, dezember dez"
    ),
    weekdays="montag, dienstag, mittwoch, donnerstag, freitag, samstag sonnabend, sonntag",
    numbers={word: value for value, word in enumerate(_DE_WORDS.split(), start=2)}
    | dict.fromkeys(("ein", "eins", "eine", "einem", "einen", "einer"), 1)
    | {"vierzehn": 14, "fünfzehn": 15, "zwanzig": 20, "dreißig": 30},
    ordinals={
        stem + ending: value for stem, value in _DE_ENDINGS.items() for ending in ("", "r", "n", "m", "s")
    },
    units=(
        "minute minuten min, stunde stunden std, tag tage tagen, woche wochen, monat monate monaten, "
        "quartal quartale quartalen, jahr jahre jahren"
    ),
    halves={
        "morning": "morgens früh vormittag vormittags",
        "noon": "mittags mittag",
        "afternoon": "nachmittag nachmittags",
        "evening": "abend abends",
        "night": "nacht nachts",
    },
    sayings=(
        (rf"{{d}}\.?{_DE_TO} ?{{month}}(?: {{y}})?", {}),
        ("{dth} {month}(?: {y})?", {}),
        ("{month}(?: {y})?", {}),
        (r"(?:am|den|dem|der|vom|ab dem) {d}\.", {}),
        (r"zum {d}\.", {"is_due": True}),
        (r"{d}\.(?= (?:des|dieses|nächsten|kommenden|letzten|vorigen) monats?\b)", {}),
        (r"{weekday},? (?:den |dem )?{d}\.", {}),
        ("{y}", {}),
        ("{weekday}s?", {}),
        *((_DE_SHORT % word, {"weekday": day}) for day, word in enumerate(_DE_SHORT_DAYS.split())),
        ("{weekday} ?{half}", {}),
        ("{weekday} ?morgen", {"half": "morning"}),
        ("{nth} {weekday}(?= (?:im|in|des) )", {}),
        (rf"{_DE_THIS} {{weekday}}", {"pick": "this"}),
        (rf"{_DE_NEXT} {{weekday}}", {"pick": "coming"}),
        (rf"{_DE_SECOND} {{weekday}}", {"pick": "second"}),
        (rf"{_DE_LAST} {{weekday}}", {"pick": "last"}),
        (rf"(?:{_DE_THIS} )?wochenende", {"weekday": 5, "pick": "weekend"}),
        (rf"{_DE_NEXT} wochenende", {"weekday": 5, "span": ("week", 1)}),
        ("heute", {"days": 0}),
        ("heute morgen", {"days": 0, "half": "morning"}),
        ("morgen", {"days": 1}),
        ("morgen früh", {"days": 1, "half": "morning"}),
        ("übermorgen|uebermorgen", {"days": 2}),
        ("gestern", {"days": -1}),
        ("vorgestern", {"days": -2}),
        ("(?:12 uhr )?mittags?", {"hour": 12}),
        ("{half}", {}),
        ("in acht tagen", {"shift": (1, "week")}),
        ("(?:in|binnen|innerhalb von) {n} {unit}", {"sign": 1}),
        ("vor {n} {unit}", {"sign": -1}),
        ("in (?:einer halben|1/2) stunde", {"shift": (30, "minute")}),
        ("in einem halben jahr", {"shift": (6, "month")}),
        *((rf"{_DE_NEXT} {span}", {"span": (unit, 1)}) for unit, span in _DE_SPANS.items()),
        *((rf"{_DE_SECOND} {span}", {"span": (unit, 2)}) for unit, span in _DE_SPANS.items()),
        *((rf"{_DE_LAST} {span}", {"span": (unit, -1)}) for unit, span in _DE_SPANS.items()),
        *((rf"(?:{_DE_THIS}|der|des) {span}", {"span": (unit, 0)}) for unit, span in _DE_SPANS.items()),
        ("ende|schluss", {"edge": "end"}),
        ("anfang|beginn", {"edge": "start"}),
        ("mitte", {"edge": "middle"}),
        ("monatsende", {"edge": "end", "span": ("month", 0)}),
        ("monatsmitte", {"edge": "middle", "span": ("month", 0)}),
        ("monatsanfang", {"edge": "start", "span": ("month", 0)}),
        ("quartalsende", {"edge": "end", "span": ("quarter", 0)}),
        ("jahresende", {"edge": "end", "span": ("year", 0)}),
        ("jahresende {y}", {"edge": "end"}),
        ("feierabend|büroschluss|geschäftsschluss|ende des tages|tagesende|eod", {"half": "close"}),
        ("q(?P<q>[1-4])(?: {y})?", {}),
        (r"(?P<q>[1-4])\. quartal(?: {y})?", {}),
        (r"(?:kw|kalenderwoche) ?(?P<w>5[0-3]|[1-4]\d|0?[1-9])(?: ?/? ?{y})?", {}),
        ("(?:um )?{hour} uhr(?: {half})?", {}),
        ("(?:um )?{h}[:.]{min} uhr", {"is_sure": True}),
        ("(?:um )?{h}:{min}", {"is_sure": True}),
        ("(?:um )?{h} uhr {min}", {"is_sure": True}),
        (r"{h}(?::{min})?(?= ?(?:-|bis) ?\d{1,2}(?:[:.]\d\d)? uhr)", {}),
        ("(?:um )?halb {hour}", {"less": 30}),
        ("(?:um )?viertel nach {hour}", {"minute": 15}),
        ("(?:um )?viertel vor {hour}", {"less": 15}),
        ("um {h}", {}),
        ("{h} ?h", {}),
        ("mitternacht", {"half": "midnight"}),
        ("bis", {"is_to": True}),
    ),
    fillers=("am|im|in|um|bis|zu|den|dem|der|des|die|das|vom|von|ab|termin|für|uhr|einschließlich|inklusive"),
    dues=("zum|zur|vor|spätestens|fällig|fällig am|frist|nicht später als"),
    is_day_first=True,
    rewrites=((r"\bzwischen (.+) und\b", r"\1 -"), (r"\bvon (.+) bis\b", r"\1 -")),
)


# --- French ---

_FR_TO: Final = r"(?: ?(?:-|au|et|à) ?\d{1,2})?"
_FR_WORDS: Final = "deux trois quatre cinq six sept huit neuf dix onze douze"

# "Vendredi prochain" counts days: it is the next Friday, and "vendredi en huit" the one after it. "Huit
# jours" is one week and "quinze jours" are two.
FRENCH: Final = Language(
    months=(
        "janvier janv, février févr fév, mars, avril avr, mai, juin, juillet juil, août, "
        "septembre sept, octobre oct, novembre nov, décembre déc"
    ),
    weekdays="lundi lun, mardi mar, mercredi mer, jeudi jeu, vendredi ven, samedi sam, dimanche dim",
    numbers={word: value for value, word in enumerate(_FR_WORDS.split(), start=2)}
    | {"un": 1, "une": 1, "quatorze": 14, "quinze": 15, "vingt": 20, "trente": 30},
    ordinals={"premier": 1, "1er": 1, "deuxième": 2, "2e": 2, "troisième": 3, "3e": 3}
    | {"quatrième": 4, "dernier": -1},
    units=(
        "minute minutes min, heure heures, jour jours, semaine semaines, mois, trimestre trimestres, "
        "an ans année années"
    ),
    halves={"morning": "matin", "afternoon": "après-midi", "evening": "soir", "night": "nuit"},
    sayings=(
        (rf"{{d}}(?:er)?{_FR_TO} {{month}}(?: {{y}})?", {}),
        ("premier {month}(?: {y})?", {"day": 1}),
        ("{month}(?: {y})?", {}),
        ("(?:le|au|du) {d}(?:er)?", {}),
        ("{weekday} {d}(?:er)?", {}),
        ("{y}", {}),
        ("{weekday}", {}),
        ("{nth} {weekday}(?= (?:de |du |d'))", {}),
        ("ce {weekday}", {"pick": "this"}),
        ("{weekday} prochain", {"pick": "coming"}),
        ("{weekday} (?:dernier|passé)", {"pick": "last"}),
        ("{weekday} en huit", {"pick": "second"}),
        ("{weekday} en quinze", {"shift": (2, "week")}),
        ("(?:ce )?week-?end", {"weekday": 5, "pick": "weekend"}),
        ("week-?end prochain", {"weekday": 5, "span": ("week", 1)}),
        ("aujourd'hui", {"days": 0}),
        ("demain", {"days": 1}),
        ("après-?demain", {"days": 2}),
        ("hier", {"days": -1}),
        ("avant-?hier", {"days": -2}),
        ("(?:ce|cet|cette) {half}", {"days": 0}),
        ("(?:du |de l'|de la |dans la )?{half}", {}),
        ("(?:dans|sous|d'ici) huit jours", {"shift": (1, "week")}),
        ("(?:dans|sous|d'ici) quinze jours", {"shift": (2, "week")}),
        ("il y a quinze jours", {"shift": (-2, "week")}),
        ("(?:dans|sous|d'ici) {n} {unit}", {"sign": 1}),
        ("il y a {n} {unit}", {"sign": -1}),
        ("dans une demi-?heure", {"shift": (30, "minute")}),
        ("(?:de )?(?:la |le |l')?{unit} prochaine?", {"steps": 1}),
        ("(?:(?:ce|cette|du|de la|de) |de l'|d'){unit}", {"steps": 0}),
        ("(?:de )?(?:la |le |l')?{unit} (?:dernière|dernier|passée|passé)", {"steps": -1}),
        ("fin", {"edge": "end"}),
        ("début", {"edge": "start"}),
        ("mi-?|milieu", {"edge": "middle"}),
        ("fin de(?: la)? journée|eod", {"half": "close"}),
        ("[qt](?P<q>[1-4])(?: {y})?", {}),
        (r"(?P<q>[1-4])(?:er?|eme) trimestre(?: (?:de )?{y})?", {}),
        (r"semaine (?P<w>5[0-3]|[1-4]\d|0?[1-9])(?: (?:de )?{y})?", {}),
        ("(?:à )?{hour} ?(?:h|heures?)", {}),
        ("(?:à )?{h} ?(?:h|heures?) ?{min}", {"is_sure": True}),
        ("(?:à )?{h}:{min}", {"is_sure": True}),
        (r"{h}(?= ?(?:-|à|et) ?\d{1,2} ?(?:h|heures))", {}),
        ("(?:à )?{hour} (?:h|heures?) et demie", {"minute": 30}),
        ("(?:à )?{hour} (?:h|heures?) et quart", {"minute": 15}),
        ("(?:à )?{hour} (?:h|heures?) moins le quart", {"less": 15}),
        ("midi", {"hour": 12}),
        ("midi et demie?", {"hour": 12, "minute": 30}),
        ("minuit", {"half": "midnight"}),
        ("jusqu'|au|à", {"is_to": True}),
    ),
    fillers=("le|la|les|l'|au|à|en|de|du|des|d'|dès|par|à partir du?|prévue?|heures?|inclus"),
    dues=("pour|avant|d'ici|d'ici à|d'ici au|au plus tard|échéance|délai|date limite"),
    is_day_first=True,
    rewrites=((r"\bentre (.+) et\b", r"\1 -"), (r"\bdu (.+) au\b", r"\1 -"), (r"\bde (.+) a\b", r"\1 -")),
)


# --- Spanish ---

_ES_TO: Final = r"(?: ?(?:-|al|a|y) ?(?:el )?\d{1,2})?"
_ES_NEXT: Final = "(?:próxim[oa]|que viene|que entra|siguiente)"
_ES_LAST: Final = "(?:pasad[oa]|últim[oa])"
_ES_THIS: Final = "est[ea]"
_ES_UNITS: Final = {"week": "semana", "month": "mes", "quarter": "trimestre", "year": "año"}
_ES_WORDS: Final = "dos tres cuatro cinco seis siete ocho nueve diez once doce"

# "El próximo viernes" and "el viernes que viene" count days: the coming Friday. "Mañana" alone is tomorrow,
# "la mañana" is the morning; "fin de semana" is the weekend.
SPANISH: Final = Language(
    months=(
        "enero ene, febrero feb, marzo mar, abril abr, mayo, junio jun, julio jul, agosto ago, "
        "septiembre setiembre sept sep, octubre oct, noviembre nov, diciembre dic"
    ),
    weekdays="lunes lun, martes mar, miércoles mié, jueves jue, viernes vie, sábado sáb, domingo dom",
    numbers={word: value for value, word in enumerate(_ES_WORDS.split(), start=2)}
    | {"un": 1, "una": 1, "uno": 1, "catorce": 14, "veinte": 20, "treinta": 30},
    ordinals={"primer": 1, "primero": 1, "segundo": 2, "tercer": 3, "cuarto": 4, "último": -1},
    units=(
        "minuto minutos min, hora horas, día días, semana semanas, mes meses, trimestre trimestres, año años"
    ),
    halves={
        "morning": "mañana madrugada",
        "noon": "mediodía",
        "afternoon": "tarde",
        "evening": "noche",
    },
    sayings=(
        (rf"{{d}}[oº]?{_ES_TO} (?:de )?{{month}}(?: (?:de |del )?{{y}})?", {}),
        ("{dth} de {month}(?: (?:de |del )?{y})?", {}),
        ("{month}(?: (?:de |del )?{y})?", {}),
        ("(?:el|al|del|día)(?: día)? {d}", {}),
        ("{weekday} {d}", {}),
        ("{y}", {}),
        ("{weekday}", {}),
        ("{nth} {weekday}(?= (?:de|del) )", {}),
        ("este {weekday}", {"pick": "this"}),
        ("próximo {weekday}", {"pick": "coming"}),
        (f"{{weekday}} {_ES_NEXT}", {"pick": "coming"}),
        (f"{{weekday}} {_ES_LAST}", {"pick": "last"}),
        (f"{_ES_LAST} {{weekday}}", {"pick": "last"}),
        ("(?:este )?fin de semana|finde", {"weekday": 5, "pick": "weekend"}),
        (f"próximo fin de semana|fin de semana {_ES_NEXT}", {"weekday": 5, "span": ("week", 1)}),
        ("hoy", {"days": 0}),
        ("mañana", {"days": 1}),
        ("pasado mañana", {"days": 2}),
        ("ayer", {"days": -1}),
        ("anteayer|antes de ayer", {"days": -2}),
        ("esta {half}", {"days": 0}),
        ("(?:al |a )?mediodía", {"hour": 12}),
        ("(?:por la|de la|en la|a la|del) {half}", {}),
        ("(?:en|dentro de) {n} {unit}", {"sign": 1}),
        ("hace {n} {unit}", {"sign": -1}),
        ("(?:en|dentro de) media hora", {"shift": (30, "minute")}),
        *((f"próxim[oa] {name}|{name} {_ES_NEXT}", {"span": (unit, 1)}) for unit, name in _ES_UNITS.items()),
        *((f"{_ES_LAST} {name}|{name} {_ES_LAST}", {"span": (unit, -1)}) for unit, name in _ES_UNITS.items()),
        *((f"(?:{_ES_THIS}|de|del|de la) {name}", {"span": (unit, 0)}) for unit, name in _ES_UNITS.items()),
        ("fin|final|finales|fines", {"edge": "end"}),
        ("principios?|comienzos?|inicios?", {"edge": "start"}),
        ("mediados", {"edge": "middle"}),
        ("(?:final|fin) del día|eod", {"half": "close"}),
        ("[qt](?P<q>[1-4])(?: (?:de )?{y})?", {}),
        (r"semana (?P<w>5[0-3]|[1-4]\d|0?[1-9])(?: (?:de )?{y})?", {}),
        ("a las? {hour}(?::{min})?", {}),
        ("(?:a las? )?{h}:{min} ?(?:h|horas)", {"is_sure": True}),
        ("(?:a las? )?{h} ?(?:h|horas)", {}),
        ("(?:a |las |a las? )?{hour}(?::{min})? de la {half}", {}),
        (r"(?:a las? |las )?{h}(?= ?(?:-|a) ?(?:las )?\d{1,2} ?(?:h|horas|de la))", {}),
        ("a las? {hour} y media", {"minute": 30}),
        ("a las? {hour} y cuarto", {"minute": 15}),
        ("a las? {hour} menos cuarto", {"less": 15}),
        ("a las (?:12|doce) del mediodía", {"hour": 12}),
        ("(?:a )?(?:la )?medianoche", {"half": "midnight"}),
        ("am", {"half": "am"}),
        ("pm", {"half": "pm"}),
        ("{h}(?::{min})? ?(?:pm|p m)", {"half": "pm"}),
        ("{h}(?::{min})? ?(?:am|a m)", {"half": "am"}),
        ("hasta|al|a", {"is_to": True}),
    ),
    fillers=("el|la|los|las|al|a|en|de|del|hasta|por|día|a partir|desde|inclusive"),
    dues=("para|antes|a más tardar|como muy tarde|fecha límite|plazo|vence"),
    is_day_first=True,
    rewrites=(
        (r"\bentre (.+) y\b", r"\1 -"),
        (r"\bdel (.+) al\b", r"\1 -"),
        (r"\bde (.+) a\b(?! (?:las?|mas)\b)", r"\1 -"),
    ),
)


# --- Russian ---

_RU_NEXT: Final = "(?:следующ|будущ)(?:ий|его|ему|ем|ая|ую|ей|ее)"
_RU_COMING: Final = "ближайш(?:ий|его|ему|ем|ая|ую|ей|ее)"
_RU_THIS: Final = "(?:этот|этого|этому|этом|эту|этой|эта|это|текущ(?:ий|его|ей|ую|ем))"
_RU_LAST: Final = "прошл(?:ый|ого|ом|ая|ую|ой|ое)"
_RU_UNITS: Final = {
    "week": "недел[яюие]",
    "month": "месяц[ае]?",
    "quarter": "квартал[ае]?",
    "year": "год[уа]?",
}
_RU_TO: Final = r"(?: ?(?:-|по|до|и) ?\d{1,2}(?:-?го)?)?"
_RU_WORDS: Final = "три четыре пять шесть семь восемь девять десять одиннадцать двенадцать"
_RU_TENTHS: Final = "первого второго третьего четвертого пятого шестого седьмого восьмого девятого десятого"

# "В следующую пятницу" counts weeks: the Friday of the next one; "в ближайшую пятницу" is the coming one.
# "Через неделю" is a week from now, "полдесятого" is half past nine.
RUSSIAN: Final = Language(
    months=(
        "январь января январе янв, февраль февраля феврале фев февр, март марта марте мар, "
        "апрель апреля апреле апр, май мая мае, июнь июня июне июн, июль июля июле июл, "
        "август августа августе авг, сентябрь сентября сентябре сен сент, "
        "октябрь октября октябре окт, ноябрь ноября ноябре ноя, декабрь декабря декабре дек"
    ),
    weekdays=(
        "понедельник понедельника понедельнику понедельником пн, вторник вторника вторнику вт, "
        "среда среду среды среде ср, четверг четверга четвергу чт, "
        "пятница пятницу пятницы пятнице пт, суббота субботу субботы субботе сб, "
        "воскресенье воскресенья воскресенью вс"
    ),
    numbers={word: value for value, word in enumerate(_RU_WORDS.split(), start=3)}
    | dict.fromkeys(("один", "одну", "одна", "час"), 1)
    | dict.fromkeys(("два", "две", "двух"), 2)
    | {"трех": 3, "двадцать": 20, "тридцать": 30},
    ordinals={word: value for value, word in enumerate(_RU_TENTHS.split(), start=1)}
    | dict.fromkeys(("первый", "первая", "первую", "первое"), 1)
    | dict.fromkeys(("второй", "вторая", "вторую", "второе"), 2)
    | dict.fromkeys(("третий", "третья", "третью", "третье"), 3)
    | dict.fromkeys(("последний", "последняя", "последнюю", "последнее"), -1),
    units=(
        "минута минуту минуты минут мин, час часа часов, день дня дней сутки суток, "
        "неделя неделю недели недель, месяц месяца месяцев, квартал квартала кварталов, год года лет"
    ),
    halves={
        "am": "ночи",
        "morning": "утра утром",
        "afternoon": "дня днем",
        "evening": "вечера вечером",
        "night": "ночью",
    },
    sayings=(
        (rf"{{d}}(?:-?го|-?е)?{_RU_TO} {{month}}(?: {{y}}(?: года?| г)?)?", {}),
        ("{dth} {month}(?: {y}(?: года?| г)?)?", {}),
        ("{month}(?: {y}(?: года?| г)?)?", {}),
        ("{d}(?:-?го|-?е)? числ[оау]", {}),
        ("{d}-?(?:го|е)", {}),
        (r"(?:до|к|на|по|с|от) (?P<a>\d{2})(?P<s>\.)(?P<b>\d{2})", {}),
        ("{y}(?: года?| г)?", {}),
        ("{weekday}", {}),
        (f"{_RU_THIS} {{weekday}}", {"pick": "this"}),
        (f"{_RU_COMING} {{weekday}}", {"pick": "coming"}),
        (f"{_RU_NEXT} {{weekday}}", {"span": ("week", 1)}),
        (f"{_RU_LAST} {{weekday}}", {"pick": "last"}),
        ("{nth} {weekday}", {}),
        ("(?:эти )?выходные|выходных", {"weekday": 5, "pick": "weekend"}),
        ("следующи[ех] выходны[ех]", {"weekday": 5, "span": ("week", 1)}),
        ("сегодня", {"days": 0}),
        ("завтра", {"days": 1}),
        ("послезавтра", {"days": 2}),
        ("вчера", {"days": -1}),
        ("позавчера", {"days": -2}),
        ("{half}", {}),
        ("(?:через|в течение) {n} {unit}", {"sign": 1}),
        ("(?:через|в течение) {unit}", {"sign": 1}),
        ("{n} {unit} (?:тому )?назад", {"sign": -1}),
        ("{unit} (?:тому )?назад", {"sign": -1}),
        ("через полчаса", {"shift": (30, "minute")}),
        ("через полгода", {"shift": (6, "month")}),
        *((f"{_RU_NEXT} {name}", {"span": (unit, 1)}) for unit, name in _RU_UNITS.items()),
        *((f"{_RU_LAST} {name}", {"span": (unit, -1)}) for unit, name in _RU_UNITS.items()),
        *((f"(?:{_RU_THIS} )?{name}", {"span": (unit, 0)}) for unit, name in _RU_UNITS.items()),
        ("кон(?:ец|це|ца|цу)", {"edge": "end"}),
        ("начал[оеау]", {"edge": "start"}),
        ("середин[аеуы]", {"edge": "middle"}),
        ("кон(?:ец|це|ца|цу) (?:рабочего )?дня", {"half": "close"}),
        ("(?P<q>[1-4])-?(?:й|м|го)? квартал[еа]?(?: {y}(?: года?| г)?)?", {}),
        ("(?:в )?{hour} час(?:а|ов)?(?: {min}(?: минут[аы]?)?)?", {}),
        ("(?:в )?{hour}(?: час(?:а|ов)?|:{min})? {half}", {}),
        ("(?:в )?час {half}", {"hour": 1}),
        ("(?:в )?{h}:{min}", {"is_sure": True}),
        (r"{h}(?::{min})?(?= ?(?:-|до) ?\d{1,2}(?::\d\d)? (?:час|утра|дня|вечера))", {}),
        (r"в {h}\.{min}", {"is_sure": True}),
        (r"с {h} до \d{1,2}$", {}),
        ("в {hour}", {}),
        *(
            (f"пол{word}", {"hour": hour, "less": 30})
            for hour, word in enumerate(_RU_TENTHS.split(), start=1)
        ),
        ("без четверти {hour}", {"less": 15}),
        ("полдень|полудню|полудня", {"hour": 12}),
        ("полноч[ьи]", {"half": "midnight"}),
        ("по|до", {"is_to": True}),
    ),
    fillers=("в|во|до|на|по|с|со|от|начиная с|дата|включительно"),
    dues=("к|ко|не позднее|не позже|срок|крайний срок"),
    is_day_first=True,
    rewrites=((r"\bмежду (.+) и\b", r"\1 -"),),
)


# --- Chinese ---

_ZH_DIGITS: Final = "一二三四五六七八九"


def _zh_numbers() -> dict[str, int]:
    """Return 1 to 99 in characters."""
    numbers = {"十": 10, "两": 2}
    for ones, digit in enumerate(("", *_ZH_DIGITS)):
        if ones:
            numbers |= {digit: ones, f"十{digit}": 10 + ones}
        for tens, ten in enumerate(_ZH_DIGITS, start=1):
            numbers[f"{ten}十{digit}"] = 10 * tens + ones
    return numbers


_ZH_DAY: Final = (
    "(?P<d>3[01]|[12][0-9]|0?[1-9]|三十一|三十|二十[一-九]?|十[一二三四五六七八九]?|[一二三四五六七八九])"
)
_ZH_MONTH: Final = "(?P<mo>1[0-2]|0?[1-9]|十[一二]?|[一二三四五六七八九])"
_ZH_TO: Final = "(?:[日号]?(?:-|至|到)[0-9一二三四五六七八九十]{1,3})?"
_ZH_PART: Final = "(?:{half}的?)?"
_ZH_UNITS: Final = {"week": "(?:周|星期|礼拜)", "month": "月", "quarter": "季度"}

# "下周五" is the Friday of the next week and "本周五" that of the current one, on any day.
# "周五" alone is the next one. The larger unit comes first, in figures too.
CHINESE: Final = Language(
    months="",  # numbered
    weekdays=",".join(
        " ".join(f"{week}{day}" for week in ("周", "星期", "礼拜") for day in days)
        for days in (*"一二三四五六", "日天")
    ),
    numbers=_zh_numbers(),
    ordinals={f"第{digit}个": value for value, digit in enumerate("一二三四五", start=1)} | {"最后一个": -1},
    units="分钟, 小时 个小时 钟头 个钟头, 天 日, 周 个星期 星期 个礼拜, 个月, 个季度, 年",
    halves={
        "am": "凌晨",
        "morning": "上午 早上 早晨 清晨",
        "noon": "中午",
        "afternoon": "下午",
        "evening": "傍晚 晚上 晚间 夜里",
    },
    sayings=(
        (f"(?:{{y}}年)?{_ZH_MONTH}月(?:份)?{_ZH_DAY}{_ZH_TO}[日号]", {}),
        (f"(?:{{y}}年)?{_ZH_MONTH}月份?", {}),
        (f"{_ZH_DAY}{_ZH_TO}[日号]", {}),
        ("{y}年", {}),
        ("{weekday}", {}),
        ("(?:本|这个?){weekday}", {"span": ("week", 0)}),
        ("下个?{weekday}", {"span": ("week", 1)}),
        ("下下个?{weekday}", {"span": ("week", 2)}),
        ("上个?{weekday}", {"span": ("week", -1)}),
        ("{nth}{weekday}", {}),
        ("(?:本|这个?)?周末", {"weekday": 5, "pick": "weekend"}),
        ("下个?周末", {"weekday": 5, "span": ("week", 1)}),
        ("今[天日]", {"days": 0}),
        ("明[天日]", {"days": 1}),
        ("后天", {"days": 2}),
        ("大后天", {"days": 3}),
        ("昨[天日]", {"days": -1}),
        ("前天", {"days": -2}),
        ("今晚", {"days": 0, "half": "evening"}),
        ("今早", {"days": 0, "half": "morning"}),
        ("明晚", {"days": 1, "half": "evening"}),
        ("明早", {"days": 1, "half": "morning"}),
        ("正午|中午", {"hour": 12}),
        ("{half}", {}),
        ("{n}{unit}(?:之后|以后|后|之内|以内|内)", {"sign": 1}),
        ("(?:过|再过){n}{unit}", {"sign": 1}),
        ("{n}{unit}(?:之前|以前|前)", {"sign": -1}),
        ("半(?:个)?小时(?:之后|以后|后)", {"shift": (30, "minute")}),
        ("半年(?:之后|以后|后)", {"shift": (6, "month")}),
        *((f"下个?{name}", {"span": (unit, 1)}) for unit, name in _ZH_UNITS.items()),
        *((f"下下个?{name}", {"span": (unit, 2)}) for unit, name in _ZH_UNITS.items()),
        *((f"(?:本|这个?){name}", {"span": (unit, 0)}) for unit, name in _ZH_UNITS.items()),
        *((f"上个?{name}", {"span": (unit, -1)}) for unit, name in _ZH_UNITS.items()),
        ("明年", {"span": ("year", 1)}),
        ("后年", {"span": ("year", 2)}),
        ("今年|本年", {"span": ("year", 0)}),
        ("去年", {"span": ("year", -1)}),
        ("底|末", {"edge": "end"}),
        ("初", {"edge": "start"}),
        ("月底|月末", {"edge": "end", "span": ("month", 0)}),
        ("月中", {"edge": "middle", "span": ("month", 0)}),
        ("年底|年末", {"edge": "end", "span": ("year", 0)}),
        ("下班", {"half": "close"}),
        ("第?(?P<q>[1-4一二三四])季度", {}),
        (f"{_ZH_PART}{{hour}}[点时](?:钟|整)?", {}),
        (f"{_ZH_PART}{{hour}}[点时]{{min}}分?", {}),
        (f"{_ZH_PART}{{hour}}[点时]半", {"minute": 30}),
        (f"{_ZH_PART}{{hour}}[点时]一刻", {"minute": 15}),
        (f"{_ZH_PART}{{hour}}[点时]三刻", {"minute": 45}),
        (f"{_ZH_PART}{{h}}:{{min}}", {}),
        ("午夜|半夜", {"half": "midnight"}),
        ("(?P<zone>北京时间)", {}),
        ("至|到", {"is_to": True}),
    ),
    fillers=("在|于|到|至|的|是|从|自|请|起|:"),
    dues=("截至|截止|截止到|截止日期|之前|以前|前|之内|以内|内|为止"),
    is_day_first=False,
    is_spaced=False,
)
