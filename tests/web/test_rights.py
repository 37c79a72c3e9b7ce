"""Who may do what, for every address of the portal: generated from the URL map.

A new route needs a line in RULES (or in PREFIXES), or the first test here fails.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from directmsg import blocking, compose, confirmations, inbox, pickup
from directmsg.models import InboundMail, OutboundMail, Parcel
from healthvault.store.blobs import store_blob
from records import export, filing, sharing
from records.models import Document, Entry, Grant, Import, Message, Record, Right
from tests import factories, pki_factory
from tests.directmsg.partners import PartnerMachine, parcel_body
from tests.documents import CDA_TYPE, VISIT
from trust import context, requests
from trust.models import Anchor, Bundle, Identity, Organization
from trust.pki.certs import Certificate

pytestmark = pytest.mark.django_db

#: Words that nobody without a right to the record may ever see.
SECRETS = ("Quittenbrot", "Mirabelle")
ROLES = (
    "owner",
    "modifier",
    "viewer",
    "stranger",
    "lapsed",
    "administrator",
    "suspended",
    "anonymous",
)
EVERYBODY = frozenset(ROLES)
SIGNED_IN = EVERYBODY - {"suspended", "anonymous"}
VIEWERS = frozenset({"owner", "modifier", "viewer"})
MODIFIERS = frozenset({"owner", "modifier"})
OWNER = frozenset({"owner"})
STAFF = frozenset({"administrator"})
NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rule:
    """Who may read (GET, HEAD) and who may act (POST); None where the method is not served.

    `hidden`: what is refused to people who are signed in looks like what is not there.
    """

    get: frozenset[str] | None
    post: frozenset[str] | None = None
    form: tuple[tuple[str, str], ...] = ()
    statuses: frozenset[int] = frozenset({200, 302})


def reading(who: frozenset[str], *more: int) -> Rule:
    return Rule(who, statuses=frozenset({200, 302, *more}))


def acting(who: frozenset[str], **form: str) -> Rule:
    return Rule(None, who, tuple(form.items()))


DOMAIN = "direct.portal.example"
SETTINGS = {"name": "Nora", "files_preference": "ask", "integration_preference": "review"}
RULES = {
    # The start, and what machines ask.
    "": reading(EVERYBODY),
    "healthz": reading(EVERYBODY),
    "readyz": reading(EVERYBODY, 503),
    "metrics": reading(EVERYBODY),  # from inside our own network, as these requests are
    "robots.txt": reading(EVERYBODY),
    "favicon.ico": reading(EVERYBODY, 301),
    "demo/mail/": reading(NOBODY),
    "api/v1/schema/": reading(EVERYBODY),
    "api/v1/docs/": reading(EVERYBODY),
    # Records.
    "records/": reading(SIGNED_IN),
    "records/<uuid:record_id>/": reading(VIEWERS),
    "records/<uuid:record_id>/kinds/<slug:kind>/": reading(VIEWERS),
    "records/<uuid:record_id>/trends/<uuid:entry_id>/": reading(VIEWERS, 404),  # of a file
    "records/<uuid:record_id>/timeline/": reading(VIEWERS),
    "records/<uuid:record_id>/documents/": reading(VIEWERS),
    "records/<uuid:record_id>/search/": Rule(VIEWERS, VIEWERS, (("words", "map"),)),
    "records/<uuid:record_id>/imports/": reading(VIEWERS),
    "records/<uuid:record_id>/imports/<uuid:import_id>/": reading(VIEWERS),
    "records/<uuid:record_id>/imports/<uuid:import_id>/review/": Rule(MODIFIERS, MODIFIERS),
    "records/<uuid:record_id>/imports/<uuid:import_id>/undo/": Rule(MODIFIERS, MODIFIERS),
    "records/<uuid:record_id>/imports/<uuid:import_id>/redo/": acting(MODIFIERS),
    "records/<uuid:record_id>/documents/<uuid:document_id>/whose/": Rule(
        MODIFIERS, MODIFIERS, (("not_mine", "1"),)
    ),
    "records/<uuid:record_id>/upload/": Rule(MODIFIERS, MODIFIERS),
    "records/<uuid:record_id>/upload/<uuid:message_id>/": reading(VIEWERS, 404),  # of a message that came in
    "records/<uuid:record_id>/add/": reading(MODIFIERS),
    "records/<uuid:record_id>/add/<slug:kind>/": Rule(MODIFIERS, MODIFIERS, (("name", "x"),)),
    "records/<uuid:record_id>/removed/": reading(OWNER),
    "records/<uuid:record_id>/items/<uuid:entry_id>/correct/": Rule(MODIFIERS, MODIFIERS, (("name", "x"),)),
    "records/<uuid:record_id>/items/<uuid:entry_id>/decide/": acting(MODIFIERS, act="reject"),
    "records/<uuid:record_id>/items/<uuid:entry_id>/remove/": Rule(OWNER, OWNER),
    "records/<uuid:record_id>/items/<uuid:entry_id>/picture/": reading(VIEWERS, 404),  # no picture
    "records/<uuid:record_id>/settings/senders/": acting(OWNER, sender="a.example", preference="review"),
    "records/<uuid:record_id>/settings/": Rule(OWNER, OWNER, tuple(SETTINGS.items())),
    "records/<uuid:record_id>/items/<uuid:entry_id>/": reading(VIEWERS),
    "records/<uuid:record_id>/items/<uuid:entry_id>/file/": reading(VIEWERS),
    "records/<uuid:record_id>/documents/<uuid:document_id>/": reading(VIEWERS),
    "records/<uuid:record_id>/documents/<uuid:document_id>/file/": reading(VIEWERS),
    "records/<uuid:record_id>/documents/<uuid:document_id>/part/": reading(VIEWERS, 404),
    # The people of a record, and what they did.
    "records/<uuid:record_id>/people/": reading(OWNER),
    "records/<uuid:record_id>/people/invite/": Rule(OWNER, OWNER, (("email", "a@people.example"),)),
    "records/<uuid:record_id>/people/<uuid:grant_id>/": Rule(OWNER, OWNER, (("right", "1"),)),
    "records/<uuid:record_id>/people/<uuid:grant_id>/remove/": Rule(OWNER, OWNER),
    "records/<uuid:record_id>/invitations/<uuid:invitation_id>/resend/": Rule(OWNER, OWNER),
    "records/<uuid:record_id>/invitations/<uuid:invitation_id>/withdraw/": acting(OWNER),
    "records/<uuid:record_id>/leave/": Rule(VIEWERS, VIEWERS),
    "records/<uuid:record_id>/history/": reading(OWNER),
    "records/<uuid:record_id>/items/<uuid:entry_id>/personal/": acting(OWNER, personal="yes"),
    "records/<uuid:record_id>/export/": Rule(OWNER, OWNER),
    "records/<uuid:record_id>/export/<uuid:export_id>/": reading(OWNER),
    "records/<uuid:record_id>/export/<uuid:export_id>/delete/": acting(OWNER),
    "records/<uuid:record_id>/restore/": Rule(OWNER, OWNER),
    "records/<uuid:record_id>/summary/": reading(VIEWERS),
    "records/new/": Rule(SIGNED_IN, SIGNED_IN, (("name", "Ida"), ("relationship", "child"))),
    "records/invited/": Rule(EVERYBODY, EVERYBODY, (("decline", "1"),), frozenset({200, 410})),
    "records/invited/<str:token>/": reading(EVERYBODY),
    # Messages.
    "messages/": reading(SIGNED_IN),
    "messages/compose/": Rule(SIGNED_IN, SIGNED_IN),
    "messages/sent/": reading(SIGNED_IN),
    "messages/sent/<uuid:sent_id>/": reading(VIEWERS),
    "messages/sent/copies/<uuid:copy_id>/again/": acting(MODIFIERS),
    "messages/addresses/<uuid:record_id>/": Rule(OWNER, OWNER, (("local", "linden.gate.77"),)),
    "messages/addresses/<uuid:record_id>/<uuid:address_id>/": acting(OWNER, off="1"),
    "messages/blocked/<uuid:record_id>/": Rule(MODIFIERS, MODIFIERS, (("sender", "a.example"),)),
    "messages/blocked/<uuid:record_id>/<uuid:blocked_id>/": acting(MODIFIERS),
    "messages/<uuid:message_id>/": reading(VIEWERS),
    "messages/<uuid:message_id>/move/": acting(MODIFIERS),
    "messages/<uuid:message_id>/opened/": acting(VIEWERS),
    "messages/<uuid:message_id>/html/": reading(VIEWERS),
    "messages/<uuid:message_id>/raw/": reading(OWNER),
    "messages/<uuid:message_id>/attachments/<int:position>/": reading(VIEWERS),
    "messages/<uuid:message_id>/attachments/<int:position>/decide/": acting(MODIFIERS, add="1"),
    "messages/documents/<uuid:document_id>/confirm/": acting(MODIFIERS),
    # Picking up.
    "messages/waiting/": reading(SIGNED_IN),
    "messages/waiting/<uuid:parcel_id>/": acting(OWNER),
    "pickup/": reading(EVERYBODY, 410),
    "pickup/<str:token>/": reading(EVERYBODY),
    "pickup/find/": Rule(EVERYBODY, EVERYBODY, (("email", "nobody@patient.example"),)),
    "pickup/answer/": Rule(SIGNED_IN, SIGNED_IN, (("answer", "x"),)),
    "pickup/code/": Rule(SIGNED_IN, SIGNED_IN, (("pickup_code", "12345678"),)),
    "pickup/claim/": Rule(SIGNED_IN, SIGNED_IN, (("record", "new"), ("name", "x"))),
    "pickup/not-for-me/": acting(EVERYBODY, sure="1"),
    # What we publish.
    "messagecenter/certs/certs.zip": reading(EVERYBODY, 404),
    "messagecenter/certs/anchors.p7b": reading(EVERYBODY, 404),
    "messagecenter/certs/<slug:slug>.crt": reading(EVERYBODY, 404),
    "messagecenter/certs/<slug:slug>.crl": reading(EVERYBODY, 404),
    # Organisations that ask to be trusted.
    "trust/request/": Rule(EVERYBODY, EVERYBODY),
    "trust/request/code/": Rule(EVERYBODY, EVERYBODY),
    "trust/request/sent/": reading(EVERYBODY),
    # The console.
    "trust/": reading(STAFF),
    "trust/mail/": reading(STAFF),
    "trust/mail/<uuid:mail_id>/": reading(STAFF),
    "trust/mail/<uuid:mail_id>/again/": acting(STAFF),
    "trust/mail/<uuid:mail_id>/raw/": acting(STAFF, reason="x"),
    "trust/mail/sent/": reading(STAFF),
    "trust/mail/sent/<uuid:copy_id>/": reading(STAFF),
    "trust/mail/parcels/": reading(STAFF),
    "trust/mail/parcels/<uuid:parcel_id>/": reading(STAFF),
    "trust/mail/parcels/<uuid:parcel_id>/again/": acting(STAFF),
    "trust/mail/parcels/<uuid:parcel_id>/offer/": acting(STAFF),
    "trust/mail/parcels/<uuid:parcel_id>/withdraw/": acting(STAFF, sure="on"),
    "trust/anchors/": reading(STAFF),
    "trust/anchors/import/": Rule(STAFF, STAFF),
    "trust/anchors/<uuid:anchor_id>/": reading(STAFF),
    "trust/anchors/<uuid:anchor_id>/flags/": acting(STAFF, incoming="on"),
    "trust/anchors/<uuid:anchor_id>/state/": acting(STAFF, act="pause", reason="x"),
    "trust/anchors/<uuid:anchor_id>/exclude/": acting(STAFF, domain=DOMAIN, reason="x"),
    "trust/peers/": reading(STAFF),
    "trust/bundles/": reading(STAFF),
    "trust/bundles/add/": Rule(STAFF, STAFF),
    "trust/bundles/<uuid:bundle_id>/": reading(STAFF),
    "trust/bundles/<uuid:bundle_id>/change/": Rule(STAFF, STAFF),
    "trust/bundles/<uuid:bundle_id>/refresh/": acting(STAFF),
    "trust/bundles/<uuid:bundle_id>/use/": acting(STAFF, incoming="on"),
    "trust/bundles/<uuid:bundle_id>/proposal/": acting(STAFF, act="drop"),
    "trust/organizations/": reading(STAFF),
    "trust/organizations/add/": Rule(STAFF, STAFF),
    "trust/organizations/<uuid:organization_id>/": Rule(STAFF, STAFF, (("name", "Rowan Clinic"),)),
    "trust/domains/<str:name>/": Rule(STAFF, STAFF, (("revocation", "require"),)),
    "trust/requests/": reading(STAFF),
    "trust/requests/<uuid:request_id>/": reading(STAFF),
    "trust/requests/<uuid:request_id>/accept/": acting(STAFF, organization="Rowan", incoming="on"),
    "trust/requests/<uuid:request_id>/decline/": acting(STAFF, reason="x"),
    "trust/certificates/": reading(STAFF),
    "trust/certificates/issue/": Rule(STAFF, STAFF, (("name", DOMAIN),)),
    "trust/certificates/next/": acting(STAFF, sure="on"),
    "trust/certificates/import/": Rule(STAFF, STAFF),
    "trust/certificates/findable/": Rule(STAFF, STAFF),
    "trust/certificates/zone/": reading(STAFF),
    "trust/certificates/ldif/": reading(STAFF),
    "trust/certificates/<uuid:identity_id>/": reading(STAFF),
    "trust/certificates/<uuid:identity_id>/retire/": acting(STAFF, sure="on"),
    "trust/certificates/<uuid:identity_id>/revoke/": acting(STAFF, reason="superseded", sure="on"),
    "trust/exchange/": Rule(STAFF, STAFF),
}
#: The partner API: a session opens nothing there, a token of another organisation finds nothing.
API = {
    "api/v1/parcels/": ("GET", "POST"),
    "api/v1/parcels/<uuid:parcel_id>/": ("GET", "PATCH"),
    "api/v1/parcels/<uuid:parcel_id>/withdraw/": ("POST",),
    "api/v1/parcels/<uuid:parcel_id>/resend/": ("POST",),
    "api/v1/": (),
}
#: Routes of libraries, under one rule each.
PREFIXES = ("accounts/", "identity/", ".well-known/", "admin/")


# --- the URL map ----------------------------------------------------------------------------------------


def routes() -> list[str]:
    """Every route of the portal, as the URL map spells it."""
    return sorted(set(_walk(get_resolver(), "")))


def _walk(resolver: URLResolver, before: str) -> Iterator[str]:
    for pattern in resolver.url_patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route
        else:
            yield from _walk(pattern, route)


def own_routes() -> list[str]:
    return [route for route in routes() if not route.startswith(PREFIXES)]


def library_routes(prefix: str) -> list[str]:
    return [route for route in routes() if route.startswith(prefix)]


def test_every_route_has_a_rule_and_every_rule_a_route():
    assert set(own_routes()) == set(RULES) | set(API)
    assert all(library_routes(prefix) for prefix in PREFIXES)


# --- people and things ----------------------------------------------------------------------------------


@dataclass
class World:
    """A record with everything in it, and a browser for each role."""

    ids: dict[str, str]
    browsers: dict[str, Client]

    def path(self, route: str, **other: str) -> str:
        """The address of `route` with the ids of this world."""
        ids = {**self.ids, **other}
        return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda found: ids[found[1]], route)

    def unknown(self, route: str) -> str:
        """The same address with ids that nothing has."""
        nothing = "00000000-0000-4000-8000-000000000000"
        names = re.findall(r"<uuid:(\w+)>", route)
        return self.path(route, **dict.fromkeys(names[:1], nothing))


@pytest.fixture
def world() -> World:
    owner = factories.account("owner@patient.example", f"Nora {SECRETS[0]}")
    record = factories.record(owner, f"Nora {SECRETS[0]}")
    Record.objects.filter(pk=record.pk).update(files_preference="ask")
    record.refresh_from_db()
    message = _message(owner, record)
    document = Document.objects.get()
    lost = _lost(owner, record)
    filing.read_document(str(document.pk))
    file = Entry.objects.create(
        record=record,
        kind="file",
        content={"name": "map.pdf", "content_type": "application/pdf"},
        blob=store_blob(record.holder, b"%PDF"),
    )
    waiting = factories.parcel("owner@patient.example", None, None, subject=f"More {SECRETS[1]}")
    ids = {
        "record_id": record.pk,
        "message_id": message.pk,
        "sent_id": lost.message_id,
        "copy_id": lost.pk,
        "address_id": record.direct_addresses.get().pk,
        "blocked_id": blocking.block(record, "spam.example", account=owner).pk,
        "position": 1,
        "kind": "results",
        "entry_id": file.pk,
        "document_id": document.pk,
        "import_id": Import.objects.get(document=document).pk,
        "parcel_id": waiting.pk,
        "export_id": export.request_export(record, owner).pk,
        "invitation_id": sharing.invite(record, owner, "ida@people.example", Right.VIEW)[0].pk,
        "token": "x" * 43,
        "slug": "portal",
        "name": DOMAIN,
        **_of_the_console(),
    }
    browsers = _browsers(record, owner)
    ids["grant_id"] = Grant.objects.get(account__email="viewer@family.example").pk
    return World({name: str(value) for name, value in ids.items()}, browsers)


@cache
def _authority() -> pki_factory.Issued:
    return pki_factory.make_ca("Rowan Clinic CA")


def _of_the_console() -> dict[str, Any]:
    """A refused mail, and one row of everything that the console shows."""
    context.ensure_domains()
    mail = inbox.accept(b"Subject: raw", "a@b.example", [f"newuser@{DOMAIN}"], protocol="smtp")
    mail_id = mail[f"newuser@{DOMAIN}"].pk
    InboundMail.objects.filter(pk=mail_id).update(state="refused", code="untrusted_chain")
    ca = _authority()
    fields = Anchor.fields_of(Certificate(ca.der))
    asked = requests.Asked("Rowan Clinic", "it@rowan.example", (), ca.pem.decode())
    bundle = Bundle.objects.create(name="Providers")
    identity = Identity.objects.create(**fields, name=DOMAIN, kind="domain", use="dual", serial="1")
    return {
        "mail_id": mail_id,
        "anchor_id": Anchor.objects.create(**fields, bundle=bundle).pk,
        "bundle_id": bundle.pk,
        "organization_id": Organization.objects.create(name="Rowan Clinic").pk,
        "request_id": requests.open_request(asked, "web").pk,
        "identity_id": identity.pk,
    }


def _message(owner: Any, record: Record) -> Message:
    files = (("visit.xml", CDA_TYPE, VISIT), ("map.pdf", "application/pdf", b"%PDF"))
    made = factories.parcel("owner@patient.example", None, None, subject=f"Your {SECRETS[1]}", files=files)
    parcel = Parcel.objects.select_related("holder", "content").get(pk=made.pk)
    message = pickup.claim(parcel, owner, record, parcel.holder.unwrap())
    Message.objects.filter(pk=message.pk).update(raw=store_blob(record.holder, b"Subject: raw"))
    message.html = f"<p>{SECRETS[1]}</p>"
    message.save(update_fields=["html"])
    return message


def _lost(owner: Any, record: Record) -> OutboundMail:
    """A sent message whose one copy did not arrive."""
    sent = compose.queue_message(owner, record, "office@clinic.example", f"To {SECRETS[1]}", "Hello")
    confirmations.lose([(sent.outbound.get(), "no_certificate", "")])
    return OutboundMail.objects.get(message=sent)


def _browsers(record: Record, owner: Any) -> dict[str, Client]:
    grants = {
        "modifier": {"right": Right.MODIFY},
        "viewer": {"right": Right.VIEW},
        "lapsed": {"right": Right.MODIFY, "expires": timezone.now()},
        # Custodian or not: who is suspended is nobody.
        "suspended": {"right": Right.CUSTODIAN},
    }
    browsers = {role: Client() for role in ROLES}
    for role in ROLES:
        if role == "anonymous":
            continue
        person = owner
        if role != "owner":
            person = factories.account(f"{role}@family.example", role, is_staff=role == "administrator")
        EmailAddress.objects.get_or_create(user=person, email=person.email, verified=True, primary=True)
        if role in grants:
            Grant.objects.create(account=person, record=record, **grants[role])
        browsers[role].force_login(person)
        if role == "suspended":
            type(person).objects.filter(pk=person.pk).update(is_active=False)
    return browsers


#: Tables that a look may change: the trail of who looked, sessions, and counters of how often one asks.
OF_LOOKING = re.compile(r"audit_|django_session|usersessions_|django_cache")


def contents() -> dict[str, str]:
    """A digest of every row of every table, apart from those of looking."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if not OF_LOOKING.match(table):
                cursor.execute(f'SELECT * FROM "{table}"')
                rows = sorted(repr([_plain(value) for value in row]) for row in cursor.fetchall())
                found[table] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return found


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def page(answer: HttpResponse) -> bytes:
    """The bytes of an answer without the masked token of its forms, which differs every time."""
    return re.sub(rb"\b[A-Za-z0-9]{64}\b", b"", answer.content)


