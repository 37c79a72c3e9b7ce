"""Sharing a record: levels, invitations with passcodes, and the custodian a record always keeps."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from healthvault.audit import trail
from records import editing, proofs, sharing
from records.access import visible_to
from records.models import Account, Grant, Invitation, Record, Right
from records.visibility import removed_entries, sees_documents, visible_entries
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Account:
    return factories.account()


@pytest.fixture
def record(owner) -> Record:
    return factories.record(owner, "Nora Whitlock")


@pytest.fixture
def friend() -> Account:
    return factories.account("tomas@people.example", "Tomas Bergland")


def test_an_invitation_is_taken_up(record, owner, friend):
    end = timezone.now() + timedelta(days=30)
    invitation, token = sharing.invite(
        record, owner, "Tomas@people.example", Right.VIEW, access_expires=end, kinds=["allergies"], text="Hi"
    )
    assert token not in (invitation.token_hash, str(invitation.pk))
    assert sharing.find_invitation(token).text == "Hi"
    grant = sharing.accept(token, friend)
    assert (grant.right, grant.kinds, grant.expires) == (Right.VIEW, ["allergies"], end)
    assert list(visible_to(friend)) == [record]
    assert not visible_to(friend, Right.MODIFY).exists()
    assert Invitation.objects.get().state == "active"
    with pytest.raises(sharing.NoSuchInvitation):
        sharing.accept(token, friend)
    assert trail.history(record).first().action == "invitation.accepted"


def test_a_wrong_passcode_counts_and_locks(record, owner, friend):
    invitation, token = sharing.invite(record, owner, "tomas@people.example", Right.VIEW, passcode="Kite42")
    assert "Kite42" not in invitation.passcode
    for left in range(sharing.MOST_PASSCODE_TRIES - 1, 0, -1):
        with pytest.raises(sharing.WrongPasscode) as wrong:
            sharing.accept(token, friend, "Kite43")
        assert wrong.value.left == left
    with pytest.raises(sharing.TooManyTries):
        sharing.accept(token, friend, "Kite43")
    with pytest.raises(sharing.TooManyTries):
        sharing.accept(token, friend, "Kite42")
    assert not visible_to(friend).exists()
    invitation.refresh_from_db()
    fresh = sharing.resend(invitation, owner, passcode="Heron77")
    with pytest.raises(sharing.NoSuchInvitation):
        sharing.accept(token, friend, "Heron77")
    assert sharing.accept(fresh, friend, "Heron77").right == Right.VIEW


def test_without_a_passcode_the_link_is_for_who_reads_the_mailbox(record, owner, friend):
    """Or for who was told the passcode: a link that was forwarded says nothing of who has it."""
    _, token = sharing.invite(record, owner, "else@people.example", Right.VIEW)
    with pytest.raises(sharing.OtherMailbox):
        sharing.accept(token, friend)
    proofs.add(friend, "Else@people.example")
    assert sharing.accept(token, friend).right == Right.VIEW


def test_a_record_sends_so_many_invitations_a_day(record, owner, monkeypatch):
    monkeypatch.setattr(sharing, "MOST_A_DAY", 2)
    first, _ = sharing.invite(record, owner, "one@people.example", Right.VIEW)
    sharing.resend(first, owner)
    with pytest.raises(sharing.SharingRefused, match="today"):
        sharing.invite(record, owner, "two@people.example", Right.VIEW)
    with pytest.raises(sharing.SharingRefused, match="today"):
        sharing.resend(first, owner)


@pytest.mark.parametrize("passcode", ["short", "elevenchars", "with space", "umlautü"])
def test_passcodes_have_a_form(record, owner, passcode):
    with pytest.raises(sharing.SharingRefused):
        sharing.invite(record, owner, "tomas@people.example", Right.VIEW, passcode=passcode)


def test_rejecting_needs_no_passcode(record, owner, friend):
    _, token = sharing.invite(record, owner, "tomas@people.example", Right.VIEW, passcode="Kite42")
    sharing.reject(token)
    assert Invitation.objects.get().state == "rejected"
    with pytest.raises(sharing.NoSuchInvitation):
        sharing.accept(token, friend, "Kite42")


def test_an_invitation_ends(record, owner, friend):
    invitation, token = sharing.invite(record, owner, "tomas@people.example", Right.VIEW)
    Invitation.objects.update(expires=timezone.now() - timedelta(seconds=1))
    with pytest.raises(sharing.NoSuchInvitation):
        sharing.accept(token, friend)
    again = sharing.resend(invitation, owner)
    sharing.withdraw(invitation, owner)
    with pytest.raises(sharing.NoSuchInvitation):
        sharing.accept(again, friend)


def test_an_invitation_ends_with_its_inviters_right(record, owner, friend):
    _, token = sharing.invite(record, owner, "tomas@people.example", Right.CUSTODIAN)
    sharing.accept(token, friend)
    _, other = sharing.invite(record, friend, "s@people.example", Right.VIEW)
    sharing.remove_grant(friend.grants.get(), owner)
    with pytest.raises(sharing.NoSuchInvitation):
        sharing.accept(other, factories.account("s@people.example"))


def test_an_inviter_who_loses_the_record_meanwhile_gives_nothing_away(record, owner, friend):
    """Another process takes the inviter out while the passcode is looked at, which takes its time."""
    _, token = sharing.invite(record, owner, "tomas@people.example", Right.CUSTODIAN, passcode="Kite42")

    def take_out_after_the_try(execute, sql, params, many, context):
        done = execute(sql, params, many, context)
        if sql.startswith("UPDATE") and '"tries"' in sql:
            Grant.objects.filter(record=record, account=owner).delete()
        return done

    with connection.execute_wrapper(take_out_after_the_try), pytest.raises(sharing.NoSuchInvitation):
        sharing.accept(token, friend, "Kite42")
    assert not Grant.objects.filter(record=record).exists()
    assert Invitation.objects.get().state == "pending"


def test_only_custodians_share(record, owner, friend):
    _, token = sharing.invite(record, owner, "tomas@people.example", Right.MODIFY)
    grant = sharing.accept(token, friend)
    with pytest.raises(sharing.SharingRefused):
        sharing.invite(record, friend, "x@people.example", Right.VIEW)
    with pytest.raises(sharing.SharingRefused):
        sharing.change_grant(grant, friend, Right.CUSTODIAN)
    with pytest.raises(sharing.SharingRefused):
        sharing.remove_grant(owner.grants.get(), friend)
    with pytest.raises(sharing.SharingRefused):
        sharing.withdraw(Invitation.objects.get(), friend)


def test_the_last_custodian_stays(record, owner, friend):
    own = owner.grants.get()
    with pytest.raises(sharing.LastCustodian):
        sharing.remove_grant(own, owner)
    with pytest.raises(sharing.LastCustodian):
        sharing.change_grant(own, owner, Right.VIEW)
    _, token = sharing.invite(record, owner, "tomas@people.example", Right.CUSTODIAN)
    sharing.accept(token, friend)
    sharing.remove_grant(own, owner)
    assert Grant.objects.get().account == friend


def test_an_account_that_is_gone_is_no_custodian(record, owner, friend):
    _, token = sharing.invite(record, owner, "tomas@people.example", Right.CUSTODIAN)
    sharing.accept(token, friend)
    friend.is_active = False
    friend.save()
    with pytest.raises(sharing.LastCustodian):
        sharing.remove_grant(owner.grants.get(), owner)


def test_an_invitation_never_takes_anything_away(record, owner, friend):
    _, token = sharing.invite(record, owner, "tomas@people.example", Right.CUSTODIAN)
    sharing.accept(token, friend)
    _, lower = sharing.invite(record, owner, "tomas@people.example", Right.VIEW)
    assert sharing.accept(lower, friend).right == Right.CUSTODIAN


@pytest.mark.parametrize(
    "offer",
    [
        {"kinds": ["allergies"]},
        {"access_expires": timezone.now() + timedelta(days=1)},
    ],
)
def test_custodians_are_not_limited(record, owner, offer):
    with pytest.raises(sharing.SharingRefused):
        sharing.invite(record, owner, "tomas@people.example", Right.CUSTODIAN, **offer)


def test_what_a_viewer_sees(record, owner, friend):
    words = editing.Words
    allergy = editing.add_item(record, owner, "allergies", words("Penicillin"))
    editing.add_item(record, owner, "problems", words("Gout"))
    secret = editing.add_item(record, owner, "allergies", words("Latex"))
    editing.set_personal(secret, owner, personal=True)
    _, token = sharing.invite(record, owner, "tomas@people.example", Right.VIEW)
    grant = sharing.accept(token, friend)
    assert visible_entries(grant).count() == 2
    assert sees_documents(grant)
    sharing.change_grant(grant, owner, Right.VIEW, kinds=["allergies"])
    assert list(visible_entries(grant)) == [allergy]
    assert not sees_documents(grant)
    own = owner.grants.get()
    assert visible_entries(own).count() == 3
    editing.delete_item(allergy, owner)
    assert list(removed_entries(own)) == [allergy]
    assert not removed_entries(grant).exists()
