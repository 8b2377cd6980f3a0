"""Rules for tables (CSV, pipes): which columns and rows become items. Pure functions.

The rows of a text are divided into tables. One begins with a row of headings that is clear: title and date
have one column each, and one kind of table uses more columns than any other. No row of a text is prose,
whether its table is understood or not. Rows with content that yield no item are left to the model, with the
headings.

The words of headings, states and priorities in six languages are those of well-known programs and of lists by
hand, compared as ``plain`` makes them. A new word is added to its row, and needs no code.
"""

import csv
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property
from itertools import chain
from typing import Final

import msgspec

from hub.base.clock import from_epoch_ms
from hub.document import Document
from hub.extraction.blocks import STRUCK_WORDS
from hub.extraction.chunk import Passage, trimmed
from hub.extraction.dating import PassageDates, order_of
from hub.extraction.items import Evidence, ExtractionOptions, RowItems, RulesForm, lines_of
from hub.extraction.tokens import unmarked
from hub.extraction.when.resolve import Anchor, DateContext, date_ms, local_day, resolve
from hub.extraction.wording.recognition import TextLanguages
from hub.text.places import Place
from protocol.frame import Field
from protocol.tables import TABLES, Column, DeviceTable, Filler, Kind, TableName, plain_choice


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
#   settled              that what is due is done
#   act                  day by which the thing of the row, or whom it names, has to be paid, called or chased
#   day                  the same, or the day on which that was done
#   since                begin of a shift or an absence
#   known                words that tell nothing of a task
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
        done: ok
        priority: priority, prio, importance, urgency
        assignee: assignee, assignees, assign, assigned, assigned to, owner, owners, responsible, who, person
        assignee: people, member, members, in charge, handled by, done by, who does it
        due: due, due date, due on, due by, due at, deadline, by, by when, until, target date, finish by
        act: pay by, pay before, pay until, payable by, payment due, payment deadline, payment due date
        act: call by
        act: call back, call back by, call back on, callback, callback date, ring by, ring back, ring back by
        act: follow up, follow up by, follow up on, follow up date, chase, chase by, chase on, remind on
        act: deliver by, delivery due, reply by, reply due, answer by, send by, return by, renew by, order by
        act: contact by, next contact, next call, next step by
        day: date of payment, payment date, pay date, payment day, delivery date, date of delivery
        start: start, starts, start date, starts on, starts at, begin, begins, begin date
        date: date, when, event date
        time: time, start time
        type: type, issue type, kind, item type
        archived: archived, deleted, cancelled, canceled
        project: project, projects, project name, board, board name
        record: amount, price, cost, balance, iban, qty, quantity, phone, paid
        settled: paid, paid on, date paid, returned, given back, called, called back, delivered
        since: from, since
        known: sent, issued, invoice date, received, created, pos
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
        assignee: Mitglied, Mitglieder, Zuständigkeit, wer macht es, Ansprechpartner, Besitzer
        due: fällig, fällig am, Fälligkeit, Fälligkeitsdatum, Frist, bis, bis wann, Termin, Abgabe, Zieltermin
        act: zahlbar bis, zu zahlen bis, zahlen bis, bezahlen bis, Zahlungsziel, Zahlungsfrist, Rückruf
        act: Rückruf bis, Rückruf am, zurückrufen, zurückrufen bis, anrufen bis, anrufen am, nachfassen
        act: nachfassen am, nachfassen bis, Nachfassdatum, nachhaken, Wiedervorlage, Wiedervorlage am
        act: erinnern am, melden bis, Antwort bis, antworten bis, Rückgabe bis, zurück bis, kündigen bis
        act: Liefertermin, Lieferfrist, liefern bis, Lieferung bis, nächster Kontakt
        day: Zahlungsdatum, Zahltag, Zahlungstag, Lieferdatum, Tag der Zahlung
        start: Beginn, Start, Startdatum, Anfang, beginnt am
        date: Datum, wann
        time: Uhrzeit, Zeit
        type: Typ, Art, Vorgangstyp
        archived: archiviert, gelöscht, storniert, abgesagt
        project: Projekt, Projekte, Projektname
        record: Betrag, Preis, Kosten, Saldo, Menge, Anzahl, Telefon, bezahlt
        settled: bezahlt, bezahlt am, beglichen, angerufen, geliefert, zurück, zurückgegeben
        settled: zurückgebracht, retour
        since: von, ab, seit
        known: gesendet, verschickt, ausgestellt, Rechnungsdatum, eingegangen
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
        assignee: qui, pris en charge par, en charge, qui s'en charge, responsable, responsables
        assignee: attribué à, attribuée à, assigné à, assignée à, personne
        due: échéance, date d'échéance, pour le, pour quand, avant le, date limite, délai, à rendre
        act: à payer avant, à payer avant le, à payer le, à payer pour le, payer avant le, payable avant le
        act: date limite de paiement, échéance de paiement, délai de paiement, à régler avant le, à régler le
        act: rappeler, rappeler le, rappeler avant le, à rappeler, à rappeler le, à rappeler avant le, relance
        act: relancer, relancer le, à relancer, à relancer le, date de relance, suivi le, répondre avant le
        act: à livrer avant le, à livrer le, livraison prévue, à rendre avant le, à rendre le, rendre avant le
        act: prochain contact
        day: date de paiement, date de règlement, date de livraison, livraison le, livraison
        start: début, date de début, commence le
        date: date, quand
        time: heure, horaire
        type: type de ticket, genre
        archived: archivé, archivée, annulé, supprimé
        project: projet, projets, nom du projet, tableau
        record: montant, prix, solde, quantité, téléphone, coût, payé
        settled: payé, payée, payé le, réglé, réglée, réglé le, rendu, rendue, rappelé, livré, livrée
        since: du, de, depuis
        known: envoyé, envoyée, émis, émise, reçu, date de facture
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
        assignee: a cargo de, a cargo, quién lo hace, responsable, responsables, quién, encargado
        assignee: encargada, asignado a, asignada a, persona
        due: plazo, fecha límite, vencimiento, fecha de vencimiento, vence, para cuándo, fecha de entrega
        due: para
        due: hasta, antes de, antes del, vence el
        act: pagar antes de, pagar antes del, pagar hasta, a pagar antes del, fecha límite de pago
        act: plazo de pago
        act: vencimiento del pago, llamar antes de, llamar antes del, llamar el, devolver llamada
        act: volver a llamar
        act: devolver la llamada, seguimiento, fecha de seguimiento, recordar el, responder antes del
        act: entregar antes de, entregar antes del, plazo de entrega, devolver antes del, próximo contacto
        day: fecha de pago, día de pago
        start: inicio, fecha de inicio, comienzo
        date: fecha, cuándo
        time: hora, horario
        type: tipo, tipo de incidencia
        archived: archivado, archivada, cancelado, cancelada
        project: proyecto, proyectos, nombre del proyecto, tablero
        record: importe, precio, saldo, cantidad, teléfono, coste, monto, pagado
        settled: pagado, pagada, pagado el, devuelto, devuelta, llamado, entregado, entregada
        since: desde, de
        known: enviado, enviada, emitido, emitida, recibido, fecha de factura
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
        assignee: кто, кто делает, кто отвечает, отвечает, за кем, ответственный, ответственные
        assignee: исполнитель, исполнители, назначено, кому назначено
        due: срок, дедлайн, до, срок исполнения, срок выполнения, крайний срок
        due: сделать до, выполнить до
        act: оплатить до, срок оплаты, оплатить, к оплате до, заплатить до, платить до, крайний срок оплаты
        act: перезвонить, перезвонить до, позвонить до, позвонить, обратный звонок, связаться, связаться до
        act: напомнить, срок поставки, поставить до, доставить до, срок доставки, сдать до, срок сдачи
        act: вернуть до, срок возврата, ответить до, отправить до, следующий контакт, следующий звонок
        day: дата оплаты, день оплаты, дата платежа, дата доставки, дата поставки
        start: начало, дата начала
        date: дата, когда
        time: время
        type: тип, тип задачи, вид
        archived: архив, в архиве, отменено, удалено
        project: проект, проекты, название проекта, доска
        record: сумма, цена, стоимость, количество, телефон, баланс, оплачено
        settled: оплачено, оплачен, оплачена, возвращено, вернули, перезвонили, доставлено
        since: \u0441, от
        known: отправлено, выставлен, получено, дата счёта
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
        assignee: 由谁负责, 担当人, 负责人, 责任人, 谁, 执行人, 经办人, 分配给
        due: 截止, 截止日期, 截止时间, 期限, 到期日, 到期日期, 最后期限
        act: 付款期限, 付款截止, 付款截止日期, 付款到期日, 应付日期, 缴费期限, 缴费截止, 还款日, 最后付款日
        act: 回电, 回电日期, 回电期限, 回电截止, 回访, 回访日期, 跟进, 跟进日期, 下次跟进, 联系日期, 下次联系
        act: 回复期限, 回复截止, 归还期限, 交货期, 交货期限, 交付期限
        day: 付款日期, 付款日, 缴费日期, 交货日期, 交付日期, 送货日期
        start: 开始, 开始日期
        date: 日期, 什么时候
        time: 时间, 开始时间
        type: 类型, 问题类型
        archived: 归档, 已归档, 已取消
        project: 项目, 项目名称, 看板
        record: 金额, 价格, 单价, 数量, 电话, 余额
        settled: 已付, 已付款, 已支付, 已还, 归还, 已回电, 已交货
        since: 从, 自, 起
        known: 发出, 开票日期, 收到
    """,
    "it": """
        work: compito, cosa fare
        assignee: chi
        due: entro, entro il, scadenza
        done: fatto
        settled: pagato
    """,
    "nl": """
        work: taak, taken
        assignee: wie
        due: vóór, uiterlijk, vervaldatum
        done: klaar, gedaan
        settled: betaald
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
    done: paid, bezahlt, payé, payée, réglé, réglée, pagado, pagada, оплачено, оплачен, оплачена, 已付, 已付款
    done: delivered, called back, geliefert, beglichen, zurückgerufen, livré, livrée, rappelé, entregado
    done: entregada, доставлено, доставлен, доставлена, перезвонили, 已支付, 已交货, 已回电
    todo: unpaid, not paid, unbezahlt, nicht bezahlt, impayé, impayée, non payé, non payée, à payer, sin pagar
    todo: no pagado, no pagada, не оплачено, не оплачен, не оплачена, открыт, 未付, 未付款, 未支付, 待付款
    todo: overdue, due, überfällig, fällig, en retard, vencido, vencida, просрочен, просрочено, 逾期
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


