"""``[retention]``: how long ended work is kept."""

from hub.settings.reload_policy import live
from hub.settings.values import Days, Table, Whole


class RetentionSettings(Table):
    """``[retention]``: how long ended work is kept. Work in progress is always kept."""

    runs_days: Days = live(30, "Runs that went well.")
    failed_runs_days: Days = live(90, "Runs that failed.")
    runs_kept: Whole = live(50, "Of each agent, those that ended last, at any age.")
    payload_days: Days = live(7, "The text of items, after their run's end.")
    fires_days: Days = live(90, "What became of each fire of a schedule.")
    fires_kept: Whole = live(10_000, "Fires of each schedule, at most.")
    activity_days: Days = live(90, "What was told to people.")
    answers_days: Days = live(30, "Answers to requests with an idempotency key.")
    model_answers_days: Days = live(30, "Answers of models that nobody has used since.")
    model_answers_kept: Whole = live(100_000, "Answers of models, at most.")
    model_calls_days: Days = live(90, "What each question to a model cost.")
    metric_minutes_days: Days = live(7, "Measurements of agents, by the minute.")
    metric_hours_days: Days = live(90, "Measurements of agents, by the hour; what is older is not taken in.")
    messages_days: Days = live(90, "Messages between agents, after nothing further is done about them.")
    seen_messages_days: Days = live(400, "Which messages of mailboxes were looked at.")
    posted_days: Days = live(7, "What was posted to webhooks, and sign-ins, after they were settled.")
    questions_days: Days = live(90, "Questions to people, after they were answered or taken back.")
