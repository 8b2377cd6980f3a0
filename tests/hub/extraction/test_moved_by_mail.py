# ruff: noqa: RUF001 - letters of other scripts
"""Mails that move an event or call one off: the event of the new day, and none of the old one."""

from hub.document import Document
from hub.extraction.ruled import ToExtract
from hub.text.files import MAIL
from tests.hub.extraction.test_day_rows import WRITTEN, days_of, options_of
from tests.support.families import each

HEAD = (
    'From: "{}" <a@example.org>\nTo: b@example.org\nSubject: x\nDate: Sat, 28 Nov 2026 11:40:00 +0000\n\n{}\n'
)
MAILS = """
Praxis | Leider müssen wir Ihren Termin am Dienstag, 1.12. um 8:30 verschieben auf Donnerstag, \
3.12. um 9:15. | \
3 09:15 e Termin (Praxis)
Praxis | Der Termin zur Blutabnahme am 10.12. muss verschoben werden. Neuer Termin: Freitag, 11.12. \
um 9h00, Zimmer 4. | \
11 09:00 e Termin zur Blutabnahme, Zimmer 4
Praxis | Leider müssen wir Ihren Termin zur Blutabnahme am 10.12. um 8h15 absagen. |
Praxis | Wir müssen den Termin am 11.12. um 9h00 leider absagen. |
Galerie | Die Vernissage am Do 10.12. fällt leider aus. Neuer Termin: Do 17.12., 18 Uhr. | 17 18:00 \
e Vernissage
Dental | Unfortunately we have to move your appointment on Tuesday 1 December at 8:30 to Thursday 3 \
December at 9:15. | \
3 09:15 e Appointment (Dental)
Dental | Unfortunately we have to cancel your appointment on Tuesday 1 December at 8:30. |
Dental | Your blood test on 10 December has to be postponed. New date: Friday 11 December at 9:00, room 4. | \
11 09:00 e Blood test, room 4
Dubois | Nous devons reporter votre rendez-vous du mardi 1er décembre à 8h30 au jeudi 3 décembre à 9h15. | \
3 09:15 e Rendez-vous (Dubois)
Dubois | Votre prise de sang du 10 décembre doit être reportée. Nouveau rendez-vous : 11 décembre à \
9h00, salle 4. | \
11 09:00 e Prise de sang, salle 4
Sol | Tenemos que aplazar su cita del martes 1 de diciembre a las 8:30 al jueves 3 de diciembre a \
las 9:15. | \
3 09:15 e Cita (Sol)
Sol | Lamentablemente tenemos que cancelar su cita del 10 de diciembre a las 8:15. |
Клиника | Мы вынуждены перенести ваш приём 1 декабря в 8:30 на 3 декабря в 9:15. | 3 09:15 e Приём (Клиника)
Клиника | К сожалению, мы вынуждены отменить ваш приём 10 декабря в 8:15. |
诊所 | 我们不得不把您12月1日8:30的预约改到12月3日9:15。 | 3 09:15 e 预约 (诊所)
诊所 | 很抱歉，我们不得不取消您12月10日8:15的预约。 |
Ann | We have to cancel the gym membership by 3 December. | 3 00:00 t cancel the gym membership
Ann | Please cancel the appointment on 10 December. | 10 00:00 t cancel the appointment
Jan | Wir müssen am Freitag die Sitzung vorbereiten und den Raum absagen. | 4 00:00 t die Sitzung vorbereiten
"""


@each("row", MAILS.strip().splitlines())
def test_mail_about_a_move_has_the_event_of_the_new_day_alone(row: str) -> None:
    author, text, *expected = (part.strip(" |") for part in f"{row} ".split(" | "))
    mail = Document(
        unit_key="1.eml",
        text=HEAD.format(author, text),
        content_hash="",
        media_type=MAIL,
        modified_at=WRITTEN,
    )
    items = ToExtract(document=mail, options=options_of(), reads_prose=True).answer().items
    assert days_of(items) == [event for event in expected if event]
