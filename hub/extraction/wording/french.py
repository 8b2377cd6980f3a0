# ruff: noqa: RUF001 - letters of other alphabets
"""French words of requests, duties, plans and decisions."""

from typing import Final

from hub.extraction.wording.lexicon import Lexicon, either

_INFINITIVE: Final = (
    r"\b(?!(?:être|avoir|hier|premier|dernier|janvier|février|cahier|papier|quartier|"
    r"métier|courrier|particulier|atelier|escalier|dossier|calendrier|plaisir|soir|"
    r"noir|notre|votre|autre|entre|contre|quatre|lettre|mètre|titre|centre|encore|"
    r"livre|libre|membre|novembre|octobre|septembre|décembre|ordre|nombre|chambre|"
    r"théâtre|pourvoir|espoir|couloir|tiroir|trottoir|avenir|cher|fier|léger|étranger|"
    r"foyer|loyer|mer|fer|cuiller|hiver|verre|terre|pierre|guerre|rire|pire|faire-part|"
    r"maire|affaire|salaire|horaire|notaire|commentaire|anniversaire|nécessaire|"
    r"secrétaire|propriétaire|locataire|contraire|ordinaire|fenêtre|peut-être)\b)[a-zàâçéèêëîïôûüœ'-]{2,}(?:er|"
    r"ir|re|oir|aire)\b"
)
_VERBS: Final = """
accepte achète ajoute amène annonce appelle apporte arrange arrose assure attend augmente avertit boucle
cherche choisit classe coche collecte colle commande complète compte confirme contacte contrôle copie
corrige coud coupe crée cuisine décide décore décrit demande déplace dépose dessine détermine distribue
donne élabore emballe emmène emporte emprunte enlève enregistre envoie établit étudie évalue examine
explique exporte fabrique fait ferme finalise fixe fournit garde gère imprime informe inscrit installe
invite jette lance lave lit livre loue met modifie monte montre négocie nettoie note nourrit obtient
organise ouvre paie paye passe peint pèse photographie pilote place planifie plante porte poste prend
prépare présente prévient prévoit propose publie range rappelle récupère recherche rédige refait regarde
règle relance relit remercie remet remplace remplit rend renouvelle renvoie répare répond reporte
reprend réserve résilie restitue retourne retrouve réunit révise sécurise sert signe sonne sort soumet
suit supervise supprime taille teste tient traduit traite transmet transporte tond trie trouve va valide
vend vérifie verse vide voit soutient coordonne écrit actualise archive aide anime contacte convoque
calcule s'occupe se_charge s'en_occupe s'en_charge prend_en_charge met_à_jour
"""
_PRESENT: Final = "|".join(_VERBS.split()).replace("_", " ")
_FUTURE: Final = r"[a-zàâçéèêëîïôûü]{2,}(?:era|ira|dra|ttra|rra|eront|iront|dront|ttront)"
_FORMAL: Final = (
    r"\b(?!(?:avez|êtes|allez-vous|chez|assez|nez|rendez-vous|savez|pouvez|voulez|"
    r"aviez|étiez|seriez|auriez|trouverez|recevrez)\b)[a-zàâçéèêëîïôûü]{2,}ez\b"
)
_FAMILIAR: Final = (
    "apporte|appelle|achète|ajoute|amène|arrête|attends|cherche|complète|confirme|"
    "contacte|corrige|demande|donne|écris|envoie|essaie|fais|ferme|garde|imprime|"
    "jette|lance|laisse|lis|mets|montre|nettoie|note|n'oublie|oublie|ouvre|paie|"
    "passe|pense|préviens|prends|prépare|range|rappelle|récupère|regarde|relance|"
    "relis|remplis|rends|réponds|réserve|retrouve|signe|sors|surveille|transmets|"
    "trouve|va|vérifie|vide|viens|vois|dis|dites|faites|copie|plante|arrose"
)
_NP: Final = r"[^\s,;:.!?()][^,;:!?()]{0,60}?"
_MUST: Final = (
    r"(?:doit|doivent|devra|devront|devrait|devraient|a à|ont à|est chargée? de|"
    r"sont chargés de|est censée? |va|vont|s'engage à|s'est engagée? à|a promis "
    r"de|propose de|accepte de|s'occupera de|se chargera de|est tenue? de|est priée? "
    r"de|sont priés de|compte|souhaite|veut)"
)

