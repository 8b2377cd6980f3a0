"""German words about time.

"Nächsten Freitag" counts days (according to the Duden): it is the coming Friday. "In acht Tagen" is a week
from now. "Halb vier" is half past three.
"""

from typing import Final

from hub.extraction.when.language import Language

_NEXT: Final = "(?:nächste[nrms]?|naechste[nrms]?|kommende[nrms]?)"
_SECOND: Final = "(?:übernächste[nrms]?|uebernaechste[nrms]?)"
_LAST: Final = "(?:letzte[nrms]?|vergangene[nrms]?|vorige[nrms]?)"
_THIS: Final = "diese[nrms]?"
_WEEK: Final = "(?:woche)"
_MONTH: Final = "(?:monats?)"
_YEAR: Final = "(?:jahre?s?)"
_QUARTER: Final = "(?:quartals?)"
_SPANS: Final = {"week": _WEEK, "month": _MONTH, "quarter": _QUARTER, "year": _YEAR}
_TO: Final = r"(?: ?(?:-|bis|bis zum|und) ?\d{1,2}\.?)?"
# "Mo" and "So" are also other words: only next to a date.
_SHORT: Final = "(?:%s)(?=\\.?,? ?(?:den |dem )?\\d)"
_SHORT_DAYS: Final = "mo di mi do fr sa so"
_ENDINGS: Final = {"erste": 1, "zweite": 2, "dritte": 3, "vierte": 4, "fünfte": 5, "letzte": -1}
_WORDS: Final = "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf"

LANGUAGE: Final = Language(
    months=(
        "januar jänner jan",
        "februar feber feb",
        "märz maerz mrz",
        "april apr",
        "mai",
        "juni jun",
        "juli jul",
        "august aug",
        "september sept sep",
        "oktober okt",
        "november nov",
        "dezember dez",
    ),
    weekdays=(
        "montag",
        "dienstag",
        "mittwoch",
        "donnerstag",
        "freitag",
        "samstag sonnabend",
        "sonntag",
    ),
    numbers={word: value for value, word in enumerate(_WORDS.split(), start=2)}
    | dict.fromkeys(("ein", "eins", "eine", "einem", "einen", "einer"), 1)
    | {"vierzehn": 14, "fünfzehn": 15, "zwanzig": 20, "dreißig": 30},
    ordinals={
        stem + ending: value for stem, value in _ENDINGS.items() for ending in ("", "r", "n", "m", "s")
    },
    units={
        "minute": "minute minuten min",
        "hour": "stunde stunden std",
        "day": "tag tage tagen",
        "week": "woche wochen",
        "month": "monat monate monaten",
        "quarter": "quartal quartale quartalen",
        "year": "jahr jahre jahren",
    },
    halves={
        "morning": "morgens früh vormittag vormittags",
        "noon": "mittags mittag",
        "afternoon": "nachmittag nachmittags",
        "evening": "abend abends",
        "night": "nacht nachts",
    },
    sayings=(
        (rf"{{d}}\.?{_TO} ?{{month}}(?: {{y}})?", {}),
        ("{dth} {month}(?: {y})?", {}),
        ("{month}(?: {y})?", {}),
        (r"(?:am|den|dem|der|vom|ab dem) {d}\.", {}),
        (r"zum {d}\.", {"is_due": True}),
        (r"{d}\.(?= (?:des|dieses|nächsten|kommenden|letzten|vorigen) monats?\b)", {}),
        (r"{weekday},? (?:den |dem )?{d}\.", {}),
        ("{y}", {}),
        ("{weekday}s?", {}),
        *((_SHORT % word, {"weekday": day}) for day, word in enumerate(_SHORT_DAYS.split())),
        ("{weekday} ?{half}", {}),
        ("{weekday} ?morgen", {"half": "morning"}),
        ("{nth} {weekday}(?= (?:im|in|des) )", {}),
        (rf"{_THIS} {{weekday}}", {"pick": "this"}),
        (rf"{_NEXT} {{weekday}}", {"pick": "coming"}),
        (rf"{_SECOND} {{weekday}}", {"pick": "second"}),
        (rf"{_LAST} {{weekday}}", {"pick": "last"}),
        (rf"(?:{_THIS} )?wochenende", {"weekday": 5, "pick": "weekend"}),
        (rf"{_NEXT} wochenende", {"weekday": 5, "span": ("week", 1)}),
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
        *((rf"{_NEXT} {span}", {"span": (unit, 1)}) for unit, span in _SPANS.items()),
        *((rf"{_SECOND} {span}", {"span": (unit, 2)}) for unit, span in _SPANS.items()),
        *((rf"{_LAST} {span}", {"span": (unit, -1)}) for unit, span in _SPANS.items()),
        *((rf"(?:{_THIS}|der|des) {span}", {"span": (unit, 0)}) for unit, span in _SPANS.items()),
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
