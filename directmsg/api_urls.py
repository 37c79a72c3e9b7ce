"""Addresses of the partner API, under /api/v1/."""

from django.urls import path

from . import api, api_schema  # noqa: F401

app_name = "api"

urlpatterns = [
    path("parcels/", api.Parcels.as_view(), name="parcels"),
    path("parcels/<uuid:parcel_id>/", api.ParcelDetail.as_view(), name="parcel"),
]
