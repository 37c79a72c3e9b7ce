"""Settings, read top to bottom; every knob comes from the environment (see README, "Settings").

Without any environment this is the embedded mode: one process, SQLite and files under `var/`.
"""

import secrets
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import environ

from healthvault import local_keys
from healthvault.env import BadValue, Env, parse_with, split_host_port
from healthvault.store import faults
from healthvault.vault.keyring import parse_keys

BASE_DIR = Path(__file__).resolve().parent.parent
env = Env()

# --- which kind of installation this is -----------------------------------------------------------

PUBLIC_URL = env.url("PUBLIC_URL", ("http", "https")).rstrip("/")
ENVIRONMENT = env.choice(
    "HEALTHVAULT_ENVIRONMENT", ("demo", "ppe", "production"), "" if PUBLIC_URL else "demo"
)
PRODUCTION = ENVIRONMENT == "production"
DATA_DIR = Path(env.text("DATA_DIR", str(BASE_DIR / "var"))).resolve()
CELERY_BROKER_URL = env.url("CELERY_BROKER_URL", ("redis", "rediss", "amqp", "amqps"))
EMBEDDED = not CELERY_BROKER_URL
#: Set by `manage.py demo` for its own process: the page that shows everybody's mails is served.
DEMO = bool(env.text("HEALTHVAULT_DEMO_DIRECTORY")) and ENVIRONMENT == "demo"

WEB_LISTEN = env.host_port("WEB_LISTEN", "127.0.0.1:8000")
SMTP_LISTEN = env.host_port("SMTP_LISTEN", "127.0.0.1:2525")
LMTP_LISTEN = env.host_port("LMTP_LISTEN", "off")
SMTP_TLS_CERT = env.text("SMTP_TLS_CERT")
SMTP_TLS_KEY = env.text("SMTP_TLS_KEY")
if bool(SMTP_TLS_CERT) != bool(SMTP_TLS_KEY):
    raise BadValue("SMTP_TLS_KEY" if SMTP_TLS_CERT else "SMTP_TLS_CERT", "both or neither must be set")

if not PUBLIC_URL:
    _host, _port = WEB_LISTEN or ("127.0.0.1", 8000)
    PUBLIC_URL = f"http://{'localhost' if _host in ('127.0.0.1', '0.0.0.0') else _host}:{_port}"  # noqa: S104
PUBLIC_HTTPS = PUBLIC_URL.startswith("https:")
if PRODUCTION and not PUBLIC_HTTPS:
    raise BadValue("PUBLIC_URL", "must be an https address in production")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS") or [
    urlsplit(PUBLIC_URL).hostname or "localhost",
    *([] if PRODUCTION else ["localhost", "127.0.0.1", "[::1]"]),
]

# --- secrets ----------------------------------------------------------------------------------------

SECRET_KEY = env.secret("SECRET_KEY")
VAULT_KEYS = env.secret("VAULT_KEYS")
IDENTITY_KEYS = env.secret("IDENTITY_KEYS")
if not PRODUCTION and not (SECRET_KEY and VAULT_KEYS):
    try:
        _local = local_keys.load_or_create(DATA_DIR)
    except OSError:
        # A command that only reads files must work where nothing can be written; the vault's own
        # check names the missing keys to everything else.
        _local = local_keys.LocalKeys(SECRET_KEY=secrets.token_urlsafe(48), VAULT_KEYS="", IDENTITY_KEYS="")
    if not VAULT_KEYS:
        VAULT_KEYS = _local["VAULT_KEYS"]
        IDENTITY_KEYS = IDENTITY_KEYS or _local["IDENTITY_KEYS"]
    SECRET_KEY = SECRET_KEY or _local["SECRET_KEY"]
for _name, _text in (("VAULT_KEYS", VAULT_KEYS), ("IDENTITY_KEYS", IDENTITY_KEYS)):
    if _text:
        parse_with(_name, _text, parse_keys)