def _words_of(text: str) -> list[tuple[str, str]]:
    """Return pairs of a compared word and what it means."""
    lines = (line.strip().partition(": ") for line in text.strip().splitlines())
    # A sign alone is compared as it is.
    return [(plain(word) or word, meaning) for meaning, _, words in lines for word in words.split(", ")]


STATES: Final[Mapping[str, str]] = dict(_words_of(_STATES))
PRIORITIES: Final[Mapping[str, str]] = dict(_words_of(_PRIORITIES))
NO_TASKS: Final = frozenset(("section", "meta", "note", "comment", "folder", "list", "heading"))
HEADINGS: Final[dict[str, set[str]]] = defaultdict(set)
for _word, _kind in chain.from_iterable(map(_words_of, _HEADINGS.values())):
    HEADINGS[_word].add(_kind)
# Of languages that write the day before the month in figures, without the words that English has too.
DAY_FIRST: Final = frozenset(
    word for code in ("de", "fr", "es", "ru", "it", "nl") for word, _ in _words_of(_HEADINGS[code])
) - frozenset(word for word, _ in _words_of(_HEADINGS["en"]))


def means(meanings: Mapping[str, str], cell: str) -> str | None:
    """Return what a cell means, by its words or by its sign; None if it is unknown."""
    return meanings.get(plain(cell) or cell.strip())


