"""Names for people: which of several candidates is one, and names of usual codes that come without any."""

import re
from collections.abc import Iterable

from records.clinical import codes
from records.clinical.types import Coding

_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
# Fill-ins of record systems in a place where a name belongs.
_NO_NAME = re.compile(
    r"null|undefined|unk|nan|n/?a|not? (available|applicable)|none recorded|coded .* name not available|"
    r"(no )?name not available|\(?no name\)?|unknown display( name)?",
    re.IGNORECASE,
)
_LONGEST_NAME = 300

LOINC_NAMES = {
    # Vital signs
    "8480-6": "Systolic blood pressure",
    "8462-4": "Diastolic blood pressure",
    "85354-9": "Blood pressure",
    "55284-4": "Blood pressure",
    "8867-4": "Heart rate",
    "8889-8": "Heart rate by pulse oximetry",
    "9279-1": "Respiratory rate",
    "8310-5": "Body temperature",
    "8331-1": "Oral temperature",
    "8302-2": "Body height",
    "8306-3": "Body height, lying",
    "8301-4": "Body height, estimated",
    "29463-7": "Body weight",
    "3141-9": "Body weight, measured",
    "3142-7": "Body weight, stated",
    "39156-5": "Body mass index",
    "59574-4": "Body mass index percentile",
    "59576-9": "Body mass index percentile",
    "3140-1": "Body surface area",
    "8277-6": "Body surface area",
    "59408-5": "Oxygen saturation by pulse oximetry",
    "2708-6": "Oxygen saturation in arterial blood",
    "2710-2": "Oxygen saturation in capillary blood",
    "3150-0": "Inhaled oxygen concentration",
    "3151-8": "Inhaled oxygen flow rate",
    "8287-5": "Head circumference by tape measure",
    "9843-4": "Head circumference",
    "8289-1": "Head circumference percentile",
    "77606-2": "Weight for length percentile",
    "72514-3": "Pain severity, 0 to 10",
    "8884-9": "Heart rate rhythm",
    "74728-7": "Vital signs",
    "85353-1": "Vital signs",
    # Social history
    "72166-2": "Tobacco smoking status",
    "11367-0": "History of tobacco use",
    "76689-9": "Sex assigned at birth",
    "76691-5": "Gender identity",
    "76690-7": "Sexual orientation",
    "82810-3": "Pregnancy status",
    "11778-8": "Estimated delivery date",
    "11331-6": "History of alcohol use",
    "11341-5": "Occupation",
    "8663-7": "Cigarettes smoked per day",
    "8664-5": "Years of cigarette smoking",
    "88031-0": "Smokeless tobacco status",
    "81228-9": "Tobacco product",
    # Directives and status
    "75278-2": "Advance directive status",
    "45473-6": "Living will",
    "54522-8": "Functional status",
    "75276-6": "Functional status assessment",
    "75305-3": "Nutrition status",
    # Chemistry
    "2345-7": "Glucose",
    "2339-0": "Glucose in blood",
    "2340-8": "Glucose by test strip",
    "41653-7": "Glucose in capillary blood",
    "1558-6": "Fasting glucose",
    "4548-4": "Hemoglobin A1c",
    "17856-6": "Hemoglobin A1c by HPLC",
    "2160-0": "Creatinine",
    "38483-4": "Creatinine in blood",
    "3094-0": "Urea nitrogen",
    "6299-2": "Urea nitrogen in blood",
    "3097-3": "Urea nitrogen/creatinine ratio",
    "33914-3": "Glomerular filtration rate, estimated (MDRD)",
    "48642-3": "Glomerular filtration rate, non-black (MDRD)",
    "48643-1": "Glomerular filtration rate, black (MDRD)",
    "62238-1": "Glomerular filtration rate (CKD-EPI)",
    "2951-2": "Sodium",
    "2947-0": "Sodium in blood",
    "2823-3": "Potassium",
    "6298-4": "Potassium in blood",
    "2075-0": "Chloride",
    "2069-3": "Chloride in blood",
    "2028-9": "Carbon dioxide, total",
    "1963-8": "Bicarbonate",
    "17861-6": "Calcium",
    "49765-1": "Calcium in blood",
    "2777-1": "Phosphate",
    "19123-9": "Magnesium",
    "1751-7": "Albumin",
    "2885-2": "Total protein",
    "10834-0": "Globulin",
    "1759-0": "Albumin/globulin ratio",
    "1975-2": "Bilirubin, total",
    "1968-7": "Bilirubin, direct",
    "6768-6": "Alkaline phosphatase",
    "1742-6": "Alanine aminotransferase (ALT)",
    "1920-8": "Aspartate aminotransferase (AST)",
    "2324-2": "Gamma-glutamyl transferase",
    "2532-0": "Lactate dehydrogenase",
    "3084-1": "Uric acid",
    "2157-6": "Creatine kinase",
    "6598-7": "Troponin T",
    "10839-9": "Troponin I",
    "30934-4": "B-type natriuretic peptide",
    "1988-5": "C-reactive protein",
    "33037-3": "Anion gap",
    "3016-3": "Thyrotropin (TSH)",
    "3024-7": "Thyroxine (T4), free",
    "3026-2": "Thyroxine (T4)",
    "2132-9": "Vitamin B12",
    "1989-3": "Vitamin D (25-hydroxy)",
    "62292-8": "Vitamin D (25-hydroxy)",
    "2284-8": "Folate",
    "2276-4": "Ferritin",
    "2498-4": "Iron",
    "2500-7": "Iron binding capacity",
    "2857-1": "Prostate specific antigen",
    # Lipids
    "2093-3": "Cholesterol",
    "2085-9": "HDL cholesterol",
    "2089-1": "LDL cholesterol",
    "13457-7": "LDL cholesterol, calculated",
    "18262-6": "LDL cholesterol, direct",
    "2571-8": "Triglycerides",
    "9830-1": "Cholesterol/HDL ratio",
    "43396-1": "Non-HDL cholesterol",
    # Blood count and coagulation
    "6690-2": "White blood cells",
    "26464-8": "White blood cells",
    "789-8": "Red blood cells",
    "26453-1": "Red blood cells",
    "718-7": "Hemoglobin",
    "30313-1": "Hemoglobin in arterial blood",
    "30350-3": "Hemoglobin in venous blood",
    "4544-3": "Hematocrit",
    "20570-8": "Hematocrit",
    "787-2": "Mean corpuscular volume (MCV)",
    "785-6": "Mean corpuscular hemoglobin (MCH)",
    "786-4": "Mean corpuscular hemoglobin concentration (MCHC)",
    "788-0": "Red cell distribution width",
    "777-3": "Platelets",
    "26515-7": "Platelets",
    "32623-1": "Mean platelet volume",
    "770-8": "Neutrophils, percent",
    "751-8": "Neutrophils",
    "736-9": "Lymphocytes, percent",
    "731-0": "Lymphocytes",
    "5905-5": "Monocytes, percent",
    "742-7": "Monocytes",
    "713-8": "Eosinophils, percent",
    "711-2": "Eosinophils",
    "706-2": "Basophils, percent",
    "704-7": "Basophils",
    "5902-2": "Prothrombin time",
    "6301-6": "INR",
    "34714-6": "INR in blood",
    "3173-2": "Activated partial thromboplastin time",
    # Urine
    "5811-5": "Specific gravity of urine",
    "5803-2": "pH of urine",
    "5778-6": "Color of urine",
    "5792-7": "Glucose in urine",
    "5804-0": "Protein in urine",
    "14959-1": "Albumin/creatinine ratio in urine",
    "2161-8": "Creatinine in urine",
    # Panels
    "24323-8": "Comprehensive metabolic panel",
    "51990-0": "Basic metabolic panel",
    "24320-4": "Basic metabolic panel",
    "58410-2": "Complete blood count",
    "57021-8": "Complete blood count with differential",
    "57698-3": "Lipid panel",
    "24331-1": "Lipid panel",
    "24325-3": "Hepatic function panel",
    "24356-8": "Urinalysis",
}

