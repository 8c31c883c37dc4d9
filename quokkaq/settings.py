"""Every setting of QuokkaQ, in one file, for every mode. `.env.example` explains the variables it reads."""

import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import django_stubs_ext
from croniter import croniter
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from quokkaq.env import Environment, Mode
from quokkaq.failing import keep_failures
from quokkaq.lib import error_reports, tracing
from quokkaq.lib.http import add_static_headers
from quokkaq.lib.logs import logging_config
from quokkaq.lib.metrics.jobs import measure_job
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
# What was built, where no repository tells.
COMMIT = env.text("QUOKKAQ_COMMIT")
VERSION = "0.1.0"

# Secrets and hosts

# Its file may hold former keys below: `manage.py rotate_secrets` leaves them there until nothing is sealed with them.
SECRET_KEY, *_former_keys = env.secret(
    "SECRET_KEY", default="" if PRODUCTION else f"demo-{MODE}-key-for-this-machine-only-never-for-production"
).splitlines() or [""]
SECRET_KEY_FALLBACKS = env.items("SECRET_KEY_FALLBACKS")
# They open what lies sealed in the database, and nothing that comes from outside: no session, no link.
SEALING_KEY_FALLBACKS = [*_former_keys, *env.items("SEALING_KEY_FALLBACKS")]
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
# Whoever owns the tables: migrations, backups and other commands. Web and workers see one institution at a time.
OWNER_DATABASE_URL = env.secret("OWNER_DATABASE_URL") or DATABASE_URL
EMBEDDED_POSTGRES: EmbeddedPostgres | None = None
if not DATABASE_URL and not PRODUCTION:
    try:
        EMBEDDED_POSTGRES = EmbeddedPostgres(
            BASE_DIR / ".local" / ("postgres-test" if TESTING else "postgres"), durable=not TESTING
        )
    except EmbeddedPostgresError as error:
        env.problems.append(str(error))
    else:
        # Tests prepare and look as the owner, and take the web role for what they drive.
        DATABASE_URL = EMBEDDED_POSTGRES.url(user="postgres" if TESTING else "quokkaq_web")
        OWNER_DATABASE_URL = EMBEDDED_POSTGRES.url()

