"""Words for the day after tomorrow in sentences and rows of six languages, on 29 November 2026."""

import pytest

from tests.hub.extraction.test_day_rows import found_in

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


@pytest.mark.parametrize(("text", "title"), [row.split(" | ") for row in DAYS.strip().splitlines()])
def test_day_after_tomorrow_is_two_days_ahead(text: str, title: str) -> None:
    assert found_in(text) == [f"1 00:00 t {title}"]


def test_order_with_a_verb_of_moving_has_its_verb_in_the_title() -> None:
    assert found_in("Cambia mañana la bombilla del baño.") == ["30 00:00 t Cambia la bombilla del baño"]
