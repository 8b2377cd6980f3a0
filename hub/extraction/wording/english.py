# ruff: noqa: RUF001 - letters of other alphabets
"""English words of requests, duties, plans and decisions."""

import re
from typing import Final

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
_NO_VERB: Final = (
    r"(?!(?:the|an?|this|that|these|those|my|your|his|her|its|our|their|me|you|him|us|them|be|"
    r"been|have|say|date|go|see|know|get|think|feel|live|like|love|wear|walk|sleep|stay|look|"
    r"hear|believe|admit|hope|and|or|which|whom|all|every|one|some|no|not|never|always|probably|"
    r"have|bed|work|town|school|church|lunch|(?:meet|visit|join) (?:you|us|me)|come|arrive)\b)"
)
_VERB: Final = rf"(?:{_NO_VERB}[a-z][a-z-]+)"
_PERSON: Final = (
    r"(?:(?:someone|somebody|anyone|anybody|everyone|everybody)(?: (?:from|in|at|of|with) "
    r"[^,;:.!?]{2,30}?)?|one of (?:you|us)|whoever [^,;:.!?]{2,40}?)"
)
_PROMISE: Final = (
    r"(?:'ll| will|'s going to| must| has to| have to| needs to| need to| should| shall| is to| "
    r"are to| is going to| are going to| is supposed to| are supposed to| (?:is|are) meant "
    r"to(?: be)?| ought to| plans to| wants to| volunteers to| offers to| agrees to| promises "
    r"to| is due to| (?:has |have |had )?(?:kindly |also |already )?(?:agreed|promised|offered|"
    r"volunteered|undertook|undertaken|been asked|been told) to| (?:was|were|is) asked to| "
    r"(?:still|also) (?:has|have|needs?) to)"
)

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
    common=(
        "monday tuesday wednesday thursday friday saturday sunday tomorrow today need needs must "
        "should could let's get got do does did has or how all some any more up out the and is are "
        "was were you your we our they their it its this that these those with for from have has "
        "had will would could can not please of to in on at by be been there he she his her him my "
        "me i'll don't it's i'm about when what who which before after until still but so if as an "
        "i"
    ),
    no_names=(
        "the a an this that these those it he she we they you i there here what which who when "
        "where why how if then so but and or no not please all everyone everybody somebody someone "
        "nobody nothing anything something each both next today tomorrow tonight yesterday monday "
        "tuesday wednesday thursday friday saturday sunday january february march april may june "
        "july august september october november december our your my his her its their hi hello "
        "hey dear thanks thank yes ok okay also still once after before since until by on in at "
        "for from with action decision note reminder topic todo agenda deadline last first second "
        "one two three another any some most many more everything project team as because while "
        "although though maybe perhaps just let could can would will"
    ),
    name=(
        r"(?:(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Aunt|Uncle|Father|Sister)\.? )?[A-Z][\w’'-]+(?: "
        r"(?:van|de|der|von|of|[A-Z]\.|[A-Z][\w’'-]+)){0,2}"
    ),
    verbs=rf"(?i:\b(?:{_ANY})\b(?!-))",
    present=rf"(?:\b(?:{_PRESENT})\b)",
    fillers=r"(?i:\b(?:please|pls|plz|kindly)\b,?|\bbtw\b|,? by the way\b)",
    leads=(
        r"(?i:(?:and|but|so|then|also|or|oh|uh|um|er|ah|right|ok(?:ay)?|well|first(?:ly)?|"
        r"second(?:ly)?|next(?=[,:])|finally|lastly|afterwards|meanwhile|anyway|besides|again|one "
        r"more thing|by the way|btw|ps|p\.s\.|as agreed|as discussed|in addition|in the meantime|"
        r"otherwise|therefore|hence|once more|yes|yep|sure|right|(?:just )?(?:a )?(?:quick |"
        r"friendly |gentle |small |little )?reminder(?: that)?|that|[A-Z]\w+ (?:said|says|reported|"
        r"reports|thinks|asked|mentioned|noted|suggested|told us|reminded (?:us|everyone|everybody))"
        r"(?: that)?|hence|once again|after that|before that|if possible|when you (?:can|have time|"
        r"get a chance)|asap|for (?:this|that)|until then|hi|hey|hello|thanks|sorry|note|important|"
        r"urgent|fyi|heads up|either way|on another note|regarding [^,]{1,30}|@)\b[,:!.\s–-]*)"
    ),
    joints=(
        r"(?i:\s*(?:[;–—]|->|→)\s+|\s-\s|,?\s(?:and|but)\s(?:then\s|also\s)?|,\s(?:then\s|"
        r"so\s)?|:\s|\sso(?: that)?\s|\s\(|\)\s?)"
    ),
    requests=(
        (
            r"(?i:(?:could|can|may|might) I (?:also |just )?(?:trouble|bother|ask) you "
            r"(?:for|to) (?P<what>\w.+))"
        ),
        (
            r"(?i:(?:I|we)(?:'d| would) like (?P<what>(?:your|the|some) \w[^;:.!?]* "
            r"(?:by|before|until) .*))"
        ),
        (
            r"(?i:(?:would|is|might) (?:it|there) be (?:possible|any chance|any way)(?: (?:for "
            r"you|of you))?(?: to)? (?P<what>\w.+))"
        ),
        r"(?i:wondering (?:if|whether) you (?:could|might|would be able to|can) (?P<what>\w.+))",
        (
            r"(?i:(?:is|are|am|'m|'re|'s) looking for (?:\w+ ){1,3}(?:to|who (?:can|could|will)) "
            r"(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:asked|asks|requested|requests|insists) that (?P<what>[^,;:.!?]{2,50} (?:be|"
            r"is|are|get)\b.+))"
        ),
        (
            r"(?i:(?:I|we)(?:'ll| will| still| really| also)* need (?P<what>(?!to )\w[^;:.!?]* "
            r"(?:from you|by|before|until|no later)\b.*))"
        ),
        r"(?i:let (?P<what>(?:the|your|our) \w+ know\b.*))",
        r"(?i:(?:please )?remind (?:me|us) (?:to |about )(?P<what>\w.+))",
        r"(?i:leave (?P<what>(?!(?:it|this|that|them|him|her)\b)[^,;:.!?]{3,60}) (?:to|with) me\b)",
        r"(?i:over to (?:you|(?P<who>(?-i:{name}))) (?:for|on|with|to) (?P<what>\w.+))",
        (
            r"(?i:(?:you're|you are|you were|I'm|I am) (?:down for|up for|in charge of|responsible for|"
            r"on (?=\w+ duty)) ?(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:it|this|that)(?: now)?(?: falls| is|'s)(?: down| up| over)? to (?:you|me|us|"
            r"(?P<who>(?-i:{name}))) to (?P<what>\w.+))"
        ),
        (
            r"(?i:(?P<what>(?!(?:it|this|that|which|all|the (?:choice|pleasure|fault|idea))\b)"
            r"[^\s,;:.!?()][^,;:!?()]{2,50}?) (?:is|are) (?:all )?(?:yours|mine|your (?:job|task|baby|"
            r"turn)|down to (?:you|me)|on (?:you|me))\b)"
        ),
        r"(?P<what>(?!(?i:no|yes|oh|ok|say|quiet|more)\b)\w[^;:!?.]{8,120}?) (?i:please|pls|plz)\W*$",
        (
            rf"(?i:{_PERSON} (?:just |really |still |also )?(?:has got to|needs? to|has to|must|"
            rf"should|ought to|could|will have to) (?P<what>\w.+))"
        ),
        (
            r"(?i:(?:could|can|would|will) (?:you|u|ya|someone|somebody|anyone|anybody|everyone|"
            r"everybody|one of you)(?: all| both| guys)?(?: maybe| possibly| perhaps| also| then| just| "
            r"quickly| still| kindly)* (?P<what>(?!mind |believe|imagine|guess|hear|see |feel|smell|"
            r"remember|tell me why|help it|like|say|blame)\w.+))"
        ),
        r"(?:[Cc]an|[Cc]ould|[Ww]ould|[Ww]ill) (?P<who>{name}) (?P<what>{verbs}.+)",
        rf"(?i:(?:could|can|would|will) {_PERSON} (?P<what>{{verbs}}.+))",
        (
            rf"(?i:if) (?:(?i:you|{_PERSON})|(?P<who>{{name}})) (?i:could|would|can)(?i: please|"
            rf" kindly)? (?P<what>{_VERB} .+)"
        ),
        rf"(?i:{_PERSON}(?: please)? (?P<what>(?:start|{{verbs}})\b.+))",
        r"(?i:(?:would|do) you mind (?P<what>\w+ing\b.+))",
        r"(?i:(?:can|could|may|might) I (?:ask|trouble|bother|get|persuade) you to (?P<what>\w.+))",
        r"(?i:(?:would you be|be) (?:so kind as|kind enough|able|willing) to (?P<what>\w.+))",
        (
            r"(?i:(?:I|we)(?:'ve| have)? (?:asked|told|got) (?P<who>(?-i:{name})|everyone|them) to "
            r"(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:(?:I|we)(?:'d| would) be )?(?:very |most )?(?:grateful|thankful|thanks) for "
            r"(?P<what>(?:your |any )?(?:comments?|feedback|replies|reply|answers?|confirmation|"
            r"signature|input|views)\b.+))"
        ),
        (
            r"(?i:(?:I|we)(?:'d| would) (?:appreciate|welcome|like) (?P<what>(?:your |any "
            r")?(?:comments?|feedback|reply|answers?|confirmation|input|views)\b.+))"
        ),
        r"(?i:(?:over to you|it's your turn|you're up) (?:for|on|with) (?P<what>\w.+))",
        r"(?i:any chance (?:that )?you (?:could|can) (?P<what>\w.+))",
        (
            r"(?i:(?:it would be|it'd be|would be)? ?(?:great|nice|good|lovely|helpful|kind|perfect|"
            r"super) if (?:you|someone|somebody) (?:could|can|would) (?P<what>\w.+))"
        ),
        (
            r"(?i:(?:i|we)(?:'d| would| really)* (?:appreciate|be (?:grateful|glad|"
            r"happy|thankful)) (?:it )?if you (?:could|can|would) (?P<what>\w.+))"
        ),
        (
            r"(?i:(?:i|we) (?:would |'d )?(?:need|want|like|ask|expect|beg|urge|invite)(?:'d)? (?:you|"
            r"everyone|everybody|each of you|all of you) (?:all )?to (?P<what>\w.+))"
        ),
        r"(?i:(?:i|we)(?:'d| would) like you (?:all )?to (?P<what>\w.+))",
        (
            r"(?i:(?:\w+ )?[^\s,;:.!?][^,;:.!?]{0,50}? (?:are|is) (?:kindly )?(?:asked|requested|"
            r"required|reminded|invited|expected|advised|encouraged) to (?P<what>\w.+))"
        ),
        (
            r"(?i:(?:please |kindly )?(?:don't|do not|dont|never|let's not) forget "
            r"(?:to |about |that )?(?P<what>\w.+))"
        ),
        r"(?i:(?:please )?remember (?:to |that you (?:need|have) to )(?P<what>\w.+))",
        r"(?i:(?:please )?(?:make sure|be sure|see to it|take care)(?: that| to)? (?P<what>\w.+))",
        (
            r"(?i:(?:(?:please|pls|plz|kindly) |(?<!\w )(?:please|pls|plz|kindly), ?)(?P<what>(?!note "
            r"that|find |see |accept|excuse|forgive|be advised|don't hesitate|do not hesitate|feel free|"
            r"disregard|ignore|don't|do not|no |not |bear with|be patient|enjoy|give (?:my|our) )\w.+))"
        ),
        r"(?i:let me know (?P<what>\w.+))",
        (
            r"(?i:(?:to ?do|action(?: items?)?|ai|next steps?|follow[- ]up|task|"
            r"open|tbd|to be done)s?\s*[:–-]\s*(?P<what>\w.+))"
        ),
    ),
    duties=(
        (
            r"(?P<who>{name})(?i:'s| is| are| will be)+ (?P<what>(?:organi[sz]ing|arranging|booking|"
            r"sorting|ordering|handling|collecting|bringing|preparing|chasing|drafting|printing|picking "
            r"up|looking after|dealing with|seeing to|getting|hosting|checking|fixing|replacing) .+)"
        ),
        (
            r"(?P<who>(?i:I|we))(?i:'ll| will| shall| need to| have to| must| should| am going to| are "
            r"going to|'m going to|'re going to| still need to| still have to| also need to| ought to| "
            r"promise to|'ve got to| gotta| got to|'d better| had better| am to| are to| can)(?i: also| "
            r"then| still| just| definitely| probably| quickly)* (?P<what>(?!be |see |have (?!a look|a "
            r"word)|know|never|not |always|love|miss|think|be$|hope|like|feel|hear|say|understand|get "
            r"there|survive|die|stay|sleep|ever |want|remember|only |at least|look forward|sure|keep it|"
            r"note|call it)(?i:{verbs}).*)"
        ),
        r"(?i:let me (?P<what>(?!know|think|see|tell|be|guess|say){verbs}.+))",
        (
            r"(?i:let's (?:aim to |try to |plan to |make sure we )?(?P<what>(?!see|say|hope|face|be |"
            r"not|meet|go |talk about|pretend|keep our){verbs}.+))"
        ),
        (
            rf"(?P<who>{{name}}(?:(?:,| and| &| or) {{name}}){{0,3}})(?i:{_PROMISE}|, can you|, could "
            rf"you|, you need to)(?i: also| then| still| please| therefore| now| kindly)* "
            rf"(?P<what>(?:{_NO_VERB}\w|have (?:its|the|a|his|her|their)\b|have a look).+)"
        ),
        (
            rf"(?P<who>{{name}}(?:(?:,| and| &) {{name}}){{0,3}}) to (?P<what>{{verbs}}.*|{_VERB} (?:the|"
            rf"an?|his|her|our|their|all|some|any|two|three|up|out|back|with|about|for|from|into|off|"
            rf"over|down|in|it|them|us)\b.*)"
        ),
        (
            rf"(?P<what>(?!(?i:I|you|he|she|it|we|they|there)\b){_NP}(?<! out)(?<!seems)(?<!seem)"
            rf"(?<!used)(?<!proved)(?<!appears)(?<!hopes)(?<!hope)(?<!wants)(?<!likes)(?<!happens) to be "
            rf"\w+(?:ed|en|t|ne|wn|ung|de)\b.*)"
        ),
        (
            r"(?P<who>{name}(?:(?:,| and| &) {name}){0,3})(?i: is|'s| are)? (?i:takes? care of|taking "
            r"care of|responsible for|takes? over|in charge of|handles?|handling|looks? after|takes? on|"
            r"(?:has |have )?(?:taken on|taken over|volunteered for|offered for|signed up for)|down for|"
            r"up for|does|do|brings?|looks? into|follows? up (?:on|with)|gets? back to|checks? with|"
            r"owns) (?P<what>\w.+)"
        ),
        (
            r"(?i:you(?:'ll| will)?(?: all| both| also| still)? (?:need to|have "
            r"to|must|should|ought to|'ve got to)(?: also| still| please)* (?P<what>(?!see|"
            r"have|know|be |not|never|try the|worry|think|feel)\w.+))"
        ),
        (
            rf"(?P<what>(?!(?i:I|you|he|she|it|there|this|that|what|who|nothing|nobody)\b){_NP} (?i:must|"
            rf"has to|have to|needs? to|should|is to|are to|still needs? to|still has to|shall) "
            rf"(?i:still |also |now )?(?:all )?be(?i:en)? (?:(?:in|out|up|back|ready|done) (?:by|before|"
            rf"on) |(?!(?i:fine|ok|able|good|there|enough|interesting|possible|careful|quiet|nice|easier|"
            rf"better|cheaper|more|less|\d|in |on |at |a |an |the |here|ready|allowed|closed|open)\b))"
            rf"\w.*)"
        ),
        (
            rf"(?P<what>(?!(?i:I|you|he|she|it|there|this|that|what|who|nothing|nobody)\b){_NP} "
            rf"(?i:must|has to|have to|needs? to|should) (?!(?i:be|have|not|never|"
            rf"work|arrive|help|do|look|go|know|mean|stay)\b){{verbs}}.*)"
        ),
        (
            rf"(?P<what>(?!(?i:I|you|he|she|it|there)\b){_NP} (?i:still )?(?i:needs?|wants?|could do "
            rf"with) (?:\w+ing|replacing|an? (?!lot|bit|hand|while|rest|holiday|break|drink|few)\w+|your "
            rf"(?:signature|approval|answer|ok|sign-?off|input|reply|decision)).*)"
        ),
        (
            rf"(?P<what>(?!(?i:it|they|these|those|this|there)\b){_NP}(?i: is| are|"
            rf"'s) (?i:still )?(?:now )?(?i:due) (?i:on|by|in|until|to|at|before|"
            rf"this|next|tomorrow|today|mon|tue|wed|thu|fri|sat|sun).*)"
        ),
        (
            r"(?i:(?:it is|it's|that is|that's) (?:your|my|(?:up to|on) (?:you|me|us))(?: "
            r"job| turn| task| duty)? to (?P<what>\w.+))"
        ),
        (
            r"(?i:(?:someone|somebody|one of us|who) (?:must|has to|needs to|should|ought to|could|"
            r"will have to) (?P<what>\w.+))"
        ),
        (
            r"(?i:(?:still )?(?:(?:needs?|has|have|got|want|remains|left) to|must|gotta|should) "
            r"(?P<what>(?:{verbs}|be (?:\w+ed|with|in|at|on|ready|done|sent)\b).+))"
        ),
        r"(?:[Ww]ill|'ll)(?: also| then| still| just)* (?P<what>{verbs}.+)",
        (
            rf"(?i:(?P<what>(?!(?:I|you|he|she|it|there|this|that|what|who|nothing)\b){_NP} (?:is |are |"
            rf"'s )?(?:still|yet) to (?!come\b|be seen)\w+.*))"
        ),
        (
            rf"(?i:(?P<what>(?!(?:I|you|he|she|it|there|this|that|what|who|nothing)\b){_NP} (?:has|have|"
            rf"'s) got to be \w+.*))"
        ),
        (
            r"(?i:(?:I|we)(?:(?: also| still| urgently) (?:need|want|lack)|(?: also| still| further| "
            r"now)* require) (?P<what>(?!to |it\b|that\b|more time)\w.+))"
        ),
        r"(?i:the deadline (?:for|to|of) (?P<what>.+))",
        r"(?i:it's time to (?P<what>\w.+))",
        (
            r"(?i:(?P<what>(?!keep (?:it|this|that) |note |issue \d|call with|read |put |try |speak "
            r"soon|(?:rent|show|review|post|record|report|test|stock) (?:for|of|on|in|at) |set (?!up)|"
            r"cut |let |leave (?:it|me) |let's |thank |call w/|(?:work|print|report|review|post|plan|"
            r"order|test|change|water|stock|repair|research|support|track|record|show|copy|answer|issue|"
            r"export|import|store|process|design|draft|increase|start|paint|train|watch|walk|visit|run|"
            r"release|supply|update|return|request|message)\b(?:(?!\b(?:that|which|who|what|how|if|"
            r"whether|where|when|because|as|and|or|so|than|until|before|after|while)\b)[^,;:(])*? (?:is|"
            r"are|was|were|will|has|had|carries|goes|went|comes|came|turned|looks|seems|starts|started|"
            r"begins|works|worked|costs|continues|remains)\b)(?:{verbs})(?! (?:a good|good|well|fun|"
            r"care|it easy|the sun|your (?:evening|weekend)|my love|more about|greetings|is|are|was|"
            r"were|has|had|looks?|day|went)\b).+))"
        ),
    ),
    reports=(
        (
            r"(?P<who>{name}(?:(?:,| and| &) {name}){0,3}) (?:then |also |still "
            r"|now )?(?P<what>{present} (?!that\b|about how\b|to the\b).+)"
        ),
        r"(?P<np>(?i:the) [a-z]+(?: (?!still|often|always|never|all|also)[a-z]+)?) (?P<what>{verbs} .+)",
        rf"(?P<np>(?i:he|she|they))(?i:{_PROMISE}) (?P<what>{_VERB} .+)",
        (
            rf"(?P<who>(?i:I|we))(?i:'ll| will| must| have to| need to) (?P<what>(?!meet|fly|travel|"
            rf"arrive|leave|open|close|miss|remember|start|begin|move|celebrate|hold|host){_VERB} .+)"
        ),
        (
            r"(?P<np>(?i:maintenance|reception|the office|office|IT|HR|facilities|security|management|"
            r"housekeeping|the team|finance|legal|sales|marketing|kitchen|night shift|day shift|whoever "
            r"\w+)) to (?P<what>{verbs}.+)"
        ),
        (
            r"(?P<who>{name})(?i:'s| is| are| still| now| currently)+ (?P<what>(?!(?:being|going|coming|"
            r"having|feeling|doing|getting|staying|living|working(?! on)|saying|thinking|hoping|trying|"
            r"looking forward|sleeping|missing|making do|playing|enjoying)\b)[a-z]+ing (?:up |out |on |"
            r"in |down |after |into )?(?:the|an?|her|his|their|our|some|two|three|grants|quotes)\b.+)"
        ),
        (
            rf"(?P<np>(?!(?i:it|that|there|this)\b)(?:(?i:the|our|flat|unit|room) )?[A-Za-z\d]"
            rf"\w*(?:'s)?(?: \w+)?)(?i:{_PROMISE}) (?P<what>{{verbs}} .+)"
        ),
    ),
    listed=(
        r"(?P<what>(?!(?i:call (?:w/|with )))(?:\w+ly )?{verbs}\b(?! (?:is|are|was|were|has|had|day)\b).+)",
    ),
    more=rf"(?:then |also |to |(?:he|she|they){_PROMISE} )?(?P<what>(?:{{verbs}}|{{present}}) .+)",
    settled=(
        r"(?i:\b(?:done|already|no longer|any ?more|no need|needn't|(?:don't|do not|does not|"
        r"doesn't|didn't|won't|will not) (?:\w+ )?(?:need|have|want|worry|bother)|not necessary|"
        r"unnecessary|cancel+ed|called off|settled|taken care of|sorted out|is sorted|fixed|"
        r"finished|completed|was going to|were going to|(?:would|should|could) have|had to|used to|"
        r"(?:cannot|can't)(?! (?:wait|slip|be late))|couldn't|won't|will not|not be able|never mind|"
        r"forget what|was supposed to|were supposed to|obsolete|solved|resolved|as planned|"
        r"yesterday|last (?:week|month|year|night)|ago|rejected|declined|postponed indefinitely|"
        r"nobody|no one|it worked|nothing (?:to|for|more|left|else)|not? my|got (?:it|them|one)|"
        r"ticked off|off the list|crossed out)\b|✓|✔|☑|✅)"
    ),
    unreal=(
        r"(?i:\b(?:maybe|perhaps|might|possibly|one day|some ?day|would be nice|would love|would "
        r"like to|i'd love|i'd like to|wish|if (?:i|we|you|only)|in theory|wonder(?:ing|ed)?|"
        r"thinking (?:of|about)|thought about|consider(?:ing|ed)?|dream(?:t|ing)?|imagine|not sure|"
        r"(?:wonder\w*|not sure|question) whether|undecided|undecided|idea|hopefully|probably|"
        r"apparently|supposedly|they say|as if|would (?!you)|joke|kidding|pretend|recipe|novel|"
        r"movie|film|song|poem|for example|e\.g\.|for instance)\b)"
    ),
    general=(
        r"(?i:\bone (?:must|should|has to|needs|ought)|\b(?:every|each|four times a|every other|a) "
        r"(?:day|morning|night|evening|year)\b|\b(?:said|whispered|replied|cried|shouted|muttered|"
        r"laughed) (?!I\b|we\b)(?:the|my|his|her|he|she|[A-Z])|must have \w+|\b(?:players?|on your "
        r"turn|the deck|end of story|by hand or|in the old days|when I was)\b|^if (?!(?:you|some|"
        r"any)\w* (?:could|can|would|have|get|like)|possible|need)[^,]{4,60}, (?!please|can you|"
        r"could)|\b(?:in case|whenever|as a rule|you should (?:never|always)|or (?:else )?you(?:'ll|"
        r" will)|and (?:it|you)(?:'ll| will)|says:|nobody ever|(?:always|never) \w+ (?:a|your|the) )"
        r"|(?:people|they|doctors|experts) (?:here )?say|more often|my gran|used to say|says "
        r"(?:that )?(?:everyone|you|one|people) |while hot|daily\b)"
    ),
    openers=(
        rf"(?i:(?<!\w)(?:please|pls|remind me|could (?:you|some)|can (?:you|some)|would you|would it|"
        rf"wondering|if (?:you|some\w+|(?-i:[A-Z]\w+)) could|I've|don't forget|remember to|make sure|"
        rf"I(?:'ll| will| need to| have to| must| still| shall| should|'m going to|'d like you)|"
        rf"we(?:'ll| need to| have to| must)|you(?:'ll)? need to|you have to|somebody|someone|"
        rf"everybody|everyone|must|it's on me|I would be|we would be)\b)|(?:(?<=which )|(?<=, )|"
        rf"(?<=because )|(?<=if )|(?<=so )){{name}}(?=(?i:{_PROMISE}))"
    ),
    asks=(
        r"(?i:(?:and |so |now )?who(?:'s| is| can| could| will| would| wants to| would like "
        r"to| is going to| has time to)? (?P<what>\w[^?]{3,80})\?)"
    ),
    answers=(
        r"(?i:(?:(?:i|we)(?:'ll| will| can| could)?(?: do| take| handle| see to| manage| get)?(?: "
        r"(?:it|that|this one|so))?|on it|me|mine|will do|leave it (?:to|with) me|i'm on it|i've "
        r"got (?:it|this)|count me in|happy to|dibs)(?:,? (?:then|too|on|this|next|by|tomorrow|"
        r"today|tonight|monday|tuesday|wednesday|thursday|friday|saturday|sunday|morning|afternoon|"
        r"evening|week|thanks?|sure|please|says? \w+))*$)|(?P<who>{name}) (?i:will|can|does|'ll do|"
        r"says?|offered|volunteered|has offered|has volunteered)(?i: do| to do)?(?i: it| that| so)?$"
    ),
    past=(
        r"(?i:\bsince\b|\bon a (?:weekend|weekday)\b|\b(?:runs|valid|guaranteed|lasts|insured) "
        r"(?:until|to|through)\b)"
    ),
    personal=either(
        "I i'\\w+ me my we we'\\w+ us our please pls thanks thank love regards cheers dear hi hello"
    ),
    advice=(
        r"(?i:\W*(?:how (?:to|I|we) \w|(?:\w+ ){0,3}(?:recipe|instructions|directions|guide|tips|"
        r"steps|method|preparation|rules|advice|workaround|hints|tricks|safety)\b(?: (?:of|for|on|"
        r"to)\b[^:.!?]*)?(?::|\W*$)|\w+ (?:tips|ways|things|steps|rules|reasons) (?:to|for|that|"
        r"every)\b))"
    ),
    states=r"(?i:\b(?:is|are|was|were|has|had|waiting|got|fits?)\b)",
    events=(
        r"(?i:\b(?<!will )(?<!'ll )(?:meetings?|appointment|kick-?off|conference|workshop|training|"
        r"call|interview|exams?|tests?|concert|party|birthday|wedding|trip|visit|inspection|opening|"
        r"launch|release|go-?live|presentation|demo|review|stand-?up|retro(?:spective)?|assembly|"
        r"session|lunch|dinner|breakfast|brunch|barbecue|bbq|festival|fair|match|game|race|"
        r"rehearsal|premi[eè]re|show|performance|flight|train|departure|arrival|delivery|check-?up|"
        r"dentist|doctor|vet|surgery|operation|move|moving day|inventory|stock-?taking|audit|"
        r"hearing|election|vote|webinar|lecture|course|class|open day|open house|parents' evening|"
        r"holidays?|anniversary|ceremony|funeral|reunion|tour|excursion|camp|sale|market|"
        r"maintenance|power cut|outage|drill|service|deadline|submission|handover|viewing|"
        r"walk-?through|sprint|tasting|clean-?up|bonfire|agm|seminar|talk|exhibition|tournament|"
        r"graduation|deadline|round|day|night|evening|summer f[eê]te|f[eê]te|collection|hike|picnic|"
        r"regatta|catch-?up|one-on-one|1:1|shoot|test run|photo|cut-?over|migration|rollout|"
        r"downtime|strike|parade|dress rehearsal|final|finals|semi-final|kick off|briefing|debrief|"
        r"forum|summit|congress|meet-?up|screening|reading|recital|auction|raffle|swap|drive|run|"
        r"walk)\b)"
    ),
    happens=(
        r"(?i:\b(?:due|(?<!I )(?<!we )(?<!he )(?<!they )(?<!you )will|takes? place|will be held|is "
        r"held|is on|are on|is at|is (?:scheduled|planned|set|fixed|due|booked|arranged)|are "
        r"(?:scheduled|planned|booked)|starts?|begins?|opens?|closes?|(?:is|are|stays?) closed|"
        r"arrives?|comes?(?: by| over| back)?|leaves?|departs?|lands?|meets?|meet(?:ing)?|happens|"
        r"runs from|(?:is|are|'s|'re) (?:coming|arriving|visiting|starting|leaving|closing|opening)|"
        r"goes ahead|moved|will (?:come|arrive|be closed|open|close|start|begin|visit|take place|"
        r"meet|leave|run|be)|can (?:start|come)|celebrates?|returns?|is expected|expires?|runs out|"
        r"ends?|moves? (?:in|out)|goes live|flies|fly|gets? (?:married|delivered)|is back|are back|"
        r"turns \d+|visits?|goes up|plays?|performs?|hosts?|resumes?|reopens?|breaks? up|sets? off|"
        r"switch(?:es)? over|(?:is|are|'re|'s) (?:off to|away|on leave|on holiday|having|getting|"
        r"moving|flying|playing|hosting|holding|launching|meeting|throwing|celebrating)|we (?:ship|"
        r"launch|fly|travel|release|sail|celebrate|set off|go live)|is handed over|are handed over|"
        r":)(?!\w))"
    ),
    decisions=(
        (
            r"(?i:(?P<what>we(?:'re| are)(?: now)? (?:dropping|stopping|switching|keeping|retiring|"
            r"ending|discontinuing|replacing|not renewing) .+))"
        ),
        (
            r"(?i:(?:decisions?|decided|resolved|agreed|conclusion|consensus|verdict|resolution|outcome|"
            r"approved|carried|passed|adopted|agreement|result)(?: unanimously| nem con)?\s*[:–-]"
            r"\s*(?P<what>\w.+))"
        ),
        (
            r"(?i:(?:[^,;:]{0,40}\b)?(?:we|it was|they|(?:the )?(?:board|committee|team|council|group|"
            r"everyone|everybody|members|all|parents|management|assembly|meeting|club))(?: have| has| "
            r"all| was| unanimously| finally| then| also|'ve)* (?:decided|agreed|resolved|voted|settled|"
            r"chose|opted)(?: unanimously| together)?,? (?:that|to|on|not|against|in favou?r of|for)\b "
            r"?(?P<what>.+))"
        ),
        (
            r"(?i:(?:it was |was )?(?:unanimously )?(?:decided|agreed|resolved|settled)(?: that|"
            r" to| on)? (?P<what>(?:that |to |not |on |no )?\w.+))"
        ),
        (
            r"(?i:(?:[^,;:]{0,40}\b)?remind(?:ed|s) (?:everybody|everyone|us|all|"
            r"the \w+) that (?P<what>.+))"
        ),
        (
            r"(?i:we(?:'ll| will|'ve| have|'re| are)? (?:go|going|gone|settled|stick|sticking|"
            r"keep|keeping|opted) (?:with|for|on|to) (?P<what>\w.+))"
        ),
        r"(?i:(?P<what>from (?:now on|today on|\w+ on(?:wards)?),? .+))",
        (
            r"(?i:(?:the )?(?:board|committee|team|council|group|members|parents|management|assembly|"
            r"meeting|club) (?:have |has |unanimously |finally )*(?:approved|rejected|adopted|turned "
            r"down|picked|chose) (?P<what>\w.+))"
        ),
        r"(?i:(?P<what>[^:]{5,120} (?:from now on|with immediate effect|until further notice)\b.*))",
    ),
    facts=(
        r"(?i:\b(?:number|no\.|code|pin|password|passcode|wi-?fi|iban|reference|ref|serial|key "
        r"?code|combination|size|address|phone|extension|account|tax id|id|model|reading|login|user "
        r"?name|room|password|plate|registration|blood type|policy|licence|license|order|booking|"
        r"customer)\b[^.!?]{0,40}?(?:\bis\b|'s\b|:|=|\bare\b|#)\s?[^.!?]*?(?:\d|\"|[A-Z]{2})|"
        r"(?:supplier|contact|landlord|landlady|emergency|insurance)\b.{0,30}: |\b(?:keys?|meter|"
        r"stopcock|valve|fuse box|files?|folder|documents?|passport|ladder|manual|charger|remote|"
        r"first[- ]aid \w+|spares?|tools?|shut-?off)\b.{0,30}? (?:is|are|hangs?|lies|lives?) (?:now "
        r"|kept )?(?:under|behind|in|on|at|above|next)\b(?! (?:the |their |its |good |my )?(?:way|"
        r"progress|order|place|shape|time|track|hold|sale|risk|fire|use|trouble|hand|least|last|"
        r"stock)\b)|(?:pin|code|password|passcode) (?=\S*\d{3})|(?:is|are) included in|allergic to|"
        r"(?:is|are) (?:not|no longer) (?:permitted|allowed)|(?:is|are) (?:forbidden|prohibited)|"
        r"can be (?:kept|collected|returned|picked up) (?:until|from|at)|(?:changed|moved|switched) "
        r"to \S*\d|under warranty|(?:contract|lease|guarantee|policy|insurance|licence|permit|visa|"
        r"passport|offer|membership|subscription)\b.{0,20} (?:runs|lasts|is valid|expires|ends)\b|"
        r"\b(?:costs?|price|fees?|rent|deposit|tickets?|entry|admission|rate|fare|subscription|"
        r"budget|charge)\b[^.!?]{0,30}(?:\bis\b|\bare\b|:|=) ?(?:now |only |about )?(?:[£$€]|\d)|"
        r"\bcosts? (?:about |only )?[£$€]?\d|\b(?:open|opens|opening hours|hours)\b(?: \w+){0,4}? "
        r"\d|\b(?:bus|coach|train|ferry|tram|shuttle|boat)\b[^.!?]{0,30} (?:leaves?|departs?|goes|"
        r"runs)\b[^!?]*\d|\b(?:is|are|measures?|holds?|weighs?) (?:about )?\d[\d.,]*(?: ?[x×] "
        r"?\d[\d.,]*| by \d[\d.,]*)* ?(?:cm|mm|m|km|kg|g|l|ml|lit(?:re|er)s?|met(?:re|er)s?|"
        r"inch(?:es)?|feet|ft|watts?|volts?|[GMT]B|kWh)\b|\b(?:spare|main|new) \w+ (?:is|are|hangs?|"
        r"lives?) (?:now |kept )?(?:under|behind|in|on|at|above|next)\b(?! (?:the |their |its |good "
        r"|my )?(?:way|progress|order|place|shape|time|track|hold|sale|risk|fire|use|trouble|hand|"
        r"least|last|stock)\b)|\b(?:is|are) (?:kept|stored|hidden|parked|to be found) (?:under|"
        r"behind|in|on|at|above|next|inside)\b|warranty (?:until|runs)|valid until|\b(?:band|class|"
        r"grade|group|gate|seat|row|unit|bay|platform) is (?-i:[A-Z0-9]))"
    ),
    places=(
        r"(?i:\b(?:is|are|hangs?|lies|lives?|kept|stored|sits?|stands?|goes?|"
        r"go|opens?|closes?|takes?|costs?|needs?|wears?|likes?|only|never|always|"
        r"every|allergic|under|behind|inside|next to|on top|at the|in the|from "
        r"the|reset|use|runs on|lasts|has|have|works|until|before|per|between)\b)"
    ),
    projects=(
        (
            r"\b(?i:projects?|initiative|programme|campaign) (?i:(?:called|named) "
            r")?[\"“„«‘'](?P<name>[^\"”“»'’]{2,60})[\"”“»'’]"
        ),
        (
            r"\b(?i:projects?|initiative) (?i:(?:called|named) )?(?P<name>[A-Z][\w-]+(?: "
            r"[A-Z0-9][\w-]*){0,3})"
        ),
        r"[\"“„«‘](?P<name>[^\"”“»’]{2,60})[\"”“»’] (?i:project|initiative|programme|campaign)\b",
        (
            r"\b(?P<name>(?!The\b|Our\b|This\b|A\b|My\b|Your\b|New\b)[A-Z][\w-]+(?: [A-Z][\w-]*){0,2}) "
            r"(?i:project|programme|initiative|campaign|scheme|appeal)\b"
        ),
        (
            r"(?i:\b(?:appeal|scheme|campaign|initiative|project|drive|effort)\b[^.]{0,20} (?:called|"
            r"named) )(?P<name>[A-Z][\w-]+(?: [A-Z][\w-]*){0,3})"
        ),
        (
            r"(?i:approved|launched|started|kicked off|funded) (?P<name>[A-Z][\w-]+(?: [A-Z]"
            r"[\w-]*){1,3})(?= .{0,30}(?i:project))"
        ),
    ),
    begins=either(
        "start(?:s|ed|ing)? begin(?:s|ning)? began launch(?:es|ed|ing)? kick(?:s|ed|ing)? "
        "approved? running runs continue[sd]? continuing goes go agreed set called working "
        "introduc\\w+ green underway under-?way join\\w* resum\\w+ live phase accepted adopted "
        "funded going lead\\w* carried extended"
    ),
    comments=(
        r"(?i:(?:comment|remark|note|reply|update) (?:by|from)) (?P<who>[^:]{1,40}):\s*(?P<what>.+)",
        (
            rf"(?i:(?:on|re|about|regarding|for|as for|concerning|to) (?:the |my "
            rf"|your |our )?[^:,–]{{0,40}}\b{_TASKS}[^:,–]{{0,40}}\s?[:,–-]\s*(?P<what>.+))"
        ),
    ),
    tickets=r"(?i:^\W{0,2}#\d{2,}\b|(?:ticket|issue|incident|bug|case|request|fault)\b.{0,6}\d)",
    urgent=(
        r"(?i:\burgent(?:ly)?\b|\basap\b|\bas soon as possible\b|\bimmediately\b|\bright away\b|"
        r"\bat once\b|\btop priority\b|\bhigh priority\b|\bcritical\b|!!)"
    ),
    deadlines=r"(?i:deadline|due|by|until|reminder|date|today|tomorrow)\b",
    minutes=(
        r"(?i:\b(?:minutes|meeting|stand-?up|weekly|board|committee|present:|"
        r"attendees|attending|apologies|notes from|call with|sync|retro|council|"
        r"agenda|protocol|jour fixe|assembly|debrief|session|planning)\b)"
    ),
    to_do=(
        r"(?i:^\W*(?:action items?|actions|to-?dos?|to do(?: list)?|next steps|tasks|open(?: points|"
        r" items)?|follow-?ups?|homework|errands|chores|checklist|.{0,20}\bjobs|still (?:open|to do|"
        r"missing)|what('s| is) left|reminders?|shopping(?: list)?|packing(?: list)?|before \w.*|"
        r".*\b(?:errands|list|to ?do|chores|who does what)\b)\W*$)"
    ),
    finished=(
        r"(?i:^\W*(?:done|completed|finished|closed|already done|achieved|accomplished|"
        r"what we did)\W*$)"
    ),
    decided=r"(?i:^\W*(?:decisions?|decided|resolutions?|agreed)\W*$)",
    talk=(
        r"(?i:^\W*(?:agenda|topics?|ideas?|questions?|open questions|participants?|"
        r"attendees|present|apologies|discussion|some ?day|maybe|wish ?list|"
        r"ingredients|menu|summary|news|background|cancelled)\W*$)"
    ),
    labels=either(
        "from to cc bcc subject date sent present attendees participants apologies location place "
        "time where when who what why note notes ps re fwd decision decisions action actions todo "
        "todos reminder deadline topic agenda next today tomorrow yesterday monday tuesday "
        "wednesday thursday friday saturday sunday total price phone tel email mail web address "
        "password wifi code number warning tip update status priority project summary background "
        "owner raised reporter opened assigned environment severity component version browser "
        "affects affected steps step expected actual observed workaround impact resolution "
        "estimate created updated closed area device customer account type description history "
        "cause symptoms assignee platform system server url log logs error example result results "
        "goal question answer idea"
    ),
    anyone=either("everyone everybody somebody someone anybody anyone you each all both"),
    articles=r"(?i:(?:the|our|an?) )",
    pronoun_subjects="it this that they",
    goes_on=r"(?i:still (?:open|missing|to do))",
    spanning=(
        (
            r"(?P<who>(?i:I|we))(?i: still| also| do)* (?i:owe) (?:\w+ )(?P<what>(?:the|an?|some|"
            r"his|her|their|\d).+)"
        ),
        r"(?P<who>{name}) (?:still )?(?i:owes) (?:us|me|you|the \w+) (?P<what>\w.+)",
        (
            r"(?i:(?:volunteers|helpers|people|hands|drivers|readers|bakers|a volunteer|someone) (?:is|"
            r"are) (?:still |urgently )?(?:needed|wanted|required|sought) (?:to|for) (?P<what>\w.+))"
        ),
        (
            rf"(?P<what>(?!(?i:I|you|he|she|it|we|they|there)\b){_NP} (?i:is|are|has|have|looks?) "
            rf"[^;:.!?]{{2,40}} and (?i:needs?|wants?|must|has to|have to|should) (?:be )?\w+.*)"
        ),
        (
            r"(?i:(?:i|we) (?:have |had )?(?:promised|said|told)(?: \w+)? (?:that )?(?:i|we)(?:'d| "
            r"would|'ll| will) (?P<what>(?!.*\bif (?:he|she|they)\b)\w.+))"
        ),
        r"(?i:(?:i|we) (?:have |'ve )?promised (?:\w+ )?to (?P<what>\w.+))",
        r"(?i:(?:i|we) (?:must|should|need to|have to) (?:remember|not forget) to (?P<what>\w.+))",
        r"(?i:(?:don't|do not) let (?:me|us|him|her) forget to (?P<what>\w.+))",
        r"(?i:(?:i|we)(?:'d| would) ask (?:you|everyone|everybody|all)(?: all)? to (?P<what>\w.+))",
        (
            r"(?i:(?:we|i)(?: still)? need (?:a volunteer|volunteers|someone|somebody|"
            r"people|two people|help) (?:to|for|with) (?P<what>\w.+))"
        ),
        (
            r"(?P<who>{name}(?:(?:,| and) {name}){0,3}) (?i:has been|was|were|have been|is|are) "
            r"(?i:asked|told|assigned|tasked|requested|appointed) (?i:to|with) (?P<what>\w.+)"
        ),
        (
            r"(?P<np>[Tt]he [a-z]+(?: [a-z]+)?) (?i:has been|was|were|have been|is|are) (?i:asked|told|"
            r"assigned|tasked|instructed|appointed) (?i:to|with) (?P<what>\w.+)"
        ),
        (
            r"(?i:(?:while|when|as long as) (?:I'm|I am) (?:away|off|out|gone|on \w+)[^,;:.!?]{0,30},) "
            r"(?P<who>{name}) (?P<what>{present} .+)"
        ),
        (
            r"(?i:(?:it was|we|they|the \w+) (?:agreed|decided) that )(?P<who>{name}) "
            r"(?i:will|would|should|is to|must) (?P<what>{verbs}.+)"
        ),
        (
            r"(?i:(?:your|my|our|his|her) (?:next )?(?:task|job|homework|duty|mission) "
            r"(?:is|will be) to (?P<what>\w.+))"
        ),
        r"(?i:responsible for (?P<what>[^:]{2,40}): ?)(?P<who>{name})",
        (
            r"(?i:(?:do you think|is there any chance|any chance|is it possible "
            r"that) (?:you|someone|somebody)(?: could| can| might)? (?P<what>\w.+))"
        ),
        r"(?i:\w+ (?:wants|asked|needs|expects|would like|told) (?:me|us|you) to (?P<what>\w.+))",
        (
            r"(?i:(?:action|ap|ai|todo|task)s?\s*:?\s+)(?P<who>{name})(?i: to |: "
            r"?| will | - )(?P<what>\w.+)"
        ),
        r"(?i:gonna (?P<what>{verbs}.+))",
        r"@(?P<who>\w+),? (?i:please |can you |could you )?(?P<what>{verbs}.+)",
    ),
    addressed=(
        r"(?i:will|must|is to|has to|needs to|should) (?P<what>{verbs}.+)",
        (
            r"(?i:you (?:need to |have to |should |must |can |could )?(?P<what>(?!are|have|know|"
            r"look)\w+ .+))"
        ),
    ),
    rewrites=(
        (
            (
                r"(?:(?i:the|an?|all) )?(?P<np>[^,;:]{2,60}?) (?i:still |also )?(?i:needs?|wants?|could do "
                r"with) (?P<verb>[a-z]{2,}ing)\b(?P<rest>.*)"
            ),
            lambda match: _order(match),
        ),
        (
            (
                r"(?:(?i:the|an?|all) )?(?P<np>[^,;:]{2,60}?) (?i:must|has to|have to|needs? to|should|"
                r"shall|is to|are to|to) be (?:\w+ly )?(?P<verb>\w+ed|sent|paid|taken|written|made|given|"
                r"put|set|bought|sold|swept|hung|built|drawn|done|brought|kept|found|told|chosen|redone|"
                r"rewritten)\b(?P<rest>.*)"
            ),
            lambda match: _order(match),
        ),
    ),
    finite=rf"(?:{_PRESENT})",
    base_endings=(
        ("ies", "y"),
        ("sses", "ss"),
        ("shes", "sh"),
        ("ches", "ch"),
        ("xes", "x"),
        ("oes", "o"),
        ("s", ""),
    ),
    pronouns=(
        r"(?i:(?:{verbs}|{present}) (?:it|them|him|her|that|this|those|these)\b(?:$|"
        r" (?:back|over|again|up|out|in|off|to|for|on|by|tomorrow|today|too|"
        r"as|at|with|then|before|after|soon|asap|please)\b).{0,40}$)"
    ),
    edges=(
        r"(?i:\b(?:by|before|until|till|at|towards|in) (?:the )?(?:end|beginning|"
        r"middle|start) of (?:the |this |next )?[a-z]+)"
    ),
    me=r"(?i:I|we|me|us|let me)",
    dated=either(
        "today tonight tomorrow tmrw monday tuesday wednesday thursday friday saturday sunday "
        "weekend january february march april may june july august september october november "
        "december jan feb mar apr jun jul aug sept? oct nov dec mon tue wed thu fri sat sun days? "
        "weeks? months? year quarter eod cob eow noon fortnight mid-?\\w+"
    ),
)
