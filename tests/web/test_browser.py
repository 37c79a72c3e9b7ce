"""Pages in a real browser: nothing blocked by our own policy, nothing too wide, nothing serious for axe."""

import os
import re
import shutil

import pytest
from allauth.account.models import EmailAddress
from django.core.cache import cache
from django.db import connections

from directmsg.inbox import accept
from directmsg.models import InboundMail
from healthvault.outbox.models import Notification
from tests.factories import PASSWORD, account, record
from tests.factories import parcel as parcel_for
from tests.pki_factory import make_ca

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]

#: What the agent told about a mail whose sender nobody trusts.
REPORT = {
    "verdict": "refused",
    "code": "untrusted_chain",
    "kind": "message",
    "algorithms": {
        "digest": "sha256",
        "signature": "rsa-pkcs1v15",
        "cipher": "aes128-cbc",
        "key_transport": "oaep-sha256",
    },
    "signers": [
        {
            "sha256": "0f" * 32,
            "subject": "CN=direct.tamarisk.example",
            "names": ["direct.tamarisk.example"],
            "serial": "0f" * 20,
            "chain": [{"sha256": "0f" * 32, "subject": "CN=direct.tamarisk.example"}] * 3,
            "accepted": False,
            "code": "untrusted_chain",
        }
    ],
    "warnings": ["revocation_unknown"],
}


class Visitor:
    """A browser that notes what is wrong with every page it looks at."""

    def __init__(self, page, address):
        self.page, self.address, self.wrong = page, address, []
        page.set_default_timeout(10_000)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.wrong.append((page.url, "script", str(error))))

    def _console(self, message):
        # A page that answers 4xx on purpose says so in the console too.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.wrong.append((self.page.url, message.type, message.text))

    def go(self, path):
        self.page.goto(self.address + path)
        self.look()

    def look(self):
        for broken in axe.Axe().run(self.page).response["violations"]:
            if broken["impact"] in ("serious", "critical"):
                places = [node["html"][:120] for node in broken["nodes"]]
                self.wrong.append((self.page.url, broken["id"], places))
        for width in (360, 1280):
            self.page.set_viewport_size({"width": width, "height": 800})
            found = self.page.evaluate("document.documentElement.scrollWidth")
            if found > width:
                self.wrong.append((self.page.url, "too wide", found))

    def send(self):
        self.page.click("main form button.button-primary")
        self.look()


@pytest.fixture(autouse=True)
def outbox(settings):
    settings.EMAIL_BACKEND = "healthvault.outbox.backend.OutboxBackend"
    # Counters of tries stand in the cache's table, which no test's end empties.
    cache.clear()


@pytest.fixture(params=["light", "dark"])
def visitor(request, live_server, monkeypatch):
    # Playwright runs a loop in this thread, which Django takes for asynchronous code.
    monkeypatch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(color_scheme=request.param)
        yield Visitor(page, live_server.url)
        browser.close()
        # Inside Playwright's loop Django keeps connections of its own, which nobody else ends.
        connections.close_all()


def with_passkeys(page):
    """Give the browser a device that holds passkeys and whose owner always agrees."""
    tools = page.context.new_cdp_session(page)
    tools.send("WebAuthn.enable")
    device = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    tools.send("WebAuthn.addVirtualAuthenticator", {"options": device})


def test_a_stranger_signs_up(visitor):
    page = visitor.page
    for path in ("/", "/accounts/login/", "/accounts/password/reset/", "/no/such/page/"):
        visitor.go(path)
    visitor.go("/accounts/signup/")
    page.fill("#id_name", "Ines Falk")
    page.fill("#id_email", "ines@patient.example")
    page.fill("#id_password1", "short")
    visitor.send()
    page.fill("#id_password1", "quarry-lamp-otter-9")
    visitor.send()
    code = re.search(r"^\d{4}-\d{4}$", Notification.objects.latest("created").text, re.M).group(0)
    page.fill("#id_code", code)
    visitor.send()
    assert page.url.endswith("/messages/")
    assert visitor.wrong == []


