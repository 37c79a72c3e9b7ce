"""What one fresh verdict on a certificate costs, from wire bytes: `python -m bench.pki [rounds]`.

A verdict is kept by the application, so this is paid once for each partner and revocation list. The absolute
figure depends on the machine; the ratio to a bare RSA signature check does not.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

from tests.pki_factory import days, issue, make_ca, make_crl
from trust.pki.certs import Certificate, require_covers, require_direct_leaf, signed_by
from trust.pki.path import verify_path
from trust.pki.policy import Policy, TrustContext
from trust.pki.revocation import Crl

ADDRESS = "ann@direct.clinic.example.org"


def cpu_ms(work: Callable[[], object], rounds: int) -> float:
    """Median CPU time of one call, in milliseconds."""
    times = []
    for _ in range(rounds):
        started = time.process_time_ns()
        work()
        times.append((time.process_time_ns() - started) / 1e6)
    return round(statistics.median(times), 3)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    root = make_ca("Bench Root")
    middle = make_ca("Bench CA", issuer=root)
    leaf = issue(middle, domains=["direct.clinic.example.org"])
    lists = [make_crl(root), make_crl(middle, range(1, 1001))]
    large = Crl(make_crl(middle, range(1, 50_001)))
    at = days(0)

    def verdict(crls: tuple[bytes | Crl, ...], policy: Policy) -> None:
        certificate = Certificate(leaf.der)
        context = TrustContext((Certificate(root.der),), crls, policy)
        verify_path(certificate, [Certificate(middle.der)], context, at)
        require_covers(certificate, ADDRESS, policy)
        require_direct_leaf(certificate, policy)

    held = tuple(Crl(each) for each in lists)
    require = Policy(revocation="require")
    signature = cpu_ms(lambda: signed_by(Certificate(leaf.der), Certificate(middle.der)), rounds)
    figures = {
        "signature_check_ms": signature,
        "no_lists_ms": cpu_ms(lambda: verdict((), Policy()), rounds),
        "lists_as_bytes_ms": cpu_ms(lambda: verdict(tuple(lists), require), rounds),
        "lists_held_ms": cpu_ms(lambda: verdict(held, require), rounds),
        "list_of_50000_held_ms": cpu_ms(lambda: verdict((held[0], large), require), max(rounds // 20, 3)),
    }
    figures["lists_held_in_signature_checks"] = round(figures["lists_held_ms"] / signature, 1)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
