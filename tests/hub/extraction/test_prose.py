# ruff: noqa: RUF001 - letters of other alphabets
"""Rules for prose: what a sentence asks of people, and what it does not."""

import re
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

import pytest

from hub.base.clock import from_epoch_ms
from hub.document import Document
from hub.extraction import structured
from hub.extraction.chunk import Passage
from hub.extraction.dating import PassageDates
from hub.extraction.extractor import Extractor
from hub.extraction.items import ExtractionOptions, Item, RulesForm
from hub.extraction.model import Models
from hub.extraction.prose import read
from hub.extraction.prose_view import view_of_prose
from hub.extraction.text_kinds import is_reference
from hub.extraction.wording.names import split_names
from protocol.tables import TABLES, TableName
from storage.runs.item_words import words_of
from tests.storage.test_item_words import row
from tests.support.calls import calls_of
from tests.support.families import each

ALL = ExtractionOptions(data_types=tuple(TABLES))
WEDNESDAY = datetime(2026, 3, 4, 9, tzinfo=UTC)
CALLS_PER_CHARACTER = 60  # of functions, C ones included

# sentence: table, title, who, day
ENGLISH = """
Could you send the quote to Halden by Friday? | tasks | send the quote to Halden | | 2026-03-06
Please hand in the consent form until 30 March. | tasks | hand in the consent form | | 2026-03-30
Boris will check the shipping costs tomorrow. | tasks | check the shipping costs | Boris | 2026-03-05
Don't forget to water the plants. | tasks | water the plants
The contract must be signed by 12 March. | tasks | sign the contract | | 2026-03-12
Mia and Tom need to book the train. | tasks | book the train | Mia, Tom
Phil to tell the neighbours. | tasks | tell the neighbours | Phil
To be done by Phil: quote for the tent, by Friday | tasks | quote for the tent | Phil | 2026-03-06
Emma will have to extend the lease. | tasks | extend the lease | Emma
Still to pay: invoice of the printer | tasks | invoice of the printer
Rosa, check the alarm before you leave. | tasks | check the alarm before you leave | Rosa
TODO: renew the domain | tasks | renew the domain
An appointment with Dr Reyes is on 7 April. | timelines | Appointment with Dr Reyes | | 2026-04-07
The trip to Ely takes place on Friday. | timelines | Trip to Ely takes place | | 2026-03-06
We decided to stay on version 14 until summer. | notes | stay on version 14 until summer
The order number is PL-20931. | notes | The order number is PL-20931
We are starting Project Lighthouse this week. | projects | Lighthouse
Heron Project Calendar: see the wall.
Project Meeting in the barn
existing :number to :default
Ravi is on leave until Thursday.
The bus does not stop here on Friday.
Dad phoned on Friday.
2026-03-02 Ida met the roofer on Friday.
I promised Nils that I check the meter until Friday. | tasks | check the meter (Nils) | | 2026-03-06
I promised Mr Hale the signed plan by Friday. | tasks | promised Mr Hale the signed plan | | 2026-03-06
Anton will dry the mat and let all know. | tasks | dry the mat and let all know | Anton
Guided tour on Friday at 10:00, meet at the ferry. | timelines | Guided tour | | 2026-03-06
Concert on 6 March at 20:00, Royal Hall, row 5 | timelines | Concert, Royal Hall, row 5 | | 2026-03-06
Team meeting 12 March, 10:00-11:30, room 4 | timelines | Team meeting, room 4 (10:00-11:30) | | 2026-03-12
Flight on 6 March 10:15 Ely - Rome 11:40, seat 2 | timelines | Flight Ely - Rome 11:40, seat 2 | | 2026-03-06
Workshop on 6 March at 10:00, and lunch at 12 | timelines | Workshop | | 2026-03-06
Comment by Farid: a reload cures it. | taskComments | a reload cures it
Boris checked the costs yesterday.
We agreed not to raise the fee. | notes | not to raise the fee
The board decided against the red paint. | notes | against the red paint
No need to call the landlord any more.
You do not need to do anything.
Did anyone water the plants?
Maybe we should buy a boat one day.
I was going to call the caterer but she called me first.
The concert on Friday is cancelled.
We had soup and talked about Portugal.
"You must never open the blue door," said the miller.
One must admire how she carves a goose.
Assigned to: Ann Lee
@hannah please tell support that a fix is coming. | tasks | tell support that a fix is coming | hannah
It would be good if Keeley could ask the supplier for a price. | tasks |\
 It would be good if Keeley could ask the supplier for a price
Whoever holds a spare key is asked to bring it to the office. | tasks | bring it to the office
Spring clean: Saturday 18 April, 10 am | timelines | Spring clean | | 2026-04-18
The code of the gate: 4471 | notes | The code of the gate
The shed roof needs felting. | tasks | The shed roof needs felting
The deed is to be notarised by Friday. | tasks | The deed is to be notarised | | 2026-03-06
Remind me to ring the vet. | tasks | ring the vet
Over to Dina for the seating plan. | tasks | Over to Dina for the seating plan
Zoe has taken on asking the mayor. | tasks | asking the mayor | Zoe
The secretary was asked to print the ballots. | tasks | The secretary was asked to print the ballots
Two boxes of staples on the way back, please. | tasks | Two boxes of staples on the way back
The sink turned out to be blocked by a spoon.
Work on the east wing carries on until spring.
If the lift gets stuck, ring the porter.
I told Ben I would sell the car if he stopped singing.
The yearly fee is £120. | notes | The yearly fee is £120
The committee rejected the offer from Greenco. | notes | the offer from Greenco
Okay, let's start.
Let's start the pump. | tasks | start the pump
Carla asked whether we need a new coffee machine.
Ann asked if we need to order paper.
There will be no meeting on Friday.
No Friday meetings in December.
There is no lift; the concert is on 7 April. | timelines | Concert | | 2026-04-07
Could Ben please check if it has a weekend number? | tasks | check if it has a weekend number | Ben
Please send the list by this weekend. | tasks | send the list | | 2026-03-07
Send the figures by Friday, or by fax. | tasks | Send the figures, or by fax | | 2026-03-06
Can you order 40 boxes by Friday please? | tasks | order 40 boxes | | 2026-03-06
Could you send it to Ben by Friday please, he rang. | tasks | send it to Ben, he rang | | 2026-03-06
Great, can you order the paper? | tasks | order the paper
The day of the audit is fixed: 18 March 2026. | timelines | Day of the audit is fixed | | 2026-03-18
Lunch with Nora is on Saturday, 13 March 2026.
The new date is in the attachment.
Don't forget: gym kit on Friday. | tasks | gym kit | | 2026-03-06
Remember: return the keys to Mark. | tasks | return the keys to Mark
Remember: the shop is closed on Friday. | timelines | Shop is closed | | 2026-03-06
Please turn the heating on by Friday. | tasks | turn the heating on | | 2026-03-06
RSVP to the party by 4/3! | tasks | RSVP to the party by 4/3
Dentist 4/3 at 9:30 am | tasks | Dentist 4/3 at 9:30 am
Niet vergeten: de sleutels | tasks | de sleutels
Consensus: no more parties on weekdays. | notes | no more parties on weekdays
"""
GERMAN = """
Elternabend am 6. März um 19 Uhr, Raum 12 | timelines | Elternabend, Raum 12 | | 2026-03-06
Workshop vom 6. bis 8. März, Raum 12 | timelines | Workshop, Raum 12 (6. bis 8.) | | 2026-03-06
Herr Noll reicht die Bilder bis Freitag nach. | tasks | reicht die Bilder nach | Herr Noll | 2026-03-06
Könnten Sie bis Donnerstag die Rechnung schicken? | tasks | die Rechnung schicken | | 2026-03-05
Bringst du bitte den Vertrag mit? | tasks | den Vertrag mitbringen
Hilfst du mir am Freitag beim Umzug? | tasks | beim Umzug helfen | | 2026-03-06
Lädst du bitte Frau Noll ein? | tasks | Frau Noll einladen
Bearbeitest du mir bitte die Fotos? | tasks | die Fotos bearbeiten
Das Essen verschieben wir auf Freitag, 6. März, 13 Uhr. | timelines | Essen | | 2026-03-06
Bitte sorgen Sie für ausreichend Stühle. | tasks | für ausreichend Stühle sorgen
Zu erledigen durch Nadine: Angebot Zelt, bis Freitag | tasks | Angebot Zelt | Nadine | 2026-03-06
Nadine muss krank sein.
Das muss der Regen sein.
Der Plan muss bis Freitag unterschrieben sein. | tasks | Der Plan muss unterschrieben sein | | 2026-03-06
Zu bezahlen: Rechnung der Druckerei bis Freitag | tasks | Rechnung der Druckerei | | 2026-03-06
Bitte um Rückruf unter 0171 2345678 bis Freitag. | tasks | Rückruf unter 0171 2345678 | | 2026-03-06
Bitte um Mitternacht die Tür schließen. | tasks | um Mitternacht die Tür schließen
Frau Kern bittet um Antwort bis Freitag unter kern@example.org. \
    | tasks | Antwort unter kern@example.org | | 2026-03-06
Treffen mit Ute 6.3. 14.30 Uhr | timelines | Treffen mit Ute | | 2026-03-06
Termin: 10.3. | timelines | Termin | | 2026-03-10
Nadine muss dringend die Regale beschriften. | tasks | die Regale beschriften | Nadine
Frau Demir kümmert sich um die Bänke. | tasks | sich um die Bänke kümmern | Frau Demir
Ich werde Tom nicht anrufen.
Wir bringen keinen Kuchen mit.
Tom schickt die Liste nicht.
Vergiss bitte nicht, Tom anzurufen. | tasks | Tom anzurufen
Es muss bis Freitag unterschrieben werden. | tasks | Es muss unterschrieben werden | | 2026-03-06
Die Zähllisten druckt diesmal Ole aus. | tasks | Die Zähllisten druckt diesmal Ole aus | Ole
Jonas, du schaust nach den Feuerlöschern? | tasks | nach den Feuerlöschern schauen | Jonas
Ich ruf morgen beim Hersteller an. | tasks | beim Hersteller anrufen | | 2026-03-05
In drei Wochen ist Inventur. | timelines | Inventur | | 2026-03-25
Beschluss: Rabatte nur noch mit Unterschrift. | notes | Rabatte nur noch mit Unterschrift
Mit dem Projekt Glasfaser Nord geht es los. | projects | Glasfaser Nord
Kommentar Hr. Jäger: zwei Platten sind lose. | taskComments | zwei Platten sind lose
Brötchen bestelle ich am Freitag. | tasks | Brötchen bestellen | | 2026-03-06
Gib uns bis zum 12.3. Rückmeldung, ob es reicht. | tasks | Gib uns Rückmeldung, ob es reicht | | 2026-03-12
Die Versicherung hat schon gezahlt.
Du musst niemanden mehr anrufen.
Der Termin mit dem Gutachter ist abgesagt.
Wer hat den Schlüssel vom Bus?
Vielleicht sollten wir mal nach Portugal fahren.
Am Freitag findet keine Sitzung statt.
Draußen hat es den ganzen Tag geregnet.
"""
FRENCH = """
Marc doit rendre la perceuse avant vendredi. | tasks | rendre la perceuse | Marc | 2026-03-06
Peux-tu envoyer le devis à la mairie avant vendredi ? | tasks | envoyer le devis à la mairie | | 2026-03-06
Marc doit écrire à l'inspectrice avant vendredi. | tasks | écrire à l'inspectrice | Marc | 2026-03-06
Marc devra lui répondre avant vendredi. | tasks | lui répondre | Marc | 2026-03-06
Marc doit absolument convaincre le maire. | tasks | convaincre le maire | Marc
Marc doit paraître calme.
Marc s'occupe de relire le bail. | tasks | relire le bail | Marc
Marc se charge du buffet. | tasks | se charge du buffet | Marc
À envoyer en recommandé le 6 mars au plus tard. | tasks | À envoyer en recommandé | | 2026-03-06
A faire par Marc : devis barnum, pour le 6 mars | tasks | devis barnum | Marc | 2026-03-06
Reste à payer : la facture Bosc avant vendredi | tasks | la facture Bosc | | 2026-03-06
Reste à payer : 86,40 € | tasks | payer: 86,40 €
Pourriez-vous m'envoyer la liste avant vendredi ? | tasks | envoyer la liste | | 2026-03-06
Merci de me rappeler vendredi. | tasks | me rappeler | | 2026-03-06
Réunion la semaine du 7 mars
Merci à Olivier de réserver la salle. | tasks | réserver la salle | Olivier
Julien réservera demain la salle. | tasks | réservera la salle | Julien | 2026-03-05
Il faut vider les frigos ce soir. | tasks | vider les frigos | | 2026-03-04
Fabien doit relancer le client belge. | tasks | relancer le client belge | Fabien
Samir, tu vérifies les étiquettes ? | tasks | vérifies les étiquettes | Samir
N'oubliez pas de fermer les fenêtres. | tasks | fermer les fenêtres
Veuillez apporter la carte grise. | tasks | apporter la carte grise
N'oublie pas de rendre les clés à Mme Petit. | tasks | rendre les clés à Mme Petit
N'oubliez pas : les chaussons vendredi. | tasks | les chaussons | | 2026-03-06
N'oublie pas de faire le gâteau. | tasks | faire le gâteau
La première rencontre aura lieu le 15 octobre. | timelines | Première rencontre aura lieu | | 2026-10-15
Décision : le local reste fermé la nuit. | notes | le local reste fermé la nuit
Le projet Passerelle démarre ce mois-ci. | projects | Passerelle
Commentaire de Rémi : la vanne est grippée. | taskComments | la vanne est grippée
Ce n'est plus la peine de passer à la banque.
Aucune démarche n'est nécessaire de votre part.
Il n'y aura pas de réunion vendredi.
Tu as vu le match ?
Hier nous avons mangé des figues.
On pourrait peut-être repeindre le hall un jour.
"""
SPANISH = """
Nuria entrega los carteles el viernes. | tasks | entrega los carteles | Nuria | 2026-03-06
¿Puedes mandar el contrato antes del viernes? | tasks | mandar el contrato | | 2026-03-06
Rubén revisará mañana los anexos. | tasks | revisará los anexos | Rubén | 2026-03-05
Lucía tiene que cerrar el presupuesto. | tasks | cerrar el presupuesto | Lucía
Hay que entregar el certificado. | tasks | entregar el certificado
Por hacer por Lucía: presupuesto, antes del viernes | tasks | presupuesto | Lucía | 2026-03-06
Pendiente de pagar: la factura | tasks | la factura
Óscar, comprueba las sirenas. | tasks | comprueba las sirenas | Óscar
Recordad: el viernes, chándal. | tasks | chándal | | 2026-03-06
Recuerda: la tienda está cerrada.
No olvides comprar las velas. | tasks | comprar las velas
La próxima junta será el 21 de abril. | timelines | Próxima junta | | 2026-04-21
Se acuerda no abrir la piscina antes de junio. | notes | no abrir la piscina antes de junio
Arrancamos el proyecto Faro. | projects | Faro
Comentario de Berta: el cubo se llena cada dos horas. | taskComments | el cubo se llena cada dos horas
Ya no hace falta que recojas a los niños.
No es necesario que haga nada más.
El viernes no hay reunión.
¿Quién gana?
Ayer comimos sardinas en una calle estrecha.
"""
RUSSIAN = """
Мастер записал нас на 12 марта. | timelines | Мастер записал нас | | 2026-03-12
Погода обещает быть тёплой до пятницы.
Пришлите, пожалуйста, смету до пятницы. | tasks | прислать смету | | 2026-03-06
Игорь завтра проверит цены на плитку. | tasks | проверить цены на плитку | Игорь | 2026-03-05
Тимур должен сдать отчёт по складу. | tasks | сдать отчёт по складу | Тимур
Договор нужно вернуть до 15 марта. | tasks | Договор нужно вернуть | | 2026-03-15
Тимур не должен приходить.
К оплате: счёт типографии до пятницы | tasks | счёт типографии | | 2026-03-06
Ирина, проверь журналы. | tasks | проверить журналы | Ирина
Не забыть: оплатить счёт до пятницы. | tasks | оплатить счёт | | 2026-03-06
Не забудь купить свечи. | tasks | купить свечи
Субботник пройдёт 10 октября. | timelines | Субботник пройдёт | | 2026-10-10
Решили: велосипеды в коридоре не оставлять. | notes | велосипеды в коридоре не оставлять
Начинаем проект «Маяк». | projects | Маяк
Комментарий Юрия: заедает нижний ролик. | taskComments | заедает нижний ролик
Звонить электрику уже не надо.
Никаких действий от вас не требуется.
Никакой встречи в пятницу.
Кто съел мой йогурт?
Вчера потеряли Мишу в Эрмитаже.
"""
CHINESE = """
请在周五之前把报价单发给海宁公司。 | tasks | 把报价单发给海宁公司 | | 2026-03-06
小李明天核对运费。 | tasks | 核对运费 | 小李 | 2026-03-05
孙浩负责更新用户手册。 | tasks | 更新用户手册 | 孙浩
应该是下雨了。
王芳应该很高兴。
待办（周航）：座位表 | tasks | 座位表 | 周航
待付：印刷厂发票，周五之前 | tasks | 印刷厂发票 | | 2026-03-06
请周航预订会议室。 | tasks | 预订会议室 | 周航
别忘了：周五带运动服。 | tasks | 带运动服 | | 2026-03-06
别忘了买蜡烛。 | tasks | 买蜡烛
下次会议：5月25日下午2点。 | timelines | 下次会议 | | 2026-05-25
会议决定：夏季前不再升级数据库。 | notes | 夏季前不再升级数据库
“灯塔”项目本周正式启动。 | projects | 灯塔
留言 老高：下面的滑轮卡住了。 | taskComments | 下面的滑轮卡住了
不用给房东打电话了。
您无需做任何操作。
中午吃什么？
昨天看了熊猫。
彩带和气球就交给小鲁了哈 | tasks | 彩带和气球就交给小鲁了哈 | 小鲁
车险续保别拖了 | tasks | 车险续保别拖了
那箱旧杂志你顺便给卖了吧 | tasks | 那箱旧杂志你顺便给卖了吧
我明天一早去工商局取执照。 | tasks | 去工商局取执照 | | 2026-03-05
车牌照片少一张，请补拍。 | tasks | 车牌照片少一张，请补拍
超过三天的请假今后一律由院长批准。 | notes | 超过三天的请假今后一律由院长批准
集合点改到体育馆北门。 | notes | 集合点改到体育馆北门
急救箱放在前厅柜子下面。 | notes | 急救箱放在前厅柜子下面
牙科只有周二下午开门。 | notes | 牙科只有周二下午开门
备份盘在机柜最下面一层。 | notes | 备份盘在机柜最下面一层
首印定为五千册。 | notes | 首印定为五千册
没付款的赶紧付。 | tasks | 没付款的赶紧付
投影仪我带。 | tasks | 投影仪我带
请周婷在3月12日之前把发票寄给我。 | tasks | 把发票寄给我 | 周婷 | 2026-03-12
体检的时间定了：3月12日上午8点。 | timelines | 体检的时间定了 | | 2026-03-12
保安室电话：7788 0123。 | notes | 保安室电话
你不是说要搬家吗
人有时候就该发发呆。
他叹口气说：“你得先去借梯子。”
施工期间切勿打开窗户。
您可以随时拨打热线。
损坏器材者须照价赔偿。
领导出差，下周回来。
"""
# What a person has promised in the first person, and to whom; and what is no open promise of that person.
PROMISES = """
I promised Anna Rossi to send the offer by Friday, 6 March 2026. \
    | tasks | send the offer (Anna Rossi) | | 2026-03-06
By Friday, I promised Anna Rossi to send the offer. | tasks | send the offer (Anna Rossi) | | 2026-03-06
I told Mr Weber that I'd check the bill by 9 March. | tasks | check the bill (Mr Weber) | | 2026-03-09
I assured our customer that we will replace the pump by Friday. \
    | tasks | replace the pump (our customer) | | 2026-03-06
I gave Anna my word to mend the bike by Friday. | tasks | mend the bike (Anna) | | 2026-03-06
I owe Anna Rossi an answer by Friday. | tasks | owe Anna Rossi an answer | | 2026-03-06
We agreed that I prepare the slides by Friday. | tasks | prepare the slides | | 2026-03-06
Anna is waiting for the plan from me until Friday. \
    | tasks | Anna is waiting for the plan from me | | 2026-03-06
I did not promise Anna to send the offer by Friday.
I never promised Anna Rossi to send the offer by Friday.
I promised Anna to send the offer and sent it on Monday.
I promised Anna to send the offer by Friday, and did so.
Did I promise Anna to send the offer by Friday?
If I promised Anna to send the offer, I would regret it.
He promised Anna to send the offer by Friday.
I told Anna that I would be late on Friday.
"I promised Anna to come on Friday," she said.
Ich habe Anna Rossi versprochen, das Angebot bis Freitag, 6. März 2026, zu schicken. \
    | tasks | das Angebot zu schicken (Anna Rossi) | | 2026-03-06
Ich habe Anna versprochen, dass ich das Angebot bis Freitag schicke. \
    | tasks | das Angebot schicken (Anna) | | 2026-03-06
Ich habe Anna gesagt, dass ich den Klempner am Freitag anrufe. \
    | tasks | den Klempner anrufen (Anna) | | 2026-03-06
Ich habe dem Kunden versprochen, die Pumpe bis Freitag zu tauschen. \
    | tasks | die Pumpe zu tauschen (dem Kunden) | | 2026-03-06
Wir haben vereinbart, dass ich die Folien bis Freitag vorbereite. \
    | tasks | die Folien vorbereiten | | 2026-03-06
Anna wartet bis Freitag auf den Plan von mir. | tasks | Anna wartet auf den Plan von mir | | 2026-03-06
Anna hat mir versprochen, das Angebot bis Freitag zu schicken. \
    | tasks | das Angebot zu schicken | Anna | 2026-03-06
Ich habe Anna nicht versprochen, das Angebot bis Freitag zu schicken.
Ich habe Anna versprochen, das Angebot zu schicken, und es am Montag geschickt.
Wenn ich Anna verspräche, das Angebot zu schicken, würde ich es bereuen.
Ich habe Anna gesagt, dass ich am Freitag krank bin.
J'ai promis à Anna Rossi d'envoyer l'offre avant vendredi. \
    | tasks | envoyer l'offre (Anna Rossi) | | 2026-03-06
J'ai promis à Anna que j'enverrai l'offre avant vendredi. | tasks | enverrai l'offre (Anna) | | 2026-03-06
J'ai dit à M. Weber que je vérifierai la facture vendredi. \
    | tasks | vérifierai la facture (M. Weber) | | 2026-03-06
Nous avons promis au client de remplacer la pompe avant vendredi. \
    | tasks | remplacer la pompe (client) | | 2026-03-06
Nous avons convenu que je prépare les diapositives pour vendredi. \
    | tasks | prépare les diapositives | | 2026-03-06
Je n'ai pas promis à Anna d'envoyer l'offre vendredi.
J'ai promis à Anna d'envoyer l'offre et je l'ai envoyée lundi.
Anna m'a promis d'envoyer l'offre vendredi.
J'ai dit à Anna que je serai malade vendredi.
Le prometí a Anna Rossi enviar la oferta antes del viernes. \
    | tasks | enviar la oferta (Anna Rossi) | | 2026-03-06
Le he prometido a Anna que enviaré la oferta antes del viernes. \
    | tasks | enviaré la oferta (Anna) | | 2026-03-06
Le dije a Anna que llamaría al fontanero el viernes. | tasks | llamaría al fontanero (Anna) | | 2026-03-06
Hemos prometido al cliente cambiar la bomba antes del viernes. \
    | tasks | cambiar la bomba (cliente) | | 2026-03-06
No le prometí a Anna enviar la oferta el viernes.
Le prometí a Anna enviar la oferta y la envié el lunes.
Anna me prometió enviar la oferta el viernes.
Le dije a Anna que estaría enfermo el viernes.
Я обещал Анне Росси отправить смету до пятницы. | tasks | отправить смету (Анне Росси) | | 2026-03-06
Я пообещала Анне, что отправлю смету до пятницы. | tasks | отправить смету (Анне) | | 2026-03-06
Мы обещали клиенту заменить насос до пятницы. | tasks | заменить насос (клиенту) | | 2026-03-06
Мы договорились, что я подготовлю слайды к пятнице. | tasks | подготовить слайды | | 2026-03-06
Я не обещал Анне отправить смету до пятницы.
Я обещал Анне отправить смету и отправил её в понедельник.
Анна обещала мне отправить смету до пятницы.
Я сказал Анне, что болею в пятницу.
我答应安娜在2026年3月6日之前发送报价。 | tasks | 发送报价 (安娜) | | 2026-03-06
我向王芳保证周五之前检查发票。 | tasks | 检查发票 (王芳) | | 2026-03-06
我告诉王芳我会在周五打电话给水管工。 | tasks | 打电话给水管工 (王芳) | | 2026-03-06
我们约定由我在周五之前准备幻灯片。 | tasks | 准备幻灯片 | | 2026-03-06
王芳答应我周五之前发送报价。 | tasks | 发送报价 | 王芳 | 2026-03-06
我没有答应王芳周五之前发送报价。
小王答应我们，同时
我答应王芳发送报价，周一已经发了。
"""
LANGUAGES = (ENGLISH, GERMAN, FRENCH, SPANISH, RUSSIAN, CHINESE, PROMISES)
TABLE = [[part.strip() for part in row.split("|")] for rows in LANGUAGES for row in rows.strip().splitlines()]


