"""Addresses of the whole portal."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path
from django.views.generic import TemplateView
from drf_spectacular.views import SpectacularAPIView

from . import metrics, views
from .demo.mailbox import mailbox

# One way to sign in, with its limits and its second step.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.site_header = admin.site.site_title = "HealthVault Direct: rows"
admin.site.index_title = "Tables"

handler500 = "healthvault.views.server_error"

urlpatterns = [
    path("", views.start, name="start"),
    path("accounts/", views.account, name="account"),
    # These two answer under allauth's names, before allauth does.
    path("accounts/logout/", views.sign_out),
    path("accounts/sessions/", views.sessions),
    path("accounts/", include("allauth.urls")),
    path("", include("allauth.idp.urls")),
    path("", include("records.urls")),
    path("", include("directmsg.urls")),
    path("", include("trust.urls")),
    path("api/v1/schema/", SpectacularAPIView.as_view(), name="api_schema"),
    path("api/v1/docs/", views.api_docs, name="api_docs"),
    path("api/v1/", include("directmsg.api_urls")),
    path("admin/", admin.site.urls),
    path("demo/mail/", mailbox, name="demo_mail"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    # Pages name their icon; browsers ask for this one where a page does not (a download, the tables).
    path("favicon.ico", views.icon),
    path(
        "robots.txt",
        TemplateView.as_view(template_name="robots.txt", content_type="text/plain; charset=utf-8"),
    ),
]
