# ruff: noqa: RUF001 - letters of other alphabets
"""English words of requests, duties, plans and decisions."""

import re
from typing import Final

from hub.extraction.when import languages
from hub.extraction.wording.lexicon import Lexicon, either

_VERBS: Final = """
accept add address adjust agree align announce answer apply approach approve archive arrange ask
assemble assess assign attach attend back_up bake block book borrow bring brush build buy calculate call
call_back cancel change charge chase check choose clarify clean clear close collect come_up_with compare
compile complete compose confirm connect contact continue convert coordinate copy correct count cover
create cut decide declare decorate define delete deliver deploy describe design determine disable
discuss dispose distribute document donate double-check download draft draw drive drop dust edit email
e-mail enable engage ensure enter escalate estimate evaluate examine exchange exclude explain explore
export extend feed figure_out file fill fill_in fill_out finalise finalize have_a_look have_a_word
get_in_touch touch_base check_in ping reboot rebase find find_out finish fix fold follow_up forward
gather get get_back give give_back go_through grease hand hand_in hand_out hand_over handle hang hire
hoover identify implement import improve include inform insert inspect install integrate introduce
investigate invite invoice iron issue join keep label lay leave lend let list load lock look_at look_for
look_into look_over look_up mail make manage mark measure meet mend merge message migrate mind monitor
mop move mow negotiate note notify obtain open order organise organize pack paint park pass paste pay
phone pick pick_up place plan plant plug polish post prepare present print process produce propose prove
provide publish pull_together purchase push put raise read rebook recharge recheck recommend record redo
reduce refactor refill refund refuse register release remind remove rename renew rent repair replace
reply report request reschedule research reserve reset resolve respond restart restock restore return
review revise rewrite ring run sand save scan schedule scrub seal search secure select sell send
separate serve set set_up settle sew share ship show sign sign_off sign_up simplify sort sort_out source
speak specify split stack start stop store submit suggest supply support survey swap sweep switch
synchronise sync take take_down take_out talk tell test thank throw throw_out tidy top_up track train
transfer translate transport trim try turn turn_off turn_on type unload unpack unplug update upgrade
upload use vacuum validate verify visit wait walk warn wash watch water weed weigh wipe withdraw work_on
work_out wrap write write_up
"""
_ANY: Final = "|".join(_VERBS.split()).replace("_", " ")


def _in_third_person(verb: str) -> str:
    first, _, rest = verb.partition("_")
    if first[-1] == "y" and first[-2] not in "aeou":
        first = f"{first[:-1]}ies"
    else:
        first += "es" if first.endswith(("s", "sh", "ch", "x", "o")) else "s"
    return f"{first} {rest}" if rest else first


_PRESENT: Final = "|".join(map(_in_third_person, _VERBS.split()))
_TASKS: Final = r"(?:tasks?|tickets?|issues?|to-?dos?|cards?|bugs?|action items?)"
_NP: Final = r"[^\s,;:.!?()][^,;:!?()]{0,60}?"

_PAIRS: Final = """
sent=send paid=pay taken=take written=write made=make given=give bought=buy sold=sell swept=sweep hung=hang
built=build drawn=draw done=do brought=bring kept=keep found=find told=tell chosen=choose redone=redo
rewritten=rewrite
"""
_PARTICIPLES: Final = dict(pair.split("=") for pair in _PAIRS.split())


def _order(match: re.Match[str]) -> str:
    """Return "sign the contract" for "The contract must be signed", or "needs signing"."""
    verb = match["verb"]
    stem = _PARTICIPLES.get(verb) or re.sub("ied$", "yed", verb).removesuffix("ing").removesuffix("ed")
    known = next((one for one in (stem, f"{stem}e", stem[:-1]) if one in _VERBS.split()), None)
    if known is None and verb.endswith(("ed", "ing")):
        is_cut = re.search(r"[^aeiou][aiouy][^aeiouwxy]$", stem) is not None  # "resit-ing"
        known = f"{stem}e" if is_cut else re.sub(r"([bdgmnprt])\1$", r"\1", stem)
    return match.group() if known is None else f"{known} the {match['np']}{match['rest']}"