def found(
    text: str,
    options: ExtractionOptions = ALL,
    *,
    name: str = "a.txt",
    media_type: str | None = None,
    date: datetime | None = WEDNESDAY,
    written_at: datetime | None = None,
) -> list[Item]:
    """Return the items of a text without a form, or of the prose of a file of another name or type."""
    document = Document(
        unit_key=name, text=text, content_hash="0" * 64, media_type=media_type, modified_at=date
    )
    dates = PassageDates.of(document, date=date, timezone="UTC")
    form = RulesForm(prose=[Passage(0, len(text))], date=date)
    if (name, media_type) != ("a.txt", None):
        form = structured.read(document, ALL)
    items = read(
        form.view or text,
        form.prose,
        options,
        context_at=lambda place: dates.context_at(place, "UTC"),
        quoted=text,
        is_reference=is_reference(name, text, form.prose, has_day=dates.has_day),
        written_at=written_at,
    )
    assert all(text[item.start : item.end] == item.quote and item.origin == "rule" for item in items)
    return items


def told(item: Item) -> list[str]:
    day = item.data.get("dueDate") or item.data.get("date")
    who = item.data.get("assignee") or []
    assert isinstance(who, list)
    cells = (
        str(item.table),
        str(item.data[TABLES[item.table].title]),
        ", ".join(who),
        f"{from_epoch_ms(day).astimezone(ZoneInfo('UTC')):%Y-%m-%d}" if isinstance(day, int) else "",
    )
    return [*cells]


