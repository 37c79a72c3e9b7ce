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
#: By Direct mail: a message to a record, and one to newuser that stays waiting.
SENDER_NAME = "Vogelbeerschwester"
DIRECT_SUBJECT = "Kirschlorbeer-Ü51"
DIRECT_TEXT = "Wacholderbrief-ö62"
DIRECT_FILE_NAME = "Liguster-Ä73"
DIRECT_FILE = "Berberitze-ß84"
DIRECT_QUESTION = "Efeuranke-É95"
DIRECT_ANSWER = "waldmeister16"
DIRECT_CONTACT = "rosenapfelfrau27"
#: What a sender says beside the documents.
DIRECT_REQUEST = "Felsenbirne-Ü05"
PACKAGE_TITLE = "Zierquitte-ä17"
#: In the subject of a mail that is refused: its raw form is kept, encrypted by its sender and sealed.
REFUSED_SUBJECT = "Tollkirsche-Ö38"
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
    SENDER_NAME,
    DIRECT_SUBJECT,
    DIRECT_TEXT,
    DIRECT_FILE_NAME,
    DIRECT_FILE,
    DIRECT_QUESTION,
    DIRECT_ANSWER,
    DIRECT_CONTACT,
    DIRECT_REQUEST,
    PACKAGE_TITLE,
)
#: What is never kept, or only as its sender encrypted it.
NEVER_KEPT = (WRONG_ANSWER, REFUSED_SUBJECT)
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
