"""Visibility of HTML elements by styles and attributes.

The rules for a wide screen count. Only properties that may hide text are computed. A rule whose condition is
not known here may apply or not: if it decides whether text is seen, the text is uncertain. Pure functions.
"""

import re
from collections import ChainMap, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, NamedTuple

import tinycss2
from tinycss2.color4 import parse_color

# Of all style sheets and different inline styles of a page: two seconds of parsing. After them, text is
# uncertain.
MAX_STYLE_CHARS: Final = 512 * 1024
# Comparisons of an element with a selector in one page: half a second. After them, text is uncertain.
MAX_STEPS: Final = 400_000
_MAX_VALUE_CHARS: Final = 4_000
_MAX_SCOPES: Final = 50  # elements in each other that define custom properties

_SCREEN_PX: Final = 1_024.0
_AWAY_PX: Final = -500.0  # no element is moved that far to be seen
_FAR_PX: Final = 5_000.0
_TINY_PX: Final = 2.0
_FAINT: Final = 0.05  # opacity

_READ: Final = frozenset(
    (
        *("display", "visibility", "opacity", "color", "background", "background-color", "background-image"),
        *("font", "font-size", "position", "left", "top", "right", "bottom", "margin-left", "margin-top"),
        *(
            "text-indent",
            "width",
            "height",
            "max-width",
            "max-height",
            "overflow",
            "overflow-x",
            "overflow-y",
        ),
        *("clip", "clip-path", "transform", "scale", "filter", "mso-hide", "content-visibility"),
        "-webkit-text-fill-color",
    )
)
_CLIPPING: Final = re.compile(r"hidden|clip|scroll|auto")
_LENGTH: Final = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)([a-z%]*)")
_PX: Final = {
    "": 1.0,
    "px": 1.0,
    "pt": 4 / 3,
    "pc": 16.0,
    "in": 96.0,
    "cm": 37.8,
    "mm": 3.78,
    "rem": 16.0,
    "vw": _SCREEN_PX / 100,
    "vh": 7.68,
}
_EM: Final = {"em": 1.0, "ex": 0.5, "ch": 0.5}
_RECT: Final = re.compile(r"rect\(([^()]*)\)")
_NO_AREA: Final = re.compile(
    r"inset\(\s*(?:100|[5-9]\d)(?:\.\d*)?%|(?:circle|ellipse)\(\s*0|polygon\([\s,0px%]*\)"
)
_SCALED: Final = re.compile(r"(?:scale(?:x|y|3d)?|matrix)\(\s*(\d+(?:\.\d*)?|\.\d+)")
_MIN_SCALE: Final = 0.05
_MOVED: Final = re.compile(r"translate(?:x|y|3d)?\(([^()]*)\)")
_FAINT_FILTER: Final = re.compile(r"opacity\(\s*0(?:\.0\d*)?%?\s*\)")
_VARIABLE: Final = re.compile(r"var\(\s*(--[\w-]{1,60})\s*(?:,([^()]*))?\)")
_SIZES: Final = re.compile(
    r"(?<![\w.])(?:0(?![\w.%])|-?[\d.]{1,20}(?:px|pt|pc|em|rem|%|in|cm|mm|vw|vh)(?!\w))"
)
_WIDTH: Final = re.compile(
    r"\(\s*(min|max)-(?:device-)?width\s*:\s*(\d{1,6}(?:\.\d{0,9})?)(px|em|rem|pt)?\s*\)"
)

Rgb = tuple[float, float, float]
Declared = Mapping[str, str]
_BLACK: Final[Rgb] = (0.0, 0.0, 0.0)
_WHITE: Final[Rgb] = (1.0, 1.0, 1.0)


class Element(NamedTuple):
    """Element of a page with what selectors compare."""

    tag: str
    attributes: Mapping[str, str | None]
    classes: frozenset[str]
    parent: "Element | None"


