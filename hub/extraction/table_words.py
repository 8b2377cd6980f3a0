"""Words of tables in six languages: headings of columns by what they hold, states, and priorities.

They are those of well-known programs and of lists by hand, compared as ``plain`` makes them. A new word is
added to its row, and needs no code.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from itertools import chain
from typing import Final

from hub.extraction.when.language import unmarked


def plain(words: str) -> str:
    """Return *words* for comparison: without case, accents, blanks and signs."""
    return re.sub(r"[\W_]+", "", words.lower() if words.isascii() else unmarked(words.lower()))


# By language, what a column holds: words behind a colon, divided by commas.
#   work, event, title   what is to be done, what takes place, either
#   content              text of a note; title of a task in a table that has a type column
#   done                 that a task is done, or the day on which it was
#   list                 list of a board, where a known state counts and any other name does not
#   type, archived       rows that are no tasks
#   record, log          what lists of other things have, if the title is no work or event, or in any case
_HEADINGS: Final = {
    "en": """
        work: task, tasks, task name, task title, to do, to dos, todo, action, actions, action item, next step
        work: chore, job, what, issue, open point, open item, card name, work item
        event: event, event name, milestone, appointment, meeting, occasion
        title: title, name, summary, subject
        content: content, note, notes, text, body
        description: description, details, note, notes, comment, comments, remark, remarks, card description
        status: status, state, stage, progress
        list: list, list name, section, section/column, bucket, bucket name, resolution, % complete
        done: done, completed, complete, finished, closed, resolved, checked, due complete, completed at
        done: completed on, completed date, date completed, finished on, done on, completion date, closed at
        priority: priority, prio, importance, urgency
        assignee: assignee, assignees, assign, assigned, assigned to, owner, owners, responsible, who, person
        assignee: people, member, members, in charge
        due: due, due date, due on, due by, due at, deadline, by, by when, until, target date, finish by
        start: start, starts, start date, starts on, starts at, begin, begins, begin date
        date: date, when, event date
        time: time, start time
        type: type, issue type, kind, item type
        archived: archived, deleted, cancelled, canceled
        project: project, projects, project name, board, board name
        record: amount, price, cost, balance, iban, qty, quantity, phone, paid
        log: billable, billable amount, tracked time
    """,
    "de": """
        work: Aufgabe, Aufgaben, Aufgabenname, Name der Aufgabe, was, was ist zu tun, zu tun, zu erledigen
        work: Maßnahme, Maßnahmen, Tätigkeit, Arbeitspaket, offener Punkt, Vorgangsname, Kartenname, Todos
        event: Veranstaltung, Ereignis, Termin, Anlass, Meilenstein
        title: Titel, Name, Betreff, Bezeichnung, Zusammenfassung
        content: Inhalt, Text, Notiz, Notizen
        description: Beschreibung, Bemerkung, Bemerkungen, Kommentar, Kommentare, Anmerkung, Anmerkungen
        description: Notiz, Notizen, Hinweis, Einzelheiten, Kartenbeschreibung
        status: Status, Stand, Zustand, Fortschritt, Bearbeitungsstand
        list: Liste, Listenname, Abschnitt, Spalte, Bucketname, Lösung, % abgeschlossen, % erledigt
        done: erledigt, erledigt am, fertig, fertig am, abgeschlossen, abgeschlossen am, abgehakt
        done: fertiggestellt, fertiggestellt am
        priority: Priorität, Wichtigkeit, Dringlichkeit
        assignee: wer, verantwortlich, Verantwortliche, Verantwortlicher, zuständig, Zuständige, zugewiesen
        assignee: zugewiesen an, zugewiesene Person, Bearbeiter, Bearbeiterin, Person, zuständige Person
        assignee: Mitglied, Mitglieder
        due: fällig, fällig am, Fälligkeit, Fälligkeitsdatum, Frist, bis, bis wann, Termin, Abgabe, Zieltermin
        start: Beginn, Start, Startdatum, Anfang, beginnt am
        date: Datum, wann
        time: Uhrzeit, Zeit
        type: Typ, Art, Vorgangstyp
        archived: archiviert, gelöscht, storniert, abgesagt
        project: Projekt, Projekte, Projektname
        record: Betrag, Preis, Kosten, Saldo, Menge, Anzahl, Telefon, bezahlt
        log: abrechenbar, fakturierbar
    """,
    "fr": """
        work: tâche, tâches, nom de la tâche, quoi, à faire, travail, action, actions, nom de la carte
        event: événement, évènement, rendez-vous, réunion, jalon, manifestation
        title: titre, nom, objet, résumé, intitulé
        content: contenu, texte, note, notes
        description: description, remarque, remarques, commentaire, commentaires, détails, observations
        status: statut, état, avancement, progression
        list: liste, section, compartiment, nom du compartiment, colonne, résolution, % achevé
        done: fait, fait le, terminé, terminée, terminé le, achevé, fini, réalisé, date de fin
        priority: priorité, urgence
        assignee: qui, responsable, responsables, attribué à, attribuée à, assigné à, assignée à, personne
        due: échéance, date d'échéance, pour le, pour quand, avant le, date limite, délai, à rendre
        start: début, date de début, commence le
        date: date, quand
        time: heure, horaire
        type: type de ticket, genre
        archived: archivé, archivée, annulé, supprimé
        project: projet, projets, nom du projet, tableau
        record: montant, prix, solde, quantité, téléphone, coût, payé
        log: facturable
    """,
    "es": """
        work: tarea, tareas, nombre de la tarea, qué, acción, acciones, por hacer, pendiente, pendientes
        event: evento, acto, reunión, cita, hito
        title: título, nombre, asunto, resumen
        content: contenido, texto, nota, notas
        description: descripción, comentario, comentarios, nota, notas, detalles, observaciones
        status: estado, situación, progreso, avance
        list: lista, sección, columna, depósito, nombre del depósito, resolución, % completado
        done: hecho, hecha, terminado, terminada, completado, completada, realizado, fecha de finalización
        priority: prioridad, importancia, urgencia
        assignee: responsable, responsables, quién, encargado, encargada, asignado a, asignada a, persona
        due: plazo, fecha límite, vencimiento, fecha de vencimiento, vence, para cuándo, fecha de entrega
        start: inicio, fecha de inicio, comienzo
        date: fecha, cuándo
        time: hora, horario
        type: tipo, tipo de incidencia
        archived: archivado, archivada, cancelado, cancelada
        project: proyecto, proyectos, nombre del proyecto, tablero
        record: importe, precio, saldo, cantidad, teléfono, coste, monto, pagado
        log: facturable
    """,
    "ru": """
        work: задача, задачи, название задачи, дело, дела, что, что сделать, поручение
        event: событие, мероприятие, встреча, веха
        title: название, тема, заголовок, наименование
        content: содержание, текст, заметка, заметки
        description: описание, комментарий, комментарии, примечание, примечания, заметка, заметки
        status: статус, состояние, прогресс, ход выполнения
        list: список, раздел, сегмент, имя сегмента, колонка, решение, % завершения
        done: готово, сделано, выполнено, завершено, закрыто, дата завершения
        priority: приоритет, важность, срочность
        assignee: кто, ответственный, ответственные, исполнитель, исполнители, назначено, кому назначено
        due: срок, дедлайн, до, срок исполнения, срок выполнения, крайний срок
        start: начало, дата начала
        date: дата, когда
        time: время
        type: тип, тип задачи, вид
        archived: архив, в архиве, отменено, удалено
        project: проект, проекты, название проекта, доска
        record: сумма, цена, стоимость, количество, телефон, баланс, оплачено
    """,
    "zh": """
        work: 任务, 任务名称, 事项, 待办, 待办事项, 工作, 工作内容, 行动, 什么
        event: 活动, 事件, 会议, 里程碑, 日程
        title: 标题, 名称, 主题, 摘要
        content: 内容, 正文, 笔记
        description: 说明, 备注, 描述, 评论, 详情
        status: 状态, 进度, 进展, 完成情况
        list: 列表, 分组, 存储桶, 存储桶名称, 阶段
        done: 完成, 已完成, 是否完成, 完成日期, 完成时间
        priority: 优先级, 重要性, 紧急程度
        assignee: 负责人, 责任人, 谁, 执行人, 经办人, 分配给
        due: 截止, 截止日期, 截止时间, 期限, 到期日, 到期日期, 最后期限
        start: 开始, 开始日期
        date: 日期, 什么时候
        time: 时间, 开始时间
        type: 类型, 问题类型
        archived: 归档, 已归档, 已取消
        project: 项目, 项目名称, 看板
        record: 金额, 价格, 单价, 数量, 电话, 余额
    """,
}
_STATES: Final = """
    todo: todo, to do, open, new, not started, pending, backlog, no, n, false, 0, waiting, blocked, on hold
    todo: planned, next, inbox, reopened, unresolved, postponed, deferred, [ ], ☐, □, ✗, ✘, ❌, ❎
    todo: offen, neu, nein, nicht begonnen, ausstehend, geplant, wartet, wartet auf jemand anderen, verschoben
    todo: zu erledigen, zu tun, nicht erledigt, unerledigt, falsch
    todo: à faire, non, non commencé, non commencée, non démarré, non démarrée, ouvert, en attente, reporté
    todo: pendiente, por hacer, sin empezar, no iniciado, no iniciada, abierto, en espera, aplazado
    todo: не начата, не начато, новая, новый, нет, открыта, открыто, ожидает, отложена, отложено, не сделано
    todo: 未开始, 待办, 未完成, 否, 待处理, 新建, 等待, 延期, 计划中
    in_progress: in progress, doing, started, wip, active, in review, review, ongoing, begun, under way, [/]
    in_progress: in Arbeit, in Bearbeitung, begonnen, angefangen, läuft, laufend, in Prüfung
    in_progress: en cours, commencé, commencée, démarré, démarrée, en révision
    in_progress: en curso, en progreso, en proceso, empezado, empezada, iniciado, iniciada, en revisión
    in_progress: в работе, в процессе, выполняется, начата, начато, на проверке
    in_progress: 进行中, 处理中, 已开始, 正在进行, 审核中
    done: done, complete, completed, closed, finished, resolved, fixed, yes, y, true, x, 1, 100, ok, [x]
    done: ☑, ☒, ✓, ✔, ✔️, ✅, erledigt, wahr, fertig, fertiggestellt, abgeschlossen, geschlossen, ja
    done: fait, faite, terminé, terminée, achevé, achevée, fini, finie, fermé, clos, oui
    done: hecho, hecha, terminado, terminada, completado, completada, cerrado, cerrada, finalizado, listo, sí
    done: готово, сделано, выполнено, выполнена, завершено, завершена, закрыта, закрыто, да
    done: 完成, 已完成, 已关闭, 已解决, 结束, 是
    cancelled: cancelled, canceled, won't do, won't fix, dropped, rejected, obsolete, duplicate, archived, [-]
    cancelled: abgebrochen, abgesagt, entfällt, entfallen, storniert, hinfällig, verworfen, archiviert
    cancelled: abgelehnt, wird nicht erledigt
    cancelled: annulé, annulée, abandonné, abandonnée, archivé, archivée, sans objet
    cancelled: cancelado, cancelada, anulado, anulada, descartado, descartada, archivado, archivada
    cancelled: отменена, отменено, отменён, неактуально, снята, отклонена, в архиве
    cancelled: 取消, 已取消, 已归档, 作废, 放弃
