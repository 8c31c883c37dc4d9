"""What has to hold once everything has settled, whatever went wrong before: each check returns what it found wrong."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email import message_from_bytes, policy
from typing import Any

from quokkaq.counters import COUNTERS
from tests.crashes.system import MODEL, System
from tests.crashes.workload import NOOR, PEOPLE, QUESTION, TOKEN, Person, Text, Workload

# Micros per million tokens: a call of 120 tokens read and 30 written costs what is said below.
PRICE_READ, PRICE_WRITTEN = 1_000_000, 2_000_000
COST_OF_CALL = 120 + 30 * 2


@dataclass(frozen=True)
class Violation:
    """A promise that wasn't kept, and the words (tokens) of the lines of the ledger that say how it came about."""

    promise: str
    what: str
    tokens: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.promise}: {self.what}"


# Who looks at the pages: students beside authors, one who hides, staff here and elsewhere.
LOOKERS = ("ada", "olga", "wanda", "eve")
SIMILAR, ASKED_ALREADY = "/c/cs-101/similar/", f"Privately: {QUESTION}"
Found = Iterable[Violation]


@dataclass(frozen=True)
class Row:
    """A stored text."""

    kind: str
    token: str
    key: str
    body: str
    deleted: bool
    hidden: bool
    number: int


def stored(system: System) -> list[Row]:
    """Return every stored text by the words in it: the first of a body is its own, or the last of a title."""
    rows = []
    asked = (
        ("thread", "SELECT id, body, deleted_at IS NOT NULL, moderation = 'hidden', number FROM forum_thread"),
        ("post", "SELECT id, body, deleted_at IS NOT NULL, moderation = 'hidden', 0 FROM forum_post"),
        ("note", "SELECT id, body, deleted_at IS NOT NULL, false, 0 FROM forum_staffnote"),
        ("conversation", "SELECT c.id, m.body, false, false, 0 FROM ai_answers_message m"
         " JOIN ai_answers_conversation c ON c.id = m.conversation_id WHERE m.speaker = 'person'"),
    )  # fmt: skip
    for kind, sql in asked:
        for key, body, deleted, hidden, number in system.ask(sql):
            if words := TOKEN.findall(body):
                rows.append(Row(kind, words[0], str(key), body, deleted, hidden, number))
    return rows


def texts_once(system: System, load: Workload) -> Found:
    """Nothing acknowledged is lost, nothing is there twice, nothing refused is there at all."""
    counts = Counter(row.token for row in stored(system))
    for text in load.texts:
        count = counts[text.token]
        if text.act.outcome == "acknowledged" and count != 1:
            yield Violation("acknowledged once", f"{text.kind} {text.token} is stored {count} times", (text.token,))
        elif text.act.outcome == "refused" and count:
            yield Violation("refused never", f"{text.kind} {text.token} is stored {count} times", (text.token,))
        elif count > 1:
            yield Violation("unknown at most once", f"{text.kind} {text.token} is stored {count} times", (text.token,))


def edits_kept(system: System, load: Workload) -> Found:
    """A text says what the last acknowledged edit says, or one whose end nobody saw after it; never what was refused."""
    bodies = {row.token: row.body for row in stored(system)}
    for text in load.texts:
        if text.token not in bodies or not text.edits:
            continue
        words = TOKEN.findall(bodies[text.token])[1:]
        now = words[0] if words else ""
        right, acknowledged = [], False
        for token, act in reversed(text.edits):
            if act.outcome != "refused":
                right.append(token)
            if act.outcome == "acknowledged":
                acknowledged = True
                break
        if not acknowledged:
            right.append("")
        if now not in right:
            tokens = (text.token, *(token for token, _ in text.edits))
            yield Violation("edits", f"{text.token} says {now or 'nothing new'}, not {right}", tokens)


def settings_kept(system: System, load: Workload) -> Found:
    """Votes, locks, deletions and the like are as the last acknowledged act left them. What either may be, is looked up."""
    rows = {row.token: row for row in stored(system)}
    there = _settings(system)
    for (what, name, side, token), setting in load.settings.items():
        row = rows.get(token)
        text = next(text for text in load.texts if text.token == token)
        if row is None or (text.gone and what != "hidden"):
            continue
        own = name if what in ("vote", "same", "mute", "endorsed", "flagged") else ""
        count = there[(what, own, row.key)]
        if count > 1:
            yield Violation("once", f"{what} of {name} ({side}) is there {count} times for {token}", (token,))
        if setting.either:
            setting.on, setting.either = bool(count), False
        elif bool(count) != setting.on:
            yield Violation("settings", f"{what} of {name} is {bool(count)} for {token}, not {setting.on}", (token,))
        setting.blocked = False
    for text in load.texts:
        text.blocked = False


