"""The marker words, one for each thing that must stand nowhere in clear, and a document that has them."""

from __future__ import annotations

from tests.documents import VISIT

SUBJECT = "Pflaumenkern-Ö31 befund"
TEXT = "Zwetschgenröster52"
QUESTION = "Stachelbeerhecke-ß63"
#: As answers are compared: without capitals, accents and signs.
ANSWER = "fliederstrauch81"
WRONG_ANSWER = "goldregenbogen97"
FILE_NAME = "Hagebuttentee-Ü74"
FILE = "Brombeerranken-Ä85"
LARGE_FILE = "Johanniskraut-É96"
PATIENT = "Schlehdornia"
AUTHOR = "Weißdornstein"
FINDING = "Holunderasthma-Ä18"
NARRATIVE = "Sanddornsaft-Ö29"
ACCOUNT_NAME = "Kornelkirscher"
RECORD_NAME = "Mispelbauer"
CONTACT = "ebereschenfrau40"
#: What the sealing hides: each is found where sealing is switched off.
SEALED = (
    SUBJECT,
    TEXT,
    QUESTION,
    ANSWER,
    FILE_NAME,
    FILE,
    LARGE_FILE,
    PATIENT,
    AUTHOR,
    FINDING,
    NARRATIVE,
    ACCOUNT_NAME,
    RECORD_NAME,
    CONTACT,
)
#: What is never kept at all, sealed or not.
NEVER_KEPT = (WRONG_ANSWER,)
CONTACT_EMAIL = f"{CONTACT}@patient.example"
#: Told in clear: accounts are found by it.
SIGN_IN_EMAIL = "account.in.clear@patient.example"


def document() -> bytes:
    """A visit whose patient, author, finding and narrative are marker words."""
    text = VISIT.decode()
    for old, new in (
        ("<given>Nora</given>", f"<given>{PATIENT}</given>"),
        ("<family>Okafor</family>", f"<family>{AUTHOR}</family>"),
        ('displayName="Essential hypertension"', f'displayName="{FINDING}"'),
        ("Blood pressure 128/82", f"{NARRATIVE} 128/82"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text.encode()