@each("row", TABLE)
def test_sentence_yields_the_expected_items(row: list[str]) -> None:
    sentence, *expected = row
    items = [told(item) for item in found(sentence)]
    assert items == ([expected + [""] * (4 - len(expected))] if expected else [])


TIPS = "Wash the jars. Cut the fruit and sort it."
ASKED = "Mia: Somebody needs to phone the engineer.\nTarek: {}.\nMia: Lovely."
# text: title, who and day of each item
PASSAGES: dict[str, tuple[str, list[str]]] = {
    **{
        f"rows of a person {nth}": (text, ["order the boxes | Anna", "call Bob | Anna", "buy paint | Ben"])
        for nth, text in enumerate(
            (
                "To do:\n- Anna\n  - order the boxes\n  - call Bob\n- Ben:\n  - buy paint\n",
                "To do:\n* **Anna**\n    * order the boxes\n    * call Bob\n* **Ben**\n    * buy paint\n",
                "Anna:\n- order the boxes\n- call Bob\n\nBen:\n- buy paint\n",
                "Tasks\n- Anna: order the boxes\n- Anna: call Bob\n- Ben: buy paint\n",
            )
        )
    },
    "row above others that is no person": (
        "To do:\n- Kitchen\n  - order the boxes\n- Anna\n  - buy paint\n  - Ben will call Bob\n",
        ["order the boxes", "buy paint | Anna", "call Bob | Ben"],
    ),
    "unknown name among known ones": (
        "To do:\n- Anna\n  - order 0 boxes\n- Zelimkha\n  - order 1 boxes\n- Frau Demir & Ben\n"
        "  - order 2 boxes\n",
        ["order 0 boxes | Anna", "order 1 boxes | Zelimkha", "order 2 boxes | Frau Demir, Ben"],
    ),
    "words around brackets": (
        "To do:\n- Call Peter (0170 123) about the roof\n- Call Ann (the roofer)\n- Buy paint (white)\n",
        ["Call Peter (0170 123) about the roof", "Call Ann (the roofer)", "Buy paint (white)"],
    ),
    "brackets with a date": (
        "Ann must call Peter (phone 0170 123; evenings) about the roof (by Friday).",
        ["call Peter (phone 0170 123; evenings) about the roof | Ann | 2026-03-06"],
    ),
    "brackets in German": (
        "Wir müssen Peter (0170 123) wegen des Dachs anrufen.",
        ["Peter (0170 123) wegen des Dachs anrufen"],
    ),
    "present tense in minutes": (
        "Minutes, 4 March\n\nRosa asks the city for the permit. The meeting was short.\n",
        ["ask the city for the permit | Rosa"],
    ),
    "present tense in a diary": ("Dear diary\n\nRosa asks the city for the permit. It rained.\n", []),
    "row that is done": (
        "Saturday errands\n- buy candles\n- return the books (done)\n- ask Mr Okafor about the ladder\n",
        ["buy candles", "ask Mr Okafor about the ladder"],
    ),
    "heading for work": (
        "Action items\n- new badges for all\n\nIdeas\n- a new logo\n",
        ["new badges for all"],
    ),
    "praise of a day": ("Hello all,\n\na good start today. Thanks for coming.\n", []),
    "speaker of a line": (
        "Delphine : je rédige le menu demain.\n",
        ["rédige le menu | Delphine | 2026-03-05"],
    ),
    "promise in a chat": (
        "ola: who has the key\nben: me. I'll bring the key tomorrow\nola: ok\n",
        ["bring the key | ben | 2026-03-05"],
    ),
    "answer to a question": (
        "Mia: Who takes the cool box on Sunday?\nTarek: Me!\nMia: Great, it is hot.",
        ["take the cool box | Tarek | 2026-03-08"],
    ),
    "answer to a request": (ASKED.format("Will do on Monday"), ["phone the engineer | Tarek | 2026-03-09"]),
    "consent to a request": (ASKED.format("Sure, I'll do that"), ["phone the engineer | Tarek"]),
    "number before a full stop": (
        "The site visit is on 12 March at 10. Emma must mark the paths.",
        ["Site visit | | 2026-03-12", "mark the paths | Emma"],
    ),
    "ordinal": (
        "Die Besichtigung ist am 12. März um 10. Emma muss die Wege markieren.",
        ["Besichtigung | | 2026-03-12", "die Wege markieren | Emma"],
    ),
    "number at the end of a line": (
        "The trade fair opens on 30 September 2026 in hall 4.\nPlease register by 15 May 2026.\n",
        ["Trade fair opens in hall 4 | | 2026-09-30", "register | | 2026-05-15"],
    ),
    "question at the end": (
        "The roster wants changing \u2013 would you mind asking Tim?",
        ["change the roster", "asking Tim"],
    ),
    "advice": (f"How to make jam\n\n{TIPS}", []),
    "recipe": (f"Recipe of the week: {TIPS}", []),
    "topic of a row of minutes": (
        "Minutes, 3 April\n\n1. Water. The butts are empty.\n2. Bonfire. It will be held on 7 November.",
        ["Bonfire: It will be held | | 2026-11-07"],
    ),
    "event of a heading": (
        "Minutes, 4 March\n\nThe money is spent.\n\nNext meeting\nThursday, 2 April 2026, 10:00, room Elm.\n",
        ["Next meeting | | 2026-04-02"],
    ),
    "work of a row with a day, and more of it": (
        "- Do 12.3. 14:00 Herrn Maier anrufen, Liste schicken\n- Fr 13.3. 9 Uhr Physio, Handtuch mitnehmen\n",
        ["Herrn Maier anrufen | | 2026-03-12", "Liste schicken", "Physio, Handtuch mitnehmen | | 2026-03-13"],
    ),
    "events and what belongs to them": (
        "- Flute concert, 3 April, 19:00, bring a cushion\n- Fair on 4 April, 9:00, Anna bakes the pie\n",
        ["Flute concert, bring a cushion | | 2026-04-03", "Fair | | 2026-04-04"],
    ),
    "pronoun of the clause before": (
        "The hall burned down. The tour has a new date, it starts on 4 April.",
        ["The tour has a new date: it starts | | 2026-04-04"],
    ),
    "nouns that may be verbs": ("Log\n\n- mail from Otto, quite long\n- visit of the plumber\n", []),
    "status of a page": ("Verein Nord\nStand: Mitte März\n", []),
    "work of a pronoun in Chinese": ("他周五把样品送过来。", ["他把样品送过来 | | 2026-03-06"]),
    "craft in a diary": ("Diario, Lugo\n\nEl taller de pan abre. Doña Paz dice siempre que llueve.\n", []),
    "rows of a box": ("Crate 4 (cellar)\n\n- Mail\n- Record\n- Call cards of the guests\n- Sort\n", []),
    "rows of a day that was": (
        "Aunt phoned\n\nbuy stamps\ncollect the shoes\norder tea\n",
        ["buy stamps", "collect the shoes", "order tea"],
    ),
    "event before its day": ("Concert: 3 April 2026, 19:00, hall", ["Concert, hall | | 2026-04-03"]),
    "event in a list": (
        "- Kasse: 12 Euro\n- Sommerfest: 3. Juli 2026, Aula\n- das ist noch offen",
        ["Sommerfest, Aula | | 2026-07-03"],
    ),
    "task whose pronoun has a day": (
        "12:10 tea with Mrs Hart: she sends the sample by Friday",
        ["send the sample | | 2026-03-06"],
    ),
    "short quoted words before longer ones": (
        'One is "Call me again", the other "meet me on the fifth, meet me there again".',
        [],
    ),
    "quoted speech after a name": ('@ida wrote: "please call the bank by Friday, it is late."', []),
    "mail in a quoted mail": ("> Thank you.\n>\n> > Please send us the plan by Friday.\n", []),
    "rules": ("Regeln: Wer zuletzt geht, bringt den Schlüssel mit.", []),
    "what plants do": ("Garten\n\n- Johannisbeeren tragen am alten Holz\n- Der Zaun bleibt stehen\n", []),
    "goods that came": ("KW 9\n\nMo\n- Ware Fa. Otto abgenommen (3 Kisten, 1 leer)\n- Keller gefegt\n", []),
    "work with a day in the next clause": (
        "Luc prépare les badges, à rendre le 12 mars.",
        ["prépare les badges, à rendre | Luc | 2026-03-12"],
    ),
    "event below a sentence": ("It was a long trip.\n2 April 2026, room Elm\n", []),
    "topic of minutes that is a heading elsewhere": (
        "Protokoll der Sitzung\n\nTOP 1 Dienstplan\nDie Heizung ist wieder in Ordnung.\n",
        [],
    ),
    "paragraph below a heading for work": (
        "Tasks\n\nThe list came from the wiki. It goes away when all is over.\n",
        [],
    ),
    "rows of two languages": (
        "Liste\n\n* Vertrag an Noll schicken bis Freitag\n* Angebot für die Halle prüfen\n"
        "* order two lamps by 6 March\n* reply to the customs office\n* DONE: labels printed\n",
        [
            "Vertrag an Noll schicken | | 2026-03-06",
            "Angebot für die Halle prüfen",
            "order two lamps | | 2026-03-06",
            "reply to the customs office",
        ],
    ),
    "head of minutes": (
        "Minutes, 4 March\n\nPlace: small hall\nApologies: Piet de Boer\nBegan 19:05, ended 20:10\n"
        "Rosa asks the city for the permit.\n",
        ["ask the city for the permit | Rosa"],
    ),
    "head of German minutes": ("Protokoll\nOrt: Aula\nAnwesend: Jan Ott\nBeginn 19 Uhr\n", []),
    "list of goods below tasks": (
        "To do:\n- new bulbs for the hall\n\nShopping:\n- oats\n- 2 l milk\n\nRef. 2027/118, version 2.1.\n",
        ["new bulbs for the hall"],
    ),
    "verb in a list of goods": (
        "À faire :\n- vélo de Luc\n\nCourses :\n- sel\n- commander le gâteau\n",
        ["vélo de Luc", "commander le gâteau"],
    ),
    "words of another script": (
        "Ask Борис for the ключ of the shed until 6 March.\nНадо обновить README и Zoom до пятницы.\n",
        ["Ask Борис for the ключ of the shed | | 2026-03-06", "обновить README и Zoom | | 2026-03-06"],
    ),
    "words of another script in Chinese": ("请把 API 文档发给 Marco。\n", ["把 API 文档发给 Marco"]),
    "Chinese boxes": (
        "周日要办的事\n[x] 给舅舅回电话\n[ ] 棉被拿到阳台\n[ ] 去药店买口罩\n",
        ["棉被拿到阳台", "去药店买口罩"],
    ),
    "days behind colons": (
        "- Folien schicken bis: Freitag\n- Miete zahlen bis Freitag und\n- und Tante Ilse anrufen\n",
        ["Folien schicken | | 2026-03-06", "Miete zahlen | | 2026-03-06", "Tante Ilse anrufen"],
    ),
    "list of German rows that end with days": (
        "- Einverständnis einsammeln bis 11.3.\n- Anzahlung überweisen bis 4.3.\n- bei Ute nachfragen\n",
        [
            "Einverständnis einsammeln | | 2026-03-11",
            "Anzahlung überweisen | | 2026-03-04",
            "bei Ute nachfragen",
        ],
    ),
    "rows whose last words say nothing without the first ones": (
        "- 42 covers, buffet, Fri 13 March, deliver 11.30\n- need cover for 12 March, ask Bea\n- pay Ann\n",
        ["42 covers, buffet, deliver 11.30 | | 2026-03-13", "need cover, ask Bea | | 2026-03-12", "pay Ann"],
    ),
    "check that was due": (
        "- Fire extinguisher check was due 2 March\n- call the engineer again\n",
        ["Fire extinguisher check | | 2026-03-02", "call the engineer again"],
    ),
    "verb behind a day that comes first": (
        "Wir treffen uns.\nAm 11. März um 10 Uhr kommt die Gutachterin in die Halle.\n",
        ["Am 11. März um 10 Uhr kommt die Gutachterin in die Halle | | 2026-03-11"],
    ),
    "deadline below the name": ("Steuererklärung\nFrist: 10.3.\n", ["Steuererklärung: Frist | | 2026-03-10"]),
    "Chinese rows about a document": ("状态：处理中\n主持：许静\n昨天：部署新版本\n", []),
    "Chinese duty": ("昨天天气不错。厨房的水龙头得换。街上很热闹。晚风也凉。", ["厨房的水龙头得换"]),
    "event behind a colon": (": party on 12 March\n", ["party | | 2026-03-12"]),
    "sentences behind the fields of a mail": (
        "From: Ann. Please call the plumber by 12 March.\nTo: Ben. Thank you.\n",
        ["call the plumber | | 2026-03-12"],
    ),
    "answer to a Chinese question": ("班长：海报谁设计\n小颜：我来\n班长：好，谢谢\n", ["海报 | 小颜"]),
}


