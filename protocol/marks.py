"""Marks of items for their reviewers: what to look at before an approval."""

from collections.abc import Mapping
from typing import Final, Literal

Mark = Literal[
    "instruction", "hidden_characters", "approximate_quote", "cut_answer", "unsupported", "outside", "apart"
]

# A sentence for the reviewer of each; the handbook, the dashboard and the command line show it.
MARKS: Final[Mapping[str, str]] = {
    "instruction": "the quoted text contains instructions: check the file before you trust it",
    "hidden_characters": "the quoted text contains invisible characters",
    "approximate_quote": "the quote of the model differs from the text of the file",
    "cut_answer": "the answer of the model was cut off; the file may contain more",
    "unsupported": "the quote does not say this: compare the item with the file",
    "outside": "the author of the text is not known, or not verified: expect anything",
    "apart": "the agent lists items of unknown authors apart",
}