@dataclass(frozen=True, slots=True)
class Style:
    """Computed style of an element.

    Attributes:
        background: colour behind its text; *has_picture*: a picture may be over it.
        is_away: text begins outside of the screen.
        is_open: its content is seen, as far as its own texts are.
        is_certain: False if rules that may apply decide it.
    """

    color: Rgb = _BLACK
    alpha: float = 1.0
    background: Rgb = _WHITE
    has_picture: bool = False
    font_px: float = 16.0
    is_visible: bool = True
    is_away: bool = False
    opacity: float = 1.0
    is_open: bool = True
    is_certain: bool = True
    names: ChainMap[str, str] = field(default_factory=ChainMap)

    @property
    def shows_text(self) -> bool:
        """Return True if a person sees the texts of the element itself."""
        is_seen = self.is_visible and not self.is_away and self.font_px > _TINY_PX
        return is_seen and (self.has_picture or not self._is_camouflaged)

    @property
    def is_sure(self) -> bool:
        """Return False if the text may be invisible although ``shows_text``."""
        return self.is_certain and not (self.has_picture and self._is_camouflaged)

    @property
    def _is_camouflaged(self) -> bool:
        return _is_like_background(self.color, self.alpha, self.background)


@lru_cache(maxsize=4_096)
def _is_like_background(color: Rgb, alpha: float, background: Rgb) -> bool:
    seen = _over((*color, alpha), background)
    lighter, darker = sorted((_luminance(seen), _luminance(background)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05) < 1.2  # WCAG 2; of equal colours 1


class _Compound(NamedTuple):
    """Part of a selector for one element. *combinator*: relation to the part before."""

    combinator: str
    tag: str
    id: str
    classes: frozenset[str]
    attributes: tuple[tuple[str, str, str], ...]


class _StyleRule(NamedTuple):
    parts: tuple[_Compound, ...]
    specificity: tuple[int, int, int]
    nth: int
    declared: "_Declarations"
    is_certain: bool


class _Declarations(NamedTuple):
    normal: dict[str, str]
    important: dict[str, str]


_NOTHING: Final = _Declarations({}, {})


class Styles:
    """Style sheets of a page, and the style of its elements in order."""

    def __init__(self, sheets: Iterable[tuple[str, str]]) -> None:
        """Initialize with pairs of a sheet's media and its text."""
        self._by_key: defaultdict[str, list[_StyleRule]] = defaultdict(list)
        self._nth = 0
        self._steps = MAX_STEPS
        self._is_whole = True
        self._room = MAX_STYLE_CHARS
        self._inline = {"": _NOTHING}
        for media, text in sheets:
            if self._has_room(text):
                try:
                    parsed = tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True)
                    self._add_rules(parsed, _applies(media), 0)
                except RecursionError:
                    self._is_whole = False

    @property
    def has_rules(self) -> bool:
        """Return False if only the attributes of elements count."""
        return bool(self._by_key) or not self._is_whole

    def of(self, element: Element, parent: Style) -> Style:
        """Return the style of *element*; *parent*: the style of the element that encloses it."""
        inline = self._own(element.attributes.get("style") or "")
        rules = self._rules_of(element) if self._by_key else []
        hints = _hints(element)
        if not self._is_whole and parent.is_certain:
            parent = replace(parent, is_certain=False)
        if not (hints or rules or inline.normal or inline.important):
            return parent
        certain = [rule.declared for rule in rules if rule.is_certain]
        is_cell = element.tag in ("td", "th")
        style = _computed(_cascaded(hints, certain, inline), parent, is_cell=is_cell)
        if len(certain) < len(rules):
            all_rules = [rule.declared for rule in rules]
            other = _computed(_cascaded(hints, all_rules, inline), parent, is_cell=is_cell)
            seen = (style.is_open, style.shows_text)
            if (other.is_open, other.shows_text) != seen:
                style = replace(style if all(seen) else other, is_certain=False)
        return style

    def _has_room(self, text: str) -> bool:
        """Return True if *text* may be parsed; what follows is uncertain if not."""
        self._room -= len(text)
        self._is_whole = self._is_whole and self._room >= 0
        return self._room >= 0

    def _own(self, style: str) -> _Declarations:
        """Return the declarations of an inline style."""
        if style not in self._inline:
            self._inline[style] = _NOTHING
            if self._has_room(style):
                try:
                    self._inline[style] = _declared(style) or _NOTHING
                except RecursionError:
                    self._is_whole = False
        return self._inline[style]

    def _add_rules(self, nodes: Iterable[Any], is_certain: bool | None, depth: int) -> None:
        """Add rules; *is_certain*: False if they may apply, None if they do not."""
        if is_certain is None:
            return
        for node in nodes:
            # Conditions around rules are followed to a depth.
            if node.type == "at-rule" and node.content is not None and depth < 20:
                applies = _condition(node.lower_at_keyword, tinycss2.serialize(node.prelude))
                if applies is not None:
                    inside = tinycss2.parse_rule_list(node.content, skip_comments=True, skip_whitespace=True)
                    self._add_rules(inside, is_certain and applies, depth + 1)
            elif node.type == "qualified-rule" and (declared := _declared(node.content)):
                for parts, is_exact in _selectors(node.prelude):
                    last = parts[-1]
                    key = next((f".{name}" for name in sorted(last.classes)), "")
                    rule = _StyleRule(
                        parts, _specificity(parts), self._nth, declared, is_certain and is_exact
                    )
                    self._by_key[f"#{last.id}" if last.id else key or last.tag].append(rule)
                    self._nth += 1

    def _rules_of(self, element: Element) -> list[_StyleRule]:
        """Return the rules for an element, the strongest last."""
        keys = ["", element.tag, f"#{element.attributes.get('id') or ''}".lower()]
        keys += [f".{name}" for name in element.classes]
        found = []
        for rule in (rule for key in keys for rule in self._by_key.get(key, ())):
            if self._fits(rule.parts, len(rule.parts) - 1, element):
                found.append(rule)
            if self._steps <= 0:
                self._is_whole = False
                return []
        found.sort(key=lambda rule: (rule.specificity, rule.nth))
        return found

    def _fits(self, parts: Sequence[_Compound], at: int, element: Element) -> bool:
        """Return True if the parts of a selector up to *at* fit the element and those around it."""
        self._steps -= 1
        part = parts[at]
        if not _is_like(part, element):
            return False
        if at == 0 or part.combinator in "+~":  # the element before is not known
            return True
        around = element.parent
        while around is not None and self._steps > 0:
            if self._fits(parts, at - 1, around):
                return True
            around = around.parent if part.combinator == " " else None
        return False


