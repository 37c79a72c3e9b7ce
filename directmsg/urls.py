"""Addresses of messages and pickup."""

from django.urls import path

from . import address_views, blocking_views, compose_views, console_views, pickup_views, record_views, views

app_name = "directmsg"

urlpatterns = [
    path("messages/", views.inbox, name="inbox"),
    # A record comes with its Direct address, so it is opened here.
    path("records/new/", record_views.new, name="open_record"),
    path("messages/compose/", compose_views.write, name="compose"),
    path("messages/sent/", compose_views.sent, name="sent"),
    path("messages/sent/<uuid:sent_id>/", compose_views.sent_message, name="sent_message"),
    path("messages/sent/copies/<uuid:copy_id>/again/", compose_views.again, name="sent_again"),
    path("messages/waiting/", pickup_views.waiting, name="waiting"),
    path("messages/waiting/<uuid:parcel_id>/", pickup_views.choose, name="choose"),
    path("messages/addresses/<uuid:record_id>/", address_views.of_record, name="addresses"),
    path(
        "messages/addresses/<uuid:record_id>/<uuid:address_id>/", address_views.switch, name="address_switch"
    ),
    path("messages/blocked/<uuid:record_id>/", blocking_views.of_record, name="blocked"),
    path("messages/blocked/<uuid:record_id>/<uuid:blocked_id>/", blocking_views.unblock, name="unblock"),
    path("messages/<uuid:message_id>/", views.message, name="message"),
    path("messages/<uuid:message_id>/move/", views.move, name="move"),
    path("messages/<uuid:message_id>/opened/", views.mark_opened, name="mark_opened"),
    path("messages/<uuid:message_id>/html/", views.html_body, name="html_body"),
    path("messages/<uuid:message_id>/raw/", views.raw, name="raw"),
    path("messages/<uuid:message_id>/attachments/<int:position>/", views.attachment, name="attachment"),
    path(
        "messages/<uuid:message_id>/attachments/<int:position>/decide/",
        views.decide_attachment,
        name="decide_attachment",
    ),
    path("messages/documents/<uuid:document_id>/confirm/", views.confirm_document, name="confirm_document"),
    path("pickup/", pickup_views.waiting_here, name="pickup"),
    path("pickup/find/", pickup_views.find_waiting, name="pickup_find"),
    path("pickup/answer/", pickup_views.answer, name="pickup_answer"),
    path("pickup/code/", pickup_views.code, name="pickup_code"),
    path("pickup/claim/", pickup_views.claim, name="pickup_claim"),
    path("pickup/not-for-me/", pickup_views.not_for_me, name="pickup_not_for_me"),
    path("pickup/<str:token>/", pickup_views.link, name="pickup_link"),
    # The console of administrators: the overview needs both apps, the rest of it is in `trust.urls`.
    path("trust/", console_views.overview, name="console"),
    path("trust/mail/", console_views.mail_list, name="console_mail"),
    path("trust/mail/<uuid:mail_id>/", console_views.mail, name="console_mail_one"),
    path("trust/mail/<uuid:mail_id>/again/", console_views.mail_again, name="console_mail_again"),
    path("trust/mail/<uuid:mail_id>/raw/", console_views.mail_raw, name="console_mail_raw"),
    path("trust/mail/sent/", console_views.sent_list, name="console_sent"),
    path("trust/mail/sent/<uuid:copy_id>/", console_views.sent, name="console_sent_one"),
    path("trust/mail/parcels/", console_views.parcel_list, name="console_parcels"),
    path("trust/mail/parcels/<uuid:parcel_id>/", console_views.parcel, name="console_parcel"),
    path(
        "trust/mail/parcels/<uuid:parcel_id>/again/", console_views.parcel_again, name="console_parcel_again"
    ),
    path(
        "trust/mail/parcels/<uuid:parcel_id>/offer/", console_views.parcel_offer, name="console_parcel_offer"
    ),
    path(
        "trust/mail/parcels/<uuid:parcel_id>/withdraw/",
        console_views.parcel_withdraw,
        name="console_parcel_withdraw",
    ),
]