def is_to_sign_in(answer: HttpResponse) -> bool:
    return answer.status_code == 302 and answer.headers["Location"].startswith("/accounts/login/")


# --- pages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", sorted(RULES))
def test_looking_is_for_those_with_the_right_and_changes_nothing(world, route):
    rule, path = RULES[route], world.path(route)
    before = contents()
    for role, browser in world.browsers.items():
        for method in (browser.get, browser.head):
            answer = method(path)
            if rule.get is None:
                assert answer.status_code == 405, role
            elif role in rule.get:
                assert answer.status_code in rule.statuses, (role, answer.status_code)
                assert not is_to_sign_in(answer), role
            else:
                _refused(role, answer, method(world.unknown(route)))
            _guarded(path, answer)
            if role not in VIEWERS:
                assert not any(secret in answer.content.decode(errors="replace") for secret in SECRETS)
    assert contents() == before


@pytest.mark.parametrize("route", sorted(RULES))
def test_acting_is_for_those_with_the_right(world, route):
    rule, path = RULES[route], world.path(route)
    before = contents()
    for role, browser in world.browsers.items():
        # Each acts in the world as it was.
        with transaction.atomic():
            answer = browser.post(path, dict(rule.form))
            if rule.post is None:
                assert answer.status_code == 405, role
            elif role in rule.post:
                assert answer.status_code in (200, 302), (role, answer.status_code)
                assert not is_to_sign_in(answer), role
            else:
                _refused(role, answer, browser.post(world.unknown(route)))
            if rule.post is None or role not in rule.post:
                assert contents() == before, role
            transaction.set_rollback(True)