def _is_like(part: _Compound, element: Element) -> bool:
    own = element.attributes
    return (
        part.tag in ("", element.tag)
        and (not part.id or part.id == (own.get("id") or "").lower())
        and part.classes <= element.classes
        and all(_has(own, *attribute) for attribute in part.attributes)
    )


_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "": lambda found, value: True,
    "=": lambda found, value: found == value,
    "~=": lambda found, value: value in found.split(),
    "|=": lambda found, value: found == value or found.startswith(f"{value}-"),
    "^=": lambda found, value: value != "" and found.startswith(value),
    "$=": lambda found, value: value != "" and found.endswith(value),
    "*=": lambda found, value: value != "" and value in found,
}


def _has(own: Mapping[str, str | None], name: str, sign: str, value: str) -> bool:
    return name in own and sign in _TESTS and _TESTS[sign]((own[name] or "").lower(), value)


def _specificity(parts: Sequence[_Compound]) -> tuple[int, int, int]:
    return (
        sum(bool(part.id) for part in parts),
        sum(len(part.classes) + len(part.attributes) for part in parts),
        sum(bool(part.tag) for part in parts),
    )


# States that no page has while it is only read, and parts of an element that have no text of the page.
_NEVER: Final = re.compile(
    r"hover|focus|active|target|checked|disabled|visited|invalid|before|after|first-l|placeholder|selection|marker"
    r"|backdrop|-webkit-|-moz-|-ms-"
)
_ALWAYS: Final = frozenset(("link", "any-link", "root", "scope", "defined"))


def _selectors(prelude: Sequence[Any]) -> Iterator[tuple[tuple[_Compound, ...], bool]]:
    """Yield the selectors of a rule that may fit, and False for those that are only understood in part."""
    for is_comma, tokens in groupby(prelude, key=lambda token: token == ","):
        if not is_comma and (found := _selector(list(tokens))) is not None and found[0]:
            yield found


def _selector(tokens: Sequence[Any]) -> tuple[tuple[_Compound, ...], bool] | None:
    parts: list[_Compound] = []
    is_exact = True
    combinator, tag, id, classes, attributes = "", "", "", set[str](), list[tuple[str, str, str]]()
    is_begun = False
    before = ""  # sign that the next word belongs to
    for token in (*tokens, None):
        kind = "end" if token is None else token.type
        value = "" if token is None else str(getattr(token, "value", ""))
        if kind in ("end", "whitespace") or (kind == "literal" and value in ("<", ">", "+", "~")):
            if is_begun:
                parts.append(_Compound(combinator, tag, id, frozenset(classes), tuple(attributes)))
                is_exact = is_exact and combinator not in ("+", "~")
                combinator, tag, id, classes, attributes, is_begun = " ", "", "", set(), [], False
            if kind == "literal":
                combinator = value
            continue
        is_begun = is_begun or kind != "comment"
        if kind == "literal" and value in (".", ":", "*"):
            before = "" if value == "*" else value
        elif kind == "ident" and before == ".":
            classes.add(value.lower())
            before = ""
        elif kind in ("ident", "function") and before == ":":
            name = (value if kind == "ident" else token.name).lower()
            if _NEVER.match(name):
                return None
            tag = "html" if name == "root" else tag
            is_exact = is_exact and name in _ALWAYS
            before = ""
        elif kind == "ident":
            tag = value.lower()
        elif kind == "hash":
            id = value.lower()
        elif kind == "[] block":
            attributes.append(_attribute(token.content))
        else:
            is_exact = is_exact and kind == "comment"
    return tuple(parts), is_exact


