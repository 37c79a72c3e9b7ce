"""What can go wrong between a row and its sealed content."""

from healthvault.vault.errors import VaultError


class AnswerNeeded(VaultError):
    """The key is under an answer, and none was given."""

    code = "answer_needed"


class NoAnswerAsked(VaultError):
    """An answer was given for a key that is under none: it must not pass for a right one."""

    code = "no_answer_asked"


class Busy(VaultError):
    """Too many answers are being tried at this moment."""

    code = "busy"
    temporary = True


class Shredded(VaultError):
    """The key of this content is gone, and the content with it."""

    code = "shredded"


class BlobMissing(VaultError):
    """The row is there and its file is not."""

    code = "blob_missing"
    temporary = True


class BlobMoved(VaultError):
    """The blob belongs to another holder by now."""

    code = "blob_moved"
