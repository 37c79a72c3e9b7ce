"""Addresses of the partner API, under /api/v1/."""

from django.urls import path, re_path

from . import api, api_schema  # noqa: F401

app_name = "api"

urlpatterns = [
    path("parcels/", api.Parcels.as_view(), name="parcels"),
    path("parcels/<uuid:parcel_id>/", api.ParcelDetail.as_view(), name="parcel"),
    path("parcels/<uuid:parcel_id>/withdraw/", api.Withdraw.as_view(), name="withdraw"),
    path("parcels/<uuid:parcel_id>/resend/", api.Resend.as_view(), name="resend"),
    re_path(r"", api.NotHere.as_view(), name="not_here"),
]