_CANCELLED: Final = "cancelled"
_DAY_BEHIND: Final = re.compile(r",?[ ](?:(?:am|on|le|el) )?\d[\d./-]{3,9}\Z")  # "paid 28.11"
_ROW_NUMBER: Final = 2  # characters of a number of the row
_TABLE_ROW: Final = Evidence(mark="form", rule="table.row")
_TASK_MARKS: Final = ("status", "done", "priority", "assignee")
_OF_TASKS: Final = ("remark", "list", "start", "type", "archived", "project", "work")
# Columns of those with whom work is done, who are named before it: "Hobbs Bakery: rolls".
_PARTY_WORDS: Final = """
    supplier vendor seller company firm payee customer client contractor Lieferant Anbieter Firma Händler
    Empfänger Kunde Kundin fournisseur prestataire entreprise société bénéficiaire proveedor empresa
    beneficiario cliente contratista поставщик фирма компания получатель клиент заказчик подрядчик
    供应商 公司 商家 收款方 客户
"""
_PARTIES: Final = frozenset(map(plain, _PARTY_WORDS.split()))
_SUBJECTS: Final = frozenset(
    map(plain, ("what", "was", "quoi", "qué", "что", "什么", "事项"))
)  # headings of nouns
_CURRENCY: Final = re.compile(r"\b(?:EUR|USD|CHF|GBP)\b|[€$£]")
_SPANS: Final = frozenset(map(plain, ("until", "bis", "до", "para", "hasta", "vóór")))  # also for how long
_KINDS: Final = {"dueDate": "when", "date": "when", "description": "remark"}  # of columns, by field
DELIMITERS: Final = (",", ";", "\t", "|")
_HEAD_CHARS: Final = 4_000  # at the start of a file, which tell its delimiter and its day
_MAX_ABOVE_CHARS: Final = 40_000  # of lines above tables, which begin anew for each of them
_FENCE: Final = re.compile(r"^[ \t>]{0,40}(?:```|~~~)", re.MULTILINE)
_QUOTED: Final = re.compile(r"[ \t]*(?:>[ \t]?)*")
_SENTENCE_ENDS: Final = (".", "!", "?", "\u2026", "\u3002", "\uff01", "\uff1f")
_EMPHASIS: Final = re.compile(r"\*\*|`")
_LINK: Final = re.compile(r"\[([^\[\]\r\n]{1,200})\]\([^()\s]{1,400}\)")
_PIPE: Final = re.compile(r"(?<!\\)\|")
_RULE: Final = re.compile(r":?[-+=]+:?")
PIPE_TABLE: Final = re.compile(  # three lines with a pipe, or a border between rows
    r"(?>(?:^(?:[^|\r\n]*+\|[^\r\n]*+|[ \t>]*+\+[-+=]++[ \t]*+)(?:\r?\n|\Z)){3,})", re.MULTILINE
)
_TABBED: Final = re.compile(  # two lines with a tab between words, as of a page or a copied spreadsheet
    r"^[^\s|][^\t|\r\n]*+\t[^|\r\n]*+\r?\n(?>(?:[^\t|\r\n]*+\t[^|\r\n]*+(?:\r?\n|\Z))+)", re.MULTILINE
)
_CELL: Final = r"[^\s|]++(?>(?:[ ]{1,2}[^\s|]++)*)"
_ALIGNED: Final = re.compile(  # two lines with three columns, or a frame
    rf"(?>(?:^[ ]*+{_CELL}(?>(?:[ ]{{3,}}+{_CELL}){{2,}})[ ]*+(?:\r?\n|\Z)){{2,}})"
    r"|(?>(?:^[ ]*+[\u2500-\u257f][^\r\n|]*+(?:\r?\n|\Z))+)",
    re.MULTILINE,
)
_GAPS: Final = {PIPE_TABLE: _PIPE, _TABBED: re.compile("\t"), _ALIGNED: re.compile("[\u2500-\u257f]| {3,}")}
_MAY_BE_TABLE: Final = re.compile("[|\t\u2500-\u257f]| {3}")
_MAX_DATES: Final = 1_000  # different words for dates in one file that are parsed, 2 ms each
_FIGURES: Final = re.compile(r"(?<![\d/-])(\d{1,2})([/-])(\d{1,2})\2(?:20)?(\d\d)(?![\d/-])")
_NAMED_MONTH: Final = re.compile(r"(?<!\w)(\d{1,2})[/-]([^\W\d_]{3,12}\.?)[/-](?:20)?(\d\d)(?!\d)")
_MIDNIGHT: Final = re.compile(r"(?<=\d),?[ \t](?:12:00(?::00)? AM|00:00(?::00)?)$", re.IGNORECASE)
_POINTED: Final = re.compile(r"(?<![\d.])\d{1,2}\.\d{1,2}$")  # without a year: "4.12"
_MONTHS: Final = 12
QUOTATION: Final = re.compile(r'"[^"]*+(?:"|\Z)')
_BETWEEN: Final = re.compile(rf"({QUOTATION.pattern}|[,;\t|])")
_PERSON_NUMBER: Final = re.compile(r"[ \t]\(\d{1,20}\)$")  # behind a name, in an export of Todoist


