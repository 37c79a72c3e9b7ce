"""Addresses of what we publish."""

from django.urls import path

from trust import views

app_name = "trust"

urlpatterns = [
    path("messagecenter/certs/certs.zip", views.certs_zip, name="certs_zip"),
    path("messagecenter/certs/anchors.p7b", views.anchors_p7b, name="anchors_p7b"),
    path("messagecenter/certs/<slug:slug>.crt", views.authority_certificate, name="authority_certificate"),
    path("messagecenter/certs/<slug:slug>.crl", views.authority_crl, name="authority_crl"),
]
