"""Rows of tables are items by their headings, in six languages, and no row of any table is prose."""

from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

import pytest

from hub.base.clock import from_epoch_ms
from hub.document import Document
from hub.extraction.items import ExtractionOptions, Item
from hub.extraction.ruled import ToExtract
from hub.extraction.spreadsheets import PRIORITIES, STATES, means
from hub.text.files import media_type_of
from protocol.tables import TableName
from tests.support.calls import calls_of
from tests.support.families import each

CALLS_PER_ROW = 900  # of functions, C ones included; 1,500 took twice the time

OPTIONS = ExtractionOptions(data_types=tuple(TableName), timezone="Europe/Berlin")


def items_of(text: str, name: str = "list.csv", media_type: str | None = None) -> list[Item]:
    """Return what the rules find, those for prose included."""
    document = Document(
        unit_key=name,
        text=text,
        content_hash="",
        media_type=media_type,
        modified_at=datetime(2026, 11, 25, 12, tzinfo=UTC),
    )
    answer = ToExtract(document=document, options=OPTIONS, reads_prose=True).answer()
    assert all(item.quote == text[item.start : item.end] for item in answer.items)
    return list(answer.items)


def spelled(item: Item) -> str:
    """Return an item in one line: title, date, assignees, priority, status."""
    day = item.data.get("dueDate") or item.data.get("date")
    local = from_epoch_ms(day).astimezone(ZoneInfo("Europe/Berlin")) if isinstance(day, int) else None
    names = item.data.get("assignee")
    values = (
        item.data.get("title") or item.data.get("name"),
        local and f"{local:%Y-%m-%d %H:%M}".removesuffix(" 00:00"),
        "+".join(names) if isinstance(names, list) else None,
        item.data.get("priority"),
        item.data.get("status"),
    )
    return " | ".join(str(value) for value in values if value)


def rows_of(text: str, name: str = "list.csv", media_type: str | None = None) -> list[str]:
    return [spelled(item) for item in items_of(text, name, media_type)]


