"""``[budget]``: limits of spending on models. An agent has its own budget in its table."""

from hub.settings.model_settings import Usd
from hub.settings.reload_policy import live
from hub.settings.values import Table, Whole


class BudgetSettings(Table):
    """``[budget]``: spending limits, which are never exceeded. Money counts where a model has a price."""

    run_usd: Usd = live(1.0, "US dollars of one run; then its other files fail. 0: no limit.")
    run_tokens: Whole | None = live(None, "Tokens of one run, of questions and answers.")
    day_usd: Usd | None = live(None, "US dollars of all runs in a day (UTC); then runs wait for the next.")
    day_tokens: Whole | None = live(None, "Tokens of all runs in a day, likewise.")
