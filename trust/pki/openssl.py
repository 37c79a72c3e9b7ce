"""The first reader of a path: OpenSSL, through pyOpenSSL. A fresh store for every question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from OpenSSL import crypto
from OpenSSL._util import ffi, lib

from trust.pki.certs import Certificate

# pyOpenSSL names neither of these flags of X509_VERIFY_PARAM_set_flags(3).
EXTENDED_CRL_SUPPORT = 0x1000
USE_DELTAS = 0x2000

_PATH_FLAGS = crypto.X509StoreFlags.PARTIAL_CHAIN
_CRL_FLAGS = _PATH_FLAGS | crypto.X509StoreFlags.CRL_CHECK | EXTENDED_CRL_SUPPORT | USE_DELTAS

_CRL_ALL_FLAGS = _CRL_FLAGS | crypto.X509StoreFlags.CRL_CHECK_ALL

_REVOKED = 23
#: No list, a bad, early, late, unauthorised or out-of-scope one, or no path to its signer.
_NO_VERDICT = frozenset({3, 8, 11, 12, 33, 35, 36, 44, 54})
#: X509_V_ERR_PERMITTED_VIOLATION to X509_V_ERR_UNSUPPORTED_NAME_SYNTAX
_NAME_CONSTRAINTS = range(47, 54)


@dataclass(frozen=True)
class PathVerdict:
    """`chain` as DER, leaf first, where OpenSSL accepts; else None and why."""

    chain: tuple[bytes, ...] | None
    detail: str = ""
    name_constraint: bool = False


@dataclass(frozen=True)
class RevocationVerdict:
    """`good` and `revoked` both False: it could not tell, for the reason in `detail`."""

    good: bool
    revoked: bool
    detail: str = ""


class LoadedCrl:
    """A revocation list as OpenSSL holds it, read once from the bytes as received.

    `X509Store.add_crl` takes only what `cryptography` has parsed, encodes it again and reads that, for each
    verdict: 0.4 s for a list of half a million entries. So this uses what stands behind it. Sharing is safe:
    a store counts a reference, and verification changes nothing of the list.
    """

    def __init__(self, der: bytes) -> None:
        pointer = lib.d2i_X509_CRL_bio(crypto._new_mem_buf(der), ffi.NULL)
        if pointer == ffi.NULL:
            lib.ERR_clear_error()
            raise ValueError("OpenSSL cannot read the revocation list")
        self._pointer = ffi.gc(pointer, lib.X509_CRL_free)

    def add_to(self, store: crypto.X509Store) -> None:
        """Give the list to `store`."""
        if lib.X509_STORE_add_crl(store._store, self._pointer) != 1:
            lib.ERR_clear_error()
            raise ValueError("OpenSSL does not take the revocation list")


def check_path(path: Sequence[Certificate], at: datetime) -> PathVerdict:
    """Verify `path`, leaf first and anchor last: signatures, names, CA flags, lengths, name constraints."""
    try:
        context = _context(path, (), (), at, _PATH_FLAGS)
        chain = context.get_verified_chain()
    except crypto.X509StoreContextError as error:
        code = error.errors[0]
        return PathVerdict(None, str(error), name_constraint=code in _NAME_CONSTRAINTS)
    except crypto.Error:
        return PathVerdict(None, "OpenSSL cannot read a certificate of the path")
    found = [crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in chain]
    if found[-1] == _as_anchor(path):
        found[-1] = path[-1].der
    return PathVerdict(tuple(found))


def check_revocation(
    path: Sequence[Certificate],
    signers: Sequence[Certificate],
    crls: Sequence[LoadedCrl],
    at: datetime,
    place: int = 0,
) -> RevocationVerdict:
    """What `crls` say about `path[place]`; `signers` are CRL-signing certificates beside the path.

    With a `place` above 0 the whole path is gone through from the leaf up, and a verdict needs one for every
    certificate below. It is for certificates that may not stand at the end of a path, as OpenSSL sees it.
    """
    flags = _CRL_ALL_FLAGS if place else _CRL_FLAGS
    try:
        _context(path, signers, crls, at, flags).verify_certificate()
    except crypto.X509StoreContextError as error:
        code, depth, detail = error.errors
        passed = depth > place and code in (*_NO_VERDICT, _REVOKED)
        revoked = depth == place and code == _REVOKED
        return RevocationVerdict(good=passed, revoked=revoked, detail=detail)
    except (crypto.Error, ValueError):
        return RevocationVerdict(good=False, revoked=False, detail="OpenSSL cannot read what it was given")
    return RevocationVerdict(good=True, revoked=False)


def _context(
    path: Sequence[Certificate],
    signers: Sequence[Certificate],
    crls: Sequence[LoadedCrl],
    at: datetime,
    flags: int,
) -> crypto.X509StoreContext:
    store = crypto.X509Store()
    store.set_time(at.astimezone(UTC))
    store.set_flags(flags)
    anchor = path[-1]
    needs_flag = len(path) > 1 and anchor.basic_constraints is None
    store.add_cert(_load(_as_anchor(path)) if needs_flag else _loaded(anchor))
    for crl in crls:
        crl.add_to(store)
    between = [_loaded(each) for each in (*path[1:-1], *signers)]
    return crypto.X509StoreContext(store, _loaded(path[0]), between)


def _as_anchor(path: Sequence[Certificate]) -> bytes:
    """The anchor as OpenSSL must see it.

    It takes no issuer without basicConstraints. Whether such an anchor is tolerated was decided before;
    where it is, it stands here with the flag.
    """
    anchor = path[-1]
    if len(path) > 1 and anchor.basic_constraints is None:
        return anchor.with_ca_flag()
    return anchor.der


def _loaded(certificate: Certificate) -> crypto.X509:
    """The certificate as OpenSSL holds it, read once: one verdict asks for it several times.

    Sharing is safe: a store counts a reference, and what verification notes in it follows from its bytes.
    """
    held: crypto.X509 | None = certificate.openssl
    if held is None:
        held = certificate.openssl = _load(certificate.der)
    return held


def _load(der: bytes) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, der)
