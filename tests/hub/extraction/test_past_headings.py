"""Open boxes below a heading of a past day, read on Sunday 29 November 2026, and records of such days."""

import pytest

from tests.hub.extraction.test_day_rows import found_in

PLANS = {
    "## Miércoles 25 de noviembre\n- [ ] Llamar al taller\n- Llamé a Pepe\n- [x] banco": [
        "25 00:00 t Llamar al taller"
    ],
    "# Semana del 23 de noviembre\n\n## Lunes 23\n- [ ] Reclamar\n- comprar pan": ["23 00:00 t Reclamar"],
    "## Mié 25/11\n- [ ] Llamar al taller": ["25 00:00 t Llamar al taller"],
    "## Do 26.11.\n- [ ] Miete zahlen\n- Bank anrufen": ["26 00:00 t Miete zahlen"],
    "# Woche 48\n\nMo 23.11.\n- [x] Plan\nDi 24.11.\n- [ ] Kasse anrufen\nFr 27.11.\n- 16:00 Jause": [
        "24 00:00 t Kasse anrufen"
    ],
    "## Mercredi 25 novembre\n- [ ] appeler la banque": ["25 00:00 t appeler la banque"],
    "**Wed 25 Nov**\n- [ ] call the bank": ["25 00:00 t call the bank"],
    "## Wed 25 Nov\n- [ ] call the bank\n\n## Friday\n- [ ] pay the rent": [
        "25 00:00 t call the bank",
        "27 00:00 t pay the rent",
    ],
    "## Среда 25 ноября\n- [ ] позвонить в банк": ["25 00:00 t позвонить в банк"],
    "## 11月25日 星期三\n- [ ] 给银行打电话": ["25 00:00 t 给银行打电话"],
    "## Do 26.11.\n- [ ] Miete zahlen bis 3.12.": ["3 00:00 t Miete zahlen bis 3.12."],
}
RECORDS = {
    "diary": "# Tagebuch\n\n## Mi 25. November\n- War beim Arzt.\n- [ ] Bank anrufen",
    "minutes": "# Protokoll\n\n## 25. November\n- [ ] Bank anrufen",
    "log": "# Work log\n\n## Wed 25 Nov\n- [ ] call the bank",
    "дневник": "# Дневник\n\n## Среда 25 ноября\n- [ ] позвонить в банк",
    "dated": "## 2026-11-25\n- [ ] call the bank",
    "old": "## Wed 26 Aug\n- [ ] call the bank",
    "bullets": "## Wed 25 Nov\n- call the bank",
    "times": "## Wed 25 Nov\n- 16:00 dentist",
}


@pytest.mark.parametrize(("text", "expected"), PLANS.items())
def test_open_box_below_a_past_day_without_a_year_is_due_on_the_day(text: str, expected: list[str]) -> None:
    assert found_in(text) == expected


@pytest.mark.parametrize("text", RECORDS.values(), ids=RECORDS)
def test_row_of_a_record_of_a_past_day_has_no_day(text: str) -> None:
    assert found_in(text) == []