"""
_PRIORITIES: Final = """
    high: high, highest, very high, urgent, critical, important, blocker, top, p0, p1, 1, a, !!, !!!
    high: hoch, sehr hoch, höchste, dringend, wichtig, kritisch, haute, très haute, élevée, urgente
    high: importante, critique, alta, muy alta, crítica, высокий, высокая, срочно, срочный, критический
    high: важно, важный
    high: 高, 最高, 紧急, 重要
    medium: medium, normal, middle, moderate, p2, 2, b, mittel, moyen, moyenne, normale, media, medio
    medium: средний, средняя, обычный, обычная, нормальный, 中, 中等, 普通, 一般
    low: low, lowest, very low, minor, trivial, p3, 3, c, niedrig, sehr niedrig, gering, faible, basse
    low: baja, bajo, muy baja, низкий, низкая, 低, 最低
    none: none, p4, 4, 0, keine, aucune, ninguna, нет, 无
"""
_NO_TASKS: Final = "row: section, meta, note, comment, folder, list, heading"


def _rows(text: str) -> list[tuple[str, str]]:
    """Return pairs of a compared word and what it means."""
    lines = (line.strip().partition(": ") for line in text.strip().splitlines())
    # A sign alone is compared as it is.
    return [(plain(word) or word, meaning) for meaning, _, words in lines for word in words.split(", ")]


STATES: Final[Mapping[str, str]] = dict(_rows(_STATES))
PRIORITIES: Final[Mapping[str, str]] = dict(_rows(_PRIORITIES))
NO_TASKS: Final = frozenset(word for word, _ in _rows(_NO_TASKS))
HEADINGS: Final[dict[str, set[str]]] = defaultdict(set)
for _word, _kind in chain.from_iterable(map(_rows, _HEADINGS.values())):
    HEADINGS[_word].add(_kind)
# Of languages that write the day before the month in figures, without the words that English has too.
DAY_FIRST: Final = frozenset(
    word for code in ("de", "fr", "es", "ru") for word, _ in _rows(_HEADINGS[code])
) - frozenset(word for word, _ in _rows(_HEADINGS["en"]))


def means(meanings: Mapping[str, str], cell: str) -> str | None:
    """Return what a cell means, by its words or by its sign; None if it is unknown."""
    return meanings.get(plain(cell) or cell.strip())
