"""Which mailboxes an account has shown to read, by a mail of ours other than a pickup link."""

from healthvault.store.lookup import lookup_hash

from .models import Account, MailboxProof

PURPOSE = "contact-email"


def mailbox_hash(email: str) -> str:
    """The keyed hash under which an e-mail address is looked up (compared without regard to case)."""
    return lookup_hash(PURPOSE, email.strip().casefold())


def add(account: Account, email: str) -> None:
    """Remember that `account` reads the mailbox `email`."""
    MailboxProof.objects.get_or_create(account=account, email_hash=mailbox_hash(email))


def has(account: Account, email_hash: str) -> bool:
    """Whether `account` has shown to read the mailbox with that hash."""
    return MailboxProof.objects.filter(account=account, email_hash=email_hash).exists()


def hashes_of(account: Account) -> list[str]:
    """The hashes of all mailboxes `account` has shown to read."""
    return list(MailboxProof.objects.filter(account=account).values_list("email_hash", flat=True))