@each(("text", "rows"), PASSAGES.values(), ids=PASSAGES)
def test_passage_yields_the_expected_items(text: str, rows: list[str]) -> None:
    expected = [([part.strip() for part in row.split("|")] + ["", ""])[:3] for row in rows]
    assert [told(item)[1:] for item in found(text)] == expected


def test_offer_of_work_has_an_assignee_and_orders_in_a_letter_are_tasks() -> None:
    offered = "The brass needs polishing; Mrs Kettle has offered to do it."
    assert [told(item)[2] for item in found(offered)] == ["Mrs Kettle"]
    assert found(f"Dear Ann,\n\n{TIPS}") != []


def test_dictation_without_punctuation_yields_a_task_per_request() -> None:
    text = (
        "so I have to send the photos to the christening people and I need to buy a new memory card "
        "because the old one is playing up again oh and please ring the framer"
    )
    assert [str(item.data["title"]).split(" ")[0] for item in found(text)] == ["send", "buy", "ring"]


@pytest.mark.parametrize(
    ("words", "more"),
    [
        ("Please answer the letter within 10 days", "of its receipt"),
        ("Please answer the letter in 10 days", "after the visit"),
        ("Bitte den Brief innerhalb von 10 Tagen beantworten", ""),
        ("Bitte zahlen Sie die Ware binnen 10 Tagen", "nach Erhalt"),
        ("Merci de payer la somme dans 10 jours", "suivant la réception"),
        ("Por favor, envíe el formulario en 10 días", "después de la entrega"),
        ("Пришлите список в течение 10 дней", "после получения"),
    ],
)
def test_days_counted_from_another_event_set_no_due_date(words: str, more: str) -> None:
    assert [told(item)[3] for item in found(f"{words}.")] == ["2026-03-14"]
    assert not more or [told(item)[3] for item in found(f"{words} {more}.")] == [""]
    assert found("Copyright 2027 Sun Yachts opens.") == []


@pytest.mark.parametrize(
    ("heading", "rows"),
    [
        ("Action items", "- Tom: keys\n- Ann & Bob: the hall\n- Zelimkha: flags\n- Mary: tea\n"),
        ("Aufgaben", "- Tom: Schlüssel\n- Ann und Bob: Halle\n- Zelimkha: Fahnen\n- Maria: Tee\n"),
        ("À faire :", "- Tom : clés\n- Ann et Bob : la salle\n- Zelimkha : drapeaux\n- Marie : thé\n"),
        ("Tareas", "- Tom: llaves\n- Ann y Bob: la sala\n- Zelimkha: banderas\n- Maria: té\n"),
        ("Задачи", "- Олег: ключи\n- Рита и Егор: зал\n- Зелимха: флаги\n- Мария: чай\n"),
        ("待办", "- 王磊：钥匙\n- 李敏、小雨：会场\n- 张强：旗子\n- 小陈：茶\n"),
    ],
)
def test_row_below_a_work_heading_is_a_task_with_an_assignee(heading: str, rows: str) -> None:
    items = [told(item) for item in found(f"{heading}\n{rows}")]
    cells = [
        re.split("[:\uff1a]", re.sub(" (?:&|und|et|y|и) |、", ", ", row[2:])) for row in rows.splitlines()
    ]
    assert [(one[2], one[1]) for one in items] == [(who.strip(), what.strip()) for who, what in cells]
    assert [told(item)[1:3] for item in found(f"{heading}\n- Keller: Lampe\n")] != [["Lampe", "Keller"]]
    dashed = [told(item)[1:3] for item in found(f"{heading}\n- Tom \u2013 tents\n- chairs - Ann\n")]
    assert dashed == [["tents", "Tom"], ["chairs", "Ann"]]


@pytest.mark.parametrize(
    "heading",
    [
        *("To do this week:", "Tasks for Friday", "TO DO diese Woche", "Aufgaben bis Weihnachten:"),
        *("À faire cette semaine :", "Tareas para hoy", "Дела на неделю:", "下周待办："),
    ],
)
def test_rows_below_a_work_heading_with_a_time_are_tasks(heading: str) -> None:
    assert [item.table for item in found(f"{heading}\n- 42 A 43 B\n- 44 A 45 B\n")] == [TableName.TASKS] * 2


@pytest.mark.parametrize(
    ("rows", "titles"),
    [
        ("7 Apr 6.30 pm choir\n12 Apr soap box derby for all\n", ["choir", "soap box derby for all"]),
        ("7.4. 18:30 Chor\nSo 12.4. Seifenkistenrennen für alle\n", ["Chor", "Seifenkistenrennen für alle"]),
        ("17/04 18h30 chorale\n19/04 course de caisses à savon\n", ["chorale", "course de caisses à savon"]),
        ("7 de abril: coro\n12 de abril carrera de autos locos\n", ["coro", "carrera de autos locos"]),
        ("7.4. 18:30 хор\n12.4. гонки на мыльницах для всех\n", ["хор", "гонки на мыльницах для всех"]),
        ("4月7日 18:30 合唱\n4月12日 肥皂箱大赛欢迎围观\n", ["合唱", "肥皂箱大赛欢迎围观"]),
        ("3.3. 18:30 Chor\n2.3. Seifenkistenrennen für alle\n", []),  # past
        ("7.4. soap box derby for all\nIt rained.\n", []),
        ("7.4. 120 €\n7.5. 120 €\n", []),
    ],
)
def test_rows_beginning_with_days_are_events(rows: str, titles: list[str]) -> None:
    for text in (rows, f"Club\n\n{rows}", re.sub("(?m)^(?=.)", "- ", rows)):
        items = found(text)
        assert [item.data["title"] for item in items] == titles
        assert {item.table for item in items} <= {TableName.TIMELINES}


@pytest.mark.parametrize(
    ("text", "title", "words"),
    [
        ("Please send the figures next week.", "send the figures next week", "next week"),
        ("Next week, please send the figures.", "send the figures (Next week)", "Next week"),
        ("Bitte schicke nächsten Monat die Zahlen.", "nächsten Monat die Zahlen schicken", "nächsten Monat"),
        (
            "Merci d'envoyer les chiffres la semaine prochaine.",
            "envoyer les chiffres la semaine prochaine",
            "la semaine prochaine",
        ),
        (
            "Por favor, manda las cifras la semana que viene.",
            "manda las cifras la semana que viene",
            "la semana que viene",
        ),
        (
            "Пришлите цифры на следующей неделе.",
            "прислать цифры на следующей неделе",
            "на следующей неделе",
        ),
        ("请下周把数据发给我。", "把数据发给我 (下周)", "下周"),
        ("Please send the report for week 51.", "send the report for week 51", "for week 51"),
        ("Please print next week's menu.", "print next week's menu", ""),
    ],
)
def test_due_week_without_a_day_is_unresolved(text: str, title: str, words: str) -> None:
    (item,) = found(text)
    assert (item.data["title"], item.data.get("dueDate")) == (title, None)
    assert item.unresolved == ({"dueDate": words} if words else {})


@pytest.mark.parametrize(
    ("question", "consent"),
    [
        ("Could someone feed the cat on Friday?", "sure"),
        ("Kannst du am Freitag die Katze füttern?", "klar"),
        ("Tu peux nourrir le chat vendredi ?", "d'accord"),
        ("¿Puedes regar las plantas el viernes?", "vale"),
        ("Сможешь покормить кота в пятницу?", "хорошо"),
        ("你能不能周五喂一下猫？", "好的"),
    ],
)
def test_consent_in_a_chat_of_two_assigns_the_task_to_the_consenting_person(
    question: str, consent: str
) -> None:
    def takers(*lines: str) -> list[str]:
        return [told(item)[2] for item in found("".join(f"{line}\n" for line in lines))]

    asked = f"Mia: {question}"
    assert takers(asked, f"Jo: {consent}", "Mia: !") == ["Jo"]
    assert takers(asked, f"Mia: {consent}", "Jo: !") == [""]
    assert takers(asked, f"Jo: {consent}", "Ann: !") == [""]
    assert takers(asked, "Jo: ?", "Mia: !", "Jo: ?", "Mia: !", f"Jo: {consent}") == [""]


def test_colon_inside_a_word_does_not_separate_title_and_content() -> None:
    sentences = {
        "Review meeting on Friday 14:00 in room 3:1": ("Review meeting in room 3:1", None),
        "Gate code at 14:00: 4471": ("Gate code at 14:00", "4471"),
        "The code is http://x.org/a": ("The code is http://x.org/a", None),
        "The order number is 16:9": ("The order number is 16:9", None),
        "Please send the 3:1 report by Friday.": ("send the 3:1 report", None),
        "Gate code:4471": ("Gate code", "4471"),
        "Regarding ticket 12 at 14:00 in Rome": None,
        "Ann 14:00 and more": None,
        "门禁密码：4471": ("门禁密码", "4471"),
    }
    for text, expected in sentences.items():
        items = found(text)
        assert [(item.data["title"], item.data.get("content")) for item in items] == (
            [expected] if expected else []
        ), text


@pytest.mark.parametrize(
    ("sentence", "day"),
    [
        ("Ann must finish the budget for 2027 by 15 December.", "2026-12-15"),
        ("Prepare the plan 2027 until 3 December, please.", "2026-12-03"),
        ("Bitte das Budget für 2027 bis zum 15. Dezember schicken.", "2026-12-15"),
        ("Merci d'envoyer le budget 2027 avant le 15 décembre.", "2026-12-15"),
        ("Hay que enviar el presupuesto de 2027 antes del 15 de diciembre.", "2026-12-15"),
        ("Нужно отправить бюджет на 2027 год до 15 декабря.", "2026-12-15"),
        ("Please send the plan by 15 December 2027.", "2027-12-15"),
        ("Please send the plan in 2027 by 15 July.", "2027-07-15"),
    ],
)
def test_year_belonging_to_another_noun_is_not_used_for_the_due_date(sentence: str, day: str) -> None:
    (item,) = found(sentence)
    assert told(item)[3] == day
    assert ("2027" in str(item.data["title"])) is day.startswith("2026")


@each(
    ("sentence", "day"),
    [
        ("Bitte melden Sie den Zählerstand der Wohnung 3 bis zum 14. Dezember.", "2026-12-14"),
        ("Bitte streichen Sie die Tür in der Goethestraße 8 bis 4. Dezember.", "2026-12-04"),
        ("Bitte überweisen Sie 20 bis zum 14. Dezember.", "2026-12-14"),
        ("Please paint room 3 to 14 December.", "2026-12-14"),
        ("Please repair flat 3 until 14 December.", "2026-12-14"),
        ("Veuillez nettoyer l'appartement 3 au 14 décembre.", "2026-12-14"),
        ("Por favor limpie el piso 3 al 14 de diciembre.", "2026-12-14"),
        ("Por favor limpie el piso 3 hasta el 14 de diciembre.", "2026-12-14"),
        ("Пожалуйста, уберите квартиру 3 до 14 декабря.", "2026-12-14"),
        ("Пожалуйста, уберите кв. 5 до 4 декабря.", "2026-12-04"),
        ("请打扫房间3到12月14日。", "2026-12-14"),
        ("Please book the hotel from 3 to 14 December.", "2026-12-03"),
        ("Please book the trip 3 to 14 December.", "2026-12-03"),
        ("Please reserve the hall December 3 to 14.", "2026-12-03"),
        ("Пожалуйста, забронируйте отель с 3 по 14 декабря.", "2026-12-03"),
    ],
)
def test_number_of_a_noun_is_not_the_begin_of_an_interval(sentence: str, day: str) -> None:
    (item,) = found(sentence)
    assert told(item)[3] == day


def test_sentence_that_goes_on_below_a_long_line_of_a_page_is_read_whole() -> None:
    text = (
        "Oak and Ash, Bristol\n18mm ply x 3 £187.20\n"
        "Please quote this number with your payment. Please return the two pallets by 4\n"
        "December 2026.\n11/28/26, 9:20 PM\n"
    )
    assert ["tasks", "return the two pallets", "", "2026-12-04"] in [told(item) for item in found(text)]


WITHOUT_OBJECTS = [
    ("Copy of the pass -> send to Ann by 4 December 2026", "Copy of the pass -> send to Ann"),
    (
        "Saw: in for service at Axel, collect from the shop",
        "Saw: in for service at Axel, collect from the shop",
    ),
    (
        "Unknown - wants a price for gates, 555 0199, Mr Hale, ring back",
        "Unknown - wants a price for gates, 555 0199, Mr Hale, ring back",
    ),
    ("Le permis est prêt -> envoyer à Luc avant le 4 décembre", "Le permis est prêt -> envoyer à Luc"),
    ("Falta la copia -> enviar a Luis antes del 4 de diciembre", "Falta la copia -> enviar a Luis"),
    ("Нужна копия справки -> отправить в школу", "Нужна копия справки -> отправить в школу"),
    ("I am to price the windows by Tue 8 December 2026", "price the windows"),
    ("Please can you send the plan to Ann by 4 December 2026?", "send the plan to Ann"),
    ("Paint isn't my job, she knows.", None),
]


@each(("sentence", "title"), WITHOUT_OBJECTS)
def test_work_without_an_object_keeps_all_words_of_the_sentence(sentence: str, title: str | None) -> None:
    titles = [item.data["title"] for item in found(sentence) if item.table == TableName.TASKS]
    assert titles == ([title] if title else [])