def _attribute(content: Sequence[Any]) -> tuple[str, str, str]:
    words = [token for token in content if token.type in ("ident", "string")]
    sign = "".join(token.value for token in content if token.type == "literal")
    name = words[0].value.lower() if words else ""
    return name, sign if len(words) > 1 else "", words[1].value.lower() if len(words) > 1 else ""


def _condition(name: str, prelude: str) -> bool | None:
    """Return True if the rules in an at-rule apply, False if they may apply, None if not."""
    if name == "media":
        return _applies(prelude)
    if name == "supports":
        return None if prelude.strip().lower().startswith("not") else True
    return {"layer": True, "scope": False, "container": False}.get(name)


def _applies(media: str) -> bool | None:
    """Return True if *media* includes a wide screen, False if it may, None if not."""
    queries = " ".join(media.lower().split()).replace(" :", ":").replace(": ", ":").split(",")
    answers = [_query(query.strip()) for query in queries]
    return True if True in answers else False if False in answers else None


def _query(query: str) -> bool | None:
    is_negated = query.startswith("not ")
    for match in _WIDTH.finditer(query):
        width = float(match[2]) * (16 if match[3] in ("em", "rem") else 1)
        if (width > _SCREEN_PX) if match[1] == "min" else (width < _SCREEN_PX):
            return True if is_negated else None
    rest = _WIDTH.sub("", query).removeprefix("only ").removeprefix("not ").replace(" and", "").strip()
    kind, _, features = rest.partition(" ")
    if kind in _OTHER_MEDIA or _DARK in (kind, features):
        return True if is_negated else None
    if kind in ("", "all", "screen", _LIGHT) and features in ("", _LIGHT):
        return None if is_negated else True
    return False


_LIGHT: Final = "(prefers-color-scheme:light)"
_DARK: Final = "(prefers-color-scheme:dark)"
_OTHER_MEDIA: Final = frozenset(("print", "speech", "tv", "handheld", "projection", "tty", "braille"))


def _declared(content: Sequence[Any]) -> _Declarations | None:
    """Return the declarations that may hide text, or None."""
    normal: dict[str, str] = {}
    important: dict[str, str] = {}
    for block in tinycss2.parse_blocks_contents(content, skip_comments=True, skip_whitespace=True):
        if block.type != "declaration":
            continue
        name = block.name if block.name.startswith("--") else block.lower_name
        if name in _READ or name.startswith("--"):
            (important if block.important else normal)[name] = tinycss2.serialize(block.value).strip()[
                :_MAX_VALUE_CHARS
            ]
    return _Declarations(normal, important) if normal or important else None


def _hints(element: Element) -> Declared:
    """Return the declarations that attributes stand for, and those of browsers."""
    own = element.attributes
    if not own and element.tag != "dialog":
        return {}
    hints: dict[str, str] = {}
    if ("hidden" in own and own["hidden"] != "until-found") or (
        element.tag == "dialog" and "open" not in own
    ):
        hints["display"] = "none"
    for name, tag, key in (
        ("bgcolor", "", "background-color"),
        ("text", "body", "color"),
        ("color", "font", "color"),
        ("background", "", "background-image"),
    ):
        if own.get(name) and tag in ("", element.tag):
            hints[key] = str(own[name])
    return hints


def _cascaded(hints: Declared, rules: Sequence[_Declarations], inline: _Declarations) -> dict[str, str]:
    found = dict(hints)
    layers = [*(rule.normal for rule in rules), inline.normal]
    layers += [*(rule.important for rule in rules), inline.important]
    for layer in layers:
        for name, value in layer.items():
            found.pop(name, None)  # shorthands and their parts count in their order
            found[name] = value
    return found


