"""Cryptographic messages (CMS, RFC 5652): the one door to signing, verifying, encrypting, decrypting.

Everything takes and returns octets, certificates and keys. Transfer encodings and MIME are other modules'.
"""

from __future__ import annotations

from directmsg.agent.content import content_type
from directmsg.agent.encryption import Decrypted, decrypt, encrypt
from directmsg.agent.identity import Identity
from directmsg.agent.signing import (
    FailedSigner,
    SignedData,
    SignerInfo,
    VerifiedSigner,
    certificates_only,
    read_certificates,
    read_signed,
    sign,
    verify,
)

__all__ = [
    "Decrypted",
    "FailedSigner",
    "Identity",
    "SignedData",
    "SignerInfo",
    "VerifiedSigner",
    "certificates_only",
    "content_type",
    "decrypt",
    "encrypt",
    "read_certificates",
    "read_signed",
    "sign",
    "verify",
]
