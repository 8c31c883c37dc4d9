"""Proof that the checks can fail: damage of each kind is done on purpose, and has to be found."""

from collections.abc import Callable, Iterable

from tests.crashes import invariants
from tests.crashes.invariants import Found
from tests.crashes.system import System
from tests.crashes.workload import Text, Workload


def _first(texts: Iterable[Text]) -> Text:
    return next(text for text in texts if text.is_there and not text.gone)


def _lose_a_reply(system: System, load: Workload) -> None:
    text = _first(text for text in load.texts if text.kind == "reply" and not text.spare)
    system.ask("UPDATE forum_post SET body = 'Gone.' WHERE body LIKE %s", f"%{text.token}%")


def _double_a_thread(system: System, load: Workload) -> None:
    one, two = [text for text in load.texts if text.kind == "thread" and text.is_there][:2]
    system.ask("UPDATE forum_thread SET body = %s WHERE body LIKE %s", one.token, f"%{two.token}%")


def _turn_a_vote(system: System, load: Workload) -> None:
    system.ask("DELETE FROM forum_vote")


def _forget_an_edit(system: System, load: Workload) -> None:
    text = next(text for text in load.texts if any(act.outcome == "acknowledged" for _, act in text.edits))
    for table in ("forum_thread", "forum_post"):
        system.ask(f"UPDATE {table} SET body = %s WHERE body LIKE %s", text.token, f"%{text.token}%")


def _miscount(system: System, load: Workload) -> None:
    system.ask("UPDATE forum_thread SET same_count = same_count + 1")


def _spoil_a_file(system: System, load: Workload) -> None:
    for (key,) in system.ask(
        "SELECT storage_key FROM accounts_upload WHERE state = 'clean' AND attached_at IS NOT NULL"
    ):
        system.s3.client().put_object(Bucket=system.s3.bucket, Key=key, Body=b"Something else.")


def _strand_a_job(system: System, load: Workload) -> None:
    system.ask(
        "UPDATE procrastinate_jobs SET status = 'failed' WHERE id ="
        " (SELECT max(id) FROM procrastinate_jobs WHERE args->>'timestamp' IS NULL)"
    )


def _keep_money_aside(system: System, load: Workload) -> None:
    system.ask("UPDATE ai_answers_spending SET reserved_micros = reserved_micros + 1")


def _charge_less(system: System, load: Workload) -> None:
    system.ask("UPDATE ai_answers_modelcall SET cost_micros = 0")
    system.ask("UPDATE ai_answers_spending SET spent_micros = 0")


def _tell_twice(system: System, load: Workload) -> None:
    system.ask("ALTER TABLE forum_notification DROP CONSTRAINT notification_once")
    columns = "institution_id, user_id, course_id, thread_id, post_id, kind, actor_id, created_at, in_app"
    system.ask(
        f"INSERT INTO forum_notification (id, {columns}) SELECT gen_random_uuid(), {columns} FROM forum_notification LIMIT 1"
    )


def _mail_twice(system: System, load: Workload) -> None:
    system.mail.taken += [raw.replace(b"Message-ID: <", b"Message-ID: <again-") for raw in system.mail.taken]


def _open_what_is_private(system: System, load: Workload) -> None:
    _first(text for text in load.texts if text.kind == "thread" and text.visibility == "staff" and text.who.home)
    system.ask("UPDATE forum_thread SET visibility = 'course'")


def _name_who_hides(system: System, load: Workload) -> None:
    _first(text for text in load.texts if text.kind in ("thread", "reply") and text.who.hides != "named")
    for table in ("forum_thread", "forum_post"):
        system.ask(f"UPDATE {table} SET anonymity = 'named', pseudonym_id = NULL WHERE anonymity <> 'named'")


def _forget_sessions(system: System, load: Workload) -> None:
    for act in load.ledger[:1]:
        load.signed_out.append(act)


Damage = Callable[[System, Workload], None]
Check = Callable[[System, Workload], Found]
# What is done, the check that has to find it, and under which promise.
DAMAGES: tuple[tuple[Damage, Check, str], ...] = (
    (_forget_sessions, invariants.still_signed_in, "sessions"),
    (_mail_twice, invariants.told_once, "mails"),
    (_tell_twice, invariants.told_once, "notifications"),
    (_keep_money_aside, invariants.charges_right, "charges"),
    (_charge_less, invariants.charges_right, "charges"),
    (_strand_a_job, invariants.work_done, "jobs"),
    (_spoil_a_file, invariants.files_whole, "files"),
    (_miscount, invariants.counters_exact, "counters"),
    (_turn_a_vote, invariants.settings_kept, "settings"),
    (_forget_an_edit, invariants.edits_kept, "edits"),
    (_open_what_is_private, invariants.nothing_private, "privacy"),
    (_name_who_hides, invariants.nothing_private, "anonymity"),
    (_lose_a_reply, invariants.texts_once, "acknowledged once"),
    (_double_a_thread, invariants.texts_once, "acknowledged once"),
)


def prove(system: System, load: Workload) -> list[str]:
    """Do every damage that what people did allows; return what wasn't found. Nothing is whole after that."""
    missed: list[str] = []
    # What each check finds wrong already: nothing, before the first damage.
    known: dict[Check, set[str]] = {}
    for damage, check, promise in DAMAGES:
        name = damage.__name__.strip("_").replace("_", " ")
        if check not in known:
            known[check] = {str(one) for one in check(system, load)}
        try:
            damage(system, load)
        except (StopIteration, ValueError):
            print(f"nothing to {name}")
            continue
        now = list(check(system, load))
        found = [one for one in now if one.promise == promise and str(one) not in known[check]]
        known[check] = {str(one) for one in now}
        print(f"{name}: {found[0] if found else 'NOT FOUND'}")
        if not found:
            missed.append(name)
    return missed
