"""Rules that recognize secrets in texts: forms of keys, and names of fields.

Prefixes, characters and lengths are facts of the list of gitleaks (https://github.com/gitleaks/gitleaks, MIT
license, Copyright (c) 2019 Zachary Rice) and of the documentation of providers. Lengths are lower bounds, so
that a key of a later release, or one that is cut, is recognized too. Hub and devices use the same rules.
"""

import re
from typing import Final, NamedTuple

import msgspec

REDACTED: Final = "[redacted]"


class RedactionRule(msgspec.Struct, frozen=True):
    """Pattern of texts to redact before a model sees them; without *regex* the name of a built-in one."""

    name: str
    regex: str | None = None


class SecretRule(NamedTuple):
    """Form of secrets.

    Attributes:
        keywords: texts of which each match contains one; they are looked for before the pattern.
        pattern: form of the whole secret, linear in time; a group with a name is no secret, nor is the text
            before it.
    """

    name: str
    keywords: tuple[str, ...]
    pattern: re.Pattern[str]


def _rule(name: str, prefixes: str, rest: str) -> SecretRule:
    """Return the rule for secrets that begin with one of *prefixes*, which are separated by blanks."""
    keywords = tuple(prefixes.split(" "))
    beginnings = "|".join(map(re.escape, keywords))
    return SecretRule(name, keywords, re.compile(rf"(?<![A-Za-z0-9])(?:{beginnings}){rest}", re.ASCII))


