"""The trail: what is written, what cannot be, and that every change to it is found."""

import json
import uuid
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from healthvault.audit import trail
from healthvault.audit.models import AppendOnly, AuditEvent, AuditHead
from healthvault.audit.verify import verify_trail
from healthvault.store.lookup import service_key
from healthvault.store.models import HolderKey
from healthvault.vault.keyring import generate_key
from records.models import Account, Record

pytestmark = pytest.mark.django_db


def sql(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.rowcount


def problems(**kwargs):
    return [(problem.problem, problem.seq) for problem in verify_trail(**kwargs).problems]


@pytest.fixture
def events():
    return [trail.record("record.read", actor="somebody", subject=number) for number in range(1, 7)]


def test_who_for_whom_what_when_from_where_and_what_came_of_it():
    account = Account.objects.create(email="rosa@example.org")
    record = Record.objects.create(holder=HolderKey.create("record"), name="Rosa")
    other = uuid.uuid4()
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7")
    trail.record(
        "entry.deleted",
        actor=account,
        record=record,
        subject=other,
        outcome="refused",
        request=request,
        tries=3,
    )
    row = AuditEvent.objects.get()
    assert (row.action, row.actor, row.record) == ("entry.deleted", str(account.pk), record.pk)
    assert (row.subject, row.outcome, row.address) == (str(other), "refused", "192.0.2.7")
    assert row.ids == {"tries": "3"}
    assert list(trail.history(record)) == [row]
    assert not trail.history(uuid.uuid4()).exists()
    assert verify_trail().ok


def test_the_actor_is_the_person_who_is_signed_in():
    request = RequestFactory().get("/")
    request.user = Account.objects.create(email="rosa@example.org")
    assert trail.record("a", request=request).actor == str(request.user.pk)
    assert trail.record("a", actor="operator", request=request).actor == "operator"
    request.user = AnonymousUser()
    assert trail.record("a", request=request).actor == ""
    assert trail.record("a").actor == ""


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "203.0.113.9", "192.0.2.7"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (2, "203.0.113.9", "203.0.113.9"),
        (1, "", "192.0.2.7"),
        (1, "not an address", None),
        (0, "", "192.0.2.7"),
    ],
)
def test_no_more_proxies_are_believed_than_there_are(settings, proxies, forwarded, address):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = proxies
    extra = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7", **extra)
    assert trail.record("a", request=request).address == address


@pytest.mark.parametrize("address", ["2001:db8::1", "2001:DB8:0::1", "::ffff:192.0.2.7", "fe80::1%eth0"])
def test_addresses_of_the_new_kind_verify(address):
    trail.record("a", address=address)
    assert verify_trail().ok


@pytest.mark.parametrize("value", [b"bytes", ["list"], {"a": 1}, 1.5, SimpleNamespace()])
def test_what_is_no_id_is_refused(value):
    with pytest.raises(TypeError):
        trail.record("a", subject=value)
    with pytest.raises(TypeError):
        trail.record("a", note=value)


def test_what_is_too_long_for_an_id_is_refused():
    with pytest.raises(ValueError):
        trail.record("a", subject="a sentence that somebody wrote " * 5)


def test_rows_are_neither_changed_nor_deleted(events):
    event = AuditEvent.objects.first()
    event.outcome = "else"
    for act in (
        event.save,
        event.delete,
        AuditEvent.objects.all().delete,
        lambda: AuditEvent.objects.update(outcome="else"),
        lambda: AuditEvent.objects.bulk_create([]),
        lambda: AuditEvent.objects.bulk_update([], ["outcome"]),
    ):
        with pytest.raises(AppendOnly):
            act()


def test_an_event_goes_with_its_transaction(events):
    with pytest.raises(RuntimeError), transaction.atomic():
        trail.record("undone")
        raise RuntimeError
    assert AuditEvent.objects.count() == 6
    trail.record("after")
    assert verify_trail().ok


def test_it_costs_three_statements(events):
    with CaptureQueriesContext(connection) as queries:
        trail.record("a")
    assert len(queries) == 3


# --- finding changes ------------------------------------------------------------------------------


def test_a_whole_trail_verifies(events):
    verdict = verify_trail()
    assert verdict.ok
    assert verdict.events == 6
    assert sum(head["seq"] for head in verdict.heads) == 6


@pytest.mark.parametrize(
    "change",
    [
        "action = 'record.exported'",
        "actor = 'another'",
        "subject = '99'",
        "outcome = 'refused'",
        "address = '192.0.2.1'",
        "at = '2020-01-01 00:00:00+00:00'",
        'ids = \'{"more": "1"}\'',
        "record = '0123456789abcdef0123456789abcdef'",
        "mac = (SELECT mac FROM audit_auditevent WHERE seq = 2)",
    ],
)
def test_an_edit_is_found(events, change):
    assert sql(f"UPDATE audit_auditevent SET {change} WHERE seq = 4") == 1
    assert problems()[0] == ("altered", 4)


def test_a_deletion_is_found(events):
    assert sql("DELETE FROM audit_auditevent WHERE seq = 4") == 1
    assert problems()[0] == ("missing", 4)


def test_a_deletion_that_closes_the_gap_is_found(events):
    sql("DELETE FROM audit_auditevent WHERE seq = 4")
    for seq in (5, 6):
        sql("UPDATE audit_auditevent SET seq = %s WHERE seq = %s", seq - 1, seq)
    assert problems()[0] == ("altered", 4)


def test_an_insertion_is_found(events):
    for seq in (6, 5):
        sql("UPDATE audit_auditevent SET seq = %s WHERE seq = %s", seq + 1, seq)
    sql(
        "INSERT INTO audit_auditevent (shard, seq, at, action, actor, subject, outcome, ids, mac)"
        " SELECT shard, 5, at, action, actor, subject, outcome, ids, mac FROM audit_auditevent WHERE seq = 4"
    )
    assert problems()[0] == ("altered", 5)


