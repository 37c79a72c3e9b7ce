"""Everything that is noted about a record has words for its history."""

import re
from pathlib import Path

import records
from records import trail_words


def test_every_act_on_a_record_has_words():
    noted = set()
    for file in Path(records.__file__).parent.glob("*.py"):
        noted |= set(re.findall(r"trail\.record\(\s*\"([a-z_.]+)\"", file.read_text()))
    assert len(noted) > 30
    of_accounts = {action for action in noted if action.startswith("account.")}
    assert noted - of_accounts - set(trail_words._WORDS) == set()
