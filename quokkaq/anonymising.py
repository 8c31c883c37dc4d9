"""Making a restored copy of production safe to test with: shapes stay, words go.

Every column that can hold text has a rule here; a column without one stops the command, and a test. Texts are replaced
in the database, a table at a time: each run of letters becomes filler of the same length, digits become zeros, and
Markdown's marks stay. The filler depends on a seed that is thrown away, on the row and on the place in it, and not on the
word: the same word becomes another filler elsewhere, so counting words tells nothing.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import connection, models, transaction

from ai_answers.actions.answers import render_answer
from ai_answers.models import Answer, Message
from forum.models import Post, StaffNote, Thread
from quokkaq.lib.markdown import RENDERER_VERSION, References, render

BATCH = 500
# So many originals of each column are looked for afterwards, in every column of every table.
SAMPLES = 5
_SHORTEST = 10

FUNCTIONS = r"""
CREATE FUNCTION pg_temp.quokkaq_words(original text, salt text, letters text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(string_agg(
        CASE
            WHEN part[1] IS NOT NULL THEN part[1]
            WHEN part[2] IS NOT NULL THEN
                CASE WHEN part[2] ~ '^[A-Z]' THEN initcap(filler) ELSE filler END
            ELSE translate(part[3], '0123456789', '0000000000')
        END, '' ORDER BY place), original)
    FROM (
        SELECT part, place, CASE WHEN part[2] IS NOT NULL THEN
            left(repeat(substr(letters, 1 + ('x' || substr(md5(salt || place), 1, 7))::bit(28)::int % 400),
                        1 + length(part[2]) / 100), length(part[2])) END AS filler
        FROM regexp_matches(original, '(\[[0-9]{1,2}\])|((?:[A-Za-z]|[^\x01-\x7F])+)|([\x01-\x7F])', 'g')
            WITH ORDINALITY AS found (part, place)
    ) AS parts
$$;
CREATE FUNCTION pg_temp.quokkaq_token(salt text, size int) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT left(md5(salt) || md5(salt || '.') || md5(salt || ':') || md5(salt || ';'), size)
$$;
"""


@dataclass(frozen=True)
class Rule:
    """What a column holds afterwards, as SQL. `{c}` is the column, `{salt}` a text that differs for every row and run."""

    sql: str
    # False: what was there may be there still, so it isn't looked for.
    replaces: bool = True


KEEP = Rule("{c}", replaces=False)
EMPTY = Rule("''")
NULL = Rule("NULL")
WORDS = Rule("pg_temp.quokkaq_words({c}, {salt}, %(letters)s)")
NOTHING = Rule("'{{}}'::jsonb")
# Rendered from another column afterwards, in Python.
RENDERED = Rule("''")


def named(word: str) -> Rule:
    """Something with a name of its own, where names must differ."""
    return Rule(f"CASE WHEN {{c}} = '' THEN '' ELSE '{word} ' || pg_temp.quokkaq_token({{salt}}, 8) END")


def token(size: int, prefix: str = "") -> Rule:
    return Rule(f"CASE WHEN {{c}} = '' THEN '' ELSE '{prefix}' || pg_temp.quokkaq_token({{salt}}, {size}) END")


def code(pattern: str, otherwise: str = "") -> Rule:
    """What our own code wrote, told by its shape; anything else goes."""
    return Rule(f"CASE WHEN {{c}}::text ~ '^(?:{pattern})?$' THEN {{c}} ELSE '{otherwise}' END", replaces=False)


_ERROR = code(r"[a-z_]+|[A-Z][A-Za-z]*(?:Error|Exception|Down|Timeout|Unavailable)")
_ENGINE = code("extractive|openai|anthropic", "extractive")
_MODEL = code(r"[a-z0-9][a-z0-9./:_-]*", "model")
# Numbers, ids and names in small letters.
_NUMBERS = code(r'[]\[{{}}", :.+a-z_0-9-]*', "{{}}")

RULES: dict[str, dict[str, Rule]] = {
    "accounts.Institution": {"name": named("Institution"), "slug": token(12, "i-")},
    "accounts.User": {
        "password": Rule("'!' || pg_temp.quokkaq_token({salt}, 40)"),
        "email": Rule("'person-' || pg_temp.quokkaq_token({salt}, 20) || '@copy.invalid'"),
        "display_name": WORDS, "pronouns": WORDS, "avatar": EMPTY, "feed_key": NULL,
        "time_zone": Rule("CASE WHEN {c} IN (SELECT name FROM pg_timezone_names) THEN {c} ELSE 'UTC' END", replaces=False),
    },
    "accounts.Course": {
        "code": token(6, "C-"), "name": named("Course"), "term": WORDS, "slug": token(12, "c-"), "description": WORDS,
    },
    # Who is in one section stays in one.
    "accounts.Enrollment": {
        "section": Rule("CASE WHEN {c} = '' THEN '' ELSE 'Section ' || pg_temp.quokkaq_token(%(seed)s || {c}, 8) END"),
        "ban_reason": WORDS, "sis_id": token(12, "sis-"),
    },
    "account.EmailAddress": {"email": Rule(
        """CASE WHEN t."primary" THEN (SELECT u.email FROM accounts_user u WHERE u.id = t.user_id)"""
        """ ELSE 'other-' || t.id || '@copy.invalid' END"""
    )},
    "accounts.AuditEvent": {
        "verb": code(r"[a-z_]+\.[a-z_-]+", "row.changed"), "target_type": code(r"[a-z_]+\.[a-z]+", "accounts.user"),
        "data": NOTHING, "request_id": EMPTY, "network": EMPTY, "agent": EMPTY,
    },
    # The files aren't part of the copy.
    "accounts.Upload": {
        "original_name": token(12, "file-"), "content_type": code("[a-z]+/[a-z0-9.+-]+", "application/octet-stream"),
        "sha256": EMPTY, "storage_key": EMPTY, "rejection": code("[a-z_]+", "damaged"),
    },
    "accounts.DataExport": {"error_code": _ERROR},
    "accounts.Erasure": {"obstacle": WORDS},
    "accounts.Consent": {"version": code("[0-9.-]+", "0")},
    "forum.Assignment": {"slug": token(12, "a-"), "title": named("Assignment")},
    "forum.Pseudonym": {"name": named("Somebody")},
    "forum.Tag": {"slug": token(12, "t-"), "name": named("Tag")},
    "forum.Thread": {"title": WORDS, "body": WORDS, "body_html": RENDERED, "moderation_reason": WORDS},
    "forum.Post": {"body": WORDS, "body_html": RENDERED, "moderation_reason": WORDS},
    "forum.Revision": {"title": WORDS, "body": WORDS},
    "forum.Draft": {"fields": NOTHING},
    "forum.SavedView": {"name": named("View"), "query": EMPTY},
    "forum.InboundMail": {"digest": token(64), "reason": WORDS},
    "forum.Flag": {"details": WORDS, "decision": WORDS},
    "forum.Merge": {"carried": _NUMBERS},
    "forum.ResponseTemplate": {"category": WORDS, "title": named("Template"), "body": WORDS},
    "forum.StaffNote": {"body": WORDS, "body_html": RENDERED},
    # Triggers make it anew when the texts change.
    "forum.SearchEntry": {"vector": KEEP},
    "ai_answers.Calibration": {"parameters": _NUMBERS},
    "ai_answers.Material": {"title": WORDS},
    "ai_answers.MaterialVersion": {"text": WORDS, "sha256": token(64)},
    "ai_answers.MaterialImport": {"title": WORDS, "storage_key": EMPTY, "original_name": token(12, "file-"), "problem": WORDS},
    # What stands in a version stands in its passages and quotations: at the same place.
    "ai_answers.Passage": {
        "heading": WORDS,
        "text": Rule('(SELECT substr(v.text, t.start + 1, t."end" - t.start) FROM ai_answers_materialversion v WHERE v.id = t.version_id)'),
    },
    "ai_answers.Citation": {
        "quote": Rule('(SELECT substr(v.text, t.start + 1, t."end" - t.start) FROM ai_answers_materialversion v WHERE v.id = t.version_id)'),
    },
    "ai_answers.Answer": {
        "engine": _ENGINE, "model": _MODEL, "prompt": code("[a-z0-9.-]+"), "body": WORDS, "body_html": RENDERED,
        "original_body": WORDS, "features": _NUMBERS, "error_code": _ERROR,
        # A trigger makes it anew.
        "search": KEEP,
    },
    "ai_answers.AnswerFeedback": {"comment": WORDS},
    "ai_answers.ModelCall": {
        "engine": _ENGINE, "model": _MODEL, "prompt": code("[a-z0-9.-]+"), "reason": _ERROR,
    },
    "ai_answers.ModelPrice": {"engine": _ENGINE, "model": Rule(
        "CASE WHEN {c} ~ '^[a-z0-9][a-z0-9./:_-]*$' THEN {c} ELSE pg_temp.quokkaq_token({salt}, 12) END", replaces=False
    )},
    "ai_answers.Disclosure": {"provider": code("openai|anthropic", "openai"), "model": _MODEL, "text": WORDS},
    "ai_answers.Conversation": {"title": WORDS},
    "ai_answers.Message": {
        "body": WORDS, "body_html": RENDERED, "engine": _ENGINE, "model": _MODEL, "error_code": _ERROR,
    },
    "ai_answers.ThreadSummary": {"engine": _ENGINE, "digest": token(64), "error_code": _ERROR},
    "ai_answers.SummaryPoint": {"text": WORDS, "quote": WORDS},
    "ai_answers.EvaluationCase": {"title": WORDS, "body": WORDS},
    "ai_answers.EvaluationRun": {
        "dataset": code("[a-z0-9_]+", "set"), "engine": _ENGINE, "model": _MODEL, "metrics": _NUMBERS,
    },
    "auth.Group": {"name": named("Group")},
    # Django's own words, written by migrations.
    "auth.Permission": {"name": KEEP, "codename": KEEP},
    "contenttypes.ContentType": {"app_label": KEEP, "model": KEEP},
}  # fmt: skip

# Tables that are emptied: nobody tests with them, or they are made anew by themselves.
EMPTIED = (
    "sessions.Session", "admin.LogEntry", "forum.Mail", "forum.ReplyAddress", "forum.ThreadVector",
    "accounts.LtiLaunch", "accounts.LtiSync", "accounts.LtiIdentity", "accounts.LtiContext", "accounts.LtiDeployment",
    "accounts.LtiPlatform", "accounts.LtiKey", "accounts.Invitation", "accounts.JoinCode", "accounts.RosterImport",
    "accounts.InstitutionDomain", "accounts.IdentityProvider", "accounts.RateCount", "accounts.PassingRateCount",
    "quokkaq.JobFailure", "quokkaq.RestoreDrill",
    "account.EmailConfirmation", "mfa.Authenticator", "socialaccount.SocialToken", "socialaccount.SocialAccount",
    "socialaccount.SocialApp", "usersessions.UserSession",
    "ai_answers.PassageVector", "procrastinate.ProcrastinateJob", "procrastinate.ProcrastinatePeriodicDefer",
)  # fmt: skip
# Other columns that say something: what is in them afterwards.
BESIDE = {
    "accounts.Upload": "state = CASE WHEN state = 'rejected' THEN state ELSE 'expired' END",
    "accounts.User": "last_login = NULL",
    "forum.Thread": "submission_key = gen_random_uuid()",
    "forum.Post": "submission_key = gen_random_uuid()",
    "forum.StaffNote": "submission_key = gen_random_uuid()",
}
# In this order: addresses are those of people whose address is replaced already, passages and quotations are cut from versions that are replaced already.
_LAST = ("account.EmailAddress", "ai_answers.Passage", "ai_answers.Citation")
# These keep texts as they were, which is what they are for.
_UNGUARDED = ("accounts.AuditEvent", "accounts.Consent", "ai_answers.MaterialVersion", "ai_answers.Citation")


class NotAnonymousError(Exception):
    """Something of the original is still there, or could be."""


def text_columns() -> Iterator[tuple[type[models.Model], "models.Field[Any, Any]"]]:
    """Yield every column that can hold words: text without fixed choices, JSON, and vectors made from text."""
    for model in apps.get_models(include_auto_created=True):
        for column in model._meta.concrete_fields:
            kinds = (models.CharField, models.TextField, models.JSONField, models.BinaryField, models.FileField)
            is_vector = type(column).__name__ in ("SearchVectorField", "HalfVectorField", "VectorField")
            if (isinstance(column, kinds) and not column.choices) or is_vector:
                yield model, column


def undecided() -> list[str]:
    """Return the columns that can hold words and that nobody has decided about."""
    return [
        f"{model._meta.label}.{column.name}"
        for model, column in text_columns()
        if model._meta.label not in EMPTIED and column.name not in RULES.get(model._meta.label, {})
    ]


def anonymise(report: Callable[[str], None]) -> None:
    """Replace everything, prove it, and keep nothing if the proof fails. One transaction."""
    missing = undecided()
    if missing:
        raise NotAnonymousError(
            f"No rule says what becomes of {', '.join(missing)}. Add them to quokkaq/anonymising.py."
        )
    seed = secrets.token_hex(16)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute(FUNCTIONS)
        samples = _samples(cursor)
        _guards(cursor, "DISABLE")
        for label in EMPTIED:
            # rule: raw-sql (names of our own tables and columns, quoted)
            cursor.execute(f'DELETE FROM "{apps.get_model(label)._meta.db_table}"')  # noqa: S608 (constants above)
        for label in [*(label for label in RULES if label not in _LAST), *_LAST]:
            report(f"{label}: {_replace(cursor, label, seed)} rows")
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        _guards(cursor, "ENABLE")
        report(f"rendered anew: {_render_all()} texts")
        left = find(cursor, samples)
        if left:
            raise NotAnonymousError(f"Nothing was changed: originals are still in {', '.join(sorted(left))}.")
        cursor.execute("DROP FUNCTION pg_temp.quokkaq_words, pg_temp.quokkaq_token")
        report(f"looked for {len(samples)} originals in every column: none is left")


def find(cursor: Any, words: list[str]) -> set[str]:
    """Return the columns of the whole database, whatever models say, that hold one of the words."""
    if not words:
        return set()
    cursor.execute(
        "SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN information_schema.tables t"
        " USING (table_schema, table_name) WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'"
        " AND (c.data_type IN ('text', 'character varying', 'character', 'json', 'jsonb', 'tsvector', 'ARRAY', 'bytea'))"
    )
    patterns = ["%" + word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%" for word in words]
    found = set()
    for table, column in cursor.fetchall():
        # rule: raw-sql (names of our own tables and columns, quoted)
        cursor.execute(
            # Names that the database itself gave.
            f'SELECT 1 FROM "{table}" WHERE "{column}"::text ILIKE ANY (%s) LIMIT 1',  # noqa: S608
            [patterns],
        )
        if cursor.fetchone():
            found.add(f"{table}.{column}")
    return found


def _replace(cursor: Any, label: str, seed: str) -> int:
    model = apps.get_model(label)
    sets = []
    for name, rule in RULES[label].items():
        if rule is KEEP:
            continue
        try:
            column = model._meta.get_field(name).column
        except FieldDoesNotExist:
            raise NotAnonymousError(f"{label} has no column {name} any more. Take it out of the rules.") from None
        salt = f"(%(seed)s || '{label}.{name}' || t.\"{model._meta.pk.column}\")"
        sets.append(f'"{column}" = ' + rule.sql.format(c=f't."{column}"', salt=salt))
    if label in BESIDE:
        sets.append(BESIDE[label])
    if not sets:
        return 0
    # Names and rules are the constants above.
    sql = f'UPDATE "{model._meta.db_table}" AS t SET {", ".join(sets)}'  # noqa: S608
    # rule: raw-sql (names of our own tables and columns, quoted)
    cursor.execute(sql, {"seed": seed, "letters": _letters()})
    return int(cursor.rowcount)


def _letters() -> str:
    """Return letters to fill with: consonant and vowel by turns, so that words can be said aloud."""
    return "".join(secrets.choice("bdfgklmnprstv" if place % 2 else "aeiou") for place in range(600))


def _guards(cursor: Any, act: str) -> None:
    """Turn off, or on again, the triggers that keep texts as they are."""
    for label in _UNGUARDED:
        # rule: raw-sql (names of our own tables and columns, quoted)
        cursor.execute(f'ALTER TABLE "{apps.get_model(label)._meta.db_table}" {act} TRIGGER USER')


def _samples(cursor: Any) -> list[str]:
    """Return some of the originals, to look for when all is done."""
    words: set[str] = set()
    for label, rules in RULES.items():
        model = apps.get_model(label)
        for name, rule in rules.items():
            if not rule.replaces:
                continue
            column = model._meta.get_field(name).column
            # rule: raw-sql (names of our own tables and columns, quoted)
            cursor.execute(
                f'SELECT DISTINCT left("{column}"::text, 40) FROM (SELECT "{column}" FROM "{model._meta.db_table}"'  # noqa: S608
                f' WHERE length("{column}"::text) >= %s LIMIT 200) AS long LIMIT %s',
                [_SHORTEST, SAMPLES],
            )
            words |= {row[0] for row in cursor.fetchall() if sum(c.isalpha() for c in row[0]) >= _SHORTEST / 2}
    return sorted(words)


def _render_all() -> int:
    """Render what the new texts say, in batches."""
    total = 0
    for thread in _batches(Thread._base_manager.select_related("course")):
        total += _save(
            Thread, [(row.pk, render(row.body, References(row.reference_base))) for row in thread], versioned=True
        )
    for posts in _batches(Post._base_manager.select_related("thread__course")):
        total += _save(
            Post, [(row.pk, render(row.body, References(row.reference_base))) for row in posts], versioned=True
        )
    for notes in _batches(StaffNote._base_manager.select_related("thread__course")):
        total += _save(StaffNote, [(row.pk, render(row.body, References(row.thread.reference_base))) for row in notes])
    for model in (Answer, Message):
        for rows in _batches(model._base_manager.exclude(body="").prefetch_related("citations")):
            total += _save(model, [
                (row.pk, render_answer(row.body, max((c.number for c in row.citations.all()), default=0))) for row in rows
            ])  # fmt: skip
    return total


def _batches(rows: "models.QuerySet[Any]") -> Iterator[list[Any]]:
    last = None
    while found := list((rows if last is None else rows.filter(pk__gt=last)).order_by("pk")[:BATCH]):
        yield found
        last = found[-1].pk


def _save(model: type[models.Model], rendered: list[tuple[Any, str]], *, versioned: bool = False) -> int:
    """Write a batch of HTML with one statement."""
    version = f", html_version = {RENDERER_VERSION}" if versioned else ""
    with connection.cursor() as cursor:
        # rule: raw-sql (names of our own tables and columns, quoted)
        cursor.execute(
            f'UPDATE "{model._meta.db_table}" AS t SET body_html = new.html{version}'  # noqa: S608 (constants)
            " FROM unnest(%s::uuid[], %s::text[]) AS new (id, html) WHERE t.id = new.id",
            [[key for key, _ in rendered], [html for _, html in rendered]],
        )
    return len(rendered)
