"""Writing a message in the browser, and the list of what was sent."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from lxml import html

from directmsg import confirmations
from directmsg.models import DirectAddress, OutboundMail
from healthvault.store.blobs import open_blob
from records.models import Grant, Message, Right
from tests import factories

pytestmark = pytest.mark.django_db
OFFICE = "office@direct.clinic.example"


@pytest.fixture
def account():
    return factories.account()


@pytest.fixture
def record(account):
    return factories.record(account)


@pytest.fixture
def browser(client, account, record):
    client.force_login(account)
    return client


def form_of(client, **changes):
    """The values of the compose form as the page has them, with `changes`."""
    page = html.fromstring(client.get(reverse("directmsg:compose")).content.decode())
    (form,) = page.xpath("//form[@enctype='multipart/form-data']")
    values = {name: value or "" for name, value in form.form_values()}
    values.pop("attachments", None)
    return {**values, "to": OFFICE, "subject": "About my visit", "text": "Hello", **changes}


def test_a_message_with_files_is_queued_and_shown(browser, record):
    files = [SimpleUploadedFile("a.txt", b"one", "text/plain"), SimpleUploadedFile("b.pdf", b"two")]
    answer = browser.post(reverse("directmsg:compose"), form_of(browser, attachments=files), follow=True)
    message = Message.objects.get()
    assert answer.redirect_chain == [(reverse("directmsg:sent_message", args=[message.pk]), 302)]
    text = answer.content.decode()
    assert "Your message is on its way" in text
    assert OFFICE in text
    assert "Waiting" in text
    assert [open_blob(part.blob) for part in message.attachments.all()] == [b"one", b"two"]
    assert "About my visit" in browser.get(reverse("directmsg:sent")).content.decode()
    # What one wrote oneself is no news in the inbox.
    assert "About my visit" not in browser.get(reverse("directmsg:inbox")).content.decode()


def test_the_same_form_twice_is_one_message(browser):
    values = form_of(browser)
    first = browser.post(reverse("directmsg:compose"), values)
    second = browser.post(reverse("directmsg:compose"), values)
    assert first.url == second.url
    assert OutboundMail.objects.filter(kind="message").count() == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"to": "nobody"}, "One of the recipients is no address"),
        ({"to": ""}, "This field is required"),
        ({"text": ""}, "This field is required"),
        ({"subject": "tab\x1b[2J"}, "a character that cannot be sent"),
        ({"record": "other"}, "not one of the available choices"),
        ({"message": "x"}, "valid UUID"),
    ],
)
def test_what_is_wrong_is_said_and_what_was_typed_stays(browser, changes, words):
    answer = browser.post(reverse("directmsg:compose"), form_of(browser, **changes))
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert "About my visit" in answer.content.decode() or "subject" in changes
    assert not Message.objects.exists()


def test_a_viewer_has_nothing_to_write_from(client, record):
    viewer = factories.account("tomas@patient.example", "Tomas Bergland")
    Grant.objects.create(account=viewer, record=record, right=Right.VIEW)
    client.force_login(viewer)
    assert "no address to write from" in client.get(reverse("directmsg:compose")).content.decode()
    values = {"record": record.pk, "to": OFFICE, "subject": "x", "text": "x", "message": record.pk}
    assert client.post(reverse("directmsg:compose"), values).status_code == 200
    assert not Message.objects.exists()


def test_a_switched_off_address_is_nothing_to_write_from(browser):
    DirectAddress.objects.update(state=DirectAddress.State.DISABLED)
    assert "no address to write from" in browser.get(reverse("directmsg:compose")).content.decode()


@pytest.mark.parametrize(
    ("state", "code", "word", "reason"),
    [
        ("sent", "", "Sent", ""),
        ("processed", "", "Reached their system", ""),
        ("dispatched", "", "Delivered", ""),
        ("displayed", "", "Opened", ""),
        ("queued", "host_unreachable", "Waiting", "We keep trying"),
        ("failed", "no_certificate", "Failed", "It may be mistyped"),
        ("timed_out", "not_dispatched", "No confirmation in time", "Ask the recipient before"),
    ],
)
def test_each_state_has_its_words(browser, state, code, word, reason):
    browser.post(reverse("directmsg:compose"), form_of(browser))
    OutboundMail.objects.update(state=state, code=code)
    page = browser.get(reverse("directmsg:sent_message", args=[Message.objects.get().pk])).content.decode()
    assert word in page
    assert reason in page
    assert ("Try again" in page) == (state in ("failed", "timed_out"))


def test_one_bad_recipient_does_not_mark_the_others(browser):
    browser.post(reverse("directmsg:compose"), form_of(browser, to=f"{OFFICE}, lab@direct.clinic.example"))
    confirmations.lose([(OutboundMail.objects.get(recipient=OFFICE), "no_certificate", "")])
    sent = reverse("directmsg:sent_message", args=[Message.objects.get(direction="out").pk])
    page = html.fromstring(browser.get(sent).content.decode())
    rows = {
        row.find_class("list-title")[0].text_content(): row.find_class("badge")[0].text_content()
        for row in page.find_class("list-row")
    }
    assert rows == {OFFICE: "Failed", "lab@direct.clinic.example": "Waiting"}


def test_try_again_once(browser):
    browser.post(reverse("directmsg:compose"), form_of(browser))
    copy = OutboundMail.objects.get()
    confirmations.lose([(copy, "no_certificate", "")])
    again = reverse("directmsg:sent_again", args=[copy.pk])
    assert "It is sent again" in browser.post(again, follow=True).content.decode()
    assert "was sent again already" in browser.post(again, follow=True).content.decode()
    assert OutboundMail.objects.filter(kind="message").count() == 2
    page = browser.get(reverse("directmsg:sent_message", args=[copy.message_id])).content.decode()
    assert "Sent again" in page
    assert "Try again" not in page


def test_a_stranger_finds_nothing(client, browser):
    browser.post(reverse("directmsg:compose"), form_of(browser))
    copy = OutboundMail.objects.get()
    confirmations.lose([(copy, "no_certificate", "")])
    client.force_login(factories.account("tomas@patient.example", "Tomas Bergland"))
    assert client.get(reverse("directmsg:sent_message", args=[copy.message_id])).status_code == 404
    assert client.post(reverse("directmsg:sent_again", args=[copy.pk])).status_code == 404
    assert "About my visit" not in client.get(reverse("directmsg:sent")).content.decode()
    assert OutboundMail.objects.filter(kind="message").count() == 1