class _Columns(msgspec.Struct, frozen=True, dict=True):
    """Interpretation of a row of headings: the table, and its columns by what they hold."""

    table: DeviceTable
    places: dict[str, list[int]]

    @cached_property
    def filled(self) -> Sequence[tuple[Column, str]]:
        """Columns of the table that have cells, with the kinds of these."""
        is_own = self.table.name not in TABLES
        kinds = [
            (column, f"own {column.name}" if is_own else _KINDS.get(column.name, column.name))
            for column in self.table.columns
        ]
        return [(column, kind) for column, kind in kinds if kind in self.places]

    def of(self, row: "_SheetRow", *kinds: str) -> list[str]:
        """Return the cells of a row in the columns of some kinds, without empty ones."""
        cells, places = row.cells, self.places
        return [
            cells[place]
            for kind in kinds
            for place in places.get(kind, ())
            if place < len(cells) and cells[place]
        ]


class _SheetRow(msgspec.Struct, frozen=True):
    """Cells with their place. *is_sentence*: it has no other cell, and is no title."""

    cells: list[str]
    start: int
    end: int
    is_sentence: bool = False


class _Grid(msgspec.Struct):
    """Rows below a row of headings, or rows of no table that is understood."""

    header: _SheetRow | None = None
    columns: _Columns | None = None
    rows: list[_SheetRow] = []


def read_spreadsheet(document: Document, options: ExtractionOptions) -> RulesForm | None:
    """Convert the rows of tables to items; ``None`` for prose, which has no rows of one width."""
    text, found = document.text, RowItems(document.text, options)
    days = _DaysAbove(document, options)
    head, is_table = QUOTATION.sub("", text[:_HEAD_CHARS]), False
    for delimiter in sorted(filter(head.count, DELIMITERS), key=head.count, reverse=True):
        rows = list[_SheetRow]()
        with suppress(csv.Error):
            rows.extend(_rows(text, delimiter))
            dates = _Dates(options, text, days.at)
            columns = _without_headings(rows, options)
            start = _Grid(_SheetRow(rows[0].cells, 0, 0), columns) if columns else _Grid()
            if (left := _read_rows(text, rows, dates, (), found, start)) is not None:
                return RulesForm(
                    items=found.found,
                    prose=left,
                    date=document.modified_at,
                    # A cell is no part of the sentence in the one before it.
                    authored="".join("\f" if piece == delimiter else piece for piece in _BETWEEN.split(text)),
                    apart=[(row.start, row.end) for row in rows if row.cells],
                    tables=[(0, len(text))],
                )
        is_even = have_one_width(len(row.cells) for row in rows if any(row.cells))
        # Commas of sentences stand before blanks.
        is_table = is_table or (is_even and 2 * head.count(f"{delimiter} ") < head.count(delimiter))
    whole = RulesForm(prose=[Passage(0, len(text))], date=document.modified_at, tables=[(0, len(text))])
    return whole if is_table else None


def have_one_width(rows: Iterable[int]) -> bool:
    """Return True if half of the rows have as many cells, two at least. *rows*: number of cells of each."""
    widths = Counter(rows)
    count, width = max(((count, width) for width, count in widths.items()), default=(0, 0))
    return width > 1 and 1 < count >= widths.total() / 2


class _DaysAbove:
    """Days of a file, by its name or the lines above a table in its head."""

    def __init__(self, document: Document, options: ExtractionOptions) -> None:
        self._document, self._timezone = document, options.timezone
        self._known: dict[int, PassageDates] = {}  # by the end of the lines
        self._left = _MAX_ABOVE_CHARS

    def at(self, place: int) -> Anchor | None:
        """Return the day at a table, by the lines above; behind many tables, by those of the whole head."""
        end = min(place, _HEAD_CHARS)
        if end > self._left:
            end = _HEAD_CHARS  # a day of no table above, but maybe none where a line below has another
        if end not in self._known:
            self._left = max(0, self._left - end)
            has_words = bool(self._document.text[:end].strip())
            self._known[end] = self._read(end, like=self._head if has_words else None)
        return self._known[end].at(place)

    @cached_property
    def _head(self) -> PassageDates:
        """Dates of the head, whose order and languages are those of all tables: to find them costs most."""
        return self._read(_HEAD_CHARS)

    def _read(self, end: int, like: PassageDates | None = None) -> PassageDates:
        above = msgspec.structs.replace(self._document, text=self._document.text[:end])
        return PassageDates.of(above, date=above.modified_at, timezone=self._timezone, like=like)


