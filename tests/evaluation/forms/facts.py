"""Facts in generated documents: what they say, who has to do it and when, and their documents."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from hub.app.calibration import Lots

TODAY, TOMORROW, IN_THREE_DAYS, IN_TWO_WEEKS = 0, 1, 3, 14


class When(NamedTuple):
    """Words of a date in a sentence.

    Attributes:
        phrase: with its preposition.
        words: what a model copies from it.
        day: the day that it means.
    """

    phrase: str
    words: str
    day: date


class Language(NamedTuple):
    """Words of one language.

    Attributes:
        deeds: titles of tasks; ``{}`` is a number.
        other: sentence about another person.
        own: sentence of the person who will do it.
        bullet: line of a list below a person.
        relative: phrases, words and days from the day of writing.
        weekday: preposition before a day of the week.
        months: names of the months, with blanks between them.
        absolute: spelling of a date, and its preposition.
        above: line above a quoted mail.
        dated: label of the date in minutes.
    """

    deeds: tuple[str, ...]
    other: str
    own: str
    bullet: str
    relative: dict[str, int]
    weekday: str
    weekdays: tuple[str, ...]
    months: str
    absolute: str
    due: str
    above: str
    dated: str
    idle: tuple[str, ...]

    def month(self, day: date) -> str:
        """Return the name of the month."""
        return self.months.split()[day.month - 1]

    def spelled(self, day: date) -> str:
        """Return the date in words."""
        return self.absolute.format(d=day.day, month=self.month(day), y=day.year)

    def when(self, lots: Lots, written: date, *, is_relative: bool = False) -> When:
        """Draw a date and its words, as they are understood on the day of writing."""
        kind = lots.below(3 if is_relative else 5)
        if kind == 0:
            weekday = (written.weekday() + 1 + lots.below(6)) % 7
            words = self.weekdays[weekday]
            ahead = (weekday - written.weekday()) % 7
            return When(f"{self.weekday} {words}".strip(), words, written + timedelta(days=ahead))
        if kind < 3:
            words = lots.one(list(self.relative))
            return When(words, words, written + timedelta(days=self.relative[words]))
        day = written + timedelta(days=5 + lots.below(50))
        words = day.isoformat() if kind == 3 else self.spelled(day)
        return When(f"{self.due} {words}", words, day)


_ENGLISH: Final = Language(
    (
        "send offer {} to the town hall",
        "order part {} for the pump",
        "review contract {} with the lawyer",
        "book room {} for the workshop",
        "pay invoice {} to the carpenter",
    ),
    "{who} must {what} {when}.",
    "I will {what} {when}.",
    "{what} {when}",
    {"today": TODAY, "tomorrow": TOMORROW, "in three days": IN_THREE_DAYS, "in two weeks": IN_TWO_WEEKS},
    "by",
    ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "January February March April May June July August September October November December",
    "{d} {month} {y}",
    "by",
    "On {day} at {time}, {who} <{who_at}> wrote:",
    "Date",
    (
        "The river was calm and the boats lay in the harbour.",
        "The old mill changed little, as people remember it.",
        "We talked about the weather and the garden for a while.",
        "The harvest was good, and the market was full until the evening.",
        "The new lamps in the hall are bright and were not expensive.",
    ),
)
_GERMAN: Final = Language(
    (
        "Angebot {} an das Rathaus schicken",
        "Teil {} für die Pumpe bestellen",
        "Vertrag {} mit dem Anwalt prüfen",
        "Rechnung {} an den Tischler bezahlen",
    ),
    "{who} muss {when} {what}.",
    "Ich werde {when} {what}.",
    "{when} {what}",
    {"heute": TODAY, "morgen": TOMORROW, "in drei Tagen": IN_THREE_DAYS, "in zwei Wochen": IN_TWO_WEEKS},
    "bis",
    ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
    "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "{d}. {month} {y}",
    "bis",
    "Am {day} um {time} schrieb {who} <{who_at}>:",
    "Datum",
    (
        "Der Fluss war ruhig, und die Boote lagen im Hafen.",
        "Die alte Mühle hat sich kaum verändert, wie man sich erinnert.",
        "Wir sprachen eine Weile über das Wetter und den Garten.",
        "Die Ernte war gut, und der Markt war bis zum Abend voll.",
    ),
)
_FRENCH: Final = Language(
    (
        "envoyer le devis {} à la mairie",
        "commander la pièce {} pour la pompe",
        "relire le contrat {} avec l'avocate",
        "payer la facture {} du menuisier",
    ),
    "{who} doit {what} {when}.",
    "Je vais {what} {when}.",
    "{what} {when}",
    {
        "aujourd'hui": TODAY,
        "demain": TOMORROW,
        "dans trois jours": IN_THREE_DAYS,
        "dans deux semaines": IN_TWO_WEEKS,
    },
    "",
    ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "{d} {month} {y}",
    "pour le",
    "Le {day} à {time}, {who} <{who_at}> a écrit\u00a0:",
    "Date",
    (
        "La rivière était calme et les bateaux restaient au port.",
        "Le vieux moulin a peu changé, comme on s'en souvient.",
        "Nous avons parlé du temps et du jardin.",
        "La récolte était bonne, et la place était pleine de monde.",
    ),
)
_SPANISH: Final = Language(
    (
        "enviar la oferta {} al ayuntamiento",
        "pedir la pieza {} para la bomba",
        "revisar el contrato {} con la abogada",
        "pagar la factura {} del carpintero",
    ),
    "{who} debe {what} {when}.",
    "Voy a {what} {when}.",
    "{what} {when}",
    {
        "hoy": TODAY,
        "mañana": TOMORROW,
        "en tres días": IN_THREE_DAYS,
        "en dos semanas": IN_TWO_WEEKS,
    },
    "el",
    ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "{d} de {month} de {y}",
    "para el",
    "El {day} a las {time}, {who} (<{who_at}>) escribió:",
    "Fecha",
    (
        "El río estaba tranquilo y los barcos seguían en el puerto.",
        "El viejo molino ha cambiado poco, como recuerda la gente.",
        "Hablamos un rato del tiempo y del jardín.",
        "La cosecha fue buena y la plaza estaba llena de gente.",
    ),
)
_RUSSIAN: Final = Language(
    (
        "отправить предложение {} в ратушу",
        "заказать деталь {} для насоса",
        "проверить договор {} с юристом",
        "оплатить счёт {} столяру",
    ),
    "{who} обещает {what} {when}.",
    "Обещаю {what} {when}.",
    "{what} {when}",
    {"сегодня": TODAY, "завтра": TOMORROW, "через три дня": IN_THREE_DAYS, "через две недели": IN_TWO_WEEKS},
    "",
    (
        "в понедельник",
        "во вторник",
        "в среду",
        "в четверг",
        "в пятницу",
        "в субботу",
        "в воскресенье",
    ),
    "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    "{d} {month} {y}",
    "до",
    "{day} г. в {time}, {who} <{who_at}> пишет:",
    "Дата",
    (
        "Река была спокойна, и лодки стояли в гавани.",
        "Старая мельница почти не изменилась.",
        "Мы немного поговорили о погоде и о саде.",
        "Урожай был хорошим, и площадь была полна людей.",
    ),
)
LANGUAGES: Final = {"en": _ENGLISH, "de": _GERMAN, "fr": _FRENCH, "es": _SPANISH, "ru": _RUSSIAN}


SAVED: Final = datetime(2025, 12, 20, 9, tzinfo=UTC)  # long after everything that the documents say
PEOPLE: Final = ("Anna", "Boris", "Carla", "Dmitri", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas")


class Fact(NamedTuple):
    """Task that a document states, as a person understands it.

    Attributes:
        title: the work, with a number that no other task has.
        sentence: the words that say it, without any markup; a model quotes them.
        who: the person; None if the form has no place for one.
        cue: words that name the person, in the sentence or before it.
        when: words of the date, and the day that they mean; None if there are none.
        table: ``tasks`` or ``timelines``.
    """

    title: str
    sentence: str
    who: str | None
    cue: str
    when: When | None
    table: str = "tasks"


class Paper(NamedTuple):
    """Document of one form, with its facts.

    Attributes:
        modified_at: time of its file.
    """

    form: str
    name: str
    text: str
    facts: tuple[Fact, ...]
    modified_at: datetime = SAVED


class Writer:
    """Source of the sentences of one document, all from a seed.

    Args:
        numbers: numbers of the tasks; no other document has them.
    """

    def __init__(self, seed: object, numbers: Iterator[int]) -> None:
        self.lots = Lots(seed)
        self.language: Language = LANGUAGES[self.lots.one(("en", "en", "en", "de", "fr", "es", "ru"))]
        self.people = self._shuffled(PEOPLE)
        self.facts: list[Fact] = []
        self._numbers = numbers

    def day(self) -> date:
        """Draw a day of writing."""
        return date(2025, 1, 20) + timedelta(days=self.lots.below(240))

    def idle(self, most: int = 3) -> str:
        """Return a few sentences without a task."""
        return " ".join(self.lots.one(self.language.idle) for _ in range(1 + self.lots.below(most)))

    def person(self) -> str:
        """Draw a person."""
        return self.lots.one(self.people)

    def title(self) -> str:
        """Draw the title of a new task."""
        return self.lots.one(self.language.deeds).format(f"{next(self._numbers):04}")

    def other(self, written: date) -> str:
        """State a task of a person whom the sentence names."""
        who = self.person()
        return self._said(self.language.other, written, who, who)

    def own(self, written: date, who: str, cue: str) -> str:
        """State a task of the person who speaks."""
        return self._said(self.language.own, written, who, cue)

    def bullet(self, written: date, who: str, cue: str) -> str:
        """State a task in a line of a list."""
        return self._said(self.language.bullet, written, who, cue)

    def keep(self, fact: Fact) -> str:
        """Add a fact and return its sentence."""
        self.facts.append(fact)
        return fact.sentence

    def _said(self, pattern: str, written: date, who: str, cue: str) -> str:
        title, when = self.title(), self.language.when(self.lots, written)
        sentence = pattern.format(who=who, what=title, when=when.phrase)
        sentence = sentence[:1].upper() + sentence[1:]
        return self.keep(Fact(title, " ".join(sentence.split()), who, cue, when))

    def _shuffled(self, among: Sequence[str]) -> tuple[str, ...]:
        left, drawn = list(among), []
        while left:
            drawn.append(left.pop(self.lots.below(len(left))))
        return tuple(drawn)
