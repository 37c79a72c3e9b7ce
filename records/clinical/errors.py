"""What can go wrong while a clinical document is read.

``code`` is stable and has one meaning; ``temporary`` says whether trying again may help (it never does
here: the same bytes give the same answer). ``detail`` is for people and never quotes clinical content.
"""


class ClinicalError(Exception):
    """Base of every error this package raises on purpose."""

    code = "clinical_error"
    temporary = False

    def __init__(self, detail: str = "", *, code: str | None = None) -> None:
        super().__init__(detail or code or self.code)
        if code is not None:
            self.code = code
        self.detail = detail or self.code.replace("_", " ")


class UnreadableDocument(ClinicalError):
    """The bytes cannot be read as an XML document; ``code`` is the reason."""

    code = "unreadable"


class EmptyDocument(UnreadableDocument):
    """No bytes, or white space only."""

    code = "empty"


class NotXml(UnreadableDocument):
    """Text or a known binary format, but not XML."""

    code = "not_xml"


class Encrypted(UnreadableDocument):
    """Encrypted bytes, or binary bytes of no known format under the name of a document."""

    code = "encrypted"


class NotWellFormed(UnreadableDocument):
    """The XML breaks a rule of well-formedness (XML 1.0, or Namespaces in XML)."""

    code = "not_well_formed"


class BadEncoding(UnreadableDocument):
    """An encoding is declared that clinical documents do not come in."""

    code = "bad_encoding"


class HasDoctype(UnreadableDocument):
    """A DOCTYPE is present: no clinical document needs one, and it is the door for every entity attack."""

    code = "has_doctype"


class TooDeep(UnreadableDocument):
    """Elements are nested deeper than the limit."""

    code = "too_deep"


class TooManyElements(UnreadableDocument):
    """More elements, attributes or items than the limit."""

    code = "too_many_elements"


class TooLarge(UnreadableDocument):
    """More bytes than the limit."""

    code = "too_large"


class UnsupportedDocument(ClinicalError):
    """Well-formed XML that is no clinical document this package knows."""

    code = "not_clinical"


class BadArchive(ClinicalError):
    """A zip archive that breaks a rule of safe unpacking; ``code`` says which."""

    code = "bad_archive"


class NotArchive(BadArchive):
    """The bytes are no zip archive, or a damaged one."""

    code = "not_archive"


class EncryptedArchive(BadArchive):
    """An entry is encrypted (general purpose bit 0, or AES as method 99)."""

    code = "encrypted_archive"


class UnsafeArchive(BadArchive):
    """Names, overlaps or headers that only an attack or a broken packer produces."""

    code = "unsafe_archive"


class ArchiveTooLarge(BadArchive):
    """Too many entries, too many bytes unpacked, or too high a ratio."""

    code = "archive_too_large"


class NoSuchPath(ClinicalError):
    """An element path that does not lead to an element of this document."""

    code = "no_such_path"
