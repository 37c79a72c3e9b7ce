"""The main job on real bytes: a partner's S/MIME message becomes part of a record somebody claims.

`openssl cms` is the partner; the portal runs in processes of its own.
"""

from __future__ import annotations

import smtplib
from pathlib import Path

import pytest

from tests.documents import CCR, CDA_TYPE, VISIT
from tests.flows.stack import PASSWORD, Stack, link_in, text_of, wait_until
from tests.flows.visitor import Visitor
from tests.partner import Partner

pytestmark = pytest.mark.flow


def sign_up(visitor: Visitor, password: str = PASSWORD, name: str = "Nora Whitlock") -> None:
    visitor.submit({"password1": password, "name": name}, having="password1")


def state_of(stack: Stack, recipient: str) -> list[str]:
    return [line["state"] for line in stack.ledger() if line["recipient"] == recipient]


def test_newuser_with_a_question(stack: Stack, partner: Partner, identity: bytes) -> None:
    contact = "nora@patient.example"
    inner = partner.compose(
        f"newuser@{stack.domain}",
        f"{contact};First street you lived in?;Orchard Row;Summary of your visit",
        attachments=(("summary.xml", CDA_TYPE, VISIT), ("map.pdf", "application/pdf", b"%PDF-1.4\n%%EOF\n")),
    )
    partner.send("127.0.0.1", stack.smtp_port, partner.seal(inner, identity), f"newuser@{stack.domain}")

    mail = stack.wait_for_mail(contact)
    for word in ("Orchard", "street", "Summary of your", "summary.xml", "Nora"):
        assert word not in mail.as_string()
    assert partner.name in text_of(mail)

    visitor = Visitor(stack.url)
    page = visitor.get(link_in(mail))
    assert page.status_code == 200
    assert "/pickup/" in page.url
    assert link_in(mail).rstrip("/").rpartition("/")[2] not in page.url
    assert "First street" not in visitor.text
    assert "n***@patient.example" in visitor.text

    visitor.get(f"{stack.url}/accounts/signup/?next=/pickup/answer/")
    assert contact in visitor.page.text  # type: ignore[union-attr]
    sign_up(visitor)
    assert "First street you lived in?" in visitor.text
    visitor.submit({"answer": "Elm Road"})
    assert "2 tries left" in visitor.text
    visitor.submit({"answer": " orchard-row "})
    assert "Summary of your visit" in visitor.text
    assert "Nora Whitlock" in visitor.text
    visitor.submit({}, having="record")
    assert "It is in the record of Nora Whitlock" in visitor.text
    assert f"@{stack.domain}" in visitor.text

    wait_until(
        "the items are filed", lambda: visitor.get(visitor.page.url) and "added to the record" in visitor.text
    )  # type: ignore[union-attr]
    visitor.get("/records/")
    for word in (
        "Penicillin V",
        "Essential hypertension",
        "Lisinopril",
        "Potassium",
        "Former smoker",
        "map.pdf",
    ):
        assert word in visitor.text
    assert "parcelled" in state_of(stack, f"newuser@{stack.domain}")

    again = Visitor(stack.url)
    assert again.get(link_in(mail)).status_code == 410
    visitor.close()
    again.close()


def test_newuser_without_a_question_asks_the_mailed_code(
    stack: Stack, partner: Partner, identity: bytes
) -> None:
    contact = "tomas@patient.example"
    inner = partner.compose(
        f"newuser@{stack.domain}",
        f"{contact};Your referral",
        attachments=(("referral.xml", "text/xml", CCR),),
    )
    partner.send("127.0.0.1", stack.smtp_port, partner.seal(inner, identity), f"newuser@{stack.domain}")
    visitor = Visitor(stack.url)
    visitor.get(link_in(stack.wait_for_mail(contact)))
    visitor.get(f"{stack.url}/accounts/signup/?next=/pickup/answer/")
    sign_up(visitor, name="Tomas Bergland")
    visitor.submit({"email": "someone@else.example"})
    assert "2 tries left" in visitor.text
    visitor.submit({"email": "Tomas@Patient.example"})
    code = "".join(
        ch for ch in text_of(stack.wait_for_mail(contact, 2)).split("code is")[1][:20] if ch.isdigit()
    )
    assert len(code) == 8
    visitor.submit({"pickup_code": code})
    visitor.submit({}, having="record")
    assert "Your referral" in visitor.text
    wait_until(
        "the items are filed", lambda: visitor.get(visitor.page.url) and "added to the record" in visitor.text
    )  # type: ignore[union-attr]
    visitor.get("/records/")
    for word in ("Birch pollen", "Cetirizine", "Hemoglobin"):
        assert word in visitor.text
    visitor.close()


