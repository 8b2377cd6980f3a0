"""Examples in prompts: sentences with the expected records.

Large models get one text. Small models imitate the examples, including the order of positives and negatives,
so each table has a longer sequence of examples for them. It was selected by measurements
(``tests/bench/score_model.py``); swapping two lines can halve the score.
"""

from typing import Final

import msgspec

from protocol.tables import TableName


class Example(msgspec.Struct, frozen=True):
    """Sentence with the fields of its record, or None if it contains no record."""

    text: str
    said: dict[str, str | list[str]] | None = None


NOTHING: Final = Example("Thank you all for the lovely lunch.")

# The fields in the first example of each table are the only ones requested from a small model.
ONE: Final[dict[TableName, Example]] = {
    TableName.TASKS: Example(
        "Dave should call the printer by 3 March 2025.",
        {"title": "call the printer", "assignee": ["Dave"], "dueDate": "2025-03-03"},
    ),
    TableName.TIMELINES: Example(
        "The fair opens on 5 May 2025 at 9:30.", {"title": "The fair opens", "date": "2025-05-05T09:30"}
    ),
    TableName.PROJECTS: Example("We call the new shop Lighthouse.", {"name": "Lighthouse"}),
    TableName.TASK_COMMENTS: Example(
        "Mia on the poster: the blue is too dark.", {"author": "Mia", "content": "the blue is too dark"}
    ),
    TableName.NOTES: Example(
        "The spare key lies under the blue pot.",
        {"title": "spare key", "content": "The spare key lies under the blue pot."},
    ),
}

_LAKE: Final = Example("The lake was cold and clear.")
_LOGO: Final = Example("Our team has a new logo.")
_DAYS: Final = Example("We talked about the old days.")
_MUSEUM: Final = Example("The museum was open on Sunday.")
_PEOPLE: Final = Example("There were 12 people in the room.")

ROWS: Final[dict[TableName, tuple[Example, ...]]] = {
    TableName.TASKS: (
        _LAKE,
        Example(
            "Could Leo please sign the form by 9 May 2025?",
            {"title": "sign the form", "assignee": ["Leo"], "dueDate": "2025-05-09"},
        ),
        ONE[TableName.TASKS],
        _LOGO,
        _DAYS,
        _MUSEUM,
        NOTHING,
        Example("Zoe will mend the gate.", {"title": "mend the gate", "assignee": ["Zoe"]}),
        Example(
            "Mia must water the roses by 2025-06-12.",
            {"title": "water the roses", "assignee": ["Mia"], "dueDate": "2025-06-12"},
        ),
        Example("Please order paper before Monday.", {"title": "order paper"}),
        Example(
            "By 2025-08-20, Ken has to pack the boxes.",
            {"title": "pack the boxes", "assignee": ["Ken"], "dueDate": "2025-08-20"},
        ),
        _PEOPLE,
    ),
    TableName.TIMELINES: (
        _LAKE,
        ONE[TableName.TIMELINES],
        Example("The bridge closes on 2025-07-01.", {"title": "The bridge closes", "date": "2025-07-01"}),
        _LOGO,
        _DAYS,
        Example("Mia must water the roses."),
        NOTHING,
        Example("On 2025-09-14 we launch the boat.", {"title": "launch the boat", "date": "2025-09-14"}),
        Example("The exam is on 20 June 2025.", {"title": "The exam", "date": "2025-06-20"}),
        _PEOPLE,
    ),
    TableName.PROJECTS: (
        _LAKE,
        ONE[TableName.PROJECTS],
        Example("Work on the project Blue Heron has begun.", {"name": "Blue Heron"}),
        _LOGO,
        _DAYS,
        Example("Mia must water the roses."),
        NOTHING,
        Example("Project Orchard is ahead of its plan.", {"name": "Orchard"}),
        _PEOPLE,
    ),
    TableName.TASK_COMMENTS: (
        _LAKE,
        ONE[TableName.TASK_COMMENTS],
        Example(
            "Ken says of the invoice: the sum is wrong.", {"author": "Ken", "content": "the sum is wrong"}
        ),
        _LOGO,
        _DAYS,
        _MUSEUM,
        NOTHING,
        Example(
            "Leo about the form: page two is missing.", {"author": "Leo", "content": "page two is missing"}
        ),
        _PEOPLE,
    ),
    TableName.NOTES: (
        _LAKE,
        ONE[TableName.NOTES],
        Example(
            "The code of the side door is 4711.",
            {"title": "code of the side door", "content": "The code of the side door is 4711."},
        ),
        _DAYS,
        NOTHING,
        Example(
            "The plumber comes on Tuesdays only.",
            {"title": "plumber", "content": "The plumber comes on Tuesdays only."},
        ),
        Example("Everybody was in good spirits."),
    ),
}
