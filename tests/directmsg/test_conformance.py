"""The table of conformance tells the truth: its tests are there, and its codes are ours."""

import re
from pathlib import Path

import pytest

from directmsg.outcomes import OUTCOMES

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "direct-conformance.md").read_text()
RULES, CODES = TEXT.split("\n## Codes\n")


def named_tests():
    return sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", RULES)))


@pytest.mark.parametrize(("path", "name"), named_tests())
def test_the_test_is_there(path, name):
    assert f"def {name}(" in (ROOT / path).read_text()


def test_a_rule_has_a_test_or_says_that_it_is_not_met():
    rows = [
        line.split(" | ") for line in RULES.splitlines() if line.startswith("| ") and "Rule |" not in line
    ]
    # Lists of single mails beside the rules have two columns.
    rows = [row for row in rows if len(row) == 3]
    assert len(rows) > 50
    for rule, test, state in rows:
        assert test.startswith("`tests/") or not state.startswith("done"), rule


CASES = [*(f"D{number}" for number in range(1, 19)), *(f"H{number}" for number in range(1, 5))]


@pytest.mark.parametrize("case", CASES)
def test_every_case_of_the_certification_tool_has_its_test(case):
    (row,) = re.findall(rf"^\| {case}: .*$", RULES, re.M)
    number = f"{int(case[1:]):02d}" if case[0] == "D" else case[1:]
    assert f"::test_{case[0].lower()}{number}_" in row


def test_every_code_is_listed_with_its_meaning():
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", CODES, re.M))
    assert listed == {code: outcome.operator for code, outcome in OUTCOMES.items()}
