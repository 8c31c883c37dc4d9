"""The secrets there are: what hangs on each, and what people notice when it is replaced."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Secret:
    """One secret, or two that are replaced together.

    `made_here`: a new one is made by this command; else it comes from a provider (`--new VARIABLE=FILE`).
    """

    key: str
    variables: tuple[str, ...]
    opens: str
    effect: str
    made_here: bool


# Ways to one database, whose accounts they share; the primary's come first.
DATABASE = ("DATABASE_URL", "OWNER_DATABASE_URL", "DATABASE_REPLICA_URL", "TASKS_DATABASE_URL")
SECRETS = (
    Secret(
        "database", DATABASE, "everything people wrote, and who they are",
        "503 from here until web and worker are started again; backups that run now fail",
        made_here=True,
    ),
    Secret(
        "secret_key", ("SECRET_KEY",),
        "sessions, signed links, reply addresses; authenticator secrets and keys of platforms and sign-in services, sealed"
        " in the database",
        "everybody signs in again; mailed links and reply addresses end, invitations are mailed anew, feeds need a new"
        " address; passwords, passkeys and apps stay",
        made_here=True,
    ),
    Secret(
        "redis", ("REDIS_URL",), "cached pages and sessions", "pages are slower for a minute", made_here=True
    ),
    Secret(
        "metrics_token", ("METRICS_TOKEN",), "/metrics and the numbers of /api/v1/_status",
        "nothing; Prometheus needs the new one", made_here=True,
    ),
    Secret(
        "inbound_mail", ("INBOUND_MAIL_SECRET",), "posting as anybody whose reply address one knows",
        "replies by mail wait until the mail service signs with the new one", made_here=True,
    ),
    Secret(
        "s3", ("AWS_CREDENTIALS",), "uploaded files and backups; presigned links",
        "links to files that are open in browsers end; a reload makes new ones", made_here=True,
    ),
    Secret("mail", ("EMAIL_URL",), "sending mail in our name", "nothing", made_here=False),
    Secret("openai", ("OPENAI_API_KEY",), "calls to models that we pay for", "nothing", made_here=False),
    Secret("anthropic", ("ANTHROPIC_API_KEY",), "calls to models that we pay for", "nothing", made_here=False),
    Secret("embedding", ("EMBEDDING_API_KEY",), "calls to the embedding service", "nothing", made_here=False),
    Secret("traces", ("OTEL_EXPORTER_OTLP_HEADERS",), "sending traces in our name", "nothing", made_here=False),
    Secret("errors", ("SENTRY_DSN",), "sending reports of errors in our name", "nothing", made_here=False),
    Secret(
        "second_place", ("BACKUP_SECOND_SECRET_ACCESS_KEY",), "the second copies of backups, which are encrypted",
        "nothing; BACKUP_SECOND_ACCESS_KEY_ID changes with it", made_here=False,
    ),
    Secret(
        "backup_key", ("BACKUP_GPG_PASSPHRASE",), "the private key of backups, for whoever has that, too",
        "nothing; set it with `gpg --change-passphrase` first, and make a new pair of keys for the backups to come",
        made_here=False,
    ),
    Secret(
        "drill_database", ("RESTORE_DRILL_DATABASE_URL",), "the server on which backups are tried out", "nothing",
        made_here=False,
    ),
)  # fmt: skip
BY_KEY = {secret.key: secret for secret in SECRETS}
BY_VARIABLE = {name: secret for secret in SECRETS for name in secret.variables}
