"""`./run bench pki [ROUNDS]`: what a verdict on a certificate costs, and what 5,000 anchors cost.

Prints processor time, and each figure beside a bare RSA signature check or beside its bound:

- a known signer, its verdict at hand, from the bytes of its certificate, with 5 and with 5,000 anchors;
- the same with the context of the address read from the database, as for each message;
- a fresh chain without fetches: without lists, with lists and OCSP answers, with a list of 50,000 entries;
- 5,000 anchors in 3 bundles: imported, refreshed without a change, and read again after a change.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.pki_factory import Issued

DOMAIN = "direct.clinic.example.org"
ADDRESS = f"ann@{DOMAIN}"
OURS = "otter.fern.204@direct.portal.example"
BUNDLES = (2500, 1500, 1000)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as scratch:
        _start(scratch)
        signature = _chains(rounds)
        _many_anchors(rounds, signature)


def _start(scratch: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ["LOG_LEVEL"] = "ERROR"
    import django

    django.setup()
    import logging

    from django.core.management import call_command
    from django.db import connection

    logging.disable(logging.WARNING)
    connection.settings_dict["NAME"] = f"{scratch}/bench.sqlite3"
    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)


def cpu_us(work: Callable[[], object], rounds: int) -> float:
    """Median processor time of one call, in microseconds."""
    times = []
    for _ in range(max(rounds, 3)):
        started = time.process_time_ns()
        work()
        times.append((time.process_time_ns() - started) / 1e3)
    return statistics.median(times)


def tell(name: str, found_us: float, signature_us: float, bound_us: float | None = None) -> None:
    bound = (
        f"   bound {bound_us / 1e3:g} ms: {'kept' if found_us < bound_us else 'MISSED'}" if bound_us else ""
    )
    print(f"  {name:<46} {found_us / 1e3:9.3f} ms  {found_us / signature_us:8.1f} x{bound}")


# --- one chain ------------------------------------------------------------------------------------------


def _chains(rounds: int) -> float:
    from tests.pki_factory import days, issue, make_ca, make_crl, make_ocsp
    from trust.pki.certs import Certificate, require_covers, require_direct_leaf, signed_by
    from trust.pki.ocsp import OcspAnswer
    from trust.pki.path import verify_path
    from trust.pki.policy import Policy, TrustContext
    from trust.pki.revocation import Crl

    root = make_ca("Bench Root")
    middle = make_ca("Bench CA", issuer=root)
    leaf = issue(middle, domains=[DOMAIN])
    lists = (Crl(make_crl(root)), Crl(make_crl(middle, range(1, 1001))))
    large = Crl(make_crl(middle, range(1, 50_001)))
    answers = (OcspAnswer(make_ocsp(leaf)), OcspAnswer(make_ocsp(middle)))
    require, soft, at = Policy(revocation="require"), Policy(), days(0)

    def verdict(crls: tuple[Crl, ...], answers: tuple[OcspAnswer, ...], policy: Policy) -> None:
        certificate = Certificate(leaf.der)
        context = TrustContext((Certificate(root.der),), crls, policy, answers)
        verify_path(certificate, [Certificate(middle.der)], context, at)
        require_covers(certificate, ADDRESS, policy)
        require_direct_leaf(certificate, policy)

    signature = cpu_us(lambda: signed_by(Certificate(leaf.der), Certificate(middle.der)), rounds)
    print("a fresh chain of three, from bytes, x a bare signature check:")
    tell("a bare signature check", signature, signature)
    tell("without lists", cpu_us(lambda: verdict((), (), soft), rounds), signature, 3000)
    tell("with lists", cpu_us(lambda: verdict(lists, (), require), rounds), signature, 3000)
    tell("with OCSP answers", cpu_us(lambda: verdict((), answers, require), rounds), signature, 3000)
    held = (lists[0], large)
    tell("with a list of 50,000", cpu_us(lambda: verdict(held, (), require), rounds // 20), signature)
    return signature


# --- many anchors ---------------------------------------------------------------------------------------


def _many_anchors(rounds: int, signature: float) -> None:
    from tests.pki_factory import issue, make_ca
    from trust.models import Anchor
    from trust.pki.certs import Certificate

    ca = make_ca("Partner CA")
    leaf = issue(ca, domains=[DOMAIN])
    few = [make_ca(f"Other {number} CA", key="p256") for number in range(4)]
    for each in (ca, *few):
        Anchor.objects.create(**Anchor.fields_of(Certificate(each.der)))
    print("a known signer, its verdict at hand:")
    before = _known(leaf, rounds, signature, "5 anchors")
    print("5,000 anchors in 3 bundles, on SQLite:")
    _bundles(signature)
    after = _known(leaf, rounds, signature, "5,005 anchors")
    alone, whole = after[0] / before[0], after[1] / before[1]
    print(f"  5,005 anchors against 5: verdict {alone:.2f} x, context and verdict {whole:.2f} x")


def _known(leaf: Issued, rounds: int, signature: float, name: str) -> tuple[float, float]:
    from django.utils import timezone

    from trust import context, verdicts
    from trust.pki.certs import Certificate

    trust = context.for_address(OURS).trust
    verdicts.verify(Certificate(leaf.der), [], trust, timezone.now())

    def known() -> None:
        verdicts.verify(Certificate(leaf.der), [], trust, timezone.now())

    def as_for_a_message() -> None:
        verdicts.verify(Certificate(leaf.der), [], context.for_address(OURS).trust, timezone.now())

    found = cpu_us(known, rounds * 5), cpu_us(as_for_a_message, rounds)
    tell(f"verdict, {name}", found[0], signature, 50)
    tell(f"context and verdict, {name}", found[1], signature)
    return found


def _bundles(signature: float) -> None:
    from django.conf import settings

    from tests import pki_factory, web_server
    from trust import bundles, context

    template = pki_factory.make_ca("Member 00000 CA", key="p256")
    with web_server.running() as web:
        settings.FETCH_ALLOW = [("127.0.0.1", web.port)]
        made = []
        for at, count in enumerate(BUNDLES):
            ders = _many(template.der, count, at * 10_000)
            web.files[f"/{at}"] = b"".join(pki_factory.to_pem(der) for der in ders)
            made.append(bundles.add(f"Bundle {at}", web.url(f"/{at}")))

        def refresh() -> None:
            for bundle in made:
                bundle.refresh_from_db()
                outcome = bundles.refresh(bundle)
                assert not outcome.error, outcome

        tell("import", _once(refresh), signature, 20e6)
        tell("refresh without a change", _once(refresh), signature, 1e6)
    tell("context read again after a change", _once(lambda: context.for_address(OURS)), signature)


def _many(template: bytes, count: int, offset: int) -> Iterator[bytes]:
    """So many different anchors, by their names alone: nothing verifies an anchor's own signature."""
    for number in range(offset, offset + count):
        yield template.replace(b"Member 00000 CA", b"Member %05d CA" % number)


def _once(work: Callable[[], Any]) -> float:
    """Wall time of one call, in microseconds."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e6


if __name__ == "__main__":
    main()
