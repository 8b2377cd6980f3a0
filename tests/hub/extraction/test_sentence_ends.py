# ruff: noqa: RUF001 - letters of other alphabets
"""Ends of sentences on lines where the dot alone does not tell."""

from hub.extraction.chunk import sentences
from tests.support.families import each

# Sentences of a line, with " | " between them.
LINES = {
    "en": (
        "Dentist at 11:00, rm. 12, St. John, hwy. 4, Mt. Pleasant. | Bring the card.",
        "Bring two chairs (min. 3 if Ann comes) to the hall. | Ben knows.",
        "Please send the form by Dec. 4 to the office. | Thanks.",
        "Pay the fee by Dec. | The office closes then.",
        "Mr. Lee and Dr. A. Novak meet at 3 p.m. | Please bring the keys.",
        "Ask e.g. Anna or Ben (i.e. the two drivers) for a lift.",
        "We meet in room No. 4, not in No. 5. | No. | It is closed.",
        "Acme Inc. has replied. | Call Acme Inc. and ask for approx. 20 chairs.",
        "Use version 2.4.1. | It is newer than 2.3.",
        "The train leaves at 10. | Please be there.",
        "Read Smith et al. 2019, pp. 4 ff. | Then write.",
        "AI: Ben orders chairs. | AI: Ann calls the bank.",
        'He said "Stop it. Go home." and left. | We stayed.',
        "Is it open? | Yes! | Go in...then wait.",
        "1. Paint the door. | It is old.",
        "Bring plates, cups, etc. | The rest is there.",
        "St. Mary's Church, 5 Main St. vs. the hall.",
        "Meet at 5 Park Ave. Suite 3, Apt. 4 by Friday. | Bring Bob.",
        "We live on Main St. | Please call Acme Co. Ltd. for the bldg. Seven key.",
        "Wash the car. | 5 people come. | Send the PDF. | 3 pages.",
    ),
    "de": (
        "Arzt um 11 Uhr, Zi. 12, Zim. 4, Etg. 2, R. 12, St. Johannis. | Bitte Tee mitbringen.",
        "Bitte Stühle mitbringen (mind. 3), sonst stehen wir. | Danke.",
        "Gebt mir bis Montag, 30.11. Bescheid. | Danke!",
        "Der Umzug ist am 1. Mai. | Wir helfen.",
        "Bring z. B. Kuchen oder u. a. Salate mit. | Getränke gibt es.",
        "Frau Dr. Ott und Hr. Kern kommen ggf. Montag, spätestens am 3. Dez. vorbei.",
        "Wir wohnen im 2. Stock. | Bitte klingeln.",
        "Das Fest ist am 30.11. | Bitte meldet euch an.",
        "Kosten inkl. MwSt. ca. 30 Euro bzw. Dollar.",
        "Tische, Bänke usw. | Wir bringen alles.",
        "Um 10. | Dann nicht.",
        "Fr 4.12. Zahnarzt anrufen",
        "Siehe Abs. 3 und § 4, Nr. 12. | Der Rest gilt.",
        "Bis zum 3. Advent (Abgabe d. h. Versand) fertig.",
        "Zur Goethestr. 8 bis zum 30. November, Friedrich-Ebert-Str. 101, Whg. 3.",
        "Die Fa. Krug streicht die Whg. Ott. | Sie kommt.",
        "Wir wohnen in der Goethestr. | Bitte klingeln.",
        "Reifen wechseln!!! (überfällig)",
        "Nimm den Bus. | 5 Leute warten. | Frag die GmbH. | Krug kommt.",
    ),
    "fr": (
        "Médecin à 11h, bât. B, ét. 4, app. 7, pl. Carnot, av. Foch. | Merci.",
        "M. Petit et Mme. Roux arrivent le 3 déc. 2026. | Merci de réserver.",
        "Apporte des fruits (p. ex. Poires) et env. 3 litres de jus. | Le reste est là.",
        "Tu viens ? | Oui ! | Merci.",
        "Voir art. 5 et p. 12. | Ensuite, signer.",
        "Des assiettes, des verres, etc. | On a le reste.",
        "On part à 8 h. | Prends ton manteau.",
        "Il a dit « Viens. Maintenant. » et il est parti.",
        "Au 12 av. Foch, l'apt. 5 et le rés. 3 avant lundi. | Prends le bus. | 5 personnes viennent.",
    ),
    "es": (
        "Cita a las 11:00, hab. 12, of. 4, pta. 3, pl. Mayor. | Gracias.",
        "El Sr. Ruiz y la Sra. Gil llegan a las 8 h. | Llama antes.",
        "Trae fruta (p. ej. Peras) y aprox. 3 litros. | Gracias.",
        "¿Vienes? | ¡Claro! | Hasta luego.",
        "Véase la pág. 4 y el art. 5. | Luego firma.",
        "Dicen que no. | Mañana lo vemos.",
        "Ud. puede pagar en EE. UU. o aquí.",
        "Calle Mayor, apto. 5, edif. 7 antes del lunes. | Llama a Ana. | 5 personas vienen.",
    ),
    "ru": (
        "Терапевт в 11:00, каб. 312, пом. 12, ауд. 14, пал. 5, пл. Ливу. | Спасибо.",
        "Принеси стулья (мин. 3 шт.) в зал. | Спасибо.",
        "Заплати, т. е. Анна ждёт, до 3 дек. 2026 г. | Потом позвони.",
        "Купи хлеб, сыр и т. д. | Потом позвони.",
        "Мы живём в г. Москва, ул. Ленина, д. 5, кв. 12. | Звони.",
        "Спроси А. С. Петрова и т. к. Иван занят.",
        "Уже 10 ч. | Пора идти.",
        "Убери кв. 5, корп. 3 и стр. 2 до пятницы. | Открой дверь. | 5 человек придут.",
    ),
    "zh": (
        "请明天寄合同。 | 谢谢！ | 王明说「好。走吧。」",
        "带三把椅子（至少3把。最好5把）来。 | 谢谢。",
        "版本 2.4.1 已经发布。 | 请升级。",
    ),
}


@each("line", [line for lines in LINES.values() for line in lines])
def test_hard_line_splits_into_its_sentences(line: str) -> None:
    text = line.replace(" | ", " ")
    assert [text[start:end] for start, end in sentences(text, 0, len(text))] == line.split(" | ")


def test_bracket_without_an_end_joins_no_sentences() -> None:
    text = "We had bad luck :( Nothing came. Call Ann. "
    many = text * 40
    found = [many[start:end] for start, end in sentences(many, 0, len(many))]
    assert found == ["We had bad luck :( Nothing came.", "Call Ann."] * 40
