# ruff: noqa: RUF001 - letters of other alphabets
"""French words of requests, duties, plans and decisions."""

from typing import Final

from hub.extraction.wording.lexicon import Lexicon, either

_INFINITIVE: Final = (
    r"(?i:\b(?!(?:olivier|xavier|didier|roger|xavier|omar|gauthier|pierre|claire|être|avoir|"
    r"hier|premier|dernier|janvier|février|cahier|papier|quartier|métier|courrier|particulier|"
    r"atelier|escalier|dossier|calendrier|plaisir|soir|noir|notre|votre|autre|entre|contre|"
    r"quatre|lettre|mètre|titre|centre|encore|livre|libre|membre|novembre|octobre|septembre|"
    r"décembre|ordre|nombre|chambre|théâtre|pourvoir|espoir|couloir|tiroir|trottoir|avenir|cher|"
    r"fier|léger|étranger|foyer|loyer|mer|fer|cuiller|hiver|verre|terre|pierre|guerre|rire|pire|"
    r"faire-part|maire|affaire|salaire|horaire|notaire|commentaire|anniversaire|nécessaire|"
    r"secrétaire|propriétaire|locataire|contraire|ordinaire|fenêtre|peut-être)\b)"
    r"[a-zàâçéèêëîïôûüœ']{2,}(?:er|(?<!so)(?<!mém)ir|(?:en|on|an|ein|oin|ain|er|ou|or|st)dre|"
    r"ettre|attre|(?:d|l|u|cr)ire|(?:b|cr)oire|(?:ui|i)vre|clure|naître|rompre|(?<!m)(?<!arm)"
    r"(?<!hist)oir|(?<!ff)(?<!m)aire)\b|\b(?:faire|dire|lire|voir|aller)\b)"
)
_VERBS: Final = """
prête range rangent rédige diffuse relaie plie trouve complète nettoie transmet héberge démonte accroche
affiche vide accueille ramène ramasse soude coupe repeint débarrasse photocopie accepte achète ajoute
amène annonce appelle apporte arrange arrose assure attend augmente avertit boucle cherche choisit
classe coche collecte colle commande complète compte confirme contacte contrôle copie corrige coud coupe
crée cuisine décide décore décrit demande déplace dépose dessine détermine distribue donne élabore
emballe emmène emporte emprunte enlève enregistre envoie établit étudie évalue examine explique exporte
fabrique fait ferme finalise fixe fournit garde gère imprime informe inscrit installe invite jette lance
lave lit livre loue met modifie monte montre négocie nettoie note nourrit obtient organise ouvre paie
paye passe peint pèse photographie pilote place planifie plante porte poste prend prépare présente
prévient prévoit propose publie range rappelle récupère recherche rédige refait regarde règle relance
relit remercie remet remplace remplit rend renouvelle renvoie répare répond reporte reprend réserve
résilie restitue retourne retrouve réunit révise sécurise sert signe sonne sort soumet suit supervise
supprime taille teste tient traduit traite transmet transporte tond trie trouve va valide vend vérifie
verse vide voit soutient coordonne écrit actualise archive aide anime contacte convoque calcule s'occupe
se_charge s'en_occupe s'en_charge prend_en_charge met_à_jour
"""
_KNOWN: Final = "|".join(_VERBS.split()).replace("_", " ")
_PRESENT: Final = (  # a known verb, or a word that may be one before an object
    rf"(?:{_KNOWN}|(?!(?:une|que|entre|comme|elle|contre|arrive|reste|aime|semble|pense|espère|"
    rf"manque|raconte|habite|"
    r"adore|déteste|est|a|va|ont|sont|vont|quitte|rentre|affirme|explique|propose|remercie|"
    r"attend|perd|mange|boit)\b)[a-zàâçéèêëîïôûü]{2,}(?<!é)(?:e|ent|it|nd|rd|et)(?= (?:le|la|"
    r"les|l'|un|une|des|du|de|d'|son|sa|ses|leurs?|au|aux|à|deux|trois|quatre|cinq|dix|vingt|"
    r"cent|\d)))"
)
_ENDS_IN_RE: Final = (  # an infinitive, which looks like a present tense in "-e"
    r"\w*(?:[eo]nd|[eo]rd|[aeo]ind|ett|batt|suiv|viv|romp|ui|oi|fai|plai|tai|di|li|cri)re"
)
_FUTURE: Final = r"[a-zàâçéèêëîïôûü]{2,}(?:era|ira|dra|ttra|rra|eront|iront|dront|ttront)"
_FORMAL: Final = (
    r"\b(?!(?:avez|êtes|allez-vous|chez|assez|nez|rendez-vous|savez|pouvez|"
    r"voulez|aviez|étiez|seriez|auriez|trouverez|recevrez|veuillez|soyez|restez|agréez|"
    r"croyez)\b)[a-zàâçéèêëîïôûü]{2,}ez\b"
)
_FAMILIAR: Final = (
    "apporte|appelle|achète|ajoute|amène|arrête|attends|cherche|complète|confirme|contacte|"
    "corrige|demande|donne|écris|envoie|essaie|fais|ferme|garde|imprime|jette|lance|laisse|lis|"
    "mets|montre|nettoie|note|n'oublie|oublie|ouvre|paie|passe|pense|préviens|prends|prépare|"
    "range|rappelle|récupère|regarde|relance|relis|remplis|rends|réponds|réserve|retrouve|"
    "signe|sors|surveille|transmets|trouve|va|vérifie|vide|viens|vois|dis|dites|faites|copie|"
    "plante|arrose"
)
_NP: Final = r"[^\s,;:.!?()][^,;:!?()]{0,60}?"
_MUST: Final = (
    r"(?:doit|doivent|devra|devront|devrait|devraient|a à|ont à|est chargée? "
    r"de|sont chargés de|est censée? |va|vont|s'engage à|s'est engagée? "
    r"à|a promis de|propose de|accepte de|s'occupera de|se chargera de|est "
    r"tenue? de|est priée? de|sont priés de|compte|souhaite|veut)"
)