_SNOMED_NAMES = {
    "449868002": "Current every day smoker",
    "428041000124106": "Current some day smoker",
    "8517006": "Former smoker",
    "266919005": "Never smoker",
    "77176002": "Smoker, current status unknown",
    "266927001": "Unknown if ever smoked",
    "428071000124103": "Heavy tobacco smoker",
    "428061000124105": "Light tobacco smoker",
    "55561003": "Active",
    "73425007": "Inactive",
    "413322009": "Resolved",
    "255604002": "Mild",
    "6736007": "Moderate",
    "24484000": "Severe",
    "371923003": "Mild to moderate",
    "371924009": "Moderate to severe",
    "399166001": "Fatal",
    "229819007": "Tobacco use and exposure",
    "160573003": "Alcohol intake",
    "46680005": "Vital signs",
    "55607006": "Problem",
    "282291009": "Diagnosis",
}


_INTERPRETATIONS = {
    "N": "Normal",
    "A": "Abnormal",
    "AA": "Critically abnormal",
    "H": "High",
    "HH": "Critically high",
    "L": "Low",
    "LL": "Critically low",
    ">": "Above the measurable range",
    "<": "Below the measurable range",
    "HX": "Above the high threshold",
    "LX": "Below the low threshold",
    "POS": "Positive",
    "NEG": "Negative",
    "IND": "Indeterminate",
    "S": "Susceptible",
    "I": "Intermediate",
    "R": "Resistant",
    "B": "Better",
    "W": "Worse",
    "D": "Decreased",
    "U": "Increased",
}


def is_name(text: str) -> bool:
    """True for text with a letter or digit that is not a known fill-in."""
    return bool(text) and _LETTER_OR_DIGIT.search(text) is not None and _NO_NAME.fullmatch(text) is None


def first_name(candidates: Iterable[str]) -> str:
    """The first candidate that is a name, or the empty string."""
    for candidate in candidates:
        if candidate and is_name(candidate):
            return candidate
    return ""


def shortened(text: str) -> str:
    """Text cut to the length of a name: a reference may point at a whole table."""
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1].rstrip() + "…"


def name_of_code(coding: Coding) -> str:
    """The name of a usual code, or the empty string."""
    if coding.system == codes.LOINC:
        return LOINC_NAMES.get(coding.code, "")
    if coding.system == codes.SNOMED:
        return _SNOMED_NAMES.get(coding.code, "")
    if coding.system == codes.INTERPRETATION:
        return _INTERPRETATIONS.get(coding.code, "")
    return ""


def code_as_name(coding: Coding) -> str:
    """The last resort: the code with its system."""
    label = codes.label(coding.system)
    return f"{coding.code} ({label})" if label else coding.code


def squeezed(text: str) -> str:
    """Text with every run of white space as one blank."""
    return " ".join(text.split())