def test_label_of_a_begin_names_the_heading_above() -> None:
    (item,) = found("# Oak wardrobes\n\nStart: Mon 7 Dec 2026, 8:30\n", name="a.md")
    assert told(item) == ["timelines", "Oak wardrobes: Start", "", "2026-12-07"]


def test_tax_return_with_a_deadline_is_a_task() -> None:
    (item,) = found("VAT return due 7 Dec 2026!\n")
    assert told(item) == ["tasks", "VAT return", "", "2026-12-07"]


def test_each_task_of_a_sentence_is_an_item_with_a_separate_quote() -> None:
    items = found("Please call the plumber today and pay the invoice by Friday.")
    assert [(item.data["title"], item.quote) for item in items] == [
        ("call the plumber", "Please call the plumber today"),
        ("pay the invoice", "pay the invoice by Friday."),
    ]


@pytest.mark.parametrize(
    ("line", "quote"),
    [
        ("Claire: code 4471 is that of the gate", "Claire: code 4471 is that of the gate"),
        ("Claire:code 4471 is that of the gate", "Claire:code 4471 is that of the gate"),
        ("Claire: the code of the gate is 4471", "the code of the gate is 4471"),
        ('Claire:  starts the project "Lantern"', 'Claire:  starts the project "Lantern"'),
        ("Claire: the fair takes place on 12 April", "the fair takes place on 12 April"),
    ],
)
def test_quote_of_a_line_in_minutes_begins_at_the_first_letter(line: str, quote: str) -> None:
    text = f"Minutes of the board, 3 March\n\nThe shed was discussed at length.\n{line}\n"
    assert {item.quote for item in found(text)} == {quote}


@pytest.mark.parametrize("who", ["AK", "Ben"])
@pytest.mark.parametrize(
    "head", ["Minutes, 3 March\n\nPresent: all\n\n", "Minutes\nAll is well.\n", "To do:\n"]
)
def test_person_before_a_colon_is_assigned_the_task_after_the_colon(head: str, who: str) -> None:
    items = found(f"{head}- {who}: sign the lease\n- EF: call the bank by Friday\n")
    assert [told(item) for item in items if item.table == TableName.TASKS] == [
        ["tasks", "sign the lease", who, ""],
        ["tasks", "call the bank", "EF", "2026-03-06"],
    ]


@pytest.mark.parametrize("head", ["", "Minutes, 3 March\n\n", "To do:\n- ", "House\n- one\n- "])
def test_ambiguous_word_before_an_auxiliary_is_read_as_a_noun(head: str) -> None:
    (item,) = found(f"{head}The chimney sweep will come on 9 April at 8:15.\n")
    assert told(item) == ["timelines", "Chimney sweep will come", "", "2026-04-09"]


def test_article_before_a_name_is_dropped_and_within_a_name_stays() -> None:
    names = ["Bärbel Krüger", "M. Le Goff", "Trainer"]
    assert split_names("Bärbel Krüger, M. Le Goff und die Trainer") == names


def test_name_at_the_start_of_a_caption_is_the_assignee() -> None:
    cues = ("Carla, can you book the hall?", "Sure, I'll do that.", "<v Ben>Ann, can you order the paper?")
    text = "WEBVTT\n\n" + "".join(
        f"00:00:0{nth}.000 --> 00:00:0{nth}.900\n{cue}\n\n" for nth, cue in enumerate(cues)
    )
    items = found(text, name="a.vtt", date=None)
    assert [told(item)[1:3] for item in items] == [["book the hall", "Carla"], ["order the paper", "Ann"]]


@pytest.mark.parametrize("end", [".\n", ".\r\n", ". ", " so "])
def test_due_date_of_a_task_is_the_date_in_the_task_clause(end: str) -> None:
    items = found(
        f"the trade fair opens on 30 September 2026 in hall 4{end}please register by 15 May 2026.\n"
    )
    task = next(item for item in items if item.table == TableName.TASKS)
    assert told(task) == ["tasks", "register", "", "2026-05-15"]
    (joined,) = found("the trade fair opens on 30 September 2026 please register by 15 May 2026.\n")
    assert told(joined) == ["tasks", "register", "", "2026-05-15"]


@pytest.mark.parametrize(
    ("sentence", "hour"),
    [
        ("The concert on 3 April in the old mill begins at 19:30.", "2026-04-03 19:30"),
        ("Le concert du 3 avril est entre 8 h et 10 h.", "2026-04-03 08:00"),
        ("The concert on 3 April is in room 7:30b.", "2026-04-03 00:00"),
        ("The fair is on 3 April, start 7 pm.", "2026-04-03 19:00"),
        ("Der Basar ist am 3. April, Beginn 9 Uhr.", "2026-04-03 09:00"),
        ("La kermesse est le 3 avril, début 9 h.", "2026-04-03 09:00"),
        ("La feria es el 3 de abril, inicio 9:30.", "2026-04-03 09:30"),
        ("Ярмарка будет 3 апреля, начало в 9:30.", "2026-04-03 09:30"),
        ("La fête est le 3 avril à 20 h.", "2026-04-03 20:00"),
    ],
)
def test_event_takes_the_time_from_other_words_of_the_sentence(sentence: str, hour: str) -> None:
    (item,) = found(sentence)
    date = item.data["date"]
    assert isinstance(date, int)
    assert f"{from_epoch_ms(date):%Y-%m-%d %H:%M}" == hour


@pytest.mark.parametrize(
    ("sentence", "title"),
    [
        ("Überweisen Sie bitte die Gebühr von 250 EUR.", "die Gebühr von 250 EUR überweisen"),
        ("Senden Sie uns bitte die Rechnung.", "die Rechnung senden"),
        ("Schicken Sie die Rechnung bitte heute noch.", "die Rechnung noch schicken"),
    ],
)
def test_title_of_a_request_has_the_verb_before_please(sentence: str, title: str) -> None:
    (item,) = found(sentence)
    assert item.data["title"] == title


@pytest.mark.parametrize(
    ("row", "title"),
    [
        ("ТО машины 16/12 в 8:00", "ТО машины"),
        (
            "кардиолог др. Озолиня — чт 12 марта 14:20, Клиника, каб. 312",
            "кардиолог др. Озолиня, Клиника, каб. 312",
        ),
        (
            "каждый понедельник разложить таблетки в коробочку",
            "каждый понедельник разложить таблетки в коробочку",
        ),
        (
            "collect prescription every Friday from the chemist",
            "collect prescription every Friday from the chemist",
        ),
        ("Lena Geburtstag am 9.3., Kuchen backen!", "Lena Geburtstag, Kuchen backen"),
    ],
)
def test_title_of_a_row_keeps_short_names_numbered_places_and_repetition(row: str, title: str) -> None:
    (item,) = found(f"# Woche\n\n- {row}\n", name="a.md")
    assert (item.data["title"], item.data.get("assignee")) == (title, None)


@pytest.mark.parametrize("answer", ["Yes will do", "Ok can do", "Sure will do that", "Will do"])
def test_consent_before_a_promise_is_no_person(answer: str) -> None:
    rows = [
        "Moira K: Ben can you bring the black folders on Friday please?",
        "Ida: \U0001f44d",
        f"Ben: {answer}",
    ]
    items = found("".join(f"[03/03/2026, 19:0{n}:11] {row}\n" for n, row in enumerate(rows)))
    assert all(item.data.get("assignee") in (None, ["Ben"]) for item in items) and items


def test_event_of_a_person_before_work_is_no_person() -> None:
    (item,) = found("Lena Geburtstag, bitte Kuchen backen.")
    assert (item.data["title"], item.data.get("assignee")) == ("Kuchen backen", None)


CONDITIONS = """
Angebot Dachdecker: 1.200 € bis 31.3. gültig
Fa. Lorenz: 3.400 €, gültig bis 15.3.
Fa. Schütz 2.950 € inkl. Anfahrt, bis 31.3. Rabatt 5 %
Skonto 2 % bei Zahlung bis 10.3.
Mo-Sa 8-20 Uhr
3 % off if paid by 10 March
Cette offre est valable jusqu'au 15 avril
Escompte 2 % pour paiement avant le 10 mars
Oferta válida hasta el 15 de marzo
Descuento 5 % hasta el 31 de marzo
Предложение действует до 15 марта
Скидка 2 % при оплате до 10 марта
报价有效期至3月15日
3月31日前优惠5%
"""
OFFERS_TO_WRITE = {
    "Müller: Angebot bis Fr 13.3.": "Müller: Angebot",
    "Angebot schreiben bis 13.3.": "Angebot schreiben",
    "Send the offer by 13 March": "Send the offer",
    "Reisepass bis 13.3. verlängern": "Reisepass verlängern",
}
RECIPES = (
    "# Dumpling\n\n- 225g flour\n- 175g suet\n\n1. Mix it.\n2. Tie and boil 3 hours.\n3. Serve hot.\n",
    "# Linsensuppe\n\n- 250 g Linsen\n\n1. Linsen einweichen, 12h\n2. 45 min kochen\n3. abschmecken\n",
    "# Soupe\n\n- 250 g de lentilles\n\n1. Faire tremper 12 h\n2. Cuire 45 minutes\n3. Servir chaud\n",
    "# Lentejas\n\n- 250 g de lentejas\n\n1. Remojar 12 h\n2. Cocer 45 minutos\n3. Servir\n",
    "# Варенье\n\n1. Промыть 1 кг ягод\n2. Засыпать сахаром 1,2 кг, оставить до завтра\n3. Варить 15 минут\n",
    "# 汤\n\n- 250克 扁豆\n\n1. 浸泡12小时\n2. 煮45分钟\n",
)


@each("row", CONDITIONS.strip().splitlines())
def test_condition_of_an_offer_is_no_item(row: str) -> None:
    assert found(f"- {row}\n", name="a.md") == []


@pytest.mark.parametrize(("row", "title"), OFFERS_TO_WRITE.items())
def test_offer_to_be_written_is_a_task(row: str, title: str) -> None:
    assert [item.data["title"] for item in found(f"# Notiz\n\n- {row}\n", name="a.md")] == [title]


@pytest.mark.parametrize("text", RECIPES)
def test_recipe_without_a_title_of_recipes_has_no_items(text: str) -> None:
    assert is_reference("a.md", text, [], has_day=False)


@pytest.mark.parametrize(
    "text",
    [
        "# Saturday\n\n1. Buy 2 kg flour\n2. Call Bob\n3. Bake a cake, 45 minutes\n4. Pay\n5. Wash up\n",
        "# Saturday\n\n- [ ] boil eggs 10 min\n- [ ] bake 2 kg bread\n",
        "run 30 minutes\nbuy 500 g mince\ncall the plumber\nserve on the committee\n",
    ],
)
def test_list_of_work_with_amounts_is_no_recipe(text: str) -> None:
    assert not is_reference("a.md", text, [], has_day=False)


@each(
    ("sentence", "hour", "title"),
    [
        ("Zahnarzt am 8.4. um 7 Uhr", "2026-04-08 07:00", "Zahnarzt"),
        ("Zahnarzt am 8.4. zwischen 9 und 11 Uhr", "2026-04-08 09:00", "Zahnarzt"),
        ("The dentist comes on 8 April between 2 and 4 pm.", "2026-04-08 14:00", "Dentist comes"),
        ("Le technicien vient le 8 avril entre 9 h et 11 h.", "2026-04-08 09:00", "Technicien vient"),
        ("El técnico viene el 8 de abril entre las 9 y las 11.", "2026-04-08 09:00", "Técnico viene"),
        ("Мастер придёт 8 апреля между 9 и 11 часами.", "2026-04-08 09:00", "Мастер придёт"),
        ("Physio - verschoben auf Mo 13.4. 14 Uhr", "2026-04-13 14:00", "Physio"),
        ("Dentist - moved to Mon 13 April 2pm", "2026-04-13 14:00", "Dentist"),
        ("Dentiste reporté au lundi 13 avril à 14h", "2026-04-13 14:00", "Dentiste"),
        ("Стоматолог перенесён на понедельник 13 апреля в 14:00", "2026-04-13 14:00", "Стоматолог"),
        ("牙医改到4月13日下午两点", "2026-04-13 14:00", "牙医"),
        ("Mi 8.4. 14:00 Physio - verschoben auf Mo 13.4. 15:00", "2026-04-13 15:00", "Physio"),
        ("Mi 8.4. 14:00 Physio wird auf Mo 13.4. 15:00 verlegt", "2026-04-13 15:00", "Physio"),
        ("Mi 8.4. 14:00 Physio, verschoben auf 15:30", "2026-04-08 15:30", "Physio"),
        ("Wed 8 Apr 9:00 Physio moved to Mon 13 Apr, same time", "2026-04-13 09:00", "Physio"),
        ("Vet visit brought forward from 13 Apr to 8 Apr, 9:00", "2026-04-08 09:00", "Vet visit"),
        ("Wed 8 Apr 14:00 Dinner at Kim's -> now Mon 13 Apr 18:30", "2026-04-13 18:30", "Dinner at Kim's"),
        ("mer 8/4 14h Kiné (reporté au lun 13/4 15h)", "2026-04-13 15:00", "Kiné"),
        ("La cita del 8 de abril a las 14:00 pasa al 13 de abril a las 15:00.", "2026-04-13 15:00", "Cita"),
        ("ср 8.4 14:00 Окулист переносится на пн 13.4 15:00", "2026-04-13 15:00", "Окулист"),
        ("4月8日14:00的预算会议改为4月13日15:00。", "2026-04-13 15:00", "预算会议"),
        ("Wed 8 Apr 10:00 Start", "2026-04-08 10:00", "Start"),
        ("Mi 8.4. 10:00 Ende", "2026-04-08 10:00", "Ende"),
        ("mer 8/4 10h Début", "2026-04-08 10:00", "Début"),
        ("mié 8/4 10:00 Inicio", "2026-04-08 10:00", "Inicio"),
        ("ср 8.4 10:00 Начало", "2026-04-08 10:00", "Начало"),
        ("ср 8.4: 17:00 Финал", "2026-04-08 17:00", "Финал"),
        ("周三 4月8日 10:00 开始", "2026-04-08 10:00", "开始"),
        ("Mi 8.4. Zahnarzt 9:00", "2026-04-08 09:00", "Zahnarzt"),
        ("Dentiste le 8/4 à 18h", "2026-04-08 18:00", "Dentiste"),
        ("Réunion le 8 avril de 14h à 15h30", "2026-04-08 14:00", "Réunion (14h à 15h30)"),
        ("Хор ср 8.4, 18-30", "2026-04-08 18:30", "Хор"),
        ("Встреча 8 апреля в половине восьмого вечера", "2026-04-08 19:30", "Встреча"),
        ("Zahnarzt am 8.4. um halb drei", "2026-04-08 00:00", "Zahnarzt um halb drei"),  # of day or night
        ("Dentist on 8 April at 3", "2026-04-08 00:00", "Dentist at 3"),
        (
            "Termin mit Herrn Brandt am 8.4. um 15 Uhr vor Ort.",
            "2026-04-08 15:00",
            "Termin mit Herrn Brandt vor Ort",
        ),
    ],
)
def test_event_has_the_begin_of_an_interval_and_keeps_an_unsure_time(
    sentence: str, hour: str, title: str
) -> None:
    (item,) = found(sentence)
    date = item.data["date"]
    assert isinstance(date, int)
    assert (f"{from_epoch_ms(date):%Y-%m-%d %H:%M}", item.data["title"]) == (hour, title)