def read_tables(document: Document, form: RulesForm, options: ExtractionOptions) -> RulesForm:
    """Convert the rows of the tables in a form's prose to items, for tables with understood headings.

    Rows with pipes or in columns are no prose, even if their headings are not understood; those with tabs may
    be.
    """
    text = form.view or document.text
    if form.tables or _MAY_BE_TABLE.search(text) is None:
        return form
    found, prose, apart = RowItems(document.text, options), list[Passage](), list(form.apart)
    places = list[Place]()
    days = cache(lambda: PassageDates.of(document, date=form.date, timezone=options.timezone))
    dates = _Dates(options, document.text, lambda place: days().at(place))
    for passage in form.prose:
        at = passage.start
        for table in _tables(text, passage):
            rows = list(_rows_of_lines(table))
            left = _read_rows(text, rows, dates, passage.headings, found, _Grid())
            if left is not None or table.re is not _TABBED:
                apart += [(row.start, row.end) for row in rows]
                places.append(table.span())
            if left is not None:
                prose += (Passage(at, table.start(), passage.headings), *left)
                at = table.end()
        prose.append(Passage(at, passage.end, passage.headings))
    prose = [passage for passage in prose if text[passage.start : passage.end].strip()]
    items = sorted([*form.items, *found.found], key=lambda item: item.start)
    return msgspec.structs.replace(form, items=items, prose=prose, apart=sorted(apart), tables=places)


def _tables(text: str, passage: Passage) -> Iterator[re.Match[str]]:
    """Yield the tables in a passage with pipes, tabs or columns of blanks, except in blocks of code."""
    fences = [match.start() for match in _FENCE.finditer(text, passage.start, passage.end)]
    found = [match for gap in _GAPS for match in gap.finditer(text, passage.start, passage.end)]
    for match in sorted(found, key=re.Match.start):
        if not bisect_right(fences, match.start()) % 2:
            yield match


def _rows_of_lines(table: re.Match[str]) -> Iterator[_SheetRow]:
    """Yield the rows of a table, without the line below its header."""
    for line in lines_of(table[0]):
        marks = _QUOTED.match(line.text) if table.re is PIPE_TABLE else None
        start, end = trimmed(line.text, marks.end() if marks else 0, len(line.text))
        row = line.text[start:end].removeprefix("|")
        row = row if row.endswith(r"\|") else row.removesuffix("|")
        parts = _GAPS[table.re].split(line.text if table.re is _TABBED else row)
        cells = [_EMPHASIS.sub("", cell).replace(r"\|", "|").strip(" \t*_") for cell in parts]
        if not all(map(_RULE.fullmatch, map(str.strip, parts))):
            words = list(filter(None, cells))
            is_sentence = len(words) == 1 and words[0].endswith(_SENTENCE_ENDS)
            at = table.start() + line.start
            yield _SheetRow(cells, at + start, at + end, is_sentence)


def _rows(text: str, delimiter: str) -> Iterator[_SheetRow]:
    """Yield the rows with their places; a quoted cell may span several lines."""
    lines = list(lines_of(text))
    reader = csv.reader((text[line.start : line.after] for line in lines), delimiter=delimiter, strict=True)
    taken = 0
    for cells in reader:
        first, last = lines[taken], lines[reader.line_num - 1]
        taken = reader.line_num
        source = text[first.start : last.end]
        start = first.start + len(source) - len(source.lstrip())
        yield _SheetRow([cell.strip() for cell in cells], start, first.start + len(source.rstrip()))


def _read_rows(
    text: str,
    rows: Iterable[_SheetRow],
    dates: "_Dates",
    headings: tuple[str, ...],
    found: RowItems,
    start: _Grid,
) -> list[Passage] | None:
    """Add the items of *rows*, and return passages of the rows without one; None if no table is understood.

    Args:
        start: table to which the first rows belong.
    """
    left, options, is_understood = list[Passage](), found.options, False

    def leave(row: _SheetRow, header: tuple[str, ...] = ()) -> None:
        # Adjacent rows are merged, because each passage needs a question.
        is_next = bool(left) and not text[left[-1].end : row.start].strip()
        left.append(Passage(left.pop().start if is_next else row.start, row.end, (*headings, *header)))

    for grid in _grids(start, rows, dates, options):
        columns, header = grid.columns, grid.header
        if columns is not None and header is not None:
            dates.begin(header, columns, grid.rows)
        if columns is None or header is None or not _is_list(header, columns, grid.rows, dates):
            for row in filter(None, (header, *grid.rows)):
                leave(row)
            continue
        is_understood = True
        for row in grid.rows:
            state = _state(columns, row, dates)
            if state == _CANCELLED:
                continue
            name, cells = columns.table.name, list(_cells(columns, row))
            is_thing = bool(columns.places.get("things"))
            is_other = row.is_sentence or (is_thing and not (state or columns.of(row, "when")))
            fields = None if is_other else _row_fields(columns, row, cells, state, dates)
            words = {column.name: cell for column, _, cell in cells if column.kind is Kind.EPOCH_MS}
            if fields and found.add(name, fields, (row.start, row.end), _TABLE_ROW, words=words):
                _add_projects(columns, row, text, found)
            elif name in options.data_types:  # for example without a title, or with an informal date
                leave(row, (text[header.start : header.end],))
    return left if is_understood else None


