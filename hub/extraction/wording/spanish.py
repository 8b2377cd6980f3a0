# ruff: noqa: RUF001 - letters of other alphabets
"""Spanish words of requests, duties, plans and decisions."""

from typing import Final

from hub.extraction.wording.lexicon import Lexicon, either

_INFINITIVE: Final = (
    r"(?i:\b(?!(?:omar|oscar|óscar|javier|edgar|césar|xavier|víctor|héctor|ayer|mujer|lugar|"
    r"hogar|mar|bar|azar|militar|familiar|escolar|popular|similar|regular|particular|ejemplar|"
    r"auxiliar|titular|celular|placer|alquiler|taller|chófer|poder|deber|par|collar|dólar|pilar|"
    r"paladar|pesar|haber|ser|estar|tener|ir)\b)[a-záéíóúüñ]{2,}(?:ar|er|ir|ír)(?:se|me|te|nos|"
    r"os|lo|la|los|las|le|les|selo|sela|melo|mela)?\b)"
)
_PRESENT_VERBS: Final = """
abre acaba acepta acompaña actualiza acuerda adapta adelanta adjunta agenda ajusta alquila amplía
analiza anota anuncia apaga aparta apunta archiva arregla asegura asigna asiste avisa ayuda baja barre
borra busca calcula cambia cancela carga cierra cita cobra coge coloca compara completa compra comprueba
comunica concreta confirma consigue consulta contacta contesta continúa contrata controla convoca
coordina copia corrige corta cose crea cubre cuelga cuida decide decora define deja desarrolla descarga
devuelve dibuja diseña distribuye edita elabora elige elimina empaqueta encarga encola encuentra enseña
ensaya entrega envía escanea escribe espera estudia evalúa examina explica facilita factura fija firma
fotocopia fríe gestiona graba guarda habla hace hornea imprime incluye informa inscribe instala
investiga invita lava lee limpia llama lleva localiza manda mantiene mide mira modifica monta mueve
negocia nombra notifica numera ordena organiza paga pasa pega pide pinta plancha planifica planta pone
prepara presenta presupuesta prueba programa propone publica quita recibe recicla recoge recorta
recuerda redacta reenvía registra reparte repasa repone repasa reserva resuelve revisa riega rellena
renueva repara responde retira reúne saca selecciona siembra solicita solventa sube supervisa sustituye
tiende tira traduce trae tramita transfiere traslada ultima valida vende verifica viene visita vuelve
se_encarga se_ocupa se_hace_cargo da_de_baja da_de_alta echa
"""
_KNOWN: Final = "|".join(_PRESENT_VERBS.split()).replace("_", " ")
_PRESENT: Final = (  # a known verb, or a word that may be one before an object
    rf"(?:{_KNOWN}|(?!(?:que|ante|entre|sobre|desde|para|contra|hasta|está|esta|este|era|cuesta|"
    rf"gana|ama|odia|vive|sabe|"
    r"dice|cree|cuenta|recita|grita|canta|come|bebe|pierde|parece|sigue|tiene|quiere|espera|"
    r"asegura|explica|tuviera|hubiera|fuera|promete|adora|baila|mira)\b)[a-záéíóúüñ]{2,}(?:a|e|"
    r"an|en)(?= (?:el|la|los|las|un|una|unos|unas|su|sus|al|a la|a los|dos|tres|cuatro|cinco|"
    r"diez|veinte)))"
)
_FUTURE: Final = (
    r"(?!(?:será|estará|habrá|podrá|tendrá|sabrá|querrá|irá|dirá)\b)[a-záéíóúüñ]{2,}(?:ará|"
    r"erá|irá|drá|arán|erán|irán|drán)\b"
)
_IRREGULAR_FORMS: Final = """
hace=haga trae=traiga pone=ponga viene=venga propone=proponga repone=reponga mantiene=mantenga
traduce=traduzca consigue=consiga recoge=recoja coge=coja elige=elija distribuye=distribuya
"""
_IRREGULAR: Final = dict(pair.split("=") for pair in _IRREGULAR_FORMS.split())