if PRODUCTION:
    for _name, _text in (("SECRET_KEY", SECRET_KEY), ("VAULT_KEYS", VAULT_KEYS)):
        if not _text:
            raise BadValue(_name, "must be set in production")
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")

# --- Direct -------------------------------------------------------------------------------------------

DIRECT_DOMAINS = [domain.lower().rstrip(".") for domain in env.words("DIRECT_DOMAINS")] or (
    [] if PRODUCTION else ["direct.localhost.test"]
)
if PRODUCTION and not DIRECT_DOMAINS:
    raise BadValue("DIRECT_DOMAINS", "must name at least one domain in production")
DIRECT_RELAY = env.url("DIRECT_RELAY", ("smtp",))
DNS_SERVERS = [split_host_port(word, "DNS_SERVERS") for word in env.words("DNS_SERVERS")]
LEGACY_TOLERANCES = frozenset(
    {
        "sha1_digest",
        "sha1_chain",
        "tripledes",
        "rsa1024",
        "names_in_dn",
        "no_key_usage",
        "no_basic_constraints",
        "bare_newline",
    }
)
DIRECT_LEGACY = frozenset(env.words("DIRECT_LEGACY", allowed=LEGACY_TOLERANCES))
DIRECT_CONFIRMATION_TIMEOUT = env.number("DIRECT_CONFIRMATION_TIMEOUT", 3600, least=1)
PARCEL_DAYS = env.number("PARCEL_DAYS", 28, least=1, most=365)
ANSWER_TRIES = env.number("ANSWER_TRIES", 3, least=3, most=10)
#: Bytes that one record may hold.
RECORD_SIZE_LIMIT = env.number("RECORD_SIZE_LIMIT", 4 * 1024**3, least=1_000_000)

FETCH_ALLOW = [split_host_port(word, "FETCH_ALLOW") for word in env.words("FETCH_ALLOW")]
DIRECT_MX_PORT = env.number("DIRECT_MX_PORT", 25, least=1, most=65535)
FAULT_AT = env.text("FAULT_AT")
if FAULT_AT:
    faults.parse(FAULT_AT)
if PRODUCTION:
    for _name in ("FETCH_ALLOW", "DIRECT_MX_PORT", "FAULT_AT"):
        if env.text(_name):
            raise BadValue(_name, "is for tests and refused in production")

# --- applications -------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "healthvault.apps.HealthVaultConfig",
    "healthvault.store",
    "healthvault.outbox",
    "healthvault.audit",
    "records",
    "trust",
    "directmsg",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.idp.oidc",
    "django_htmx",
    "csp",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "healthvault.middleware.private_responses",
    "healthvault.middleware.Sessions",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "healthvault.middleware.absolute_session_end",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "healthvault.middleware.staff_second_step",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "healthvault.urls"
WSGI_APPLICATION = "healthvault.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "healthvault.context.portal",
            ],
        },
    }
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
INSTALLED_APPS += ["django.forms"]

# --- database, cache, blobs -----------------------------------------------------------------------------

DATABASE_URL = env.url(
    "DATABASE_URL", ("sqlite", "postgres", "postgresql"), f"sqlite:///{DATA_DIR / 'healthvault.sqlite3'}"
)
DATABASES = {"default": environ.Env.db_url_config(DATABASE_URL)}
_database = DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3"):
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # secure_delete: a key that was deleted must not stay in a free page of the file.
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            " PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON;"
        ),
    }
else:
    _database["CONN_MAX_AGE"] = 60
    _database["CONN_HEALTH_CHECKS"] = True

_cache_url = env.url("CACHE_URL", ("redis", "rediss", "locmem"))
if _cache_url.startswith("redis"):
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": _cache_url}}
else:
    CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "django_cache"}
    }

