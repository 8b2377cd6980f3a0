# ruff: noqa: RUF001 - letters of other alphabets
"""Spanish words of requests, duties, plans and decisions."""

from typing import Final

from hub.extraction.when import languages
from hub.extraction.wording.lexicon import Lexicon, either

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
_NP: Final = r"[^\s,;:.!?()¿¡][^,;:!?()¿¡]{0,60}?"

SPANISH: Final = Lexicon(
    code="es",
    weekdays=languages.SPANISH.weekdays,
    months=languages.SPANISH.months,
    letters=r"[ñ¿¡áíóú]|(ción|mente|amos|emos|ando|iendo|adas?|ados?)\b",
    common="""
        tiene tienen tienes tengo tenemos puedes puede podrías pueden hay antes después mañana dónde
        quién cuándo qué cómo así el la los las un una unos unas de del y en que es son no se por con
        para su sus al lo como más pero ya muy si está están fue ha han mi tu te me nos os le les este
        esta esto eso ese esa aquí hoy cuando donde quien todo todos porque sin sobre hasta desde
        también o ni a hola gracias
    """,
    no_names="""
        ayer cuánto todas nadie nada alguien algo cada ninguno querido querida estimado estimada buenos
        buenas próximo próxima último última primero primera segundo reunión acta nota tema asunto
        proyecto decisión acuerdo recordatorio luego entonces además pues vale bueno bien sí durante
        según tras saludos abrazo beso besos atentamente él ella ellos ellas nosotros usted ustedes yo
        tú vosotros falta queda pendiente faltan quedan solo sólo quizá quizás tal ojalá creo dos tres
        cuatro cinco nuestro nuestra vuestro vuestra otro otra otros mucho mucha lástima
    """,
    name=r"""
        (?-i:((Sra?\.|Srta\.|Dra?\.|Don|Doña|D\.|Dña\.|el señor|la señora|Tío|Tía|([Ee]l \
            |[Ll]a )?[Aa]buel[oa]|Mamá|Papá) )?[A-ZÁÉÍÓÚÑ][\w-]+( (de|del|la|[A-ZÁÉÍÓÚÑ][\w-]+)){0,2})
    """,
    verbs=r"""
        \b(?!(omar|oscar|óscar|javier|edgar|césar|xavier|ayer|mujer|lugar|hogar|azar|militar|familiar\
            |escolar|popular|similar|regular|particular|ejemplar|auxiliar|titular|celular|placer\
            |alquiler|taller|chófer|poder|deber|collar|dólar|pilar|paladar|pesar|haber|estar\
            |tener)\b)[a-záéíóúüñ]{2,}(ar|er|ir|ír)(se|me|te|nos|os|lo|la|los|las|le|les|selo|sela|melo\
            |mela)?\b
    """,
    # A known verb, or a word that may be one before an object.
    present=r"""
        (?-i:\b({known}|(?!(que|ante|entre|sobre|desde|para|contra|hasta|está|esta|este|era|cuesta|gana\
            |ama|odia|vive|sabe|dice|cree|cuenta|recita|grita|canta|come|bebe|pierde|parece|sigue|tiene\
            |quiere|espera|asegura|explica|tuviera|hubiera|fuera|promete|adora|baila|mira)\b){a}{2,}(a\
            |e|an|en)(?= (el|la|los|las|un|una|unos|unas|su|sus|al|a la|a los|dos|tres|cuatro|cinco\
            |diez|veinte)))\b)
    """,
    parts={
        "and": ",| y| e",
        "np": r"[^\s,;:.!?()¿¡][^,;:!?()¿¡]{0,60}?",
        "must": r"""
            tiene que|tienen que|debe|deben|debería|deberían|deberá|deberán|ha de|han de|va a|van a\
                |necesita|necesitan|tendrá que|tendrán que|se compromete a|se ofrece a|se ha ofrecido a\
                |prometió|promete|queda en|quedó en|está encargad[oa] de|quiere
        """,
        "known": f"(?-i:{_KNOWN})",
        "future": r"""
            (?-i:(?!(será|estará|habrá|podrá|tendrá|sabrá|querrá|irá|dirá)\b){a}{2,}(ará|erá|irá|drá\
                |arán|erán|irán|drán)\b)
        """,
        "formal": _FORMAL,
        "familiar": _FAMILIAR,
        "plural": r"""
            \b(?!(verdad|ciudad|edad|mitad|libertad|realidad|cantidad|calidad|unidad|actividad\
                |comunidad|seguridad|navidad|universidad|sociedad|enfermedad|amistad|dificultad\
                |oportunidad|facultad|posibilidad|pared|usted|césped|huésped|david|madrid|felicidad\
                |novedad|publicidad|electricidad|humedad|localidad|velocidad|responsabilidad|necesidad\
                |propiedad|autoridad|entidad|capacidad|gravedad|maldad|bondad|soledad|piedad|voluntad\
                |tempestad)\b)\w{2,}(ad|ed|id)(me|nos|lo|la|los|las|le|les)?\b
        """,
    },
    inserted=r",\s*por favor,",
    fillers=r"\bpor favor\b,?|\bporfa(vor|s)?\b,?|\bpor cierto\b",
    leads=r"""
        (y|pero|entonces|pues|luego|también|después|ok|vale|bueno|bien|sí|primero|segundo|por último\
            |finalmente|por cierto|pd|p\.d\.|como acordamos|como quedamos|otra cosa|una cosa más\
            |recordatorio|recuerdo que|os recuerdo que|te recuerdo que|recordad que|importante|urgente\
            |atención|ojo|hasta entonces|mientras tanto|antes de eso|antes de ello|por eso|por tanto\
            |además|por favor|porfa|hola|perdona|si puedes|si es posible|cuando puedas|en cuanto puedas\
            |que(?! {A})|de nuevo|aviso|venga|@)(?![\wáéíóúüñ])[,:!.\s–-]*|\w+ (dice|dijo|piensa\
            |propone|recuerda|pide|comenta|comentó|avisa|informa|señala|insiste en) que |(la|el|las\
            |los) (\w+ ){1,4}(recuerda|recuerdan|pide|insiste en|avisa) que |según {A}\w+,[ ]
    """,
    joints=r"""
        \s*([;–—]|->|→)\s+|\s-\s|,?\s(y|e|pero)\s(también\s|luego\s|después\s)?|,\s(y\s|así que\s\
            |luego\s)?|:\s|\s\(|\)\s?
    """,
    requests=r"""
        ¿?\s*(sería|es|habría) (posible|forma de|manera de) (que )?{what}
        (pide|ha pedido|pidió|exige|solicita) (a todos )?que (?P<what>(?!no )\w.+)
        (buscamos|se buscan?|necesitamos) (\w+ ){1,2}(para|que) (?P<what>(?!nada)\w.+)
        ¿?\s*(me|nos|le|les) (?P<what>(\w+áis|\w+éis|\w{3,}[ae]s) (el|la|los|las|un|una|tu\
            |vuestr\w)\b[^?]+)(?=\?)
        ¿?\s*alguien (me |nos |le |lo |la |les )(puede|podría|quiere) {work}
        que {who} (?P<what>(me |nos |le |les |lo |la |se )?(?!sea|esté|haya|tenga){a}+(a|e|an\
            |en)\b \S.*)
        (dile|decile|dígale|pídele|recuérdale|avisa|avísale|di|pide) a ({who}|\w+( \w+)?) (que\
            |de) {what}
        (no dejes|no dejéis|no deje|no dejen|no te olvides|no se olviden|que no se (me|te|nos) (olvide\
            |pase)) (de )?{what}
        (tú|usted|vosotros|ustedes)\s+(si puedes )?(?P<what>(?!eres|estás|sabes|tienes|dices\
            |que)[a-záéíóúüñ]+\b \S.*)
        (alguien|uno de (nosotros|vosotros|ustedes)|cada (uno|una|cual|\w+)|todo el mundo\
            |todos) (tiene que|tienen que|debe|deben|debería|deberían|tendría que|podría|ha de) {work}
        (haría falta|hace falta|harían falta|convendría|conviene|se necesita|se precisa|falta|faltaría\
            |estaría bien|(es|sería|resulta) (\w+ )?(necesario|imprescindible|fundamental|esencial\
            |importante|urgente|preciso|bueno|mejor|genial|conveniente|ideal|deseable)\
            |pedimos a \w+( \w+)?|les? recordamos|os recuerdo|recordamos) que ({who}|alguien|cada \w+\
            |tú|usted|deben|debéis|tienen que|tenéis que)? ?(?P<what>(?!no |ya |hay |hagas? nada)\w.+)
        (agradecemos|agradezco|agradecería|esperamos|espero) (?P<what>(vuestr|su|tu|las \
            |los )\w* ?(comentarios|respuesta|observaciones|opinión|confirmación|aportaciones)\b.*)
        (quien(es)?|los que|las que|el que|la que) [^,;:.!?]{2,60}? (debe|deben|deberá|deberán\
            |tiene que|tienen que) {work}
        ¿?\s*(me |nos |le |les |lo |la )?(puedes|podrías|puede|podría|podéis|podríais|pueden|podrían\
            |quieres|querrías|te importa|os importa|te importaría|os importaría\
            |le importaría)( por favor| tú| usted| alguien| también| ya| al menos)* {work}
        ¿?\s*(alguien|alguno) (puede|podría|se anima a|se encarga de) {work}
        (¿ ?)?{who},? ¿?(puedes|podrías|te encargas de|puede|podría) (?P<what>.+)
        (por favor|porfa),? (?P<what>(?!no |disculp|perdon|acepte)\w.+)
        (no (te )?olvides|no (os )?olvidéis|no (se )?olvide|no olvidar|no olvidemos|acuérdate|acordaos\
            |acuérdese|recuerda|recordad|recuerde|recordar)( de| que)? (?P<what>(?!que (el|la|los|las\
            |hay|no))\w.+)
        (os|te|le|les|se) (pido|pedimos|ruego|rogamos|ruega|pide|agradecería|agradecemos|agradezco\
            |solicita|recuerda)( por favor)? (que |a todos que )?{what}
        (rogamos|agradeceríamos|agradeceré|agradecería|necesito|necesitamos|quiero|queremos|me gustaría\
            |nos gustaría|sería (bueno|genial|estupendo|conveniente)|conviene|hace falta|pido\
            |pedimos) que (?P<what>(?!no )\w.+)
        (asegúrate|aseguraos|asegúrese) de (que )?{what}
        (por hacer|pendientes?|tarea|todo|to do|acción|queda pendiente|próximos? pasos?|falta\
            |faltan)\s*:\s*{what}
        (favor de|se ruega|se solicita|se pide|haced el favor de|haz el favor de\
            |haga el favor de) {what}
        (?P<what>[^,;:.!?¿]{4,80}), por favor\b
    """,
    spanning=r"""
        {names} (se (ha|han) (ofrecido|comprometido|encargado)|(ha|han) (aceptado|prometido|quedado)\
            |se comprometió|se comprometieron|quedó|acepta|aceptó|promete|prometió|se ofrece|se ofreció\
            |se compromete)( a| en| de| para)? {work}
        (necesito|necesitamos|me (hace|hacen) falta|nos (hace|hacen) falta)( todavía\
            | aún)* (?P<what>(?!ser|estar|saber|que sepas)\w.+)
        a {who} le (toca|corresponde) {work}
        (me|nos) (ha|han) pedido (\w+ )?que {what}
        (del|de la|de los|de las|de) (?P<what>[^,;:.!?]{2,30}?) se (ocupa|encarga|encargará\
            |ocupará) {who}
        (?P<what>(el|la|los|las) [^,;:.!?]{2,30}? (lo|la|los|las) (hace|trae|lleva|compra|prepara|manda\
            |busca|pone|recoge|imprime)) {who}
        (queda|quedan|está|están) pendientes? (de )?(?P<what>({verbs}|\w).+)
        (quedamos|se acordó|acordamos|se acuerda) en? ?que {who} (?P<what>{present} .+)
        (responsable|encargad[oa]) (de |del )?(?P<what>[^:]{2,40}): ?{who}
        prometí (a \w+ )?(que )?{what}
    """,
    addressed=r"""
        (ya |también |nos |os |le |les |lo |la )?(?P<what>{future} .+)
        (tú|usted|vosotros) (?P<what>(?!eres|estás|sabes|tienes razón)\w.+)
        (?P<what>({familiar}|{formal}|{plural}).*)
    """,
    duties=r"""
        (?P<what>(?!(él|ella|nadie|nada|eso|esto|yo|tú)\b){np} (tiene que|tienen que|debe|deben|deberá\
            |deberán|ha de|han de|tendrá que|tendrán que) (ser|estar|quedar|llegar|\w+rse\b) ?(?!(bien\
            |aquí|allí|mejor|bueno|posible)\b).*)
        {names} {must}( también| ya| aún| antes)* (?P<what>(?!(no|nada|ser|estar|haber\
            |tener)\b){verbs}.*)
        (?P<np>(el|la|los|las|cada|todos los|todas las) [^,;:.!?]{2,40}?) (tiene que|tienen que|debe\
            |deben|deberá|deberán|ha de|tendrá que) (?P<what>(?!(no|ser|estar|haber)\b){verbs}.*)
        {names},? (ya |también |nos |os |le |les |lo |la |se )?(?P<what>{future} .+)
        {names} (queda |está |tiene )?pendiente (de |por )?{what}
        se (tiene|tienen|debe|deben|ha|han) (que |de )?(?P<what>(?!ser|estar)\w+(ar|er|ir)\b.*)
        (me |nos |de (mi|nuestra) parte )?(queda|falta|resta|toca)( a mí| a ti)? {work}
        {names} (?P<what>(se encarga|se encargará|se encargan|se encargarán|se ocupa|se ocupará\
            |se ocupan|se hace cargo|es responsable|está a cargo|queda a cargo) (de|del)? ?.+)
        {names} (?P<what>(lo|la|los|las|se lo|se la) (hace|trae|lleva|manda|compra|prepara|busca|recoge\
            |envía|mira|encarga)\b.*)
        (hay que|habrá que|habría que|deberíamos|deberías|deberíais|convendría|tenemos que|tengo que\
            |debemos|debo|tienes que|tenéis que|debes|debéis|deberías|necesitamos|necesito|es necesario\
            |es preciso|es importante|es urgente|queda por|quedan por|falta por|falta|toca|me toca\
            |nos toca|te toca)( todavía| aún| también| que| urgentemente\
            | cuanto antes)* (?P<what>(?!no |ser|estar|haber|tener|ver si|decir|reconocer|saber|esperar\
            |morir|vivir){verbs}.*)
        (yo )?(voy yo a|voy a|vamos a|me comprometo a|prometo|me encargo de|me ocupo de\
            |nos encargamos de|quedo en)( también| ya)* (?P<what>(?!ser|estar|ver|echar de menos|tener\
            |dormir|decir)\w.+)
        (yo )?(te |se |le |lo |la |os |les |los |las |me |nos )*(?P<what>([a-z]{2,}aré|[a-z]{2,}eré\
            |[a-z]{2,}iré|haré|pondré|traeré|hago yo|llevo yo|traigo yo|mando yo|compro yo|me encargo\
            |me ocupo)\b(?! (de menos|contento)).*)
        ((te|le|os|les|lo|la|los|las|se) )*(?P<what>(hago|traigo|llevo|mando|compro|llamo|preparo|envío\
            |paso|reviso|recojo|pido|reservo|imprimo|escribo|arreglo|busco|cambio|pago|subo|hablo con\
            |miro)\b .+)
        (?P<what>{np} (está|están|queda|quedan) (pendientes? de|por) {verbs}.*)
        {names} ?[:–] ?{work}
        (?P<what>{formal}(?! (bien|usted bien|con dios)\b) .+)
        (?P<what>{plural} \S.+)
        (?P<what>{familiar}(?! (que|muy|por fin|de menos)\b) \S.+)
        (?P<what>{verbs}( \S.+))
    """,
    reports=r"""
        (?P<np>(el|la|los|las) {a}+( {a}+)?) (?P<what>{future} \S.+)
        {names} (le |les |lo |la |nos |os |se |también |ya )?(?P<what>{present} (?!que\b|de menos\b\
            |muy\b)\S.+)
    """,
    listed=r"(?P<what>(\w+mente )?{verbs}\b.+)",
    more="(también |luego )?(?P<what>({verbs}|{present}|{future}|{plural}|{formal}) .+)",
    gapped=r"{who} (?P<what>(de|del|de la|el|la|los|las) ?[^,;:.!?]+)\W*$",
    general=r"""
        (dijo|decía|dice|asegura|asegur[óa]|añad(ía|ió)|cuenta|contaba|gritó|susurró|pensó)(,)? (el|la\
            |mi|ella|él|que|[A-Z])|\b(uno|una) debe|cada cual|dicen que|\bdeb(e|ía|en|ían) de\b\
            |hay que (ser|vivir|comer|querer|saber|aprender)|todos los días\
            |hay que [^.]* al \w+[aei]r\b|a diario|más a menudo|cada (mañana|noche|día)|de (niños\
            |pequeñas?|jóvenes)|siempre (gana|hay)
    """,
    openers=r"""
        (?<!\w)(por favor|porfa|podrías|podría|puedes|podéis|tengo que|tenemos que|tienes que|hay que\
            |habrá que|no olvides|acuérdate|acordate|recuerda|recordad|dile a|decile a|pídele a\
            |me falta|me toca|nos toca|te toca|haría falta|hace falta|convendría|conviene|es (necesario\
            |imprescindible|urgente)|se (ruega|necesita|busca)|rogamos|le ruego|les recordamos\
            |alguien (tiene|debe|que)|ya no hace)\b|(?<=, ){name}(?=, {a}+(ará|erá|irá|drá)\b)
    """,
    asks=r"""
        (che, |oye, |y )?¿?(quién|quien|quiénes) (puede |podría |quiere |va a |se anima a \
            |se encarga de )?(?P<what>\w[^?]{3,80})\?
    """,
    answers=r"""
        ((lo|la|los|las) \w+o yo|yo( (lo|la|los|las|me))?( (hago|llevo|traigo|escribo|encargo|ocupo|voy\
            |puedo|apunto|miro|compro))?( (yo|de eso|de ello))?|(me (pido|encargo|ocupo|apunto\
            |ofrezco)( (eso|yo|de eso|de ello))?)|(paso|voy|llevo|lo hago|lo llevo|lo miro|lo compro\
            |las recojo|cuenta conmigo) ?yo|anotado|lo hago|voy)(,? (mañana|hoy|el|{days}|después|del\
            |de|la|trabajo|tarde|noche|luego|sin falta|por la|yo|con gusto))*$|{who} (se (ofrece\
            |ofreció|encarga|ocupa|apunta|ha ofrecido)|lo (hace|hará|trae)|dice que sí)( a hacerlo\
            | de ello| de eso)?$|(se ofrece|lo hace|se apunta|se encarga|lo ve|la ve\
            |lo lleva) (?P<by>(la señora |el señor )?{name})$
    """,
    settled=r"""
        \b(hecho|(?<!dejar )hecha|hechos|hechas|listo|lista|terminad[oa]s?|acabad[oa]s?|ya (no|está\
            |están|ha|han|lo|la|se|tiene|lleg\w+|hab\w+)|cancelad[oa]s?|anulad[oa]s?|no (hace falta\
            |es necesario|hay que|hay nada|tiene que|tienes que|tenéis que|voy|va a|podré|podrá|puedo\
            |puede|podemos|debe|quiere|quiero|se|lo|la|ha|es|tengo)|nada que|ayer|anteayer|anoche\
            |la semana pasada|el mes pasado|el año pasado|pasad[oa] ({days})|comprad[oa]s?|pagad[oa]s?\
            |encargad[oa]s$|arreglad[oa]s?|resuelt[oa]s?|solucionad[oa]s?|rechazad[oa]s?\
            |descartad[oa]s?|nadie|fue|fueron|era|eran|iba|iban|tenía|tenían|quería|compraría|había\
            |habían|hace (\w+ )?(días|semanas|meses|años)|olvida lo|olvídate|hemos|he (?!de)\
            |quedamos en que|tuvo|tuvimos|hubo|estuvo|vino|llegó|enviamos|hicimos)\b|✓|✔|☑|✅
    """,
    unreal=r"""
        \b(quizás?|tal vez|a lo mejor|algún día|probablemente|seguramente|habría sido|hubiera|hubiese\
            |sería bonito|podríamos|se podría|si (pudiera|tuviera|fuera|hubiera)|ojalá|idea|sueñ\w+\
            |soñ\w+|imagina|me pregunto|al parecer|dicen que|dudo|no sé si|espero|esperamos|novela\
            |receta|película|chiste|canción|por ejemplo|ganas de|debate|discutimos|en teoría\
            |supuestamente|creo que)\b
    """,
    states=r"\b(es|son|está|están|fue|ha|han|era|viene|sale|va)\b",
    events=r"""
        \b(reunión|junta|asamblea|cita|encuentro|comida|cena|desayuno|almuerzo|merienda|fiesta\
            |cumpleaños|boda|bautizo|comunión|concierto|espectáculo|estreno|ensayo|función|obra\
            |exposición|inauguración|apertura|cierre|lanzamiento|arranque|inicio|entrega|salida|llegada\
            |vuelo|tren|viaje|excursión|visita|inspección|revisión|auditoría|examen|prueba|oposición\
            |entrevista|llamada|audiencia|juicio|elecciones|votación|mercadillo|mercado|feria|festival\
            |romería|verbena|partido|torneo|carrera|marcha|vacaciones|puente|mudanza|obras|corte\
            |mantenimiento|migración|firma|plazo|vacuna|vacunación|dentista|médico|doctora?|veterinario\
            |operación|consulta|análisis|simulacro|inventario|recogida|limpieza|jornadas?\
            |puertas abiertas|demo|presentación|taller|curso|clase|charla|conferencia|congreso\
            |seminario|webinar|lectura|ceremonia|funeral|misa|pleno|sesión|acto|gala|desfile|procesión\
            |concurso|sorteo|subasta|rifa|barbacoa|paella|picnic|senderismo|ruta|campamento|fontanero\
            |electricista|técnico|itv|tutoría|graduación|kick-?off|retro|sprint|noche|día|tarde)s?\b
    """,
    happens=r"""
        \b(tendrá lugar|tiene lugar|se celebra|se celebrará|será|serán|es el|es la|es a las|es mañana\
            |está prevista?|está previsto|está programad[oa]|empieza|empezará|comienza|comenzará\
            |arranca|inicia|abre|abrirá|cierra|cerrará|cerrado|cerrada|llega|llegará|llegan|viene\
            |vendrá|vienen|pasa|pasará|sale|saldrá|salimos|parte|aterriza|vuelve|regresa|nos reunimos\
            |nos vemos|quedamos|se reúne|se reunirá|se estrena|cumple|se casa|caduca|cortan|irán|irá\
            |van|vence|termina|acaba|hay|toca|se inaugura|está invitad[oa]|os invit\w+|será el\
            |queda convocad[oa])\b
    """,
    absent=r"\b(no hay|no habrá|no se celebra\w*|ningun[oa]?|ningún)\b",
    articles="(el|la|los|las|un|una|nuestr[oa]) ",
    pronoun_subjects="es será está eso esto él ella se",
    decisions=r"""
        (?P<what>[^:]{4,100}), (así )?(quedó|queda|se|está|hemos|fue) ?(acordado|decidido|aprobado\
            |acordó|decidió|aprobó)
        (aprobad[oa]|acordad[oa]|decidid[oa])( por unanimidad)?\s*:\s*{what}
        (?P<what>(a partir de|desde) (ahora|hoy|mañana|{days}|\w+ que viene|el \d+ de \w+),? .+)
        (quedamos|hemos quedado|se quedó|acordamos|queda acordado|quedó acordado\
            |convenimos) (en )?(que )?(?P<what>(?!con |a las )\w.+)
        (decisión|decisiones|acuerdo|acuerdos|acordado|decidido|conclusión|resolución\
            |resultado)\s*:\s*{what}
        ([^,;:]{0,40}\b)?(se|hemos|nos|la junta|el comité|el equipo|la asamblea|el grupo|todos\
            |los socios|la dirección)\b ?(ha|han|hemos|fue|queda)?( sido| finalmente| por unanimidad\
            | también)* ?(acuerda|acordó|acordado|acordamos|decide|decidió|decidido|decidimos\
            |aprueba(?! el proyecto)|votó|votado|resuelve|resolvió|conviene|opta por\
            |optó por) ?(por unanimidad )?(que |en que |por )?(?P<what>(?!el proyecto)\w.+)
        (queda|quedó) (acordado|decidido|aprobado) (que )?(?P<what>.+)
        (nos quedamos con|seguimos con|mantenemos) (?P<what>.+)
    """,
    facts=r"""
        \b(número|nº|código|clave|contraseña|wi-?fi|iban|referencia|ref|talla|dirección|teléfono|tel\
            |cuenta|usuario|login|pin|serie|matrícula|expediente|nif|dni|cif|combinación|fianza|precio\
            |lectura|contador|modelo|cuota|importe|tarifa|puesto|aula|sala|plaza\
            |taquilla)\b[^.!?]{0,40}?(\bes\b|\bson\b|:|=)\s?[^.!?]*?(\d|"|«|[A-Z]{2})|\b(llaves?\
            |contador|llave de paso|cuadro|expedientes?|carpeta|papeles|pasaporte|escalera|herramientas\
            |manual|botiquín|mando|repuestos?|copia)\b.{0,30}? (está|están|queda|quedan|cuelga\
            |cuelgan) .{0,15}?\b(en|sobre|bajo|detrás|debajo|junto|dentro|encima)\b|^(caser[oa]\
            |proveedor(a)?|contacto|médico|portero|portera|seguro|fontanero|dueñ[oa])\b.{0,30}: \
            |incluid[oa]s? en el precio|no se (permiten?|admiten?)|puede[n]? (conservarse|recogerse\
            |guardarse)|(está|están) prohibid[oa]s?|al[eé]rgic|garantía hasta|válid[oa] hasta\
            |cierra los|abre (de|los)|hasta ({days})$
    """,
    places=r"\w+\W+\w+\W+\w+",
    projects=r"""
        (?P<name>{A}[\w-]+), (el|la|un|una|nuestro|nuestra) (proyecto|iniciativa|programa|campaña)\b
        \b(proyecto|iniciativa|programa|campaña)s?\b( {a}+){0,4} ?[«“"] ?(?P<name>[^»”"]{2,60}?) ?[»”"]
        \b(proyecto|iniciativa|programa) (?P<name>{A}[\w-]+( (de |del )?\
            (?-i:[A-ZÁÉÍÓÚÑ0-9])[\w-]*){0,3})
    """,
    comments=r"""
        (comentario|nota|observación|mensaje|respuesta)( de| por) (?P<who>[^:]{1,40}):\s*(?P<what>.+)
        (sobre|para|en|respecto a|acerca de|en cuanto a|por) (la |el |lo de la )?[^:,–]{0,30}(tarea\
            |ticket|tarjeta|incidencia|aviso|petición)[^:,–]{0,60}\s?[:,–-]\s*{rest}
    """,
    tickets=r"""
        #\d+|(ticket|aviso|incidencia|avería|caso|parte|solicitud|petición|bug)\b.{0,6}\d|^(sobre\
            |respecto a|en cuanto a) (la|el|esta|este) (tarea|incidencia|tique|ticket)
    """,
    urgent=r"""
        \burgentes?\b|\burgentemente\b|\burge\b|\bcuanto antes\b|\binmediatamente\b|\bde inmediato\b\
            |\bahora mismo\b|\blo antes posible\b|\bprioritari[oa]\b|\bprioridad alta\b|\basap\b|!!
    """,
    minutes=r"""
        \b(acta|reunión|junta|asamblea|comité|comunidad|asistentes|presentes|orden del día|semanal\
            |coordinación|cooperativa|taller|consejo|sesión|asociación|llamada con|equipo|claustro\
            |comisión|pleno)\b
    """,
    to_do=r"""
        ^\W*(por hacer|tareas|pendientes?|acciones|próximos pasos|lista de (la )?compra|compras?\
            |recados|to-?do|falta|queda por hacer|checklist|antes (de|del) .{2,30}|para (la|el|las\
            |los) .{2,30}|.*\bquién hace qué|.*\bpor hacer|mudanza)\W*$
    """,
    finished=r"^\W*(hecho|terminado|completado|ya hecho|cerrado)\W*$",
    decided=r"^\W*(decisiones|acuerdos)\W*$",
    talk=r"""
        ^\W*(orden del día|temas?|ideas?|preguntas|dudas|asistentes|presentes|participantes|debate\
            |algún día|quizás?|deseos|ingredientes|menú|resumen|novedades|contexto|cancelado)\W*$
    """,
    rewrites=(
        (
            r"((el|la|los|las) )?(?P<np>[^,;:]{2,60}?) (deberá|deberán|debe|deben|tiene que|tienen que) "
            r"(?P<verb>\w+[aeií]r)se( .*)?",
            r"\g<verb> \g<np>",
        ),
        (
            r"((el|la|los|las) )?(?P<np>[^,;:]{2,60}?) (debe|deben|deberá|deberán|tiene que|tienen que|"
            r"ha de|han de) (ser|estar|quedar) (?P<stem>\w+?)ad[oa]s?( .*)?",
            r"\g<stem>ar \g<np>",
        ),
    ),
    labels=either(r"""
        {days} asignado responsable abierto solicitante de a para cc asunto fecha enviado asistentes
        presentes ausentes lugar hora cuándo dónde quién qué nota notas pd rv re decisión decisiones
        acuerdo acuerdos tarea tareas recordatorio plazo tema orden próxima próximo mañana ayer hoy
        total precio tel teléfono mail correo dirección clave wifi número atención estado prioridad
        proyecto resumen ejemplo resultado objetivo pregunta respuesta idea urgente importante sobre
        buenos buenas hola estimad\w+ querid\w+
    """),
    anyone=either("todos todas cada alguien tú usted ustedes vosotros nosotros él ella ellos uno yo"),
    me=r"(yo|nosotros|me|nos)\b",
    finite="{future}",
    base_endings="ará=ar erá=er irá=ir",
    pronouns=r"""
        ((me|te|se|nos) (encarg\w+|ocup\w+)|(lo|la|los|las|eso) {verbs}|[a-záéíóú]{2,}(arlo|erlo|irlo\
            |arla|erla|irla|arlos|arlas|erlos|erlas)|(lo|la|los|las) \w+)\b.{0,30}$
    """,
    edges=r"""
        \b(antes de|para|a|hasta|en|desde) (el |la )?(finales?|fin|principios?|mediados) (de |del \
            |de la )(este |esta |el |la )?(semana|mes|año|trimestre|{days})( próximo)?
    """,
    undated=r"\b(una?|unos|unas|algún|alguna|ningún|ninguna) \w+ de fin de semana\b",
    dated=either("""
        {days} hoy mañana pasado fin días? semanas? mes(?:es)? años? tarde noche mediodía finales
    """),
)