def _computed(declared: dict[str, str], parent: Style, *, is_cell: bool) -> Style:
    own = {name: value for name, value in declared.items() if name.startswith("--")}
    names = parent.names
    if len(names.maps) < _MAX_SCOPES and any(names.get(name) != value for name, value in own.items()):
        names = names.new_child(own)
    values = {
        name: _resolved(value, names).lower() for name, value in declared.items() if not name.startswith("--")
    }
    font_px = _font_px(values, parent.font_px)
    box = _HidingBox(values, font_px, is_cell=is_cell)
    color, alpha, background, picture = parent.color, parent.alpha, parent.background, parent.has_picture
    for name, value in values.items():
        if name in ("color", "-webkit-text-fill-color") and (rgba := _color(value)) is not None:
            color, alpha = rgba[:3], rgba[3]
        elif name.startswith("background"):
            if rgba := _color(value) if name != "background" else _first_color(value):
                background, picture = _over(rgba, background), picture and rgba[3] < 1
            elif "(" in value:
                picture = True  # a colour that is not known here
            is_picture = name == "background-image" and value != "none"
            picture = picture or is_picture or "url(" in value or "gradient(" in value
    if values.get("position") in ("absolute", "fixed"):
        picture = True  # of an element that is not around it
    opacity = parent.opacity * min(1.0, box.number("opacity", 1.0))
    visibility = values.get("visibility", "inherit")
    is_seen = visibility not in ("hidden", "collapse")
    return Style(
        color=color,
        alpha=alpha,
        background=background,
        has_picture=picture,
        font_px=font_px,
        is_visible=parent.is_visible if visibility == "inherit" else is_seen,
        is_away=box.is_indented_away if "text-indent" in values else parent.is_away,
        opacity=opacity,
        is_open=opacity > _FAINT and not box.is_closed,
        is_certain=parent.is_certain,
        names=names,
    )


class _HidingBox:
    """Values of an element that hide all of its content."""

    def __init__(self, values: Declared, font_px: float, *, is_cell: bool) -> None:
        self._values = values
        self._font_px = font_px
        self._is_cell = is_cell
        overflow = " ".join(values.get(name, "") for name in ("overflow", "overflow-x", "overflow-y"))
        self._clips = _CLIPPING.search(overflow) is not None

    def px(self, name: str) -> float | None:
        """Return a length; of a percentage, that of a screen."""
        return _length(self._values.get(name, ""), self._font_px)

    def number(self, name: str, default: float) -> float:
        """Return a number or a percentage."""
        found = _LENGTH.fullmatch(self._values.get(name, ""))
        return default if found is None else float(found[1]) / (100 if found[2] == "%" else 1)

    @property
    def is_closed(self) -> bool:
        """Return True if nothing inside of the element is seen."""
        values = self._values
        return (
            values.get("display") == "none"
            or values.get("content-visibility") == "hidden"
            or values.get("mso-hide") == "all"
            or (values.get("position") in ("absolute", "fixed") and self._is_outside)
            or self._is_flat
            or self._is_pulled_out
            or self._is_cut
            or self._is_transformed_away
            or _FAINT_FILTER.search(values.get("filter", "")) is not None
        )

    @property
    def is_indented_away(self) -> bool:
        """Return True if a line begins outside of the screen, or of a box that clips it."""
        indent = self.px("text-indent") or 0.0
        return indent <= _AWAY_PX or indent >= _FAR_PX or (self._clips and indent >= _SCREEN_PX)

    @property
    def _is_outside(self) -> bool:
        places = [self.px(name) or 0.0 for name in ("left", "top", "right", "bottom")]
        return min(places) <= _AWAY_PX or max(places) >= _FAR_PX

    @property
    def _is_pulled_out(self) -> bool:
        margins = (self._values.get(name, "") for name in ("margin-left", "margin-top"))
        # In columns that float, the margin of one is minus its own width.
        return any((_length(at, self._font_px) or 0) <= _AWAY_PX for at in margins if not at.endswith("%"))

    @property
    def _is_flat(self) -> bool:
        if not self._clips:
            return False
        # The maximum width of a cell only means that it takes the width that is left.
        limits = ("max-height",) if self._is_cell else ("max-height", "max-width")
        sizes = ((self.px(name), 1.0) for name in ("width", "height"))
        return any(
            size is not None and size <= most
            for size, most in (*sizes, *((self.px(name), 0.0) for name in limits))
        )

    @property
    def _is_cut(self) -> bool:
        found = _RECT.search(self._values.get("clip", ""))
        sides = re.split(r"[\s,]+", found[1].strip()) if found else []
        match [_length(side, self._font_px) for side in sides]:
            case [float(top), float(right), float(bottom), float(left)] if top >= bottom or left >= right:
                return True
        return _NO_AREA.search(self._values.get("clip-path", "")) is not None

    @property
    def _is_transformed_away(self) -> bool:
        transform = self._values.get("transform", "")
        scales = (float(match[1]) for match in _SCALED.finditer(transform))
        if any(scale < _MIN_SCALE for scale in (*scales, self.number("scale", 1.0))):
            return True
        shifts = (shift.strip() for match in _MOVED.finditer(transform) for shift in match[1].split(","))
        return any(
            abs(_length(shift, self._font_px) or 0) >= -_AWAY_PX * (2 if shift.endswith("%") else 1)
            for shift in shifts
        )