SECRET_RULES: Final = (
    _rule("hub", "hub_", r"(?P<prefix>(?<=hub_)[a-z]{2,5}_)[A-Za-z0-9]{8,}"),
    _rule("1password", "A3- ops_eyJ", r"[A-Za-z0-9+/-]{24,}"),
    _rule("adobe", "p8e-", r"[A-Za-z0-9]{24,}"),
    _rule("age", "AGE-SECRET-KEY-1", r"[0-9A-Z]{40,}"),
    _rule("airtable", "pat", r"[A-Za-z0-9]{14}\.[a-f0-9]{40,}"),
    _rule("alibaba", "LTAI", r"[A-Za-z0-9]{16,}"),
    _rule("artifactory", "AKCp cmVmd", r"[A-Za-z0-9]{50,}"),
    _rule("atlassian", "ATATT3 ATCTT3 ATBB", r"[\w=-]{24,}"),
    _rule("aws", "AKIA ASIA ABIA ACCA A3T", r"[0-9A-Z]{16,17}(?![0-9A-Za-z])"),
    _rule("aws-bedrock", "ABSK bedrock-api-key-", r"[A-Za-z0-9+/=]{28,}"),
    _rule("brevo", "xkeysib- xsmtpsib-", r"[a-f0-9]{40,}(?:-[A-Za-z0-9]+)?"),
    _rule("clojars", "CLOJARS_", r"[A-Za-z0-9]{40,}"),
    _rule("cloudflare", "v1.0-", r"[a-f0-9]{24}-[a-f0-9]{100,}"),
    _rule("databricks", "dapi", r"[a-f0-9]{32}(?:-\d)?"),
    _rule("digitalocean", "dop_v1_ doo_v1_ dor_v1_", r"[a-f0-9]{40,}"),
    _rule("discord", "discord.com/api/webhooks/ discordapp.com/api/webhooks/", r"\d+/[\w-]{40,}"),
    _rule("docker", "dckr_pat_ dckr_oat_", r"[\w-]{20,}"),
    _rule("doppler", "dp.", r"(?:pt|st|ct|sa|scim|audit)\.[\w.]{30,}"),
    _rule("duffel", "duffel_test_ duffel_live_", r"[\w=-]{30,}"),
    _rule("dynatrace", "dt0c01. dt0s01. dt0s16.", r"[A-Z0-9]{20,}\.[A-Za-z0-9]{40,}"),
    _rule("easypost", "EZAK EZTK", r"[A-Za-z0-9]{40,}"),
    _rule("facebook", "EAAM EAAC EAAB EAAG", r"[A-Za-z0-9]{60,}"),
    _rule("flutterwave", "FLWSECK_TEST- FLWSECK- FLWPUBK_TEST-", r"[A-Za-z0-9-]{12,}"),
    _rule("fly", "fo1_ fm1a_ fm1r_ fm2_", r"[\w+/=-]{40,}"),
    _rule("frameio", "fio-u-", r"[\w=-]{40,}"),
    _rule("github", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"\w{16,}"),
    _rule(
        "gitlab",
        "glpat- gldt- glcbt- glffct- glft- glimt- glagent- gloas- glptt- glrt- glsoat- GR1348941",
        r"[\w.-]{16,}",
    ),
    _rule("google", "AIza", r"[\w-]{30,}"),
    _rule("google-oauth", "GOCSPX- ya29. 1//0", r"[\w-]{20,}"),
    _rule("grafana", "glc_ glsa_ eyJrIjoi", r"[\w+/=]{30,}"),
    _rule("groq", "gsk_", r"\w{16,}"),
    _rule("hashicorp-vault", "hvs. hvb. hvr.", r"[\w-]{20,}"),
    _rule("heroku", "HRKU-", r"[\w-]{30,}"),
    _rule("huggingface", "hf_ api_org_", r"[A-Za-z0-9]{16,}"),
    _rule("infracost", "ico-", r"[A-Za-z0-9]{32,}"),
    _rule("json-web-token", "eyJ", r"(?<![_-]eyJ)[\w-]{10,}\.[\w-]{10,}(?:\.[\w-]*)?"),
    _rule("linear", "lin_api_ lin_oauth_", r"[A-Za-z0-9]{30,}"),
    _rule("mailgun", "key- pubkey-", r"[a-f0-9]{32}(?![0-9A-Za-z])"),
    _rule("new-relic", "NRAK- NRII- NRJS- NRAA-", r"[A-Za-z0-9-]{19,}"),
    _rule("notion", "ntn_ secret_", r"[A-Za-z0-9]{40,}"),
    _rule("npm", "npm_", r"[A-Za-z0-9]{30,}"),
    _rule("nuget", "oy2", r"[a-z0-9]{43}(?![0-9A-Za-z])"),
    _rule("octopus", "API-", r"[A-Z0-9]{26}(?![0-9A-Za-z])"),
    _rule("openai", "sk-", r"[A-Za-z0-9_-]{16,}"),  # Anthropic's and OpenRouter's too
    _rule("openshift", "sha256~", r"[\w-]{40,}"),
    _rule("perplexity", "pplx-", r"[A-Za-z0-9]{30,}"),
    _rule("planetscale", "pscale_tkn_ pscale_oauth_ pscale_pw_", r"[\w=.-]{30,}"),
    _rule("postman", "PMAK-", r"[a-f0-9]{24}-[a-f0-9]{30,}"),
    _rule("prefect", "pnu_", r"[A-Za-z0-9]{30,}"),
    _rule("pulumi", "pul-", r"[a-f0-9]{40}"),
    _rule("pypi", "pypi-", r"[\w-]{50,}"),
    _rule("readme", "rdme_", r"[a-z0-9]{40,}"),
    _rule("replicate", "r8_", r"[A-Za-z0-9]{30,}"),
    _rule("rubygems", "rubygems_", r"[a-f0-9]{40,}"),
    _rule("sendgrid", "SG.", r"[\w=-]{16}[\w=.-]{16,}"),
    _rule("sentry", "sntrys_ sntryu_", r"[\w+/=]{40,}"),
    _rule("shippo", "shippo_live_ shippo_test_", r"[a-fA-F0-9]{30,}"),
    _rule("shopify", "shpat_ shpca_ shppa_ shpss_", r"[a-fA-F0-9]{32}"),
    _rule("slack", "xoxa- xoxb- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs- xapp-", r"[\w.-]{10,}"),
    _rule("slack-webhook", "hooks.slack.com/", r"(?:services|workflows|triggers)/[\w+/]{30,}"),
    _rule("sourcegraph", "sgp_", r"\w{40,}"),
    _rule("square", "EAAA sq0atp- sq0csp-", r"[\w-]{22,}"),
    _rule("stripe", "sk_live_ sk_test_ sk_prod_ rk_live_ rk_test_ whsec_", r"[A-Za-z0-9+/=]{10,}"),
    _rule("supabase", "sbp_ sb_secret_", r"[\w-]{20,}"),
    _rule("tailscale", "tskey-", r"[a-z]+-[A-Za-z0-9-]{16,}"),
    _rule("telegram", "bot", r"\d{8,10}:[\w-]{30,}"),
    _rule("twilio", "SK AC", r"[0-9a-f]{32}(?![0-9A-Za-z])"),
    _rule("xai", "xai-", r"[A-Za-z0-9]{30,}"),
)