#: What every browser and proxy may keep.
KEPT = ("/robots.txt", "/favicon.ico", "/messagecenter/")


def _guarded(path: str, answer: HttpResponse) -> None:
    """The headers that every answer carries, whoever asks."""
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-" not in policy
    assert "sandbox" in policy or "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] in ("same-origin", "no-referrer")
    if not path.startswith(KEPT):
        assert "no-store" in answer.headers["Cache-Control"], path


def _refused(role: str, answer: HttpResponse, of_nothing: HttpResponse) -> None:
    if role in SIGNED_IN:
        assert answer.status_code == 404, role
        assert page(answer) == page(of_nothing), role
    else:
        assert is_to_sign_in(answer) or answer.status_code == 404, role


def test_no_other_method_is_served(world):
    before = contents()
    for route in RULES:
        for role in ("owner", "stranger", "anonymous"):
            for method in ("PUT", "PATCH", "DELETE", "TRACE"):
                answer = world.browsers[role].generic(method, world.path(route))
                assert answer.status_code == 405, (route, role, method)
    assert contents() == before


def test_nothing_is_done_without_the_token_of_the_form(world):
    forger = Client(enforce_csrf_checks=True)
    forger.cookies = world.browsers["owner"].cookies
    before = contents()
    for route, rule in RULES.items():
        if rule.post:
            assert forger.post(world.path(route), dict(rule.form)).status_code == 403, route
    assert contents() == before


