"""What hub.toml says about the use of models: budgets, redaction, agents that keep to local ones."""

from pathlib import Path

from hub.settings.declared import declared_agents
from hub.settings.reading import check_text
from protocol.secret_rules import RedactionRule
from storage.agents.configs import ModelUse
from tests.support.families import each

AGENT = """\
[[agents]]
name = "notes"
device = "desk"
paths = ["~/notes"]
data_types = ["tasks"]
prompt = "Find what I promised to do."
"""
CLOUD = '[model]\nkind = "openai"\nbase_url = "https://models.example/v1"\nname = "m"\n'
PRICED = CLOUD + "price_in_usd = 0.25\nprice_out_usd = 2.0\n"


def problems(text: str) -> list[str]:
    """Each as ``line: severity: ...``."""
    found = check_text(text, Path("hub.toml"), environ={}).problems
    return [f"{one.line}: {one.severity}: {one.path}: {one.message}" for one in found]


def test_model_settings_of_an_agent_are_stored_in_the_agent_row() -> None:
    text = (
        PRICED
        + AGENT
        + 'redact = ["email", "customer"]\nbatch = true\nbudget_usd = 0.5\noutside = "drop"\n'
        + "[redaction]\npatterns = { customer = 'K-\\d{6}' }\n"
    )
    (agent,) = declared_agents(check_text(text, Path("hub.toml"), environ={}).usable())
    assert agent.model_use == ModelUse(
        redact=(RedactionRule("email"), RedactionRule("customer", r"K-\d{6}")),
        batch=True,
        budget_nanos=500_000_000,
        outside="drop",
    )


def test_agent_without_model_settings_has_no_model_use() -> None:
    (agent,) = declared_agents(check_text(AGENT, Path("hub.toml"), environ={}).usable())
    assert agent.model_use == ModelUse()


@each(
    ("lines", "problem"),
    [
        (
            'redact = ["emial"]',
            "7: error: agents.notes.redact: 'emial': has no pattern, and is none of email, ",
        ),
        (
            "allow_cloud = false",
            "7: error: agents.notes.allow_cloud: there is no local model to read its doc",
        ),
        ("budget_usd = 1.0", "7: warning: agents.notes.budget_usd: no price is known of a model"),
        ("[budget]\nday_usd = 1.0", "8: warning: budget.day_usd: no price is known of a model"),
        ("[budget]\nrun_usd = -1.0", "8: error: budget.run_usd: must be at least 0"),
        ("[redaction]\npatterns = { a = '(' }", "8: error: redaction.patterns.a: the ( at character 1"),
        ("[redaction]\npatterns = { \"A b\" = 'x' }", "8: error: redaction.patterns.A b: a name is"),
    ],
)
def test_invalid_model_setting_of_an_agent_is_reported_with_the_position(lines: str, problem: str) -> None:
    (told,) = problems(f"{AGENT}{lines}\n{CLOUD}")
    assert told.startswith(problem)


@each(
    "model",
    [
        "",
        '[model]\nkind = "local"\n',
        f"{CLOUD}private = true\n",
        CLOUD.replace("models.example", "127.0.0.1"),
    ],
)
def test_agent_without_cloud_is_accepted_with_a_local_model_or_no_model(model: str) -> None:
    assert problems(f"{AGENT}allow_cloud = false\n{model}") == []


def test_money_budgets_are_accepted_for_a_model_with_a_price() -> None:
    assert problems(f"{AGENT}budget_usd = 1.0\n[budget]\nrun_usd = 0.5\nday_usd = 1.0\n{PRICED}") == []


def test_zero_run_budget_is_accepted_without_a_model_price() -> None:
    assert problems(f"{AGENT}[budget]\nrun_usd = 0.0\n{CLOUD}") == []


@each(("name", "hint"), [("emial", "did you mean 'email'?"), ("license", "write its pattern in [redaction]")])
def test_unknown_redaction_name_is_reported_with_a_hint(name: str, hint: str) -> None:
    text = f'{AGENT}redact = ["{name}"]\n{CLOUD}'
    (found,) = check_text(text, Path("hub.toml"), environ={}).problems
    assert found.hint == hint