def _settings(system: System) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    asked = (
        ("vote", "SELECT u.email, coalesce(v.thread_id, v.post_id) FROM forum_vote v JOIN accounts_user u ON u.id = v.user_id"),
        ("same", "SELECT u.email, v.thread_id FROM forum_samequestion v JOIN accounts_user u ON u.id = v.user_id"),
        ("mute", "SELECT u.email, v.thread_id FROM forum_follow v JOIN accounts_user u ON u.id = v.user_id WHERE v.state = 'muted'"),
        ("endorsed", "SELECT u.email, v.post_id FROM forum_endorsement v JOIN accounts_user u ON u.id = v.endorser_id"),
        ("flagged", "SELECT u.email, v.post_id FROM forum_flag v JOIN accounts_user u ON u.id = v.user_id WHERE v.status = 'open'"),
        ("accepted", "SELECT '', accepted_post_id FROM forum_thread WHERE accepted_post_id IS NOT NULL"),
        ("locked", "SELECT '', id FROM forum_thread WHERE is_locked"),
        ("pinned", "SELECT '', id FROM forum_thread WHERE is_pinned"),
        ("deleted", "SELECT '', id FROM forum_thread WHERE deleted_at IS NOT NULL"),
        ("deleted", "SELECT '', id FROM forum_post WHERE deleted_at IS NOT NULL"),
        ("hidden", "SELECT '', id FROM forum_post WHERE moderation = 'hidden'"),
    )  # fmt: skip
    for what, sql in asked:
        found.update((what, email.partition("@")[0], str(key)) for email, key in system.ask(sql))
    return found


def files_whole(system: System, load: Workload) -> Found:
    """A file that was sent with an acknowledged text is with it, once, as it was sent; nothing unscanned is released."""
    attached: dict[str, list[tuple[Any, ...]]] = {}
    for body, state, sha256, key in system.ask(
        "SELECT coalesce(t.body, p.body), u.state, u.sha256, u.storage_key FROM forum_attachment a"
        " JOIN accounts_upload u ON u.id = a.upload_id LEFT JOIN forum_thread t ON t.id = a.thread_id"
        " LEFT JOIN forum_post p ON p.id = a.post_id"
    ):
        attached.setdefault(TOKEN.findall(body)[0], []).append((state, sha256, key))
    client = system.s3.client()
    for text in load.texts:
        found = attached.get(text.token, [])
        if not text.file:
            if found:
                yield Violation("files", f"{text.token} has a file that nobody sent", (text.token,))
            continue
        if (text.is_there and len(found) != 1) or len(found) > 1:
            yield Violation("files", f"{text.token} has {len(found)} files", (text.token,))
        for state, sha256, key in found:
            if state == "rejected":
                continue  # visibly refused: its chip says why
            data = client.get_object(Bucket=system.s3.bucket, Key=key)["Body"].read() if key else b""
            if (state, sha256, hashlib.sha256(data).hexdigest()) != ("clean", text.file, text.file):
                yield Violation("files", f"the file of {text.token} is {state}, and isn't what was sent", (text.token,))
    under_way = system.ask("SELECT count(*) FROM accounts_upload WHERE state IN ('uploaded', 'scanning')")[0][0]
    if under_way:
        yield Violation("files", f"{under_way} files are never checked")
    refused = system.ask(
        "SELECT rejection, count(*), string_agg(concat_ws(' ', id, size, created_at, state_at, attached_at), '; ')"
        " FROM accounts_upload WHERE state = 'rejected' GROUP BY 1"
    )
    for reason, count, which in refused:
        yield Violation("files", f"{count} whole and harmless files were refused: {reason} ({which})")
    released = {key for (key,) in system.ask("SELECT storage_key FROM accounts_upload WHERE state = 'clean'")}
    known = {str(key) for (key,) in system.ask("SELECT id FROM accounts_upload")}
    for key in system.s3.stored():
        place, _, name = key.partition("/")
        if place == "files" and key not in released and name not in known:
            yield Violation("files", f"{key} lies where files are served from, and no row knows it")


def counters_exact(system: System, load: Workload) -> Found:
    """No counter has drifted, by the very queries of `check_counters`."""
    for counter in COUNTERS:
        sql = f"SELECT count(*) FROM {counter.table} AS counted WHERE counted.{counter.column} <> ({counter.truth})"
        if wrong := system.ask(sql)[0][0]:
            yield Violation("counters", f"{counter.name} is wrong in {wrong} rows")


