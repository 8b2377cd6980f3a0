"""Days of sentences and rows in six languages, on 29 November 2026: below a plan, and beside a weekday."""

import pytest

from tests.hub.extraction.test_day_rows import found_in, items_of
from tests.support.families import each

DAYS = """
Ich muss übermorgen das Auto abholen. | das Auto abholen
Bitte schick mir die Liste bis übermorgen. | schick mir die Liste
- [ ] Übermorgen: Auto abholen | Übermorgen: Auto abholen
I have to send the list the day after tomorrow. | send the list
The day after tomorrow I have to send the list. | send the list
- [ ] send the list the day after tomorrow | send the list the day after tomorrow
Il faut envoyer la liste après-demain. | envoyer la liste
Merci d'envoyer la liste après demain. | envoyer la liste
Tengo que escribir a Rosa pasado mañana. | escribir a Rosa
TENGO QUE ESCRIBIR A ROSA PASADO MAÑANA. | ESCRIBIR A ROSA
- Pasado mañana hay que llevar el coche | llevar el coche
Pasado mañana tengo que escribir a Rosa. | escribir a Rosa
- [ ] pasado mañana llevar el coche | pasado mañana llevar el coche
Нужно отправить список послезавтра. | отправить список
Нужно отправить список после завтра. | отправить список
请后天把报告发给我。 | 把报告发给我
"""


@each(("text", "title"), [row.split(" | ") for row in DAYS.strip().splitlines()])
def test_day_after_tomorrow_is_two_days_ahead(text: str, title: str) -> None:
    assert found_in(text) == [f"1 00:00 t {title}"]


def test_title_of_an_order_keeps_a_verb_of_moving() -> None:
    assert found_in("Cambia mañana la bombilla del baño.") == ["30 00:00 t Cambia la bombilla del baño"]


AGENDAS = """
# Agenda | Tengo que mandar el pedido a Planeta el martes. | mandar el pedido a Planeta
Agenda | Tengo que mandar el pedido a Planeta el martes. | mandar el pedido a Planeta
# Agenda | I have to send the order on Tuesday. | send the order
# Tagesordnung | Ich muss die Bestellung am Dienstag schicken. | die Bestellung schicken
# Ordre du jour | Je dois envoyer la commande mardi. | envoyer la commande
# Повестка | Нужно отправить заказ во вторник. | отправить заказ
"""


@pytest.mark.parametrize("row", AGENDAS.strip().splitlines())
def test_sentence_below_the_title_of_a_plan_names_work(row: str) -> None:
    title, sentence, work = row.split(" | ")
    assert found_in(f"{title}\n\n{sentence}\n") == [f"1 00:00 t {work}"]


def test_topic_of_an_agenda_is_no_work() -> None:
    assert found_in("# Agenda\n\n- Budget\n- Send the order on Tuesday\n- Any other business\n") == []


@pytest.mark.parametrize(
    "row",
    ["- Mo: Lukas Küche\n- Di: Greta Bad\n- Fr: Vorzimmer saugen", "- Пн: помыть пол\n- Вт: помыть окна"],
)
def test_weekday_before_a_colon_is_no_person(row: str) -> None:
    items = items_of(f"# Putzplan\n\n{row}\n")
    assert items
    assert not any(item.data.get("assignee") for item in items)
