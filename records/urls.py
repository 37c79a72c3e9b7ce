"""Addresses of records."""

from django.urls import path

from . import change_views, export_views, item_views, sharing_views, trend_views, views

app_name = "records"

urlpatterns = [
    path("records/", views.record_list, name="list"),
    path("records/<uuid:record_id>/", views.record_overview, name="overview"),
    path("records/<uuid:record_id>/kinds/<slug:kind>/", trend_views.kind, name="kind"),
    path("records/<uuid:record_id>/trends/<uuid:entry_id>/", trend_views.trend, name="trend"),
    path("records/<uuid:record_id>/timeline/", trend_views.along_time, name="timeline"),
    path("records/<uuid:record_id>/documents/", trend_views.documents, name="documents"),
    path("records/<uuid:record_id>/search/", trend_views.words, name="search"),
    path("records/<uuid:record_id>/settings/", views.settings, name="settings"),
    path("records/<uuid:record_id>/settings/senders/", change_views.sender_preference, name="senders"),
    path("records/<uuid:record_id>/imports/", change_views.imports, name="imports"),
    path("records/<uuid:record_id>/imports/<uuid:import_id>/", change_views.one_import, name="import"),
    path(
        "records/<uuid:record_id>/imports/<uuid:import_id>/review/", change_views.review_import, name="review"
    ),
    path("records/<uuid:record_id>/imports/<uuid:import_id>/undo/", change_views.undo_import, name="undo"),
    path("records/<uuid:record_id>/imports/<uuid:import_id>/redo/", change_views.redo_import, name="redo"),
    path("records/<uuid:record_id>/documents/<uuid:document_id>/whose/", change_views.whose, name="whose"),
    path("records/<uuid:record_id>/upload/", change_views.upload, name="upload"),
    path(
        "records/<uuid:record_id>/upload/<uuid:message_id>/", change_views.upload_result, name="upload_result"
    ),
    path("records/<uuid:record_id>/add/", item_views.choose_kind, name="choose_kind"),
    path("records/<uuid:record_id>/add/<slug:kind>/", item_views.add, name="add"),
    path("records/<uuid:record_id>/removed/", item_views.removed, name="removed"),
    path("records/<uuid:record_id>/items/<uuid:entry_id>/", views.entry, name="entry"),
    path("records/<uuid:record_id>/items/<uuid:entry_id>/correct/", item_views.correct, name="correct"),
    path("records/<uuid:record_id>/items/<uuid:entry_id>/decide/", item_views.decide, name="decide"),
    path("records/<uuid:record_id>/items/<uuid:entry_id>/remove/", item_views.remove, name="remove"),
    path("records/<uuid:record_id>/items/<uuid:entry_id>/picture/", item_views.item_picture, name="picture"),
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
    # People of a record, and being invited.
    path("records/<uuid:record_id>/people/", sharing_views.people, name="people"),
    path("records/<uuid:record_id>/people/invite/", sharing_views.invite, name="invite"),
    path("records/<uuid:record_id>/people/<uuid:grant_id>/", sharing_views.person, name="person"),
    path(
        "records/<uuid:record_id>/people/<uuid:grant_id>/remove/",
        sharing_views.remove_person,
        name="remove_person",
    ),
    path(
        "records/<uuid:record_id>/invitations/<uuid:invitation_id>/resend/",
        sharing_views.resend,
        name="resend",
    ),
    path(
        "records/<uuid:record_id>/invitations/<uuid:invitation_id>/withdraw/",
        sharing_views.withdraw,
        name="withdraw",
    ),
    path("records/<uuid:record_id>/leave/", sharing_views.leave, name="leave"),
    path("records/<uuid:record_id>/history/", sharing_views.history, name="history"),
    path(
        "records/<uuid:record_id>/items/<uuid:entry_id>/personal/",
        sharing_views.personal,
        name="personal",
    ),
    path("records/invited/", sharing_views.invited, name="invited"),
    path("records/invited/<str:token>/", sharing_views.invited_link, name="invited_link"),
    # Out again, and back.
    path("records/<uuid:record_id>/export/", export_views.exports, name="exports"),
    path("records/<uuid:record_id>/export/<uuid:export_id>/", export_views.export_file, name="export_file"),
    path(
        "records/<uuid:record_id>/export/<uuid:export_id>/delete/",
        export_views.export_delete,
        name="export_delete",
    ),
    path("records/<uuid:record_id>/restore/", export_views.put_back, name="restore"),
    path("records/<uuid:record_id>/summary/", export_views.summary, name="summary"),
]