# --- the partner API ------------------------------------------------------------------------------------


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def test_the_api_is_for_tokens_only(world):
    before = contents()
    for route, methods in API.items():
        for role, browser in world.browsers.items():
            for method in METHODS:
                answer = browser.generic(method, world.path(route), b"{}", "application/json")
                assert answer.status_code == (401 if methods else 404), (route, role, method)
    assert contents() == before


def test_another_organisation_finds_nothing_in_the_api(world):
    owner = PartnerMachine.create()
    mine = owner.post(parcel_body(question=None, answer=None)).json()["id"]
    other = PartnerMachine.create("Rowan Clinic", "direct.rowan.example")
    before = contents()
    for route, methods in API.items():
        for method in METHODS:
            answer = other.request(method, world.path(route, parcel_id=mine), {})
            assert mine not in answer.content.decode(), (route, method)
            if "<" not in route:
                assert answer.status_code in (200, 400, 404, 405), (route, method)
            elif method in methods or (method == "HEAD" and "GET" in methods):
                assert answer.status_code == 404, (route, method)
            else:
                assert answer.status_code == 405, (route, method)
    assert contents() == before


# --- routes of libraries --------------------------------------------------------------------------------

FILLED = {
    "uidb36": "1",
    "key": "x-y",
    "pk": "1",
    "object_id": "00000000-0000-4000-8000-000000000000",
    "app_label": "records",
    "content_type_id": "1",
    "url": "nothing/",
}


