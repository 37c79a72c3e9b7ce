"""Clinical documents of invented people, as the demonstration has them."""

from pathlib import Path

_DEMO = Path(__file__).resolve().parent.parent / "healthvault" / "demo"
VISIT = (_DEMO / "visit.xml").read_bytes()
CCR = (_DEMO / "referral.ccr.xml").read_bytes()
CDA_TYPE = "application/ccd-xml"