FRENCH: Final = Lexicon(
    code="fr",
    letters="éèêàçùûîôœ",
    common=(
        "le la les un une des du de et est sont était à au aux en dans pour par sur "
        "avec sans que qui ne pas plus ce cette ces il elle ils elles on nous vous "
        "je tu "
        "se sa son ses leur leurs mon ma mes ton ta tes notre votre nos vos mais ou "
        "où donc y été être avoir c'est j'ai d'un d'une l'on qu'il merci bonjour si "
        "tout "
        "tous comme"
    ),
    no_names=(
        "le la les un une des du de il elle ils elles on nous vous je tu ce cette ces "
        "ça cela qui que quoi quand où comment pourquoi si et mais ou donc or ni car "
        "merci bonjour bonsoir salut cher chère chers chères bien oui non ok alors "
        "puis ensuite aussi enfin après avant depuis pendant demain hier aujourd'hui "
        "lundi "
        "mardi mercredi jeudi vendredi samedi dimanche janvier février mars avril mai "
        "juin juillet août septembre octobre novembre décembre prochaine prochain "
        "dernière dernier première premier mon ma mes ton ta tes son sa ses notre votre "
        "nos vos leur leurs tout tous toutes chaque chacun personne rien projet "
        "décision note rappel réunion sujet objet pour dans sur avec sans par en au "
        "aux à peut-être pas plus très trop dommage coucou bises cordialement madame "
        "monsieur messieurs mesdames mademoiselle idée départ retour entrée sortie "
        "code sinon tiens voici voilà deux trois quatre cinq"
    ),
    name=(
        r"(?:(?:Mme|M\.|Mlle|Dr|Docteur|Maître|Madame|Monsieur|Tante|Oncle|Mamie|Papi|"
        r"Papa|Maman|Sœur|Père) )?[A-ZÀÂÇÉÈÊÎÔÛ][\wàâçéèêëîïôûüœ’'-]+(?: (?:de|"
        r"du|[A-ZÀÂÇÉÈÊÎÔÛ]"
        r"[\wàâçéèêëîïôûüœ’'-]+)){0,2}"
    ),
    verbs=_INFINITIVE,
    present=rf"\b(?:{_PRESENT})\b",
    inserted=r"(?i:, ?(?:s'il (?:te|vous) pla[iî]t|stp|svp),)",
    fillers=(
        r"(?i:\bs'il (?:te|vous) pla[iî]t\b,?|\bstp\b,?|\bsvp\b,?|\bmerci d'avance\b|"
        r"\bau fait\b)"
    ),
    leads=(
        r"(?i:(?:et|mais|alors|donc|puis|ensuite|aussi|ok|bon|bien|oui|d'abord|"
        r"premièrement|"
        r"deuxièmement|enfin|au fait|ps|p\.s\.|comme convenu|"
        r"encore une chose|petit rappel|rappel|pour rappel|important|urgent|attention|"
        r"d'ici là|avant cela|avant ça|entre-temps|du coup|par contre|par ailleurs|de "
        r"plus|en outre|"
        r"s'il (?:te|vous) pla[iî]t|stp|svp|salut|bonjour|coucou|désolée?|pour la suite|"
        r"si possible|dès que possible|que|qu'|je répète|à noter|sinon|@)(?![\wàâçéèêëîïôûü])"
        r"[,:!.\s–-]*)"
        r"|\w+ (?:dit|a dit|pense|propose|rappelle|signale|demande|précise|indique|note) "
        r"(?:que |qu')"
    ),
    joints=(
        r"(?i:\s*[;–—]\s*|\s-\s|,?\s(?:et|puis|mais)\s(?:aussi\s|ensuite\s)?|,\s(?:puis\s|"
        r"donc\s)?|\s?:\s|\s\(|\)\s?)"
    ),
    requests=(
        (
            r"(?i:(?:peux|pourrais|veux|pouvez|pourriez|voulez|pourrais|voudrais|"
            r"voudriez)-?\s?(?:tu|"
            r"vous)(?: bien| aussi| me| nous| encore| juste| s'il te plaît| s'il vous plaît|"
            r" svp| stp| vite| peut-être| également| lui| leur)* (?P<what>.+))"
        ),
        (
            r"(?i:(?:tu|vous) (?:peux|pourrais|pouvez|pourriez)(?: bien| aussi| me| nous|"
            r" encore| juste| lui| leur)* (?P<what>{verbs}.+))"
        ),
        (
            r"(?i:(?:quelqu'un|l'un de vous|qui) (?:peut|pourrait|peut-il|pourrait-il)(?: "
            r"me| nous)? (?P<what>{verbs}.+))"
        ),
        (
            r"(?P<who>{name}),? (?i:peux-tu|pourrais-tu|pouvez-vous|pourriez-vous|tu peux|"
            r"tu pourrais|vous pouvez) (?P<what>.+)"
        ),
        r"(?P<who>{name}), (?i:tu|vous)(?: t'| te | vous )? ?(?P<what>\w.+)",
        (
            r"(?i:merci (?:à (?-i:(?P<who>{name})) )?(?:de|d'|de bien vouloir|de ne pas "
            r"oublier de) ?(?P<what>(?!votre|ton|ta|tes|vos|nous avoir|m'avoir|avoir|l'avoir|"
            r"ton|cette|ce |la |le )\w.+))"
        ),
        (
            r"(?i:(?:veuillez|veuille|prière de|priere de|je vous prie de|je te prie de|"
            r"nous vous prions de|nous vous demandons de|je vous demande de|je te demande "
            r"de|on vous demande de)(?: bien vouloir)? (?P<what>(?!agréer|recevoir|excuser|"
            r"croire|trouver|accepter|noter que)\w.+))"
        ),
        (
            r"(?i:(?:n'oublie[sz]?|n'oubliez|ne pas oublier|pas oublier|pense[sz]?|pensez|"
            r"songez|penser)(?: bien| aussi| surtout| donc)* (?:pas )?(?:de |d'|à |le |la "
            r"|les |que )(?P<what>(?!toi|vous|moi|nous)\w.+))"
        ),
        (
            r"(?i:(?:il serait bien|ce serait bien|ce serait sympa|ce serait gentil|ce serait "
            r"super|il serait bon) (?:que|de|si) (?P<what>.+))"
        ),
        r"(?i:(?:assure-toi|assurez-vous|veille|veillez) (?:que|de|à) (?P<what>\w.+))",
        (
            r"(?i:(?:j'aimerais|je voudrais|nous aimerions|il faudrait|je souhaite|il est "
            r"demandé|je demande) (?:que (?:tu|vous|chacun|tous)) (?P<what>\w.+))"
        ),
        (
            r"(?i:(?:à faire|todo|to do|action|tâche|à prévoir|prochaine étape|reste "
            r"à faire)\s*:\s*(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:les (?:parents|participants|membres|habitants|élèves|locataires)|tous|"
            r"chacun|vous) (?:sont|est|êtes) (?:priée?s?|invitée?s?) (?:de|à) (?P<what>\w.+))"
        ),
        r"(?i:s'il (?:te|vous) pla[iî]t,? (?P<what>\w.+))",
        (
            r"(?i:(?:préviens|prévenez|dis|dites|tiens|tenez)[- ](?:moi|nous) (?P<what>(?:si|"
            r"quand|au courant|avant|par).+))"
        ),
    ),
    duties=(
        (
            rf"(?P<what>(?!(?i:il|elle|on|je|tu|ça|cela|ce|rien|personne|nous|vous)\b){_NP} "
            rf"(?i:doit|doivent|devra|devront|devrait|devraient) (?!(?i:pas|être (?:là|présent|"
            rf"content|prêt|malade|fatigué))\b)(?:\w+ )?(?:être|faire l'objet).*)"
        ),
        (
            rf"(?P<who>{{name}}(?:(?:,| et) {{name}}){{0,3}}) (?i:{_MUST})(?i: aussi| encore|"
            rf" maintenant| absolument| également| d'abord)* ?(?P<what>(?!(?i:pas|plus|rien|"
            rf"bien|mieux)\b){{verbs}}.*)"
        ),
        (
            r"(?P<np>(?i:le|la|les|l'|chaque|tous les) ?[^,;:.!?]{2,40}?) (?i:doit|doivent|"
            r"devra|devront) (?P<what>(?!(?i:pas|plus|rien|être|avoir)\b){verbs}.*)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| et) {name}){0,3}) (?i:s'occupe|s'occupent|s'occupera|"
            r"se charge|se chargent|se chargera|est responsable|est chargée?|a la charge) "
            r"(?P<what>(?i:de|du|des|d'|de la) ?.+)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| et) {name}){0,3}) (?P<what>(?i:s'en (?:occupe|charge|"
            r"occupera|chargera)).*)"
        ),
        (
            rf"(?P<who>{{name}}(?:(?:,| et) {{name}}){{0,3}}) (?P<what>(?!(?i:sera|aura|pourra|"
            rf"faudra|saura|voudra|dira)\b){_FUTURE}\b .+)"
        ),
        (
            r"(?P<who>(?i:je|nous|on))(?i: dois| devons| doit| vais| allons| va)(?i: aussi|"
            r" encore| vite| tout de suite| essayer de)* (?P<what>(?!(?i:pas|voir|être|avoir|"
            r"rester|dormir|bien|croire|dire|penser)\b){verbs}.*)"
        ),
        (
            r"(?i:je (?:m'en|m'|te |vous |l'|le |la |les |lui )?(?P<what>(?:occupe|charge|"
            r"occuperai|chargerai|enverrai|ferai|apporterai|appellerai|passerai|préparerai|"
            r"\w{3,}erai|\w{3,}irai|\w{3,}drai|rappelle|envoie|apporte|prépare|réserve|appelle|"
            r"passe prendre|passe chercher|prends|fais)\b(?! (?:bien|pas|très|contente?)\b).*))"
        ),
        (
            r"(?i:(?:il faut|il faudra|il faudrait|faut|il nous faut|il est (?:nécessaire|"
            r"important|impératif|urgent) de|on doit|nous devons|vous devez|tu dois|vous "
            r"devrez|tu devras|reste à|il reste à|il te faut)(?: encore| aussi| absolument|"
            r" vite| d'abord| donc| bien| que (?:tu|vous|quelqu'un|chacun|\w+))* "
            r"(?P<what>(?!pas|"
            r"dire|voir|avouer|croire|une?|de la|du|des|compter|attendre|être|savoir|"
            r"rire)\w.+))"
        ),
        rf"(?P<what>{_NP} (?i:est|sont|reste|restent) (?:encore )?(?i:à) {{verbs}}.*)",
        r"(?P<what>[^,;:!?]{2,60} (?i:à) {verbs}\b[^,;:!?]*)$",
        r"(?P<who>{name}(?:(?:,| et) {name}){0,3}) ?[:–] ?(?P<what>{verbs}.+)",
        rf"(?P<what>(?i:{_FORMAL})(?![- ](?:vous|vous bien|soin)\b) .+)",
        (
            rf"(?P<what>(?i:(?:{_FAMILIAR})(?:-(?:moi|nous|le|la|les|lui|leur|en|y))*)\b(?! "
            rf"(?:bien|le bonjour|la bise|beaucoup|pas)\b) \S.+)"
        ),
        r"(?P<what>{verbs}(?: \S.+))",
        r"(?i:(?:date limite|dernier délai|échéance|délai)(?: pour| de)? (?P<what>.+))",
    ),
    reports=(
        (
            r"(?P<who>{name}(?:(?:,| et) {name}){0,3}) (?:y |en |lui |leur |nous "
            r"|vous )?(?P<what>{present} "
            r"(?!que\b|qu'|si\b)\S.+)"
        ),
        r"(?P<np>(?i:le|la|les|l') ?[^,;:.!?]{2,30}?) (?P<what>{present} (?!que\b|qu')\S.+)",
    ),
    listed=(r"(?P<what>(?:\w+ment )?(?:ne pas |re)?{verbs}\b.+)",),
    more=r"(?:aussi |ensuite )?(?P<what>(?:{verbs}|{present}) .+)",
    settled=(
        r"(?i:\b(?:fait|faite|faits|réglée?s?|terminée?s?|finie?s?|déjà|annulée?s?|ne "
        r"\w+ plus|n'\w+ plus|plus la peine|plus besoin|pas la peine|pas nécessaire|"
        r"pas besoin|inutile|aucune? (?:démarche|action|besoin)|"
        r"hier|avant-hier|la semaine dernière|le mois dernier|l'an dernier|l'année "
        r"dernière|"
        r"a été|ont été|avait|avaient|devait|devaient|devais|fallait|était|étaient|voulait|"
        r"commandée?s?|payée?s?|imprimée?s?|réparée?s?|résolue?s?|"
        r"reportée? sine die|refusée?|rejetée?|personne|ne (?:le |la |l')?\w+ pas|n'\w+ "
        r"pas|ne pourr\w+|ne peu\w+|il y a \w+ (?:jours|semaines|mois|ans)|c'est bon|"
        r"j'ai|on a|nous avons|laisse tomber|oublie ce que|tombe à l'eau|abandonnée?s?|"
        r"supprimée?s?|s'est|se sont)\b|✓|✔|☑|✅)"
    ),
    unreal=(
        r"(?i:\b(?:peut-être|éventuellement|un jour|probablement|sans doute|"
        r"aurait|auraient|"
        r"aurais|serait|seraient|pourrait(?!-)|on pourrait|si (?:on|je|j'|nous|seulement)|"
        r"idée|rêve\w*|imagine|je me demande|on s'est demandé|apparemment|"
        r"il paraît|hésit\w+|bientôt peut-être|pas sûre?|j'espère|espérons|roman|recette|"
        r"film|blague|chanson|par exemple|souhait|envie de|à discuter|en débat)\b)"
    ),
    events=(
        r"(?i:\b(?:réunion|rencontre|rendez-vous|rdv|assemblée|conseil|comité|séance|"
        r"atelier|formation|cours|stage|conférence|congrès|séminaire|colloque|"
        r"fête|anniversaire|"
        r"mariage|baptême|concert|spectacle|"
        r"générale|répétition|première|représentation|exposition|vernissage|inauguration|"
        r"ouverture|fermeture|lancement|démarrage|livraison|départ|arrivée|vol|train|"
        r"voyage|sortie|visite|inspection|contrôle|audit|examen|"
        r"épreuve|concours|entretien|appel|audience|élection|vote|vide-grenier|brocante|"
        r"marché|foire|salon|festival|kermesse|repas|dîner|déjeuner|petit-déjeuner|apéro|"
        r"apéritif|barbecue|pique-nique|soirée|match|tournoi|course|"
        r"randonnée|rentrée|déménagement|emménagement|travaux|coupure|maintenance|"
        r"migration|"
        r"mise en service|état des lieux|remise|signature|dépôt|échéance|vaccination|"
        r"vaccin|dentiste|médecin|vétérinaire|opération|"
        r"consultation|exercice|alerte|inventaire|soldes|collecte|nettoyage|journée|"
        r"porte ouverte|portes ouvertes|démo|présentation|revue|point|bilan|kick-?off|"
        r"webinaire|lecture|cérémonie|obsèques|enterrement|messe|stand|garde|rdv|plombier|"
        r"technicien|ramonage|relevé|soutenance|oral)s?\b)"
    ),
    happens=(
        r"(?i:(?:\b(?:aura|auront) lieu|\ba lieu|\bse tient|\bse tiendra|\best prévue?|"
        r"\bsont prévue?s|\best fixée?|\bcommence\w*|\bdébute\w*|\bdémarre\w*|\bouvr\w+|"
        r"\bferme\b|\bfermée?s?\b|\bfermera|\barrive\w*|\bvient\b|\bviendra|\bviennent|"
        r"\bpasse\b|\bpassera"
        r"|\bpart\b|\bpartons|\bpartira|\bdécolle|\brentre\w*|\brevient|\bse réunit|"
        r"\bnous réunissons|\bon se (?:voit|retrouve|réunit)|\bnous (?:nous )?(?:voyons|"
        r"retrouvons)|\bse déroule\w*|\bfête\w*|\bse marie\w*|\bexpire|\bse termine|"
        r"\bprend fin|\bsera livrée?|\bsera\b|\bseront\b|\binvit\w+|\bc'est\b|\best "
        r"(?:le|à|programmée?)))"
    ),
    decisions=(
        (
            r"(?i:(?:décisions?|décidé|conclusion|résolution|accord|résultat|arrêté|"
            r"validé)\s*:\s*(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:[^,;:]{0,40}\b)?(?:on|nous|le conseil|le comité|le bureau|l'équipe|"
            r"l'assemblée|le groupe|les membres|tous|il)\b (?:a|avons|ont|est|était|fut)(?: "
            r"été| unanimement| finalement| tous| donc)* (?:décidé|convenu|acté|voté|approuvé|"
            r"choisi|opté|arrêté|retenu) ?(?:à l'unanimité )?(?:que |qu'|de |d'|pour |la "
            r"|le |les )?(?P<what>\w.+))"
        ),
        r"(?i:(?:il est|a été) (?:décidé|convenu|acté) (?:que |de |d'|qu')(?P<what>.+))",
        r"(?i:(?:on|nous) (?:reste|restons|garde|gardons) (?P<what>.+))",
        r"(?i:(?P<what>(?:à partir de|dès) (?:maintenant|lundi|janvier|\w+ prochain),? .+))",
    ),
    facts=(
        r"(?i:\b(?:numéro|n°|code|mot de passe|wi-?fi|iban|référence|réf|taille|pointure|"
        r"adresse|téléphone|tél|compte|identifiant|login|série|digicode|combinaison|"
        r"plaque|immatriculation|dossier|siret|relevé|caution|tarif|prix)\b[^.!?]{0,40}?(?:\best\b|"
        r"\bsont\b|\s?:|=)\s?[^.!?]*?(?:\d|\"|«|[A-Z]{2}))"
    ),
    places=r"\w+\W+\w+\W+\w+",
    projects=(
        (
            r"\b(?i:projet|initiative|programme|chantier|campagne)s?\b(?: [a-zàâçéèêëîïôûü']+){0,4} "
            r"?[«“\"] ?(?P<name>[^»”\"]{2,60}?) ?[»”\"]"
        ),
        (
            r"\b(?i:projet|initiative|programme|opération) (?P<name>[A-ZÀÂÇÉÈÊÎÔÛ][\w’'-]+(?: "
            r"(?:de |du |des )?[A-ZÀÂÇÉÈÊÎÔÛ0-9][\w’'-]*){0,3})"
        ),
    ),
    begins=either(
        "démarre\\w* commence\\w* débute\\w* lance\\w* lancé\\w* adopté\\w* approuvé\\w* "
        "validé\\w* continue\\w* poursui\\w* se_poursuit accepté\\w* voté\\w* repren\\w* "
        "avance\\w* début "
        "nouveau nouvelle retenu\\w* arrive\\w* financé\\w* signé\\w* travaill\\w* "
        "part officiellement reconduit\\w* feu_vert"
    ),
    comments=(
        (
            r"(?i:(?:commentaire|remarque|note|message)(?: de| d'| par)) ?(?P<who>[^:]{1,40}?)"
            r"\s?:\s*(?P<what>.+)"
        ),
        (
            r"(?i:(?:pour|sur|concernant|à propos de|au sujet de|rapport à|côté) (?:la |"
            r"le |l'|les )?[^:,–]{0,30}(?:tâche|ticket|carte|demande|fiche)[^:,–]{0,60}\s?[:,–-]"
            r"\s*(?P<what>.+))"
        ),
    ),
    tickets=(
        r"(?i:(?:#\d+|(?:ticket|demande|incident|anomalie|dossier|bug|signalement|"
        r"intervention)\b.{0,6}\d))"
    ),
    urgent=(
        r"(?i:\burgente?s?\b|\burgence\b|\bau plus vite\b|\bimmédiatement\b|\btout de "
        r"suite\b|\bdès que possible\b|\bsans délai\b|\bprioritaire\b|\basap\b|!!)"
    ),
    minutes=(
        r"(?i:\b(?:compte[- ]rendu|réunion|conseil|comité|présents?|ordre du "
        r"jour|procès-verbal|"
        r"pv|point hebdo\w*|hebdo|assemblée|atelier|bureau|association|séance|bilan|"
        r"syndical|appel avec|entretien avec|équipe)\b)"
    ),
    to_do=(
        r"(?i:^\W*(?:à faire|tâches|actions?|prochaines étapes|reste à faire|ce qui "
        r"reste|courses|liste de courses|à acheter|à prévoir|à régler|todo|check-?list|"
        r"pense-bête|avant (?:le|la|les|de) .{2,30}|.*\bqui fait quoi|.* - ce qui reste|"
        r".* à faire)\W*$)"
    ),
    finished=r"(?i:^\W*(?:faits?|terminés?|déjà fait|réglé|clos)\W*$)",
    decided=r"(?i:^\W*(?:décisions?)\W*$)",
    talk=(
        r"(?i:^\W*(?:ordre du jour|sujets?|idées?|questions?|questions ouvertes|"
        r"participants|"
        r"présents|excusés|discussion|un jour|peut-être|envies|ingrédients|menu|résumé|"
        r"nouvelles|contexte|annulé)\W*$)"
    ),
    labels=either(
        "de à cc objet date envoyé présents? excusés? participants? lieu heure quand "
        "où qui quoi pourquoi note notes ps re tr fw décisions? action actions tâche "
        "rappel échéance sujet ordre prochaine "
        "prochain demain hier lundi mardi mercredi jeudi vendredi samedi dimanche total "
        "prix tél téléphone mail e-?mail adresse code wifi numéro attention astuce "
        "statut priorité projet résumé exemple résultat "
        "objectif question réponse idée urgent important pour sur"
    ),
    anyone=either("tout tous toutes chacun chaque quelqu'un tu vous nous on il elle"),
    me=r"(?i:je|j'|nous|on|moi)",
    pronoun_subjects="il elle ce c'est cela ça ils elles",
    goes_on=r"(?i:reste|encore)",
    addressed=(
        (
            r"(?i:(?:tu|vous)(?: t'| te| vous| nous)? ?(?P<what>(?!es |êtes|as |"
            r"avez|sais|savez)\w.+))"
        ),
    ),
    gapped=(r"(?P<who>{name}) (?P<what>(?i:du|de la|des|de l'|d') ?[^,;:.!?]+)\W*$",),
    finite=_FUTURE,
    base_endings=(("era", "er"), ("ira", "ir"), ("dra", "dre"), ("ttra", "ttre")),
    pronouns=(
        r"(?i:(?:s'en (?:occupe|charge|occupera|chargera)|(?:me |m'en |m')?(?:en "
        r")?(?:occupe|"
        r"charge)\b|(?:le|la|les|l') ?{verbs}$|(?:faire|fait)$).{0,30}$)"
    ),
    edges=(
        r"(?i:\b(?:avant|d'ici|pour|à|en|vers|jusqu'à)? ?(?:la |le )?(?:fin|début|milieu) "
        r"(?:de |du |d'|de la |de l')(?:ce |cette |la |le |l')?(?:semaine|mois|année|"
        r"trimestre|janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|"
        r"novembre|décembre)(?: prochaine?)?)"
    ),
    dated=either(
        "aujourd'hui demain après-demain lundi mardi mercredi jeudi vendredi samedi "
        "dimanche week-?end janvier février mars avril mai juin juillet août septembre "
        "octobre novembre décembre jours? semaines? mois "
        "années? soir matin midi fin trimestre"
    ),
)