@each(
    "row",
    [
        "Wed 8 Apr 9:30 Dentist (cancelled)",
        "Wed 8 Apr 18:00 Choir practice - called off due to illness",
        "Wed 8 Apr 20:00 Book club is off",
        "Wed 8 Apr 8:00 Plumber - postponed until further notice",
        "Der Yogakurs am 8.4. um 18 Uhr fällt leider aus.",
        "Mi 8.4. 10 Uhr Klavierstunde findet nicht statt",
        "Mi 8.4. 8 Uhr Klempner - bis auf Weiteres verschoben",
        "mer 8/4 9h30 Dentiste (annulé)",
        "La clase de yoga del 8 de abril a las 18:00 se cancela.",
        "ОТМЕНА: ср 8.4 17:00 собрание",
        "Занятие йогой 8 апреля в 18:00 отменено.",
        "4月8日 9:30 看牙(取消)",
    ],
)
def test_event_that_was_called_off_is_no_item(row: str) -> None:
    assert found(row) == []


def test_order_to_move_an_event_keeps_its_words() -> None:
    (item,) = found("Please tell Ann the dentist was moved to Berlin by Monday 13 April.")
    assert item.data["title"] == "tell Ann the dentist was moved to Berlin"


@pytest.mark.parametrize(
    "row",
    ["enviar facturas", "Mandar la lista.", "comprar sellos", "envoyer factures", "acheter timbres"],
)
def test_order_without_an_article_is_work_in_its_language(row: str) -> None:
    (item,) = found(row)
    assert (item.table, item.data["title"]) == (TableName.TASKS, row.rstrip("."))


async def test_calendar_below_agenda_has_events_and_an_agenda_has_none() -> None:
    calendar = "- mer 2/12 14h Kiné\n- lun 7/12 15h Coiffeur\n"
    assert len(await rows_of_file(f"# Agenda\n\n{calendar}")) == 2
    assert await rows_of_file("# Agenda\n\n- Budget\n- Location de la salle\n") == []


def test_event_before_the_last_change_of_a_file_is_past() -> None:
    text = "The trip to Ely is on 3 March 2026. The trip to Rye is on 5 March 2026."
    items = found(text, date=None, written_at=WEDNESDAY)
    assert [item.data["title"] for item in items] == ["Trip to Rye"]


def test_repeated_request_in_prose_yields_a_single_item() -> None:
    assert len(found("Please book the hall. I repeat: please book the hall!")) == 1


def test_only_the_tables_of_the_agent_are_found() -> None:
    tasks = ExtractionOptions(data_types=(TableName.TASKS,))
    text = "Please book the hall. The meeting is on Friday at 10:00."
    assert [item.table for item in found(text, tasks)] == [TableName.TASKS]


def test_only_the_subject_of_a_mail_header_yields_items() -> None:
    header = "From: Ana <ana@x.example>\nTo: Ben <ben@x.example>\nDate: Fri, 20 Mar 2026 09:12:00 +0100\n"
    assert found(f"{header}\nHi Ben,\n\nthanks.\n") == []
    (item,) = found(f"Subject: Please book the hall by Friday\n{header}\nHi Ben,\n\nthanks.\n")
    assert item.data["title"] == "book the hall"


@pytest.mark.parametrize(
    ("fields", "subject", "title"),
    [
        ("Subject From To", "Déjeuner du 3 avril", "Déjeuner"),
        ("Objet De À", "Déjeuner du 3 avril", "Déjeuner"),
        ("Betreff Von An", "Essen am 3. April", "Essen"),
        ("Asunto De Para", "Comida del 3 de abril", "Comida"),
        ("Тема От Кому", "Обед 3 апреля", "Обед"),
    ],
)
def test_mail_header_field_names_are_no_assignees(fields: str, subject: str, title: str) -> None:
    about, sender, receiver = fields.split()
    for header in (f"{about}: {subject}\n{sender}: Ana Lee\n{receiver}: Ben Fox\n", f"{about}: {subject}\n"):
        items = [told(item) for item in found(f"{header}\nOk.\n")]
        assert items == [["timelines", title, "", "2026-04-03"]]


def test_subject_of_a_mail_in_an_mbox_counts_from_the_date_of_the_mail() -> None:
    text = "".join(
        f"From a@x.example {day} 2026\nFrom: Ana <ana@x.example>\nSubject: {subject}\n"
        f"Date: {day} 2026 10:00:00 +0000\n\nHi,\n\nthanks.\n\n"
        for day, subject in (("2 Mar", "Déjeuner du 3 avril"), ("9 Mar", "Réunion jeudi 12 mars"))
    )
    items = found(text, name="a", media_type="application/mbox", date=None)
    assert [told(item)[::3] for item in items] == [["timelines", "2026-04-03"], ["timelines", "2026-03-12"]]


def test_relative_due_date_without_a_document_date_is_unresolved() -> None:
    (item,) = found("Please book the hall by Friday.", date=None)
    assert ("dueDate" in item.data, item.unresolved) == (False, {"dueDate": "by Friday"})


async def test_extractor_without_a_model_finds_a_prose_task_of_origin_rule() -> None:
    text = "Hi Priya,\n\nthe weather is fine. Could you send the quote to Halden by Friday?\n\nTom\n"
    document = Document(unit_key="a.txt", text=text, content_hash="0" * 64, modified_at=WEDNESDAY)
    extraction = await Extractor(Models(), secret=bytes(32)).extract(document, ALL)
    (item,) = extraction.items
    assert (item.origin, item.quote) == ("rule", "Could you send the quote to Halden by Friday?")