@each(
    ("text", "rows"),
    [
        pytest.param(
            "TYPE,CONTENT,DESCRIPTION,PRIORITY,INDENT,AUTHOR,RESPONSIBLE,DATE\n"
            "section,Attic,,,,,,\ntask,* Sort the [maps](https://maps.example/a),,1,1,Ida (7),Bo (12),2 Dec\n"
            ",,,,,,,\nnote,Call the museum by Friday,,,,Ida (7),,\ntask,Air the tent,,4,1,Ida (7),,\n",
            ["Sort the maps | 2026-12-02 | Bo | high", "Air the tent"],
            id="Todoist",
        ),
        pytest.param(
            "Task ID,Created At,Completed At,Name,Section/Column,Assignee,Start Date,Due Date,Notes,"
            "Projects\n"
            "1,2026-10-02,,Draft the flyer,Doing,Kim Ode,2026-11-16,2026-12-01,,Bazaar\n"
            "2,2026-10-02,2026-11-13,Pick a hall,Later,,,,,Bazaar\n",
            [
                "Draft the flyer | 2026-12-01 | Kim Ode | in_progress",
                "Bazaar",
                "Pick a hall | done",
            ],
            id="Asana",
        ),
        pytest.param(
            "Card Name,Card Description,Members,Due Date,List Name,Archived,Start Date,Due Complete\n"
            'Rent chairs,,"Jo Ray, Mia Sun",2026-12-04T11:00:00.000Z,Someday,false,,false\n'
            "Old idea,,,,Someday,true,,false\nPay deposit,,,2026-11-20T11:00:00.000Z,Someday,false,,true\n"
            "Order mugs,,,,Done,false,,false\n",
            [
                "Rent chairs | 2026-12-04 12:00 | Jo Ray+Mia Sun | todo",
                "Pay deposit | 2026-11-20 12:00 | done",
                "Order mugs | done",
            ],
            id="Trello",
        ),
        pytest.param(
            "Summary,Issue key,Issue Type,Status,Priority,Resolution,Assignee,Due Date,Description,"
            "Comment,Comment\nCap the retries,Q-1,Bug,In Progress,Highest,,Al Ito,07/Dec/26 12:00 AM,"
            '"{code}\nx\n{code}",please call Bob,\n'
            "Drop the cache,Q-2,Bug,Closed,High,Won't Do,,,,,\n",
            ["Cap the retries | 2026-12-07 | Al Ito | high | in_progress"],
            id="Jira",
        ),
        pytest.param(
            "Zusammenfassung,Vorgangsschlüssel,Status,Mitglieder,Fälligkeitsdatum\n"
            "Heizung reparieren,X-1,Zu erledigen,Jo Ray,04.12.2026\nLampe,X-2,Zu erledigen,,\n"
            "Dach decken,X-3,Abgelehnt,,\n",
            ["Heizung reparieren | 2026-12-04 | Jo Ray | todo", "Lampe | todo"],
            id="Jira, German",
        ),
        pytest.param(
            "Plan name,Move\nDate of export,11/25/2026\n\n"
            "Task ID,Task Name,Bucket Name,Progress,Priority,Assigned To,Due date,Late,Completed Date\n"
            "a,Pack the books,Prep,In progress,Urgent,Mo Field;Ann Lee,12/4/2026,true,\n"
            "b,Sell the desk,Prep,Completed,Medium,,11/24/2026,false,11/23/2026\n",
            [
                "Pack the books | 2026-12-04 | Mo Field+Ann Lee | high | in_progress",
                "Sell the desk | 2026-11-24 | medium | done",
            ],
            id="Planner",
        ),
        pytest.param(
            "Betreff;Beginnt am;Fällig am;Erledigt am;% abgeschlossen;Status;Priorität\n"
            "Ofen reinigen;;8.12.2026;;0;Nicht begonnen;Hoch\nÖl kaufen;;;3.11.2026;100;Erledigt;Normal\n",
            ["Ofen reinigen | 2026-12-08 | high | todo", "Öl kaufen | medium | done"],
            id="Outlook, German",
        ),
        pytest.param(
            "sep=;\nTâche;Qui;Pour le;Priorité;État\nPeindre la grille;Léa;03/12/2026;haute;en cours\n"
            "Jeter les cartons;;;basse;annulé\n",
            ["Peindre la grille | 2026-12-03 | Léa | high | in_progress"],
            id="French",
        ),
        pytest.param(
            "Tarea\tQuién\tVencimiento\tHecho\nRegar el patio\tRosa\t04/12/2026 18:30\tno\n"
            "Podar\tLuis\t\tsí\n",
            ["Regar el patio | 2026-12-04 18:30 | Rosa | todo", "Podar | Luis | done"],
            id="Spanish",
        ),
        pytest.param(
            "# список \n"
            "Дело|Исполнитель|Срок|Статус\n"
            "Заказать бумагу|Олег|8 декабря|Ожидает\n"
            "Ужин|||Отменено\n",
            ["Заказать бумагу | 2026-12-08 | Олег | todo"],
            id="Russian",
        ),
        pytest.param(
            "事项,负责人,截止日期,优先级,状态\n订会议室,李雷,2026年12月3日,高,进行中\n买水,,2026/12/4,低,已完成\n",
            ["订会议室 | 2026-12-03 | 李雷 | high | in_progress", "买水 | 2026-12-04 | low | done"],
            id="Chinese",
        ),
        pytest.param(
            "Subject,Start Date,Start Time,End Date,Location\nChoir,12/05/2026,07:30 PM,12/05/2026,Hall\n"
            "Fair,12/13/2026,10:00 AM,,\n",
            ["Choir | 2026-12-05 19:30", "Fair | 2026-12-13 10:00"],
            id="events with a column of times",
        ),
        pytest.param(
            "31\tOPEN\tSort by name\tbug\t2026-11-23\n32\tCLOSED\tAdd a map\t\t2026-11-20\n",
            ["Sort by name | todo", "Add a map | done"],
            id="states and titles without headings",
        ),
        pytest.param(
            "Garden 2027,,,\n,,,\nTask,Who,Due,Status\nOrder seeds,Ann,2027-01-10,open\n,,,\n"
            "Costs,Planned,Spent,Paid on\nSeeds,40.00,12.50,2026-11-02\n",
            ["Order seeds | 2027-01-10 | Ann | todo"],
            id="two tables in a file",
        ),
        pytest.param(
            "Task,Done\nOrder seeds,no\n,\nSum,1 of 1\n", ["Order seeds | todo"], id="a row of totals"
        ),
        *(
            pytest.param(text, rows, id=f"things that are due, in {code}")
            for code, text, rows in (
                (
                    "en",
                    "no,snag,room,who,by,ok\n1,door sticks,hall,Ann,Mon 30 Nov,\n"
                    "2,handle loose,bed,Jo,23/11,x\n",
                    ["door sticks, hall | 2026-11-30 | Ann", "handle loose, bed | 2026-11-23 | Jo | done"],
                ),
                (
                    "en, invoices",
                    "no,customer,amount,sent,due,paid\n071,Morgan,280.00,13/11,13/11,yes\n"
                    "072,Price,£40,13/11,due 4/12,no\n073,Rees,£80,13/11,paid,\n",
                    [
                        "Morgan (071, 280.00) | 2026-11-13 | done",
                        "Price (072, £40) | 2026-12-04 | todo",
                        "Rees (073, £80) | done",
                    ],
                ),
                (
                    "en, suppliers",
                    'supplier,what,owed,due\nHobbs Bakery,rolls,£44.00,4 Dec\n,"gas",£9.00,4 Dec\n',
                    ["Hobbs Bakery: rolls | 2026-12-04", "gas | 2026-12-04"],
                ),
                (
                    "de, suppliers",
                    "Lieferant,was,fällig\nMeier,Brot,4.12.\n",
                    ["Meier: Brot | 2026-12-04"],
                ),
                (
                    "en, tasks",
                    "customer,task,due\nLowe,send the menu,4 Dec\n",
                    ["send the menu | 2026-12-04"],
                ),
                (
                    "de, fees of names",
                    "Parzelle,Name,Betrag,fällig,bezahlt\n7,Hofer Anna,145.00 €,15.11.2026,nein\n",
                    ["Hofer Anna (145.00 €) | 2026-11-15 | todo"],
                ),
                (
                    "de, a currency",
                    "Parzelle;Name;Pacht EUR;Fällig am;Status\n12;Kovacic;410,00;2026-12-31;bezahlt\n",
                    ["Kovacic (410,00) | 2026-12-31 | done"],
                ),
                (
                    "en, fees of people",
                    "Member,Amount,Due,Paid\nAnn Poole,£45.00,2026-12-10,no\n",
                    ["Ann Poole (£45.00) | 2026-12-10 | todo"],
                ),
                (
                    "de, lent",
                    "Gegenstand,An wen,fällig,zurück\nLeiter,Maier,30.11.2026,ja\nSäge,Jan,30.11.2026,nein\n",
                    ["Leiter, Maier | 2026-11-30 | done", "Säge, Jan | 2026-11-30 | todo"],
                ),
                (
                    "de",
                    "Nr,Mangel,wer,bis\n1,Tür klemmt,Anna,Mo 30.11.\n2,Griff lose,Jan,4.12\n",
                    ["Tür klemmt | 2026-11-30 | Anna", "Griff lose | 2026-12-04 | Jan"],
                ),
                (
                    "fr",
                    "défaut,qui,échéance,réglé\nla porte frotte,Luc,lun 30 nov,x\n",
                    ["la porte frotte | 2026-11-30 | Luc | done"],
                ),
                (
                    "es",
                    "defecto,quién,para\nla puerta roza,Luis,4/12\n",
                    ["la puerta roza | 2026-12-04 | Luis"],
                ),
                (
                    "ru",
                    "недостаток,кто,до\nкран течёт,Анна,4.12\n",  # noqa: RUF001
                    ["кран течёт | 2026-12-04 | Анна"],
                ),
                ("zh", "问题,谁,期限\n门卡住,李华,12月4日\n", ["门卡住 | 2026-12-04 | 李华"]),
                ("it", "difetto,chi,entro\nporta,Luca,4/12\n", ["porta | 2026-12-04 | Luca"]),
                ("nl", "gebrek,wie,vóór\ndeur,Piet,4/12\n", ["deur | 2026-12-04 | Piet"]),
            )
        ),
    ],
)
def test_rows_are_items_by_the_headings_of_well_known_programs(text: str, rows: list[str]) -> None:
    assert rows_of(text) == rows