def _length(value: str, font_px: float) -> float | None:
    """Return a length in pixels; of a calculation, its longest term."""
    if "(" in value:
        terms = [_length(term, font_px) or 0.0 for term in _SIZES.findall(value)]
        return max(terms, key=abs, default=None)
    found = _LENGTH.fullmatch(value.strip())
    if found is None:
        return None
    unit = found[2]
    scale = _SCREEN_PX / 100 if unit == "%" else _EM[unit] * font_px if unit in _EM else _PX.get(unit)
    return None if scale is None else float(found[1]) * scale


_FONT_WORDS: Final = {"xx-small": 9.0, "smaller": 12.0, "initial": 16.0, "medium": 16.0}


def _font_px(values: Declared, inherited: float) -> float:
    for name, value in reversed(list(values.items())):
        if name == "font" and (size := _SIZES.search(value)):
            value = size[0]
        elif name != "font-size":
            continue
        if value in _FONT_WORDS:
            return _FONT_WORDS[value]
        found = _LENGTH.fullmatch(value)
        if found is not None and found[2] == "%":
            return float(found[1]) / 100 * inherited
        if (size_px := _length(value, inherited)) is not None:
            return size_px
    return inherited


def _resolved(value: str, names: Mapping[str, str]) -> str:
    """Return a value with the custom properties in it replaced, once and of limited length."""
    if "var(" not in value:
        return value
    resolved = _VARIABLE.sub(lambda match: names.get(match[1], match[2] or "").strip(), value)
    return resolved[:_MAX_VALUE_CHARS]


@lru_cache(maxsize=4_096)
def _color(value: str) -> tuple[float, float, float, float] | None:
    """Return a colour with its opacity, or None; of colours that are mixed, the first."""
    try:
        found = parse_color(value if value.startswith("#") or not _HEX.fullmatch(value) else f"#{value}")
        if found is None and "(" in value:
            mixed = (part.split() for part in value.partition("(")[2].rpartition(")")[0].split(","))
            return next(filter(None, (_color(words[0]) for words in mixed if words)), None)
        if found is None or isinstance(found, str):
            return None
        first, second, third = (coordinate or 0.0 for coordinate in found.coordinates)
        if found.space in ("lab", "lch", "oklab", "oklch"):  # only lightness hides text
            light = first if found.space.startswith("ok") else (first + 16) / 116
            first = second = third = _within(light) ** (3 / 2.2)
        elif found.space in ("hsl", "hwb"):
            first, second, third = found.to("srgb").coordinates
        return _within(first), _within(second), _within(third), _within(found.alpha or 0.0)
    except (NotImplementedError, ValueError, AttributeError, RecursionError):
        return None


def _within(value: float) -> float:
    return min(max(value, 0.0), 1.0)


_HEX: Final = re.compile(r"[0-9a-f]{6}")


@lru_cache(maxsize=4_096)
def _first_color(value: str) -> tuple[float, float, float, float] | None:
    """Return the colour in the shorthand of a background, or None."""
    if "url(" not in value and "gradient(" not in value and (whole := _color(value)) is not None:
        return whole
    pieces = (tinycss2.serialize([token]) for token in tinycss2.parse_component_value_list(value[:1_000]))
    return next(filter(None, map(_color, pieces)), None)


def _over(color: Sequence[float], background: Rgb) -> Rgb:
    alpha = color[3]
    red, green, blue = (alpha * a + (1 - alpha) * b for a, b in zip(color, background, strict=False))
    return red, green, blue


def _luminance(color: Rgb) -> float:
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((max(channel, 0.0) + 0.055) / 1.055) ** 2.4
        for channel in color
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
