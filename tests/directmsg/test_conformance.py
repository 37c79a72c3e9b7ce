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


def rules():
    """The rows of the tables of rules: rule, tests, state."""
    found, of_rules = [], False
    for line in RULES.splitlines():
        if not line.startswith("| "):
            of_rules = of_rules and line.startswith("|")
        elif line.startswith("| Rule | Test | State |"):
            of_rules = True
        elif of_rules:
            found.append(tuple(line.strip("| ").split(" | ")))
    return found


def test_every_rule_has_its_test_or_a_reason_why_it_needs_none():
    assert len(rules()) > 150
    for rule, tests, state in rules():
        if not tests.startswith("`tests/"):
            assert state.startswith("does not apply: "), rule
        assert re.match(r"done\b|by choice|does not apply: ", state), rule


def test_no_rule_waits():
    assert not re.search(r"\b(not yet|not met|not done|to do|missing)\b", " ".join(row[2] for row in rules()))


CASES = [*(f"D{number}" for number in range(1, 19)), *(f"H{number}" for number in range(1, 5))]


@pytest.mark.parametrize("case", CASES)
def test_every_case_of_the_certification_tool_has_its_test(case):
    (row,) = re.findall(rf"^\| {case}: .*$", RULES, re.M)
    number = f"{int(case[1:]):02d}" if case[0] == "D" else case[1:]
    assert f"::test_{case[0].lower()}{number}_" in row


def test_every_code_is_listed_with_its_meaning():
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", CODES, re.M))
    assert listed == {code: outcome.operator for code, outcome in OUTCOMES.items()}
