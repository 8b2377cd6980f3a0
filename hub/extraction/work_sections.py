# ruff: noqa: RUF001 - letters of other alphabets
"""Sections of a text whose heading, or whose file's name, announces work or says that it is over.

A heading counts by its form: that of Markdown, Org or reStructuredText, a line in bold, or a short line with
a colon above rows. Its words are compared without signs, numbers and brackets, so "✅ Done (3)" is "done".
Pure functions.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final, Literal, NamedTuple

from hub.extraction.items import DocumentLine

SectionState = Literal["", "work", "begun", "over", "other"]

_WORDS: Final[dict[SectionState, str]] = {
    "work": """
        to do, todo, todos, to dos, todo list, to do list, tasks, task list, action items, action item
        action points, actions, next steps, next actions, open items, open points, open tasks, open issues
        open todos, remaining, remaining tasks, remaining work, still to do, left to do, backlog, chores
        errands, follow ups, followups, homework, must do, things to do, work items, pending, outstanding
        pending tasks, current tasks, my tasks, unfinished, not done, not started
        aufgaben, aufgabenliste, zu erledigen, zu tun, offene punkte, offene aufgaben, offen, noch offen
        noch zu tun, noch zu erledigen, nächste schritte, maßnahmen, erledigungen, hausaufgaben
        à faire, a faire, tâches, taches, liste de tâches, prochaines étapes, reste à faire, actions à mener
        choses à faire, en attente
        tareas, lista de tareas, por hacer, pendientes, tareas pendientes, próximos pasos, acciones
        cosas por hacer, deberes, cosas que hacer, quehaceres
        задачи, дела, сделать, нужно сделать, надо сделать, список дел, список задач
        следующие шаги, поручения
        待办, 待办事项, 待办清单, 任务, 任务清单, 任务列表, 下一步, 行动项, 未完成, 待处理, 后续工作
        要做的事, 待完成
        da fare, cose da fare, attività, compiti, prossimi passi
        a fazer, tarefas, pendências, próximos passos, lista de tarefas
        taken, te doen, nog te doen, actiepunten, volgende stappen
        do zrobienia, zadania, lista zadań, att göra, uppgifter, huskeliste, oppgaver, gjøremål, opgaver
        やること, タスク, 할 일, yapılacaklar, завдання, зробити, úkoly
    """,
    "begun": """
        doing, in progress, wip, work in progress, ongoing, in arbeit, in bearbeitung, en cours, en curso
        en proceso, в работе, в процессе, 进行中, in corso, em andamento, bezig, w trakcie, pågående, 進行中
    """,
    "over": """
        done, done tasks, completed, complete, completed tasks, closed, closed tasks, archive, archived
        finished, finished tasks, resolved, wont do, won't do, cancelled, canceled, rejected, already done
        achieved, accomplished, shipped, what we did, dropped, abandoned, discarded
        erledigt, erledigte aufgaben, bereits erledigt, fertig, abgeschlossen, archiv, verworfen, geschafft
        abgebrochen, gelöst, geschlossen, bereits umgesetzt, umgesetzt
        fait, faits, faite, faites, déjà fait, terminé, terminés, terminée, terminées, fini, archives
        abandonné, annulé, clos, réglé, réalisé
        hecho, hechos, hecha, hechas, terminado, terminadas, completado, completadas, completados, finalizado
        finalizadas, realizado, realizadas, archivo, archivado, descartado, cerrado, ya hecho, cancelado
        сделано, готово, выполнено, завершено, закрыто, архив, отменено, решено, выполненные
        完成, 已完成, 归档, 已归档, 已取消, 已办, 已解决, 做完的, 已关闭
        fatto, fatti, completato, completati, annullato, feito, feitos, concluído, concluída, concluídas
        klaar, gedaan, voltooid, afgerond, zrobione, gotowe, ukończone, klart, gjort, avslutat, ferdig, færdig
        完了, 済み, 완료, 완료됨, tamamlandı, yapıldı, зроблено, виконано, hotovo, valmis
    """,
    # Rows of other things among those of work.
    "other": """
        shopping, shopping list, groceries, packing list, waiting for, ideas, idea, someday, someday maybe
        buy, to buy, need to buy, things to buy
        maybe, notes, note, links, questions, resources, references, background, context, attendees, present
        agenda, summary, goals, goal
        einkauf, einkäufe, einkaufsliste, einkaufszettel, einkaufen, kaufen, zu kaufen, packliste, ideen
        notizen, fragen
        anwesend, hintergrund, ziele, ziel
        courses, liste de courses, à acheter, bagages, idées, remarques, liens, présents, objectif, objectifs
        compras, lista de la compra, lista de compras, comprar, por comprar, ideas, notas
        enlaces, preguntas, asistentes, objetivos
        покупки, список покупок, купить, идеи, заметки, ссылки, вопросы, цели
        购物, 购物清单, 采购, 买, 要买, 要买的东西, 行李, 想法, 笔记, 备注, 链接, 问题, 目标
        spesa, lista della spesa, idee, note, lista de compras, ideias, notas, ideeën, pomysły, zakupy, idéer
    """,
}
_SIGNS: Final = re.compile(r"[\W\d_]+")
_STATES: Final[dict[str, SectionState]] = {
    " ".join(_SIGNS.sub(" ", word.casefold()).split()): state
    for state, words in _WORDS.items()
    for line in words.strip().splitlines()
    for word in line.split(",")
}
_LONGEST: Final = 60  # characters of a heading
_ASIDE: Final = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|（[^（）]*）")
# Words of work that may be followed by others: for whom, by when, of what.
_LEADING: Final = re.compile(
    r"(?:to ?dos?|tasks?(?: list)?|action items?|next steps|aufgaben|offene punkte|nächste schritte|tâches"
    r"|à faire|prochaines étapes|tareas|pendientes|próximos pasos|задачи|список дел|待办|任务)(?: |$)"
)
_TO_DO: Final = re.compile(r"(?:^|[\s:])(?:TODOs?|To-?Dos?|TO-DO|to-dos?)$")
# Words around that of a state: "What is already done", "Noch nicht erledigt".
_NEGATION_WORDS: Final = "not nicht noch pas encore non no aún sin не ещё еще nog niet"
_FILLER_WORDS: Final = """
    what is was are i we already all everything schon bereits alles ist was wir déjà tout ce qui est
    ya lo que está todo что уже всё все мы già al wat