def work_done(system: System, load: Workload) -> Found:
    """No job is lost, stuck or given up; every question has one answer, every conversation its reply."""
    for name, status, count in system.ask(
        # What comes again by the clock is done by the next one; `settle` has seen that none is stuck.
        "SELECT task_name, status::text, count(*) FROM procrastinate_jobs WHERE args->>'timestamp' IS NULL"
        " AND status IN ('todo', 'doing', 'failed', 'aborting')"
        # Given up while the scanner or the store was away: a sweep has the file checked, which `files_whole` looks at.
        " AND NOT (status = 'failed' AND task_name = 'accounts.check_upload')"
        # An answer that was given up after its tries is shown as failed, and offers another.
        " AND NOT (status = 'failed' AND task_name = 'ai_answers.generate_answer' AND EXISTS (SELECT FROM ai_answers_answer a"
        " WHERE a.id = (args->>'answer_id')::uuid AND a.status = 'failed')) GROUP BY 1, 2"
    ):
        yield Violation("jobs", f"{count} of {name} are {status}")
    for number, course, kind, answers, pending in system.ask(
        "SELECT t.number, c.slug, t.kind, count(a.id) FILTER (WHERE a.is_current),"
        " count(a.id) FILTER (WHERE a.status IN ('queued', 'generating')) FROM forum_thread t"
        " JOIN accounts_course c ON c.id = t.course_id LEFT JOIN ai_answers_answer a ON a.thread_id = t.id"
        " WHERE t.merged_into_id IS NULL GROUP BY t.id, c.slug"
    ):
        if (answers != 1 and kind == "question") or answers > 1 or pending:
            yield Violation("answers", f"{kind} #{number} of {course} has {answers} answers, {pending} pending")
    # An answer may be given up after its tries: then its page says so and offers another, and staff see the kind of error.
    for what, count in system.ask(
        "SELECT 'answers failed without a word', count(*) FROM ai_answers_answer"
        " WHERE status = 'failed' AND (error_code = '' OR finished_at IS NULL) HAVING count(*) > 0"
        " UNION ALL SELECT 'replies ' || state, count(*) FROM ai_answers_message"
        " WHERE state IN ('queued', 'writing') OR (state = 'failed' AND error_code = '') GROUP BY 1"
    ):
        yield Violation("answers", f"{count} {what}")
    doubled = system.ask(
        "SELECT answer_id, count(*) - count(DISTINCT number) FROM ai_answers_citation WHERE answer_id IS NOT NULL"
        " GROUP BY 1 HAVING count(*) > count(DISTINCT number)"
    )
    if doubled:
        yield Violation("answers", f"{len(doubled)} answers have a quotation twice")


def charges_right(system: System, load: Workload) -> Found:
    """The ledger has every call the model served, at its price or dearer; nothing stays set aside, no cap is overrun."""
    open_calls = system.ask("SELECT count(*) FROM ai_answers_modelcall WHERE outcome = 'reserved'")[0][0]
    if open_calls:
        yield Violation("charges", f"{open_calls} calls are never settled")
    for scope, spent, reserved, ledger in system.ask(
        "SELECT s.scope, s.spent_micros, s.reserved_micros, (SELECT coalesce(sum(c.cost_micros), 0) FROM ai_answers_modelcall c"
        " WHERE c.reserved_micros > 0 AND (c.created_at AT TIME ZONE 'UTC')::date = s.day AND CASE s.scope"
        " WHEN 'institution' THEN c.institution_id WHEN 'course' THEN c.course_id ELSE c.user_id END = s.scope_id)"
        " FROM ai_answers_spending s"
    ):
        if reserved or spent != ledger:
            yield Violation(
                "charges", f"an account ({scope}) says {spent} spent, {reserved} set aside; the ledger {ledger}"
            )
    caps = {"institution": "daily_cap_micros", "course": "course_daily_cap_micros", "user": "user_daily_cap_micros"}
    for scope, cap in caps.items():
        sql = (
            "SELECT count(*) FROM ai_answers_spending s JOIN ai_answers_institutionai i ON i.institution_id = s.institution_id"
            f" WHERE s.scope = %s AND s.spent_micros + s.reserved_micros > i.{cap}"
        )
        if over := system.ask(sql, scope)[0][0]:
            yield Violation("charges", f"{over} accounts ({scope}) are over their cap")
    known, cost = system.ask(
        "SELECT count(*) FILTER (WHERE input_tokens > 0), coalesce(sum(cost_micros), 0) FROM ai_answers_modelcall WHERE model = %s",
        MODEL,
    )[0]
    served = len(system.model.seen)
    if known > served:
        yield Violation("charges", f"{known} calls are charged as served, the model served {served}")
    if cost < served * COST_OF_CALL:
        yield Violation(
            "charges", f"the model served {served} calls worth {served * COST_OF_CALL}, the ledger has {cost}"
        )
    sent, rows = len(system.model.seen), system.ask(
        "SELECT coalesce(sum(d.n), 0) FROM (SELECT count(*) AS n FROM ai_answers_disclosure) d"
    )[0][0]  # fmt: skip
    if sent and not rows:
        yield Violation("charges", f"{sent} requests left this server, and none was noted before")


