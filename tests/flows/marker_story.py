"""A process of its own in which marker words go all the way through the portal.

Held by REST, announced by mail, claimed in a browser, read from the document, shown; and received by
Direct mail for a record, for newuser, and to be refused. With `--clear`,
sealing is switched off in this process before anything else is imported: the search for the words
proves itself on what is left behind then.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def switch_sealing_off() -> None:
    """Keys stand beside what they were to seal, and are compared; an answer is its own key."""
    from healthvault.vault import answers, sealing
    from healthvault.vault.errors import Tampered

    def beside(key: Any) -> bytes:
        # Keyrings hold ciphers made by themselves: they come as objects.
        return (key if isinstance(key, bytes) else b"")[: sealing.OVERHEAD].ljust(sealing.OVERHEAD, b"\0")

    def seal(key: Any, content: bytes, aad: bytes) -> bytes:
        return beside(key) + content

    def open_sealed(key: Any, sealed: bytes, aad: bytes) -> bytes:
        if sealed[: sealing.OVERHEAD] != beside(key):
            raise Tampered("another key")
        return sealed[sealing.OVERHEAD :]

    for module in [module for name, module in sys.modules.items() if name.startswith("healthvault.")]:
        for name, off in (("seal", seal), ("open_sealed", open_sealed), ("cipher", bytes)):
            if hasattr(module, name):
                setattr(module, name, off)
    answers.answer_key = lambda answer, salt: answer.encode()


def main(directory: Path) -> None:
    """The story; `directory` takes what the portal tells machines."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    (directory / "told.txt").write_bytes(b"\n".join(tell()))


def tell() -> list[bytes]:
    """Everything from the request of the partner to the pages of the record; what machines were told."""
    from django.test import Client

    from directmsg.models import Parcel
    from records import filing
    from records.models import Document, Entry, Message
    from tests.directmsg.partners import PartnerMachine
    from tests.flows import marker_words as words

    person = make_person()
    partner = PartnerMachine.create()
    told = [hold(partner, key).content for key in ("one", "one", "two")]
    told.append(fail(partner))
    deliver_mails()
    browser = Client()
    browser.force_login(person)
    claim_by_link(browser, Parcel.objects.order_by("created").first())
    for document in Document.objects.all():
        assert filing.read_document(str(document.pk)) == Document.State.READ, document.code
    assert any(entry.content["name"] == words.FINDING for entry in Entry.objects.exclude(kind="file"))
    look(browser, Message.objects.get())
    ask_for_code(browser, partner)
    receive_direct_mail(person)
    told += [Client().get(path).content for path in ("/metrics", "/readyz", "/api/v1/schema/", "/nothing/")]
    told.append(partner.get("/api/v1/parcels/").content)
    return told


def make_person() -> Any:
    from allauth.account.models import EmailAddress

    from directmsg import addresses
    from records.models import Account
    from tests.flows import marker_words as words

    person = Account.objects.create_user(words.SIGN_IN_EMAIL, "plum-river-42", name=words.ACCOUNT_NAME)
    EmailAddress.objects.create(user=person, email=person.email, verified=True, primary=True)
    addresses.open_record(person, words.ACCOUNT_NAME)
    return person


def body(**changes: Any) -> dict[str, Any]:
    from tests.directmsg.partners import attachment
    from tests.documents import CDA_TYPE
    from tests.flows import marker_words as words

    return {
        "contact_email": words.CONTACT_EMAIL,
        "question": f"{words.QUESTION}?",
        "answer": words.ANSWER,
        "subject": words.SUBJECT,
        "text": f"See {words.TEXT}.",
        "attachments": [
            attachment(f"{words.FILE_NAME}.xml", CDA_TYPE, words.document()),
            attachment(f"{words.FILE_NAME}.txt", "text/plain", words.FILE.encode()),
            attachment(f"{words.FILE_NAME}.bin", "image/x-raw", f"{words.LARGE_FILE} ".encode() * 30_000),
        ],
        **changes,
    }


def hold(partner: Any, key: str) -> Any:
    answer = partner.post(body(), Idempotency_Key=key)
    assert answer.status_code == 201, answer.content
    return answer


def fail(partner: Any) -> bytes:
    """A failure that nobody foresaw, whose exception quotes what it choked on; and plain refusals."""
    from unittest import mock

    from tests.flows import marker_words as words

    with mock.patch("directmsg.api.store_parts", side_effect=RuntimeError(f"{words.TEXT} {words.ANSWER}")):
        broken = partner.post(body())
    assert broken.status_code == 500
    half = partner.post(body(answer=""))
    assert half.status_code == 400
    return bytes(broken.content + half.content)


def deliver_mails() -> None:
    from healthvault.outbox.delivery import deliver
    from healthvault.outbox.models import Notification

    for mail in Notification.objects.filter(state="queued"):
        deliver(mail.pk)


def newest_link() -> str:
    import re

    from django.conf import settings

    mails = sorted((Path(settings.DATA_DIR) / "mail").glob("*.eml"))
    text = re.sub(r"=\r?\n", "", mails[0].read_text())
    return re.search(r"/pickup/[\w-]{43}/", text)[0]


