"""Every setting of QuokkaQ, in one file, for every mode. `.env.example` explains the variables it reads."""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import django_stubs_ext
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from quokkaq.env import Environment, Mode
from quokkaq.lib.logs import logging_config
from quokkaq.lib.postgres import EmbeddedPostgres, EmbeddedPostgresError

# Lets `ModelForm[User]` and `ModelAdmin[User]` be written at run time too.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(BASE_DIR)
MODE = env.mode
PRODUCTION = env.production
DEMO = MODE is Mode.DEMO
TESTING = MODE is Mode.TEST
DEBUG = MODE is Mode.DEVELOPMENT

# Secrets and hosts

SECRET_KEY = env.secret(
    "SECRET_KEY", default="" if PRODUCTION else f"demo-{MODE}-key-for-this-machine-only-never-for-production"
)
SECRET_KEY_FALLBACKS = env.items("SECRET_KEY_FALLBACKS")
env.require_strong("SECRET_KEY", SECRET_KEY)
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS") or ([] if PRODUCTION else ["localhost", "127.0.0.1", "[::1]", "testserver"])
env.require(
    "ALLOWED_HOSTS", ALLOWED_HOSTS, "Set it to the host names people use, separated by commas: forum.example.edu"
)
if PRODUCTION and "*" in ALLOWED_HOSTS:
    env.problems.append(
        "ALLOWED_HOSTS is '*'. Name the hosts: any other lets a stranger choose what our links point at."
    )
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS")
METRICS_TOKEN = env.secret("METRICS_TOKEN", default="" if PRODUCTION else "demo-metrics-token")

# Database: PostgreSQL everywhere; the embedded one when no URL is set

DATABASE_URL = env.secret("DATABASE_URL")
env.require("DATABASE_URL", DATABASE_URL, "Set it to postgres://USER:PASSWORD@HOST:5432/NAME")
EMBEDDED_POSTGRES: EmbeddedPostgres | None = None
if not DATABASE_URL and not PRODUCTION:
    try:
        EMBEDDED_POSTGRES = EmbeddedPostgres(
            BASE_DIR / ".local" / ("postgres-test" if TESTING else "postgres"), durable=not TESTING
        )
    except EmbeddedPostgresError as error:
        env.problems.append(str(error))
    else:
        DATABASE_URL = EMBEDDED_POSTGRES.url()

STATEMENT_TIMEOUT_MS = env.number("DATABASE_STATEMENT_TIMEOUT_MS", 15000)
_address: dict[str, Any] = env.read.db_url_config(DATABASE_URL) if DATABASE_URL else {}
# A socket's folder stands percent-encoded where a URL has its host.
_address["HOST"] = unquote(_address.get("HOST", ""))
_url_options = _address.pop("OPTIONS", {})
_pool: dict[str, Any] = {
    "min_size": 1,
    "max_size": env.number("DATABASE_POOL_SIZE", 8, least=1),
    "timeout": env.number("DATABASE_POOL_WAIT_SECONDS", 3, least=1),
    "max_lifetime": 1800,
    "max_idle": 300,
}
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **_address,
        "ENGINE": "django_prometheus.db.backends.postgresql",
        "ATOMIC_REQUESTS": False,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        # Behind PgBouncer in transaction mode a cursor outlives its connection.
        "DISABLE_SERVER_SIDE_CURSORS": env.yes("DATABASE_BEHIND_PGBOUNCER", default=False),
        "OPTIONS": {
            **_url_options,  # `?sslmode=require` and the like
            # Tests make and drop databases, which a pool's idle connections would block.
            "pool": False if TESTING else _pool,
            "connect_timeout": 3,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout=5000"
            " -c idle_in_transaction_session_timeout=30000",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Applications

INSTALLED_APPS = [
    "quokkaq.apps.QuokkaqConfig",
    "accounts.apps.AccountsConfig",
    "forum.apps.ForumConfig",
    "ai_answers.apps.AiAnswersConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "procrastinate.contrib.django",
    "django_prometheus",
    "django_htmx",
    "health_check",
    "storages",
    "dbbackup",
    "csp",
]

MIDDLEWARE = [
    "quokkaq.lib.http.KnownMethodsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "quokkaq.lib.request_id.RequestIdMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "quokkaq.lib.logs.AccessLogMiddleware",
    "quokkaq.lib.http.ResponsePolicyMiddleware",
    "quokkaq.lib.http.FormEncodingMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "accounts.middleware.TimeZoneMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "quokkaq.urls"
WSGI_APPLICATION = "quokkaq.wsgi.application"

_loaders = ["django.template.loaders.filesystem.Loader", "django.template.loaders.app_directories.Loader"]
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": _loaders if DEBUG else [("django.template.loaders.cached.Loader", _loaders)],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "quokkaq.context.demo",
            ],
            "builtins": ["forum.templatetags.interface"],
        },
    }
]

