"""Documents of the record that go out with a message: chosen on the page, found again by the other side."""

import io
import zipfile

import pytest
from django.urls import reverse
from lxml import html

from directmsg import compose, send
from directmsg.agent.message import NewAttachment
from directmsg.models import OutboundMail
from records import filing
from records.clinical import archive
from records.models import Account, Attachment, Document, Entry, Grant, Message, Right
from tests import factories
from tests.directmsg.world import DOMAIN
from tests.documents import CDA_TYPE, VISIT

pytestmark = pytest.mark.django_db
OFFICE = "office@direct.clinic.example"


@pytest.fixture
def kept(world):
    """A document and a picture that the clinic sent, in the record."""
    files = [
        NewAttachment("visit.xml", CDA_TYPE, VISIT),
        NewAttachment("knee.jpg", "image/jpeg", b"\xff\xd8knee"),
    ]
    world.letter_arrives(attachments=files)
    (document,) = Document.objects.all()
    filing.read_document(str(document.pk))
    if Document.objects.get().state == Document.State.HELD:
        filing.confirm_patient(Document.objects.get())
        filing.read_document(str(document.pk))
    return Document.objects.get()


@pytest.fixture
def browser(client, world):
    client.force_login(world.account)
    return client


def form_of(client, query="", **changes):
    page = html.fromstring(client.get(reverse("directmsg:compose") + query).content.decode())
    (form,) = page.xpath("//form[@enctype='multipart/form-data']")
    values = {}
    for name, value in form.form_values():
        if name in ("documents", "attachments"):
            values.setdefault(name, []).append(value)
        else:
            values[name] = value or ""
    values.pop("attachments", None)
    return {
        **values,
        "to": "office@direct.clinic.example",
        "subject": "For you",
        "text": "See this",
        **changes,
    }


def offered(client):
    page = html.fromstring(client.get(reverse("directmsg:compose")).content.decode())
    return {
        box.get("value"): box.getparent().text_content() for box in page.xpath("//input[@name='documents']")
    }


def test_documents_and_files_of_the_record_are_offered_by_name(browser, kept):
    words = offered(browser)
    assert list(words) == [f"d{kept.pk.hex}", f"f{Entry.objects.get(kind='file').pk.hex}"]
    assert kept.facts["title"] in words[f"d{kept.pk.hex}"]
    assert "knee.jpg" in words[f"f{Entry.objects.get(kind='file').pk.hex}"]


def test_what_was_chosen_goes_out_byte_for_byte_with_its_context(world, browser, kept):
    answer = browser.post(reverse("directmsg:compose"), form_of(browser, documents=list(offered(browser))))
    assert answer.status_code == 302
    world.send_all()
    opened = world.opened()
    parts = {part.filename: part.data() for part in opened.parts}
    assert parts["visit.xml"] == VISIT
    assert parts["knee.jpg"] == b"\xff\xd8knee"
    message = Message.objects.get(direction="out")
    context = opened.context
    assert (context.version, context.category, context.action) == ("1.1", "general", "report")
    assert context.id.strip("<>") == message.message_id.strip("<>")
    told = kept.facts["patient"]
    assert context.patient["surname"] in told["name"]
    assert context.patient["dateOfBirth"] == told["birth_date"]
    assert context.patient["directAddress"] == world.address
    # Nothing of it stands outside the envelope.
    for word in (b"Context", context.patient["surname"].encode(), b"visit.xml"):
        assert word not in world.smtp.taken[-1].data


def test_a_message_without_a_clinical_document_has_no_context(world):
    world.write(files=[NewAttachment("note.txt", "text/plain", b"just words")])
    world.send_all()
    opened = world.opened()
    assert opened.context is None
    assert "x-direct-context" not in opened.fields


def test_a_document_that_cannot_be_read_goes_out_all_the_same(world):
    world.write(files=[NewAttachment("odd.xml", "text/xml", b"<ClinicalDocument broken")])
    world.send_all()
    (part,) = world.opened().parts
    assert part.data() == b"<ClinicalDocument broken"
    assert world.opened().context is None


def test_a_package_is_one_that_readers_of_packages_read(world, browser, kept):
    values = form_of(browser, documents=list(offered(browser)), package="on")
    browser.post(reverse("directmsg:compose"), values)
    world.send_all()
    opened = world.opened()
    package = next(part for part in opened.parts if part.content_type == "application/zip")
    assert [part.filename for part in opened.parts if part.filename not in ("metadata.txt", "")] == [
        "documents.zip"
    ]
    assert VISIT in read_package(package.data())
    assert opened.context is not None
    shown = browser.get(reverse("directmsg:sent_message", args=[Message.objects.get(direction="out").pk]))
    assert "sent in a package" in shown.content.decode()