@pytest.mark.parametrize(
    "unit", ["a", "please ", "x, ", "Ann to ", "by Friday ", ": ", "- buy\n", "> ", "(", "!"]
)
def test_single_line_text_is_read_in_linear_time(unit: str) -> None:
    short, long = (calls_of(partial(found, unit * (length // len(unit)))) for length in (1_500, 6_000))
    assert long <= 5 * short + 1_000


@pytest.mark.parametrize("unit", ["@ann by Friday TODO ", "the tree on Friday ", "\u00e0 by Friday ,"])
def test_sentence_of_many_days_is_read_with_few_calls(unit: str) -> None:
    text = unit * (1_500 // len(unit))
    found(text)  # patterns are compiled
    assert calls_of(partial(found, text)) <= CALLS_PER_CHARACTER * len(text)


def test_ticket_chat_comment_has_the_author_and_quotes_the_line() -> None:
    text = (
        "Ticket 12: the pump\n\nAna: The pump hums again. It is loud.\n"
        "Otto: Mine hums too. It did so in May.\nAna: That was noted here."
    )
    comments = [item for item in found(text) if item.table == TableName.TASK_COMMENTS]
    assert [item.data["author"] for item in comments] == ["Ana", "Otto", "Ana"]
    assert [text[item.start : item.end] for item in comments] == [item.quote for item in comments]
    assert [item.quote for item in comments][1].startswith("Mine hums too.")


@pytest.mark.parametrize(
    "text",
    [
        "Luc: Bonsoir à tous les voisins\nEva: Super journée\nLuc: merci\n",
        "Иван: Ольга, добрый вечер!\nОльга: Иван, добрый день и вам\nИван: спасибо\n",
        "Eva: mirad qué flores más bonitas\nLuis: mirad el color\nEva: gracias\n",
    ],
)
def test_chat_greetings_and_exclamations_yield_no_items(text: str) -> None:
    assert found(text) == []


def test_lines_below_a_chinese_comments_heading_are_task_comments() -> None:
    items = found("卡片：首页轮播改版\n评论区\n小尹：图片太大，加载要三秒\n")
    assert ["taskComments", "图片太大，加载要三秒"] in [told(item)[:2] for item in items]


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("We need to call the caretaker about the heating.", "words prose.duties"),
        ("Please send me the address of the printer.", "words prose.requests"),
        ("Minutes of the board\n\n- Ann calls the hall\n", "words prose.reports"),
        ("Action items\n\n- new badges for all\n", "heading prose.listed"),
        ("The talk went well.\n\n**Action:** new badges for all\n", "keyword prose.listed"),
        ("Who orders new tiles?\nAnn: I will\n", "words prose.asks"),
    ],
)
def test_task_has_the_mark_and_the_rule_as_evidence(text: str, evidence: str) -> None:
    (task,) = (item for item in found(text) if item.table == TableName.TASKS)
    assert task.evidence is not None
    assert f"{task.evidence.mark} {task.evidence.rule}" == evidence


@pytest.mark.parametrize(
    ("row", "title", "who"),
    [
        ("**Action:** Eva writes to the press by Friday", "write to the press", "Eva"),
        ("Action item (Ben): order chairs", "order chairs", "Ben"),
        ("TODO: order chairs (Ann, by Friday)", "order chairs", "Ann"),
        ("Aufgabe: Stühle bestellen → Anna", "Stühle bestellen", "Anna"),
        ("Acción: pedir las sillas (Lucía y Carlos)", "pedir las sillas", "Lucía, Carlos"),
        ("Action : commander les chaises (le menuisier)", "commander les chaises (le menuisier)", ""),
        ("Задача (Ирина): заказать стулья", "заказать стулья", "Ирина"),
        ("待办：订椅子（王明）", "订椅子", "王明"),
        ("AI: Update DNS, move AWS", "Update DNS, move AWS", ""),
        ("Aufgaben: Äpfel, Birnen und Brot kaufen", "Äpfel, Birnen und Brot kaufen", ""),
    ],
)
def test_labelled_row_is_a_single_task_of_the_named_people(row: str, title: str, who: str) -> None:
    (item,) = found(f"{row}\n")
    assert told(item)[:3] == ["tasks", title, who]


def test_search_words_of_a_promise_include_text_person_and_due_date() -> None:
    (item,) = found("I promised Anna Rossi to send the offer by Friday.")
    words = words_of(row("1", "", data=dict(item.data), quote=item.quote))
    assert {"promised", "anna", "rossi", "offer"} <= {*words["body"].split()}
    assert (words["title"], words["due"]) == ("send the offer anna rossi ꙮ", item.data["dueDate"])


# Text, and what the rules read of it.
NO_PROSE = [
    ("See [the plan](https://a.example/x?by=2027-01-04 'until Friday').", "See [the plan] ."),
    ('Fine.\n[plan]: ../plan.md "valid until 4 May"\n', "Fine."),
    ("Run `git push origin` now, not `make`.", "Run `git push origin` now, not `make`."),
    ("2027-01-04 07:12:01,113 WARN pump 2 dry, please call Ann", ""),
    ("[2027-01-04T07:12:01Z] ERROR: restart before Friday", ""),
    ('10.0.0.7 - bob [04/Jan/2027:07:12:01 +0100] "GET /todo HTTP/1.1" 200 3', ""),
    ("Jan  4 07:12:01 host7 sshd[99]: must finish tomorrow", ""),
    ("Traceback (most recent call last):\n  File \"a.py\", line 1\n    call()\nKeyError: 'due'", ""),
    ("java.lang.IllegalStateException: call me\n\tat a.b.C.run(C.java:7)", ""),
    ("$ make release by=friday", ""),
    ("QmFzZTY0IG9mIGEgZmlsZSB0aGF0IG5vYm9keSByZWFkcyBhbnkgbW9yZQ==", ""),
    ("See you.\n-- \nIda Holm\nCall me on 5512 | Visit us on 4 May\n", "See you."),
    ('He shouted "Please send the money by Friday!" and left.', "He shouted and left."),
    ("« Il faut vendre la maison avant Noël, » dit-elle.", "dit-elle."),
    (
        "Möbel Ott\nHafen 3\n\nUlm, den 4. Mai\n\nLiebe Ida,\n\nkomm bald.\n\nHerzliche Grüße\nJan",
        "Liebe Ida, komm bald.",
    ),
    ("Nota\n\nEstimada Ana:\n\nVenga.\n\nAtentamente,\nJon Vila\nTel. 5512", "Estimada Ana: Venga."),
    (
        "I wrote to him.\nHi Tom,\nyes.\nBest wishes\nP.S. Please bring the key.",
        "I wrote to him. Hi Tom, yes. P.S. Please bring the key.",
    ),
    ('Rewrite the "About us" page.', 'Rewrite the "About us" page.'),
]


@each(("text", "expected"), NO_PROSE)
def test_view_of_prose_blanks_out_text_without_sentences(text: str, expected: str) -> None:
    view = view_of_prose(text)
    assert " ".join(view.split()) == expected
    assert len(view) == len(text)


JOINED = [
    "We meet at the station on\n4 May, and Zoe brings the\ntickets.",
    "Der Vertrag gilt bis zum\n  3. Juni. Danach zahlt sie\nüber Frau Ott.",
    "- look for the key in\n  the blue drawer",
    "> The order is late, so\n> the shop closes.",
    "Соня принесёт список до\n30 мая.",
]
APART = [
    "buy a lamp\nring the vet\ntake the car to the garage.",
    "Ann: yes\nBen: on\n07:45 Cara: no",
    "Packing:\nsocks\nshirts",
    "# Plan\nwe start early.",
    "1. call Ann\n2. call Ben",
]


@pytest.mark.parametrize("text", JOINED)
def test_view_of_prose_joins_the_lines_of_a_sentence(text: str) -> None:
    assert "\n" not in view_of_prose(text)


@pytest.mark.parametrize("text", APART)
def test_view_of_prose_keeps_the_lines_of_a_list_apart(text: str) -> None:
    assert view_of_prose(text) == text


@pytest.mark.parametrize(
    "stamp",
    [
        *("Rosa Lind  9:05 AM", "rosa.lind [9:05]", "Rosa:sun_with_face: 9:05 PM", "Rosa Lind\t9:05"),
        *("Rosa Lind  Yesterday at 9:05 PM", "Rosa  May 2nd at 9:05 AM", "Rosa  2. Mai um 9:05 Uhr"),
        *("Rosa  Hier à 9:05", "Rosa  Ayer a las 9:05", "Рита  Вчера в 9:05"),
    ],
)
def test_view_of_prose_has_no_stamps_of_copied_messages(stamp: str) -> None:
    view = view_of_prose(f"Pump\n\n{stamp}\nIt is loud.\n{stamp}\nTwo of them.\n")
    assert [line.strip() for line in view.split("\n")] == [
        "Pump",
        "",
        "",
        "It is loud.",
        "",
        "Two of them.",
        "",
    ]
    times = "Breakfast  9:05\nDeparture  9:45\n"
    assert view_of_prose(times) == times


def test_view_of_prose_joins_a_long_line_to_a_name_below() -> None:
    text = "Nothing more was said about the roof, the gutters and the old\nWindows of the barn."
    assert "\n" not in view_of_prose(text)


REFERENCE = [
    "# Change Log\n\n- Send the mail twice\n- Fix the lamp",
    "# Lampe\n\n## 2.1.0\n\n- Send the mail twice\n\n## 2.0.3\n\n- Fix the lamp",
    "Mietordnung\n\n1.1 Please close the door.\n1.2 You must pay the rent.\n1.3 Wash the stairs.",
    "# Boat\n\n## Contributing\n\nPlease write a test.\n\n## License\n\nYou must keep this text.",
    "How to clean a lamp\n\nUnplug the lamp. Wash the shade. Dry the shade.",
    "# Kürbissuppe\n\n## Zutaten\n\n- Kürbis\n\n## Zubereitung\n\n1. Bitte den Kürbis schneiden.",
    "Règlement intérieur\n\nVous devez fermer la porte. Veuillez ranger les chaises.",
    "Manual de la caldera\n\nHay que purgar los radiadores. Por favor, llame al técnico.",
    "Памятка для жильцов\n\nНужно закрыть окна. Пожалуйста, сдайте ключи.",
    "新员工手册\n\n请提交照片。请登记车牌。",
    'Mooring licence\n\n4.1. Fair use\n4.4. Notices\n5.2. Repairs of all kinds\n10.3. "Other" boats',
    "Assembly instructions\n\n1. Turn the wheel.\n2. Attach the bell to the frame.",
    "Bedienung der Pumpe\n\n1. Den Hebel an der Seite befestigen.\n2. Bitte den Deckel schließen.",
    "Montaje de la mesa\n\n1. Hay que girar la rueda. Por favor, cierre la tapa.",
    "Сборка стола\n\n1. Нужно закрепить ножки.\n2. Пожалуйста, закройте крышку.",
]


async def _titles(text: str, name: str = "a.md") -> list[object]:
    document = Document(unit_key=name, text=text, content_hash="", modified_at=WEDNESDAY)
    options: ExtractionOptions = ALL
    extraction = await Extractor(Models(), secret=bytes(32)).extract(document, options)
    return [item.data.get("title") for item in extraction.items]


@each("text", REFERENCE)
async def test_text_of_reference_gives_no_task(text: str) -> None:
    assert await _titles(text) == []


@each("text", REFERENCE)
async def test_reference_text_yields_only_check_boxes_and_dated_work_of_a_person(text: str) -> None:
    more = f"{text}\n\n- [ ] ask the notary\n\nRosa will print the copies by 6 March 2026."
    assert await _titles(more) == ["ask the notary", "print the copies"]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Invoice 77\nMend the sail 1 90.00\nTotal 90.00\nPlease pay it by 6 April 2026.", "pay it"),
        ("Rechnung Nr. 77\nSegel flicken 90,00\nSumme 90,00\nBitte bis 6.4.2026 überweisen.", "überweisen"),
        (
            "Facture n° 77\nCoudre la voile 90,00\nTotal 90,00\nMerci de payer avant le 6 avril.",
            "payer",
        ),
        (
            "Factura n.º 77\nCoser la vela 90,00\nTotal 90,00\nPor favor, páguela antes del 6 de abril.",
            "páguela",
        ),
        ("Счёт № 77\nПочинить парус 90,00\nИтого 90,00\nПрошу оплатить счёт до 6 апреля.", "оплатить счёт"),
        ("发票号码：77\n修补船帆 90.00\n合计 90.00\n请于4月6日前付款。", "付款"),
    ],
)
async def test_invoice_yields_only_the_payment_with_a_due_date(text: str, title: str) -> None:
    assert await _titles(text) == [title]


@pytest.mark.parametrize(
    "text",
    [
        "Write the manual by Friday.\nCall the printer.",
        "# 12.5 Meeting\n\nPlease call the printer.\n\n# 14.5 Walk\n\nPlease buy a map.",
        "10.15 Please call the printer.\n10.17 Please buy a map.\n11.05 Please water the plants.",
    ],
)
async def test_reference_title_words_elsewhere_do_not_make_a_reference_text(text: str) -> None:
    assert len(await _titles(text)) > 1


LONG = "The weather was fine and the sea was blue.\n\n" * 60 + "Please paint the boat.\n"


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("Please paint the boat.", "boat.txt", 1),
        ("Please paint the boat.", "notes.txt", 1),
        ("Please paint the boat.", "newsletter.txt", 1),
        ("Please paint the boat.", "docs/LICENSE", 0),
        ("Please paint the boat.", "CHANGELOG_V2.md", 0),
        ("Please paint the boat.", "News.txt", 0),
        (LONG, "boat.txt", 0),
        (f"Notes of 3 March 2026\n\n{LONG}", "boat.txt", 1),
        (LONG, "2026-03-03.txt", 1),
        (f"Dear Ida,\n\n{LONG}", "boat.txt", 1),
        (f"# Boat\n\n## To do\n\n- Please paint the boat\n\n## Weather\n\n{LONG[:-23]}", "boat.md", 1),
    ],
)
async def test_long_text_without_dates_or_work_lists_is_a_reference_text(
    text: str, name: str, count: int
) -> None:
    assert len(await _titles(text, name)) == count


@pytest.mark.parametrize(
    ("text", "quotes"),
    [
        ("Please call the roofer.\n\n- [ ] call the roofer\n", ["call the roofer"]),
        ("- [ ] call the roofer\n\nIt rains. Please call the roofer.\n", ["call the roofer"]),
        ("- [ ] call the roofer\n- [ ] call the roofer\n", ["call the roofer"] * 2),
        (
            "- [ ] call the roofer\n\nPlease call the roofer by Friday.\n",
            ["call the roofer", "Please call the roofer by Friday."],
        ),
    ],
)
async def test_sentence_that_repeats_a_row_is_no_item(text: str, quotes: list[str]) -> None:
    document = Document(unit_key="a.md", text=text, content_hash="0" * 64, modified_at=WEDNESDAY)
    extraction = await Extractor(Models(), secret=bytes(32)).extract(document, ALL)
    assert [item.quote.strip("- []") for item in extraction.items] == quotes


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("[09:20] Ana: Gracias por todo\n[09:25] Luis: De nada\n[09:26] Ana: Un beso\n", []),
        ("Lo hemos hecho todo\n\n- La playa\n- El museo\n", []),
        ("Before you read this list\n\n- The harbour\n- The old mill\n", []),
        ("Sadly there is no sense to be derived from the note.\n", []),
        ("The fence is to be painted by Friday.\n", ["paint the fence"]),
        ("由于数据集很小，结果不稳定。\n", []),
        ("Amazon und Netflix sind nur zwei Namen.\n", []),
        ("Notes of the club\n\n- Put new bulbs in the hall (mind. 3). Thanks.\n", []),
    ],
)
def test_line_that_only_sounds_like_work_gives_no_task(text: str, titles: list[str]) -> None:
    tasks = [item for item in found(text) if item.table == TableName.TASKS]
    assert [item.data["title"] for item in tasks] == titles


NOVEMBER = datetime(2026, 11, 28, 11, tzinfo=UTC)


async def rows_of_file(text: str) -> list[str]:
    """Return title and day of each item of a file that was saved on 28 November 2026."""
    document = Document(unit_key="n.md", text=text, content_hash="0" * 64, modified_at=NOVEMBER)
    extraction = await Extractor(Models(), secret=bytes(32)).extract(document, ALL)
    return [
        " | ".join(filter(None, (table[:4], title, day)))
        for table, title, _, day in map(told, extraction.items)
    ]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (
            "Sortie\n\nDate : jeudi 17 décembre\n\n* réserver le car avant le 1er décembre\n",
            "réserver le car",
        ),
        ("Ausflug\n\nDatum: Do 17.12.\n\nAufgaben:\n- Bus bis 1. Dezember buchen\n", "Bus buchen"),
        ("Trip\n\nDate: Thu 17 Dec\n\nTo do:\n- book the coach by Tuesday\n", "book the coach"),
        ("Minutes\n\nDate: 25 November\n\nTo do:\n- book the coach by Tuesday\n", "book the coach"),
        (
            "Viaje\n\nFecha: jueves 17 de diciembre\n\n- reservar el bus antes del 1 de diciembre\n",
            "reservar el bus",
        ),
        ("Поездка\n\nДата: 17 декабря\n\nЗадачи:\n- заказать автобус до 1 декабря\n", "заказать автобус"),
        ("参观\n\n日期：12月17日\n\n待办：\n- 12月1日前预订大巴\n", "预订大巴"),
        ("By Tuesday, please book the coach.", "book the coach"),
    ],
)
async def test_deadline_below_a_day_without_a_year_counts_from_the_nearest_year(text: str, row: str) -> None:
    assert (await rows_of_file(text))[-1] == f"task | {row} | 2026-12-01"


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        (
            "Arzttermine\nMi 2.12. 9:40 Dr. Huber (Augen)\nMo 14.12. 8:30 Blut nüchtern, Dr. Berg\n",
            "Dr. Huber (Augen)",
            "Blut nüchtern, Dr. Berg",
        ),
        (
            "Termine\nMi 2.12. 12:15 Frisör Aigner\nMo, 14.12.2026, 8.30 Uhr: MRT, Befunde mitnehmen\n",
            "Frisör Aigner",
            "MRT, Befunde mitnehmen",
        ),
        ("- Mi 2.12. 12:15 Frisör\n- 14.12.2026, 8.30 Uhr: MRT\n", "Frisör", "MRT"),
        ("2.12. 12:15 Frisör Haas\n14.12.2026 8:30 MRT\n", "Frisör Haas", "MRT"),
        (
            "# Treffen\n- Mi 2.12. 14:00 Backen\n- Mo 14.12. 11:00 Matinee Stadtsaal\n",
            "Backen",
            "Matinee Stadtsaal",
        ),
        (
            "Termine\nMi 2.12. 12:15 Frisör Egger\nAnruf von Peter am Mo 14.12. um 20 Uhr\n",
            "Termine: Frisör Egger",
            "Anruf von Peter",
        ),
        (
            "Appointments\nWed 2 Dec 11:15 Barber Colin\nMon, 14 December 2026, 8.30 am: MRI, bring scans\n",
            "Barber Colin",
            "MRI, bring scans",
        ),
        (
            "Rendez-vous\nmer 2/12 9h20 Dr Maurel (yeux)\nlundi 14/12/2026 8h30 prise de sang\n",
            "Dr Maurel (yeux)",
            "prise de sang",
        ),
        (
            "Citas\n2 de diciembre 11:15 peluquería Lola\n14/12/2026 8:30 análisis\n",
            "peluquería Lola",
            "análisis",
        ),
        (
            "Встречи\n2.12. 11:15 парикмахер Олег\n14.12. 8:30 МРТ, взять снимки\n",
            "парикмахер Олег",
            "МРТ, взять снимки",
        ),
        ("约会\n12月2日 11:15 理发\n12月14日 8:30 体检\n", "理发", "体检"),
    ],
)
async def test_each_row_of_a_list_of_appointments_is_an_event(text: str, first: str, second: str) -> None:
    assert await rows_of_file(text) == [f"time | {first} | 2026-12-02", f"time | {second} | 2026-12-14"]


