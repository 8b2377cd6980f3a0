"""English words about time.

"Next Friday" counts weeks: it is the Friday of the next week, because the coming one would be "this Friday"
or "Friday". "03/04" is in March for some readers and in April for others.
"""

from typing import Final

from hub.extraction.when.language import Language

_ORD: Final = "(?:st|nd|rd|th)?"
_TO: Final = rf"(?: ?(?:-|to|through|until) ?(?:the )?\d{{1,2}}{_ORD})?"
_WORDS: Final = "one two three four five six seven eight nine ten eleven"
_ORDINALS: Final = "first second third fourth fifth sixth seventh eighth ninth"

LANGUAGE: Final = Language(
    months=(
        "january jan",
        "february feb",
        "march mar",
        "april apr",
        "may",
        "june jun",
        "july jul",
        "august aug",
        "september sept sep",
        "october oct",
        "november nov",
        "december dec",
    ),
    weekdays=(
        "monday mon",
        "tuesday tues tue",
        "wednesday wed",
        "thursday thurs thur thu",
        "friday fri",
        "saturday sat",
        "sunday sun",
    ),
    numbers={word: value for value, word in enumerate(_WORDS.split(), start=1)}
    | {"twelve": 12, "a": 1, "an": 1, "fourteen": 14, "fifteen": 15, "twenty": 20, "thirty": 30},
    ordinals={word: value for value, word in enumerate(_ORDINALS.split(), start=1)}
    | {"tenth": 10, "1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5, "last": -1},
    units={
        "minute": "minute minutes min mins",
        "hour": "hour hours hr hrs",
        "day": "day days",
        "week": "week weeks wk wks",
        "month": "month months",
        "quarter": "quarter quarters",
        "year": "year years",
    },
    halves={
        "am": "am",
        "pm": "pm",
        "morning": "morning",
        "afternoon": "afternoon",
        "evening": "evening",
        "night": "night",
    },
    sayings=(
        (rf"{{d}}{_ORD}{_TO}(?: day)?(?: of)? {{month}}(?: (?:of )?{{y}})?", {}),
        (rf"{{month}} (?:the )?{{d}}{_ORD}{_TO}(?: (?:of )?{{y}})?", {}),
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