@each(
    ("headings", "states"),
    [
        ("Bill;Amount;Pay by;Status", "paid 28.11.2026/not paid"),
        ("Bill;Amount;Date of payment;Status", "paid/overdue"),
        ("Rechnung;Betrag;Zahlbar bis;Status", "bezahlt am 28.11./offen"),
        ("Rechnung;Betrag;Zahlungsziel;Bezahlt", "ja/nein"),
        ("Facture;Montant;À payer avant le;Statut", "payée/à payer"),
        ("Facture;Montant;Date de paiement;Payée", "oui/non"),
        ("Factura;Importe;Hasta;Estado", "pagada/no pagada"),
        ("Factura;Importe;Fecha de pago;Estado", "pagada/vencida"),
        ("Счёт;Сумма;Оплатить до;Статус", "оплачен 28.11/не оплачен"),
        ("Счёт;Сумма;Срок оплаты;Оплачено", "да/нет"),
        ("Счёт;Сумма;Дата оплаты;Статус", "оплачен/не оплачен"),
        ("账单;金额;付款期限;状态", "已支付/待付款"),
        ("账单;金额;付款日期;状态", "已付/未付"),
    ],
)
def test_bills_are_tasks_by_the_column_of_their_payment(headings: str, states: str) -> None:
    paid, open_ = states.split("/")
    text = f"{headings}\nGas;20.00;12.12.2026;{paid}\nTV;31.50;14.12.2026;{open_}\n"
    assert rows_of(text) == ["Gas (20.00) | 2026-12-12 | done", "TV (31.50) | 2026-12-14 | todo"]
    lines = [f"| {line} |".replace(";", " | ") for line in text.splitlines()]
    assert rows_of("\n".join([lines[0], "|---|---|---|---|", *lines[1:]]), "home.md") == rows_of(text)