def test_a_known_address_gets_it_at_once(stack: Stack, partner: Partner, identity: bytes) -> None:
    made = stack.account("ada@patient.example", "Ada Larch")
    address = made["direct_address"]
    inner = partner.compose(address, "Your X-ray", attachments=(("visit.xml", "application/xml", VISIT),))
    partner.send("127.0.0.1", stack.smtp_port, partner.seal(inner, identity), address)
    mail = stack.wait_for_mail("ada@patient.example")
    assert "X-ray" not in mail.as_string()

    visitor = Visitor(stack.url)
    visitor.get(link_in(mail))
    visitor.submit({"login": "ada@patient.example", "password": PASSWORD})
    assert "Your X-ray" in visitor.text
    assert partner.address in visitor.text
    # The document names somebody else, so nothing of it is filed before the person says so.
    wait_until(
        "the document is held",
        lambda: visitor.get(visitor.page.url) and "Is this about Ada Larch?" in visitor.text,
    )  # type: ignore[union-attr]
    download = visitor.get(visitor.page.url.rstrip("/") + "/attachments/0/")  # type: ignore[union-attr]
    assert download.content == VISIT
    assert download.headers["Content-Disposition"].startswith("attachment")
    visitor.close()

    stranger = Visitor(stack.url)
    stack.account("eve@stranger.example", "Eve")
    stranger.sign_in("eve@stranger.example", PASSWORD)
    assert stranger.get(link_in(mail)).status_code == 404
    stranger.close()


def test_three_wrong_answers_lock(stack: Stack, partner: Partner, identity: bytes) -> None:
    contact = "lock@patient.example"
    inner = partner.compose(f"newuser@{stack.domain}", f"{contact};Pet?;Biscuit;Hello")
    partner.send("127.0.0.1", stack.smtp_port, partner.seal(inner, identity), f"newuser@{stack.domain}")
    visitor = Visitor(stack.url)
    visitor.get(link_in(stack.wait_for_mail(contact)))
    visitor.get(f"{stack.url}/accounts/signup/?next=/pickup/answer/")
    sign_up(visitor)
    for wrong in ("one", "two", "two", "three"):
        visitor.submit({"answer": wrong})
    assert "too many wrong answers" in visitor.text
    visitor.get("/pickup/answer/")
    assert "Biscuit" not in visitor.text
    visitor.close()


@pytest.mark.parametrize("method", ["get", "head"])
def test_opening_the_link_changes_nothing(
    stack: Stack, partner: Partner, identity: bytes, method: str
) -> None:
    contact = f"scanner-{method}@patient.example"
    inner = partner.compose(f"newuser@{stack.domain}", f"{contact};Pet?;Biscuit;Hello")
    partner.send("127.0.0.1", stack.smtp_port, partner.seal(inner, identity), f"newuser@{stack.domain}")
    link = link_in(stack.wait_for_mail(contact))
    for _ in range(10):
        visitor = Visitor(stack.url)
        getattr(visitor.session, method)(link, timeout=30)
        visitor.close()
    visitor = Visitor(stack.url)
    visitor.get(link)
    assert "Tries left 3" in visitor.text
    visitor.close()


def test_what_cannot_be_trusted_is_refused_and_nothing_leaves(
    stack: Stack, partner: Partner, identity: bytes, tmp_path: Path
) -> None:
    stranger = Partner(tmp_path, domain="direct.stranger.example", name="Stranger")
    to = f"newuser@{stack.domain}"
    subject = "victim@patient.example;Pet?;Biscuit;Hello"
    inner = partner.compose(to, subject)
    foreign = stranger.compose(to, subject)
    sealed = partner.seal(inner, identity)
    forged = partner.compose(to, subject, sender=f"records@{stranger.domain}")
    cases = {
        "not_encrypted": inner,
        "not_signed": partner.outer(inner, partner.encrypt(inner, identity)),
        "cannot_decrypt": partner.seal(inner, partner.leaf.pem),
        "untrusted_chain": stranger.seal(foreign, identity),
        "address_not_covered": partner.seal(forged, identity),
        "malformed": sealed.replace(b"pkcs7-mime", b"pkcs7-mime", 1)[:-600],
    }
    for code, data in cases.items():
        sender = {"untrusted_chain": stranger.address, "address_not_covered": f"records@{stranger.domain}"}
        partner.send("127.0.0.1", stack.smtp_port, data, to, mail_from=sender.get(code))
    wait_until(
        "all are judged",
        lambda: sum(line["state"] == "refused" for line in stack.ledger()) >= len(cases),
    )
    refused = [line["code"] for line in stack.ledger() if line["state"] == "refused"]
    for code in ("not_encrypted", "not_signed", "cannot_decrypt", "untrusted_chain", "address_not_covered"):
        assert code in refused
    assert stack.mails("victim@patient.example") == []


def test_foreign_domains_and_our_own_senders_are_refused_at_once(stack: Stack) -> None:
    with smtplib.SMTP("127.0.0.1", stack.smtp_port, timeout=30) as client:
        client.ehlo()
        client.mail("a@b.example")
        assert client.rcpt("someone@elsewhere.example")[0] == 550
        assert client.rcpt(f"nobody.knows@{stack.domain}")[0] == 250
        client.rset()
        assert client.mail(f"me@{stack.domain}")[0] == 550


def test_lmtp_answers_for_each_recipient(stack: Stack, partner: Partner, identity: bytes) -> None:
    made = stack.account("lia@patient.example", "Lia")
    inner = partner.compose(made["direct_address"], "By LMTP")
    sealed = partner.seal(inner, identity)
    with smtplib.LMTP("127.0.0.1", stack.lmtp_port) as client:
        assert client.sendmail(partner.address, [made["direct_address"]], sealed) == {}
    wait_until("it is filed", lambda: "filed" in state_of(stack, made["direct_address"]))
    stack.wait_for_mail("lia@patient.example")
