#!/bin/sh
# `manage.py check --deploy` as production would start: every warning counts. $1: the Python to use.
set -eu

QUOKKAQ_MODE=production \
SECRET_KEY="$("$1" -c 'import secrets; print(secrets.token_urlsafe(64))')" \
ALLOWED_HOSTS=forum.example.edu \
DATABASE_URL=postgres://quokkaq_web:unused@127.0.0.1:5432/quokkaq \
OWNER_DATABASE_URL=postgres://quokkaq:unused@127.0.0.1:5432/quokkaq \
METRICS_TOKEN="$("$1" -c 'import secrets; print(secrets.token_urlsafe(32))')" \
BACKUP_BUCKET_NAME=backups \
BACKUP_GPG_RECIPIENT=backups@forum.example.edu \
CLAMD_URL=unix:/run/clamav/clamd.ctl \
EMAIL_URL=smtp+tls://127.0.0.1:587 \
BASE_URL=https://forum.example.edu \
DEFAULT_FROM_EMAIL=noreply@forum.example.edu \
"$1" manage.py check --deploy --fail-level WARNING
