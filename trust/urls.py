"""Addresses of what we publish, of the page where organisations ask, and of the administrators' console."""

from django.urls import path

from trust import (
    bundle_views,
    console_views,
    exchange_views,
    identity_views,
    peer_views,
    request_views,
    views,
)

app_name = "trust"

urlpatterns = [
    path("messagecenter/certs/certs.zip", views.certs_zip, name="certs_zip"),
    path("messagecenter/certs/anchors.p7b", views.anchors_p7b, name="anchors_p7b"),
    path("messagecenter/certs/<slug:slug>.crt", views.authority_certificate, name="authority_certificate"),
    path("messagecenter/certs/<slug:slug>.crl", views.authority_crl, name="authority_crl"),
    # For organisations.
    path("trust/request/", request_views.ask, name="request"),
    path("trust/request/code/", request_views.ask_code, name="request_code"),
    path("trust/request/sent/", request_views.ask_sent, name="request_sent"),
    # For administrators. The overview is `directmsg:console`.
    path("trust/requests/", request_views.queue, name="requests"),
    path("trust/requests/<uuid:request_id>/", request_views.review, name="request_review"),
    path("trust/requests/<uuid:request_id>/accept/", request_views.accept, name="request_accept"),
    path("trust/requests/<uuid:request_id>/decline/", request_views.decline, name="request_decline"),
    path("trust/anchors/", console_views.anchors, name="anchors"),
    path("trust/anchors/import/", console_views.import_anchors, name="anchor_import"),
    path("trust/anchors/<uuid:anchor_id>/", console_views.anchor, name="anchor"),
    path("trust/anchors/<uuid:anchor_id>/flags/", console_views.anchor_flags, name="anchor_flags"),
    path("trust/anchors/<uuid:anchor_id>/state/", console_views.anchor_state, name="anchor_state"),
    path("trust/anchors/<uuid:anchor_id>/exclude/", console_views.anchor_exclude, name="anchor_exclude"),
    path("trust/peers/", peer_views.peers, name="peers"),
    path("trust/bundles/", bundle_views.bundle_list, name="bundles"),
    path("trust/bundles/add/", bundle_views.bundle_add, name="bundle_add"),
    path("trust/bundles/<uuid:bundle_id>/", bundle_views.bundle, name="bundle"),
    path("trust/bundles/<uuid:bundle_id>/change/", bundle_views.bundle_change, name="bundle_change"),
    path("trust/bundles/<uuid:bundle_id>/refresh/", bundle_views.bundle_refresh, name="bundle_refresh"),
    path("trust/bundles/<uuid:bundle_id>/use/", bundle_views.bundle_use, name="bundle_use"),
    path("trust/bundles/<uuid:bundle_id>/proposal/", bundle_views.bundle_proposal, name="bundle_proposal"),
    path("trust/organizations/", console_views.organizations, name="organizations"),
    path("trust/organizations/add/", console_views.organization_add, name="organization_add"),
    path("trust/organizations/<uuid:organization_id>/", console_views.organization, name="organization"),
    path("trust/domains/<str:name>/", console_views.domain, name="domain"),
    path("trust/certificates/", identity_views.certificates, name="certificates"),
    path("trust/certificates/issue/", identity_views.issue, name="certificate_issue"),
    path("trust/certificates/next/", identity_views.roll, name="authority_next"),
    path("trust/certificates/import/", identity_views.import_p12, name="certificate_import"),
    path("trust/certificates/findable/", identity_views.findable, name="certificates_findable"),
    path("trust/certificates/zone/", identity_views.zone, name="certificates_zone"),
    path("trust/certificates/ldif/", identity_views.ldif, name="certificates_ldif"),
    path("trust/certificates/<uuid:identity_id>/", identity_views.certificate, name="certificate"),
    path("trust/certificates/<uuid:identity_id>/retire/", identity_views.retire, name="certificate_retire"),
    path("trust/certificates/<uuid:identity_id>/revoke/", identity_views.revoke, name="certificate_revoke"),
    path("trust/exchange/", exchange_views.exchange, name="exchange"),
]