def _formal(verb: str) -> str:
    """Return the imperative of politeness of a verb in the present tense."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if verb.endswith("a"):
        stem = verb[:-1]
        return {"c": f"{stem[:-1]}qu", "g": f"{stem}u", "z": f"{stem[:-1]}c"}.get(stem[-1], stem) + "e"
    return verb[:-1] + "a"


_CLITIC: Final = r"(?:me|nos|te|lo|la|los|las|le|les|se|melo|mela|noslo|nosla|selo|sela)?"
_FORMAL: Final = (
    rf"\b(?:(?:{'|'.join(_formal(verb) for verb in _PRESENT_VERBS.split() if '_' not in verb)}|"
    rf"diga|dé|vaya|siga|salga|tenga|tome|acuda|diríja|inscríba|pónga|asegúre|use|utilice|abone|"
    rf"rogamo)n?{_CLITIC})\b"
)
_FAMILIAR: Final = (
    rf"\b(?:(?:{'|'.join(verb for verb in _PRESENT_VERBS.split() if '_' not in verb)}|añade|di|"
    rf"haz|pon|sal|ten|ven|ve|acuérda|acorda|recuérda|asegúra|encárga|apunta){_CLITIC}|"
    rf"(?!(?:informe|uniforme|conforme|firme|enorme|dame\w+)\b)"
    r"[a-záéíóúüñ]{2,}(?:[aáeéií]me|[áéí]nos)(?:lo|la|los|las)?|(?!(?:fáciles|difíciles|ángeles|"
    r"árboles|débiles|útiles|inútiles|móviles|múltiples|dóciles|cárceles|también)\b)"
    r"[a-z]{0,6}[áéíóú][a-z]{1,5}(?:le|les|lo|la|los|las)|no olvides)\b"
)
_PLURAL: Final = (
    r"\b(?!(?:verdad|ciudad|edad|mitad|libertad|realidad|cantidad|calidad|unidad|actividad|"
    r"comunidad|seguridad|navidad|universidad|sociedad|enfermedad|amistad|dificultad|"
    r"oportunidad|facultad|posibilidad|salud|actitud|virtud|solicitud|juventud|red|pared|usted|"
    r"césped|huésped|sed|sud|david|madrid|felicidad|novedad|publicidad|electricidad|humedad|"
    r"localidad|velocidad|responsabilidad|necesidad|propiedad|autoridad|entidad|capacidad|"
    r"gravedad|maldad|bondad|soledad|piedad|voluntad|tempestad)\b)[a-záéíóúüñ]{2,}(?:ad|ed|id)"
    r"(?:me|nos|lo|la|los|las|le|les)?\b"
)
_NP: Final = r"[^\s,;:.!?()¿¡][^,;:!?()¿¡]{0,60}?"
_MUST: Final = (
    r"(?:tiene que|tienen que|debe|deben|debería|deberían|deberá|deberán|ha de|han de|va a|van "
    r"a|necesita|necesitan|tendrá que|tendrán que|se compromete a|se ofrece a|se ha ofrecido a|"
    r"prometió|promete|queda en|quedó en|está encargad[oa] de|quiere)"
)

SPANISH: Final = Lexicon(
    code="es",
    letters=r"[ñ¿¡áíóú]|(?:ción|mente|amos|emos|ando|iendo|adas?|ados?)\b",
    common=(
        "tiene tienen tienes tengo tenemos puedes puede podrías pueden hay antes después mañana "
        "lunes martes miércoles jueves viernes sábado dónde quién cuándo qué cómo así el la los "
        "las un una unos unas de del y en que es son no se por con para su sus al lo como más pero "
        "ya muy si hay está están fue ha han mi tu te me nos os le les este esta esto eso ese esa "
        "aquí hoy cuando donde quien qué todo todos porque sin sobre hasta desde también o ni a "
        "hola gracias"
    ),
    no_names=(
        "el la los las un una unos unas de del y en que es no se por con para su sus al lo como "
        "más pero ya muy si hay está fue mi tu te me nos os le les este esta esto eso ese esa aquí "
        "hoy ayer mañana cuando donde dónde quien quién qué cómo cuándo cuánto todo todos todas "
        "nadie nada alguien algo cada ninguno hola gracias querido querida estimado estimada "
        "buenos buenas lunes martes miércoles jueves viernes sábado domingo enero febrero marzo "
        "abril mayo junio julio agosto septiembre octubre noviembre diciembre próximo próxima "
        "último última primero primera segundo reunión acta nota tema asunto proyecto decisión "
        "acuerdo recordatorio después luego entonces además también así pues vale bueno bien sí "
        "antes durante desde hasta según sin sobre tras saludos abrazo beso besos atentamente él "
        "ella ellos ellas nosotros usted ustedes yo tú vosotros falta queda pendiente faltan "
        "quedan solo sólo quizá quizás tal ojalá creo dos tres cuatro cinco nuestro nuestra "
        "vuestro vuestra otro otra otros mucho mucha lástima"
    ),
    name=(
        r"(?:(?:Sra?\.|Srta\.|Dra?\.|Don|Doña|D\.|Dña\.|el señor|la señora|Tío|Tía|(?:[Ee]l |[Ll]a "
        r")?[Aa]buel[oa]|Mamá|Papá) )?[A-ZÁÉÍÓÚÑ][\wáéíóúüñ-]+(?: (?:de|del|la|[A-ZÁÉÍÓÚÑ]"
        r"[\wáéíóúüñ-]+)){0,2}"
    ),
    verbs=_INFINITIVE,
    present=rf"\b(?:{_PRESENT})\b",
    inserted=r"(?i:,\s*por favor,)",
    fillers=r"(?i:\bpor favor\b,?|\bporfa(?:vor|s)?\b,?|\bpor cierto\b)",
    leads=(
        r"(?i:(?:y|pero|entonces|pues|luego|también|después|ok|vale|bueno|bien|sí|primero|segundo|"
        r"por último|finalmente|por cierto|pd|p\.d\.|como acordamos|como quedamos|otra cosa|una "
        r"cosa más|recordatorio|recuerdo que|os recuerdo que|te recuerdo que|recordad que|"
        r"importante|urgente|atención|ojo|hasta entonces|mientras tanto|antes de eso|antes de ello|"
        r"por eso|por tanto|además|por favor|porfa|hola|perdona|si puedes|si es posible|cuando "
        r"puedas|en cuanto puedas|que(?! (?-i:[A-ZÁÉÍÓÚÑ]))|insisto|de nuevo|aviso|lo que sí falta|"
        r"venga|@)(?![\wáéíóúüñ])[,:!.\s–-]*)|\w+ (?:dice|dijo|piensa|propone|recuerda|pide|comenta|"
        r"comentó|avisa|informa|señala|insiste en) que |(?i:(?:la|el|las|los) (?:\w+ "
        r"){1,4}(?:recuerda|recuerdan|pide|insiste en|avisa) que )|[Ss]egún [A-ZÁÉÍÓÚÑ]\w+, "
    ),
    joints=(
        r"(?i:\s*(?:[;–—]|->|→)\s+|\s-\s|,?\s(?:y|e|pero)\s(?:también\s|luego\s|después\s)?|"
        r",\s(?:y\s|así que\s|luego\s)?|:\s|\s\(|\)\s?)"
    ),
    requests=(
        r"(?i:¿?\s*(?:sería|es|habría) (?:posible|forma de|manera de) (?:que )?(?P<what>\w.+))",
        r"(?i:busca (?:a )?(?:\w+ ){1,3}(?:para|que) (?P<what>\w.+))",
        r"(?i:(?:pide|ha pedido|pidió|exige|solicita) (?:a todos )?que (?P<what>(?!no )\w.+))",
        (
            r"(?i:(?:nos|me) faltan?(?: aún| todavía| también)* (?P<what>(?:su|sus|tu|"
            r"tus|vuestr\w+) \w.+))"
        ),
        (
            r"(?P<who>{name}) (?i:(?:nos|me|os|te) debe)(?: aún| todavía)? (?P<what>(?:el|la|"
            r"los|las|un|una|su|sus) .+)"
        ),
        r"(?i:(?:buscamos|se buscan?|necesitamos) (?:\w+ ){1,2}(?:para|que) (?P<what>(?!nada)\w.+))",
        (
            r"(?i:¿?\s*(?:me|nos|le|les) (?P<what>(?:\w+áis|\w+éis|\w{3,}[ae]s) (?:el|la|los|"
            r"las|un|una|tu|vuestr\w)\b[^?]+)(?=\?))"
        ),
        r"(?i:¿?\s*alguien (?:me |nos |le |lo |la |les )(?:puede|podría|quiere) (?P<what>{verbs}.*))",
        r"(?i:(?:me )?paso (?:yo )?(?:a )?(?:por|a buscar|a recoger) (?P<what>\w.+))",
        (
            r"(?i:que) (?P<who>{name}) (?P<what>(?:me |nos |le |les |lo |la |se )?(?!sea|esté|"
            r"haya|tenga)[a-záéíóúüñ]+(?:a|e|an|en)\b \S.*)"
        ),
        (
            r"(?i:(?:dile|decile|dígale|pídele|recuérdale|avisa|avísale|di|pide) a "
            r"(?:(?-i:(?P<who>{name}))|\w+(?: \w+)?) (?:que|de) (?P<what>\w.+))"
        ),
        (
            r"(?i:(?:no dejes|no dejéis|no deje|no dejen|no te olvides|no se olviden|que no se "
            r"(?:me|te|nos) (?:olvide|pase)) (?:de )?(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:tú|usted|vosotros|ustedes)\s+(?:si puedes )?(?P<what>(?!eres|estás|sabes|"
            r"tienes|dices|que)[a-záéíóúüñ]+\b \S.*))"
        ),
        (
            r"(?i:(?:alguien|uno de (?:nosotros|vosotros|ustedes)|cada (?:uno|una|cual|\w+)|todo el "
            r"mundo|todos) (?:tiene que|tienen que|debe|deben|debería|deberían|tendría que|podría|ha de)"
            r" (?P<what>{verbs}.*))"
        ),
        (
            r"(?i:(?:haría falta|hace falta|harían falta|convendría|conviene|se necesita|se precisa|"
            r"falta|faltaría|estaría bien|(?:es|sería|resulta) (?:\w+ )?(?:necesario|imprescindible|"
            r"fundamental|esencial|importante|urgente|preciso|bueno|mejor|genial|conveniente|ideal|"
            r"deseable)|pedimos a \w+(?: \w+)?|les? recordamos|os recuerdo|recordamos) que "
            r"(?:(?-i:(?P<who>{name}))|alguien|cada \w+|tú|usted|deben|debéis|tienen que|tenéis que)? "
            r"?(?P<what>(?!no |ya |hay |hagas? nada)\w.+))"
        ),
        (
            r"(?i:(?:alguien|alguno|alguna) (?:de|del|en) [^,;:.!?]{2,30}? (?:debe|debería|tiene "
            r"que|tendría que|podría|puede) (?P<what>{verbs}.*))"
        ),
        (
            r"(?i:(?:agradecemos|agradezco|agradecería|esperamos|espero) (?P<what>(?:vuestr|su|tu|las |"
            r"los )\w* ?(?:comentarios|respuesta|observaciones|opinión|confirmación|aportaciones)\b.*))"
        ),
        (
            r"(?i:(?:quien(?:es)?|los que|las que|el que|la que) [^,;:.!?]{2,60}? (?:debe|deben|"
            r"deberá|deberán|tiene que|tienen que) (?P<what>{verbs}.*))"
        ),
        (
            r"(?P<who>{name}) (?i:pasará|pasa|vendrá|viene|irá|va) (?i:a |por )?(?P<what>(?i:recoger|"
            r"buscar|llevar|entregar|dejar|retirar|revisar|arreglar|firmar|medir)\b.*)"
        ),
        r"(?i:se (?:buscan?|necesitan?|precisan?) (?P<what>(?!que )\w[^:]+))",
        (
            r"(?i:¿?\s*(?:me |nos |le |les |lo |la )?(?:puedes|podrías|puede|podría|podéis|podríais|"
            r"pueden|podrían|quieres|querrías|te importa|os importa|te importaría|os importaría|le "
            r"importaría)(?: por favor| tú| usted| alguien| también| ya| al menos)* (?P<what>{verbs}.*))"
        ),
        r"(?i:¿?\s*(?:alguien|alguno) (?:puede|podría|se anima a|se encarga de) (?P<what>{verbs}.*))",
        r"(?:¿ ?)?(?P<who>{name}),? ¿?(?i:puedes|podrías|te encargas de|puede|podría) (?P<what>.+)",
        r"(?i:(?:por favor|porfa),? (?P<what>(?!no |disculp|perdon|acepte)\w.+))",
        (
            r"(?i:(?:no (?:te )?olvides|no (?:os )?olvidéis|no (?:se )?olvide|no olvidar|no olvidemos|"
            r"acuérdate|acordaos|acuérdese|recuerda|recordad|recuerde|recordar)(?: de| que)? "
            r"(?P<what>(?!que (?:el|la|los|las|hay|no))\w.+))"
        ),
        (
            r"(?i:(?:os|te|le|les|se) (?:pido|pedimos|ruego|rogamos|ruega|pide|agradecería|agradecemos|"
            r"agradezco|solicita|recuerda)(?: por favor)? (?:que |a todos que )?(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:rogamos|agradeceríamos|agradeceré|agradecería|necesito|necesitamos|quiero|queremos|"
            r"me gustaría|nos gustaría|sería (?:bueno|genial|estupendo|conveniente)|conviene|hace falta|"
            r"pido|pedimos) que (?P<what>(?!no )\w.+))"
        ),
        r"(?i:(?:asegúrate|aseguraos|asegúrese) de (?:que )?(?P<what>\w.+))",
        (
            r"(?i:(?:por hacer|pendientes?|tarea|todo|to do|acción|queda pendiente|"
            r"próximos? pasos?|falta|faltan)\s*:\s*(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:favor de|se ruega|se solicita|se pide|haced el favor de|haz "
            r"el favor de|haga el favor de) (?P<what>\w.+))"
        ),
        r"(?P<what>[^,;:.!?¿]{4,80}), (?i:por favor)\b",
    ),
    spanning=(
        (
            r"(?P<who>{name}(?:(?:,| y) {name}){0,3}) (?i:se (?:ha|han) (?:ofrecido|comprometido|"
            r"encargado)|(?:ha|han) (?:aceptado|prometido|quedado)|se comprometió|se comprometieron|"
            r"quedó|acepta|aceptó|promete|prometió|se ofrece|se ofreció|se compromete)(?i: a| en| de| "
            r"para)? (?P<what>{verbs}.*)"
        ),
        (
            r"(?i:(?:necesito|necesitamos|me (?:hace|hacen) falta|nos (?:hace|hacen) "
            r"falta)(?: todavía| aún)* (?P<what>(?!ser|estar|saber|que sepas)\w.+))"
        ),
        r"(?i:(?:todavía|aún) (?:necesitamos|necesito|nos falta) (?P<what>\w.+))",
        r"(?i:(?:que) (?:cada (?:uno|cual)|todos|alguien) (?P<what>\w.+))",
        r"(?i:a (?-i:(?P<who>{name})) le (?:toca|corresponde) (?P<what>{verbs}.*))",
        (
            r"(?i:(?:es (?:necesario|importante|urgente|preciso)|hace falta|conviene) "
            r"que (?P<what>(?!no )\w.+))"
        ),
        (
            r"(?i:(?:sería|estaría) (?:genial|bien|bueno|estupendo|ideal) (?:que|"
            r"si) (?:alguien|tú|pudieras|pudierais|alguno)? ?(?P<what>\w.+))"
        ),
        r"(?i:(?:me|nos) (?:ha|han) pedido (?:\w+ )?que (?P<what>\w.+))",
        (
            r"(?i:(?:del|de la|de los|de las|de) (?P<what>[^,;:.!?]{2,30}?) se (?:ocupa|"
            r"encarga|encargará|ocupará)) (?P<who>{name})"
        ),
        (
            r"(?P<what>(?i:el|la|los|las) [^,;:.!?]{2,30}? (?i:lo|la|los|las) (?i:hace|"
            r"trae|lleva|compra|prepara|manda|busca|pone|recoge|imprime)) (?P<who>{name})"
        ),
        r"(?i:(?:queda|quedan|está|están) pendientes? (?:de )?(?P<what>(?:{verbs}|\w).+))",
        (
            r"(?i:(?:quedamos|se acordó|acordamos|se acuerda) en? ?que )(?P<who>{name}) "
            r"(?P<what>{present} .+)"
        ),
        (
            r"(?i:(?:pendientes?|acción|tarea|por hacer|próximo paso|falta)\s*:\s*)(?P<who>{name})"
            r" (?P<what>(?:{present}|{verbs}) .+)"
        ),
        r"(?i:(?:responsable|encargad[oa]) (?:de |del )?(?P<what>[^:]{2,40}): ?)(?P<who>{name})",
        r"(?i:prometí (?:a \w+ )?(?:que )?(?P<what>\w.+))",
    ),
    addressed=(
        rf"(?:ya |también |nos |os |le |les |lo |la )?(?P<what>{_FUTURE} .+)",
        r"(?i:¿?(?:te encargas|puedes|podrías|te ocupas|encárgate|ocúpate) ?(?:de )?(?P<what>.+))",
        r"(?i:(?:tú|usted|vosotros) (?P<what>(?!eres|estás|sabes|tienes razón)\w.+))",
        rf"(?P<what>(?i:{_FAMILIAR}|{_FORMAL}|{_PLURAL}).*)",
    ),
    duties=(
        (
            r"(?P<what>[^,;:.!?¿¡]{3,60} (?i:vence|se entregan?|se pagan?|se devuelven?|"
            r"se envían?|caduca) .*)"
        ),
        r"(?i:(?:acordarse|acordarme) de (?P<what>{verbs}.*))",
        (
            rf"(?P<what>(?!(?i:él|ella|nadie|nada|eso|esto|yo|tú)\b){_NP} (?i:tiene que|tienen que|debe|"
            rf"deben|deberá|deberán|ha de|han de|tendrá que|tendrán que) (?i:ser|estar|quedar|llegar|"
            rf"\w+rse\b) ?(?!(?i:bien|aquí|allí|mejor|bueno|posible)\b).*)"
        ),
        (
            rf"(?P<who>{{name}}(?:(?:,| y| e) {{name}}){{0,3}}) (?i:{_MUST})(?i: también| ya| aún| "
            rf"antes)* (?P<what>(?!(?i:no|nada|ser|estar|haber|tener)\b){{verbs}}.*)"
        ),
        (
            r"(?P<np>(?i:el|la|los|las|cada|todos los|todas las) [^,;:.!?]{2,40}?) "
            r"(?i:tiene que|tienen que|debe|deben|deberá|deberán|ha de|tendrá que) "
            r"(?P<what>(?!(?i:no|ser|estar|haber)\b){verbs}.*)"
        ),
        r"(?P<who>{name}) (?P<what>(?:la|lo|las|los) [a-záéíóúüñ]{3,}[ae])\W*$",
        (
            rf"(?P<who>{{name}}(?:(?:,| y| e) {{name}}){{0,3}}),? (?:ya |también |nos |os |le "
            rf"|les |lo |la |se )?(?P<what>{_FUTURE} .+)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| y| e) {name}){0,3}) (?i:queda |está |tiene )?(?i:pendiente) "
            r"(?i:de |por )?(?P<what>\w.+)"
        ),
        (
            r"(?i:se (?:tiene|tienen|debe|deben|ha|han) (?:que |de )?(?P<what>(?!ser|estar)\w+(?:ar|er|"
            r"ir)\b.*))"
        ),
        (
            r"(?i:(?:me |nos |de (?:mi|nuestra) parte )?(?:queda|falta|resta|toca)(?: a mí| a "
            r"ti)? (?P<what>{verbs}.*))"
        ),
        (
            r"(?P<who>{name}(?:(?:,| y| e) {name}){0,3}) (?P<what>(?i:se encarga|se encargará|se "
            r"encargan|se encargarán|se ocupa|se ocupará|se ocupan|se hace cargo|es responsable|está a "
            r"cargo|queda a cargo) (?i:de|del)? ?.+)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| y| e) {name}){0,3}) (?P<what>(?i:(?:lo|la|los|las|se lo|se la) "
            r"(?:hace|trae|lleva|manda|compra|prepara|busca|recoge|envía|mira|encarga)\b).*)"
        ),
        (
            r"(?i:(?:hay que|habrá que|habría que|deberíamos|deberías|deberíais|convendría|tenemos que|"
            r"tengo que|debemos|debo|tienes que|tenéis que|debes|debéis|deberías|necesitamos|necesito|"
            r"es necesario|es preciso|es importante|es urgente|queda por|quedan por|falta por|falta|"
            r"toca|me toca|nos toca|te toca)(?: todavía| aún| también| que| urgentemente| cuanto "
            r"antes)* (?P<what>(?!no |ser|estar|haber|tener|ver si|decir|reconocer|saber|esperar|morir|"
            r"vivir){verbs}.*))"
        ),
        (
            r"(?i:(?:yo )?(?:voy yo a|voy a|vamos a|me comprometo a|prometo|me encargo de|"
            r"me ocupo de|nos encargamos de|quedo en)(?: también| ya)* (?P<what>(?!ser|"
            r"estar|ver|echar de menos|tener|dormir|decir)\w.+))"
        ),
        (
            r"(?i:(?:yo )?(?:te |se |le |lo |la |os |les |los |las |me |nos )*(?P<what>(?:[a-z]{2,}aré|"
            r"[a-z]{2,}eré|[a-z]{2,}iré|haré|pondré|traeré|hago yo|llevo yo|traigo "
            r"yo|mando yo|compro yo|me encargo|me ocupo)\b(?! (?:de menos|contento)).*))"
        ),
        (
            r"(?:(?i:te|le|os|les|lo|la|los|las|se) )*(?P<what>(?i:hago|traigo|llevo|mando|compro|llamo|"
            r"preparo|envío|paso|reviso|recojo|pido|reservo|imprimo|escribo|arreglo|busco|cambio|pago|"
            r"subo|hablo con|miro)\b .+)"
        ),
        rf"(?P<what>{_NP} (?i:está|están|queda|quedan) (?i:pendientes? de|por) {{verbs}}.*)",
        r"(?P<who>{name}(?:(?:,| y| e) {name}){0,3}) ?[:–] ?(?P<what>{verbs}.+)",
        rf"(?P<what>(?i:{_FORMAL})(?! (?:bien|usted bien|con dios)\b) .+)",
        rf"(?P<what>(?i:{_PLURAL}) \S.+)",
        rf"(?P<what>(?i:{_FAMILIAR})(?! (?:que|muy|por fin|de menos)\b) \S.+)",
        r"(?P<what>{verbs}(?: \S.+))",
        r"(?i:(?:el plazo|la fecha límite|fecha límite|plazo)(?: para| de)? (?P<what>.+))",
    ),
    reports=(
        (rf"(?P<np>(?i:el|la|los|las) [a-záéíóúüñ]+(?: [a-záéíóúüñ]+)?) (?P<what>{_FUTURE} \S.+)"),
        (
            r"(?P<who>{name}(?:(?:,| y| e) {name}){0,3}) (?:le |les |lo |la |nos "
            r"|os |se |también |ya )?(?P<what>{present} (?!que\b|de menos\b|muy\b)\S.+)"
        ),
        (
            rf"(?P<np>(?i:el|la|los|las) [^,;:.!?]{{2,30}}?) (?P<what>\b(?:{_KNOWN})\b (?!que\b|"
            rf"de menos\b|muy\b)\S.+)"
        ),
    ),
    listed=(r"(?P<what>(?:\w+mente )?{verbs}\b.+)",),
    more=(rf"(?:también |luego )?(?P<what>(?:{{verbs}}|{{present}}|{_FUTURE}|{_PLURAL}|{_FORMAL}) .+)"),
    gapped=(r"(?P<who>{name}) (?P<what>(?i:de|del|de la|el|la|los|las) ?[^,;:.!?]+)\W*$",),
    general=(
        r"(?i:(?:dijo|decía|dice|asegura|asegur[óa]|añad(?:ía|ió)|cuenta|contaba|gritó|susurró|"
        r"pensó)(?:,)? (?:el|la|mi|ella|él|que|[A-Z])|\b(?:uno|una) debe|cada cual|dicen que|"
        r"\bdeb(?:e|ía|en|ían) de\b|hay que (?:ser|vivir|comer|querer|quererlo|saber|sacar|aprender)"
        r"|todos los días|sigan así|seguid así|podría vivir|hay que [^.]* al \w+[aei]r\b|a diario|"
        r"más a menudo|nadar más|poder parar|probad con|duerme|cada (?:mañana|noche|día)|de "
        r"(?:niños|pequeñas?|jóvenes)|siempre (?:gana|hay)|quien saca|te conviene|no es urgente|el "
        r"que quiera)"
    ),
    openers=(
        r"(?i:(?<!\w)(?:por favor|porfa|podrías|podría|puedes|podéis|tengo que|tenemos que|tienes "
        r"que|hay que|habrá que|no olvides|acuérdate|acordate|recuerda|recordad|dile a|decile a|"
        r"pídele a|me falta|me toca|nos toca|te toca|que se está|lo de|haría falta|hace falta|"
        r"convendría|conviene|es (?:necesario|imprescindible|urgente)|se (?:ruega|necesita|busca)|"
        r"rogamos|le ruego|les recordamos|alguien (?:tiene|debe|que)|tú si|lo de la|las compro|ya "
        r"no hace|de mi parte)\b)|(?<=, ){name}(?=, [a-záéíóú]+(?:ará|erá|irá|drá)\b)"
    ),
    asks=(
        r"(?i:(?:che, |oye, |y )?¿?(?:quién|quien|quiénes) (?:puede |podría |quiere |va a "
        r"|se anima a |se encarga de )?(?P<what>\w[^?]{3,80})\?)"
    ),
    answers=(
        r"(?i:(?:(?:lo|la|los|las) \w+o yo|yo(?: (?:lo|la|los|las|me))?(?: (?:hago|llevo|traigo|"
        r"escribo|encargo|ocupo|voy|puedo|apunto|miro|compro))?(?: (?:yo|de eso|de ello))?|(?:me "
        r"(?:pido|encargo|ocupo|apunto|ofrezco)(?: (?:eso|yo|de eso|de ello))?)|(?:paso|voy|llevo|"
        r"lo hago|lo llevo|lo miro|lo compro|las recojo|cuenta conmigo) ?yo|anotado|lo hago|voy)"
        r"(?:,? (?:mañana|hoy|el|lunes|martes|miércoles|jueves|viernes|sábado|domingo|después|del|"
        r"de|la|laburo|trabajo|tarde|noche|luego|sin falta|por la|yo|con gusto))*$)|(?P<who>{name}) "
        r"(?i:se (?:ofrece|ofreció|encarga|ocupa|apunta|ha ofrecido)|lo (?:hace|hará|trae)|dice que "
        r"sí)(?i: a hacerlo| de ello| de eso)?$|(?i:(?:se ofrece|lo hace|se apunta|se encarga|lo ve|"
        r"la ve|lo lleva) )(?P<by>(?:la señora |el señor )?{name})$"
    ),
    settled=(
        r"(?i:\b(?:hecho|(?<!dejar )hecha|hechos|hechas|listo|lista|terminad[oa]s?|acabad[oa]s?|ya "
        r"(?:no|está|están|ha|han|lo|la|se|tiene|lleg\w+|hab\w+)|cancelad[oa]s?|anulad[oa]s?|no "
        r"(?:hace falta|es necesario|hay que|hay nada|tiene que|tienes que|tenéis que|voy|va a|"
        r"podré|podrá|puedo|puede|podemos|debe|quiere|quiero|se|lo|la|ha|es|tengo)|nada que|ayer|"
        r"anteayer|anoche|la semana pasada|el mes pasado|el año pasado|pasad[oa] (?:lunes|martes|"
        r"miércoles|jueves|viernes|sábado|domingo)|comprad[oa]s?|pagad[oa]s?|encargad[oa]s$|"
        r"arreglad[oa]s?|resuelt[oa]s?|solucionad[oa]s?|rechazad[oa]s?|descartad[oa]s?|nadie|fue|"
        r"fueron|era|eran|iba|iban|tenía|tenían|quería|compraría|había|habían|hace (?:\w+ )?(?:días|"
        r"semanas|meses|años)|olvida lo|olvídate|hemos|he (?!de)|quedamos en que|tuvo|tuvimos|hubo|"
        r"estuvo|vino|llegó|enviamos|hicimos)\b|✓|✔|☑|✅)"
    ),
    goes_on=r"(?i:las? trae|los? trae|se encarga|pendiente)",
    unreal=(
        r"(?i:\b(?:quizás?|tal vez|a lo mejor|algún día|probablemente|seguramente|habría sido|"
        r"hubiera|hubiese|sería bonito|podríamos|se podría|si (?:pudiera|tuviera|fuera|hubiera)|"
        r"ojalá|idea|sueñ\w+|soñ\w+|imagina|me pregunto|al parecer|dicen que|dudo|no sé si|espero|"
        r"esperamos|novela|receta|película|chiste|canción|por ejemplo|ganas de|debate|discutimos|en "
        r"teoría|supuestamente|creo que)\b)"
    ),
    states=r"(?i:\b(?:es|son|está|están|fue|ha|han|era|viene|sale|va)\b)",
    events=(
        r"(?i:\b(?:reunión|junta|asamblea|cita|encuentro|comida|cena|desayuno|almuerzo|merienda|"
        r"fiesta|cumpleaños|boda|bautizo|comunión|concierto|espectáculo|estreno|ensayo|función|obra|"
        r"exposición|inauguración|apertura|cierre|lanzamiento|arranque|inicio|entrega|salida|"
        r"llegada|vuelo|tren|viaje|excursión|visita|inspección|revisión|auditoría|examen|prueba|"
        r"oposición|entrevista|llamada|audiencia|juicio|elecciones|votación|mercadillo|mercado|"
        r"feria|festival|romería|verbena|partido|torneo|carrera|marcha|vacaciones|puente|mudanza|"
        r"obras|corte|mantenimiento|migración|firma|plazo|vacuna|vacunación|dentista|médico|"
        r"doctora?|veterinario|operación|consulta|análisis|simulacro|inventario|recogida|limpieza|"
        r"jornadas?|puertas abiertas|demo|presentación|taller|curso|clase|charla|conferencia|"
        r"congreso|seminario|webinar|lectura|ceremonia|funeral|misa|pleno|sesión|acto|gala|desfile|"
        r"procesión|concurso|sorteo|subasta|rifa|barbacoa|paella|picnic|senderismo|ruta|campamento|"
        r"fontanero|electricista|técnico|itv|tutoría|graduación|kick-?off|retro|sprint|noche|día|"
        r"tarde)s?\b)"
    ),
    happens=(
        r"(?i:\b(?:tendrá lugar|tiene lugar|se celebra|se celebrará|será|serán|es el|es la|es a las|"
        r"es mañana|está prevista?|está previsto|está programad[oa]|empieza|empezará|comienza|"
        r"comenzará|arranca|inicia|abre|abrirá|cierra|cerrará|cerrado|cerrada|llega|llegará|llegan|"
        r"viene|vendrá|vienen|pasa|pasará|sale|saldrá|salimos|parte|aterriza|vuelve|regresa|nos "
        r"reunimos|nos vemos|quedamos|se reúne|se reunirá|se estrena|cumple|se casa|caduca|cortan|"
        r"irán|irá|van|vence|termina|acaba|hay|toca|se inaugura|está invitad[oa]|os invit\w+|será "
        r"el|queda convocad[oa])\b)"
    ),
    articles=r"(?i:(?:el|la|los|las|un|una|nuestr[oa]) )",
    pronoun_subjects="es será está eso esto él ella se",
    decisions=(
        (
            r"(?i:(?P<what>[^:]{4,100}), (?:así )?(?:quedó|queda|se|está|hemos|fue) ?(?:acordado|"
            r"decidido|aprobado|acordó|decidió|aprobó))"
        ),
        r"(?i:(?:aprobad[oa]|acordad[oa]|decidid[oa])(?: por unanimidad)?\s*:\s*(?P<what>\w.+))",
        (
            r"(?i:(?P<what>(?:a partir de|desde) (?:ahora|hoy|mañana|enero|febrero|marzo|abril|"
            r"mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre|\w+ que viene|el "
            r"\d+ de \w+),? .+))"
        ),
        (
            r"(?i:(?:quedamos|hemos quedado|se quedó|acordamos|queda acordado|quedó acordado|"
            r"convenimos) (?:en )?(?:que )?(?P<what>(?!con |a las )\w.+))"
        ),
        (
            r"(?i:(?:decisión|decisiones|acuerdo|acuerdos|acordado|decidido|conclusión|"
            r"resolución|resultado)\s*:\s*(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:[^,;:]{0,40}\b)?(?:se|hemos|nos|la junta|el comité|el equipo|la asamblea|el grupo|"
            r"todos|los socios|la dirección)\b ?(?:ha|han|hemos|fue|queda)?(?: sido| finalmente| por "
            r"unanimidad| también)* ?(?:acuerda|acordó|acordado|acordamos|decide|decidió|decidido|"
            r"decidimos|aprueba(?! el proyecto)|votó|votado|resuelve|resolvió|conviene|opta por|optó "
            r"por) ?(?:por unanimidad )?(?:que |en que |por )?(?P<what>(?!el proyecto)\w.+))"
        ),
        r"(?i:(?:queda|quedó) (?:acordado|decidido|aprobado) (?:que )?(?P<what>.+))",
        r"(?i:(?:nos quedamos con|seguimos con|mantenemos) (?P<what>.+))",
        (
            r"(?i:(?P<what>(?:a partir de|desde) (?:ahora|hoy|enero|el (?:lunes|"
            r"martes|miércoles|jueves|viernes|\d+)),? .+))"
        ),
    ),
    facts=(
        r"(?i:\b(?:número|nº|código|clave|contraseña|wi-?fi|iban|referencia|ref|talla|dirección|"
        r"teléfono|tel|cuenta|usuario|login|pin|serie|matrícula|expediente|nif|dni|cif|combinación|"
        r"fianza|precio|lectura|contador|modelo|cuota|importe|tarifa|puesto|aula|sala|plaza|"
        r"taquilla)\b[^.!?]{0,40}?(?:\bes\b|\bson\b|:|=)\s?[^.!?]*?(?:\d|\"|«|[A-Z]{2})|"
        r"\b(?:llaves?|contador|llave de paso|cuadro|expedientes?|carpeta|papeles|pasaporte|"
        r"escalera|herramientas|manual|botiquín|mando|repuestos?|copia)\b.{0,30}? (?:está|están|"
        r"queda|quedan|cuelga|cuelgan) .{0,15}?\b(?:en|sobre|bajo|detrás|debajo|junto|dentro|encima)"
        r"\b|^(?:caser[oa]|proveedor(?:a)?|contacto|médico|portero|portera|seguro|fontanero|"
        r"dueñ[oa])\b.{0,30}: |incluid[oa]s? en el precio|no se (?:permiten?|admiten?)|puede[n]? "
        r"(?:conservarse|recogerse|guardarse)|(?:está|están) prohibid[oa]s?|al[eé]rgic|garantía "
        r"hasta|válid[oa] hasta|cierra los|abre (?:de|los)|hasta (?:enero|febrero|marzo|abril|mayo|"
        r"junio|julio|agosto|septiembre|octubre|noviembre|diciembre)$)"
    ),
    places=r"\w+\W+\w+\W+\w+",
    projects=(
        (
            r"(?P<name>[A-ZÁÉÍÓÚÑ][\w-]+), (?i:el|la|un|una|nuestro|nuestra) (?i:proyecto|iniciativa|"
            r"programa|campaña)\b"
        ),
        (
            r"\b(?i:proyecto|iniciativa|programa|campaña)s?\b(?: [a-záéíóúüñ]+){0,4} "
            r"?[«“\"] ?(?P<name>[^»”\"]{2,60}?) ?[»”\"]"
        ),
        (
            r"\b(?i:proyecto|iniciativa|programa) (?P<name>[A-ZÁÉÍÓÚÑ][\w-]+(?: "
            r"(?:de |del )?[A-ZÁÉÍÓÚÑ0-9][\w-]*){0,3})"
        ),
    ),
    begins=either(
        "arranc\\w+ empez\\w+ empieza\\w* comienz\\w+ comenz\\w+ inici\\w+ "
        "lanz\\w+ aprob\\w+ aprueb\\w+ contin\\w+ sigue siguen prosigue marcha "
        "acept\\w+ adopt\\w+ retom\\w+ reanud\\w+ ponemos puesta nuevo nueva "
        "visto_bueno financi\\w+ firmad\\w+ acord\\w+ trabaj\\w+ avanza sale"
    ),
    comments=(
        (
            r"(?i:(?:comentario|nota|observación|mensaje|respuesta)(?: de| por)) "
            r"(?P<who>[^:]{1,40}):\s*(?P<what>.+)"
        ),
        (
            r"(?i:(?:sobre|para|en|respecto a|acerca de|en cuanto a|por) (?:la |"
            r"el |lo de la )?[^:,–]{0,30}(?:tarea|ticket|tarjeta|incidencia|aviso|"
            r"petición)[^:,–]{0,60}\s?[:,–-]\s*(?P<what>.+))"
        ),
    ),
    tickets=(
        r"(?i:(?:#\d+|(?:ticket|aviso|incidencia|avería|caso|parte|solicitud|petición|bug)"
        r"\b.{0,6}\d|^(?:sobre|respecto a|en cuanto a) (?:la|el|esta|este) (?:tarea|incidencia|"
        r"tique|ticket)))"
    ),
    urgent=(
        r"(?i:\burgentes?\b|\burgentemente\b|\burge\b|\bcuanto antes\b|\binmediatamente\b|"
        r"\bde inmediato\b|\bahora mismo\b|\blo antes posible\b|\bprioritari[oa]\b|"
        r"\bprioridad alta\b|\basap\b|!!)"
    ),
    deadlines=r"(?i:plazo|fecha|vence|antes|hasta|recordatorio)\b",
    minutes=(
        r"(?i:\b(?:acta|reunión|junta|asamblea|comité|comunidad|asistentes|presentes|"
        r"orden del día|semanal|coordinación|cooperativa|taller|consejo|sesión|"
        r"asociación|llamada con|equipo|claustro|comisión|pleno)\b)"
    ),
    to_do=(
        r"(?i:^\W*(?:por hacer|tareas|pendientes?|acciones|próximos pasos|lista de (?:la )?compra|"
        r"compras?|recados|to-?do|falta|queda por hacer|checklist|antes (?:de|del) .{2,30}|para "
        r"(?:la|el|las|los) .{2,30}|.*\bquién hace qué|.*\bpor hacer|mudanza)\W*$)"
    ),
    finished=r"(?i:^\W*(?:hecho|terminado|completado|ya hecho|cerrado)\W*$)",
    decided=r"(?i:^\W*(?:decisiones|acuerdos)\W*$)",
    talk=(
        r"(?i:^\W*(?:orden del día|temas?|ideas?|preguntas|dudas|asistentes|"
        r"presentes|participantes|debate|algún día|quizás?|deseos|ingredientes|"
        r"menú|resumen|novedades|contexto|cancelado)\W*$)"
    ),
    rewrites=(
        (
            (
                r"(?:(?i:el|la|los|las) )?(?P<np>[^,;:]{2,60}?) (?i:deberá|deberán|debe|deben|tiene "
                r"que|tienen que) (?P<verb>\w+[aeií]r)se(?: .*)?"
            ),
            r"\g<verb> \g<np>",
        ),
        (
            (
                r"(?:(?i:el|la|los|las) )?(?P<np>[^,;:]{2,60}?) (?i:debe|deben|deberá|deberán|tiene "
                r"que|tienen que|ha de|han de) (?i:ser|estar|quedar) (?P<stem>\w+?)ad[oa]s?(?: .*)?"
            ),
            r"\g<stem>ar \g<np>",
        ),
    ),
    labels=either(
        "asignado responsable abierto solicitante de a para cc asunto fecha enviado asistentes "
        "presentes ausentes lugar hora cuándo dónde quién qué nota notas pd rv re decisión "
        "decisiones acuerdo acuerdos tarea tareas recordatorio plazo tema orden próxima próximo "
        "mañana ayer hoy lunes martes miércoles jueves viernes sábado domingo total precio tel "
        "teléfono mail correo dirección clave wifi número atención estado prioridad proyecto "
        "resumen ejemplo resultado objetivo pregunta respuesta idea urgente importante sobre "
        "buenos buenas hola estimad\\w+ querid\\w+"
    ),
    anyone=either("todos todas cada alguien tú usted ustedes vosotros nosotros él ella ellos uno yo"),
    me=r"(?i:yo|nosotros|me|nos)\b",
    finite=_FUTURE,
    base_endings=(("ará", "ar"), ("erá", "er"), ("irá", "ir")),
    pronouns=(
        r"(?i:(?:(?:me|te|se|nos) (?:encarg\w+|ocup\w+)|(?:lo|la|los|las|eso) "
        r"{verbs}|[a-záéíóú]{2,}(?:arlo|erlo|irlo|arla|erla|irla|arlos|arlas|"
        r"erlos|erlas)|(?:lo|la|los|las) \w+)\b.{0,30}$)"
    ),
    edges=(
        r"(?i:\b(?:antes de|para|a|hasta|en|desde) (?:el |la )?(?:finales?|fin|principios?|mediados)"
        r" (?:de |del |de la )(?:este |esta |el |la )?(?:semana|mes|año|trimestre|enero|febrero|"
        r"marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)(?: próximo)?)"
    ),
    dated=either(
        "hoy mañana pasado lunes martes miércoles jueves viernes sábado domingo fin enero febrero "
        "marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre días? semanas? "
        "mes(?:es)? años? tarde noche mediodía finales"
    ),
)
