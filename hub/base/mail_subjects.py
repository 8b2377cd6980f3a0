"""Subjects of mails that forward another one, by the marks of mail programs in their languages."""

import re
from typing import Final

_MARK: Final = (
    r"(?:fwd?|wg|tr|rv|enc|doorst|pd|v[bsl]|i|ilt|továbbítás|πρθ|пересл|переслано|пер"
    r"|转发|轉寄|轉發|전달|הועבר)\s?(?:\[\d+\])?\s?[:\uff1a]"
)
_FORWARD: Final = rf"(?:\[[^\]\n]{{1,40}}\]\s?)*{_MARK}"
# Behind marks of answers and of lists, whatever their language.
_FORWARD_BEFORE: Final = (
    rf"(?>(?:\[[^\]\n]{{1,40}}\]\s?|(?!{_MARK})[^\W\d_]{{1,6}}\s?(?:\[\d{{1,9}}\])?\s?[:\uff1a]\s?)*){_MARK}"
)


def is_of_forward(subject: str) -> bool:
    """Return True if a subject begins with the mark of a forwarded mail."""
    return re.match(_FORWARD, subject.strip(), re.IGNORECASE) is not None


def has_forward(subject: str) -> bool:
    """Return True if a subject has the mark of a forwarded mail, also behind those of answers to that."""
    return re.match(_FORWARD_BEFORE, subject.strip(), re.IGNORECASE) is not None
