"""The table of failures: every error has its row, and every row its words."""

import re

import pytest

from directmsg import outcomes, transport
from directmsg.agent.errors import AgentError
from trust.pki.errors import BundleError, OcspError, PkiError


def leaves(base):
    """`base` and all below it: each may be raised, and each has a code that an operator may see."""
    found = [base]
    for child in base.__subclasses__():
        found += leaves(child)
    return found


ERRORS = sorted(
    {*leaves(AgentError), *leaves(PkiError), *leaves(transport.TransportError)},
    key=lambda each: each.__name__,
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda each: f"{each.__module__}.{each.__name__}")
def test_every_error_has_a_row(error):
    assert error.code in outcomes.OUTCOMES


@pytest.mark.parametrize("code", sorted(outcomes.OUTCOMES))
def test_every_row_says_something(code):
    outcome = outcomes.OUTCOMES[code]
    assert re.fullmatch(r"[a-z][a-z0-9_]{2,39}", code)
    assert re.fullmatch(r"[45]\.\d{1,3}\.\d{1,3}", outcome.status)
    for words in (outcome.operator, outcome.sender, outcome.person):
        assert words == "" or words.endswith(".")
    assert outcome.operator


# Bundles and OCSP answers are fetched in the background, for no mail in particular.
_IN_THE_BACKGROUND = {*leaves(BundleError), *leaves(OcspError)}
_OF_SENDING = {*leaves(PkiError), *leaves(transport.TransportError)} - _IN_THE_BACKGROUND


@pytest.mark.parametrize(
    "error", sorted(_OF_SENDING, key=lambda each: each.__name__), ids=lambda each: each.__name__
)
def test_people_are_told_what_to_do_about_mail_they_sent(error):
    assert outcomes.explain(error.code).person


@pytest.mark.parametrize("code", ["not_sent", "not_processed", "not_dispatched", "reported_failed"])
def test_silence_has_words_of_its_own(code):
    assert outcomes.explain(code).person


def test_until_the_sender_is_trusted_nothing_is_said():
    """Only codes that are reached after trust have a sentence for the sender."""
    told = {code for code, outcome in outcomes.OUTCOMES.items() if outcome.sender}
    reached = {"unknown_recipient", "mailbox_full", "sender_blocked", "bad_subject", "too_many_parcels"}
    assert told == reached


def test_a_code_without_a_row_still_has_words():
    outcome = outcomes.explain("something_new")
    assert "something_new" in outcome.operator
    assert outcome.person