# Names in front of a secret that is one word, or is quoted.
_KEYS: Final = (
    r"(?:api|access|account|encryption|signing|private|shared[_-]?access|secret(?:[_-]access)?)[_-]?key"
    r"|(?:(?:access|refresh|auth|id|session|security|bot|bearer)[_-]?)?token|(?:client[_-]?)?secret"
    r"|code_verifier|device_code"
)
# Names in front of a secret that may be several words.
_PHRASES: Final = (
    r"pass(?:word|wd|phrase|code|wort)|pwd|kennwort|contrase[\u00f1n]a|\u043f\u0430\u0440\u043e\u043b\u044c"
)
_PHRASE_KEYWORDS: Final = ("pass", "pwd", "kennwort", "contrase", "\u043f\u0430\u0440\u043e\u043b\u044c")
_KEY_KEYWORDS: Final = ("key", "token", "secret", "code_verifier", "device_code")
_HEADERS: Final = r"(?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]{0,20}(?:auth|key|secret|signature|token)"
# Id of an actor or a credential, ``token:ID``: it identifies the owner but grants no access.
_TOKEN_ID: Final = (
    r"(?<=\btoken:)[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}(?![\w-])"
)
_IS: Final = r"\\{0,7}['\"]?\s{0,8}(?:[:=]>?|%3[AD])\s{0,8}+"
_WORD_START: Final = r"(?:(?<![A-Za-z0-9])|(?-i:(?<=[a-z])(?=[A-Z])))"
# End of the name of a field whose value is always secret.
SECRET_FIELD: Final = re.compile(
    rf"{_WORD_START}(?:{_KEYS}|{_PHRASES}|{_HEADERS}|credential|invitation|pairing_code|signature)\Z",
    re.IGNORECASE,
)
_NO_NAME: Final = r"(?![\w.-]{1,40}\s?[:=])"  # of the next value


def _named(keywords: tuple[str, ...], before: str, value: str) -> SecretRule:
    """Return the rule for a secret *value* behind a name.

    Behind a quotation mark, which JSON in JSON escapes, the value goes on until the same mark.
    """
    marked = r"(?(mark)(?:(?!(?<!\\)(?P=mark))(?:\\.|[^\r\n]))+|"
    scheme = r"(?>(?:(?:basic|bearer|digest|negotiate|token)\s{1,8})?)"
    prefix = rf"(?P<named>{before}(?>(?:b(?=['\"]))?)(?>(?P<mark>\\{{0,7}}['\"])?){scheme})"
    pattern = rf"{prefix}(?!\[redacted\]){marked}{value})"
    return SecretRule("named", keywords, re.compile(pattern, re.IGNORECASE | re.DOTALL))


def _behind(keyword: str, pattern: str) -> SecretRule:
    return SecretRule("named", (keyword,), re.compile(pattern, re.IGNORECASE | re.DOTALL))


