"""Code systems: the OIDs and names documents use, and the URIs FHIR R4 knows them by."""

import re

from records.clinical.types import Identifier

HL7_OID = "2.16.840.1.113883."
LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
CVX = "http://hl7.org/fhir/sid/cvx"
NDC = "http://hl7.org/fhir/sid/ndc"
CPT = "http://www.ama-assn.org/go/cpt"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD9CM = "http://hl7.org/fhir/sid/icd-9-cm"
UCUM = "http://unitsofmeasure.org"
_V3 = "http://terminology.hl7.org/CodeSystem/v3-"
INTERPRETATION = _V3 + "ObservationInterpretation"

_BY_OID = {
    HL7_OID + tail: uri
    for tail, uri in {
        "6.1": LOINC,
        "6.96": SNOMED,
        "6.88": RXNORM,
        "6.90": ICD10CM,
        "6.4": "http://www.cms.gov/Medicare/Coding/ICD10",
        "6.103": ICD9CM,
        "6.104": ICD9CM,
        "6.42": ICD9CM,
        "6.3": "http://hl7.org/fhir/sid/icd-10",
        "6.12": CPT,
        "6.285": "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
        "6.13": "http://www.ada.org/cdt",
        "12.292": CVX,
        "6.59": CVX,
        "6.69": NDC,
        "4.9": "http://fdasis.nlm.nih.gov",
        "3.26.1.1": "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl",
        "3.26.1.5": "http://hl7.org/fhir/ndfrt",
        "6.8": UCUM,
        "6.101": "http://nucc.org/provider-taxonomy",
        "6.259": "https://www.cdc.gov/nhsn/cdaportal/terminology/codesystem/hsloc.html",
        "6.254": "http://hl7.org/fhir/sid/icf",
        "5.1": _V3 + "AdministrativeGender",
        "5.2": _V3 + "MaritalStatus",
        "5.4": _V3 + "ActCode",
        "5.6": _V3 + "ActClass",
        "5.8": _V3 + "ActReason",
        "5.14": _V3 + "ActStatus",
        "5.25": _V3 + "Confidentiality",
        "5.83": INTERPRETATION,
        "5.84": _V3 + "ObservationMethod",
        "5.88": _V3 + "ParticipationFunction",
        "5.110": _V3 + "RoleClass",
        "5.111": _V3 + "RoleCode",
        "5.112": _V3 + "RouteOfAdministration",
        "5.139": _V3 + "TimingEvent",
        "5.1008": _V3 + "NullFlavor",
        "5.1063": _V3 + "ObservationValue",
        "5.1119": _V3 + "AddressUse",
    }.items()
}

_IDENTIFIER_SYSTEMS = {
    HL7_OID + "4.1": "http://hl7.org/fhir/sid/us-ssn",
    HL7_OID + "4.6": "http://hl7.org/fhir/sid/us-npi",
}

# CCR names its coding systems in words, and so do some CDA senders in place of an OID.
_BY_NAME = {
    "ICD9": ICD9CM,
    "ICD9CM": ICD9CM,
    "ICD10": ICD10CM,
    "ICD10CM": ICD10CM,
    "SNOMED": SNOMED,
    "SNOMEDCT": SNOMED,
    "RXNORM": RXNORM,
    "LOINC": LOINC,
    "NDC": NDC,
    "CPT": CPT,
    "CPT4": CPT,
    "CVX": CVX,
    "HCPCS": "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
    "UNII": "http://fdasis.nlm.nih.gov",
    "UCUM": UCUM,
}

_LABELS = {
    LOINC: "LOINC",
    SNOMED: "SNOMED CT",
    RXNORM: "RxNorm",
    ICD10CM: "ICD-10-CM",
    ICD9CM: "ICD-9-CM",
    CPT: "CPT",
    CVX: "CVX",
    NDC: "NDC",
    "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": "HCPCS",
    "http://www.cms.gov/Medicare/Coding/ICD10": "ICD-10-PCS",
    "http://hl7.org/fhir/sid/icd-10": "ICD-10",
    "http://fdasis.nlm.nih.gov": "UNII",
    "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl": "NCI Thesaurus",
    "http://hl7.org/fhir/ndfrt": "NDF-RT",
}

_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def system_for_oid(oid: str, name: str = "") -> str:
    """The system of a CDA ``@codeSystem``: a known URI, else ``urn:oid:…``; words stay words.

    :param oid: ``@codeSystem``.
    :param name: ``@codeSystemName``, used when there is no OID.
    """
    oid = oid.strip()
    known = _BY_OID.get(oid)
    if known:
        return known
    if not oid:
        return system_for_name(name)
    if _OID.fullmatch(oid):
        return f"urn:oid:{oid}"
    if _UUID.fullmatch(oid):
        return f"urn:uuid:{oid.lower()}"
    return system_for_name(oid)


def system_for_name(name: str) -> str:
    """The system of a name such as ``ICD9-CM`` or ``SNOMED CT``; an unknown name comes back as it is."""
    return _BY_NAME.get(re.sub(r"[^A-Z0-9]", "", name.upper()), name.strip())


def is_uri(system: str) -> bool:
    """True for a system that FHIR takes as ``Coding.system``; words are no URI."""
    return system.startswith(("http://", "https://", "urn:"))


def label(system: str) -> str:
    """A short name of a code system for people."""
    known = _LABELS.get(system)
    if known:
        return known
    if system.startswith("http"):
        return system.rstrip("/").rpartition("/")[2].removeprefix("v3-")
    return system.removeprefix("urn:oid:").removeprefix("urn:uuid:")


def identifier_uri(identifier: Identifier) -> tuple[str, str]:
    """FHIR ``system`` and ``value`` of an HL7 II (HL7 "C-CDA on FHIR", CDA id to FHIR identifier)."""
    root = identifier.root.strip()
    if _UUID.fullmatch(root):
        uri = f"urn:uuid:{root.lower()}"
    elif _OID.fullmatch(root):
        uri = _IDENTIFIER_SYSTEMS.get(root, f"urn:oid:{root}")
    else:
        uri = ""
    if not identifier.extension:
        return ("urn:ietf:rfc:3986", uri) if uri else ("", root)
    return uri, identifier.extension