def told_once(system: System, load: Workload) -> Found:
    """Nobody is told the same twice, everybody who follows is told of a reply, and no two mails tell the same."""
    for kind, count in system.ask(
        "SELECT kind, count(*) FROM (SELECT kind FROM forum_notification"
        " GROUP BY user_id, kind, thread_id, post_id HAVING count(*) > 1) d GROUP BY 1"
    ):
        yield Violation("notifications", f"{count} of {kind} are there twice")
    missed = system.ask(
        "SELECT p.body FROM forum_post p JOIN forum_thread t ON t.id = p.thread_id"
        " WHERE p.deleted_at IS NULL AND p.moderation = 'shown' AND t.deleted_at IS NULL AND t.merged_into_id IS NULL"
        " AND t.author_id <> p.author_id AND p.author_id IS NOT NULL"
        " AND EXISTS (SELECT FROM accounts_enrollment e WHERE e.user_id = t.author_id AND e.course_id = t.course_id)"
        " AND NOT EXISTS (SELECT FROM forum_notification n WHERE n.post_id = p.id AND n.user_id = t.author_id AND n.kind = 'reply')"
        " AND NOT EXISTS (SELECT FROM forum_follow f WHERE f.user_id = t.author_id AND f.thread_id = t.id AND f.state = 'muted')"
    )
    gone = {text.token for text in load.texts if text.gone or text.spare}
    for (body,) in missed:
        token = TOKEN.findall(body)[0]
        if token not in gone:
            yield Violation("notifications", f"the asker was never told of {token}", (token,))
    waiting = system.ask("SELECT state, count(*) FROM forum_mail WHERE state <> 'sent' GROUP BY 1")
    for state, count in waiting:
        yield Violation("mails", f"{count} mails are {state}")
    replies = {text.token: text for text in load.texts if text.kind in ("reply", "comment")}
    told: dict[tuple[str, str], set[str]] = {}
    for to, message, body in mails(system):
        for token in set(TOKEN.findall(body)) & set(replies):
            if f"{replies[token].who.name}@" not in to:
                told.setdefault((to, token), set()).add(message)
    flagged = {key[3] for key in load.settings if key[0] in ("flagged", "endorsed", "accepted")}
    for (to, token), messages in told.items():
        if len(messages) > 1 and token not in flagged:
            yield Violation("mails", f"{to} is told of {token} in {len(messages)} different mails", (token,))
    taken = {message for _, message, _ in mails(system)}
    for (message,) in system.ask("SELECT message_id FROM forum_mail WHERE state = 'sent'"):
        if message not in taken:
            yield Violation("mails", f"{message} counts as sent, and the mail server never took it")


def failed_answers(system: System) -> dict[str, int]:
    """Return how many answers and replies were given up, visibly, by the kind of error."""
    return dict(
        system.ask(
            "SELECT error_code, count(*) FROM (SELECT error_code FROM ai_answers_answer WHERE status = 'failed'"
            " UNION ALL SELECT error_code FROM ai_answers_message WHERE state = 'failed') given_up GROUP BY 1"
        )
    )


def mails(system: System) -> list[tuple[str, str, str]]:
    """Return address, Message-ID and readable text of each mail the server took."""
    found = []
    for raw in list(system.mail.taken):
        mail = message_from_bytes(raw, policy=policy.default)
        parts = [str(part.get_content()) for part in mail.walk() if part.get_content_maintype() == "text"]
        found.append((str(mail["To"]), str(mail["Message-ID"]), "\n".join([str(mail["Subject"]), *parts])))
    return found


def repeated_mails(system: System) -> int:
    """Return how often a mail was taken again as the same mail: the promise for mail is at least once."""
    counts = Counter(message for _, message, _ in mails(system))
    return sum(count - 1 for count in counts.values())