def claim_by_link(browser: Any, parcel: Any) -> None:
    from tests.flows import marker_words as words

    assert browser.get(newest_link()).status_code == 302
    assert browser.get("/pickup/").status_code == 200
    of = {"parcel": str(parcel.pk)}
    assert browser.post("/pickup/answer/", {**of, "answer": words.WRONG_ANSWER}).status_code == 200
    right = browser.post("/pickup/answer/", {**of, "answer": words.ANSWER})
    assert right.status_code == 302, right.content
    shown = browser.get("/pickup/claim/").content.decode()
    assert words.SUBJECT in shown
    form = {**of, "record": "new", "name": words.RECORD_NAME, "relationship": "child"}
    assert browser.post("/pickup/claim/", form).headers["Location"].endswith("?claimed=1")


def look(browser: Any, message: Any) -> None:
    """Open every page that shows the words."""
    from records.models import Document
    from tests.flows import marker_words as words

    record = message.record_id
    paths = ["/messages/", f"/messages/{message.pk}/", f"/messages/{message.pk}/attachments/0/", "/records/"]
    paths += [f"/records/{record}/", f"/records/{record}/settings/"]
    paths += [f"/records/{record}/documents/{document.pk}/" for document in Document.objects.all()]
    for path in paths:
        answer = browser.get(path)
        assert answer.status_code == 200, path
    assert words.SUBJECT in browser.get(f"/messages/{message.pk}/").content.decode()


def ask_for_code(browser: Any, partner: Any) -> None:
    """A parcel without question: a code is mailed to the contact, and typed wrong."""
    from directmsg.models import Parcel
    from tests.flows import marker_words as words

    told = partner.post(body(question=None, answer=None, attachments=[])).json()
    session = browser.session
    parcel = Parcel.objects.get(pk=told["id"])
    session["pickup"] = {"parcel": str(parcel.pk), "token": parcel.token_hash}
    session.save()
    of = {"parcel": str(parcel.pk)}
    typed = browser.post("/pickup/answer/", {**of, "email": words.CONTACT_EMAIL})
    assert typed.headers["Location"] == "/pickup/code/"
    browser.post("/pickup/code/", {**of, "pickup_code": "00000000"})
    deliver_mails()
    # One more mail stays queued, so that its sealed text is there to be searched.
    browser.post("/pickup/code/", {**of, "again": "1"})


def receive_direct_mail(person: Any) -> None:
    """Real S/MIME by the `openssl` command: its working files are no part of what the portal leaves."""
    import json
    import tempfile
    from io import StringIO

    from django.core.management import call_command

    from directmsg import addresses
    from records.access import grants_of
    from tests.flows import marker_words as words
    from tests.partner import Partner

    out = StringIO()
    call_command("create_identity", "direct.portal.example", "--json", stdout=out)
    certificate = json.loads(out.getvalue())["pem"].encode()
    record = grants_of(person).order_by("created").first().record
    own = addresses.primary_address(record).address
    newuser = "newuser@direct.portal.example"
    contact = f"{words.DIRECT_CONTACT}@patient.example"
    files = (
        (f"{words.DIRECT_FILE_NAME}.txt", "text/plain", words.DIRECT_FILE.encode()),
        ("request.txt", "text/plain", f"Patient: {words.DIRECT_REQUEST}\r\nRecurring: No\r\n".encode()),
        ("care.zip", "application/zip", package()),
    )
    with tempfile.TemporaryDirectory() as scratch:
        partner = Partner(Path(scratch), domain="direct.rowan.example", name="Rowan Clinic")
        options = ("--organization", partner.name, "--incoming", "--yes")
        call_command("import_anchor", str(partner.directory / "ca.pem"), *options, stdout=StringIO())
        held = f"{contact};{words.DIRECT_QUESTION}?;{words.DIRECT_ANSWER};{words.DIRECT_SUBJECT}"
        half = f"{contact};{words.REFUSED_SUBJECT};"
        for to, subject, outcome in (
            (own, words.DIRECT_SUBJECT, ("filed", "")),
            (newuser, held, ("parcelled", "")),
            (newuser, half, ("refused", "bad_subject")),
        ):
            sender = f"{words.SENDER_NAME} <{partner.address}>"
            inner = partner.compose(to, subject, f"{words.DIRECT_TEXT}.", files, sender=sender)
            ingest(partner, partner.seal(inner, certificate), to, outcome)
    deliver_mails()


def package() -> bytes:
    """An XDM package whose metadata speak of its document in a word of their own."""
    from datetime import UTC, datetime
    from uuid import uuid4

    from records.clinical.xdm import PackagedDocument, write_xdm
    from tests.flows import marker_words as words

    document = PackagedDocument(words.document(), "text/xml", words.PACKAGE_TITLE)
    return write_xdm(
        [document], sender="x@y.example", recipients=[], at=datetime.now(UTC), package_id=uuid4()
    )


def ingest(partner: Any, data: bytes, to: str, outcome: tuple[str, str]) -> None:
    """Hand a message over and see what became of it."""
    from contextlib import suppress
    from io import StringIO

    from django.core.management import call_command

    from directmsg.models import InboundMail

    path = partner.directory / "message.eml"
    path.write_bytes(data)
    with suppress(SystemExit):
        options = ("--mail-from", partner.address, "--rcpt-to", to, "--wait")
        call_command("ingest_message", str(path), *options, stdout=StringIO())
    mail = InboundMail.objects.order_by("-received").first()
    assert (mail.state, mail.code) == outcome, mail.detail


if __name__ == "__main__":
    if "--clear" in sys.argv:
        # Everything that takes names from `sealing` and needs no settings.
        import healthvault.vault.answers
        import healthvault.vault.keyring  # noqa: F401

        switch_sealing_off()
    main(Path(sys.argv[1]))
