"""What a reader of clinical documents returns: frozen values, free of XML."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict

DocumentKind = Literal["ccda", "c32", "ccd", "cda", "ccr"]
ItemType = Literal["CCD", "CDA", "CCR", "File"]

KINDS = (
    "allergies",
    "problems",
    "past_illness",
    "medications",
    "medications_administered",
    "admission_medications",
    "discharge_medications",
    "immunizations",
    "procedures",
    "results",
    "vital_signs",
    "encounters",
    "encounter_diagnoses",
    "admission_diagnosis",
    "discharge_diagnosis",
    "preoperative_diagnosis",
    "postoperative_diagnosis",
    "social_history",
    "family_history",
    "plan_of_treatment",
    "assessment_and_plan",
    "goals",
    "health_concerns",
    "interventions",
    "outcomes",
    "medical_equipment",
    "payers",
    "advance_directives",
    "functional_status",
    "mental_status",
    "nutrition",
    "care_team",
    "notes",
    "instructions",
)


@dataclass(frozen=True, slots=True)
class Coding:
    """One code. ``system`` is a URI, or the sender's own words where no URI is known, or empty."""

    system: str
    code: str
    display: str = ""


@dataclass(frozen=True, slots=True)
class Coded:
    """A coded value: its codes, the best name for people, and the words the author wrote."""

    codes: tuple[Coding, ...] = ()
    name: str = ""
    text: str = ""
    null_flavor: str = ""

    def __bool__(self) -> bool:
        return bool(self.codes or self.name)

    def has(self, *codes: str) -> bool:
        """True when any code is one of ``codes``, whatever its system."""
        return any(coding.code in codes for coding in self.codes)


@dataclass(frozen=True, slots=True)
class PartialDate:
    """A date or date-time in the precision it was given in.

    ``iso`` is ISO 8601 (``2012``, ``2012-08``, ``2012-08-05``, ``2012-08-05T10:30``), never widened;
    ``zoned`` says that a UTC offset was given; ``flawed`` that only a prefix of what was written is valid.
    """

    iso: str
    zoned: bool = False
    flawed: bool = False

    @property
    def day(self) -> str:
        """The date without its time: at most ``YYYY-MM-DD``."""
        return self.iso[:10]

    @property
    def precision(self) -> Literal["year", "month", "day", "time"]:
        length = len(self.iso)
        if length > 10:
            return "time"
        return "day" if length == 10 else "month" if length == 7 else "year"

    def __str__(self) -> str:
        return self.iso