def test_a_passkey_signs_in(visitor):
    person = account()
    EmailAddress.objects.create(user=person, email=person.email, verified=True, primary=True)
    record(person)
    page = visitor.page
    with_passkeys(page)
    visitor.go("/accounts/login/")
    page.fill("#id_login", person.email)
    page.fill("#id_password", PASSWORD)
    visitor.send()
    for path in ("/accounts/", "/accounts/email/", "/accounts/2fa/", "/accounts/sessions/", "/records/"):
        visitor.go(path)
    visitor.go("/accounts/2fa/webauthn/add/")
    page.fill("#id_password", PASSWORD)
    visitor.send()
    page.click("#mfa_webauthn_add")
    page.wait_for_url("**/2fa/recovery-codes/")
    visitor.look()
    visitor.go("/accounts/2fa/webauthn/")
    page.click("footer button")
    visitor.go("/accounts/login/")
    page.click("#passkey_login")
    page.wait_for_url("**/messages/")
    visitor.look()
    assert visitor.wrong == []


def test_the_session_ends_with_a_warning(visitor):
    person = account()
    EmailAddress.objects.create(user=person, email=person.email, verified=True, primary=True)
    record(person)
    page = visitor.page
    page.clock.install()
    visitor.page.goto(visitor.address + "/accounts/login/")
    page.fill("#id_login", person.email)
    page.fill("#id_password", PASSWORD)
    page.click("main form button.button-primary")
    page.wait_for_url("**/messages/")
    page.clock.run_for(17 * 60 * 1000)
    assert not page.is_visible(".session-notice")
    page.clock.run_for(61 * 1000)
    visitor.look()
    page.click(".session-notice button")
    page.wait_for_selector(".session-notice", state="detached")
    sign_in = "/accounts/login/?next=%2Fmessages%2F"
    with page.expect_request(lambda asked: asked.url.endswith(sign_in)):
        page.clock.run_for(21 * 60 * 1000)
    assert visitor.wrong == []


def test_the_partner_api_can_be_read(visitor):
    visitor.page.goto(visitor.address + "/api/v1/docs/")
    visitor.page.wait_for_selector("#api-docs .opblock-summary")
    assert "/api/v1/parcels/" in visitor.page.inner_text("#api-docs")
    assert visitor.wrong == []


def test_an_administrator_looks_at_the_whole_console(visitor):
    person = account("ida@portal.example", "Ida", is_staff=True)
    EmailAddress.objects.create(user=person, email=person.email, verified=True, primary=True)
    page = visitor.page
    visitor.page.goto(visitor.address + "/accounts/login/?next=/trust/")
    page.fill("#id_login", person.email)
    page.fill("#id_password", PASSWORD)
    visitor.send()
    page.click("text=Import an anchor")
    visitor.look()
    ca = make_ca("Larkspur Community Hospital of the North, Certificates")
    page.set_input_files("#id_anchors", {"name": "ca.cer", "mimeType": "x/y", "buffer": ca.der})
    page.fill("#id_organization", "Larkspur Community Hospital")
    visitor.send()
    page.click("text=Trust these certificates")
    visitor.look()
    page.click("main ul.list a.list-row")
    visitor.look()
    parcel = parcel_for("nora@patient.example")
    mail = accept(b"Subject: x", "a@b.example", ["newuser@direct.portal.example"], protocol="smtp")
    InboundMail.objects.update(state="refused", code="untrusted_chain", report=REPORT)
    for path in (
        "mail/",
        f"mail/{next(iter(mail.values())).pk}/",
        "mail/sent/",
        "mail/parcels/",
        f"mail/parcels/{parcel.pk}/",
        "bundles/",
        "bundles/add/?preset=Providers",
        "organizations/",
        "requests/",
        "certificates/",
        "certificates/issue/",
        "certificates/import/",
        "certificates/findable/",
        "exchange/",
        "request/",
        "",
    ):
        visitor.go(f"/trust/{path}")
    assert visitor.wrong == []