ENGLISH: Final = Lexicon(
    code="en",
    weekdays=languages.ENGLISH.weekdays,
    months=languages.ENGLISH.months,
    common="""
        tomorrow today need needs must should could let's get got do does did has or how all some any
        more up out the and is are was were you your we our they their it its this that these those with
        for from have had will would can not please of to in on at by be been there he she his her him
        my me i'll don't it's i'm about when what who which before after until still but so if as an i
    """,
    no_names="""
        a here where why then no everyone everybody somebody someone nobody nothing anything something
        each both next tonight yesterday hi hello hey dear thanks thank yes ok okay also once since
        action decision note reminder topic todo agenda deadline last first second one two three another
        great perfect fine good cool super lovely excellent sorry alright
        most many everything project team because while although though maybe perhaps just let
    """,
    name=r"""
        (?-i:((Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Aunt|Uncle|Father|Sister)\.? )?[A-Z][\w’'-]+( (van|de|der|von\
            |of|[A-Z]\.|[A-Z][\w’'-]+)){0,2})
    """,
    verbs=rf"\b({_ANY})\b(?!-)",
    present=rf"(?-i:\b({_PRESENT})\b)",
    parts={
        "located": r"""
            (is|are|hangs?|lies|lives?) (now |kept )?(under|behind|in|on|at|above|next)\b(?! (the \
                |their |its |good |my )?(way|progress|order|place|shape|time|track|hold|sale|risk|fire\
                |use|trouble|hand|least|last|stock)\b)
        """,
        "and": ",| and| &| or",
        "np": r"[^\s,;:.!?()][^,;:!?()]{0,60}?",
        "person": r"""
            (someone|somebody|anyone|anybody|everyone|everybody)( (from|in|at|of\
                |with) [^,;:.!?]{2,30}?)?|one of (you|us)|whoever [^,;:.!?]{2,40}?
        """,
        "participles": "|".join(_PARTICIPLES),
        "promise": r"""
            'll| will|'s going to| must| has to| have to| needs to| need to| should| shall| is to\
                | are to| is going to| are going to| is supposed to| are supposed to| (is\
                |are) meant to( be)?| ought to| plans to| wants to| volunteers to| offers to| agrees to\
                | promises to| is due to| (has |have |had )?(kindly |also |already )?(agreed|promised\
                |offered|volunteered|undertook|undertaken|been asked|been told) to| (was|were\
                |is) asked to| (still|also) (has|have|needs?) to
        """,
        "verb": "(?-i:{no_verb}{a}{a}+)",
        "no_verb": r"""
            (?!(the|an?|this|that|these|those|my|your|his|her|its|our|their|me|you|him|us|them|be|been\
                |have|say|date|go|see|know|get|think|feel|live|like|love|wear|walk|sleep|stay|look|hear\
                |believe|admit|hope|and|or|which|whom|all|every|one|some|no|not|never|always|probably\
                |have|bed|work|town|school|church|lunch|(meet|visit|join) (you|us|me)|come|arrive)\b)
        """,
        "helping": r"(will|is|are|was|were|has|had|have|must|should|can|could|would|may)\b",
        "tickets": r"(tasks?|tickets?|issues?|to-?dos?|cards?|bugs?|action items?)",
    },
    fillers=r"\b(please|pls|plz|kindly)\b,?|\bbtw\b|,? by the way\b",
    leads=r"""
        (and|but|so|then|also|or|oh|uh|um|er|ah|right|ok(ay)?|well|first(ly)?|second(ly)?|next(?=[,:])\
            |finally|lastly|afterwards|meanwhile|anyway|besides|again|one more thing|by the way|btw|ps\
            |p\.s\.|as agreed|as discussed|in addition|in the meantime|otherwise|therefore|once more\
            |yes|yep|sure|right|(just )?(a )?(quick |friendly |gentle |small |little )?reminder( that)?\
            |that|[A-Z]\w+ (said|says|reported|reports|thinks|asked|mentioned|noted|suggested|told us\
            |reminded (us|everyone|everybody))( that)?|hence|once again|after that|before that\
            |if possible|when you (can|have time|get a chance)|asap|for (this|that)|until then|hi|hey\
            |hello|thanks|sorry|note|important|urgent|fyi|heads up|either way|on another note\
            |regarding [^,]{1,30}|@)\b[,:!.\s–-]*
    """,
    joints=r"""
        \s*([;–—]|->|→)\s+|\s-\s|,?\s(and|but)\s(then\s|also\s)?|,\s(then\s|so\s)?|:\s|\sso( that)?\s\
            |\s\(|\)\s?
    """,
    requests=r"""
        (could|can|may|might) I (also |just )?(trouble|bother|ask|get|persuade) you (for|to) {what}
        (I|we)('d| would) like (?P<what>(your|the|some) \w[^;:.!?]* (by|before|until) .*)
        (would|is|might) (it|there) be (possible|any chance|any way)( (for you|of you))?( to)? {what}
        wondering (if|whether) you (could|might|would be able to|can) {what}
        (is|are|am|'m|'re|'s) looking for (\w+ ){1,3}(to|who (can|could|will)) {what}
        (asked|asks|requested|requests|insists) that (?P<what>[^,;:.!?]{2,50} (be|is|are|get)\b.+)
        (I|we)('ll| will| still| really| also)* need (?P<what>(?!to )\w[^;:.!?]* (from you|by|before\
            |until|no later)\b.*)
        let (?P<what>(the|your|our) \w+ know\b.*)
        (please )?remind (me|us) (to |about ){what}
        leave (?P<what>(?!(it|this|that|them|him|her)\b)[^,;:.!?]{3,60}) (to|with) me\b
        over to (you|{who}) (for|on|with|to) {what}
        (you're|you are|you were|I'm|I am) (down for|up for|in charge of|responsible for\
            |on (?=\w+ duty)) ?{what}
        (?P<what>(?!(no|yes|oh|ok|say|quiet|more)\b)\w[^;:!?.]{8,120}?) (please|pls|plz)\W*$
        {person} (just |really |still |also )?(has got to|needs? to|has to|must|should|ought to|could\
            |will have to) {what}
        (could|can|would|will) (you|u|ya|someone|somebody|anyone|anybody|everyone|everybody\
            |one of you)( all| both| guys)?( maybe| possibly| perhaps| also| then| just| quickly| still\
            | kindly)* (?P<what>(?!mind |believe|imagine|guess|hear|see |feel|smell|remember\
            |tell me why|help it|like|say|blame)\w.+)
        (can|could|would|will) {who}( please| kindly| maybe| perhaps| also)? (?P<what>{verbs}.+)
        if ((you|{person})|{who}) (could|would|can)( please| kindly)? (?P<what>{verb} .+)
        {person}( please)? (?P<what>(start|{verbs})\b.+)
        (would|do) you mind (?P<what>\w+ing\b.+)
        (would you be|be) (so kind as|kind enough|able|willing) to {what}
        (I|we)('ve| have)? (asked|told|got) (?P<who>{name}|everyone|them) to {what}
        ((I|we)('d| would) be )?(very |most )?(grateful|thankful|thanks) for (?P<what>(your \
            |any )?(comments?|feedback|replies|reply|answers?|confirmation|signature|input|views)\b.+)
        (I|we)('d| would) (appreciate|welcome|like) (?P<what>(your |any )?(comments?|feedback|reply\
            |answers?|confirmation|input|views)\b.+)
        (it's your turn|you're up) (for|on|with) {what}
        any chance (that )?you (could|can) {what}
        (it would be|it'd be|would be)? ?(great|nice|good|lovely|helpful|kind|perfect|super) if (you\
            |someone|somebody) (could|can|would) {what}
        (i|we)('d| would| really)* (appreciate|be (grateful|glad|happy|thankful)) (it )?if you (could\
            |can|would) {what}
        (i|we)( would|'d)? (need|want|like|ask|expect|beg|urge|invite) (you|everyone|everybody\
            |each of you|all of you) (all )?to {what}
        (\w+ )?[^\s,;:.!?][^,;:.!?]{0,50}? (are|is) (kindly )?(asked|requested|required|reminded\
            |invited|expected|advised|encouraged) to {what}
        (please |kindly )?(don't|do not|dont|never|let's not) forget (to |about |that )?{what}
        (please )?remember (to |that you (need|have) to ){what}
        (please )?(make sure|be sure|see to it|take care)( that| to)? {what}
        ((please|pls|plz|kindly) |(?<!\w )(please|pls|plz|kindly), ?)(?P<what>(?!note that|find |see \
            |accept|excuse|forgive|be advised|don't hesitate|do not hesitate|feel free|disregard|ignore\
            |don't|do not|no |not |bear with|be patient|enjoy|give (my|our) )\w.+)
        let me know {what}
        (to ?do|action( items?)?|ai|next steps?|follow[- ]up|task|open|tbd\
            |to be done)s?\s*[:–-]\s*{what}
    """,
    duties=r"""
        {who}('s| is| are| will be)+ (?P<what>(organi[sz]ing|arranging|booking|sorting|ordering\
            |handling|collecting|bringing|preparing|chasing|drafting|printing|picking up|looking after\
            |dealing with|seeing to|getting|hosting|checking|fixing|replacing) .+)
        (?P<who>I|we)('ll| will| shall| need to| have to| must| should| am going to| are going to\
            |'m going to|'re going to| still need to| still have to| also need to| ought to| promise to\
            |'ve got to| gotta| got to|'d better| had better| am to| are to| can)( also| then| still\
            | just| definitely| probably| quickly)* (?P<what>(?!be |see |have (?!a look|a word)|know\
            |never|not |always|love|miss|think|be$|hope|like|feel|hear|say|understand|get there|survive\
            |die|stay|sleep|ever |want|remember|only |at least|look forward|sure|keep it|note\
            |call it){verbs}.*)
        let me (?P<what>(?!know|think|see|tell|be|guess|say){verbs}.+)
        let's (aim to |try to |plan to |make sure we )?(?P<what>(?!see|say|hope|face|be |not|meet|go \
            |talk about|pretend|keep our|(start|stop|finish|continue)( now| then| here| again)?\W*$){verbs}.+)
        {names}({promise}|, can you|, could you|, you need to)( also| then| still| please| therefore\
            | now| kindly)* (?P<what>({no_verb}\w|have (its|the|a|his|her|their)\b|have a look).+)
        {names} to (?P<what>{verbs}.*|{verb} (the|an?|his|her|our|their|all|some|any|two|three|up|out\
            |back|with|about|for|from|into|off|over|down|in|it|them|us)\b.*)
        (?P<what>(?!(I|you|he|she|it|we|they|there)\b){np}(?<! out)(?<!seems)(?<!seem)(?<!used)\
            (?<!proved)(?<!appears)(?<!hopes)(?<!hope)(?<!wants)(?<!likes)(?<!happens) to be \w+(ed|en\
            |t|ne|wn|ung|de)\b.*)
        {names}( is|'s| are)? (takes? care of|taking care of|responsible for|takes? over|in charge of\
            |handles?|handling|looks? after|takes? on|(has |have )?(taken on|taken over|volunteered for\
            |offered for|signed up for)|down for|up for|does|do|brings?|looks? into|follows? up (on\
            |with)|gets? back to|checks? with|owns) {what}
        you('ll| will)?( all| both| also| still)? (need to|have to|must|should|ought to\
            |'ve got to)( also| still| please)* (?P<what>(?!see|have|know|be |not|never|try the|worry\
            |think|feel)\w.+)
        (?P<what>(?!(I|you|he|she|it|there|this|that|what|who|if|whether|nothing\
            |nobody)\b){np} (must|has to\
            |have to|needs? to|should|is to|are to|still needs? to|still has to|shall|(has|have\
            |'s) got to) (still |also |now )?(all )?be(en)? ((in|out|up|back|ready|done) (by|before\
            |on) |(?!(fine|ok|able|good|there|enough|interesting|possible|careful|quiet|nice|easier\
            |better|cheaper|more|less|\d|in |on |at |a |an |the |here|ready|allowed|closed\
            |open)\b))\w.*)
        (?P<what>(?!(I|you|he|she|it|there|this|that|what|who|if|whether|nothing\
            |nobody)\b){np} (must|has to\
            |have to|needs? to|should) (?!(be|have|not|never|work|arrive|help|do|look|go|know|mean\
            |stay)\b){verbs}.*)
        (?P<what>(?!(I|you|he|she|it|there|if|whether)\b){np} (still )?(needs?|wants?|could do with) (\w+ing\
            |replacing|an? (?!lot|bit|hand|while|rest|holiday|break|drink|few)\w+|your (signature\
            |approval|answer|ok|sign-?off|input|reply|decision)).*)
        (?P<what>(?!(it|they|these|those|this|there)\b){np}( is| are|'s) (still )?(now )?due (on|by|in\
            |until|to|at|before|this|next|tomorrow|today|mon|tue|wed|thu|fri|sat|sun).*)
        (it is|it's|that is|that's) (your|my|(up to|on) (you|me|us))( job| turn| task| duty)? to {what}
        (someone|somebody|one of us|who) (must|has to|needs to|should|ought to|could\
            |will have to) {what}
        (still )?((needs?|has|have|got|want|remains|left) to|must|gotta|should) (?P<what>({verbs}\
            |be (\w+ed|with|in|at|on|ready|done|sent)\b).+)
        (will|'ll)( also| then| still| just)* (?P<what>{verbs}.+)
        (?P<what>(?!(I|you|he|she|it|there|this|that|what|who|nothing)\b){np} (is |are |'s )?(still\
            |yet) to (?!come\b|be seen)\w+.*)
        (I|we)(( also| still| urgently) (need|want|lack)|( also| still| further\
            | now)* require) (?P<what>(?!to |it\b|that\b|more time)\w.+)
        it's time to {what}
        (?P<what>(?!keep (it|this|that) |note |issue \d|call with|read |put |try |speak soon|(rent|show\
            |review|post|record|report|test|stock) (for|of|on|in|at) |set (?!up)|cut |let |leave (it\
            |me) |let's |thank |call w/|(work|print|report|review|post|plan|order|test|change|water\
            |stock|repair|research|support|track|record|show|copy|answer|issue|export|import|store\
            |process|design|draft|increase|start|paint|train|watch|walk|visit|run|release|supply|update\
            |return|request|message)\b((?!\b(that|which|who|what|how|if|whether|where|when|because|as\
            |and|or|so|than|until|before|after|while)\b)[^,;:(])*? (is|are|was|were|will|has|had\
            |carries|goes|went|comes|came|turned|looks|seems|starts|started|begins|works|worked|costs\
            |continues|remains)\b)({verbs})(?! (a good|good|well|fun|care|it easy|the sun|your (evening\
            |weekend)|my love|more about|greetings|is|are|was|were|has|had|looks?|day|went)\b).+)
    """,
    reports=r"""
        {names} (then |also |still |now )?(?P<what>{present} (?!that\b|about how\b|to the\b).+)
        (?P<np>the {a}+( (?!still|often|always|never|all|also|{helping}){a}+)?) \
            (?P<what>{verbs} (?!{helping}).+)
        (?P<np>he|she|they){promise} (?P<what>{verb} .+)
        (?P<who>I|we)('ll| will| must| have to| need to) (?P<what>(?!meet|fly|travel|arrive|leave|open\
            |close|miss|remember|start|begin|move|celebrate|hold|host){verb} .+)
        (?P<np>maintenance|reception|the office|office|IT|HR|facilities|security|management\
            |housekeeping|the team|finance|legal|sales|marketing|kitchen|night shift|day shift\
            |whoever \w+) to (?P<what>{verbs}.+)
        {who}('s| is| are| still| now| currently)+ (?P<what>(?!(being|going|coming|having|feeling|doing\
            |getting|staying|living|working(?! on)|saying|thinking|hoping|trying|looking forward\
            |sleeping|missing|making do|playing|enjoying)\b){a}+ing (up |out |on |in |down |after \
            |into )?(the|an?|her|his|their|our|some|two|three|grants|quotes)\b.+)
        (?P<np>(?!(it|that|there|this)\b)((the|our|flat|unit|room) )?[A-Za-z\d]\w*('s)?( \
            \w+)?){promise} (?P<what>{verbs} .+)
    """,
    listed=r"(?P<what>(?!call (w/|with ))(\w+ly )?{verbs}\b(?! (is|are|was|were|has|had|day)\b).+)",
    more="(then |also |to |(he|she|they){promise} )?(?P<what>({verbs}|{present}) .+)",
    settled=r"""
        \b(done|already|no longer|any ?more|no need|needn't|(don't|do not|does not|doesn't|didn't|won't\
            |will not) (\w+ )?(need|have|want|worry|bother)|not necessary|unnecessary|cancel+ed\
            |called off|settled|taken care of|sorted out|is sorted|fixed|finished|completed\
            |was going to|were going to|(would|should|could) have|had to|used to|(cannot\
            |can't)(?! (wait|slip|be late))|couldn't|won't|will not|not be able|never mind|forget what\
            |was supposed to|were supposed to|obsolete|solved|resolved|as planned|yesterday|last (week\
            |month|year|night)|ago|rejected|declined|postponed indefinitely|nobody|no one|it worked\
            |nothing (to|for|more|left|else)|not? my|got (it|them|one)|ticked off|off the list\
            |crossed out)\b|✓|✔|☑|✅
    """,
    unreal=r"""
        \b(maybe|perhaps|might|possibly|one day|some ?day|would be nice|would love|would like to\
            |i'd love|i'd like to|wish|if (i|we|you|only)|in theory|wonder(ing|ed)?|thinking (of|about)\
            |thought about|consider(ing|ed)?|dream(t|ing)?|imagine|not sure|(wonder\w*|not sure\
            |question|asks|asked) (whether|if)|undecided|idea\
            |hopefully|probably|apparently|supposedly|they say|as if\
            |would (?!you)|joke|kidding|pretend|recipe|novel|movie|film|song|poem|for example|e\.g\.\
            |for instance)\b
    """,
    general=r"""
        \bone (must|should|has to|needs|ought)|\b(every|each|a) (day|morning|night|evening|year)\b\
            |\b(said|whispered|replied|cried|shouted|muttered|laughed) (?!I\b|we\b)(the|my|his|her|he\
            |she|[A-Z])|must have \w+|\b(in the old days|when I was)\b|^if (?!(you|some|any)\w* (could\
            |can|would|have|get|like)|possible|need)[^,]{4,60}, (?!please|can you|could)|\b(in case\
            |whenever|as a rule|you should (never|always)|or (else )?you('ll| will)|and (it|you)('ll\
            | will)|says:|nobody ever|(always|never) \w+ (a|your|the) )|(people|they|doctors\
            |experts) (here )?say|more often|used to say|daily\b
    """,
    openers=r"""
        (?<!\w)(please|pls|remind me|could (you|some)|can (you|some)|would you|would it|wondering\
            |if (you|some\w+|(?-i:{A}\w+)) could|I've|don't forget|remember to|make sure|I('ll| will\
            | need to| have to| must| still| shall| should|'m going to|'d like you)|we('ll| need to\
            | have to| must)|you('ll)? need to|you have to|somebody|someone|everybody|everyone|must\
            |it's on me|I would be|we would be)\b|((?<=which )|(?<=, )|(?<=because )|(?<=if )\
            |(?<=so )){name}(?={promise})
    """,
    asks=r"""
        (and |so |now )?who('s| is| can| could| will| would| wants to| would like to| is going to\
            | has time to)? (?P<what>\w[^?]{3,80})\?
    """,
    answers=r"""
        ((i|we)('ll| will| can| could)?( do| take| handle| see to| manage| get)?( (it|that|this one\
            |so))?|on it|me|mine|will do|leave it (to|with) me|i'm on it|i've got (it|this)|count me in\
            |happy to|dibs)(,? (then|too|on|this|next|by|tomorrow|today|tonight|{days}|morning\
            |afternoon|evening|week|thanks?|sure|please|says? \w+))*$|{who} (will|can|does|'ll do|says?\
            |offered|volunteered|has offered|has volunteered)( do| to do)?( it| that| so)?$
    """,
    personal=either(r"""
        I i'\w+ me my we we'\w+ us our please pls thanks thank love regards cheers dear hi hello
    """),
    advice=r"""
        \W*(how (to|I|we) \w|(\w+ ){0,3}(recipe|instructions|directions|guide|tips|steps|method\
            |preparation|rules|advice|workaround|hints|tricks|safety)\b( (of|for|on|to)\b[^:.!?]*)?(:\
            |\W*$)|\w+ (tips|ways|things|steps|rules|reasons) (to|for|that|every)\b)
    """,
    states=r"\b(is|are|was|were|has|had|waiting|got|fits?)\b",
    events=r"""
        \b(?<!will )(?<!'ll )(meetings?|appointment|kick-?off|conference|workshop|training|call\
            |interview|exams?|tests?|concert|party|birthday|wedding|trip|visit|inspection|opening\
            |launch|release|go-?live|presentation|demo|review|stand-?up|retro(spective)?|assembly\
            |session|lunch|dinner|breakfast|brunch|barbecue|bbq|festival|fair|match|game|race|rehearsal\
            |premi[eè]re|show|performance|flight|train|departure|arrival|delivery|check-?up|dentist\
            |doctor|vet|surgery|operation|move|moving day|inventory|stock-?taking|audit|hearing\
            |election|vote|webinar|lecture|course|class|open day|open house|parents' evening|holidays?\
            |anniversary|ceremony|funeral|reunion|tour|excursion|camp|sale|market|maintenance|power cut\
            |outage|drill|service|deadline|submission|handover|viewing|walk-?through|sprint|tasting\
            |clean-?up|bonfire|agm|seminar|talk|exhibition|tournament|graduation|deadline|round|day\
            |night|evening|summer f[eê]te|f[eê]te|collection|hike|picnic|regatta|catch-?up|one-on-one\
            |1:1|shoot|test run|photo|cut-?over|migration|rollout|downtime|strike|parade\
            |dress rehearsal|final|finals|semi-final|kick off|briefing|debrief|forum|summit|congress\
            |meet-?up|screening|reading|recital|auction|raffle|swap|drive|run|walk)\b
    """,
    happens=r"""
        \b(due|(?<!I )(?<!we )(?<!he )(?<!they )(?<!you )will|takes? place|will be held|is held|is on\
            |are on|is at|is (scheduled|planned|set|fixed|due|booked|arranged)|are (scheduled|planned\
            |booked)|starts?|begins?|opens?|closes?|(is|are|stays?) closed|arrives?|comes?( by| over\
            | back)?|leaves?|departs?|lands?|meets?|meet(ing)?|happens|runs from|(is|are|'s\
            |'re) (coming|arriving|visiting|starting|leaving|closing|opening)|goes ahead|moved\
            |will (come|arrive|be closed|open|close|start|begin|visit|take place|meet|leave|run|be)\
            |can (start|come)|celebrates?|returns?|is expected|expires?|runs out|ends?|moves? (in|out)\
            |goes live|flies|fly|gets? (married|delivered)|is back|are back|turns \d+|visits?|goes up\
            |plays?|performs?|hosts?|resumes?|reopens?|breaks? up|sets? off|switch(es)? over|(is|are\
            |'re|'s) (off to|away|on leave|on holiday|having|getting|moving|flying|playing|hosting\
            |holding|launching|meeting|throwing|celebrating)|we (ship|launch|fly|travel|release|sail\
            |celebrate|set off|go live)|is handed over|are handed over|:)(?!\w)
    """,
    absent=r"\bno (?!later|less|more|matter|doubt|problem|idea|\d)\w",
    decisions=r"""
        (?P<what>we('re| are)( now)? (dropping|stopping|switching|keeping|retiring|ending|discontinuing\
            |replacing|not renewing) .+)
        (decisions?|decided|resolved|agreed|conclusion|consensus|verdict|resolution|outcome|approved\
            |carried|passed|adopted|agreement|result)( unanimously| nem con)?\s*[:–-]\s*{what}
        ([^,;:]{0,40}\b)?(we|it was|they|(the )?(board|committee|team|council|group|everyone|everybody\
            |members|all|parents|management|assembly|meeting|club))( have| has| all| was| unanimously\
            | finally| then| also|'ve)* (decided|agreed|resolved|voted|settled|chose\
            |opted)( unanimously| together)?,? (that|to|on|not|against|in favou?r of\
            |for)\b ?(?P<what>.+)
        (it was |was )?(unanimously )?(decided|agreed|resolved|settled)( that| to| on)? (?P<what>(that \
            |to |not |on |no )?\w.+)
        we('ll| will|'ve| have|'re| are)? (go|going|gone|settled|stick|sticking|keep|keeping\
            |opted) (with|for|on|to) {what}
        (?P<what>from (now on|today on|\w+ on(wards)?),? .+)
        (the )?(board|committee|team|council|group|members|parents|management|assembly|meeting\
            |club) (have |has |unanimously |finally )*(approved|rejected|adopted|turned down|picked\
            |chose) {what}
        (?P<what>[^:]{5,120} (from now on|with immediate effect|until further notice)\b.*)
    """,
    facts=r"""
        \b(number|no\.|code|pin|password|passcode|wi-?fi|iban|reference|ref|serial|key ?code\
            |combination|size|address|phone|extension|account|tax id|id|model|reading|login|user ?name\
            |room|password|plate|registration|blood type|policy|licence|license|order|booking\
            |customer)\b[^.!?]{0,40}?(\bis\b|'s\b|:|=|\bare\b|#)\s?[^.!?]*?(\d|"|[A-Z]{2})|(supplier\
            |contact|landlord|landlady|emergency|insurance)\b.{0,30}: |\b(keys?|meter|stopcock|valve\
            |fuse box|files?|folder|documents?|passport|ladder|manual|charger|remote|first[- ]aid \w+\
            |spares?|tools?|shut-?off)\b.{0,30}? {located}|(pin|code|password|passcode) (?=\S*\d{3})\
            |(is|are) included in|allergic to|(is|are) (not|no longer) (permitted|allowed)|(is\
            |are) (forbidden|prohibited)|can be (kept|collected|returned|picked up) (until|from|at)\
            |(changed|moved|switched) to \S*\d|under warranty|(contract|lease|guarantee|policy\
            |insurance|licence|permit|visa|passport|offer|membership|subscription)\b.{0,20} (runs|lasts\
            |is valid|expires|ends)\b|\b(costs?|price|fees?|rent|deposit|tickets?|entry|admission|rate\
            |fare|subscription|budget|charge)\b[^.!?]{0,30}(\bis\b|\bare\b|:|=) ?(now |only \
            |about )?([£$€]|\d)|\bcosts? (about |only )?[£$€]?\d|\b(open|opens|opening hours\
            |hours)\b( \w+){0,4}? \d|\b(bus|coach|train|ferry|tram|shuttle|boat)\b[^.!?]{0,30} (leaves?\
            |departs?|goes|runs)\b[^!?]*\d|\b(is|are|measures?|holds?\
            |weighs?) (about )?\d[\d.,]*( ?[x×] ?\d[\d.,]*| by \d[\d.,]*)* ?(cm|mm|m|km|kg|g|l|ml\
            |lit(re|er)s?|met(re|er)s?|inch(es)?|feet|ft|watts?|volts?|[GMT]B|kWh)\b|\b(spare|main\
            |new) \w+ {located}|\b(is|are) (kept|stored|hidden|parked|to be found) (under|behind|in|on\
            |at|above|next|inside)\b|warranty (until|runs)|valid until|\b(band|class|grade|group|gate\
            |seat|row|unit|bay|platform) is (?-i:[A-Z0-9])
    """,
    places=r"""
        \b(is|are|hangs?|lies|lives?|kept|stored|sits?|stands?|goes?|go|opens?|closes?|takes?|costs?\
            |needs?|wears?|likes?|only|never|always|every|allergic|under|behind|inside|next to|on top\
            |at the|in the|from the|reset|use|runs on|lasts|has|have|works|until|before|per|between)\b
    """,
    projects=r"""
        \b(projects?|initiative|programme|campaign) ((called|named) )?["“„«‘']\
            (?P<name>[^"”“»'’]{2,60})["”“»'’]
        \b(projects?|initiative) ((called|named) )?(?P<name>{A}[\w-]+( (?-i:[A-Z0-9])[\w-]*){0,3})
        ["“„«‘](?P<name>[^"”“»’]{2,60})["”“»’] (project|initiative|programme|campaign)\b
        \b(?P<name>(?!The\b|Our\b|This\b|A\b|My\b|Your\b|New\b){A}[\w-]+( {A}[\w-]*){0,2}) (project\
            |programme|initiative|campaign|scheme|appeal)\b
        \b(appeal|scheme|campaign|initiative|project|drive|effort)\b[^.]{0,20} (called\
            |named) (?P<name>{A}[\w-]+( {A}[\w-]*){0,3})
        (approved|launched|started|kicked off|funded) (?P<name>{A}[\w-]+( {A}[\w-]*){1,3})(?= \
            .{0,30}project)
    """,
    comments=r"""
        (comment|remark|note|reply|update) (by|from) (?P<who>[^:]{1,40}):\s*(?P<what>.+)
        (on|re|about|regarding|for|as for|concerning|to) (the |my |your \
            |our )?[^:,–]{0,40}\b{tickets}[^:,–]{0,40}\s?[:,–-]\s*{rest}
    """,
    tickets=r"^\W{0,2}#\d{2,}\b|(ticket|issue|incident|bug|case|request|fault)\b.{0,6}\d",
    urgent=r"""
        \burgent(ly)?\b|\basap\b|\bas soon as possible\b|\bimmediately\b|\bright away\b|\bat once\b\
            |\btop priority\b|\bhigh priority\b|\bcritical\b|!!
    """,
    minutes=r"""
        \b(minutes|meeting|stand-?up|weekly|board|committee|present:|attendees|attending|apologies\
            |notes from|call with|sync|retro|council|agenda|protocol|jour fixe|assembly|debrief|session\
            |planning)\b
    """,
    to_do=r"""
        ^\W*(action items?|actions|to-?dos?|to do( list)?|next steps|tasks|open( points| items)?\
            |follow-?ups?|homework|errands|chores|checklist|.{0,20}\bjobs|still (open|to do|missing)\
            |what('s| is) left|reminders?|shopping( list)?|packing( list)?|before \w.*|.*\b(errands\
            |list|to ?do|chores|who does what)\b)\W*$
    """,
    finished=r"^\W*(done|completed|finished|closed|already done|achieved|accomplished|what we did)\W*$",
    decided=r"^\W*(decisions?|decided|resolutions?|agreed)\W*$",
    talk=r"""
        ^\W*(agenda|topics?|ideas?|questions?|open questions|participants?|attendees|present|apologies\
            |discussion|some ?day|maybe|wish ?list|ingredients|menu|summary|news|background\
            |cancelled)\W*$
    """,
    labels=either("""
        {days} from to cc bcc subject date sent present attendees participants apologies location place
        time where when who what why note notes ps re fwd decision decisions action actions todo todos
        reminder deadline topic agenda next today tomorrow yesterday total price phone tel email mail
        web address password wifi code number warning tip update status priority project summary
        background owner raised reporter opened assigned environment severity component version browser
        affects affected steps step expected actual observed workaround impact resolution estimate
        created updated closed area device customer account type description history cause symptoms
        assignee platform system server url log logs error example result results goal question answer
        idea
    """),
    anyone=either("everyone everybody somebody someone anybody anyone you each all both"),
    articles="(the|our|an?) ",
    pronoun_subjects="it this that they",
    spanning=r"""
        (volunteers|helpers|people|hands|drivers|readers|bakers|a volunteer|someone) (is|are) (still \
            |urgently )?(needed|wanted|required|sought) (to|for) {what}
        (i|we) (have |had )?(promised|said|told)( \w+)? (that )?(i|we)('d| would|'ll\
            | will) (?P<what>(?!.*\bif (he|she|they)\b)\w.+)
        (i|we) (have |'ve )?promised (\w+ )?to {what}
        (i|we) (must|should|need to|have to) (remember|not forget) to {what}
        (don't|do not) let (me|us|him|her) forget to {what}
        (i|we)('d| would) ask (you|everyone|everybody|all)( all)? to {what}
        (we|i)( still)? need (a volunteer|volunteers|someone|somebody|people|two people|help) (to|for\
            |with) {what}
        {names} (has been|was|were|have been|is|are) (asked|told|assigned|tasked|requested\
            |appointed) (to|with) {what}
        (?P<np>the {a}+( {a}+)?) (has been|was|were|have been|is|are) (asked|told|assigned|tasked\
            |instructed|appointed) (to|with) {what}
        (it was|we|they|the \w+) (agreed|decided) that {who} (will|would|should|is to\
            |must) (?P<what>{verbs}.+)
        (your|my|our|his|her) (next )?(task|job|homework|duty|mission) (is|will be) to {what}
        responsible for (?P<what>[^:]{2,40}): ?{who}
        (do you think|is there any chance|any chance|is it possible that) (you|someone|somebody)( could\
            | can| might)? {what}
        \w+ (wants|asked|needs|expects|would like|told) (me|us|you) to {what}
        (action|ap|ai|todo|task)s?\s*:?\s+{who}( to |: ?| will | - ){what}
        gonna (?P<what>{verbs}.+)
    """,
    addressed=r"""
        (will|must|is to|has to|needs to|should) (?P<what>{verbs}.+)
        you (need to |have to |should |must |can |could )?(?P<what>(?!are|have|know|look)\w+ .+)
    """,
    rewrites=(
        (
            r"((the|an?|all) )?(?P<np>[^,;:]{2,60}?) (still |also )?(needs?|wants?|could do with) "
            r"(?P<verb>{a}{2,}ing)\b(?P<rest>.*)",
            _order,
        ),
        (
            r"((the|an?|all) )?(?P<np>[^,;:]{2,60}?) "
            r"(must|has to|have to|needs? to|should|shall|is to|are to|to) be (\w+ly )?"
            r"(?P<verb>\w+ed|put|set|{participles})\b(?P<rest>.*)",
            _order,
        ),
    ),
    finite="{present}",
    base_endings="ies=y sses=ss shes=sh ches=ch xes=x oes=o s=",
    pronouns=r"""
        ({verbs}|{present}) (it|them|him|her|that|this|those|these)\b($| (back|over|again|up|out|in|off\
            |to|for|on|by|tomorrow|today|too|as|at|with|then|before|after|soon|asap|please)\b).{0,40}$
    """,
    edges=r"""
        \b(by|before|until|till|at|towards|in) (the )?(end|beginning|middle|start) of (the |this \
            |next )?[a-z]+
    """,
    me="I|we|me|us|let me",
    undated=r"""
        \b(an?|no|any|some|every|each|another) (weekend|{days}) (?!at|on|in|by|from|to|and|or|before|after\
            |morning|afternoon|evening|night|lunch|noon|if|when|is|are|was|will|the|an?|for|with)[a-z]+
    """,
    dated=either(r"""
        {days} today tonight tomorrow tmrw weekend jan feb mar apr jun jul aug sept? oct nov dec mon tue
        wed thu fri sat sun days? weeks? months? year quarter eod cob eow noon fortnight mid-?\w+
        morning afternoon evening night
    """),
)