@each(
    "headings",
    [
        "Date;Client;Call back by;Done",
        "Name;Pet;Call back;Called back",
        "Lead;Company;Follow-up;Done",
        "Datum;Kunde;Nachfassen;Erledigt",
        "Name;Anliegen;Rückruf bis;Erledigt",
        "Nom;Motif;À rappeler le;Fait",
        "Client;Devis;Relance;Fait",
        "Nombre;Motivo;Llamar antes del;Hecho",
        "Cliente;Oferta;Seguimiento;Hecho",
        "Имя;Вопрос;Перезвонить до;Сделано",
        "Клиент;Тема;Связаться;Готово",
        "姓名;事由;回电日期;完成",
        "客户;主题;跟进;完成",
    ],
)
def test_names_are_tasks_by_the_column_of_their_call(headings: str) -> None:
    row = "24.11.2026;Ann" if headings.startswith("Dat") else "Ann;Roof"
    rows = rows_of(f"{headings}\n{row};12.12.2026;no\n{row};14.12.2026;yes\n")
    assert [row.partition(" | ")[2] for row in rows] == ["2026-12-12 | todo", "2026-12-14 | done"]
    assert all(row.startswith("Ann") for row in rows)


@each(
    "text",
    [
        "Payee,Amount,Payment date\nGas,20.00,2026-10-02\nWater,30.00,2026-11-02\n",
        "Заказ;Товар;Дата доставки\n1-1;Стол;02.10.2026\n1-2;Стул;02.11.2026\n",
        "Artikel;Bestand;Letzte Inventur\nSchrauben;200;01.12.2026\nMuttern;100;02.12.2026\n",
        "Référence;Stock;Péremption\nVis;200;01/12/2026\nColle;100;02/12/2026\n",
        "Libro;Autor;Prestado\nNada;Laforet;01.12.2026\nNiebla;Unamuno;02.12.2026\n",
        "编号,名称,上次盘点\nA1,螺丝,2026-12-01\nA2,螺母,2026-12-02\n",
        "Customer;Offer;Sent;Status;Follow up\nAnn;Roof;12.11.2026;accepted;\n",
        "time,level\n2026-12-01T00:00:00,185.3\n2026-12-02T00:00:00,190.1\n",
        "Date,Name,Amount\n2026-12-01,Rent is due tomorrow,500\n2026-12-04,Call Bob by Friday,50\n",
        "Name,Status,Address\nrouter,online,10.0.0.1\nprinter,offline,10.0.0.2\n",
        "Task,Billable,Start date\nCall Bob,Yes,2026-12-01\nSend the bill by Friday,No,2026-12-02\n",
        "key,en,de\nlater,Call Bob by Friday,Ruf Bob bis Freitag an\nopen,Open,Offen\n",
        "First Name,Notes,Phone\nAnna,please call her on 3 December,555\nBob,,556\n",
        "| Part | Remark |\n|---|---|\n| Pump | please call Bob by Friday |\n",
        "Article        Stock    Price\n-----\nScrew        1200     4.50\nCall Bob by Friday    1   2.10\n",
        "Schraube        1200     4,50\nBob bis Freitag anrufen    980     2,10\n",
        "╔══════════════════════╗\n║ Call Bob by Friday   ║\n╚══════════════════════╝\n",
        "product,price,until\noak,10.00,30 Nov\nash,9.00,30 Nov\n",
        "Item,Planned,Spent,Due\nHall hire,2400,0,2026-12-01\nInsurance,210,210,2026-12-02\n",
        "Name,Betrag,Datum\nHofer,145.00,15.11.2026\nMaier,145.00,15.11.2026\n",
        "wer,von,bis\nAnna,3.12.,10.12.\nJan,5.12.,8.12.\n",
        "shift,who,from,until\nearly,Ann,30 Nov,4 Dec\nlate,Bo,30 Nov,4 Dec\n",
        "bus,from,to,until\n4,Roath,Barry,18:00\n5,Roath,Penarth,19:00\n",
        "├── notes\n│   └── call Bob by Friday\n└── readme\n",
    ],
)
def test_rows_of_other_tables_are_no_items_and_no_prose(text: str) -> None:
    name = "notes.md" if "|" in text else "list.csv" if {*",;"} & {*text} else "list.txt"
    assert items_of(text, name) == []