@dataclass(frozen=True, slots=True)
class Period:
    """From ``low`` to ``high``; a point in time has only ``low`` and ``point`` set."""

    low: PartialDate | None = None
    high: PartialDate | None = None
    point: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number as written, never reformatted; ``comparator`` is one of ``< <= > >=`` or empty.

    A range keeps its lower end in ``value`` and its upper end in ``high``.
    """

    value: str
    unit: str = ""
    comparator: str = ""
    high: str = ""

    @property
    def shown(self) -> str:
        """The number with comparator or range, without unit."""
        if self.high:
            return f"{self.value} - {self.high}"
        return f"{self.comparator}{self.value}"

    def __str__(self) -> str:
        return f"{self.shown} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Identifier:
    """An ``id``: OID, UUID or other root, and extension."""

    root: str
    extension: str = ""


@dataclass(frozen=True, slots=True)
class Party:
    """A person, organization or device that wrote, did or keeps something."""

    name: str = ""
    organization: str = ""
    role: str = ""
    ids: tuple[Identifier, ...] = ()
    telecoms: tuple[str, ...] = ()
    address: str = ""
    time: PartialDate | None = None


@dataclass(frozen=True, slots=True)
class Reaction:
    """A manifestation of an allergy, or a reaction to a vaccine."""

    manifestation: Coded
    severity: Coded | None = None
    start: PartialDate | None = None


@dataclass(frozen=True, slots=True)
class ReferenceRange:
    """A reference range as sent. ``normal`` is False for a range that belongs to an abnormal reading."""

    low: str = ""
    high: str = ""
    unit: str = ""
    text: str = ""
    normal: bool = True


@dataclass(frozen=True, slots=True)
class Timing:
    """How often a drug is taken.

    ``period`` with ``unit`` (UCUM: ``h``, ``d``, …), ``period_max`` for "every 4 to 6 h", ``event`` an HL7
    TimingEvent code (``HS``, ``AC``, ``PC``), ``times_a_day`` for institution-specified frequencies.
    """

    text: str
    period: str = ""
    period_max: str = ""
    unit: str = ""
    event: str = ""
    institution_specified: bool = False


class Detail(TypedDict, total=False):
    """Facts of one kind of item. A key is present only where the document says something."""

    # Any item
    mood: str
    category: Coded
    comment: str
    authors: tuple[Party, ...]
    performers: tuple[Party, ...]
    informants: tuple[Party, ...]
    reason: Coded
    reasons: tuple[Coded, ...]
    start_text: str
    end_text: str
    written: str
    flawed_dates: bool
    not_understood: str
    parts: tuple[tuple[str, str], ...]
    priority: str
    # Allergies and conditions
    allergy_type: Coded
    reactions: tuple[Reaction, ...]
    severity: Coded
    criticality: Coded
    clinical_status: Coded
    age_at_onset: Quantity
    body_site: Coded
    concern_status: str
    encounter_path: str
    # Drugs and vaccines
    dose: Quantity
    rate: Quantity
    max_dose: Quantity
    route: Coded
    form: Coded
    timings: tuple[Timing, ...]
    frequency: str
    sig: str
    as_needed: bool
    as_needed_for: str
    quantity: Quantity
    refills: int
    dispensed: int
    instructions: str
    lot: str
    maker: str
    product_name: str
    brand: str
    strength: str
    dose_number: str
    act_class: str
    # Results, vital signs and other observations
    value_coded: Coded
    value_type: str
    value_quantity: Quantity
    value_date: PartialDate
    interpretations: tuple[Coded, ...]
    reference_ranges: tuple[ReferenceRange, ...]
    method: Coded
    panel: Coded
    panel_path: str
    panel_status: str
    pending: bool
    not_measured: bool
    # Procedures, devices and encounters
    udi: str
    devices: tuple[Coded, ...]
    device_ids: tuple[str, ...]
    locations: tuple[str, ...]
    disposition: Coded
    encounter_class: str
    # Relatives
    relative: Coded
    relative_name: str
    relative_gender: str
    relative_birth: str
    relative_deceased: bool
    cause_of_death: bool
    age: Quantity
    # Cover
    payer: str
    coverage_type: Coded
    member_id: str
    group_id: str
    subscriber: str
    member_name: str
    # Notes and teams
    text: str
    media_type: str
    content_path: str
    team: str


@dataclass(frozen=True, slots=True)
class Item:
    """One statement of a document.

    ``codes`` are those of the thing itself (the allergen, the condition, the drug, the test); ``value`` is as
    written, without ``unit``; ``start`` and ``end`` keep their precision. ``negated``: a definite "not this".
    ``none_known``: "nothing of this kind is known". ``understood`` is False for an entry that is there but
    could not be read. ``section`` is the LOINC code of its section (empty for the document's header) and
    ``path`` leads to its element, see :func:`records.clinical.xml.resolve_path`.
    """

    kind: str
    codes: tuple[Coding, ...] = ()
    name: str = ""
    start: PartialDate | None = None
    end: PartialDate | None = None
    value: str | None = None
    unit: str | None = None
    status: str = ""
    negated: bool = False
    none_known: bool = False
    understood: bool = True
    section: str = ""
    path: str = ""
    ids: tuple[Identifier, ...] = ()
    text: str = ""
    detail: Detail = field(default_factory=Detail)


@dataclass(frozen=True, slots=True)
class PatientName:
    """One name of a person, as the document gives it."""

    family: str = ""
    given: tuple[str, ...] = ()
    prefix: str = ""
    suffix: str = ""
    use: str = ""
    text: str = ""

    @property
    def shown(self) -> str:
        parts = " ".join(part for part in (self.prefix, *self.given, self.family, self.suffix) if part)
        return parts or self.text


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address in its parts."""

    lines: tuple[str, ...] = ()
    city: str = ""
    state: str = ""
    postal_code: str = ""
    country: str = ""
    use: str = ""

    @property
    def shown(self) -> str:
        place = " ".join(part for part in (self.state, self.postal_code) if part)
        return ", ".join(part for part in (*self.lines, self.city, place, self.country) if part)


@dataclass(frozen=True, slots=True)
class Telecom:
    """A way to reach somebody: ``system`` is ``phone``, ``email``, ``fax``, ``url`` or ``other``."""

    system: str
    value: str
    use: str = ""


@dataclass(frozen=True, slots=True)
class PatientFacts:
    """The person as the document names them; never written over an account's own profile.

    ``birth_date`` is ISO 8601 in the precision given, without a time; ``gender`` a FHIR administrative
    gender (``male``, ``female``, ``other``, ``unknown``) or empty.
    """

    name: str = ""
    birth_date: str = ""
    gender: str = ""
    names: tuple[PatientName, ...] = ()
    ids: tuple[Identifier, ...] = ()
    addresses: tuple[Address, ...] = ()
    telecoms: tuple[Telecom, ...] = ()
    marital_status: Coded | None = None
    races: tuple[Coded, ...] = ()
    ethnicity: tuple[Coded, ...] = ()
    languages: tuple[str, ...] = ()
    guardians: tuple[str, ...] = ()
    deceased: bool = False
    deceased_date: PartialDate | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """One section, known or not. ``kind`` is empty for sections that hold only text."""

    code: str
    title: str
    kind: str
    narrative: str
    path: str
    null_flavor: str = ""
    items: int = 0
    none_known: int = 0
    negated: int = 0
    not_understood: int = 0
    no_information: int = 0


@dataclass(frozen=True, slots=True)
class RelatedDocument:
    """A document this one replaces (``RPLC``), appends (``APND``) or transforms (``XFRM``)."""

    relation: str
    id: Identifier
    set_id: Identifier | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class EmbeddedBody:
    """A body that is no XML (CDA ``nonXMLBody``), or a picture of the narrative.

    ``reference`` is an outside address: text, never to be fetched.
    """

    media_type: str
    path: str
    reference: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class ClinicalSummary:
    """Everything taken out of one document."""

    kind: DocumentKind
    item_type: ItemType
    title: str = ""
    code: Coded = field(default_factory=Coded)
    date: PartialDate | None = None
    document_id: Identifier | None = None
    set_id: Identifier | None = None
    version: str = ""
    related: tuple[RelatedDocument, ...] = ()
    release: str = ""
    language: str = ""
    confidentiality: str = ""
    patient: PatientFacts | None = None
    patients: int = 1
    authors: tuple[Party, ...] = ()
    custodian: Party | None = None
    participants: tuple[Party, ...] = ()
    sections: tuple[Section, ...] = ()
    items: tuple[Item, ...] = ()
    body: EmbeddedBody | None = None

    @property
    def not_understood(self) -> int:
        """How many entries are there but could not be read."""
        return sum(section.not_understood for section in self.sections)

    @property
    def author_name(self) -> str:
        """Who wrote it, on one line: the first author's name or organization, else the custodian."""
        for party in (*self.authors, self.custodian):
            if party is not None and (party.name or party.organization):
                return party.name or party.organization
        return ""

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Per kind: ``items`` (facts), ``none_known``, ``negated``, ``not_understood``; they do not overlap.

        A kind stands here when its section is there, with or without entries.
        """
        table: dict[str, dict[str, int]] = {}
        for section in self.sections:
            if section.kind:
                table.setdefault(section.kind, _no_counts())
        for item in self.items:
            row = table.setdefault(item.kind, _no_counts())
            row[standing_of(item)] += 1
        return table


def standing_of(item: Item) -> str:
    """``not_understood``, ``none_known``, ``negated`` or ``items``: the one group an item counts in."""
    if not item.understood:
        return "not_understood"
    if item.none_known:
        return "none_known"
    return "negated" if item.negated else "items"


def count(items: Iterable[Item]) -> dict[str, int]:
    """How many items are in each group of :func:`standing_of`."""
    counts = _no_counts()
    for item in items:
        counts[standing_of(item)] += 1
    return counts


def _no_counts() -> dict[str, int]:
    return {"items": 0, "none_known": 0, "negated": 0, "not_understood": 0}
