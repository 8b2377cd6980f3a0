# ruff: noqa: RUF001 - letters of other alphabets
"""Numbers that are no days and no times: versions, addresses, prices, telephones, ids. Pure functions."""

import re
from typing import Final

_COUNTED: Final = """
version v vers fassung release rev build stand section abschnitt kapitel chapter no nr ref réf dossier isbn
iban ip port tel fax código numéro número версия номер заказ версии 版本 版 订单号 单号 编号 电话 号码 地址
"""
_UNITS: Final = """
€ $ £ ¥ eur usd gbp chf euro euros rub руб kg g mg km cm mm m l ml bar nm kwh mb gb tb °c % pounds dollars 元
"""
_LABEL: Final = rf"(?:\b(?:{'|'.join(_COUNTED.split())})|\xa7|n[\xb0\xba]|\u2116)[\s.:#]{{0,3}}"
_UNIT: Final = rf"(?:{'|'.join(map(re.escape, _UNITS.split()))})(?![^\W\d_])"
_FULL_DATE: Final = r"\d{1,2}[./-]\d{1,2}[./-]\d{4}(?!\d)|\d{4}[-./]\d"
# Each begins at a figure, or at a sign or letters before it, and ends at the end of a run of figures.
_OTHER: Final = re.compile(
    r"(?:https?|ftp)://\S{1,2000}+|(?<![\w.])(?:"
    r"\d{1,9}(?:\.\d{1,9}){3,9}"  # 10.12.20.26
    r"|\d{1,4}\.\d{1,4}\.(?:\d|\d{3})(?![\d.])|\d{4}\.\d{3,4}\.\d{1,4}"  # 4.2.1
    r"|\d{1,4}(?:\.\d{1,4}){1,3},\d{1,2}(?![\d:.])"  # 30.11.26,4
    rf"|{_LABEL}(?!{_FULL_DATE})\d{{1,9}}(?:[./-]\d{{1,9}}){{1,9}}"
    r"|[a-z]{1,6}-\d[\w./-]{3,40}|[a-z\d]{1,6}-\d{4}-\d[\w-]{1,40}"  # BX-2026-11-30
    r"|\d[\d./-]{1,20}[/-][a-z]{1,3}\b(?![\d:])|\d{3,12}[/-]\d{3,12}(?:[/-]\w{1,12})*"  # 2026/118-C
    r"|\d{1,4}[./]\d{1,2}[./]\d{1,4}-\d{1,4}(?![\d./])|\d{7,20}"  # 04.12.20-77
    r"|\+\d[\d ()/.-]{6,20}\d|\(?0\d{1,5}\)?[ /-]{1,3}\d[\d /-]{4,20}\d"  # of a telephone
    r"|\d{1,5}(?:[ -]\d{2,5}){2,6}(?![\d:.-])"
    r"|\d{1,9}(?:[.,'\u00a0\u202f]\d{3}){1,4}(?:[.,]\d{1,3})?(?![\d.])|\d{1,9},\d{1,3}(?![\d:])"  # 1.204,26
    rf"|\d{{1,9}}(?:[.,]\d{{1,4}})?\s?{_UNIT}|[€$£¥]\s?\d[\d.,]{{0,12}}"
    r")",
    re.IGNORECASE,
)
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[t ]\d\d:\d\d|\b)(?!-\d)", re.IGNORECASE)
_FIGURES: Final = re.compile(r"\d")


def without_other_numbers(text: str) -> str:
    """Return *text* with signs in place of the figures of numbers that are no days and no times."""
    return _OTHER.sub(_covered, text) if _FIGURES.search(text) else text


def _covered(match: re.Match[str]) -> str:
    found = match.group()
    return found if _ISO.match(found) else _FIGURES.sub("#", found)
