# ruff: noqa: RUF001 - letters of other alphabets
"""First names of people, to distinguish a person above a list from a topic. Pure functions.

The names are common ones in six languages, without those that are words of a list as well ("Bill", "May").
"""

import re
from typing import Final

from hub.extraction.tokens import unmarked

_FIRST_NAMES: Final = """
aaron abby abigail adam adrian agnes aisha alan albert alex alexander alfred ali alice alicia alison amanda
amelia amir amy andrea andrew angela anita ann anna anne anthony arthur ashley barbara ben benjamin beth
betty bob boris brandon brenda brian bruno cameron carl carla carlos carol caroline catherine cathy charles
charlie charlotte chloe chris christian christina christine christopher claire clara claudia colin connor
craig cynthia daisy dan daniel danielle dave david deborah dennis derek diana diane dominic donald donna
dorothy doug douglas duncan dylan ed eddie edith edward eileen elaine eleanor elena elizabeth ella ellen
emily emma eric erica erin esther ethan eva evan eve fatima fiona florence frances francis frank fred gareth
gary gavin gemma geoff george georgia gerald gina gordon graham greg gwen hannah harold harriet harry hassan
heather heidi helen henry howard hugh ian ibrahim imran irene isaac isabel isla ivan jack jacob jake james
jamie jane janet janice jason jay jean jeff jen jennifer jeremy jerry jess jessica jill jim joan joanna joe
joel john jon jonathan jordan joseph josh joshua joyce judith judy julia julian julie justin karen karim
kate katherine kathleen katie keith kelly ken kenneth kevin kim kirsten kyle lara larry laura lauren leah
lee leila leo leon leonard lewis liam lily linda lisa liz lola louis louise lucas lucy luke lydia lynn
maggie malcolm marcus margaret maria marie marina mario martha martin mary matt matthew maya megan melanie
melissa mia michael michelle miguel mike mohammed molly monica nadia naomi natalie natasha nathan neil nick
nicola nicole nigel nina noah nora norman oliver olivia omar oscar owen pamela patricia paul paula pauline
peggy peter phil philip phoebe priya rachel raj ralph rebecca reza rhys richard rick rita rob robert robin
roger ron ronald rosa rosemary ross roy ruby russell ruth ryan sabrina sally sam samantha samir samuel
sandra sara sarah scott sean sebastian sergio shannon sharon sheila shirley simon sofia sonia sophia sophie
stacey stanley stella stephanie stephen steve steven stuart sue susan suzanne sylvia tanya tara tariq ted
teresa terry thelma theo theresa thomas tim timothy tina tobias toby todd tom tony tracy trevor tyler
valerie vanessa vera veronica victor victoria vincent vivian walter wendy wesley william yasmin yusuf yvonne
zara zoe

achim alexandra alois andreas angelika anja anke annette annika antje antonia armin arne astrid axel beate
bernd bernhard bettina birgit björn brigitte britta bärbel carsten christa christoph clemens cornelia dagmar
daniela detlef dieter dietmar dirk doris edgar elfriede elisabeth elke elsa emil erich ernst erwin fabian
felix ferdinand finn florian franz franziska frieda friedrich fritz gabi gabriele georg gerd gerda gerhard
gisela greta gudrun guido gustav günter günther hanna hannes hans harald hartmut heike heiko heiner heinrich
heinz helga helmut henrik herbert hermann hildegard holger horst hubert ilse inge ingo ingrid iris irma
irmgard jan jana jens joachim jochen johann johanna johannes jonas josef jutta jörg jürgen kai karin karl
karsten
kathrin katja katrin kerstin klaus konrad kurt lars lena leonie lina lothar ludwig lukas lutz magdalena maik
manfred manuel manuela marco mareike marianne markus marlene martina mathias matthias max maximilian mehmet
meike merle michaela mirko monika moritz mustafa nadine niklas norbert olaf ole oskar otto pascal patrick
petra philipp pia rainer ralf reinhard renate rené roland rolf roswitha ruben rudi rudolf rüdiger sabine
saskia sigrid silke silvia simone sonja stefan stefanie steffen susanne sven svenja tanja thorsten till timo
torsten udo ulf uli ulrich ulrike ursula ute uwe verena volker waltraud werner wilhelm wolfgang yannick

adèle agathe alain albane alexandre aline amandine amélie anaïs andré antoine arnaud aurélie aurélien
baptiste bastien bernadette bernard bertrand bérénice camille carole chantal chloé christelle christophe
claude clémence clément coralie corinne cyril cécile cédric céline damien delphine denis didier dominique
emmanuel emmanuelle estelle eugénie fabien fabrice franck françois françoise frédéric gabriel gaël gaëlle
geneviève geoffroy gilles ginette grégoire guillaume guy gérard henri hervé hugo hélène inès isabelle
jacqueline jacques jean-pierre josiane joël julien juliette justine jérémy jérôme laurence laurent loïc luc
lucie lucien ludovic léa léo madeleine manon marc marcel margaux margot marguerite marine marion marthe
mathieu mathilde maud maurice maxime michel mireille monique morgane muriel mélanie nathalie nicolas noémie
odile olivier pascale pierre quentin rachid raphaël raymond renaud rodolphe romain régis rémi serge solange
stéphane stéphanie sylvain sylvie sébastien séverine thibault thierry thérèse tristan valentin valérie
virginie véronique xavier yann yves yvette élise élodie émile émilie éric étienne

adriana agustín aitor alba alberto alejandra alejandro alfonso alfredo amalia amparo ana andrés antonio
araceli arturo asunción beatriz begoña belén bernardo blanca camila carmen carolina catalina cecilia concha
cristian cristina cristóbal césar dolores domingo eduardo elisa elvira emilia emilio encarna enrique ernesto
esteban estefanía eugenia eugenio fede federico felipe fermín fernanda fernando francisca francisco gabriela
gerardo germán gloria gonzalo graciela gregorio guadalupe guillermo gustavo hernán héctor ignacio inés
ismael iván jaime javier jesús jimena joaquín jordi jorge josefa josé juan juana julieta julio julián laia
leonor leticia lorena lorenzo lourdes lucía luis luisa manolo marcela marcelo marcos margarita mariana
mariano martín maría mateo matías mercedes miriam montserrat natalia nicolás noelia nuria pablo paco paloma
paqui patricio pedro pepe pilar quique rafael ramiro ramón raquel raúl ricardo roberto rocío rodrigo rogelio
román rosario rubén salvador santiago sergi sofía susana teo tomás trinidad valentina vicente virginia
víctor xavi yolanda álvaro ángel ángela óscar

александр александра алексей алена алина алла алёна алёша анастасия анатолий андрей анна антон аня арина
аркадий артем артём борис вадим валентин валентина валерий валерия варвара василий вася вера вероника виктор
виктория виталий владимир владислав владислава вова вячеслав галина галя геннадий георгий глеб григорий
гриша гуля дарья даша денис дима дмитрий евгений евгения егор екатерина елена елизавета жанна женя зина
зинаида зоя иван игнат игорь илья инна ира ирина катя кира кирилл клавдия коля константин костя ксения
лариса лена леонид лера лида лидия лиза люба любовь люда людмила макар максим маргарита марина мария маша
михаил миша надежда надя настя наталья наташа никита николай нина оксана олег ольга оля павел паша петр петя
полина пётр раиса рита роман руслан саша света светлана семен семён сергей серёжа слава соня софья станислав
степан тамара таня татьяна тимофей тимур тоня ульяна федор фёдор юлия юля юра юрий яков яна ярослав

ahmed aleksander amina anil anita anton arjun ayşe bogdan carlo chen deepak dmitri elif emre enzo farid giulia
iker iñaki jakub kenji kofi luca mateusz mei mohamed naoko nkem nuno paolo piotr rashid ravi rui sanjay sofie
tadeusz tomasz yuki zeynep
"""
_NAMES: Final = frozenset(unmarked(_FIRST_NAMES).split())  # "Jose" is "José"
_FORMS_OF_ADDRESS: Final = """
aunt don doña dr familie fr frau herr hr m madame miss mlle mme monsieur mr mrs ms oncle onkel prof señor
señora sir sr sra srta tante tía tío uncle господин госпожа дядя тетя тётя
"""
_TITLES: Final = frozenset(_FORMS_OF_ADDRESS.split())
_PARTICLES: Final = frozenset(("van", "von", "de", "der", "del", "la"))
_PERSON: Final = re.compile(r"[^\W\d_][\w'’.-]*(?: [^\W\d_][\w'’.-]*){0,4}")
_SURNAMES: Final = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪"
    "田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段钱汤尹黎易常武乔贺赖龚文"
)
_HAN_PERSON: Final = re.compile(
    rf"[老小阿大][一-鿿]|[{_SURNAMES}](?:[一-鿿]{{1,2}}|经理|老师|师傅|先生|女士|医生|主任|阿姨)"
)
_JOINTS: Final = re.compile(r"(?:(?<!\s)\s++)?(?:[,;/&+、，和]|\b(?:and|or|und|oder|et|ou|y|e|o|и)\b)\s*")
_ARTICLE: Final = re.compile(r"^(?:the|die|der|les?|la|los|el) ", re.IGNORECASE)
_LONGEST: Final = 80  # characters of a label


