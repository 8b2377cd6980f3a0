"""What connectors have to hold, by number, and what shows each: ``python -m tests.connectors 3 14``."""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

_HUB: Final = "tests/hub"
_MAILBOXES: Final = f"{_HUB}/runs/test_mailboxes.py"
_TOKENS: Final = f"{_HUB}/accounts/test_tokens.py"
_GMAIL: Final = f"{_HUB}/connectors/test_gmail.py"
_OUTLOOK: Final = f"{_HUB}/connectors/test_outlook.py"
_IMAP: Final = f"{_HUB}/connectors/test_imap.py"
_CALDAV: Final = f"{_HUB}/connectors/test_caldav.py"
_CALLING: Final = f"{_HUB}/connectors/test_calling.py"
_OAUTH: Final = "tests/connectors/test_oauth.py"
_EMULATE: Final = "tests/connectors/test_gmail.py"
_KILLS: Final = "tests.scenarios.kills"
_PASSED: Final = re.compile(r"(\d+) passed")
_SKIPPED: Final = re.compile(r"(\d+) skipped")


class Bar(NamedTuple):
    """A sentence, and what shows that it holds: programs of ours with their words, or tests."""

    sentence: str
    tests: tuple[str, ...] = ()
    programs: tuple[tuple[str, ...], ...] = ()


BARS: Final = {
    1: Bar(
        "a hub that is killed sixty times loses no mail and brings no item twice, over IMAP and at Gmail",
        programs=((_KILLS, "--of", "imap"), (_KILLS, "--of", "gmail")),
    ),
    2: Bar(
        "four processes that want a new token at once ask for it once",
        (
            "tests/connectors/test_refresh_race.py",
            f"{_TOKENS}::test_four_processes_with_ten_tasks_each_refresh_a_token_that_has_ended_once",
        ),
    ),
    3: Bar(
        "a history that Google has forgotten loses no mail",
        (
            f"{_GMAIL}::test_a_history_that_was_forgotten_loses_no_mail",
            f"{_MAILBOXES}::test_a_lost_cursor_begins_anew_a_day_before_and_reads_nothing_twice",
            f"{_EMULATE}::test_a_history_that_is_gone_loses_no_mail",
        ),
    ),
    4: Bar(
        "a link that Microsoft has forgotten, within a round or between two, loses no mail",
        (
            f"{_OUTLOOK}::test_a_link_that_microsoft_forgot_loses_no_mail",
            f"{_OUTLOOK}::test_mail_that_came_while_the_hub_was_away_is_found_behind_a_forgotten_link",
            f"{_OUTLOOK}::test_a_link_forgotten_in_the_first_round_begins_it_anew",
        ),
    ),
    5: Bar(
        "who is to wait two minutes is exhausted until then",
        (
            f"{_CALLING}::test_a_long_wait_ends_the_run_with_when_it_is_over",
            f"{_MAILBOXES}::test_a_provider_that_asks_for_a_pause_or_has_no_quota_exhausts_the_agent",
        ),
    ),
    6: Bar(
        "a token that is refused within a page is renewed once, and the run goes on",
        (
            f"{_GMAIL}::test_a_token_that_is_refused_in_the_middle_of_a_page_is_renewed_once",
            f"{_TOKENS}::test_a_refused_token_is_renewed_once_for_all_who_were_refused",
            f"{_EMULATE}::test_tokens_that_ended_are_renewed_once",
        ),
    ),
    7: Bar(
        "the end of a sign-in is told once, and nothing more is asked",
        (
            f"{_TOKENS}::test_the_end_of_a_grant_is_reported_once_and_the_provider_is_not_asked_again",
            f"{_MAILBOXES}::test_of_many_refusals_one_moves_the_connector",
            f"{_MAILBOXES}::test_a_connector_that_waits_for_a_person_starts_no_run",
            f"{_OAUTH}::test_a_sign_in_that_ends_is_reported_once_and_no_further_request_is_sent",
        ),
    ),
    8: Bar(
        "keys are rotated while agents read",
        (
            f"{_TOKENS}::test_keys_are_rotated_while_agents_read",
            f"{_OAUTH}::test_keys_are_rotated_between_two_refreshes",
        ),
    ),
    9: Bar(
        "a folder that was made anew (UIDVALIDITY) begins anew, and no other does",
        (f"{_IMAP}::test_a_folder_that_was_made_anew_begins_anew_and_leaves_the_others_alone",),
    ),
    10: Bar(
        "a mail that is moved leads to no second record",
        (
            f"{_IMAP}::test_a_mail_keeps_its_key_when_it_is_moved",
            f"{_OUTLOOK}::test_a_mail_that_moved_is_the_same_message",
            f"{_MAILBOXES}::test_the_same_message_in_two_folders_is_one",
        ),
    ),
    11: Bar(
        "what was forwarded and quoted is told from what is new, in several languages, above and within",
        (f"{_HUB}/text/test_quoting.py", f"{_HUB}/text/test_letters.py"),
    ),
    12: Bar(
        "hostile mails cost no more time and memory than they may", (f"{_HUB}/text/test_hostile_mails.py",)
    ),
    13: Bar(
        "what was read while the device was away is there when it is back, in order",
        (
            f"{_MAILBOXES}::test_a_mailbox_is_read_while_the_device_is_away_and_delivered_in_order_when_it_is_back",
            f"{_MAILBOXES}::test_a_device_that_goes_in_the_middle_stops_the_delivery_and_not_the_reading",
        ),
    ),
    14: Bar(
        "no link to another host is followed",
        (
            f"{_OUTLOOK}::test_a_link_to_another_host_is_refused_and_the_token_stays_here",
            f"{_CALLING}::test_nothing_is_sent_to_an_address_that_is_not_the_providers",
            f"{_CALDAV}::test_a_password_goes_to_the_address_of_the_settings_alone",
        ),
    ),
    15: Bar(
        "the first run looks back seven days to the second, in three time zones",
        (
            f"{_GMAIL}::test_a_first_run_looks_back_exactly_seven_days_in_every_time_zone",
            f"{_IMAP}::test_the_look_back_ends_at_the_very_second_in_each_time_zone",
            f"{_OUTLOOK}::test_the_first_run_looks_back_seven_days_to_the_second",
        ),
    ),
    16: Bar("no secret stands anywhere but where it belongs", ("tests/scenarios/test_secrets.py",)),
}


def show(numbers: Sequence[int]) -> bool:
    """Show these, one after the other, and print what came of each; whether all hold."""
    verdicts = [_holds(number, BARS[number]) for number in numbers]
    return all(verdicts)


def _holds(number: int, bar: Bar) -> bool:
    began = time.monotonic()
    holds, told = True, []
    for words in bar.programs:
        ended = subprocess.run([sys.executable, "-m", *words], check=False)
        holds &= ended.returncode == 0
        told.append(" ".join(words))
    if bar.tests:
        command = [sys.executable, "-m", "pytest", "-q", "-n0", "--tb=short", *bar.tests]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        passed, skipped = _number(_PASSED, done.stdout), _number(_SKIPPED, done.stdout)
        holds &= done.returncode == 0 and passed > 0 and skipped == 0
        told.append(f"{passed} tests" + (f", {skipped} skipped" if skipped else ""))
        if not holds:
            print(done.stdout)
    verdict = "ok" if holds else "NOT SHOWN"
    print(
        f"{number:2} {verdict}: {bar.sentence} ({'; '.join(told)}; {time.monotonic() - began:.0f} s)",
        flush=True,
    )
    return holds


def _number(what: re.Pattern[str], told: str) -> int:
    found = what.findall(told)
    return int(found[-1]) if found else 0