STATEMENT_TIMEOUT_MS = env.number("DATABASE_STATEMENT_TIMEOUT_MS", 15000)
TIMEOUTS_MS = {
    "statement_timeout": STATEMENT_TIMEOUT_MS, "lock_timeout": 5000, "idle_in_transaction_session_timeout": 30000,
}  # fmt: skip
# What is prepared (`quokkaq.lib.database.prepared`) is planned once: planned anew for each request, the thread list of a
# course of 100,000 would take three times as long to plan as to run.
_PLANS = {"plan_cache_mode": "force_generic_plan"}
# How long `migrate` waits for a lock before it lets others pass and tries again.
MIGRATE_LOCK_TIMEOUT_MS = env.number("MIGRATE_LOCK_TIMEOUT_MS", 3000, least=1)
_address: dict[str, Any] = env.read.db_url_config(DATABASE_URL) if DATABASE_URL else {}
# A socket's folder stands percent-encoded where a URL has its host.
_address["HOST"] = unquote(_address.get("HOST", ""))
_url_options = _address.pop("OPTIONS", {})
_owner: dict[str, Any] = env.read.db_url_config(OWNER_DATABASE_URL) if OWNER_DATABASE_URL else {}
DATABASE_OWNER: dict[str, Any] = {name: _owner.get(name, "") for name in ("USER", "PASSWORD", "HOST", "PORT")}
DATABASE_OWNER["HOST"] = unquote(DATABASE_OWNER["HOST"] or "")
DATABASE_WEB_ROLE: str = "quokkaq_web" if TESTING else _address.get("USER", "")
DATABASE_WEB_PASSWORD: str = "" if TESTING else _address.get("PASSWORD", "")
# The role that work in a scope is done in; empty: the one that signed in.
DATABASE_ASSUME_ROLE = DATABASE_WEB_ROLE if TESTING else ""
DATABASE_BEHIND_PGBOUNCER = env.yes("DATABASE_BEHIND_PGBOUNCER", default=False)
_pool: dict[str, Any] = {
    "min_size": 1,
    "max_size": env.number("DATABASE_POOL_SIZE", 8, least=1),
    "timeout": env.number("DATABASE_POOL_WAIT_SECONDS", 3, least=1),
    "max_lifetime": 1800,
    "max_idle": 300,
    # A place that can't be filled for so long is given up, and taken again by the next who waits.
    "reconnect_timeout": env.number("DATABASE_POOL_WAIT_SECONDS", 3, least=1),
}
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **_address,
        "ENGINE": "quokkaq.lib.database",
        "ATOMIC_REQUESTS": False,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        # Behind PgBouncer in transaction mode a cursor outlives its connection.
        "DISABLE_SERVER_SIDE_CURSORS": DATABASE_BEHIND_PGBOUNCER,
        "OPTIONS": {
            **_url_options,  # `?sslmode=require` and the like
            # Tests make and drop databases, which a pool's idle connections would block.
            "pool": False if TESTING else _pool,
            "connect_timeout": 3,
            # PgBouncer knows no such options: there the role has them (`quokkaq.row_security`).
            **(
                {}
                if DATABASE_BEHIND_PGBOUNCER
                else {"options": " ".join(f"-c {name}={value}" for name, value in (TIMEOUTS_MS | _PLANS).items())}
            ),
        },
    }
}
# A copy that follows the primary: what may be a few seconds old is read there (`quokkaq.lib.replica`).
DATABASE_REPLICA_URL = env.secret("DATABASE_REPLICA_URL")
REPLICA_MAX_LAG_SECONDS = env.number("REPLICA_MAX_LAG_SECONDS", 5, least=1)
if DATABASE_REPLICA_URL:
    _replica: dict[str, Any] = env.read.db_url_config(DATABASE_REPLICA_URL)
    _replica["HOST"] = unquote(_replica.get("HOST", ""))
    _replica_options = {**DATABASES["default"]["OPTIONS"], **_replica.pop("OPTIONS", {})}
    if _replica_options["pool"]:
        # There is the primary: nobody waits long for the copy.
        _replica_options["pool"] = {**_pool, "timeout": 1, "reconnect_timeout": 1}
    _replica["ENGINE"] = DATABASES["default"]["ENGINE"]  # the one that tells for whom it works
    DATABASES["replica"] = {**DATABASES["default"], **_replica, "OPTIONS": _replica_options}
    DATABASE_ROUTERS = ["quokkaq.lib.replica.Router"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Applications

INSTALLED_APPS = [
    "quokkaq.apps.QuokkaqConfig",
    "accounts.apps.AccountsConfig",
    "forum.apps.ForumConfig",
    "ai_answers.apps.AiAnswersConfig",
    "accounts.apps.AdminConfig",
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
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.socialaccount.providers.saml",
    "allauth.usersessions",
]

MIDDLEWARE = [
    # Above all that answers: each response has an id, and a line.
    "quokkaq.lib.request_id.RequestIdMiddleware",
    "quokkaq.lib.whereabouts.WhereaboutsMiddleware",
    "quokkaq.lib.logs.AccessLogMiddleware",
    "quokkaq.lib.http.KnownMethodsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "quokkaq.lib.metrics.middleware.RequestMetricsMiddleware",
    "quokkaq.lib.http.ResponsePolicyMiddleware",
    "quokkaq.lib.error_pages.ErrorPageMiddleware",
    "quokkaq.lib.http.BodyLimitMiddleware",
    "quokkaq.lib.http.FormEncodingMiddleware",
    "csp.middleware.CSPMiddleware",
    "quokkaq.lib.health.views.HealthMiddleware",
    # Above all that asks the database.
    "quokkaq.lib.reading_again.ReadAgainMiddleware",
    "quokkaq.lib.replica.WrittenMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.TenancyMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.RateLimitMiddleware",
    "accounts.middleware.SessionMiddleware",
    "accounts.middleware.TimeZoneMiddleware",
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
PASSWORD_HASHERS = ["accounts.hashing.Argon2OneByOne"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["accounts.backends.PersonBackend"]
LOGIN_URL = "accounts:sign-in"
LOGIN_REDIRECT_URL = "accounts:courses"
PASSWORD_RESET_TIMEOUT = 3600
# Where Django admin lies. Another path keeps away who only tries the usual one.
ADMIN_PATH = env.text("ADMIN_PATH", "admin/").strip("/") + "/"

# Signing in, with django-allauth underneath

ACCOUNT_ADAPTER = "accounts.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_METHODS = ["password", "mfa"]
ACCOUNT_LOGOUT_REDIRECT_URL = "accounts:sign-in"
ACCOUNT_EMAIL_CONFIRMATION_AUTHENTICATED_REDIRECT_URL = "/me/security/email/"
# Ours hold when the cache is away: `accounts.actions.limits`.
ACCOUNT_RATE_LIMITS: dict[str, str] | bool = False
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if PRODUCTION else "http"
ACCOUNT_FORMS = {
    "change_password": "accounts.forms.ChangePasswordForm",
    "set_password": "accounts.forms.SetPasswordForm",
    "reset_password_from_key": "accounts.forms.NewPasswordForm",
    "add_email": "accounts.forms.NewAddressForm",
    "reauthenticate": "accounts.forms.PasswordAgainForm",
}
MFA_ADAPTER = "accounts.adapters.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "QuokkaQ"
# Nobody signs in with an unproved address, and a new one is proved before it replaces the old.
MFA_ALLOW_UNVERIFIED_EMAIL = True
# Browsers allow passkeys without TLS on localhost only.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not PRODUCTION
MFA_FORMS = {
    "authenticate": "accounts.forms.SecondStepForm",
    "reauthenticate": "accounts.forms.CodeAgainForm",
    "activate_totp": "accounts.forms.AuthenticatorAppForm",
    "add_webauthn": "accounts.forms.PasskeyForm",
    "edit_webauthn": "accounts.forms.PasskeyNameForm",
}
USERSESSIONS_TRACK_ACTIVITY = True
SOCIALACCOUNT_ADAPTER = "accounts.adapters.ProviderAdapter"
SOCIALACCOUNT_ONLY = False
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_AUTO_SIGNUP = True
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False
# For a provider that is trusted with it (`IdentityProvider.trusts_emails`) the account is connected, and that is mailed.
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = True
SOCIALACCOUNT_QUERY_EMAIL = False
# A form that leads to another site is stopped by our content policy (`form-action`); its state guards the way back.
SOCIALACCOUNT_LOGIN_ON_GET = True
SOCIALACCOUNT_REQUESTS_TIMEOUT = 10
# How many failed tries within 15 minutes are allowed to one account, and from one address.
SIGN_IN_FAILURES_PER_ACCOUNT = env.number("SIGN_IN_FAILURES_PER_ACCOUNT", 5, least=1)
SIGN_IN_FAILURES_PER_ADDRESS = env.number("SIGN_IN_FAILURES_PER_ADDRESS", 5, least=1)

# Learning platforms are asked over TLS only, but for trying things out on one machine.
LTI_ALLOW_HTTP = not PRODUCTION

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
    else {"BACKEND": "quokkaq.lib.cache.LocalCache"}
}
SESSION_ENGINE = f"quokkaq.lib.sessions.{'cached_db' if REDIS_URL else 'db'}"
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
# The key that S3 encrypts with; empty for the bucket's own.
AWS_S3_KMS_KEY_ID = env.text("AWS_S3_KMS_KEY_ID")
# Where the web server in front serves MEDIA_ROOT for us only (nginx: `internal`), for example /protected/.
ACCEL_REDIRECT_PREFIX = env.text("ACCEL_REDIRECT_PREFIX")
# The scanner: tcp://host:3310 or unix:/run/clamav/clamd.ctl.
CLAMD_URL = env.text("CLAMD_URL")
BACKUP_BUCKET_NAME = env.text("BACKUP_BUCKET_NAME")
MEDIA_ROOT = Path(env.text("MEDIA_ROOT", str(BASE_DIR / ".local" / ("media-test" if TESTING else "media"))))
BACKUP_ROOT = Path(env.text("BACKUP_ROOT", str(BASE_DIR / ".local" / "backups")))
# A second place that backups are copied to: a folder on another disk, or a bucket, best elsewhere and of another account.
BACKUP_SECOND_ROOT = env.text("BACKUP_SECOND_ROOT")
BACKUP_SECOND_BUCKET_NAME = env.text("BACKUP_SECOND_BUCKET_NAME")
_second_access_key = env.text("BACKUP_SECOND_ACCESS_KEY_ID")
_second_secret_key = env.secret("BACKUP_SECOND_SECRET_ACCESS_KEY")
# For so many days nobody can delete what was written to a bucket that was made with object lock; 0: no lock.
BACKUP_OBJECT_LOCK_DAYS = env.number("BACKUP_OBJECT_LOCK_DAYS", 0)
BACKUP_OBJECT_LOCK_MODE = env.text("BACKUP_OBJECT_LOCK_MODE", "COMPLIANCE").upper()
if BACKUP_OBJECT_LOCK_MODE not in {"COMPLIANCE", "GOVERNANCE"}:
    env.problems.append("BACKUP_OBJECT_LOCK_MODE is neither COMPLIANCE nor GOVERNANCE. Set it to one of them.")
if BACKUP_SECOND_ROOT and BACKUP_SECOND_BUCKET_NAME:
    env.problems.append("BACKUP_SECOND_ROOT and BACKUP_SECOND_BUCKET_NAME name two second places. Set one of them.")
if bool(_second_access_key) != bool(_second_secret_key):
    env.problems.append("Set BACKUP_SECOND_ACCESS_KEY_ID and BACKUP_SECOND_SECRET_ACCESS_KEY together, or neither.")
MEDIA_URL = "media/"
# How many bytes of files one person, and one course, may keep.
UPLOAD_QUOTA_PERSON = env.number("UPLOAD_QUOTA_PERSON", 1024**3)
UPLOAD_QUOTA_COURSE = env.number("UPLOAD_QUOTA_COURSE", 20 * 1024**3)
# Without a scanner nothing is released, unless this is off: as it is where somebody tries QuokkaQ out.
SCAN_UPLOADS = env.yes("SCAN_UPLOADS", default=PRODUCTION)
# As `collectstatic` left them: small, compressed, kept by browsers for a year. Else they come straight from `static/`, as they
# are written, and nothing has to be collected first.
STATIC_FILES_COLLECTED = env.yes("STATIC_FILES_COLLECTED", default=PRODUCTION)
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "quokkaq.lib.storage.PrivateS3Storage", "OPTIONS": {"bucket_name": AWS_STORAGE_BUCKET_NAME}}
    if AWS_STORAGE_BUCKET_NAME
    else {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "dbbackup": {
        "BACKEND": "quokkaq.backups.storages.S3Storage",
        "OPTIONS": {
            "bucket_name": BACKUP_BUCKET_NAME,
            "location": "database",
            "lock_mode": BACKUP_OBJECT_LOCK_MODE,
            "lock_days": BACKUP_OBJECT_LOCK_DAYS,
        },
    }
    if BACKUP_BUCKET_NAME
    else {"BACKEND": "quokkaq.backups.storages.DiskStorage", "OPTIONS": {"location": BACKUP_ROOT}},
    "staticfiles": {
        "BACKEND": "quokkaq.lib.static_files.SmallStaticFilesStorage"
        if STATIC_FILES_COLLECTED
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
if BACKUP_SECOND_BUCKET_NAME:
    STORAGES["dbbackup-second"] = {
        "BACKEND": "quokkaq.backups.storages.S3Storage",
        "OPTIONS": {
            "bucket_name": BACKUP_SECOND_BUCKET_NAME,
            "location": "database",
            "endpoint_url": env.text("BACKUP_SECOND_ENDPOINT_URL") or None,
            "region_name": env.text("BACKUP_SECOND_REGION_NAME") or None,
            # Without keys of its own it is reached with those of the environment.
            **({"access_key": _second_access_key, "secret_key": _second_secret_key} if _second_access_key else {}),
            # A key of the first account's is nothing there.
            "object_parameters": {"ServerSideEncryption": "AES256"},
            "lock_mode": BACKUP_OBJECT_LOCK_MODE,
            "lock_days": BACKUP_OBJECT_LOCK_DAYS,
        },
    }
elif BACKUP_SECOND_ROOT:
    STORAGES["dbbackup-second"] = {
        "BACKEND": "quokkaq.backups.storages.DiskStorage",
        "OPTIONS": {"location": Path(BACKUP_SECOND_ROOT)},
    }
FILE_UPLOAD_PERMISSIONS = 0o640
# A pasted material may have a million characters, of up to four bytes each.
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
# How many bytes the routes that take files may be sent; all others take a megabyte (`quokkaq.lib.http`).
_MB = 1024 * 1024
LARGE_BODIES = {
    "accounts:change-avatar": 6 * _MB,
    "accounts:upload-content": 110 * _MB,
    "ai_answers:add-material": 110 * _MB,
    "ai_answers:add-version": 110 * _MB,
    # Up to five files of 20 MB.
    "forum:ask": 110 * _MB,
    "forum:edit-thread": 110 * _MB,
    "forum:reply": 110 * _MB,
    "forum:comment": 110 * _MB,
    "forum:edit-post": 110 * _MB,
    "inbox:inbound": 6 * _MB,
}
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = not STATIC_FILES_COLLECTED
WHITENOISE_ADD_HEADERS_FUNCTION = add_static_headers
# For names that don't say what is in the file.
WHITENOISE_MAX_AGE = 3600 if STATIC_FILES_COLLECTED else 0

# Backups: `manage.py dbbackup` and `manage.py dbrestore`

_programs = f"{EMBEDDED_POSTGRES.bin}/" if EMBEDDED_POSTGRES else ""
DBBACKUP_CONNECTORS = {
    "default": {
        "CONNECTOR": "quokkaq.backups.connector.Connector",
        **DATABASE_OWNER,
        # An owner who isn't superuser is below the policies, too, and asks for all institutions.
        "DUMP_SUFFIX": "--enable-row-security",
        "DUMP_ENV": {"PGOPTIONS": "-c quokkaq.institution=*"},
        "DUMP_CMD": env.text("PG_DUMP", f"{_programs}pg_dump"),
        "RESTORE_CMD": env.text("PG_RESTORE", f"{_programs}pg_restore"),
    }
}
DBBACKUP_GPG_RECIPIENT = env.text("BACKUP_GPG_RECIPIENT") or None
# For reading backups back; making them needs the public key only.
BACKUP_GPG_PASSPHRASE = env.secret("BACKUP_GPG_PASSPHRASE")
# Said on purpose: `no` leaves backups readable to whoever can read the place they lie in.
BACKUP_ENCRYPTION = env.yes("BACKUP_ENCRYPTION", default=True)
# Where a backup lies while it is made or read; needs room for one. Not in memory: /tmp often is.
BACKUP_WORK_ROOT = Path(env.text("BACKUP_WORK_ROOT", str(BACKUP_ROOT / ".work")))
# The newest of so many days, weeks and months are kept.
BACKUP_KEEP_DAILY = env.number("BACKUP_KEEP_DAILY", 7, least=1)
BACKUP_KEEP_WEEKLY = env.number("BACKUP_KEEP_WEEKLY", 4)
BACKUP_KEEP_MONTHLY = env.number("BACKUP_KEEP_MONTHLY", 12)
# The longest that a backup, here or off-site, is kept: people who erase themselves are told. A month's is that of its
# last day, or of any day where there was none later.
_longest = max(BACKUP_KEEP_DAILY, 7 * BACKUP_KEEP_WEEKLY, 31 * BACKUP_KEEP_MONTHLY, BACKUP_OBJECT_LOCK_DAYS)
BACKUP_RETENTION_DAYS = env.number("BACKUP_RETENTION_DAYS", _longest, least=1)
# When a worker of the queue `operations` makes them, as cron says it, in UTC; `off`: nobody does it by itself.
BACKUP_SCHEDULE = env.text("BACKUP_SCHEDULE", "17 2 * * *" if PRODUCTION else "off")
if BACKUP_SCHEDULE != "off" and not croniter.is_valid(BACKUP_SCHEDULE):
    env.problems.append("BACKUP_SCHEDULE is no line of cron. Set it to `17 2 * * *`, for example, or to `off`.")
    BACKUP_SCHEDULE = "off"
DBBACKUP_DATABASES = ["default"]
# Where drills restore, as the owner; empty: beside the database itself, under another name.
RESTORE_DRILL_DATABASE_URL = env.secret("RESTORE_DRILL_DATABASE_URL")
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

# How many days things are kept; the task `accounts.keep_to_retention` lets go of what is older. Files that are attached
# to nothing and copies of people's data are kept for a week, jobs for a day (failed ones for 30).

_days = {
    "audit": 366, "notifications": 180, "mails": 30, "mails_in": 30, "drafts": 365, "deflections": 730, "previews": 1,
    "disclosures": 365, "model_calls": 730, "data_exports": 90, "erasures": 365, "sessions": 0, "admin_log": 365,
}  # fmt: skip
# The database itself refuses to let go of the audit log within a year; a day more is for clocks that differ.
RETENTION_DAYS = {
    name: env.number(f"RETENTION_{name.upper()}_DAYS", days, least=366 if name == "audit" else 0)
    for name, days in _days.items()
}

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
PROCRASTINATE_ON_APP_READY = "quokkaq.lib.jobs.connect_workers_directly"
# Where a task worker waits for jobs (LISTEN), which PgBouncer in transaction mode can't pass on; empty: DATABASE_URL.
TASKS_DATABASE_URL = env.secret("TASKS_DATABASE_URL")
_tasks: dict[str, Any] = env.read.db_url_config(TASKS_DATABASE_URL) if TASKS_DATABASE_URL else {}
TASKS_DATABASE: dict[str, Any] = {
    name: value
    for name, value in {
        "dbname": _tasks.get("NAME"), "user": _tasks.get("USER"), "password": _tasks.get("PASSWORD"),
        "host": unquote(_tasks.get("HOST") or ""), "port": _tasks.get("PORT"),
    }.items()
    if value
}  # fmt: skip
TASK_STALLED_AFTER_SECONDS = env.number("TASK_STALLED_AFTER_SECONDS", 30, least=1)
# Which lanes (`quokkaq.lib.jobs.LANES`) a worker works off that isn't told its queues; all of them unless it is said.
TASK_LANES = env.items("TASK_LANES")
PROCRASTINATE_WORKER_DEFAULTS = {
    "concurrency": env.number("TASK_CONCURRENCY", 2, least=1),
    "update_heartbeat_interval": min(10, TASK_STALLED_AFTER_SECONDS / 3),
    "stalled_worker_timeout": TASK_STALLED_AFTER_SECONDS,
    "delete_jobs": "never",
    "worker_middleware": [tracing.around_task, error_reports.around_task, measure_job, keep_failures],
}

# Health (`quokkaq.lib.health`)

# What people can't be served without: while one of these is down, balancers are told to send nobody here. QuokkaQ goes on
# without everything else, degraded.
HEALTH_NEEDED = frozenset(env.items("HEALTH_NEEDED") or ["database", "migrations", "cache", "storage"])
# For how many seconds the oldest job may wait, and no worker be heard of.
HEALTH_QUEUE_DEGRADED_SECONDS = env.number("HEALTH_QUEUE_DEGRADED_SECONDS", 120, least=1)
HEALTH_QUEUE_DOWN_SECONDS = env.number("HEALTH_QUEUE_DOWN_SECONDS", 900, least=1)
HEALTH_WORKER_DEGRADED_SECONDS = env.number("HEALTH_WORKER_DEGRADED_SECONDS", TASK_STALLED_AFTER_SECONDS, least=1)
HEALTH_WORKER_DOWN_SECONDS = env.number("HEALTH_WORKER_DOWN_SECONDS", 10 * TASK_STALLED_AFTER_SECONDS, least=1)
# How full disks and memory may be.
HEALTH_DISK_DEGRADED_PERCENT = env.number("HEALTH_DISK_DEGRADED_PERCENT", 80, least=1)
HEALTH_DISK_DOWN_PERCENT = env.number("HEALTH_DISK_DOWN_PERCENT", 95, least=1)
HEALTH_MEMORY_DEGRADED_PERCENT = env.number("HEALTH_MEMORY_DEGRADED_PERCENT", 85, least=1)
HEALTH_MEMORY_DOWN_PERCENT = env.number("HEALTH_MEMORY_DOWN_PERCENT", 95, least=1)

# Web security

SECURE_SSL_REDIRECT = env.yes("SECURE_SSL_REDIRECT", default=PRODUCTION)
# Probes inside the network come over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^health$", r"^api/v1/(ready|startup|_status|ping)$", r"^metrics$"]
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
_bucket_origin: list[str] = []
if AWS_STORAGE_BUCKET_NAME and AWS_S3_ENDPOINT_URL:
    _bucket_origin = [AWS_S3_ENDPOINT_URL.rstrip("/")]
elif AWS_STORAGE_BUCKET_NAME:
    # Our bucket and no other: pages send files to it.
    _hosts = ["s3", f"s3.{AWS_S3_REGION_NAME}"] if AWS_S3_REGION_NAME else ["s3"]
    _bucket_origin = [f"https://{AWS_STORAGE_BUCKET_NAME}.{host}.amazonaws.com" for host in _hosts]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", *_bucket_origin],
        "font-src": [SELF],
        "connect-src": [SELF, *_bucket_origin],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "manifest-src": [SELF],
        # Text becomes markup or script through the policies of static/js/trusted.js only.
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["default", "inspect"],
    }
}

# Whose X-Forwarded-For is believed: networks of our own proxies, such as 10.0.0.0/8.
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
# How much one person may ask for in a minute; 0: as much as they like. Tests ask for more than people do.
RATE_READS_PER_MINUTE = env.number("RATE_READS_PER_MINUTE", 0 if TESTING else 100)
RATE_WRITES_PER_MINUTE = env.number("RATE_WRITES_PER_MINUTE", 0 if TESTING else 20)
RATE_BACKGROUND_PER_MINUTE = env.number("RATE_BACKGROUND_PER_MINUTE", 0 if TESTING else 600)
RATE_UPLOADS_PER_MINUTE = env.number("RATE_UPLOADS_PER_MINUTE", 0 if TESTING else 120)
# How many people may share one address before they sign in.
RATE_ADDRESS_FACTOR = env.number("RATE_ADDRESS_FACTOR", 15, least=1)

# Where this server itself may go (`quokkaq.lib.egress`)

# Names inside the network that may be called, such as ollama.internal:11434.
EGRESS_ALLOWED_HOSTS = env.items("EGRESS_ALLOWED_HOSTS")
EGRESS_ALLOW_HTTP = env.yes("EGRESS_ALLOW_HTTP", default=False)

# Logs and metrics

LOG_LEVEL = env.text("LOG_LEVEL", "WARNING" if TESTING else "INFO").upper()
# Where each stream has a file of its own, for rotation by `ops/logging/logrotate.conf`; empty: standard output only.
LOG_DIRECTORY = env.text("LOG_DIRECTORY")
if LOG_DIRECTORY and not os.access(LOG_DIRECTORY, os.W_OK | os.X_OK):
    env.problems.append(
        f"LOG_DIRECTORY: {LOG_DIRECTORY} is no folder this account may write to. Make it with "
        f"`install -d -o 10001 -g 10001 -m 0750 {LOG_DIRECTORY}`, or unset the variable."
    )
LOGGING = logging_config(
    level=LOG_LEVEL,
    pretty=env.yes("LOG_PRETTY", default=not PRODUCTION and sys.stdout.isatty()),
    directory=LOG_DIRECTORY,
)
# A statement that takes longer leaves a warning, without its values.
SLOW_QUERY_MS = env.number("SLOW_QUERY_MS", 500)
DEFAULT_EXCEPTION_REPORTER = "quokkaq.lib.debug_pages.Reporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "quokkaq.lib.debug_pages.ReportFilter"
# Where a task worker shows what it counts (at HOST); 0: nowhere.
WORKER_METRICS_PORT = env.number("WORKER_METRICS_PORT", 9101 if PRODUCTION else 0)
WORKER_METRICS_HOST = env.text("HOST", "127.0.0.1")
PROMETHEUS_EXPORT_MIGRATIONS = False

# Traces and reports of errors, for services of whoever runs this; nothing of either is imported without its address

TRACES_ENDPOINT = "" if env.yes("OTEL_SDK_DISABLED", default=False) else env.url("OTEL_EXPORTER_OTLP_ENDPOINT")
# Sent with each delivery, as name=value,name=value: a secret, mostly.
TRACES_HEADERS = env.secret("OTEL_EXPORTER_OTLP_HEADERS")
TRACES_SERVICE_NAME = env.text("OTEL_SERVICE_NAME", "quokkaq")
# The part of requests that is traced, where the proxy in front hasn't decided.
TRACES_RATIO = env.fraction("OTEL_TRACES_SAMPLER_ARG", 1.0)
if TRACES_ENDPOINT:
    MIDDLEWARE.insert(
        MIDDLEWARE.index("quokkaq.lib.request_id.RequestIdMiddleware") + 1,
        "quokkaq.lib.tracing.spans.TracingMiddleware",
    )
SENTRY_DSN = env.secret("SENTRY_DSN")
if SENTRY_DSN and not re.fullmatch(r"https?://[^/@:]+(:[^/@]*)?@[^/@]+/(\S+/)?\d+", SENTRY_DSN):
    env.problems.append("SENTRY_DSN is no address of a project. Set it to https://KEY@HOST/NUMBER")
SENTRY_ENVIRONMENT = env.text("SENTRY_ENVIRONMENT", MODE)
SENTRY_RELEASE = env.text("SENTRY_RELEASE")

# Language and time

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

env.complain()
