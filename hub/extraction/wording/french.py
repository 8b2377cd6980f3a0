# ruff: noqa: RUF001 - letters of other alphabets
"""French words of requests, duties, plans and decisions."""

from typing import Final

from hub.extraction.when import languages
from hub.extraction.wording.lexicon import Lexicon, either

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
_NP: Final = r"[^\s,;:.!?()][^,;:!?()]{0,60}?"

_ORDERS: Final = """
attends dis dites écris fais faites lis mets n'oublie oublie pense prends préviens relis remplis rends réponds
sors surveille transmets viens vois
"""

FRENCH: Final = Lexicon(
    code="fr",
    weekdays=languages.FRENCH.weekdays,
    months=languages.FRENCH.months,
    letters=r"[éèêàçùûîôœ]|(tion|ment|eux|ez|aient|ons)\b|\b([ldsnjmtc]|qu)'(?=\w)",
    common="""
        demain avant après peux peut pouvez faut doit dois doivent aussi très bien rien le la les un une
        des du de et est sont était à au aux en dans pour par sur avec sans que qui ne pas plus ce cette
        ces il elle ils elles on nous vous je tu se sa son ses leur leurs mon ma mes ton ta tes notre
        votre nos vos mais ou où donc y été être avoir c'est j'ai d'un d'une l'on qu'il merci bonjour si
        tout tous comme
    """,
    no_names="""
        ça cela quoi quand comment pourquoi or ni car bonsoir salut cher chère chers chères oui non ok
        alors puis ensuite enfin depuis pendant hier aujourd'hui prochaine prochain dernière dernier
        première premier toutes chaque chacun personne projet décision note rappel réunion sujet objet
        peut-être trop dommage coucou bises cordialement madame monsieur messieurs mesdames mademoiselle
        idée départ retour entrée sortie code sinon tiens voici voilà deux trois quatre cinq
    """,
    name=r"""
        (?-i:((Mme|M\.|Mlle|Dr|Docteur|Maître|Madame|Monsieur|Tante|Oncle|Mamie|Papi|Papa|Maman|Sœur\
            |Père) )?[A-ZÀÂÇÉÈÊÎÔÛ][\w’'-]+( (de|du|[A-ZÀÂÇÉÈÊÎÔÛ][\w’'-]+)){0,2})
    """,
    verbs=r"""
        \b(?!(olivier|xavier|didier|roger|déjeuner|dîner|goûter|gauthier|claire|avoir|hier|premier|dernier|{days}|cahier\
            |papier|quartier|métier|courrier|particulier|atelier|escalier|dossier|calendrier|plaisir\
            |noir|pourvoir|espoir|couloir|tiroir|trottoir|avenir|cher|fier|léger|étranger|foyer|loyer\
            |cuiller|hiver|faire-part|salaire|horaire|notaire|commentaire|anniversaire|nécessaire\
            |secrétaire|propriétaire|locataire|contraire|ordinaire|peut-être)\b)[a-zàâçéèêëîïôûüœ']{2,}\
            (er|(?<!so)(?<!mém)ir|(en|on|an|ein|oin|ain|er|ou|or|st)dre|ettre|attre|(d|l|u|cr)ire|(b\
            |cr)oire|(ui|i)vre|clure|naître|rompre|(?<!m)(?<!arm)(?<!hist)oir|(?<!ff)(?<!m)aire)\b\
            |\b(faire|dire|lire|voir|aller)\b
    """,
    # A known verb, or a word that may be one before an object.
    present=r"""
        (?-i:\b({known}|(?!(une|que|entre|comme|elle|contre|arrive|reste|aime|semble|pense|espère\
            |manque|raconte|habite|adore|déteste|est|a|va|ont|sont|vont|quitte|rentre|affirme|explique\
            |propose|remercie|attend|perd|mange|boit)\b){a}{2,}(?<!é)(e|ent|it|nd|rd|et)(?= (le|la|les\
            |l'|un|une|des|du|de|d'|son|sa|ses|leurs?|au|aux|à|deux|trois|quatre|cinq|dix|vingt|cent\
            |\d)))\b)
    """,
    parts={
        "and": ",| et",
        "np": r"[^\s,;:.!?()][^,;:!?()]{0,60}?",
        "must": r"""
            doit|doivent|devra|devront|devrait|devraient|a à|ont à|est chargée? de|sont chargés de\
                |est censée? |va|vont|s'engage à|s'est engagée? à|a promis de|propose de|accepte de\
                |s'occupera de|se chargera de|est tenue? de|est priée? de|sont priés de|compte|souhaite\
                |veut
        """,
        "known": f"(?-i:{_KNOWN})",
        "future": "(?-i:{a}{2,}(era|ira|dra|ttra|rra|eront|iront|dront|ttront))",
        "formal": r"""
            \b(?!(avez|allez-vous|chez|assez|rendez-vous|savez|pouvez|voulez|aviez|étiez|seriez|auriez\
                |trouverez|recevrez|veuillez|soyez|restez|agréez|croyez)\b)\w{2,}ez\b
        """,
        "familiar": "|".join([_KNOWN, *_ORDERS.split()]),
        "ends_in_re": r"""
            \w*([eo]nd|[eo]rd|[aeo]ind|ett|batt|suiv|viv|romp|ui|oi|fai|plai|tai|di|li|cri)re
        """,
    },
    inserted=", ?(s'il (te|vous) pla[iî]t|stp|svp),",
    fillers=r"\bs'il (te|vous) pla[iî]t\b,?|\bstp\b,?|\bsvp\b,?|\bmerci d'avance\b|\bau fait\b",
    leads=r"""
        (et|mais|alors|donc|puis|ensuite|aussi|ok|bon|bien|oui|d'abord|premièrement|deuxièmement|enfin\
            |au fait|ps|p\.s\.|comme convenu|encore une chose|petit rappel|rappel|pour rappel|important\
            |urgent|attention|d'ici là|avant cela|avant ça|entre-temps|du coup|par contre|par ailleurs\
            |de plus|en outre|s'il (te|vous) pla[iî]t|stp|svp|salut|bonjour|coucou|désolée?\
            |pour la suite|si possible|dès que possible|que|qu'|je répète|à noter|sinon|(je|nous) (vous\
            |te) rappel(le|ons) que|@)(?![\wàâçéèêëîïôûü])[,:!.\s–-]*|\w+ (dit|a dit|pense|propose\
            |rappelle|signale|demande|précise|indique|note) (que |qu')
    """,
    joints=r"""
        \s*([;–—]|->|→)\s*|\s-\s|,?\s(et|puis|mais)\s(aussi\s|ensuite\s)?|,\s(puis\s|donc\s)?|\s?:\s\
            |\s\(|\)\s?
    """,
    requests=r"""
        ((vous |te )?serait-il|est-il|il serait) possible (de|d'|que (tu|vous)) ?{what}
        je (passe|viens|repasse|passerai|viendrai)( [a-zéû]+){0,2} (?P<what>(prendre|chercher|récupérer\
            |déposer|rendre|voir|aider|livrer)\b.*)
        (est-ce que (tu|vous) (peux|pourrais|pouvez|pourriez|veux)|peux|pourrais|veux|pouvez|pourriez\
            |voulez|pourrais|voudrais|voudriez)-?\s?(tu|vous)( bien| aussi| me| nous| encore| juste\
            | s'il te plaît| s'il vous plaît| svp| stp| vite| peut-être| également| lui\
            | leur)* (?P<what>.+)
        (est-ce que )?(tu|vous) (peux|pourrais|pouvez|pourriez)( bien| aussi| me| nous| encore| juste\
            | lui| leur)* {work}
        (quelqu'un|l'un de vous|l'un d'entre vous|qui)( (du|de la|des|de|au) [^,;:.!?]{2,30}?)? (peut\
            |pourrait|doit|devrait|peut-il|pourrait-il|devra|doit-il)( me| nous)? {work}
        {who},? (peux-tu|pourrais-tu|pouvez-vous|pourriez-vous|tu peux|tu pourrais\
            |vous pouvez) (?P<what>.+)
        {who}, (tu|vous)( t'| te | vous )? ?{what}
        merci (à {who} )?(de|d'|de bien vouloir|de ne pas oublier de) ?(?P<what>(?!votre|ton|ta|tes|vos\
            |nous avoir|m'avoir|avoir|l'avoir|ton|cette|ce |la |le )\w.+)
        (veuillez|veuille|prière de|priere de|je vous prie de|je te prie de|nous vous prions de\
            |nous vous demandons de|je vous demande de|je te demande de\
            |on vous demande de)( bien vouloir)? (?P<what>(?!agréer|recevoir|excuser|croire|trouver\
            |accepter|noter que)\w.+)
        (n'oublie[sz]?|n'oubliez|ne pas oublier|pas oublier|pense[sz]?|pensez|songez|penser)( bien\
            | aussi| surtout| donc)* (pas )?(de |d'|à |le |la |les |que )(?P<what>(?!toi|vous|moi\
            |nous)\w.+)
        (il|ce) serait (\w+ )?(bien|bon|sympa|gentil|super|souhaitable|utile|préférable|parfait|idéal\
            |chouette) (que|de|si|qu'|d') ?((tu|vous|quelqu'un|on|{who}|(le|la|les|l')\s?\w+) )?{what}
        (assure-toi|assurez-vous|veille|veillez) (que|de|à) {what}
        (j'aimerais|je voudrais|nous aimerions|il faudrait|je souhaite|il est demandé\
            |je demande) (que (tu|vous|chacun|tous)) {what}
        (à faire|todo|to do|action|tâche|à prévoir|prochaine étape|reste à faire)\s*:\s*{what}
        [^,;:.!?]{2,80}? (sont|est|êtes) (priée?s?|invitée?s?|tenue?s?) (de|d'|à) ?{what}
        s'il (te|vous) pla[iî]t,? {what}
        (il faut|il faudrait|faut|il faudra|faudrait|il est (nécessaire|important|indispensable\
            |urgent)) qu(e |')((tu|vous|je|nous|on|il|elle|quelqu'un|chacun|{who}) )?{what}
        (nous|je) vous (remercions|remercie|prions|prie|demandons|demande|serions reconnaissants\
            |saurais gré|invitons|invite) (de|à|par avance de)( bien vouloir)? (?P<what>(?!votre|vos\
            |cette|croire|agréer|recevoir)\w.+)
        il (vous|te|nous|lui) (appartient|incombe|revient|reste) (de|d'|à) ?{what}
        j'attends (?P<what>(tes|vos|ton|votre|ta) \w.+)
        (oublie|oubliez) pas (de |d'|le |la |les )?{what}
        (on cherche|nous cherchons|on recherche|il (nous )?manque( encore)?|il (nous )?faut( encore\
            | toujours)?) (quelqu'un|une personne|un volontaire|des volontaires\
            |des bénévoles)( pour( le| la| les)?| qui)? {what}
        (préviens|prévenez|dis|dites|tiens|tenez)[- ](moi|nous) (?P<what>(si|quand|au courant|avant\
            |par).+)
    """,
    duties=r"""
        (?P<what>(?!(il|elle|on|je|tu|ça|cela|ce|rien|personne|nous|vous)\b){np} (doit|doivent|devra\
            |devront|devrait|devraient) (?!(pas|être (là|présent|content|prêt|malade\
            |fatigué))\b)(\w+ )?(être|faire l'objet).*)
        {names} {must}( aussi| encore| maintenant| absolument| également| d'abord)* ?(?P<what>(?!(pas\
            |plus|rien|bien|mieux)\b){verbs}.*)
        (?P<np>(le|la|les|l'|chaque|tous les) ?[^,;:.!?]{2,40}?) (doit|doivent|devra\
            |devront) (?P<what>(?!(pas|plus|rien|être|avoir)\b){verbs}.*)
        {names} (s'occupe|s'occupent|s'occupera|se charge|se chargent|se chargera|est responsable\
            |est chargée?|a la charge) (?P<what>(de|du|des|d'|de la) ?.+)
        {names} (?P<what>s'en (occupe|charge|occupera|chargera).*)
        {names}( nous| vous| me| te| lui| leur| se| y| en| le| la| les)* (?P<what>(?!(sera|aura|pourra\
            |faudra|saura|voudra|dira|viendra|arrivera)\b){future}\b .+)
        {names} (?P<what>(passera|passe|viendra|vient|ira) (prendre|chercher|récupérer|déposer|rendre\
            |relever|voir|faire)\b.*)
        c'est à (moi|toi|vous|nous|{who}) (de|d') ?{what}
        c'est (moi qui|toi qui|{who} qui) (dois |doit |vais )?(?P<what>(?!suis|ai )\w.+)
        (vous devez|tu dois|vous devrez|tu devras|il faut|il faudra) (?P<what>être (à jeun|à l'heure\
            |présents?|prêts?)\b.*)
        (?P<who>je|nous|on)( dois| devons| doit| vais| allons| va)( aussi| encore| vite| tout de suite\
            | essayer de)* (?P<what>(?!(pas|voir|être|avoir|rester|dormir|bien|croire|dire\
            |penser)\b){verbs}.*)
        (je |j'|j'en |j'y )(m'en|m'|te |t'|vous |l'|le |la |les |lui |leur |en |y )*(?P<what>(occupe\
            |commande|écris|rédige|pose|vois avec|envoie|dépose|contacte|commence|termine|finis|relance\
            |charge|occuperai|chargerai|enverrai|ferai|apporterai|appellerai|passerai|préparerai|irai\
            |\w{3,}(t|d)rai|\w{3,}erai|\w{3,}irai|\w{3,}drai|rappelle|envoie|apporte|prépare|réserve\
            |appelle|passe prendre|passe chercher|prends|fais)\b(?! (bien|pas|très|contente?)\b).*)
        (il faut|il faudra|il faudrait|faut|il nous faut|il est (nécessaire|important|impératif\
            |urgent) de|on doit|nous devons|vous devez|tu dois|vous devrez|tu devras|reste à|il reste à\
            |il te faut)( encore| aussi| absolument| vite| d'abord| donc| bien| que (tu|vous|quelqu'un\
            |chacun|\w+))* (?P<what>(?!pas|dire|voir|avouer|croire|une?|de la|du|des|compter|attendre\
            |être|savoir|rire)\w.+)
        (?P<what>{np} (est|sont|reste|restent) (encore )?à {verbs}.*)
        (?P<what>(?!rien|facile|difficile|quelque chose|beaucoup|prêt|[^,;:!?]*à partir|contente?|prête\
            |[^,;:!?]* à croquer|habitué|de|jusqu)[^,;:!?]{2,60} à {verbs}\b[^,;:!?]*)$
        {names} ?[:–] ?{work}
        (?P<what>{formal}(?![- ](vous|vous bien|soin)\b) .+)
        (?P<what>({familiar})(-(moi|nous|le|la|les|lui|leur|en|y))*\b(?! (bien|le bonjour|la bise\
            |beaucoup|pas)\b) \S.+)
        (?P<what>{verbs}( \S.+))
    """,
    reports=r"""
        (?P<np>(le|la|les|l') ?{a}+( {a}+)?) (?P<what>(?!(sera|seront|aura|auront\
            |pourra)\b){future}\b \S.+)
        {names} (y |en |lui |leur |nous |vous |me |te |se |s'|le |la |les \
            |l')?(?P<what>{present} (?!que\b|qu'|si\b)\S.+)
    """,
    listed=r"(?P<what>(\w+ment )?(ne pas |re)?{verbs}\b.+)",
    more="(aussi |ensuite |à )?(?P<what>({verbs}|{present}) .+)",
    general=r"""
        (disait|dit|raconte|demanda|murmura|cria|prétend|affirme|répétait|soupira)(,| (la|le|mon|ma|son\
            |sa|l'|il|elle|qu)|$)|proverbe|il faut [^.]* en \w+ant\b|tous les jours|plus souvent\
            |essayez|chaque (matin|jour|nuit|soir)|de mon temps|jadis|autrefois|(on|chacun|il) (devrait\
            |doit) (tous|toujours|bien|être)|\bdoit (être|connaître|avoir)\b(?! (remis|rendu|envoy|pay\
            |nettoy|fait|réparé|chang|vid|dé|re))|faut( bien)? (finir|vivre|manger|savoir)
    """,
    openers=r"""
        (?<!\w)(merci de|pourr(ais|iez)-|peux-tu|pouvez-vous|veuillez|il faut|faut que|il faudrait\
            |il faudra|je dois|n'oublie[zs]?|oublie[zs]? pas|pense[zs]? à|nous vous (remercions|prions\
            |demandons)|il serait|ce serait|dis à|dites à|c'est à (?=moi|toi|[A-Z])|quelqu'un|je vais\
            |je (?=\w+rai\b)|il doit|qu'il me|s'il (te|vous))\b|(?<=, ){name}(?= (doit|va|s'occupe)\b)
    """,
    asks=r"""
        (et |bon |alors )?qui (peut |pourrait |veut |va |se charge de \
            |voudrait )?(?P<what>\w[^?]{3,80})\?
    """,
    answers=r"""
        (moi( je (veux bien|peux|m'en occupe))?|je (m'en (occupe|charge)|le fais|veux bien\
            |peux( le faire)?|prends( ça)?|gère|le ferai|m'y colle|vais le faire|l'apporte|les apporte)\
            |j'y (serai|vais)|j'apporte|je m'en occuperai|ça marche|d'accord\
            |c'est bon pour moi)(,? (demain|ce|soir|matin|aujourd'hui|{days}|midi|volontiers|avec\
            |plaisir|dit \w+))*$|{who} (s'en (occupe|charge|occupera|chargera)|le fait|le fera\
            |veut bien|est volontaire|se propose|s'est proposée?)$
    """,
    settled=r"""
        \b(fait(?! (la|le|les|un|une|du|des)\b)|faite|faits|réglée?s?|terminée?s?|finie?s?|déjà\
            |annulée?s?|ne \w+ plus|n'\w+ plus|plus la peine|plus besoin|pas la peine|pas nécessaire\
            |pas besoin|inutile|aucune? (démarche|action|besoin)|hier|avant-hier|la semaine dernière\
            |le mois dernier|l'an dernier|l'année dernière|a été|ont été|avait|avaient|devait|devaient\
            |devais|fallait|fallu|plus rien|rien à|était|étaient|voulait|commandée?s?|payée?s?\
            |imprimée?s?|réparée?s?|résolue?s?|reportée? sine die|refusée?|rejetée?|personne|ne (le \
            |la |l')?\w+ pas|n'\w+ pas|ne pourr\w+|ne peu\w+|il y a \w+ (jours|semaines|mois|ans)\
            |c'est bon|j'ai|on a|nous avons|vous avez dû|on me l'a|laisse tomber|oublie ce que\
            |tombe à l'eau|abandonnée?s?|supprimée?s?|s'est|se sont)\b|✓|✔|☑|✅
    """,
    unreal=r"""
        \b(peut-être|éventuellement|un jour|probablement|sans doute|aurait|auraient|aurais|serait\
            |seraient|pourrait(?!-)|on pourrait|si (on|je|j'|nous|seulement)|idée|rêve\w*|imagine\
            |je me demande|on s'est demandé|apparemment|il paraît|hésit\w+|bientôt peut-être|pas sûre?\
            |j'espère|espérons|roman|recette|film|blague|chanson|par exemple|souhait|envie de\
            |à discuter|en débat)\b
    """,
    states=r"\b(est|sont|était|a|ont|va|vont|repris|réfléchit|clé)\b",
    events=r"""
        \b(réunion|rencontre|rendez-vous|rdv|assemblée|conseil|comité|séance|atelier|formation|cours\
            |stage|conférence|congrès|séminaire|colloque|fête|anniversaire|mariage|baptême|concert\
            |spectacle|générale|répétition|première|représentation|exposition|vernissage|inauguration\
            |ouverture|fermeture|lancement|démarrage|livraison|départ|arrivée|vol|train|voyage|sortie\
            |visite|inspection|contrôle|audit|examen|épreuve|concours|entretien|appel|audience|élection\
            |vote|vide-grenier|brocante|marché|foire|salon|festival|kermesse|repas|dîner|déjeuner\
            |petit-déjeuner|apéro|apéritif|barbecue|pique-nique|soirée|match|tournoi|course|randonnée\
            |rentrée|déménagement|emménagement|travaux|coupure|maintenance|migration|mise en service\
            |état des lieux|remise|signature|dépôt|échéance|vaccination|vaccin|dentiste|médecin\
            |vétérinaire|opération|consultation|exercice|alerte|inventaire|soldes|collecte|nettoyage\
            |journée|porte ouverte|portes ouvertes|démo|présentation|revue|point|bilan|kick-?off\
            |webinaire|lecture|cérémonie|obsèques|enterrement|messe|stand|garde|rdv|plombier|technicien\
            |ramonage|relevé|soutenance|oral)s?\b
    """,
    happens=r"""
        \b(aura|auront) lieu|\ba lieu|\bse tient|\bse tiendra|\best prévue?|\bsont prévue?s\
            |\best fixée?|\bcommence\w*|\bdébute\w*|\bdémarre\w*|\bouvr\w+|\bferme\b|\bfermée?s?\b\
            |\bfermera|\barrive\w*|\bvient\b|\bviendra|\bviennent|\bpasse\b|\bpassera|\bpart\b\
            |\bpartons|\bpartira|\bdécolle|\brentre\w*|\brevient|\bse réunit|\bnous réunissons\
            |\bon se (voit|retrouve|réunit)|\bnous (nous )?(voyons|retrouvons)|\bse déroule\w*\
            |\bnous (?!devons|avons|sommes|vous|vou)\w+ons\b|\bfixée?s?\b|\brenvoyée|\bparution\
            |\biront\b|\bira\b|\bcomplet\b|\bfête\w*|\bse marie\w*|\bexpire|\bse termine|\bprend fin\
            |\bsera livrée?|\bsera\b|\bseront\b|\binvit\w+|\bc'est\b|\best (le|à|programmée?)
    """,
    absent=r"\b(pas de |pas d'|plus de |plus d'|aucune? )(?!problème|souci|doute)\w",
    decisions=r"""
        (décisions?|décidé|conclusion|résolution|accord|résultat|arrêté|validé|(adopté|approuvé\
            |voté)( à l'unanimité)?)\s*:\s*{what}
        (?P<what>[^:]{4,100}), (c'est (tranché|décidé|acté|entendu|voté|convenu|adopté|validé)|(adopté\
            |accepté|approuvé|voté|validé)e?s?|décision (prise|adoptée)|ainsi décidé)
        ([^,;:]{0,40}\b)?(on|nous|le conseil|le comité|le bureau|l'équipe|l'assemblée|le groupe\
            |les membres|tous|il)\b (a|avons|ont|est|était|fut)( été| unanimement| finalement| tous\
            | donc)* (décidé|convenu|acté|voté|approuvé|choisi|opté|arrêté\
            |retenu) ?(à l'unanimité )?(que |qu'|de |d'|pour |la |le |les )?{what}
        (il est|a été) (décidé|convenu|acté) (que |de |d'|qu')(?P<what>.+)
        (on|nous) (reste|restons|garde|gardons) (?P<what>.+)
        (?P<what>(à partir de|à partir d'|à compter de|à compter d'|à compter du|dès) ?(maintenant\
            |{days}|\w+ prochain|\d+ \w+|\w+),? .+)
    """,
    facts=r"""
        \b(numéro|n°|code|mot de passe|wi-?fi|iban|référence|réf|taille|pointure|adresse|téléphone|tél\
            |compte|identifiant|login|série|digicode|combinaison|plaque|immatriculation|dossier|siret\
            |relevé|caution|tarif|prix|emplacement|stand|place|salle|porte|bureau|numéro de dossier\
            |casier)\b[^.!?]{0,40}?(\best\b|\bsont\b|\bporte\b|\s?:|=)\s?[^.!?]*?(\d|"|«|[A-Z]{2})\
            |\b(clés?|compteur|vanne|disjoncteur|dossiers?|classeur|papiers|double|échelle|outils\
            |notice|passeport|trousse)\b.{0,30}? (est|sont|se trouve|se trouvent|reste\
            |restent) .{0,15}?\b(dans|sur|sous|derrière|chez|au|à côté|près)\b\
            |[^:]{3,30} : clés?\b.*\b(dans|sous|chez)\b|^(propriétaire|fournisseur|contact|médecin\
            |gardien|gardienne|assurance|notaire)\b.{0,30} ?: |compris dans le prix|(est\
            |sont) (interdite?s?|pas (autorisée?s?|admis\w*))|peu(t|vent) être (gardé|conservé|retiré)\
            |valables? jusqu|allergique|garantie? jusqu
    """,
    places=r"\w+\W+\w+\W+\w+",
    projects=r"""
        \b(projet|initiative|programme|chantier|campagne|opération\
            |action)s?\b( (?-i:[a-zàâçéèêëîïôûü']+)){0,4} ?[«“"] ?(?P<name>[^»”"]{2,60}?) ?[»”"]
        \b(projet|initiative|programme|opération) (?P<name>{A}[\w’'-]+( (de |du \
            |des )?(?-i:[A-ZÀÂÇÉÈÊÎÔÛ0-9])[\w’'-]*){0,3})
    """,
    comments=r"""
        (commentaire|remarque|note|message)( de| d'| par) ?(?P<who>[^:]{1,40}?)\s?:\s*(?P<what>.+)
        (pour|sur|concernant|à propos de|au sujet de|rapport à|côté) (la |le |l'\
            |les )?[^:,–]{0,30}(tâche|ticket|carte|demande|fiche)[^:,–]{0,60}\s?[:,–-]\s*{rest}
    """,
    tickets=r"#\d+|(ticket|demande|incident|anomalie|dossier|bug|signalement|intervention)\b.{0,6}\d",
    urgent=r"""
        \burgente?s?\b|\burgence\b|\bau plus vite\b|\bimmédiatement\b|\btout de suite\b\
            |\bdès que possible\b|\bsans délai\b|\bprioritaire\b|\basap\b|!!
    """,
    minutes=r"""
        \b(compte[- ]rendu|réunion|conseil|comité|présents?|ordre du jour|procès-verbal|pv\
            |point hebdo\w*|hebdo|assemblée|atelier|bureau|association|séance|bilan|syndical|appel avec\
            |entretien avec|équipe)\b
    """,
    to_do=r"""
        ^\W*(à faire|tâches|actions?|prochaines étapes|reste à faire|ce qui reste|courses\
            |liste de courses|à acheter|à prévoir|à régler|todo|check-?list|pense-bête|avant (le|la|les\
            |de) .{2,30}|.*\bqui fait quoi|.* - ce qui reste|.* à faire)\W*$
    """,
    finished=r"^\W*(faits?|terminés?|déjà fait|réglé|clos)\W*$",
    decided=r"^\W*(décisions?)\W*$",
    talk=r"""
        ^\W*(ordre du jour|sujets?|idées?|questions?|questions ouvertes|participants|présents|excusés\
            |discussion|un jour|peut-être|envies|ingrédients|menu|résumé|nouvelles|contexte|annulé)\W*$
    """,
    rewrites=(
        (
            r"((le|la|les|l') ?)?(?P<np>[^,;:]{2,60}?) (doit|doivent|devra|devront|est à|sont à) être "
            r"(\w+ment )?(?P<stem>\w+?)ée?s?( .*)?",
            r"\g<stem>er \g<np>",
        ),
        (
            r"(?P<np>.+?) (est|sont|sera|seront)? ?(fixée?s?|prévue?s?|programmée?s?|confirmée?s?|"
            r"renvoyée?s?)( au| pour| le)?",
            r"\g<np>",
        ),
        (
            r"(?!{ends_in_re} )(?P<stem>{a}+)(e|es|ez|era|erai) "
            r"(?P<rest>(le |la |les |l'|un |une |des |son |sa |ses ).*)",
            r"\g<stem>er \g<rest>",
        ),
    ),
    labels=either("""
        {days} assigné ouvert responsable signalé demandeur de à cc objet date envoyé présents? excusés?
        participants? lieu heure quand où qui quoi pourquoi note notes ps re tr fw décisions? action
        actions tâche rappel échéance sujet ordre prochaine prochain demain hier total prix tél
        téléphone mail e-?mail adresse code wifi numéro attention astuce statut priorité projet résumé
        exemple résultat objectif question réponse idée urgent important pour sur
    """),
    anyone=either("tout tous toutes chacun chaque quelqu'un tu vous nous on ils elles"),
    me="je|j'|nous|on|moi",
    articles="(le|la|les|un|une|notre) |l'",
    pronoun_subjects="il elle ce c'est cela ça ils elles",
    spanning=r"""
        {names} (a|ont|s'est|se sont) (accepté|promis|proposé|proposée?s?|engagée?s?|offert\
            |été chargée?s?|été prié\w*|été désignée?s?|portée? volontaire)( de| d'| à| pour)? ?{work}
        (?P<np>(les|tous les|toutes les|chaque) [^,;:.!?]{2,40}?) (sont|est) (priée?s?|invitée?s?\
            |tenue?s?|appelée?s?) (de|à|d') ?{work}
        (j'aurais besoin|j'ai besoin|nous avons besoin|on a besoin|il (me|nous) (faut\
            |faudrait))( encore)? (de |des |d'|du |que )?{what}
        (?P<what>(le|la|les|l') ?[^,;:.!?]{2,40}? (est|sont) (confiée?s?|attribuée?s?|assurée?s?) (à\
            |par)) {who}
        (rappelle-toi|rappelez-vous|souviens-toi|souvenez-vous) (de |d'){what}
        j'ai promis (à \w+ )?(de |d'){what}
        responsable (de |du |des |de la )?(?P<what>[^:]{2,40})\s?: ?{who}
    """,
    addressed=r"""
        (?P<what>{future}\b .+)
        (tu|vous)( t'| te| vous| nous)? ?(?P<what>(?!es |êtes|as |avez|sais|savez)\w.+)
    """,
    gapped=r"{who} (?P<what>(du|de la|des|de l'|d') ?[^,;:.!?]+)\W*$",
    finite="{future}",
    base_endings="era=er ira=ir dra=dre ttra=ttre",
    pronouns=r"""
        (s'en (occupe|charge|occupera|chargera)|(me |m'en |m')?(en )?(occupe|charge)\b|(le|la|les\
            |l') ?{verbs}$|(faire|fait)$).{0,30}$
    """,
    edges=r"""
        \b(avant|d'ici|pour|à|en|vers|jusqu'à)? ?(la |le )?(fin|début|milieu) (de |du |d'|de la \
            |de l')(ce |cette |la |le |l')?(semaine|mois|année|trimestre|{days})( prochaine?)?
    """,
    undated=r"\b(une?|des|aucune?) \w+ de week-?end\b",
    dated=either("""
        {days} aujourd'hui demain après-demain week-?end jours? semaines? mois années? soir matin midi
        fin trimestre
    """),
)
