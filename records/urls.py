"""Addresses of records."""

from django.urls import path

from . import views

app_name = "records"

urlpatterns = [
    path("records/", views.record_list, name="list"),
    path("records/<uuid:record_id>/", views.record_overview, name="overview"),
    path("records/<uuid:record_id>/settings/", views.settings, name="settings"),
    path("records/<uuid:record_id>/items/<uuid:entry_id>/", views.entry, name="entry"),
    path("records/<uuid:record_id>/items/<uuid:entry_id>/file/", views.entry_file, name="entry_file"),
    path("records/<uuid:record_id>/documents/<uuid:document_id>/", views.document, name="document"),
    path(
        "records/<uuid:record_id>/documents/<uuid:document_id>/part/",
        views.document_part,
        name="document_part",
    ),
    path(
        "records/<uuid:record_id>/documents/<uuid:document_id>/file/",
        views.document_file,
        name="document_file",
    ),
]
