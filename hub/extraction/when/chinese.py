"""Chinese words about time.

"下周五" is the Friday of the next week and "本周五" that of the current one, on any day.
"周五" alone is the next one. The larger unit comes first, in figures too.
"""

from typing import Final

from hub.extraction.when.language import Language

_DIGITS: Final = "一二三四五六七八九"


def _numbers() -> dict[str, int]:
    """Return 1 to 99 in characters."""
    numbers = {"十": 10, "两": 2}
    for ones, digit in enumerate(("", *_DIGITS)):
        if ones:
            numbers |= {digit: ones, f"十{digit}": 10 + ones}
        for tens, ten in enumerate(_DIGITS, start=1):
            numbers[f"{ten}十{digit}"] = 10 * tens + ones
    return numbers


_DAY: Final = (
    "(?P<d>3[01]|[12][0-9]|0?[1-9]|三十一|三十|二十[一-九]?|十[一二三四五六七八九]?|[一二三四五六七八九])"
)
_MONTH: Final = "(?P<mo>1[0-2]|0?[1-9]|十[一二]?|[一二三四五六七八九])"
_TO: Final = "(?:[日号]?(?:-|至|到)[0-9一二三四五六七八九十]{1,3})?"
_PART: Final = "(?:{half}的?)?"
_UNITS: Final = {"week": "(?:周|星期|礼拜)", "month": "月", "quarter": "季度"}

LANGUAGE: Final = Language(
    months=(),  # months are numbered
    weekdays=tuple(
        " ".join(f"{week}{day}" for week in ("周", "星期", "礼拜") for day in days)
        for days in (*"一二三四五六", "日天")
    ),
    numbers=_numbers(),
    ordinals={f"第{digit}个": value for value, digit in enumerate("一二三四五", start=1)} | {"最后一个": -1},
    units={
        "minute": "分钟",
        "hour": "小时 个小时 钟头 个钟头",
        "day": "天 日",
        "week": "周 个星期 星期 个礼拜",
        "month": "个月",
        "quarter": "个季度",
        "year": "年",
    },
    halves={
        "am": "凌晨",
        "morning": "上午 早上 早晨 清晨",
        "noon": "中午",
        "afternoon": "下午",
        "evening": "傍晚 晚上 晚间 夜里",
    },
    sayings=(
        (f"(?:{{y}}年)?{_MONTH}月(?:份)?{_DAY}{_TO}[日号]", {}),
        (f"(?:{{y}}年)?{_MONTH}月份?", {}),
        (f"{_DAY}{_TO}[日号]", {}),
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
        *((f"下个?{name}", {"span": (unit, 1)}) for unit, name in _UNITS.items()),
        *((f"下下个?{name}", {"span": (unit, 2)}) for unit, name in _UNITS.items()),
        *((f"(?:本|这个?){name}", {"span": (unit, 0)}) for unit, name in _UNITS.items()),
        *((f"上个?{name}", {"span": (unit, -1)}) for unit, name in _UNITS.items()),
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
        (f"{_PART}{{hour}}[点时](?:钟|整)?", {}),
        (f"{_PART}{{hour}}[点时]{{min}}分?", {}),
        (f"{_PART}{{hour}}[点时]半", {"minute": 30}),
        (f"{_PART}{{hour}}[点时]一刻", {"minute": 15}),
        (f"{_PART}{{hour}}[点时]三刻", {"minute": 45}),
        (f"{_PART}{{h}}:{{min}}", {}),
        ("午夜|半夜", {"half": "midnight"}),
        ("(?P<zone>北京时间)", {}),
        ("至|到", {"is_to": True}),
    ),
    fillers=("在|于|到|至|的|是|从|自|请|起|:"),
    dues=("截至|截止|截止到|截止日期|之前|以前|前|之内|以内|内|为止"),
    is_day_first=False,
    is_spaced=False,
)