def test_a_sentence_beside_columns_or_a_frame_is_prose() -> None:
    text = (
        "┌──────┐\n│ Shed │\n└──────┘\n\nRake   3   12.50\nSpade   1   9.00\n\nPlease call Bob by Friday.\n"
    )
    assert [item.quote for item in items_of(text, "shed.txt")] == ["Please call Bob by Friday."]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "Dear all, we met, and it rained.\nPlease call Bob by Friday, he waits.\nBye, Ann\n"),
        ("a.txt", "Milk, eggs, tea.\nPlease call Bob by Friday.\n"),
        ("a.txt", "Name:\tAnn\n\nPlease call Bob\tby Friday.\n"),
    ],
)
def test_sentences_with_commas_or_tabs_are_prose(name: str, text: str) -> None:
    assert ["Bob" in row for row in rows_of(text, name)] == [True]


@pytest.mark.parametrize(
    ("heading", "cells", "days"),
    [
        ("Due", ("01/12/2026", "24/12/2026"), ("2026-12-01", "2026-12-24")),
        ("Due", ("01/12/2027", "12/24/2026"), ("2027-01-12", "2026-12-24")),
        ("Due", ("01/12/2026", "03/12/2026"), (None, None)),
        ("Fällig", ("01/12/2026", "03-12-26"), ("2026-12-01", "2026-12-03")),
        ("Due", ("24/12/2026", "12/24/2026"), ("2026-12-24", "2026-12-24")),
        ("Due", ("2026-12-01 00:00:00", "2026-12-01 07:30:00"), ("2026-12-01", "2026-12-01 07:30")),
        ("Due", ("1-Dec-26", "02/Jan/27 9:15 AM"), ("2026-12-01", "2027-01-02 09:15")),
    ],
)
def test_dates_of_a_table_column_are_read_in_a_single_day_month_order(
    heading: str, cells: tuple[str, str], days: tuple[str | None, ...]
) -> None:
    text = f"Task,{heading}\n" + "".join(f"Paint,{cell}\n" for cell in cells)
    rows = [row.removeprefix("Paint").removeprefix(" | ") or None for row in rows_of(text)]
    assert rows == list(days)