# People

AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "accounts:sign-in"
LOGIN_REDIRECT_URL = "accounts:courses"

# Cache and sessions: Redis when there is one, else memory and the database

REDIS_URL = env.secret("REDIS_URL")
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "quokkaq.lib.cache.ForgivingRedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "quokkaq",
        "OPTIONS": {"socket_connect_timeout": 0.5, "socket_timeout": 0.5},
    }
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}
SESSION_ENGINE = f"django.contrib.sessions.backends.{'cached_db' if REDIS_URL else 'db'}"
SESSION_COOKIE_AGE = 7 * 24 * 3600
SESSION_COOKIE_NAME = "quokkaq_session"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# Vectors of meaning: the embedded model, or a service that speaks OpenAI's protocol

EMBEDDING_BASE_URL = env.text("EMBEDDING_BASE_URL")
EMBEDDING_API_KEY = env.secret("EMBEDDING_API_KEY")
EMBEDDING_MODEL = env.text("EMBEDDING_MODEL")
if EMBEDDING_BASE_URL:
    env.require("EMBEDDING_MODEL", EMBEDDING_MODEL, "Name the model that EMBEDDING_BASE_URL is to use.")

# Files

AWS_STORAGE_BUCKET_NAME = env.text("AWS_STORAGE_BUCKET_NAME")
AWS_S3_ENDPOINT_URL = env.text("AWS_S3_ENDPOINT_URL") or None
AWS_S3_REGION_NAME = env.text("AWS_S3_REGION_NAME") or None
BACKUP_BUCKET_NAME = env.text("BACKUP_BUCKET_NAME")
MEDIA_ROOT = Path(env.text("MEDIA_ROOT", str(BASE_DIR / ".local" / ("media-test" if TESTING else "media"))))
BACKUP_ROOT = Path(env.text("BACKUP_ROOT", str(BASE_DIR / ".local" / "backups")))
MEDIA_URL = "media/"
_static_backend = "whitenoise.storage.CompressedManifestStaticFilesStorage"
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "quokkaq.lib.storage.PrivateS3Storage", "OPTIONS": {"bucket_name": AWS_STORAGE_BUCKET_NAME}}
    if AWS_STORAGE_BUCKET_NAME
    else {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "dbbackup": {
        "BACKEND": "quokkaq.lib.storage.PrivateS3Storage",
        "OPTIONS": {"bucket_name": BACKUP_BUCKET_NAME, "location": "database"},
    }
    if BACKUP_BUCKET_NAME
    else {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": BACKUP_ROOT}},
    "staticfiles": {
        "BACKEND": _static_backend if PRODUCTION else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
FILE_UPLOAD_PERMISSIONS = 0o640
# A pasted material may have a million characters, of up to four bytes each.
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Outside production the files come straight from `static/`, so nothing has to be collected first.
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = not PRODUCTION
WHITENOISE_MAX_AGE = 0 if not PRODUCTION else 3600

# Backups: `manage.py dbbackup` and `manage.py dbrestore`

_programs = f"{EMBEDDED_POSTGRES.bin}/" if EMBEDDED_POSTGRES else ""
DBBACKUP_CONNECTORS = {
    "default": {
        "CONNECTOR": "dbbackup.db.postgresql.PgDumpBinaryConnector",
        "DUMP_CMD": env.text("PG_DUMP", f"{_programs}pg_dump"),
        "RESTORE_CMD": env.text("PG_RESTORE", f"{_programs}pg_restore"),
    }
}
DBBACKUP_GPG_RECIPIENT = env.text("BACKUP_GPG_RECIPIENT") or None
DBBACKUP_CLEANUP_KEEP = env.number("BACKUP_KEEP", 14, least=1)
DBBACKUP_HOSTNAME = "quokkaq"
DBBACKUP_SEND_EMAIL = False

# Mail: kept and readable at /mail/ outside production; in production none without EMAIL_URL

EMAIL_URL = env.secret("EMAIL_URL")
BASE_URL = env.text("BASE_URL", "" if PRODUCTION else f"http://localhost:{env.number('PORT', 8000)}").rstrip("/")
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "" if PRODUCTION else "noreply@quokkaq.example")
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
if EMAIL_URL:
    env.require("BASE_URL", BASE_URL, "Links in mails begin with it: https://forum.example.edu")
    env.require("DEFAULT_FROM_EMAIL", DEFAULT_FROM_EMAIL, "Mails come from this address: noreply@forum.example.edu")
    try:
        globals().update(env.read.email_url_config(EMAIL_URL))
    except ImproperlyConfigured:
        env.problems.append("EMAIL_URL can't be read. Set it to smtp+tls://USER:PASSWORD@HOST:587")
EMAIL_TIMEOUT = 20
# False: nobody is mailed, and nothing is kept to be mailed later.
MAIL_IS_ON = bool(EMAIL_URL) or not PRODUCTION
# What stands after the @ in Message-IDs, and in addresses that take replies (empty: no replies by mail).
MAIL_DOMAIN = env.text("MAIL_DOMAIN") or DEFAULT_FROM_EMAIL.rpartition("@")[2] or "localhost"
REPLY_DOMAIN = env.text("REPLY_DOMAIN", "" if PRODUCTION else "reply.quokkaq.example")
INBOUND_MAIL_SECRET = env.secret("INBOUND_MAIL_SECRET")
# How long a mail waits for more to put into it.
MAIL_BURST_SECONDS = env.number("MAIL_BURST_SECONDS", 60)

# Models outside this server: none is asked without a model's name and a key, nor by a course that didn't choose it

OPENAI_API_KEY = env.secret("OPENAI_API_KEY")
OPENAI_BASE_URL = env.text("OPENAI_BASE_URL").rstrip("/")
OPENAI_MODEL = env.text("OPENAI_MODEL")
ANTHROPIC_API_KEY = env.secret("ANTHROPIC_API_KEY")
ANTHROPIC_BASE_URL = env.text("ANTHROPIC_BASE_URL").rstrip("/")
ANTHROPIC_MODEL = env.text("ANTHROPIC_MODEL")
AI_MAX_OUTPUT_TOKENS = env.number("AI_MAX_OUTPUT_TOKENS", 3000, least=100)

# Tasks

PROCRASTINATE_IMPORT_PATHS = ["quokkaq.tasks"]
TASK_STALLED_AFTER_SECONDS = env.number("TASK_STALLED_AFTER_SECONDS", 30, least=1)
PROCRASTINATE_WORKER_DEFAULTS = {
    "concurrency": env.number("TASK_CONCURRENCY", 2, least=1),
    "update_heartbeat_interval": min(10, TASK_STALLED_AFTER_SECONDS / 3),
    "stalled_worker_timeout": TASK_STALLED_AFTER_SECONDS,
    "delete_jobs": "never",
}

# Web security

SECURE_SSL_REDIRECT = env.yes("SECURE_SSL_REDIRECT", default=PRODUCTION)
# Probes inside the network come over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^health$", r"^api/v1/(ready|ping)$", r"^metrics$"]
if env.yes("BEHIND_TLS_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = env.number("SECURE_HSTS_SECONDS", 31536000 if PRODUCTION else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = bool(SECURE_HSTS_SECONDS)
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "quokkaq.views.csrf_failure"
X_FRAME_OPTIONS = "DENY"
_bucket_origin = [AWS_S3_ENDPOINT_URL or "https://*.amazonaws.com"] if AWS_STORAGE_BUCKET_NAME else []
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", *_bucket_origin],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "manifest-src": [SELF],
    }
}

# Logs and metrics

LOG_LEVEL = env.text("LOG_LEVEL", "WARNING" if TESTING else "INFO").upper()
LOGGING = logging_config(level=LOG_LEVEL, pretty=env.yes("LOG_PRETTY", default=not PRODUCTION and sys.stdout.isatty()))
PROMETHEUS_EXPORT_MIGRATIONS = False
PROMETHEUS_LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf"))

# Language and time

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

env.complain()