def _is_list(header: _SheetRow, columns: _Columns, rows: Sequence[_SheetRow], dates: "_Dates") -> bool:
    """Return False for rows longer than their headings, and for states and dates that most are none."""
    values = (
        []
        if columns.places.get("work")
        else [value for row in rows for value in _values(columns, row, dates)]
    )
    is_longer = any(any(row.cells[len(header.cells) :]) for row in rows)
    if columns.places.get("things"):
        days = [cell for row in rows for cell in columns.of(row, "when")]
        values = [*filter(None, values), *(_is_due(cell, dates) or None for cell in days)]
        words = [cell for row in rows for cell in columns.of(row, "things") if any(map(str.isalpha, cell))]
        figures = sum(len(columns.of(row, "things")) for row in rows) - len(words)
        past = [cell for row in rows for cell in columns.of(row, "day") if dates.is_past(cell)]
        # Days of payment or delivery that are over tell what was done.
        is_longer = is_longer or 2 * len(past) > len(days)
        # A table of figures, such as a budget, is no list of what is due.
        is_longer = is_longer or 2 * len(days) < len(rows) or figures > len(rows)
    return not is_longer and 2 * values.count(None) <= len(values)


def _is_due(cell: str, dates: "_Dates") -> bool:
    """Return True for a day, one of two readings, and a state in its place."""
    return "/" in cell or dates.at_ms(cell) is not None or means(STATES, cell) is not None


def _add_projects(columns: _Columns, row: _SheetRow, text: str, found: RowItems) -> None:
    for name in chain.from_iterable(re.split(r",[ \t]|;", cell) for cell in columns.of(row, "project")):
        if (at := text.find(name, row.start, row.end)) >= 0:
            found.add_project(name, (at, at + len(name)), _TABLE_ROW)


def _grids(
    grid: _Grid, rows: Iterable[_SheetRow], dates: "_Dates", options: ExtractionOptions
) -> Iterator[_Grid]:
    """Divide rows into tables, of which *grid* is the first.

    A table ends before other headings, and behind an empty row before one whose cells do not fit its columns.
    """
    above, is_apart = 0, True
    for row in rows:
        if not any(row.cells):
            is_apart, above = True, 0
            continue
        above += 1
        may_head = is_apart or (grid.columns is None and above <= 20)  # rows above a row of headings
        columns = _columns(row, options) if may_head else None
        if columns is not None:
            yield grid
            grid = _Grid(row, columns)
            dates.anchor = dates.anchors(row.start)
        elif (
            is_apart
            and grid.columns is not None
            and (values := _values(grid.columns, row, dates))
            and not any(values)
        ):
            yield grid
            grid = _Grid(rows=[row])
        else:
            grid.rows.append(row)
        is_apart = False
    yield grid


def _values(columns: _Columns, row: _SheetRow, dates: "_Dates") -> list[object]:
    """Return what the cells of a row say in columns of states, priorities and dates; None for other words."""
    values: list[object] = [_state_of(cell, dates) for cell in columns.of(row, "status", "done")]
    values += [means(PRIORITIES, cell) for cell in columns.of(row, "priority")]
    # Figures may be a date that is not clear.
    values += [re.search(r"\d", cell) or dates.at_ms(cell) for cell in columns.of(row, "when")]
    return values


def _columns(header: _SheetRow, options: ExtractionOptions) -> _Columns | None:
    """Return the table that uses more columns of *header* than any other; ``None`` if it is not clear.

    Of an operator's table and a built-in one that use the same columns, the operator's counts.
    """
    found = [*_built_in(header, options), *_own(header, options)]
    ranks = [
        (set(chain.from_iterable(match.places.values())), match.table.name not in TABLES) for match in found
    ]
    for candidate, (used, is_own) in zip(found, ranks, strict=True):
        beaten = [used > less or (used == less and is_own > other) for less, other in ranks]
        if beaten.count(False) == 1:  # itself
            return candidate
    return None


