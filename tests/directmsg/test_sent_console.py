"""The console's pages about mail that went out: what became of each copy, and nothing of what it says."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from directmsg import confirmations, send, sent_steps
from directmsg.models import MailEvent, OutboundMail
from directmsg.outcomes import OUTCOMES
from healthvault.audit.models import AuditEvent
from tests import factories
from trust.models import Anchor

pytestmark = pytest.mark.django_db

SECRETS = ("Quittenbrot", "Mirabelle", "Zwetschge")
SUBJECT, TEXT, FILE = "Quittenbrot", "All about Mirabelle.", "zwetschge.txt"
PAGE = "/trust/mail/sent/"


@pytest.fixture
def browser():
    client = Client()
    client.force_login(factories.account("ida@portal.example", "Ida", is_staff=True))
    return client


def text(answer):
    shown = " ".join(answer.content.decode().split())
    for word in SECRETS:
        assert word.lower() not in shown.lower()
    return shown


def written(world, *to):
    return world.write(*to, subject=SUBJECT, text=TEXT)


def copy_of(message):
    return OutboundMail.objects.get(message=message)


def outcomes(copy):
    names = set(copy.events.values_list("name", flat=True))
    return [step.outcome for step in sent_steps.steps_of(copy, names)]


def words(copy):
    return [step.word for step in sent_steps.steps_of(copy)]


# --- every step -----------------------------------------------------------------------------------------


def test_from_queued_to_delivered(world, browser):
    message = written(world)
    copy = copy_of(message)
    assert outcomes(copy) == ["passed"] + ["open"] * 5
    assert words(copy)[1] == "Next"
    world.send_all()
    copy.refresh_from_db()
    assert outcomes(copy) == ["passed"] * 4 + ["open"] * 2
    assert words(copy)[4] == "Awaited"
    world.told("processed", message)
    copy.refresh_from_db()
    assert outcomes(copy) == ["passed"] * 5 + ["open"]
    world.told("dispatched", message)
    copy.refresh_from_db()
    assert outcomes(copy) == ["passed"] * 6
    shown = text(browser.get(f"{PAGE}{copy.pk}/"))
    assert "Delivered to the recipient" in shown
    assert copy.sha256 in shown
    assert "What you can do" not in shown
    assert AuditEvent.objects.filter(action="mail.inspected", subject=str(copy.pk)).count() == 1


def test_a_recipient_without_a_certificate(world, browser):
    copy = copy_of(written(world, "a@stranger.example"))
    world.send_all()
    copy.refresh_from_db()
    assert outcomes(copy) == ["passed", "failed", "open", "open", "open", "open"]
    shown = text(browser.get(f"{PAGE}{copy.pk}/"))
    assert OUTCOMES["no_certificate"].operator in shown
    assert "/trust/exchange/?address=a%40stranger.example" in shown
    assert "can send it anew" in shown


def test_an_untrusted_recipient(world):
    Anchor.objects.update(outgoing=False)
    copy = copy_of(written(world))
    world.send_all()
    copy.refresh_from_db()
    assert copy.code == "untrusted_chain"
    assert outcomes(copy)[:3] == ["passed", "failed", "open"]


def test_a_server_that_wants_it_later(world, browser):
    world.smtp.replies["RCPT"] = "451 4.3.0 later"
    copy = copy_of(written(world))
    world.send_all()
    copy.refresh_from_db()
    assert copy.state == "queued"
    assert outcomes(copy) == ["passed"] * 3 + ["open"] * 3
    assert words(copy)[3] == "Tried again"
    shown = text(browser.get(f"{PAGE}{copy.pk}/"))
    assert "The next try is at" in shown
    assert "It is tried again by itself" in shown


def test_a_server_that_knows_no_such_mailbox(world):
    world.smtp.replies["RCPT"] = "550 5.1.1 no such mailbox"
    copy = copy_of(written(world))
    world.send_all()
    copy.refresh_from_db()
    assert outcomes(copy) == ["passed"] * 3 + ["failed"] + ["open"] * 2


@pytest.mark.parametrize(("processed", "place"), [(False, 4), (True, 5)])
def test_silence_is_told_at_the_step_it_began(world, processed, place):
    message = written(world)
    world.send_all()
    if processed:
        world.told("processed", message)
    copy = copy_of(message)
    OutboundMail.objects.filter(pk=copy.pk).update(expires=timezone.now())
    confirmations.expire()
    copy.refresh_from_db()
    assert copy.state == "timed_out"
    assert outcomes(copy) == ["passed"] * place + ["failed"] + ["open"] * (5 - place)


@pytest.mark.parametrize(("processed", "place"), [(False, 4), (True, 5)])
def test_what_their_system_wrote_about_a_failure_is_not_shown(world, browser, processed, place):
    """A report of another system may quote the message."""
    message = written(world)
    world.send_all()
    if processed:
        world.told("processed", message)
    world.told("failed", message)
    OutboundMail.objects.update(detail=f"Could not file {SUBJECT}")
    copy = copy_of(message)
    assert copy.code == "reported_failed"
    assert outcomes(copy)[place] == "failed"
    assert OUTCOMES["reported_failed"].operator.replace("'", "&#x27;") in text(
        browser.get(f"{PAGE}{copy.pk}/")
    )


@pytest.mark.parametrize("sealed", [True, False])
def test_every_code_stops_a_copy_at_one_step(sealed):
    for code in OUTCOMES:
        copy = OutboundMail(state="failed", code=code, sha256="ab" * 32 if sealed else "")
        found = [step.outcome for step in sent_steps.steps_of(copy)]
        assert found.count("failed") == 1, code
        assert found == sorted(found, key=["passed", "failed", "open"].index), code


def test_a_notification_ends_at_the_mail_server(world, browser):
    world.letter_arrives()
    answer = OutboundMail.objects.filter(kind="mdn").first()
    send.send_mail(str(answer.pk))
    answer.refresh_from_db()
    assert outcomes(answer) == ["passed"] * 4
    shown = text(browser.get(f"{PAGE}{answer.pk}/"))
    assert f"/trust/mail/{answer.inbound_id}/" in shown
    assert "The mail that came in" in shown


def test_mail_between_our_own_people_says_so(world):
    other = factories.record(factories.account("wren@elsewhere.example"))
    to = other.direct_addresses.get(primary=True).address
    copy = copy_of(written(world, to))
    world.send_all()
    copy.refresh_from_db()
    names = set(copy.events.values_list("name", flat=True))
    assert "local" in names
    assert "Within this service" in sent_steps.steps_of(copy, names)[3].detail


# --- the list -------------------------------------------------------------------------------------------


def test_the_list_is_filtered(world, browser):
    written(world)
    written(world, "a@stranger.example")
    world.send_all()
    shown = text(browser.get(PAGE))
    assert "a@stranger.example" in shown
    assert world.peer.office in shown
    for query in ("state=failed", "code=no_certificate", "recipient=stranger.example"):
        filtered = text(browser.get(f"{PAGE}?{query}"))
        assert "a@stranger.example" in filtered
        assert world.peer.office not in filtered
    reports = text(browser.get(f"{PAGE}?kind=dsn"))
    assert "No mail fits these filters" not in reports
    assert world.peer.office not in reports
    assert "No mail fits these filters" in text(browser.get(f"{PAGE}?day=2001-01-01"))
    assert "a@stranger.example" in text(browser.get(f"{PAGE}?day={timezone.now():%Y-%m-%d}"))


def test_content_is_not_even_read(world, browser):
    copy = copy_of(written(world))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        text(browser.get(PAGE))
        text(browser.get(f"{PAGE}{copy.pk}/"))
    asked = [each["sql"] for each in queries if 'FROM "directmsg_outboundmail"' in each["sql"]]
    assert asked
    assert not [each for each in asked if '"content"' in each.partition("FROM")[0]]


def test_each_list_leads_to_the_other(browser):
    assert PAGE in text(browser.get("/trust/mail/"))
    assert 'href="/trust/mail/"' in text(browser.get(PAGE))


def test_events_are_told_in_words(world, browser):
    message = written(world)
    world.send_all()
    world.told("dispatched", message)
    copy = copy_of(message)
    shown = text(browser.get(f"{PAGE}{copy.pk}/"))
    assert MailEvent.objects.filter(outbound=copy).count() >= 3
    assert "Handed to the recipient&#x27;s system" in shown
    assert "Delivered to the recipient" in shown
