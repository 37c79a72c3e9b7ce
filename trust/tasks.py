"""Work on trust in the background; what touches our own certificates needs the keyring of identities."""

from celery import shared_task

from healthvault.store import jobs
from trust import authorities, signs
from trust.models import IdentityRequest


@shared_task
def renew_own_crl() -> None:
    """Make the revocation lists of our authorities anew before they run out."""
    authorities.renew_all_crls()


@shared_task
def keep_identities_current() -> None:
    """Renew certificates of ours before they end, retire what has ended, and tell of what will end."""
    from trust import expiry, renewal

    renewal.keep_current()
    expiry.tell()


@shared_task
def do_identity_request(pk: str) -> None:
    """Make, take in or revoke a certificate of ours as a row asks."""
    from trust import identity_requests

    identity_requests.carry_out(pk)


@shared_task
def sweep_requests() -> None:
    """Offer what nobody works on, forget old drafts, and leave the sign that a worker is at work."""
    from trust import requests

    signs.leave(signs.WORKER)
    requests.erase_old_drafts()
    waiting, working = IdentityRequest.State.WAITING, IdentityRequest.State.WORKING
    for pk in jobs.offered(IdentityRequest, waiting=waiting, working=working):
        do_identity_request.delay(pk)


@shared_task
def refresh_bundles() -> None:
    """Fetch the trust bundles that are due."""
    from trust import bundles

    bundles.refresh_due()


@shared_task
def refresh_crls() -> None:
    """Fetch the revocation lists and OCSP answers that are due, of certificates that we met."""
    from trust import ocsp_answers, revocation_lists

    revocation_lists.refresh()
    ocsp_answers.refresh()
