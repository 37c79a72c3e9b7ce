"""Every reason for which a document is not read is told in words, and no code stands on the page."""

import pytest
from django.test import Client

from records import filing, unreadable
from records.clinical import errors
from records.intake import IncomingMessage, store_parts
from records.models import Attachment, Document
from tests import factories

GENERAL = unreadable.why_unreadable("a code that is new")


def leaves(kind):
    return [kind, *(each for below in kind.__subclasses__() for each in leaves(below))]


@pytest.mark.parametrize("code", sorted({each.code for each in leaves(errors.ClinicalError)}))
def test_every_reason_has_words_of_its_own(code):
    words = unreadable.why_unreadable(code)
    assert words != GENERAL
    assert "_" not in words
    assert words.endswith(".")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<ClinicalDocument xmlns='urn:hl7-org:v3'><broken", "The file is damaged"),
        (b"<!DOCTYPE x><ClinicalDocument xmlns='urn:hl7-org:v3'/>", "so it was not opened"),
    ],
)
def test_the_page_says_why_and_shows_no_code(data, words):
    account = factories.account()
    record = factories.record(account)
    parts = store_parts(record.holder, [("visit.xml", "application/ccd-xml", data)])
    incoming = IncomingMessage(
        from_address="", organization_name="Clinic", subject="s", text="t", source="rest", parts=parts
    )
    message = filing.file_message(record, incoming)
    for document in Document.objects.all():
        filing.read_document(str(document.pk))
    codes = set(Attachment.objects.values_list("code", flat=True)) - {""}
    assert codes
    client = Client()
    client.force_login(account)
    page = client.get(f"/messages/{message.pk}/").content.decode()
    assert words in page
    for code in codes:
        assert f"({code})" not in page