@each("mark", ["", "- "])
@each(
    ("text", "title"),
    [
        (
            "RDV ophtalmo le 7 décembre à 9h40, Dr Benali, rue Garibaldi",
            "RDV ophtalmo, Dr Benali, rue Garibaldi",
        ),
        (
            "Réunion parents-profs le 7 décembre à 17h30, salle polyvalente",
            "Réunion parents-profs, salle polyvalente",
        ),
        (
            "Chorale : concert le 7 décembre à 20h, église Saint-Irénée",
            "Chorale: concert, église Saint-Irénée",
        ),
        ("Choir: concert on 7 December at 20:00, St Mary's Church", "Choir: concert, St Mary's Church"),
        ("Next meeting: 7 December, 12:30, seminar room", "Next meeting, seminar room"),
        ("Elternabend am 7. Dezember um 19 Uhr, Aula der Grundschule", "Elternabend, Aula der Grundschule"),
        (
            "Reunión de padres el 7 de diciembre a las 17:30, salón de actos",
            "Reunión de padres, salón de actos",
        ),
        ("Концерт 7 декабря в 20:00, церковь Святой Анны", "Концерт, церковь Святой Анны"),
        ("家长会12月7日17:30，多功能厅", "家长会，多功能厅"),
        ("Concert on 7 December at 20:00, everyone is welcome", "Concert"),
        ("Konzert am 7. Dezember um 20 Uhr, wir freuen uns sehr", "Konzert"),
        ("Reminder: concert on 7 December at 20:00", "concert"),
        ("Atelier cuisine le lundi 7 décembre à 14h", "Atelier cuisine"),
        ("Zahnarzt verschoben auf 7.12. 14 Uhr", "Zahnarzt"),
    ],
)
async def test_title_of_an_event_has_the_place_and_the_topic(mark: str, text: str, title: str) -> None:
    assert await rows_of_file(f"{mark}{text}\n") == [f"time | {title} | 2026-12-07"]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("Décisions :\n- Envoyer les bulletins le 11/12\n", "task | Envoyer les bulletins | 2026-12-11"),
        ("Beschlüsse:\n- Zeugnisse am 11.12. verschicken\n", "task | Zeugnisse verschicken | 2026-12-11"),
        ("Decisions:\n- Send the reports on 11 December\n", "task | Send the reports | 2026-12-11"),
        ("Decisiones:\n- Enviar las notas el 11 de diciembre\n", "task | Enviar las notas | 2026-12-11"),
        ("Решения:\n- Отправить табели до 11 декабря\n", "task | Отправить табели | 2026-12-11"),
        ("决定：\n- 12月11日前寄出成绩单\n", "task | 寄出成绩单 | 2026-12-11"),
        ("Decisions:\n- Move the stand to the hall\n", "note | Move the stand to the hall"),
        ("Decisions:\n- The fee rises on 1 January\n", "note | The fee rises on 1 January"),
        ("Beschlüsse:\n- Der Beitrag steigt ab 1. Januar\n", "note | Der Beitrag steigt ab 1. Januar"),
        ("Решения:\n- Взнос повышается с 1 января\n", "note | Взнос повышается с 1 января"),
    ],
)
async def test_decided_work_with_a_day_is_a_task_and_other_decisions_are_notes(text: str, row: str) -> None:
    assert await rows_of_file(text) == [row]


@each(
    ("text", "row"),
    [
        ("À lire avant la réunion du 3 décembre", ""),
        ("To read before the meeting of 3 December", ""),
        ("- [ ] réserver la salle pour la représentation du 18 juin 2027", ""),
        ("- réserver la salle pour la représentation du 18 juin 2027", ""),
        ("- [ ] book the hall for the meeting of 18 June 2027", ""),
        ("- [ ] Raum für die Aufführung vom 18. Juni 2027 buchen", ""),
        ("- [ ] reservar la sala para la reunión del 18 de junio de 2027", ""),
        ("- [ ] подготовить отчёт для встречи от 18 июня 2027", ""),
        ("- [ ] 为12月3日的会议订房间", ""),
        ("- [ ] call Ann on the evening of 3 December", "2026-12-03"),
        ("- [ ] poser des congés à partir du 3 décembre", "2026-12-03"),
        ("- [ ] reservar el bus antes del 3 de diciembre", "2026-12-03"),
        ("- [ ] pay the rent on the 3rd of December", "2026-12-03"),
    ],
)
async def test_day_of_a_meeting_is_no_day_of_work(text: str, row: str) -> None:
    title = text.removeprefix("- ").removeprefix("[ ] ")
    assert await rows_of_file(f"{text}\n") == [" | ".join(filter(None, ("task", title, row)))]


@each(
    ("text", "row"),
    [
        ("inscription avant le 26 novembre 23h59", "task | inscription | 2026-11-26"),
        ("Registration by 3 December 23:59", "task | Registration | 2026-12-03"),
        ("Anmeldung spätestens 3. Dezember", "task | Anmeldung | 2026-12-03"),
        ("Inscripción antes del 3 de diciembre", "task | Inscripción | 2026-12-03"),
        ("12月3日前报名", "task | 报名 | 2026-12-03"),
        ("Réunion du 3 décembre à 14h", "time | Réunion | 2026-12-03"),
        ("Réveillon du 31 décembre complet", "time | Réveillon complet | 2026-12-31"),
        ("Parents' evening on Thursday at 6.30pm", "time | Parents' evening | 2026-12-03"),
        ("First clinic – Thursday 3 December", "time | First clinic | 2026-12-03"),
        ("Exhibition until 3 December", "time | Exhibition | 2026-12-03"),
        ("Ferien bis 3. Dezember", "time | Ferien | 2026-12-03"),
        ("Soldes jusqu'au 3 décembre", "time | Soldes | 2026-12-03"),
        ("- Council tax 140 by 3 December", "task | Council tax 140 | 2026-12-03"),
        ("- Passport expires 3 December", "task | Passport expires | 2026-12-03"),
        ("- Versicherung läuft am 3.12. ab", "task | Versicherung läuft ab | 2026-12-03"),
        ("- Kräuterbuch - Rückgabe 3.12.2026", "task | Kräuterbuch - Rückgabe | 2026-12-03"),
        ("- Le Procès, à rendre le 3 décembre", "task | Procès, à rendre | 2026-12-03"),
        ("- El proceso - devolución 3 de diciembre", "task | Proceso - devolución | 2026-12-03"),
        ("- «Процесс», возврат до 3 декабря", "task | «Процесс», возврат | 2026-12-03"),
        ("- Passport - expires 3 December", "task | Passport - expires | 2026-12-03"),
        ("- Nachzahlung 230 € bis zum 3.12.2026", "task | Nachzahlung 230 € | 2026-12-03"),
        ("- Cuota del comedor antes del 3 de diciembre", "task | Cuota del comedor | 2026-12-03"),
        ("- Seguro del coche: renovar antes del 3/12", "task | Seguro del coche: renovar | 2026-12-03"),
        ("- ITV caduca el 24/11", "task | ITV caduca | 2026-11-24"),
        ("- Налог на имущество до 3 декабря", "task | Налог на имущество | 2026-12-03"),
        ("- Cita con el médico el 3 de diciembre", "time | Cita con el médico | 2026-12-03"),
        ("- Cita cardiólogo el 3 de diciembre", "time | Cita cardiólogo | 2026-12-03"),
        ("- cita a Ana el 3 de diciembre", "task | cita a Ana | 2026-12-03"),
        ("- Besuch von Oma am 3. Dezember", "time | Besuch von Oma | 2026-12-03"),
        ("- ring Tom (missed his call on Thursday)", "task | ring Tom (missed his call on Thursday)"),
        ("- pay the rent on the 3rd", "task | pay the rent | 2026-12-03"),
    ],
)
async def test_noun_with_a_deadline_is_a_task_and_an_event_stays_an_event(text: str, row: str) -> None:
    assert await rows_of_file(f"{text}\n") == [row]


@each(
    ("words", "day"),
    [
        ("payer la location fin décembre", "2026-12-31"),
        ("payer la location mi-janvier", "2027-01-15"),
        ("payer la location avant le 1er du mois prochain", "2026-12-01"),
        ("payer la location sous huitaine", "2026-12-05"),
        ("payer la location avant Noël", "2026-12-24"),
        ("payer la location avant les vacances de Noël", "avant les vacances de Noël"),
        ("payer la location la semaine du 7 décembre", "2026-12-07"),
        ("pay the rent late, by the 1st of next month", "2026-12-01"),
        ("pay the rent before Christmas", "2026-12-24"),
        ("pay the rent late December", "2026-12-31"),
        ("pay the rent by New Year", "2026-12-31"),
        ("pay the rent before Easter", "before Easter"),
        ("pay the rent before the Christmas holidays", "before the Christmas holidays"),
        ("pay the rent in the week of 7 December", "2026-12-07"),
        ("Miete Ende Dezember zahlen", "2026-12-31"),
        ("Miete Ende nächster Woche zahlen", "2026-12-04"),
        ("Miete innerhalb einer Woche zahlen", "2026-12-05"),
        ("Miete bis Weihnachten zahlen", "2026-12-24"),
        ("Miete vor den Weihnachtsferien zahlen", "vor den Weihnachtsferien"),
        ("pagar la renta antes de Navidad", "2026-12-24"),
        ("pagar la renta antes del 1 del mes próximo", "2026-12-01"),
        ("pagar la renta antes de Semana Santa", "antes de Semana Santa"),
        ("оплатить аренду до Нового года", "2026-12-31"),
        ("оплатить аренду в недельный срок", "2026-12-05"),
        ("оплатить аренду до Пасхи", "до Пасхи"),
        ("оплатить аренду на неделе 7 декабря", "2026-12-07"),
        ("оплатить аренду на 50-й неделе", "2026-12-07"),
        ("оплатить аренду до конца 50-й недели", "2026-12-11"),
        ("pagar la renta la semana del 7 de diciembre", "2026-12-07"),
        ("pagar la renta, sem. 50", "2026-12-07"),
        ("payer la location en semaine 50", "2026-12-07"),
        ("payer la location avant la fin de la semaine 50", "2026-12-11"),
        ("pay the rent in week 50", "2026-12-07"),
        ("Miete bis KW 51 zahlen", "2026-12-14"),
        ("12月7日那周交房租", "2026-12-07"),
        ("第50周交房租", "2026-12-07"),
        ("一月中旬交房租", "2027-01-15"),
        ("圣诞节前交房租", "2026-12-24"),
        ("春节前交房租", "春节前"),
    ],
)
async def test_words_for_a_day_in_a_row_are_a_day_or_a_remark(words: str, day: str) -> None:
    text = f"- [ ] {words}\n"
    document = Document(unit_key="n.md", text=text, content_hash="0" * 64, modified_at=NOVEMBER)
    (item,) = (await Extractor(Models(), secret=bytes(32)).extract(document, ALL)).items
    assert told(item)[3] or item.unresolved["dueDate"] == day
    assert (told(item)[3] or day) == day


@each("mark", ["", "- "])
@each(
    ("line", "who"),
    [
        ("Katrin: Termine an alle schicken bis 3.12.", "Katrin"),
        ("Frau Bauer: Entwurf der Liste bis 3.12.", "Frau Bauer"),
        ("Nora: slides for the workshop by 3 December", "Nora"),
        ("Nora: Folien für den Workshop bis 3.12.", "Nora"),
        ("Ms Bauer: draft of the reading list by 3 December", "Ms Bauer"),
        ("Mónica: enviar las fechas a todos antes del 3/12", "Mónica"),
        ("Jose: borrador del informe antes del 3/12", "Jose"),
        ("Анна: черновик отчёта до 3 декабря", "Анна"),
    ],
)
async def test_label_of_a_person_is_assigned_the_noun_with_a_deadline(mark: str, line: str, who: str) -> None:
    text = f"# Notes\n\n{mark}{line}\n"
    document = Document(unit_key="n.md", text=text, content_hash="0" * 64, modified_at=NOVEMBER)
    (item,) = (await Extractor(Models(), secret=bytes(32)).extract(document, ALL)).items
    assert told(item)[2:] == [who, "2026-12-03"]
