"""What is demanded of a path, and whom we trust: values that the caller decides and nobody changes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from trust.pki.certs import Certificate
    from trust.pki.names import NameKey
    from trust.pki.ocsp import OcspAnswer
    from trust.pki.revocation import Crl

_OID = re.compile(r"[0-2](?:\.[0-9]+)+")

#: Tolerances towards old systems, each off unless named. This package acts on `sha1_chain`, `rsa1024`,
#: `names_in_dn`, `no_key_usage` and `no_basic_constraints`; the others are the mail agent's.
LEGACY_NAMES = frozenset(
    {
        "sha1_digest",
        "sha1_chain",
        "tripledes",
        "rsa1024",
        "names_in_dn",
        "no_key_usage",
        "no_basic_constraints",
        "bare_newline",
    }
)

Revocation = Literal["soft", "require"]


@dataclass(frozen=True)
class Policy:
    """Rules and bounds for one verdict.

    `revocation`: with `require` a certificate whose state is unknown is refused; with `soft` it passes with a
    warning. A certificate that is *known* to be revoked is refused by both.
    `crl_grace`: for how long past its nextUpdate a list still makes a certificate good, with a warning.
    `required_policies`: dotted object identifiers; when given, the path must be valid for one of them.
    `max_depth`: links between leaf and anchor. The other bounds are counts and octets, looked at before
    anything is computed: without them a handful of crafted certificates keeps a path builder busy for hours.
    """

    legacy: frozenset[str] = frozenset()
    revocation: Revocation = "soft"
    required_policies: frozenset[str] = frozenset()
    crl_grace: timedelta = timedelta(0)
    max_depth: int = 6
    max_certificates: int = 10
    max_same_subject: int = 2
    max_certificate_bytes: int = 64 * 1024
    max_names: int = 100
    max_name_constraints: int = 100
    max_candidate_paths: int = 8

    def __post_init__(self) -> None:
        unknown = set(self.legacy) - LEGACY_NAMES
        if unknown:
            raise ValueError(f"unknown tolerance: {', '.join(sorted(unknown))}")
        for each in self.required_policies:
            # A copied identifier may bring invisible characters along, and would then never match.
            if not _OID.fullmatch(each):
                raise ValueError(f"not an object identifier: {each!r}")
        if self.revocation not in ("soft", "require"):
            raise ValueError(f"revocation must be soft or require, not {self.revocation!r}")

    def tolerates(self, name: str) -> bool:
        """Whether the tolerance `name` is on; a misspelt name is an error, not a silent no."""
        if name not in LEGACY_NAMES:
            raise ValueError(f"unknown tolerance: {name}")
        return name in self.legacy

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over all fields, for cache keys."""
        parts = [
            ",".join(sorted(self.legacy)),
            self.revocation,
            ",".join(sorted(self.required_policies)),
            str(self.crl_grace.total_seconds()),
            *(
                str(each)
                for each in (
                    self.max_depth,
                    self.max_certificates,
                    self.max_same_subject,
                    self.max_certificate_bytes,
                    self.max_names,
                    self.max_name_constraints,
                    self.max_candidate_paths,
                )
            ),
        ]
        return hashlib.sha256("\n".join(parts).encode()).digest()


@dataclass(frozen=True)
class TrustContext:
    """Whom one domain trusts: its anchors, the revocation lists and OCSP answers we hold, and its policy.

    An empty tuple of anchors trusts nobody; there is no default store behind it. `crls` are DER or PEM bytes
    or `Crl`s; keep `Crl`s where one list serves many verdicts, they are read only once; so with `ocsp`, DER
    bytes or `OcspAnswer`s. A list or an answer is believed only as far as its signature reaches, so it may
    come from anywhere.
    """

    anchors: tuple[Certificate, ...]
    crls: tuple[bytes | Crl, ...] = ()
    policy: Policy = field(default_factory=Policy)
    ocsp: tuple[bytes | OcspAnswer, ...] = ()

    @cached_property
    def anchors_by_sha256(self) -> dict[str, Certificate]:
        return {anchor.sha256: anchor for anchor in self.anchors}

    @cached_property
    def anchors_by_subject(self) -> dict[NameKey, tuple[Certificate, ...]]:
        found: dict[NameKey, tuple[Certificate, ...]] = {}
        for anchor in self.anchors_by_sha256.values():
            found[anchor.subject_key] = (*found.get(anchor.subject_key, ()), anchor)
        return found

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over anchors, lists, answers and policy, whatever their order, for cache keys."""
        whole = hashlib.sha256(self.policy.digest)
        whole.update(_digest_of(bytes.fromhex(each.sha256) for each in self.anchors))
        whole.update(_digest_of(_own_digest(each) for each in self.crls))
        whole.update(_digest_of(_own_digest(each) for each in self.ocsp))
        return whole.digest()

    @cached_property
    def answers_by_serial(self) -> dict[int, tuple[OcspAnswer, ...]]:
        from trust.pki.ocsp import by_serial

        return by_serial(self.ocsp)


def _digest_of(parts: Iterable[bytes]) -> bytes:
    return hashlib.sha256(b"".join(sorted(set(parts)))).digest()


def _own_digest(each: bytes | Crl | OcspAnswer) -> bytes:
    if isinstance(each, bytes):
        return hashlib.sha256(each).digest()
    return bytes.fromhex(each.sha256)