@each(
    ("cell", "state"),
    [
        *(("☑", "done"), ("Y", "done"), ("ja", "done"), ("[x]", "done"), ("TRUE", "done"), ("да", "done")),
        *(("☐", "todo"), ("N", "todo"), ("non", "todo"), ("[ ]", "todo"), ("否", "todo")),
        *(("In Arbeit", "in_progress"), ("en curso", "in_progress"), ("[/]", "in_progress")),
        *(("entfällt", "cancelled"), ("abandonnée", "cancelled"), ("作废", "cancelled"), ("odd", None)),
    ],
)
def test_state_of_a_cell_is_known_by_words_of_six_languages_and_signs(cell: str, state: str | None) -> None:
    assert means(STATES, cell) == state


@pytest.mark.parametrize(
    ("cell", "priority"),
    [("Dringend", "high"), ("très haute", "high"), ("P2", "medium"), ("низкий", "low"), ("最低", "low")],
)
def test_priority_of_a_cell_is_known_by_words_of_six_languages(cell: str, priority: str) -> None:
    assert means(PRIORITIES, cell) == priority


def test_rows_with_tabs_below_known_headings_are_items_in_any_text() -> None:
    text = "Hello,\n\nTask\tWho\tDue\nOrder wax\tAnn\t2026-12-01\n\tBen\t\n\nPlease call Eve tomorrow.\n"
    assert rows_of(text, "mail.txt") == ["Order wax | 2026-12-01 | Ann", "call Eve | 2026-11-26"]


def test_struck_through_task_is_no_item() -> None:
    assert rows_of("| Task | Who |\n|---|---|\n| ~~Order wax~~ | Ann |\n| Sow | Bo |\n", "a.md") == [
        "Sow | Bo"
    ]


def test_check_boxes_of_an_office_file_are_tasks() -> None:
    boxes = "☐ New keys for the shed (Ms Ohm)\n\n☒ Put up the poster\n"
    text = f"Agenda\n\n{boxes}\n| Task | Who |\n|---|---|\n| Sow | Bo |\n"
    rows = rows_of(text, "minutes.docx", media_type_of("minutes.docx", None))
    assert rows == ["New keys for the shed | Ms Ohm | todo", "Sow | Bo"]


def test_struck_through_words_of_an_office_file_are_no_prose() -> None:
    text = "~~Ann must call Bob.~~ Eve must pay the rent."
    media_type = media_type_of("minutes.docx", None)
    assert rows_of(text, "minutes.docx", media_type) == ["pay the rent | Eve"]


def test_relative_date_in_a_table_counts_from_the_date_above_the_table() -> None:
    assert rows_of("Minutes 16 November 2026,\nTask,Due\nOrder wax,tomorrow\n") == ["Order wax | 2026-11-17"]


def test_table_reader_makes_a_bounded_number_of_calls_per_row() -> None:
    rows = [f"Mend boat {nth},Ann Berg,2026-12-{nth % 28 + 1:02},open\n" for nth in range(300)]
    items_of("Task,Who,Due,Status\n" + rows[0])  # compiles what is needed
    text = "".join(["Task,Who,Due,Status\n", *rows])
    assert calls_of(partial(items_of, text)) <= CALLS_PER_ROW * len(rows)


@pytest.mark.parametrize("tables", [1, 9, 60])
def test_later_date_changes_no_day_in_a_table_below_other_tables(tables: int) -> None:
    text = tables * "title,date\n\n" + "task,due\nPlan,May 5\n2031-05-08\n"
    assert rows_of(text) == ["Plan | 2027-05-05", "2031-05-08 | 2031-05-08"]


def test_day_above_a_table_has_the_order_of_all_dates_in_the_head() -> None:
    text = "3/4/2026\ntask,due\nPlan,tomorrow\nPay the rent,14/4/2026\n"
    assert rows_of(text) == ["Plan | 2026-04-04", "Pay the rent | 2026-04-14"]


def test_reading_many_short_tables_takes_a_constant_number_of_calls_a_table() -> None:
    few, many = (
        calls_of(partial(items_of, count * "task,due\nCall Ann,2031-02-03\n\n")) for count in (50, 500)
    )
    assert (many - few) / 450 < 2 * CALLS_PER_ROW  # of a heading and a row