def _built_in(header: _SheetRow, options: ExtractionOptions) -> Iterator[_Columns]:
    """Yield the built-in tables of which *header* has one title, and a column that marks them.

    A column for any day is a deadline in a table that has a column for work.
    """
    at: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(header.cells):
        for kind in HEADINGS.get(plain(name), ("record",) if _CURRENCY.search(name) else ("other",)):
            at[kind].append(place)
    if at["type"] and not at["work"] and not at["title"]:
        at["work"] = at.pop("content", [])
    names = [plain(name) for name in header.cells]
    # A name beside an amount is no work: "Morgan, 280.00, due on 4 December".
    is_act = bool(at["act"])
    is_named = bool(at["title"]) and not (at["record"] or is_act)
    has_title = bool(at["work"] or at["event"] or (at["content"] and not is_act) or is_named)
    at["due"] = at["due"] + at["act"]
    days = [] if at["due"] else at["day"]
    at["due"] = at["due"] or days
    # Rows of things with a day on which each is due, of which other columns tell what it is.
    may_be_span = at["due"] and names[at["due"][0]] in _SPANS
    is_done = at["assignee"] or at["done"] or at["status"]
    is_span = may_be_span and (at["since"] or at["start"] or not is_done)
    is_dues = bool(at["due"]) and not (has_title or is_span)
    if at["log"] or (at["record"] and not (at["work"] or at["event"] or is_dues)):
        return
    things = sorted(at["other"] + at["title"]) if is_dues else []
    if is_dues and not things and at["record"]:
        things = at.pop("assignee", [])
    parties = [nth for nth, name in enumerate(names) if name in _PARTIES][:1]
    if things:
        at["done"] += at["settled"]
    at["deadline"] = at["due"] or (at["date"] if at["work"] else [])
    if not (has_title or things) and all(name in HEADINGS for name in names):
        at["work"] = at.pop("description", [])
    at["remark"] = at["description"] + at["content"]
    at["begin"] = at["date"] or at["start"] or at["time"]
    for name, titles, when, marks, more in (
        (TableName.TASKS, things[:1] or at["work"] + at["title"], "deadline", _TASK_MARKS, _OF_TASKS),
        (TableName.TIMELINES, at["event"] + at["title"], "begin", (), ("time",)),
        (TableName.NOTES, at["title"], "", ("content",), ()),
    ):
        if len(titles) == 1 and len(at[when]) <= 1 and any(at[kind] for kind in (when, *marks)):
            places = {kind: at[kind] for kind in (*marks, *more)} | {"things": things, "day": days}
            is_named = titles == at["work"] and names[titles[0]] in _SUBJECTS
            places["party"] = parties if is_named else []
            whole = things + at["record"] if things else places["party"] + titles
            yield _Columns(options.tables[name], places | {"title": whole, "when": at[when]})


def _without_headings(rows: Sequence[_SheetRow], options: ExtractionOptions) -> _Columns | None:
    """Return the columns of rows of one width, if one alone has states and one alone words, in all rows."""
    if len({len(row.cells) for row in rows}) != 1 or len(rows) < 2:
        return None
    columns = list(zip(*(row.cells for row in rows), strict=True))
    states = [
        place
        for place, cells in enumerate(columns)
        if all(means(STATES, cell) and plain(cell) not in _YES | _NO for cell in cells)
    ]
    titles = [place for place, cells in enumerate(columns) if all(len(cell.split()) > 1 for cell in cells)]
    if len(states) != 1 or len(titles) != 1:
        return None
    return _Columns(options.tables[TableName.TASKS], {"title": titles, "status": states, "work": titles})


def _own(header: _SheetRow, options: ExtractionOptions) -> Iterator[_Columns]:
    """Yield the operator's tables of which *header* has the title and another column, each once."""
    names = [plain(name) for name in header.cells]
    for table in options.own_tables:
        fields = [column.name for column in table.columns if column.filler is Filler.MODEL]
        places = {
            f"own {field}": [place for place, name in enumerate(names) if name == plain(field)]
            for field in fields
        }
        is_clear = all(len(found) <= 1 for found in places.values())
        if is_clear and places[f"own {table.title}"] and sum(map(len, places.values())) > 1:
            yield _Columns(table, places)


class _Dates:
    """Dates in cells: in figures, or in words that count from *anchor*, the day of their table.

    Args:
        text: text of all tables, whose dates may tell the order of day and month.
        anchors: function that returns the day of a table by its place.
    """

    def __init__(
        self, options: ExtractionOptions, text: str, anchors: Callable[[int], Anchor | None]
    ) -> None:
        self._order = cache(lambda: order_of(text.replace("|", "\n"), anchors(0), options.timezone))
        self._languages = cache(lambda: TextLanguages.of(text))
        self.anchor: Anchor | None = None
        self.anchors = anchors
        self._is_day_first: bool | None = None
        self._timezone = options.timezone
        self._known: dict[tuple[str, bool, Anchor | None, bool | None], int | None] = {}

    def begin(self, header: _SheetRow, columns: _Columns, rows: Iterable[_SheetRow]) -> None:
        """Find the order of day and month in a table: by its dates, by all its cells, or by its language."""
        for cells in (
            chain.from_iterable(columns.of(row, "when") for row in rows),
            chain.from_iterable(row.cells for row in rows),
        ):
            pairs = [(int(figure[1]), int(figure[3])) for cell in cells for figure in _FIGURES.finditer(cell)]
            orders = {first > _MONTHS for first, second in pairs if max(first, second) > _MONTHS}
            if orders:
                self._is_day_first = orders.pop() if len(orders) == 1 else None
                return
        self._is_day_first = any(plain(cell) in DAY_FIRST for cell in header.cells) or self._order()

    def is_past(self, cell: str) -> bool:
        """Return True for a day before that of the table."""
        at_ms, context = self.at_ms(cell), DateContext(self.anchor, self._timezone)
        if at_ms is None or context.today is None:
            return False
        return local_day(from_epoch_ms(at_ms), context.zone) < context.today

    def at_ms(self, cell: str, *, is_due: bool = True) -> int | None:
        """Return the date of a cell, or None if its words do not tell a day."""
        cell = _MIDNIGHT.sub("", _NAMED_MONTH.sub(r"\1 \2 20\3", cell))
        if self._is_day_first is not None:
            cell = _FIGURES.sub(r"\1.\3.20\4" if self._is_day_first else r"\3.\1.20\4", cell)
        cell = f"{cell}." if self._is_day_first and _POINTED.search(cell) else cell
        in_figures = date_ms(cell, self._timezone)
        key = (cell, is_due, self.anchor, self._is_day_first)
        if in_figures is None and cell and key not in self._known and len(self._known) < _MAX_DATES:
            language = self._languages().whole
            moment = resolve(cell, self.anchor, self._timezone, self._is_day_first, language, is_due=is_due)
            self._known[key] = moment.at_ms if moment is not None else None
        return self._known.get(key) if in_figures is None else in_figures