def library_paths(prefix: str) -> list[str]:
    """Addresses under a prefix with something in place of each argument."""
    paths = []
    for route in library_routes(prefix):
        plain = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: FILLED.get(found[1], "1"), route)
        plain = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)", lambda found: FILLED.get(found[1], "1"), plain)
        paths.append("/" + plain.replace("^", "").replace("$", "").replace("\\Z", ""))
    return paths


def test_the_tables_are_for_administrators(world):
    before = contents()
    open_to_all = ("/admin/login/", "/admin/logout/")
    paths = [path for path in library_paths("admin/") if path not in open_to_all]
    assert len(paths) > 20
    for path in paths:
        for role in ("anonymous", "owner", "stranger", "suspended"):
            for method in ("GET", "POST"):
                answer = world.browsers[role].generic(method, path)
                assert answer.status_code in (302, 403, 404), (role, path, answer.status_code)
                if answer.status_code == 302 and not path.startswith("/admin/r/"):
                    assert "login" in answer.headers["Location"], (role, path)
    assert contents() == before


def test_administrators_see_nothing_of_a_record_in_the_tables(world):
    administrator = world.browsers["administrator"]
    from records.models import Account

    Account.objects.filter(email="administrator@family.example").update(is_superuser=True)
    assert administrator.get("/admin/").status_code == 200
    for path in library_paths("admin/"):
        answer = administrator.get(path)
        assert answer.status_code < 500, path
        if answer.status_code == 200 and not answer.streaming:
            assert SECRETS[1] not in answer.content.decode(), path


@pytest.mark.parametrize("prefix", ["accounts/", "identity/", ".well-known/"])
def test_looking_at_pages_of_accounts_changes_nothing(world, prefix):
    before = contents()
    for path in library_paths(prefix):
        for role in ("anonymous", "stranger", "suspended"):
            for method in ("GET", "HEAD"):
                answer = world.browsers[role].generic(method, path)
                assert answer.status_code < 500, (role, path)
                if not answer.streaming:
                    assert not any(secret in answer.content.decode() for secret in SECRETS), (role, path)
    assert contents() == before