FRENCH: Final = Lexicon(
    code="fr",
    letters=r"[éèêàçùûîôœ]|(?:tion|ment|eux|ez|aient|ons)\b|\b(?i:[ldsnjmtc]|qu)'(?=\w)",
    common=(
        "lundi mardi mercredi jeudi vendredi samedi dimanche demain avant après peux peut pouvez "
        "faut doit dois doivent aussi très bien rien le la les un une des du de et est sont était "
        "à au aux en dans pour par sur avec sans que qui ne pas plus ce cette ces il elle ils "
        "elles on nous vous je tu se sa son ses leur leurs mon ma mes ton ta tes notre votre nos "
        "vos mais ou où donc y été être avoir c'est j'ai d'un d'une l'on qu'il merci bonjour si "
        "tout tous comme"
    ),
    no_names=(
        "le la les un une des du de il elle ils elles on nous vous je tu ce cette ces ça cela qui "
        "que quoi quand où comment pourquoi si et mais ou donc or ni car merci bonjour bonsoir "
        "salut cher chère chers chères bien oui non ok alors puis ensuite aussi enfin après avant "
        "depuis pendant demain hier aujourd'hui lundi mardi mercredi jeudi vendredi samedi "
        "dimanche janvier février mars avril mai juin juillet août septembre octobre novembre "
        "décembre prochaine prochain dernière dernier première premier mon ma mes ton ta tes son "
        "sa ses notre votre nos vos leur leurs tout tous toutes chaque chacun personne rien projet "
        "décision note rappel réunion sujet objet pour dans sur avec sans par en au aux à "
        "peut-être pas plus très trop dommage coucou bises cordialement madame monsieur messieurs "
        "mesdames mademoiselle idée départ retour entrée sortie code sinon tiens voici voilà deux "
        "trois quatre cinq"
    ),
    name=(
        r"(?:(?:Mme|M\.|Mlle|Dr|Docteur|Maître|Madame|Monsieur|Tante|Oncle|Mamie|"
        r"Papi|Papa|Maman|Sœur|Père) )?[A-ZÀÂÇÉÈÊÎÔÛ][\wàâçéèêëîïôûüœ’'-]+(?: "
        r"(?:de|du|[A-ZÀÂÇÉÈÊÎÔÛ][\wàâçéèêëîïôûüœ’'-]+)){0,2}"
    ),
    verbs=_INFINITIVE,
    present=rf"\b(?:{_PRESENT})\b",
    inserted=r"(?i:, ?(?:s'il (?:te|vous) pla[iî]t|stp|svp),)",
    fillers=(r"(?i:\bs'il (?:te|vous) pla[iî]t\b,?|\bstp\b,?|\bsvp\b,?|\bmerci d'avance\b|\bau fait\b)"),
    leads=(
        r"(?i:(?:et|mais|alors|donc|puis|ensuite|aussi|ok|bon|bien|oui|d'abord|premièrement|"
        r"deuxièmement|enfin|au fait|ps|p\.s\.|comme convenu|encore une chose|petit rappel|rappel|"
        r"pour rappel|important|urgent|attention|d'ici là|avant cela|avant ça|entre-temps|du coup|"
        r"par contre|par ailleurs|de plus|en outre|s'il (?:te|vous) pla[iî]t|stp|svp|salut|bonjour|"
        r"coucou|désolée?|pour la suite|si possible|dès que possible|que|qu'|je répète|à noter|"
        r"sinon|(?:je|nous) (?:vous|te) rappel(?:le|ons) que|@)(?![\wàâçéèêëîïôûü])[,:!.\s–-]*)|\w+ "
        r"(?:dit|a dit|pense|propose|rappelle|signale|demande|précise|indique|note) (?:que |qu')"
    ),
    joints=(
        r"(?i:\s*(?:[;–—]|->|→)\s*|\s-\s|,?\s(?:et|puis|mais)\s(?:aussi\s|ensuite\s)?|"
        r",\s(?:puis\s|donc\s)?|\s?:\s|\s\(|\)\s?)"
    ),
    requests=(
        (
            r"(?i:(?:(?:vous |te )?serait-il|est-il|il serait) possible (?:de|d'|que (?:tu|vous)) "
            r"?(?P<what>\w.+))"
        ),
        r"(?i:cherche (?:\w+ ){1,3}(?:pour|qui) (?P<what>\w.+))",
        r"(?i:(?:demande|souhaite|exige)(?: à tous| à chacun)? que (?P<what>\w.+))",
        (
            r"(?i:il (?:nous|me) (?:manque|manquent|faut|faudrait)(?: encore| toujours| aussi)* "
            r"(?P<what>(?:vos|votre|ton|tes|ta) \w.+))"
        ),
        (
            r"(?P<who>{name}) (?i:(?:nous|me|vous|te) doit)(?: encore| toujours)? (?P<what>(?:le "
            r"|la |les |l'|son |ses |un |une ).+)"
        ),
        (
            r"(?i:(?:nous|on|je) (?:cherche|cherchons|recherche|recherchons) (?:des |un |une "
            r"|quelques )?\w+ (?:pour|qui) (?P<what>\w.+))"
        ),
        (
            r"(?i:je (?:passe|viens|repasse|passerai|viendrai)(?: [a-zéû]+){0,2} (?P<what>(?:prendre|"
            r"chercher|récupérer|déposer|rendre|voir|aider|livrer)\b.*))"
        ),
        (
            r"(?i:(?:est-ce que (?:tu|vous) (?:peux|pourrais|pouvez|pourriez|veux)|peux|pourrais|veux|"
            r"pouvez|pourriez|voulez|pourrais|voudrais|voudriez)-?\s?(?:tu|vous)(?: bien| aussi| me| "
            r"nous| encore| juste| s'il te plaît| s'il vous plaît| svp| stp| vite| peut-être| également|"
            r" lui| leur)* (?P<what>.+))"
        ),
        (
            r"(?i:(?:est-ce que )?(?:tu|vous) (?:peux|pourrais|pouvez|pourriez)(?: bien| aussi| "
            r"me| nous| encore| juste| lui| leur)* (?P<what>{verbs}.+))"
        ),
        (
            r"(?i:(?:quelqu'un|l'un de vous|l'un d'entre vous|qui)(?: (?:du|de la|des|de|au) "
            r"[^,;:.!?]{2,30}?)? (?:peut|pourrait|doit|devrait|peut-il|pourrait-il|devra|doit-il)(?: me|"
            r" nous)? (?P<what>{verbs}.+))"
        ),
        (
            r"(?P<who>{name}),? (?i:peux-tu|pourrais-tu|pouvez-vous|pourriez-vous|"
            r"tu peux|tu pourrais|vous pouvez) (?P<what>.+)"
        ),
        r"(?P<who>{name}), (?i:tu|vous)(?: t'| te | vous )? ?(?P<what>\w.+)",
        (
            r"(?i:merci (?:à (?-i:(?P<who>{name})) )?(?:de|d'|de bien vouloir|de "
            r"ne pas oublier de) ?(?P<what>(?!votre|ton|ta|tes|vos|nous avoir|m'avoir|"
            r"avoir|l'avoir|ton|cette|ce |la |le )\w.+))"
        ),
        (
            r"(?i:(?:veuillez|veuille|prière de|priere de|je vous prie de|je te "
            r"prie de|nous vous prions de|nous vous demandons de|je vous demande "
            r"de|je te demande de|on vous demande de)(?: bien vouloir)? (?P<what>(?!agréer|"
            r"recevoir|excuser|croire|trouver|accepter|noter que)\w.+))"
        ),
        (
            r"(?i:(?:n'oublie[sz]?|n'oubliez|ne pas oublier|pas oublier|pense[sz]?|"
            r"pensez|songez|penser)(?: bien| aussi| surtout| donc)* (?:pas )?(?:de "
            r"|d'|à |le |la |les |que )(?P<what>(?!toi|vous|moi|nous)\w.+))"
        ),
        (
            r"(?i:(?:il|ce) serait (?:\w+ )?(?:bien|bon|sympa|gentil|super|souhaitable|utile|préférable|"
            r"parfait|idéal|chouette) (?:que|de|si|qu'|d') ?(?:(?:tu|vous|quelqu'un|on|"
            r"(?-i:(?P<who>{name}))|(?:le|la|les|l')\s?\w+) )?(?P<what>\w.+))"
        ),
        r"(?i:(?:assure-toi|assurez-vous|veille|veillez) (?:que|de|à) (?P<what>\w.+))",
        (
            r"(?i:(?:j'aimerais|je voudrais|nous aimerions|il faudrait|je souhaite|"
            r"il est demandé|je demande) (?:que (?:tu|vous|chacun|tous)) (?P<what>\w.+))"
        ),
        (
            r"(?i:(?:à faire|todo|to do|action|tâche|à prévoir|prochaine étape|reste "
            r"à faire)\s*:\s*(?P<what>\w.+))"
        ),
        (
            r"(?i:[^,;:.!?]{2,80}? (?:sont|est|êtes) (?:priée?s?|invitée?s?|tenue?s?) (?:de|d'|"
            r"à) ?(?P<what>\w.+))"
        ),
        r"(?i:s'il (?:te|vous) pla[iî]t,? (?P<what>\w.+))",
        (
            r"(?i:(?:il faut|il faudrait|faut|il faudra|faudrait|il est (?:nécessaire|important|"
            r"indispensable|urgent)) qu(?:e |')(?:(?:tu|vous|je|nous|on|il|elle|quelqu'un|chacun|"
            r"(?-i:(?P<who>{name}))) )?(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:nous|je) vous (?:remercions|remercie|prions|prie|demandons|demande|serions "
            r"reconnaissants|saurais gré|invitons|invite) (?:de|à|par avance de)(?: bien vouloir)? "
            r"(?P<what>(?!votre|vos|cette|croire|agréer|recevoir)\w.+))"
        ),
        (
            r"(?i:il (?:vous|te|nous|lui) (?:appartient|incombe|revient|reste) (?:de|"
            r"d'|à) ?(?P<what>\w.+))"
        ),
        r"(?i:j'attends (?P<what>(?:tes|vos|ton|votre|ta) \w.+))",
        (
            r"(?i:(?:le|la|les|l') ?(?P<what>[^,;:.!?]{2,50} (?:est|sont) [^;:.!?]{2,30}, "
            r"à {verbs}\b.*))"
        ),
        r"(?i:(?:oublie|oubliez) pas (?:de |d'|le |la |les )?(?P<what>\w.+))",
        (
            r"(?i:(?:dis|dites|demande|demandez|rappelle|rappelez) à (?P<what>(?-i:[A-ZÀÉÈ])\w+ "
            r"(?:que|qu'|de|d'|si).+))"
        ),
        (
            r"(?i:(?:on cherche|nous cherchons|on recherche|il (?:nous )?manque(?: encore)?|il "
            r"(?:nous )?faut(?: encore| toujours)?) (?:quelqu'un|une personne|un volontaire|des "
            r"volontaires|des bénévoles)(?: pour(?: le| la| les)?| qui)? (?P<what>\w.+))"
        ),
        (
            r"(?i:(?:qu'il|qu'elle|que (?-i:(?P<who>{name}))) (?P<what>(?:me |nous |lui |te )?(?!soit|"
            r"ait|y ait|faut|est|a |va )[a-zàâçéèêëîïôûü]+e (?:la|le|les|l'|mon|ma|mes|un|une|des|à)"
            r"\b.*))"
        ),
        (
            r"(?i:(?:préviens|prévenez|dis|dites|tiens|tenez)[- ](?:moi|nous) (?P<what>(?:si|"
            r"quand|au courant|avant|par).+))"
        ),
    ),
    duties=(
        (
            rf"(?P<what>(?!(?i:il|elle|on|je|tu|ça|cela|ce|rien|personne|nous|vous)\b){_NP} (?i:doit|"
            rf"doivent|devra|devront|devrait|devraient) (?!(?i:pas|être (?:là|présent|content|prêt|"
            rf"malade|fatigué))\b)(?:\w+ )?(?:être|faire l'objet).*)"
        ),
        (
            rf"(?P<who>{{name}}(?:(?:,| et) {{name}}){{0,3}}) (?i:{_MUST})(?i: aussi|"
            rf" encore| maintenant| absolument| également| d'abord)* ?(?P<what>(?!(?i:pas|"
            rf"plus|rien|bien|mieux)\b){{verbs}}.*)"
        ),
        (
            r"(?P<np>(?i:le|la|les|l'|chaque|tous les) ?[^,;:.!?]{2,40}?) (?i:doit|"
            r"doivent|devra|devront) (?P<what>(?!(?i:pas|plus|rien|être|avoir)\b){verbs}.*)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| et) {name}){0,3}) (?i:s'occupe|s'occupent|s'occupera|"
            r"se charge|se chargent|se chargera|est responsable|est chargée?|a la "
            r"charge) (?P<what>(?i:de|du|des|d'|de la) ?.+)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| et) {name}){0,3}) (?P<what>(?i:s'en (?:occupe|"
            r"charge|occupera|chargera)).*)"
        ),
        (
            rf"(?P<who>{{name}}(?:(?:,| et) {{name}}){{0,3}})(?i: nous| vous| me| te| lui| leur|"
            rf" se| y| en| le| la| les)* (?P<what>(?!(?i:sera|"
            rf"aura|pourra|faudra|saura|voudra|dira|viendra|arrivera)\b){_FUTURE}\b .+)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| et) {name}){0,3}) (?P<what>(?i:passera|passe|viendra|vient|"
            r"ira) (?:prendre|chercher|récupérer|déposer|rendre|relever|voir|faire)\b.*)"
        ),
        (
            r"(?P<who>{name}) (?P<what>(?:la|le|les|l')\s?[a-zàâçéèêëîïôûü]{3,}(?:e|t)\b(?: (?:lundi|"
            r"mardi|mercredi|jeudi|vendredi|demain|ce \w+))?)\W*$"
        ),
        r"(?i:c'est à (?:moi|toi|vous|nous|(?-i:(?P<who>{name}))) (?:de|d') ?(?P<what>\w.+))",
        (
            r"(?i:c'est (?:moi qui|toi qui|(?-i:(?P<who>{name})) qui) (?:dois |doit |vais "
            r")?(?P<what>(?!suis|ai )\w.+))"
        ),
        r"(?P<what>(?i:savoir|être) (?:à jeun|à l'heure|le texte|en tenue)\b.*)",
        (
            r"(?i:(?:vous devez|tu dois|vous devrez|tu devras|il faut|il faudra) (?P<what>être "
            r"(?:à jeun|à l'heure|présents?|prêts?)\b.*))"
        ),
        (
            r"(?P<who>(?i:je|nous|on))(?i: dois| devons| doit| vais| allons| va)(?i: "
            r"aussi| encore| vite| tout de suite| essayer de)* (?P<what>(?!(?i:pas|"
            r"voir|être|avoir|rester|dormir|bien|croire|dire|penser)\b){verbs}.*)"
        ),
        (
            r"(?i:(?:je |j'|j'en |j'y )(?:m'en|m'|te |t'|vous |l'|le |la |les |lui |leur |en |y "
            r")*(?P<what>(?:occupe|commande|écris|rédige|pose|vois avec|envoie|dépose|contacte|commence|"
            r"termine|finis|relance|charge|occuperai|chargerai|enverrai|ferai|apporterai|appellerai|"
            r"passerai|préparerai|irai|\w{3,}(?:t|d)rai|\w{3,}erai|\w{3,}irai|\w{3,}drai|rappelle|"
            r"envoie|apporte|prépare|réserve|appelle|passe prendre|passe chercher|prends|fais)\b(?! "
            r"(?:bien|pas|très|contente?)\b).*))"
        ),
        (
            r"(?i:(?:il faut|il faudra|il faudrait|faut|il nous faut|il est (?:nécessaire|important|"
            r"impératif|urgent) de|on doit|nous devons|vous devez|tu dois|vous devrez|tu devras|reste à|"
            r"il reste à|il te faut)(?: encore| aussi| absolument| vite| d'abord| donc| bien| que (?:tu|"
            r"vous|quelqu'un|chacun|\w+))* (?P<what>(?!pas|dire|voir|avouer|croire|une?|de la|du|des|"
            r"compter|attendre|être|savoir|rire)\w.+))"
        ),
        rf"(?P<what>{_NP} (?i:est|sont|reste|restent) (?:encore )?(?i:à) {{verbs}}.*)",
        (
            r"(?P<what>(?!(?i:rien|facile|difficile|quelque chose|beaucoup|prêt|[^,;:!?]*à partir|"
            r"contente?|prête|[^,;:!?]* à croquer|habitué|de|jusqu))[^,;:!?]{2,60} (?i:à) "
            r"{verbs}\b[^,;:!?]*)$"
        ),
        r"(?P<who>{name}(?:(?:,| et) {name}){0,3}) ?[:–] ?(?P<what>{verbs}.+)",
        rf"(?P<what>(?i:{_FORMAL})(?![- ](?:vous|vous bien|soin)\b) .+)",
        (
            rf"(?P<what>(?i:(?:{_FAMILIAR})(?:-(?:moi|nous|le|la|les|lui|leur|en|"
            rf"y))*)\b(?! (?:bien|le bonjour|la bise|beaucoup|pas)\b) \S.+)"
        ),
        r"(?P<what>{verbs}(?: \S.+))",
        r"(?i:(?:date limite|dernier délai|échéance|délai)(?: pour| de)? (?P<what>.+))",
    ),
    reports=(
        (
            rf"(?P<np>(?i:le|la|les|l') ?[a-zàâçéèêëîïôûü]+(?: [a-zàâçéèêëîïôûü]+)?) "
            rf"(?P<what>(?!(?:sera|seront|aura|auront|pourra)\b){_FUTURE}\b \S.+)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| et) {name}){0,3}) (?:y |en |lui |leur |nous "
            r"|vous |me |te |se |s'|le |la |les |l')?(?P<what>{present} (?!que\b|qu'|si\b)\S.+)"
        ),
        (rf"(?P<np>(?i:le|la|les|l') ?[^,;:.!?]{{2,30}}?) (?P<what>\b(?:{_KNOWN})\b (?!que\b|qu')\S.+)"),
    ),
    listed=(r"(?P<what>(?:\w+ment )?(?:ne pas |re)?{verbs}\b.+)",),
    more=r"(?:aussi |ensuite |à )?(?P<what>(?:{verbs}|{present}) .+)",
    general=(
        r"(?i:(?:disait|dit|raconte|demanda|murmura|cria|prétend|affirme|répétait|soupira)(?:,| "
        r"(?:la|le|mon|ma|son|sa|l'|il|elle|qu)|$)|proverbe|continuez|il faut [^.]* en \w+ant\b|"
        r"doit plaire|tous les jours|plus souvent|faudrait pouvoir|essayez|chaque (?:matin|jour|"
        r"nuit|soir)|de mon temps|jadis|autrefois|tous marcher|le premier joueur|son voisin de|"
        r"(?:on|chacun|il) (?:devrait|doit) (?:tous|toujours|bien|être)|il faut de bons|l'auteur|"
        r"\bdoit (?:être|connaître|habiter|avoir)\b(?! (?:remis|rendu|envoy|pay|nettoy|fait|réparé|"
        r"chang|vid|dé|re))|faut(?: bien)? (?:finir|vivre|manger|savoir))"
    ),
    openers=(
        r"(?i:(?<!\w)(?:merci de|pourr(?:ais|iez)-|peux-tu|pouvez-vous|veuillez|il faut|faut que|il "
        r"faudrait|il faudra|je dois|n'oublie[zs]?|oublie[zs]? pas|pense[zs]? à|nous vous "
        r"(?:remercions|prions|demandons)|il serait|ce serait|il vous appartient|dis à|dites à|"
        r"c'est à (?=moi|toi|[A-Z])|quelqu'un|je vais|je (?=\w+rai\b)|que je|qu'il me|il doit|"
        r"prendre rendez|sinon|ah|s'il (?:te|vous))\b)|(?<=, ){name}(?= (?i:doit|va|s'occupe)\b)"
    ),
    asks=(
        r"(?i:(?:et |bon |alors )?qui (?:peut |pourrait |veut |va |se charge de |voudrait "
        r")?(?P<what>\w[^?]{3,80})\?)"
    ),
    answers=(
        r"(?i:(?:moi(?: je (?:veux bien|peux|m'en occupe))?|je (?:m'en (?:occupe|charge)|le fais|"
        r"veux bien|peux(?: le faire)?|prends(?: ça)?|gère|le ferai|m'y colle|vais le faire|"
        r"l'apporte|les apporte)|j'y (?:serai|vais)|j'apporte|je m'en occuperai|ça marche|d'accord|"
        r"c'est bon pour moi|t'inquiète)(?:,? (?:demain|ce|soir|matin|aujourd'hui|lundi|mardi|"
        r"mercredi|jeudi|vendredi|samedi|dimanche|midi|volontiers|avec|plaisir|dit \w+))*$)|"
        r"(?P<who>{name}) (?i:s'en (?:occupe|charge|occupera|chargera)|le fait|le fera|veut bien|"
        r"est volontaire|se propose|s'est proposée?)$"
    ),
    settled=(
        r"(?i:\b(?:fait(?! (?:la|le|les|un|une|du|des)\b)|faite|faits|réglée?s?|terminée?s?|"
        r"finie?s?|déjà|annulée?s?|ne \w+ plus|n'\w+ plus|plus la peine|plus besoin|pas la peine|"
        r"pas nécessaire|pas besoin|inutile|aucune? (?:démarche|action|besoin)|hier|avant-hier|la "
        r"semaine dernière|le mois dernier|l'an dernier|l'année dernière|a été|ont été|avait|"
        r"avaient|devait|devaient|devais|fallait|fallu|plus rien|rien à|était|étaient|voulait|"
        r"commandée?s?|payée?s?|imprimée?s?|réparée?s?|résolue?s?|reportée? sine die|refusée?|"
        r"rejetée?|personne|ne (?:le |la |l')?\w+ pas|n'\w+ pas|ne pourr\w+|ne peu\w+|il y a \w+ "
        r"(?:jours|semaines|mois|ans)|c'est bon|j'ai|on a|nous avons|vous avez dû|on me l'a|laisse "
        r"tomber|oublie ce que|tombe à l'eau|abandonnée?s?|supprimée?s?|s'est|se sont)\b|✓|✔|☑|✅)"
    ),
    unreal=(
        r"(?i:\b(?:peut-être|éventuellement|un jour|probablement|sans doute|aurait|auraient|aurais|"
        r"serait|seraient|pourrait(?!-)|on pourrait|si (?:on|je|j'|nous|seulement)|idée|rêve\w*|"
        r"imagine|je me demande|on s'est demandé|apparemment|il paraît|hésit\w+|bientôt peut-être|"
        r"pas sûre?|j'espère|espérons|roman|recette|film|blague|chanson|par exemple|souhait|envie "
        r"de|à discuter|en débat)\b)"
    ),
    states=r"(?i:\b(?:est|sont|était|a|ont|va|vont|repris|réfléchit|clé)\b)",
    events=(
        r"(?i:\b(?:réunion|rencontre|rendez-vous|rdv|assemblée|conseil|comité|séance|atelier|"
        r"formation|cours|stage|conférence|congrès|séminaire|colloque|fête|anniversaire|mariage|"
        r"baptême|concert|spectacle|générale|répétition|première|représentation|exposition|"
        r"vernissage|inauguration|ouverture|fermeture|lancement|démarrage|livraison|départ|arrivée|"
        r"vol|train|voyage|sortie|visite|inspection|contrôle|audit|examen|épreuve|concours|"
        r"entretien|appel|audience|élection|vote|vide-grenier|brocante|marché|foire|salon|festival|"
        r"kermesse|repas|dîner|déjeuner|petit-déjeuner|apéro|apéritif|barbecue|pique-nique|soirée|"
        r"match|tournoi|course|randonnée|rentrée|déménagement|emménagement|travaux|coupure|"
        r"maintenance|migration|mise en service|état des lieux|remise|signature|dépôt|échéance|"
        r"vaccination|vaccin|dentiste|médecin|vétérinaire|opération|consultation|exercice|alerte|"
        r"inventaire|soldes|collecte|nettoyage|journée|porte ouverte|portes ouvertes|démo|"
        r"présentation|revue|point|bilan|kick-?off|webinaire|lecture|cérémonie|obsèques|enterrement|"
        r"messe|stand|garde|rdv|plombier|technicien|ramonage|relevé|soutenance|oral)s?\b)"
    ),
    happens=(
        r"(?i:(?:\b(?:aura|auront) lieu|\ba lieu|\bse tient|\bse tiendra|\best prévue?|\bsont "
        r"prévue?s|\best fixée?|\bcommence\w*|\bdébute\w*|\bdémarre\w*|\bouvr\w+|\bferme\b|"
        r"\bfermée?s?\b|\bfermera|\barrive\w*|\bvient\b|\bviendra|\bviennent|\bpasse\b|\bpassera|"
        r"\bpart\b|\bpartons|\bpartira|\bdécolle|\brentre\w*|\brevient|\bse réunit|\bnous "
        r"réunissons|\bon se (?:voit|retrouve|réunit)|\bnous (?:nous )?(?:voyons|retrouvons)|\bse "
        r"déroule\w*|\bnous (?!devons|avons|sommes|vous|vou)\w+ons\b|\bfixée?s?\b|\brenvoyée|"
        r"\bparution|\biront\b|\bira\b|\bcomplet\b|\bfête\w*|\bse marie\w*|\bexpire|\bse termine|"
        r"\bprend fin|\bsera livrée?|\bsera\b|\bseront\b|\binvit\w+|\bc'est\b|\best (?:le|à|"
        r"programmée?)))"
    ),
    decisions=(
        (
            r"(?i:(?:décisions?|décidé|conclusion|résolution|accord|résultat|arrêté|"
            r"validé|(?:adopté|approuvé|voté)(?: à l'unanimité)?)\s*:\s*(?P<what>\w.+))"
        ),
        (
            r"(?i:(?P<what>[^:]{4,100}), (?:c'est (?:tranché|décidé|acté|entendu|voté|convenu|"
            r"adopté|validé)|(?:adopté|accepté|approuvé|voté|validé)e?s?"
            r"|décision (?:prise|adoptée)|ainsi décidé))"
        ),
        (
            r"(?i:(?:[^,;:]{0,40}\b)?(?:on|nous|le conseil|le comité|le bureau|l'équipe|l'assemblée|le "
            r"groupe|les membres|tous|il)\b (?:a|avons|ont|est|était|fut)(?: été| unanimement| "
            r"finalement| tous| donc)* (?:décidé|convenu|acté|voté|approuvé|choisi|opté|arrêté|retenu) "
            r"?(?:à l'unanimité )?(?:que |qu'|de |d'|pour |la |le |les )?(?P<what>\w.+))"
        ),
        r"(?i:(?:il est|a été) (?:décidé|convenu|acté) (?:que |de |d'|qu')(?P<what>.+))",
        r"(?i:(?:on|nous) (?:reste|restons|garde|gardons) (?P<what>.+))",
        (
            r"(?i:(?P<what>(?:à partir de|à partir d'|à compter de|à compter d'|à compter du|"
            r"dès) ?(?:maintenant|lundi|janvier|\w+ prochain|\d+ \w+|\w+),? .+))"
        ),
    ),
    facts=(
        r"(?i:\b(?:numéro|n°|code|mot de passe|wi-?fi|iban|référence|réf|taille|pointure|adresse|"
        r"téléphone|tél|compte|identifiant|login|série|digicode|combinaison|plaque|immatriculation|"
        r"dossier|siret|relevé|caution|tarif|prix|emplacement|stand|place|salle|porte|bureau|numéro "
        r"de dossier|casier)\b[^.!?]{0,40}?(?:\best\b|\bsont\b|\bporte\b|\s?:|=)\s?[^.!?]*?(?:\d|\"|"
        r"«|[A-Z]{2})|\b(?:clés?|compteur|vanne|disjoncteur|dossiers?|classeur|papiers|double|"
        r"échelle|outils|notice|passeport|trousse)\b.{0,30}? (?:est|sont|se trouve|se trouvent|"
        r"reste|restent) .{0,15}?\b(?:dans|sur|sous|derrière|chez|au|à côté|près)\b|[^:]{3,30} : "
        r"clés?\b.*\b(?:dans|sous|chez)\b|^(?:propriétaire|fournisseur|contact|médecin|gardien|"
        r"gardienne|assurance|notaire)\b.{0,30} ?: |compris dans le prix|(?:est|sont) "
        r"(?:interdite?s?|pas (?:autorisée?s?|admis\w*))|peu(?:t|vent) être (?:gardé|conservé|"
        r"retiré)|valables? jusqu|allergique|garantie? jusqu)"
    ),
    places=r"\w+\W+\w+\W+\w+",
    projects=(
        (
            r"\b(?i:projet|initiative|programme|chantier|campagne|opération|action)s?\b(?: "
            r"[a-zàâçéèêëîïôûü']+){0,4} ?[«“\"] ?(?P<name>[^»”\"]{2,60}?) ?[»”\"]"
        ),
        (
            r"\b(?i:projet|initiative|programme|opération) (?P<name>[A-ZÀÂÇÉÈÊÎÔÛ][\w’'-]+(?: "
            r"(?:de |du |des )?[A-ZÀÂÇÉÈÊÎÔÛ0-9][\w’'-]*){0,3})"
        ),
    ),
    begins=either(
        "démarre\\w* commence\\w* débute\\w* lance\\w* lancé\\w* adopté\\w* approuvé\\w* "
        "validé\\w* continue\\w* poursui\\w* se_poursuit accepté\\w* voté\\w* repren\\w* "
        "avance\\w* début nouveau nouvelle retenu\\w* arrive\\w* financé\\w* signé\\w* "
        "travaill\\w* part officiellement reconduit\\w* feu_vert"
    ),
    comments=(
        (
            r"(?i:(?:commentaire|remarque|note|message)(?: de| d'| par)) ?(?P<who>[^:]{1,40}?)"
            r"\s?:\s*(?P<what>.+)"
        ),
        (
            r"(?i:(?:pour|sur|concernant|à propos de|au sujet de|rapport à|côté) (?:la |le |l'|les "
            r")?[^:,–]{0,30}(?:tâche|ticket|carte|demande|fiche)[^:,–]{0,60}\s?[:,–-]\s*(?P<what>.+))"
        ),
    ),
    tickets=(
        r"(?i:(?:#\d+|(?:ticket|demande|incident|anomalie|dossier|bug|signalement|"
        r"intervention)\b.{0,6}\d))"
    ),
    urgent=(
        r"(?i:\burgente?s?\b|\burgence\b|\bau plus vite\b|\bimmédiatement\b|\btout de suite\b|\bdès "
        r"que possible\b|\bsans délai\b|\bprioritaire\b|\basap\b|!!)"
    ),
    deadlines=r"(?i:échéance|date limite|délai|avant|date|rappel)\b",
    minutes=(
        r"(?i:\b(?:compte[- ]rendu|réunion|conseil|comité|présents?|ordre du "
        r"jour|procès-verbal|pv|point hebdo\w*|hebdo|assemblée|atelier|bureau|"
        r"association|séance|bilan|syndical|appel avec|entretien avec|équipe)\b)"
    ),
    to_do=(
        r"(?i:^\W*(?:à faire|tâches|actions?|prochaines étapes|reste à faire|ce qui reste|courses|"
        r"liste de courses|à acheter|à prévoir|à régler|todo|check-?list|pense-bête|avant (?:le|la|"
        r"les|de) .{2,30}|.*\bqui fait quoi|.* - ce qui reste|.* à faire)\W*$)"
    ),
    finished=r"(?i:^\W*(?:faits?|terminés?|déjà fait|réglé|clos)\W*$)",
    decided=r"(?i:^\W*(?:décisions?)\W*$)",
    talk=(
        r"(?i:^\W*(?:ordre du jour|sujets?|idées?|questions?|questions ouvertes|"
        r"participants|présents|excusés|discussion|un jour|peut-être|envies|"
        r"ingrédients|menu|résumé|nouvelles|contexte|annulé)\W*$)"
    ),
    rewrites=(
        (
            (
                r"(?i:(?:le|la|les|l') ?)?(?P<np>[^,;:]{2,60}?) (?i:doit|doivent|devra|devront|est "
                r"à|sont à) être (?:\w+ment )?(?P<stem>\w+?)ée?s?(?: .*)?"
            ),
            r"\g<stem>er \g<np>",
        ),
        (
            (
                r"(.+?) (?i:est|sont|sera|seront)? ?(?:fixée?s?|prévue?s?|programmée?s?|confirmée?s?|"
                r"renvoyée?s?)(?: au| pour| le)?"
            ),
            r"\1",
        ),
        (
            (
                rf"(?!{_ENDS_IN_RE} )(?P<stem>[a-zàâçéèêëîïôûü]+)(?:e|es|ez|era|erai) "
                r"(?P<rest>(?:le |la |les |l'|un "
                r"|une |des |son |sa |ses ).*)"
            ),
            r"\g<stem>er \g<rest>",
        ),
    ),
    labels=either(
        "assigné ouvert responsable signalé demandeur de à cc objet date envoyé présents? excusés? "
        "participants? lieu heure quand où qui quoi pourquoi note notes ps re tr fw décisions? "
        "action actions tâche rappel échéance sujet ordre prochaine prochain demain hier lundi "
        "mardi mercredi jeudi vendredi samedi dimanche total prix tél téléphone mail e-?mail "
        "adresse code wifi numéro attention astuce statut priorité projet résumé exemple résultat "
        "objectif question réponse idée urgent important pour sur"
    ),
    anyone=either("tout tous toutes chacun chaque quelqu'un tu vous nous on ils elles"),
    me=r"(?i:je|j'|nous|on|moi)",
    articles=r"(?i:(?:le|la|les|un|une|notre) |l')",
    pronoun_subjects="il elle ce c'est cela ça ils elles",
    goes_on=r"(?i:reste|encore)",
    spanning=(
        (
            r"(?P<who>{name}(?:(?:,| et) {name}){0,3}) (?i:a|ont|s'est|se sont) (?i:accepté|promis|"
            r"proposé|proposée?s?|engagée?s?|offert|été chargée?s?|été prié\w*|été désignée?s?|portée? "
            r"volontaire)(?: de| d'| à| pour)? ?(?P<what>{verbs}.+)"
        ),
        (
            r"(?P<np>(?i:les|tous les|toutes les|chaque) [^,;:.!?]{2,40}?) (?i:sont|"
            r"est) (?i:priée?s?|invitée?s?|tenue?s?|appelée?s?) (?i:de|à|d') ?(?P<what>{verbs}.+)"
        ),
        (
            r"(?i:(?:j'aurais besoin|j'ai besoin|nous avons besoin|on a besoin|il (?:me|nous) (?:faut|"
            r"faudrait))(?: encore)? (?:de |des |d'|du |que )?(?P<what>\w.+))"
        ),
        r"(?i:(?:que|qu') ?(?:chacun|tous|tout le monde|quelqu'un) (?P<what>\w.+))",
        (
            r"(?P<what>(?i:le|la|les|l') ?[^,;:.!?]{2,40}? (?i:est|sont) (?i:confiée?s?|"
            r"attribuée?s?|assurée?s?) (?i:à|par)) (?P<who>{name})"
        ),
        r"(?i:rappelle-toi|rappelez-vous|souviens-toi|souvenez-vous) (?i:de |d')(?P<what>\w.+)",
        r"(?i:j'ai promis (?:à \w+ )?(?:de |d')(?P<what>\w.+))",
        r"(?i:(?:action|à faire|todo|tâche)\s*:\s*)(?P<who>{name}) (?P<what>\w.+)",
        r"(?i:responsable (?:de |du |des |de la )?(?P<what>[^:]{2,40})\s?: ?)(?P<who>{name})",
    ),
    addressed=(
        rf"(?P<what>{_FUTURE}\b .+)",
        r"(?i:(?:tu|vous)(?: t'| te| vous| nous)? ?(?P<what>(?!es |êtes|as |avez|sais|savez)\w.+))",
    ),
    gapped=(r"(?P<who>{name}) (?P<what>(?i:du|de la|des|de l'|d') ?[^,;:.!?]+)\W*$",),
    finite=_FUTURE,
    base_endings=(("era", "er"), ("ira", "ir"), ("dra", "dre"), ("ttra", "ttre")),
    pronouns=(
        r"(?i:(?:s'en (?:occupe|charge|occupera|chargera)|(?:me |m'en |m')?(?:en "
        r")?(?:occupe|charge)\b|(?:le|la|les|l') ?{verbs}$|(?:faire|fait)$).{0,30}$)"
    ),
    edges=(
        r"(?i:\b(?:avant|d'ici|pour|à|en|vers|jusqu'à)? ?(?:la |le )?(?:fin|"
        r"début|milieu) (?:de |du |d'|de la |de l')(?:ce |cette |la |le |l')?(?:semaine|"
        r"mois|année|trimestre|janvier|février|mars|avril|mai|juin|juillet|août|"
        r"septembre|octobre|novembre|décembre)(?: prochaine?)?)"
    ),
    dated=either(
        "aujourd'hui demain après-demain lundi mardi mercredi jeudi vendredi samedi dimanche "
        "week-?end janvier février mars avril mai juin juillet août septembre octobre novembre "
        "décembre jours? semaines? mois années? soir matin midi fin trimestre"
    ),
)