def _state(columns: _Columns, row: _SheetRow, dates: _Dates) -> str | None:
    """Return the state of a row; it is "cancelled" for one that is put away, or that is no task."""
    found = {means(STATES, _DAY_BEHIND.sub("", cell)) for cell in columns.of(row, "status", "list")}
    found |= {_state_of(cell, dates) for cell in columns.of(row, "done")}
    found |= {means(STATES, cell) for cell in columns.of(row, "when")}  # "paid" instead of a day
    found |= {_CANCELLED for cell in columns.of(row, "archived") if means(STATES, cell) == "done"}
    found |= {_CANCELLED for cell in columns.of(row, "type") if plain(cell) in NO_TASKS}
    found |= {_CANCELLED for cell in columns.of(row, "title") if STRUCK_WORDS.fullmatch(cell)}
    return min(filter(None, found), default=None)  # a state that is more final is first by the alphabet


def _state_of(cell: str, dates: _Dates) -> str | None:
    """Return the state that a cell tells; a day is the one on which a task was done."""
    return means(STATES, _DAY_BEHIND.sub("", cell)) or ("done" if dates.at_ms(cell) is not None else None)


def _cells(columns: _Columns, row: _SheetRow) -> Iterator[tuple[Column, str, str]]:
    """Yield the columns of a table that a row has a value of, with their kinds and that value."""
    for column, kind in columns.filled:
        values = [cell for cell in columns.of(row, kind) if cell.strip("-\u2013\u2014")]
        if kind == "title" and len(values) > 1:  # words, and figures behind them: "Morgan (2026-071, 280.00)"
            words = [cell for cell in values if any(map(str.isalpha, cell)) and means(STATES, cell) is None]
            figures = [cell for cell in values if not any(map(str.isalpha, cell)) and len(cell) > _ROW_NUMBER]
            named = (": " if columns.of(row, "party") else ", ").join(words)
            values = [f"{named} ({', '.join(figures)})" if figures else named]
        if values and values[0]:
            yield column, kind, values[0]


def _row_fields(
    columns: _Columns,
    row: _SheetRow,
    cells: Sequence[tuple[Column, str, str]],
    state: str | None,
    dates: _Dates,
) -> dict[str, Field] | None:
    """Return the row's cells by field; invalid values of a task are appended to its description.

    The result is None for invalid values of an operator's table.
    """
    is_own = columns.table.name not in TABLES
    values: dict[str, Field] = {} if is_own else {"title": "", "description": "", "status": state}
    for column, kind, cell in cells:
        values[column.name] = state if kind == "status" else _value(columns, row, column, kind, cell, dates)
    unread = [f"{column.name}: {cell}" for column, _, cell in cells if values[column.name] is None]
    if unread and is_own:
        return None
    if unread and columns.table.name == TableName.TASKS:
        values["description"] = "\n".join([*filter(None, [str(values.get("description") or "")]), *unread])
    return values


_YES: Final = frozenset(("yes", "true", "x", "1"))
_NO: Final = frozenset(("no", "false", "0"))
_PLAIN_NUMBER: Final = re.compile(r"[+-]?\d{1,15}(?:\.\d{1,15})?")


def _value(columns: _Columns, row: _SheetRow, column: Column, kind: str, cell: str, dates: _Dates) -> Field:
    """Return the value of a cell by its kind, or by the type of its column; None if it has another type."""
    match kind, column.kind:
        case "when", _:
            is_due = column.name == "dueDate"
            times = [dates.at_ms(f"{cell} {time}", is_due=is_due) for time in columns.of(row, "time")[:1]]
            return next(filter(None, times), None) or dates.at_ms(cell, is_due=is_due)
        case "priority", _:
            return means(PRIORITIES, cell)
        case "assignee", _:
            names = re.split(r"[;/]|,[ \t]", cell)
            return [_PERSON_NUMBER.sub("", name.strip()) for name in names if name.strip()]
        case "title", _:
            return _LINK.sub(r"\1", cell).removeprefix("* ")
        case _, Kind.NUMBER:
            return float(cell) if _PLAIN_NUMBER.fullmatch(cell) else None
        case _, Kind.FLAG:
            return 1 if cell.lower() in _YES else 0 if cell.lower() in _NO else None
        case _, Kind.NAMES:
            return [name.strip() for name in cell.split(";") if name.strip()] or None
        case _, Kind.EPOCH_MS:
            return dates.at_ms(cell, is_due=False)
        case _ if column.choices:
            choices = {plain_choice(choice): choice for choice in reversed(column.choices)}
            return choices.get(plain_choice(cell))
        case _:
            return cell