def read_package(data):
    """The documents in a package, as our own reader finds them."""
    return [each.data for each in archive.read_documents(data)]


def test_a_package_names_only_those_it_is_sealed_for(world):
    world.dns.add("stranger.example", "TXT", '"no certificate"')
    compose.queue_message(
        world.account,
        world.record,
        [world.peer.office, "someone@stranger.example"],
        "For you",
        "See this",
        [NewAttachment("visit.xml", CDA_TYPE, VISIT)],
        package=True,
    )
    world.send_all()
    (package,) = [part for part in world.opened().parts if part.content_type == "application/zip"]
    metadata = zipfile.ZipFile(io.BytesIO(package.data())).read("IHE_XDM/SUBSET01/METADATA.XML").decode()
    assert world.peer.office in metadata
    assert "stranger" not in metadata


def test_trying_again_sends_the_same_package(world):
    message = compose.queue_message(
        world.account, world.record, [world.peer.office], "For you", "See this",
        [NewAttachment("visit.xml", CDA_TYPE, VISIT)], package=True,
    )  # fmt: skip
    OutboundMail.objects.update(state="failed")
    again = compose.try_again(world.account, world.copy(message))
    send.send_mail(str(world.copy(again).pk))
    assert VISIT in read_package(
        next(part for part in world.opened().parts if part.content_type == "application/zip").data()
    )


# --- what may be chosen -------------------------------------------------------------------------------------


def test_a_link_from_a_document_chooses_it(browser, world, kept):
    page = browser.get(reverse("records:document", args=[world.record.pk, kept.pk])).content.decode()
    link = f"?record={world.record.pk}&amp;enclose=d{kept.pk.hex}"
    assert link in page
    assert form_of(browser, link.replace("&amp;", "&"))["documents"] == [f"d{kept.pk.hex}"]


def test_documents_of_a_stranger_are_neither_offered_nor_taken(client, world, kept):
    stranger = factories.account("tomas@patient.example", "Tomas Bergland")
    factories.record(stranger)
    client.force_login(stranger)
    assert offered(client) == {}
    answer = client.post(reverse("directmsg:compose"), form_of(client, documents=[f"d{kept.pk.hex}"]))
    # The field is not there at all: what is posted for it counts for nothing.
    assert not Attachment.objects.filter(message__direction="out").exists()
    assert answer.status_code in (200, 302)


def test_documents_of_another_record_of_mine_do_not_go_along(browser, world, kept):
    child = factories.record(world.account, "Ida Whitlock")
    values = form_of(browser, record=str(child.pk), documents=[f"d{kept.pk.hex}"])
    answer = browser.post(reverse("directmsg:compose"), values)
    assert "These belong to another record" in answer.content.decode()
    assert not Message.objects.filter(direction="out").exists()


@pytest.mark.parametrize("right", [Right.MODIFY, Right.CUSTODIAN])
def test_those_the_record_is_shared_with_send_what_they_see(client, world, kept, right):
    helper = Account.objects.create_user("helper@patient.example", factories.PASSWORD)
    Grant.objects.create(account=helper, record=world.record, right=right)
    client.force_login(helper)
    assert f"d{kept.pk.hex}" in offered(client)


@pytest.mark.parametrize("state", [Document.State.HELD, Document.State.REFUSED])
def test_a_document_about_somebody_else_is_neither_offered_nor_sent(browser, kept, state):
    Document.objects.update(state=state)
    assert f"d{kept.pk.hex}" not in offered(browser)
    form = form_of(browser, documents=[f"d{kept.pk.hex}"])
    answer = browser.post(reverse("directmsg:compose"), form)
    assert "One of these is no longer there" in answer.content.decode()
    assert not Message.objects.filter(direction="out").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"documents": ["d" + "0" * 32]}, "One of these is no longer there"),
        ({"documents": ["nonsense"]}, "One of these is no longer there"),
        ({"package": "on"}, "Choose what is to go into the package"),
    ],
)
def test_bad_choices_are_told_and_nothing_is_sent(browser, kept, changes, words):
    answer = browser.post(reverse("directmsg:compose"), form_of(browser, **changes))
    assert words in answer.content.decode()
    assert not Message.objects.filter(direction="out").exists()


def test_too_much_is_told(browser, kept, monkeypatch):
    monkeypatch.setattr(compose, "most_octets", lambda: 1000)
    answer = browser.post(reverse("directmsg:compose"), form_of(browser, documents=[f"d{kept.pk.hex}"]))
    assert "MB at most" in answer.content.decode()
    assert not Message.objects.filter(direction="out").exists()


def test_our_domain_is_that_of_the_content_id(world):
    world.write(files=[NewAttachment("visit.xml", CDA_TYPE, VISIT)])
    world.send_all()
    assert world.opened().fields.unfolded("x-direct-context").endswith(f"@{DOMAIN}>")