BLOB_ROW_LIMIT = 256 * 1024
STORAGE_URL = env.url("STORAGE_URL", ("s3",))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": DATA_DIR}},
    "blobs": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": DATA_DIR / "blobs"},
    },
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
if STORAGE_URL:
    _parts = urlsplit(STORAGE_URL)
    STORAGES["blobs"] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": _parts.path.strip("/"),
            "endpoint_url": f"https://{_parts.hostname}" + (f":{_parts.port}" if _parts.port else ""),
            "access_key": _parts.username,
            "secret_key": _parts.password,
            "querystring_auth": True,
            "file_overwrite": True,
        },
    }

# --- mail to people (notifications) ---------------------------------------------------------------------

EMAIL_URL = env.url("EMAIL_URL", ("smtp", "smtps", "file", "console"))
if PRODUCTION and not EMAIL_URL.startswith(("smtp:", "smtps:")):
    raise BadValue("EMAIL_URL", "must name a relay (smtp: or smtps:) in production, or nobody gets a link")
EMAIL_URL = EMAIL_URL or f"file://{DATA_DIR / 'mail'}"
EMAIL_BACKEND = "healthvault.outbox.backend.OutboxBackend"
DEFAULT_FROM_EMAIL = env.text(
    "DEFAULT_FROM_EMAIL", f"HealthVault Direct <no-reply@{urlsplit(PUBLIC_URL).hostname}>"
)
SERVER_EMAIL = DEFAULT_FROM_EMAIL
EMAIL_SUBJECT_PREFIX = "[PPE] " if ENVIRONMENT == "ppe" else ""
EMAIL_TIMEOUT = 30

# --- people and sessions --------------------------------------------------------------------------------

AUTH_USER_MODEL = "records.Account"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/messages/"
LOGOUT_REDIRECT_URL = "/"

ACCOUNT_ADAPTER = "healthvault.accounts.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_SIGNUP_FORM_CLASS = "healthvault.account_forms.SignupExtra"
ACCOUNT_FORMS = {
    "login": "healthvault.sign_in_forms.SignInForm",
    "signup": "healthvault.sign_in_forms.SignUpForm",
    "add_email": "healthvault.sign_in_forms.AddEmailForm",
    "change_email": "healthvault.sign_in_forms.ChangeEmailForm",
    "change_password": "healthvault.sign_in_forms.ChangePasswordForm",
    "set_password": "healthvault.sign_in_forms.SetPasswordForm",
    "reset_password": "healthvault.sign_in_forms.ResetPasswordForm",
    "reset_password_from_key": "healthvault.sign_in_forms.ResetPasswordKeyForm",
    "reauthenticate": "healthvault.sign_in_forms.ReauthenticateForm",
    "confirm_email_verification_code": "healthvault.sign_in_forms.ConfirmEmailForm",
}
ACCOUNT_EMAIL_NOTIFICATIONS = True
ALLAUTH_USER_CODE_FORMAT = {"numeric": True, "length": 8}
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_RESEND = True
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_CHANGE_EMAIL = False
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_EMAIL_SUBJECT_PREFIX = EMAIL_SUBJECT_PREFIX
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if PUBLIC_HTTPS else "http"
# Nothing of ours speaks TLS: where the portal's address is https, a proxy stands in front of it.
ALLAUTH_TRUSTED_PROXY_COUNT = env.number("TRUSTED_PROXY_COUNT", 1 if PUBLIC_HTTPS else 0, most=5)
MFA_ADAPTER = "healthvault.accounts.MfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_FORMS = {
    "authenticate": "healthvault.sign_in_forms.SecondStepForm",
    "reauthenticate": "healthvault.sign_in_forms.SecondStepAgainForm",
    "activate_totp": "healthvault.sign_in_forms.ActivateAppForm",
    "add_webauthn": "healthvault.sign_in_forms.AddPasskeyForm",
    "edit_webauthn": "healthvault.sign_in_forms.EditPasskeyForm",
}
MFA_TOTP_ISSUER = "HealthVault Direct"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not PUBLIC_HTTPS
# A session's last use can be told from its expiry; a second row a request would say the same.
USERSESSIONS_TRACK_ACTIVITY = False

