"""Mails as the rules read them: what the author wrote, and calendars that are attached."""

from hub.document import Document
from hub.extraction.extractor import Extractor
from hub.extraction.items import Extraction, ExtractionOptions
from hub.extraction.model import Models
from hub.text.convert import convert
from protocol.tables import TABLES
from tests.support.families import each

ALL = ExtractionOptions(data_types=tuple(TABLES), timezone="UTC")
HEAD = "From: Ines Moor <ines@x.example>\nTo: Paul <paul@x.example>\nDate: Mon, 1 Mar 2027 09:00:00 +0800\n"
CALENDAR = (
    "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Tasting\nDTSTART:20270310T100000Z\nEND:VEVENT\nEND:VCALENDAR\n"
)


async def extracted(data: str, name: str = "a.eml") -> Extraction:
    made = convert(data.encode(), path=name)
    document = Document(
        unit_key=name,
        text=made.text,
        content_hash="0" * 64,
        media_type=made.media_type,
        modified_at=made.date,
    )
    extraction = await Extractor(Models(), secret=bytes(32)).extract(document, ALL)
    assert all(item.quote in made.text for item in extraction.items)
    return extraction


async def found(fields: str, body: str, name: str = "a.eml") -> list[list[str]]:
    items = (await extracted(f"{fields}{HEAD}\n{body}", name)).items
    return [[item.table, str(item.data[TABLES[item.table].title])] for item in items]


def parts(*some: str) -> str:
    return "".join(f"--x\n{part}\n" for part in some) + "--x--\n"


ORDER = "Please order the lamp oil by Friday.\n"
TASK = [["tasks", "order the lamp oil"]]


@each(
    ("fields", "body", "items"),
    [
        ("Subject: Lamp\n", ORDER, TASK),
        ("Subject: Please call Ann\n", ORDER, TASK),
        ("List-Unsubscribe: <https://x.example>\n", ORDER, []),
        ("List-Id: <a.x.example>\n", ORDER, []),
        ("Auto-Submitted: auto-replied\n", ORDER, []),
        ("Precedence: bulk\n", ORDER, []),
        ("Auto-Submitted: no\n", ORDER, TASK),
        *(
            ("Subject: Lamp\n", f"{ORDER}\n{closing}\nInes\nPlease call us on 555.\n", TASK)
            for closing in (
                *("-- ", "Best wishes,", "Viele Grüße", "Cordialement,", "Un saludo,", "谢谢！"),  # noqa: RUF001
                "С уважением,",  # noqa: RUF001
            )
        ),
        ("Subject: Lamp\n", "Regards, Ines\n\nPS: Please call Otto by Friday.\n", [["tasks", "call Otto"]]),
        (
            "Subject: Lamp\n",
            f"{ORDER}\nThis message is confidential. Please delete it if you are not Paul.\n",
            TASK,
        ),
        # Wrapped by a program, and with blanks at the ends of lines.
        (
            "Subject: Lamp\n",
            "The lamp in the boat house has been dark for some weeks now; please ask\n"
            "the\nharbour master about it.\nThanks,\nInes\n",
            [["tasks", "ask the harbour master about it"]],
        ),
        ("Subject: Lamp\n", "Please ask the \nharbour master.\n", [["tasks", "ask the harbour master"]]),
        # Quoted mail.
        (
            "Subject: Re: Lamp\n",
            f"I bought it in the town yesterday, thank you all.\n\n> {ORDER}> The fair is on 5 June 2027.\n",
            [["timelines", "Fair"]],
        ),
        (
            "Subject: Re: Lamp\n",
            "That is too late for me and for Otto, then.\nDoes 2 June 2027 at 16:30 suit you?\n\n"
            "> The fair is on 5 June 2027.\n",
            [],
        ),
        *(  # "Do 14:00" is a Thursday in a German answer; in a Polish one "do 14:00" is until that hour
            ("Subject: Re: Lamp\n", f"{answer}\n\n> The fair is on 5 June 2027.\n", items)
            for answer, items in (
                (
                    "Dobrze, ale nie wiem jeszcze czy to jest dla nas. Dam znać do 14:00.",
                    [["timelines", "Fair"]],
                ),
                ("Das ist für mich und für Otto leider nicht möglich. Geht Do 14:00 Uhr?", []),
                ("Geht auch Do 4.3. um 14:00 Uhr, und zwar bei Otto im Bootshaus unten?", []),
            )
        ),
        (
            "Subject: Fwd: Lamp\n",
            f"See what Otto has to say about the lamp in the boat house.\n\n"
            f"---------- Forwarded message ---------\nFrom: Otto <otto@x.example>\nDate: Sun, 28 Feb 2027\n"
            f"Subject: Please answer by Friday\nTo: Ines <ines@x.example>\n\n{ORDER}",
            TASK,
        ),
        (
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n",
            parts(
                "\nIs that ours? I have asked in the boat house and in the town.\n",
                f"Content-Type: message/rfc822\n\nSubject: Please call Ann\n{HEAD}\n{ORDER}",
            ),
            TASK,
        ),
        ("MIME-Version: 1.0\nContent-Type: text/html\n", f"<p>{ORDER}<p><a href=x>Manage lamps</a>", TASK),
        (
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n",
            parts(
                f"\n{ORDER}",
                "Content-Type: image/png; name=call-Otto-by-Friday.png\n\nx",
                f"Content-Type: text/calendar; method=REQUEST\n\n{CALENDAR}",
            ),
            [*TASK, ["timelines", "Tasting"]],
        ),
        (
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n",
            parts(
                "\nTasting\nWhen: 10 March 2027\nPlease answer the invitation.\n",
                f"Content-Type: text/calendar\n\n{CALENDAR}",
            ),
            [["timelines", "Tasting"]],
        ),
        (
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n",
            parts(
                "\nThe tasting on 10 March 2027 was cancelled.\n",
                f"Content-Type: text/calendar\n\nMETHOD:CANCEL\n{CALENDAR}",
            ),
            [],
        ),
    ],
)
async def test_items_of_a_mail_come_only_from_author_text_and_attached_calendars(
    fields: str, body: str, items: list[list[str]]
) -> None:
    assert await found(fields, body) == items
    assert await found(f"From ines Mon Mar  1 09:00:00 2027\n{fields}", body, "a.mbox") == items


async def test_first_person_in_a_mail_resolves_to_the_author() -> None:
    (task,) = (await extracted(f"Subject: Lamp\n{HEAD}\nI'll order the oil tomorrow.\n")).items
    assert (task.data["assignee"], task.unresolved) == (["Ines Moor"], {})


SEEN = "<p>Please buy bread by Friday.</p>"


async def test_hidden_text_of_a_mail_makes_no_item() -> None:
    pages = [
        "<title>{0}</title>",
        "<div hidden>{0}</div>",
        "<!-- {0} -->",
        "<div style='opacity:0'>{0}</div>",
    ]
    read = [
        await found("Subject: Lamp\nContent-Type: text/html\n", f"{SEEN}{page.format(ORDER)}")
        for page in pages
    ]
    assert read == [[["tasks", "buy bread"]]] * 4


async def test_possibly_hidden_text_makes_an_item_with_a_mark() -> None:
    page = f"<style>p:nth-child(2){{color:#fff}}</style><p>{ORDER}</p>"
    extraction = await extracted(f"Subject: Lamp\nContent-Type: text/html\n{HEAD}\n{page}")
    assert [item.warnings for item in extraction.items] == [("hidden_characters",)]