NAMED_RULES: Final = (
    _behind(
        "private key",
        r"(?P<prefix>-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)"
        r"(?!\[redacted\]).*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    ),
    _named(
        ("authorization", "cookie", "x-"),
        rf"(?<![\w-])(?:{_HEADERS})(?:{_IS}|\\{{0,7}}['\"]\s{{0,8}},\s{{0,8}}+)",
        r"[^\r\n]+",
    ),
    _behind("bearer", r"(?P<prefix>\bbearer\s{1,8})[\w.~+/=-]{8,}"),
    _behind("://", r"(?P<prefix>://[^/\s:@]{0,256}:)[^/\s]+(?=@)"),
    _behind("--", rf"(?P<prefix>(?<![\w-])--(?:[\w-]{{0,40}}-)?(?:{_KEYS}|{_PHRASES})\s)(?!-)\S+"),
    # A value behind a colon may have any sign; one behind an equals sign ends as in a query or a list.
    _named(
        _PHRASE_KEYWORDS,
        rf"(?:{_PHRASES})\\{{0,7}}['\"]?\s{{0,8}}:\s{{1,8}}+",
        rf"[^\s\"]+(?: {{1,3}}{_NO_NAME}[^\s\"]+){{0,20}}",
    ),
    _named(
        _PHRASE_KEYWORDS,
        rf"(?:{_PHRASES}){_IS}",
        rf"[^\s,;&'\"}}\])]+(?: {{1,3}}{_NO_NAME}[^\s,;&'\"}}\])]+){{0,20}}",
    ),
    _named(
        _KEY_KEYWORDS,
        rf"{_WORD_START}(?:{_KEYS}){_IS}",
        rf"(?!{_TOKEN_ID})(?![{{\[])[^\s'\",;&}}\])]+",
    ),
    _behind(
        "=",
        r"(?P<prefix>[?&](?:[\w.-]{0,40}[_.-])?(?:auth|code|credential|key|sig|signature|state)=)[^&\s'\"]+",
    ),
)
_KEYWORDS: Final = tuple({keyword for rule in SECRET_RULES for keyword in rule.keywords})
_VERB: Final = r"(?:is|ist|lautet|es|est|\u00e8|\u00e9)\s"
# A password in a sentence: a word with a digit behind the name, since most other words there are none. Behind
# what it is for, the word has a letter too: there may be a day.
_TYPED: Final = re.compile(
    rf"(?P<prefix>(?:{_PHRASES}|mots? de passe|mdp|\bpw|senha|wachtwoord)"
    rf"(?:(?P<for>(?>(?:[ \t]{{1,3}}(?!{_VERB})[^\s:=]{{1,30}}+){{1,7}})(?:\s?[:=]\s{{1,3}}|\s{_VERB}))"
    rf"|\W{{1,4}}(?:{_VERB})?))"
    r"(?=[^\s\d]{0,40}\d)(?(for)(?=\S{0,40}[^\W\d_])\S{6,}|\S{4,})",
    re.IGNORECASE,
)
# Text before the key in a problem of hub.toml, which never quotes the value.
_OUR_PROBLEM: Final = re.compile(r"\.toml:\d+:\d+: (?:error|warning): (?:\w+\.)+\Z")


def redact_secrets(text: str) -> str:
    """Return *text* without secrets."""
    text = redact_keys(text)
    lower = text.lower()
    for rule in NAMED_RULES:
        if any(keyword in lower for keyword in rule.keywords):
            text = rule.pattern.sub(_replaced, text)
    return text


def redact_keys(text: str) -> str:
    """Return *text* without secrets that are recognized by their form alone: keys of providers.

    For messages of the hub, in which the name of a field may precede a colon.
    """
    for keyword in _KEYWORDS:  # a loop, as most texts have none and are short
        if keyword in text:
            break
    else:
        return text
    for rule in SECRET_RULES:
        if any(keyword in text for keyword in rule.keywords):
            text = rule.pattern.sub(_replaced, text)
    return text


def redact_typed(text: str) -> str:
    """Return a text that people wrote without keys of providers, and without passwords behind that word."""
    return _TYPED.sub(_replaced, redact_keys(text))


def _replaced(found: re.Match[str]) -> str:
    """Return the replacement for a secret; the text before it is kept, as it tells its type."""
    start, text = found.start(), found.string
    if found.lastgroup == "named" and _OUR_PROBLEM.search(text[max(start - 200, 0) : start]):
        return found.group()
    return f"{text[start : found.end(found.lastgroup)] if found.lastgroup else ''}{REDACTED}"