def test_a_swap_is_found(events):
    sql("UPDATE audit_auditevent SET seq = 100 WHERE seq = 3")
    sql("UPDATE audit_auditevent SET seq = 3 WHERE seq = 4")
    sql("UPDATE audit_auditevent SET seq = 4 WHERE seq = 100")
    assert problems()[0] == ("altered", 3)


def test_a_tail_that_was_cut_off_is_found(events):
    sql("DELETE FROM audit_auditevent WHERE seq > 4")
    assert problems() == [("cut_off", 5)]


def test_an_emptied_trail_is_found_also_when_it_goes_on(events, caplog):
    sql("DELETE FROM audit_auditevent")
    sql("DELETE FROM audit_audithead")
    assert problems() == [("cut_off", 1)]
    trail.record("harmless deed")
    assert "was emptied" in caplog.text
    assert ("missing", 1) in problems()
    trail.record("another")
    assert ("missing", 1) in problems()


def test_a_trail_that_never_began_is_whole_however_often_it_is_read():
    assert problems() == []
    assert problems() == []
    trail.record("first")
    assert problems() == []


def test_a_head_that_was_altered_is_found(events):
    sql("DELETE FROM audit_auditevent WHERE seq > 4")
    sql(
        "UPDATE audit_audithead SET seq = 4, mac = (SELECT mac FROM audit_auditevent WHERE seq = 4)"
        " WHERE seq = 6"
    )
    assert problems()[0] == ("head_altered", 4)


def test_work_goes_on_after_a_head_was_altered(events, caplog):
    sql("UPDATE audit_audithead SET seal = mac WHERE seq > 0")
    trail.record("after")
    assert "altered" in caplog.text
    assert AuditEvent.objects.count() == 7


def test_a_lost_head_is_taken_up_from_the_last_row(events):
    AuditHead.objects.all().delete()
    assert problems()[0] == ("head_altered", 6)
    for _ in range(3):
        trail.record("after")
    assert AuditEvent.objects.count() == 9
    assert verify_trail().ok


def test_an_older_head_put_back_is_found_by_a_head_kept_elsewhere(events):
    shard = events[0].shard
    old = AuditHead.objects.values("seq", "mac", "seal").get(pk=shard)
    for _ in range(3):
        trail.record("bad deed")
    kept = verify_trail().heads
    sql("DELETE FROM audit_auditevent WHERE seq > 6")
    AuditHead.objects.filter(pk=shard).update(**old)
    assert problems() == []
    assert problems(kept_heads=kept) == [("cut_off", 7)]
    for _ in range(3):
        trail.record("harmless deed")
    assert problems() == []
    assert problems(kept_heads=kept) == [("forked", 9)]


def test_another_key_verifies_nothing(events):
    HolderKey.objects.all().delete()
    assert service_key("audit")
    assert ("altered", 1) in problems()


def test_the_key_in_memory_gives_way_to_that_of_the_database(events):
    """Another process, or a restored database, may have another key than this process remembers."""
    trail._key = bytes(32)
    trail.record("after")
    assert verify_trail().ok


def test_rotating_the_keyring_keeps_the_trail_whole(events, settings):
    from healthvault.store.rotation import rotate_vault_keys

    old, settings.VAULT_KEYS = settings.VAULT_KEYS, generate_key() + "," + settings.VAULT_KEYS
    rotate_vault_keys()
    settings.VAULT_KEYS = settings.VAULT_KEYS.partition(",")[0]
    trail._key = None
    trail.record("after")
    assert verify_trail().ok
    assert old not in settings.VAULT_KEYS


# --- the command ----------------------------------------------------------------------------------


def run(capsys, *arguments):
    code = 0
    try:
        call_command("verify_audit", *arguments)
    except SystemExit as end:
        code = end.code
    return code, capsys.readouterr().out


def test_the_command_says_yes_and_no(events, capsys, tmp_path):
    code, out = run(capsys, "--json")
    verdict = json.loads(out)
    assert code == 0
    assert (verdict["ok"], verdict["events"], verdict["problems"]) == (True, 6, [])
    kept = tmp_path / "heads.json"
    kept.write_text(out)
    assert run(capsys, "--heads", str(kept)) == (0, "6 events, 0 problems\n")
    sql("UPDATE audit_auditevent SET actor = 'x' WHERE seq = 2")
    code, out = run(capsys, "--json")
    assert code == 1
    assert json.loads(out)["problems"][0]["problem"] == "altered"
    assert run(capsys)[0] == 1


def test_logged_ends_are_read_back(events, capsys, tmp_path, caplog):
    from healthvault.audit.tasks import log_heads

    with caplog.at_level("INFO"):
        log_heads()
    kept = tmp_path / "portal.log"
    kept.write_text("\n".join(json.dumps({"event": record.getMessage()}) for record in caplog.records))
    assert run(capsys, "--heads", str(kept))[0] == 0
    sql("DELETE FROM audit_auditevent WHERE seq > 0")
    AuditHead.objects.all().delete()
    assert run(capsys)[0] == 1
    code, out = run(capsys, "--heads", str(kept))
    assert code == 1
    assert "cut_off" in out


def test_a_file_that_is_no_verdict_is_wrong_use(tmp_path):
    (tmp_path / "x").write_text("[]")
    with pytest.raises(CommandError) as caught:
        call_command("verify_audit", "--heads", str(tmp_path / "x"))
    assert caught.value.returncode == 2


def test_an_empty_trail_verifies(capsys):
    assert run(capsys) == (0, "0 events, 0 problems\n")
