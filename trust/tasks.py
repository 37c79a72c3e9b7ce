"""Work on trust in the background; needs the keyring of identities."""

from celery import shared_task

from trust import authorities


@shared_task
def renew_own_crl() -> None:
    """Make the revocation lists of our authorities anew before they run out."""
    authorities.renew_all_crls()
