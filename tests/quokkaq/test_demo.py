"""The demo: seeded once, real, and started and stopped by one command."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from procrastinate import JobContext

from accounts.access import Member
from accounts.models import Course, Role, User
from ai_answers import actions as ai_actions
from ai_answers.models import Answer, AnswerFeedback, AnswerStatus, Citation, Material
from forum.models import Anonymity, Kind, Post, Revision, Status, Thread, Visibility
from quokkaq import tasks
from quokkaq.env import Mode
from quokkaq.management.commands import run_demo
from tests import factories
from tests.processes import ROOT, free_port, wait_for

# In one process: it is seeded once for all of them.
pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture(scope="module")
def demo(django_db_setup: None, django_db_blocker: object) -> object:
    """The demo, seeded once for this file and taken back after it."""
    from django.db import transaction

    with django_db_blocker.unblock(), transaction.atomic():  # type: ignore[attr-defined]
        call_command("seed_demo", stdout=io.StringIO())
        yield
        transaction.set_rollback(True)


def question(who: str, title: str) -> Answer:
    user = User.objects.get(email=f"{who}@example.edu")
    thread = factories.make_thread(Member(user, Course.objects.get(slug="cs-101"), Role.STUDENT), title)
    ai_actions.generate_answer(Answer.objects.get(thread=thread).pk)
    return Answer.objects.get(thread=thread)


@pytest.mark.usefixtures("demo")
class TestTheDemo:
    @pytest.fixture(autouse=True)
    def database(self, db: None) -> None:
        """Each test works in a savepoint of the seeded database."""

    def test_it_has_every_state(self) -> None:
        assert Thread.objects.filter(course__slug="cs-101").count() >= 30
        assert set(Thread.objects.values_list("status", flat=True)) == set(Status.values)
        assert set(Thread.objects.values_list("kind", flat=True)) == set(Kind.values)
        assert set(Thread.objects.values_list("visibility", flat=True)) == set(Visibility.values)
        assert set(Thread.objects.values_list("anonymity", flat=True)) == set(Anonymity.values)
        life = {"published", "abstained", "draft", "endorsed", "edited", "withdrawn"}
        assert life <= set(Answer.objects.values_list("status", flat=True))
        assert Answer.objects.shown().filter(is_hint=True).exists()
        assert AnswerFeedback.objects.filter(wants_person=True).exists()
        assert Thread.objects.filter(is_pinned=True).exists()
        assert Thread.objects.filter(is_locked=True).exists()
        assert Post.objects.exclude(deleted_at=None).exists()
        assert Revision.objects.exists()
        assert Answer.objects.filter(endorsement_count__gt=0).exists()
        assert Material.objects.filter(course__slug="cs-101").count() >= 70
        assert Material.objects.filter(course__slug="math-221").count() == 5

    def test_every_quotation_of_it_is_exact(self) -> None:
        for citation in Citation.objects.select_related("version"):
            assert citation.version.text[citation.start : citation.end] == citation.quote

    def test_its_counters_are_right(self) -> None:
        output = io.StringIO()
        call_command("check_counters", stdout=output)
        assert "No counter has drifted" in output.getvalue()

    def test_a_question_of_the_course_is_answered_from_the_right_topic(self) -> None:
        answer = question("sam", "How do I write a default parameter value and when is it evaluated?")
        assert answer.status == AnswerStatus.PUBLISHED
        sources = {citation.version.material.title for citation in answer.citations.all()}
        assert sources == {"Function definitions"}
        assert any("evaluated from left to right" in citation.quote for citation in answer.citations.all())

    @pytest.mark.parametrize("title", ["When is the midterm?", "Where can I eat pizza?", "Who won the football match?"])
    def test_what_the_materials_do_not_say_is_not_answered(self, title: str) -> None:
        assert question("noor", title).status == AnswerStatus.ABSTAINED

    def test_everything_belongs_to_the_institution_of_its_course(self) -> None:
        for thread in Thread.objects.select_related("course", "author"):
            assert thread.institution_id == thread.course.institution_id
            assert thread.author is None or thread.author.institution_id == thread.institution_id

    def test_seeding_again_adds_nothing(self) -> None:
        before = Thread.objects.count()
        output = io.StringIO()
        call_command("seed_demo", stdout=output)
        assert "already there" in output.getvalue()
        assert Thread.objects.count() == before


def test_production_takes_no_demo_people(db: None) -> None:
    before = User.objects.count()
    with override_settings(MODE=Mode.PRODUCTION, PRODUCTION=True):
        with pytest.raises(CommandError, match="password is public"):
            call_command("seed_demo")
        with pytest.raises(CommandError, match="for trying QuokkaQ out"):
            call_command("run_demo")
    assert User.objects.count() == before


@pytest.mark.parametrize(
    ("port", "sentence"), [("x", "PORT is 'x'"), ("0", "PORT is '0'"), ("70000", "PORT is '70000'")]
)
def test_a_port_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch, port: str, sentence: str) -> None:
    monkeypatch.setenv("PORT", port)
    with pytest.raises(CommandError, match=sentence):
        run_demo._free_port()


def test_a_port_in_use_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("PORT", str(taken.getsockname()[1]))
        with pytest.raises(CommandError, match="can't be used"):
            run_demo._free_port()


@pytest.mark.drill
def test_one_command_runs_everything_and_ctrl_c_stops_it(tmp_path: Path) -> None:
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST", "DATABASE"))}
    # A checkout of its own: the demo's database lies beside the code.
    clone = tmp_path / "clone"
    tmp_path.chmod(0o755)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    for path in ("accounts", "forum", "ai_answers", "quokkaq", "templates", "static", "ops"):
        subprocess.run(["cp", "-r", str(ROOT / path), str(clone)], check=True)

    def run() -> tuple[float, str]:
        started = time.monotonic()
        log = (tmp_path / "log").open("w+")
        process = subprocess.Popen(
            [sys.executable, "manage.py", "run_demo"], cwd=clone, stdout=log, stderr=subprocess.STDOUT,
            env={**kept, "QUOKKAQ_MODE": "demo", "PORT": str(port)},
        )  # fmt: skip

        def said(text: str) -> bool:
            return text in (tmp_path / "log").read_text()

        try:
            wait_for(lambda: said("QuokkaQ is running") or process.poll() is not None, seconds=90, what="the demo")
            took = time.monotonic() - started
            assert said(f"http://localhost:{port}/"), (tmp_path / "log").read_text()
            with urlopen(f"http://127.0.0.1:{port}/api/v1/ready", timeout=5) as response:
                assert response.status == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()
        text = (tmp_path / "log").read_text()
        assert "Stopped." in text
        with pytest.raises(URLError):
            urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
        return took, text

    _, first = run()
    assert "Demo ready" in first
    second_took, second = run()
    assert "already there" in second
    print(f"second start: {second_took:.1f} s")


def test_upkeep_rescues_stalled_jobs_and_forgets_old_ones() -> None:
    import asyncio

    done: list[str] = []

    class Manager:
        async def get_stalled_jobs(self, seconds_since_heartbeat: float) -> list[str]:
            return ["stalled"]

        async def retry_job(self, job: str) -> None:
            done.append(job)

        async def delete_old_jobs(self, nb_hours: int, include_failed: bool) -> None:
            done.append(f"{nb_hours} {include_failed}")

    class App:
        job_manager = Manager()

    context = JobContext.__new__(JobContext)
    object.__setattr__(context, "app", App())
    asyncio.run(tasks.rescue_stalled_jobs.func(context, timestamp=0))
    asyncio.run(tasks.delete_old_jobs.func(context, timestamp=0))
    assert done == ["stalled", "24 False", "720 True"]