SESSION_ENGINE = "healthvault.store.sessions"
# Not in a cookie, where they would outlive the session.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SESSION_COOKIE_AGE = int(timedelta(minutes=20).total_seconds())
SESSION_ABSOLUTE_AGE = int(timedelta(hours=12).total_seconds())
STAFF_SESSION_IDLE = int(timedelta(minutes=10).total_seconds())
STAFF_SESSION_ABSOLUTE_AGE = int(timedelta(hours=8).total_seconds())
SESSION_SAVE_EVERY_REQUEST = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_HTTPS
SESSION_COOKIE_NAME = "__Host-session" if PUBLIC_HTTPS else "session"
CSRF_COOKIE_NAME = "__Host-csrf" if PUBLIC_HTTPS else "csrf"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
CSRF_FAILURE_VIEW = "healthvault.views.csrf_failure"

# --- what browsers are told -------------------------------------------------------------------------------

SECURE_CONTENT_TYPE_NOSNIFF = True
# Nothing to other sites. "no-referrer" would have browsers send "Origin: null" with our own forms, which
# the check against forged requests has to refuse (Fetch, "append a request Origin header").
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if PUBLIC_HTTPS:
    SECURE_SSL_REDIRECT = True
    # Machines of our own network ask over http, and whoever checks a certificate must be able to
    # fetch its issuer and revocation list without one (RFC 5280 section 8).
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$", r"^messagecenter/certs/"]
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-src": ["'self'"],
        "frame-ancestors": ["'none'"],
        "manifest-src": ["'self'"],
    }
}

# --- languages, time, static files ------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English")]
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
STATIC_URL = "static/"
#: Filled by collectstatic; elsewhere the files are served from where they lie.
STATIC_ROOT = BASE_DIR / "staticfiles" if PRODUCTION else None
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = not PRODUCTION
WHITENOISE_AUTOREFRESH = False
MAX_MESSAGE_SIZE = 39_845_888
#: The largest request there is: a message of that size in base64 (4 characters for 3 bytes), and room for
#: its text and part headers.
MAX_REQUEST_SIZE = MAX_MESSAGE_SIZE * 4 // 3 + 6_000_000
#: What forms may have beside their files. Bodies of partners' requests have a limit of their own.
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = MAX_REQUEST_SIZE
FILE_UPLOAD_HANDLERS = ["healthvault.uploads.InMemory"]

# --- partners' REST door -----------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["directmsg.api_auth.PartnerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["directmsg.api_auth.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "rest_framework.parsers.JSONParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.CursorPagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "directmsg.api_problems.problem_response",
    "PAGE_SIZE": 50,
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "HealthVault Direct partner API",
    "DESCRIPTION": "Send health information to patients, and learn what became of it.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": r"/api/v1/",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
}
IDP_OIDC_ADAPTER = "healthvault.accounts.PartnerTokenAdapter"
IDP_OIDC_ACCESS_TOKEN_EXPIRES_IN = 3600
IDP_OIDC_RATE_LIMITS: dict[str, str] = {}

# --- work in the background --------------------------------------------------------------------------------

SWEEP_SECONDS = 5 if EMBEDDED else 60
#: The embedded beat remembers nothing, and may be started anew every morning.
CLEAN_SECONDS = 3600 if EMBEDDED else 86_400
CELERY_QUEUE = env.text("CELERY_QUEUE", "healthvault")
LEASE_SECONDS = env.number("LEASE_SECONDS", 300, least=1)

# --- logs --------------------------------------------------------------------------------

LOG_LEVEL = env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "healthvault.logging.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django.db.backends": {"level": "WARNING"},
        "mail.log": {"level": "WARNING"},
        "pyhanko_certvalidator": {"level": "WARNING"},
        "kombu": {"level": "WARNING"},
        "amqp": {"level": "WARNING"},
        # gunicorn has handlers of its own, whose lines hold the paths of requests.
        "gunicorn.error": {"handlers": ["stderr"], "propagate": False},
        "gunicorn.access": {"handlers": [], "propagate": False, "level": "CRITICAL"},
    },
}
