"""A new first key takes over what the old ones wrap: in steps, and without touching content."""

import json

import pytest
from django.core.management import call_command
from django.db import connection

from healthvault.store import rotation
from healthvault.store.blobs import open_blob, store_blob
from healthvault.store.errors import AnswerNeeded
from healthvault.store.lookup import lookup_hash
from healthvault.store.models import Blob, HolderKey
from healthvault.store.rotation import rotate_vault_keys, rotation_status
from healthvault.vault.errors import UnknownKey
from healthvault.vault.keyring import generate_key
from records.models import Account, Record

pytestmark = pytest.mark.django_db

OLD, NEW = "old:" + "A" * 43, "brand-new:" + "B" * 43


@pytest.fixture
def content(settings):
    settings.VAULT_KEYS = OLD
    settings.IDENTITY_KEYS = ""

    class Content:
        accounts = [Account.objects.create(email=f"{n}@example.org", name=f"name {n}") for n in range(7)]
        record = Record.objects.create(holder=HolderKey.create("record"), name="Ottilie")
        blob = store_blob(record.holder, b"content")
        parcel = HolderKey.prepare("parcel", answer="blue heron")
        digest = lookup_hash("mailbox", "rosa@example.org")

    Content.parcel.save()
    return Content


def check(content):
    assert [account.name for account in Account.objects.order_by("pk")] == [f"name {n}" for n in range(7)]
    assert Record.objects.get().name == "Ottilie"
    assert open_blob(Blob.objects.get()) == b"content"
    assert lookup_hash("mailbox", "rosa@example.org") == content.digest
    parcel = HolderKey.objects.get(pk=content.parcel.pk)
    with pytest.raises(AnswerNeeded):
        parcel.unwrap()
    assert parcel.unwrap("blue heron") == content.parcel.unwrap()


def test_everything_moves_and_the_old_key_may_go(content, settings):
    sealed = Record.objects.values_list("name", flat=True).get(), bytes(Blob.objects.get().data)
    settings.VAULT_KEYS = f"{NEW},{OLD}"
    assert rotation_status()["vault"] == {"old": 10}
    done = rotate_vault_keys(batch=3)
    assert (done.moved, done.failed, done.unavailable) == (10, [], ["identity"])
    assert rotation_status()["vault"] == {"brand-new": 10}
    settings.VAULT_KEYS = NEW
    check(content)
    assert (Record.objects.values_list("name", flat=True).get(), bytes(Blob.objects.get().data)) == sealed
    assert rotate_vault_keys().moved == 0


@pytest.mark.parametrize("survived", [0, 1, 4, 9, 10])
def test_a_run_that_was_killed_is_taken_up_at_any_row(content, settings, monkeypatch, survived):
    settings.VAULT_KEYS = f"{NEW},{OLD}"

    class Killed(BaseException):
        pass

    replace, count = rotation._Column.replace, 0

    def dying(self, *args):
        nonlocal count
        count += 1
        if count > survived:
            raise Killed
        return replace(self, *args)

    monkeypatch.setattr(rotation._Column, "replace", dying)
    if survived < 10:
        with pytest.raises(Killed):
            rotate_vault_keys(batch=1)
        assert rotation_status()["vault"].get("brand-new", 0) == survived
    check(content)  # both keys are there meanwhile
    monkeypatch.setattr(rotation._Column, "replace", replace)
    assert rotate_vault_keys(batch=4).moved == 10 - (survived if survived < 10 else 0)
    settings.VAULT_KEYS = NEW
    check(content)


def test_a_row_that_changes_meanwhile_keeps_its_change(content, settings, monkeypatch):
    settings.VAULT_KEYS = f"{NEW},{OLD}"
    account, replace = content.accounts[3], rotation._Column.replace

    def overtaken(self, pk, old, new):
        if pk == account.pk:
            account.name = "changed by its owner"
            account.save()
        return replace(self, pk, old, new)

    monkeypatch.setattr(rotation._Column, "replace", overtaken)
    assert rotate_vault_keys().moved == 9
    assert Account.objects.get(pk=account.pk).name == "changed by its owner"
    assert rotation_status()["vault"] == {"brand-new": 10}


def test_what_does_not_open_is_named_and_the_rest_moves(content, settings, capsys):
    settings.VAULT_KEYS = f"{NEW},{OLD}"
    broken = content.accounts[2]
    with connection.cursor() as cursor:
        pk = broken.pk.hex if connection.vendor == "sqlite" else broken.pk
        junk = Account.objects.filter(pk=content.accounts[0].pk).values_list("name", flat=True).get()
        cursor.execute("UPDATE records_account SET name = %s WHERE id = %s", [junk, pk])
    with pytest.raises(SystemExit) as end:
        call_command("rotate_vault_keys", "--json")
    told = json.loads(capsys.readouterr().out)
    assert end.value.code == 1
    assert told["moved"] == 9
    assert told["failed"] == [f"records.account.name {broken.pk}"]
    assert told["keys"]["vault"] == {"brand-new": 9, "old": 1}


def test_a_key_that_is_missing_is_named(content, settings):
    settings.VAULT_KEYS = NEW
    with pytest.raises(UnknownKey):
        _ = Account.objects.first().name
    done = rotate_vault_keys()
    assert done.moved == 0
    assert len(done.failed) == 10
    settings.VAULT_KEYS = f"{NEW},{OLD}"
    check(content)


def test_the_command(content, settings, capsys):
    settings.VAULT_KEYS = f"{NEW},{OLD}"
    call_command("rotate_vault_keys", "--status", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "keys": {"vault": {"old": 10}, "identity": {}},
        "first": {"vault": "brand-new", "identity": None},
    }
    call_command("rotate_vault_keys", "--batch", "2")
    out = capsys.readouterr().out
    assert "10 values moved, 0 do not open" in out
    assert "vault key brand-new (first): 10 values" in out


def test_generated_keys_rotate_too(content, settings):
    settings.VAULT_KEYS = f"{generate_key()},{OLD}"
    assert rotate_vault_keys().moved == 10