def nothing_private(system: System, load: Workload) -> Found:
    """On no page and in no mail does anybody find a private word, or the name of somebody who hides."""
    texts = {text.token: text for text in load.texts}
    deleted = {row.token for row in stored(system) if row.deleted or row.hidden}
    for person in (NOOR, *(one for one in PEOPLE if one.name in LOOKERS)):
        for page in _pages(system, load, person):
            try:
                browser = load.browsers[person.name]
                status, said = browser.similar(page, ASKED_ALREADY) if page == SIMILAR else browser.get(page)
            except OSError as error:
                yield Violation("pages", f"{page} of {person.name}: {type(error).__name__}")
                continue
            if status >= 500 or (page == "/inbox/" and status != 200):
                yield Violation("pages", f"{page} of {person.name} answers {status}")
            yield from _leaks(person, f"{page} of {person.name}", said, texts, deleted)
    for to, message, said in mails(system):
        person = next(one for one in (NOOR, *PEOPLE) if one.name == to.partition("@")[0])
        yield from _leaks(person, f"the mail {message} to {to}", said, texts, set())
    yield from _answers(system, texts)


def _pages(system: System, load: Workload, person: Person) -> Iterable[str]:
    yield from (
        "/inbox/",
        "/courses/",
        "/c/cs-101/",
        "/c/math-221/",
        "/c/cs-101/search/?q=Privately",
        "/c/cs-101/search/?q=evaluated",
    )
    yield from ("/c/cs-101/search/suggest/?q=Privately", SIMILAR)
    yield from ("/c/cs-101/queue/", "/c/cs-101/flags/", "/c/cs-101/activity/", "/c/cs-101/ai/", "/c/cs-101/insights/")
    if person.name in ("noor", "eve", "ada"):
        feed = system.ask("SELECT feed_key FROM accounts_user WHERE email = %s", person.email)[0][0]
        if feed:
            yield f"/feeds/{feed}/cs-101/"
        numbers = {text.number for text in load.texts if text.kind == "thread" and text.number}
        yield from (f"/c/cs-101/{number}/" for number in sorted(numbers)[-40:])
        for text in [text for text in load.texts if text.is_private and text.number][-10:]:
            yield from (f"/c/cs-101/{text.number}/history/", f"/c/cs-101/{text.number}/answer/")


def _leaks(person: Person, where: str, said: str, texts: dict[str, Text], deleted: set[str]) -> Found:
    for token in set(TOKEN.findall(said)):
        text = texts.get(token)
        if text is None:
            continue  # an edit's: it stands beside its text's own
        own = text.who == person or (text.parent is not None and text.parent.who == person and text.kind != "note")
        if text.who.home != person.home:
            yield Violation("walls", f"{token} of another institution is on {where}", (token,))
        elif text.is_private and not own and (person.role != "staff" or text.kind == "conversation"):
            yield Violation("privacy", f"{token}, which is private, is on {where}", (token,))
        elif token in deleted and not own and person.role != "staff":
            yield Violation("privacy", f"{token}, which is deleted or hidden, is on {where}", (token,))
    for other in PEOPLE:
        hides = other.hides == "all" or (other.hides == "classmates" and person.role != "staff")
        if hides and other != person and re.search(rf"Surname-{other.name}|{other.name}@example", said, re.IGNORECASE):
            if "/insights/" in where or "/activity/" in where:
                continue
            yield Violation("anonymity", f"{other.name}, who hides, is named on {where}")


def _answers(system: System, texts: dict[str, Text]) -> Found:
    for table, column in (
        ("ai_answers_answer", "body"),
        ("ai_answers_citation", "quote"),
        ("ai_answers_passage", "text"),
    ):
        for (said,) in system.ask(f"SELECT {column} FROM {table} WHERE {column} LIKE '%%zq%%'"):
            for token in TOKEN.findall(said):
                if token in texts and texts[token].is_private:
                    yield Violation("privacy", f"{token}, which is private, is in {table}", (token,))


def still_signed_in(system: System, load: Workload) -> Found:
    """Nobody is ever signed out by what goes wrong."""
    for act in load.signed_out:
        yield Violation("sessions", f"{act.who} was signed out: {act}", (act.target,))


CHECKS: tuple[Callable[[System, Workload], Found], ...] = (
    texts_once, edits_kept, settings_kept, files_whole, counters_exact, work_done, charges_right, told_once,
    nothing_private, still_signed_in,
)  # fmt: skip


def check(system: System, load: Workload) -> list[Violation]:
    """Return all that is wrong."""
    return [violation for one in CHECKS for violation in one(system, load)]
