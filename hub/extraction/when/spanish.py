"""Spanish words about time.

"El próximo viernes" and "el viernes que viene" count days: the coming Friday. "Mañana" alone is tomorrow, "la
mañana" is the morning; "fin de semana" is the weekend.
"""

from typing import Final

from hub.extraction.when.language import Language

_TO: Final = r"(?: ?(?:-|al|a|y) ?(?:el )?\d{1,2})?"
_NEXT: Final = "(?:próxim[oa]|que viene|que entra|siguiente)"
_LAST: Final = "(?:pasad[oa]|últim[oa])"
_THIS: Final = "est[ea]"
_UNITS: Final = {"week": "semana", "month": "mes", "quarter": "trimestre", "year": "año"}
_WORDS: Final = "dos tres cuatro cinco seis siete ocho nueve diez once doce"

LANGUAGE: Final = Language(
    months=(
        "enero ene",
        "febrero feb",
        "marzo mar",
        "abril abr",
        "mayo",
        "junio jun",
        "julio jul",
        "agosto ago",
        "septiembre setiembre sept sep",
        "octubre oct",
        "noviembre nov",
        "diciembre dic",
    ),
    weekdays=(
        "lunes lun",
        "martes mar",
        "miércoles mié",
        "jueves jue",
        "viernes vie",
        "sábado sáb",
        "domingo dom",
    ),
    numbers={word: value for value, word in enumerate(_WORDS.split(), start=2)}
    | {"un": 1, "una": 1, "uno": 1, "catorce": 14, "veinte": 20, "treinta": 30},
    ordinals={"primer": 1, "primero": 1, "segundo": 2, "tercer": 3, "cuarto": 4, "último": -1},
    units={
        "minute": "minuto minutos min",
        "hour": "hora horas",
        "day": "día días",
        "week": "semana semanas",
        "month": "mes meses",
        "quarter": "trimestre trimestres",
        "year": "año años",
    },
    halves={
        "morning": "mañana madrugada",
        "noon": "mediodía",
        "afternoon": "tarde",
        "evening": "noche",
    },
    sayings=(
        (rf"{{d}}[oº]?{_TO} (?:de )?{{month}}(?: (?:de |del )?{{y}})?", {}),
        ("{dth} de {month}(?: (?:de |del )?{y})?", {}),
        ("{month}(?: (?:de |del )?{y})?", {}),
        ("(?:el|al|del|día)(?: día)? {d}", {}),
        ("{weekday} {d}", {}),
        ("{y}", {}),
        ("{weekday}", {}),
        ("{nth} {weekday}(?= (?:de|del) )", {}),
        ("este {weekday}", {"pick": "this"}),
        ("próximo {weekday}", {"pick": "coming"}),
        (f"{{weekday}} {_NEXT}", {"pick": "coming"}),
        (f"{{weekday}} {_LAST}", {"pick": "last"}),
        (f"{_LAST} {{weekday}}", {"pick": "last"}),
        ("(?:este )?fin de semana|finde", {"weekday": 5, "pick": "weekend"}),
        (f"próximo fin de semana|fin de semana {_NEXT}", {"weekday": 5, "span": ("week", 1)}),
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
        *((f"próxim[oa] {name}|{name} {_NEXT}", {"span": (unit, 1)}) for unit, name in _UNITS.items()),
        *((f"{_LAST} {name}|{name} {_LAST}", {"span": (unit, -1)}) for unit, name in _UNITS.items()),
        *((f"(?:{_THIS}|de|del|de la) {name}", {"span": (unit, 0)}) for unit, name in _UNITS.items()),
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