"""
_NEGATIONS: Final = frozenset(_NEGATION_WORDS.split())
_FILLERS: Final = _NEGATIONS | frozenset(_FILLER_WORDS.split())
_PART: Final = re.compile(r"[:：|]|(?<=\s)[-–—/](?=\s)")

_ROW: Final = re.compile(r"(?P<indent>[ \t]*)(?:[-*+\u2022\u2023\u25e6\u2013]|\d{1,3}[.)])[ \t]+(?=\S)")
_BOX_ROW: Final = re.compile(r"[ \t]*+(?:(?:[-*+]|\d{1,3}[.)])[ \t]*+)?(?:\[.?\]|[\u2610-\u2612])[ \t]")
_TICKED: Final = re.compile(r"[ \t]*(?:[-*+]|\d{1,3}[.)])[ \t]+[\u2705\u2714\u2713\u2611]")
_STATUS: Final = re.compile(r"[*_(]{0,2}(?P<word>[^\W\d_]+)[*_)]{0,2}(?=[,;!.)]|\s+(?:on|am|le|el|\d)|\s*$)")
_FIRST_STATUS: Final = re.compile(r"[ \t]*[\[({](?P<word>[^\W\d_]{2,20})[\])}]")
_HASHES: Final = re.compile(r" {0,3}(#{1,6})[ \t]+(?P<words>\S.*)")
_STARS: Final = re.compile(r"(\*{1,12})[ \t]+(?P<words>\S.*)")
_ORG_TASK: Final = re.compile(r"[A-Z-]{3,20}[ \t]+\S")  # with a keyword: its rows explain it
_UNDERLINE: Final = re.compile(r"(?P<sign>[=~^\"#*+-])(?P=sign){2,}[ \t]*")
_BOLD: Final = re.compile(
    r"[ \t]*(?:\*\*|__)(?P<words>[^*_]{1,60})(?:\*\*|__)(?P<behind>[^\w]{0,4})(?:\([^()]{0,20}\))?[ \t]*"
)
_COLON: Final = re.compile(r"[ \t]*(?P<words>[^\W\d_][^.!?:：]{0,58})[:：][ \t]*")
_BOLD_LEVEL, _COLON_LEVEL = 20, 21


class WorkRow(NamedTuple):
    """Entry of a list below a heading of work: the index of its line, and that after its last one."""

    first: int
    start: int  # of its words in the line
    after: int


@lru_cache(maxsize=1_024)
def heading_state(heading: str) -> SectionState:
    """Return what a heading says of the rows below it."""
    if len(heading) > _LONGEST:
        return ""
    words = _ASIDE.sub(" ", heading)
    bare = _bare(words)
    if (state := _STATES.get(bare)) is not None:
        return state
    head, *others = _PART.split(words.strip(" *_#"), maxsplit=1)
    # What is over may be so since a day: "Done: 3 May".
    is_day_like = bool(others) and len(others[0].split()) <= 3 and any(map(str.isdigit, others[0]))
    if others and (state := _STATES.get(_bare(head))) and (state != "over" or is_day_like):
        return state
    if others and _STATES.get(_bare(others[0])) == "work":
        return "work"
    parts = bare.split()
    count = len(parts)
    core = " ".join(part for part in parts if part not in _FILLERS)
    if count <= 5 and _STATES.get(core) == "over":
        return "over" if _NEGATIONS.isdisjoint(parts) else "work"
    if count <= 6 and not words.rstrip().endswith((".", "!", "?", ",")) and _LEADING.match(bare):
        return "work"
    return "work" if count <= 4 and _TO_DO.search(words.strip(" *_#:!.")) else ""


def _bare(words: str) -> str:
    return " ".join(_SIGNS.sub(" ", words.casefold()).split())


def name_state(unit_key: str) -> SectionState:
    """Return what the name of a file says of all its rows."""
    words = _bare(PurePosixPath(unit_key.replace("\\", "/")).stem)
    state = _STATES.get(words, "")
    if not state and len(ends := words.split()) <= 4:
        state = "work" if "work" in {_STATES.get(word) for word in (*ends[:1], *ends[-1:])} else ""
    return state


class WorkSections:
    """States of the lines of a text.

    Args:
        root: state of lines that no heading is about.
        is_org: stars begin a heading.
    """

    def __init__(self, lines: Sequence[DocumentLine], *, root: SectionState = "", is_org: bool = False):
        self._lines = lines
        self._is_org = is_org
        self.states: list[SectionState] = []
        self.headings: set[int] = set()
        stack: list[tuple[int, SectionState]] = []
        has_rows = is_apart = False
        for nth, line in enumerate(self._lines):
            is_blank = not line.text.strip()
            is_row = not is_blank and _ROW.match(line.text) is not None
            heading = None if is_blank else self._heading(nth, is_row=is_row)
            if heading is not None:
                level, state = heading
                stack = [*(above for above in stack if above[0] < level), (level, state)]
                self.headings.add(nth)
                has_rows = False
            elif has_rows and is_apart and not is_row and not is_blank and line.indent == 0:
                stack = [above for above in stack if above[0] < _COLON_LEVEL]
            has_rows = has_rows or is_row
            is_apart = is_blank
            states = [root, *(state for _, state in stack)]
            self.states.append("over" if "over" in states else next(filter(None, reversed(states)), ""))

    def _heading(self, nth: int, *, is_row: bool) -> tuple[int, SectionState] | None:
        """Return level and state of a line that is a heading by its form, else None."""
        text = self._lines[nth].text
        if found := (_STARS if self._is_org else _HASHES).match(text):
            words = found["words"].rstrip(" #")
            is_task = self._is_org and _ORG_TASK.match(words) is not None
            return len(found[1]), "other" if is_task else heading_state(words)
        if is_row or len(text) > 2 * _LONGEST:
            return None
        below = self._lines[nth + 1].text if nth + 1 < len(self._lines) else ""
        if (line := _UNDERLINE.fullmatch(below)) and len(text.strip()) >= 3 and not _BOX_ROW.match(text):
            return 1 if line["sign"] == "=" else 2, heading_state(text)
        if found := _BOLD.fullmatch(text):
            return _BOLD_LEVEL, heading_state(found["words"])
        if found := _COLON.fullmatch(text):
            is_above = any(_is_row(line.text) for line in self._lines[nth + 1 : nth + 3])
            return (_COLON_LEVEL, heading_state(found["words"])) if is_above else None
        state = heading_state(text) if len(text) <= _LONGEST and text.strip() else ""
        return (_COLON_LEVEL, state) if state and _is_row(below) else None

    def rows(self, *, is_loose: bool = False) -> Iterator[WorkRow]:
        """Yield the rows below headings of work, without those that explain a row above.

        Args:
            is_loose: lines without a mark are rows, too.
        """
        around: list[tuple[int, bool]] = []  # indent of rows above, and whether they are tasks
        nth = 0
        while nth < len(self._lines):
            line, state = self._lines[nth], self.states[nth]
            row = _ROW.match(line.text)
            nth += 1
            if nth - 1 in self.headings or state not in ("work", "begun"):
                around.clear()
                continue
            is_row = row is not None or (is_loose and line.text.strip() != "")
            if not is_row or _BOX_ROW.match(line.text):
                continue
            around = [above for above in around if above[0] < line.indent]
            is_label = line.text.rstrip().endswith((":", "："))
            if any(is_task for _, is_task in around):
                continue
            around.append((line.indent, not is_label))
            if is_label or _is_done_row(line.text):
                continue
            first = nth - 1
            nth = nth if is_loose else rows_below(self._lines, first, _is_row)
            yield WorkRow(first, row.end() if row else len(line.text) - len(line.text.lstrip()), nth)


def rows_below(lines: Sequence[DocumentLine], first: int, is_entry: Callable[[str], object]) -> int:
    """Return the index behind the lines below the entry *first* that are indented deeper and no entries."""
    after = first + 1
    while after < len(lines) and lines[after].text.strip() and not is_entry(lines[after].text):
        if lines[after].indent <= lines[first].indent:
            break
        after += 1
    return after


def _is_done_row(text: str) -> bool:
    """Return True for a row that says at its end, or by a sign at its start, that it is done."""
    row = _ROW.match(text)
    first = _FIRST_STATUS.match(text, row.end() if row else 0)
    if _TICKED.match(text) or (first is not None and heading_state(first["word"]) == "over"):
        return True
    _, *parts = _PART.split(text)
    words = [_STATUS.match(part.strip()) for part in parts]
    return any(word is not None and _STATES.get(word["word"].casefold()) == "over" for word in words)


def _is_row(text: str) -> bool:
    return _ROW.match(text) is not None or _BOX_ROW.match(text) is not None