def names_in(label: str) -> list[str]:
    """Return the names of which a label consists, such as "Anna & Frau Berg:", or none for other text."""
    label = label.strip(" \t*_:：")
    names = [name.strip(" *_") for name in _JOINTS.split(label)] if len(label) <= _LONGEST else []
    return names if 0 < len(names) <= 5 and all(map(_may_be_name, names)) else []


def split_names(words: str) -> list[str]:
    """Split names that commas or words such as "and" join, without articles before them."""
    return [_ARTICLE.sub("", name.strip(" *_")) for name in _JOINTS.split(words)]


def is_person(name: str) -> bool:
    """Return True for the name of a person, with a first name or a title that is known."""
    first, _, others = name.partition(" ")
    first = first.lower().rstrip(".")
    is_known = unmarked(first) in _NAMES or (first in _TITLES and others != "")
    return _HAN_PERSON.fullmatch(name) is not None or (is_known and _may_be_name(name))


def _may_be_name(name: str) -> bool:
    if _HAN_PERSON.fullmatch(name) is not None or _PERSON.fullmatch(name) is None:
        return _HAN_PERSON.fullmatch(name) is not None
    words = [word for word in name.split() if word not in _PARTICLES]
    is_title = bool(words) and words[0].lower().rstrip(".") in _TITLES
    return 0 < len(words) - is_title <= 3 and all(word[0].isupper() for word in words[is_title:])  # of a name
