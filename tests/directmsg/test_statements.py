"""What a sender says beside the documents is kept and shown; what we say has the form it should have."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client

from directmsg import compose
from directmsg.agent.message import NewAttachment, parse
from healthvault.store.blobs import open_blob
from records import editing, filing, uploading
from records.clinical import xdm
from records.models import Document, Entry, FilePreference, Grant, Message, Right
from tests import factories
from tests.cms_peers import MISSING, OpenSsl
from tests.directmsg import world as worlds
from tests.documents import CDA_TYPE, VISIT
from tests.pure.agent.test_context import CONTEXT, REQUEST
from tests.pure.agent.test_context import message as with_context
from tests.structural_checks import Sent, check

pytestmark = pytest.mark.django_db
OFFICE = "office@direct.clinic.example"
DOCUMENT = NewAttachment("visit.xml", CDA_TYPE, VISIT)
PICTURE = NewAttachment("foot.png", "image/png", b"\x89PNG\r\n")


@pytest.mark.skipif(MISSING, reason="needs the openssl command")
@pytest.mark.parametrize("in_package", [False, True])
def test_what_leaves_us_has_the_form_of_a_direct_message(world, tmp_path, *, in_package):
    compose.queue_message(
        world.account, world.record, OFFICE, "Records", "See.", [DOCUMENT], package=in_package
    )
    world.letter_arrives()  # which is answered by a notification
    world.send_all()
    openssl = OpenSsl(tmp_path)
    kinds = set()
    for taken in world.smtp.taken:
        wire = taken.data
        envelope = parse(wire).root.content
        inside = openssl.decrypt(envelope, world.peer.leaf)
        sent = Sent(wire, inside, 1, worlds.authority().der)
        check(sent)
        kinds.add(sent.kind)
    assert kinds == {"message", "mdn"}
    opened = world.opened(0) if world.opened(0).kind == "message" else world.opened(1)
    assert opened.context is not None


# --- coming in ------------------------------------------------------------------------------------------


def arrived(world, **fields) -> Message:
    mail = world.letter_arrives(**fields)
    assert mail.state == "filed"
    return Message.objects.select_related("record__holder").get(pk=mail.message_id)


def page_of(world, message: Message) -> str:
    client = Client()
    client.force_login(world.account)
    return client.get(f"/messages/{message.pk}/").content.decode()


def test_a_context_is_kept_and_shown_and_is_no_file(world):
    root = parse(with_context()).root
    field = ("X-Direct-Context", root.fields.unfolded("x-direct-context"))
    part = root.children[1].raw + b"\r\n"
    message = arrived(world, extra_fields=[field], extra_parts=[part], attachments=[PICTURE])
    assert message.about == {"context": CONTEXT.to_json()}
    assert [each.filename for each in message.attachments.all()] == ["foot.png"]
    page = page_of(world, message)
    for word in (
        "What the sender says it is about",
        "Zoë Oak",
        "29 February 1980",
        "general report",
        "OAK-7",
    ):
        assert word in page
    assert not Document.objects.exists()


def test_a_broken_context_is_a_file_like_any_other(world):
    part = b"Content-Type: text/plain\r\nContent-Disposition: attachment; filename=metadata.txt\r\n"
    part += b"Content-ID: <c@x.example>\r\n\r\nversion: 9\r\n"
    message = arrived(world, extra_fields=[("X-Direct-Context", "<c@x.example>")], extra_parts=[part])
    assert message.about is None
    assert [each.filename for each in message.attachments.all()] == ["metadata.txt"]
    assert "What the sender says" not in page_of(world, message)


def test_request_txt_is_shown_and_stays_a_file(world):
    message = arrived(world, attachments=[NewAttachment("request.txt", "text/plain", REQUEST.encode())])
    page = page_of(world, message)
    for word in ("Why it was sent", "Green Valley Clinic", "Will be sent again", "Source of summary.xml"):
        assert word in page
    assert [each.filename for each in message.attachments.all()] == ["request.txt"]


def test_a_package_brings_its_documents_with_what_it_says_of_them(world):
    letter = xdm.PackagedDocument(b"%PDF-1.4 letter", "application/pdf", "Letter / to you")
    about = xdm.PackagedDocument(VISIT, "text/xml", "Visit in May", created="20240516", authors=("Nina Joy",))
    zipped = xdm.write_xdm(
        [about, letter],
        sender=OFFICE,
        recipients=[world.address],
        at=worlds.datetime.now(worlds.UTC),
        package_id=world.record.pk,
        author="Green Valley",
    )
    message = arrived(world, attachments=[NewAttachment("care.zip", "application/zip", zipped)])
    whole, beside = message.attachments.all()
    assert (whole.filename, whole.documents.count()) == ("care.zip", 1)
    assert (beside.filename, open_blob(beside.blob)) == ("Letter to you.pdf", b"%PDF-1.4 letter")
    document = Document.objects.select_related("record__holder", "blob__holder").get()
    assert open_blob(document.blob) == VISIT
    said = document.package
    assert (said["title"], said["created"], said["author"]) == ("Visit in May", "2024-05-16", "Nina Joy")
    assert said["sender"] == "Green Valley"
    assert "damaged" not in said
    page = page_of(world, message)
    assert "Letter to you.pdf" in page


LETTERS = [
    xdm.PackagedDocument(b"%PDF-1.4 about the knee", "application/pdf", "Knee"),
    xdm.PackagedDocument(b"%PDF-1.4 about the foot", "application/pdf", "Foot"),
]


def of_letters() -> bytes:
    at = worlds.datetime(2024, 5, 16, tzinfo=worlds.UTC)
    return xdm.write_xdm(LETTERS, sender=OFFICE, recipients=[OFFICE], at=at, package_id=uuid4())


@pytest.mark.parametrize("uploaded", [False, True])
def test_a_package_of_files_is_no_file_beside_its_own_and_hides_what_is_hidden(world, *, uploaded):
    world.record.files_preference = FilePreference.ALWAYS
    world.record.save()
    data = of_letters()
    if uploaded:
        message = uploading.take_upload(world.record, world.account, "care.zip", data).message
        again = uploading.take_upload(world.record, world.account, "care.zip", data)
        assert (again.new, again.message.pk) == (False, message.pk)
    else:
        message = arrived(world, attachments=[NewAttachment("care.zip", "application/zip", data)])
    outcomes = message.attachments.values_list("outcome", flat=True)
    assert list(outcomes) == ["unpacked", "file", "file"]
    files = list(Entry.objects.filter(record=world.record, kind="file").select_related("record__holder"))
    assert {each.content["name"] for each in files} == {"Knee.pdf", "Foot.pdf"}
    helper = factories.account("helper@patient.example")
    Grant.objects.create(account=helper, record=world.record, right=Right.VIEW)
    theirs, own = Client(), Client()
    theirs.force_login(helper)
    own.force_login(world.account)
    whole = f"/messages/{message.pk}/attachments/0/"
    assert theirs.get(whole).status_code == 200
    editing.set_personal(files[0], world.account, personal=True)
    assert theirs.get(whole).status_code == 404
    assert b"".join(own.get(whole)) == data


# --- documents in any company ---------------------------------------------------------------------------

PDF = NewAttachment("letter.pdf", "application/pdf", b"%PDF-1.4")
STYLED = NewAttachment(
    "styled.xml",
    "text/xml",
    VISIT.replace(b"?>", b'?><?xml-stylesheet type="text/xsl" href="http://10.0.0.1/gone.xsl"?>', 1),
)


def zipped(title: str = "Visit") -> NewAttachment:
    package = xdm.write_xdm(
        [xdm.PackagedDocument(VISIT, "text/xml", title)],
        sender=OFFICE,
        recipients=["ana@direct.portal.example"],
        at=worlds.datetime(2026, 5, 4, tzinfo=worlds.UTC),
        package_id=uuid4(),
    )
    return NewAttachment("care.zip", "application/zip", package)


COMPANY = {
    "a document alone": ([DOCUMENT], 1),
    "as octets": ([NewAttachment("visit.xml", "application/octet-stream", VISIT)], 1),
    "PDF, document": ([PDF, DOCUMENT], 1),
    "document, PDF": ([DOCUMENT, PDF], 1),
    "package": ([zipped()], 1),
    "picture, package": ([PICTURE, zipped()], 1),
    "package, picture": ([zipped(), PICTURE], 1),
    "package as octets": ([NewAttachment("care.zip", "application/octet-stream", zipped().data)], 1),
    "two documents": ([DOCUMENT, PDF, NewAttachment("b.xml", "text/xml", VISIT)], 2),
    "two packages with the same symbolic ids": ([zipped("One"), zipped("Two")], 2),
    "a stylesheet that is not there": ([STYLED], 1),
}


@pytest.mark.parametrize("name", COMPANY)
def test_documents_are_found_in_any_order_and_company(world, name):
    attachments, number = COMPANY[name]
    message = arrived(world, attachments=attachments)
    documents = Document.objects.filter(attachment__message=message)
    assert documents.count() == number
    for document in documents:
        filing.read_document(str(document.pk))
    assert {document.state for document in Document.objects.all()} <= {"read", "held"}
    assert len({document.pk for document in documents}) == number
