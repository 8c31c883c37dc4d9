"""How long the embedded engine takes from a posted question to its published answer, and what abstention could be fitted to.

    QUOKKAQ_MODE=test .venv/bin/python -m tests.benchmarks.answers [--passages 2000] [--questions 40]
    QUOKKAQ_MODE=test .venv/bin/python -m tests.benchmarks.answers --fit

The first fills a course with passages of the Python reference and measures `actions.generate_answer`, from start to the
commit; a worker that waits for jobs adds the few milliseconds in which PostgreSQL notifies it. The second fits the log odds
of `ranking.ANSWERABLE` on the set of `ai_answers/evaluation/sets`, and says how they do on fifths that were held out.
"""

import argparse
import time
import uuid
from typing import TYPE_CHECKING

from tests.benchmarks.scratch import percentile, scratch_database

if TYPE_CHECKING:
    from ai_answers.evaluation import Outcome

FEATURES = ("coverage", "sentence", "cosine", "names", "numbers")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--passages", type=int, default=2000)
    arguments.add_argument("--questions", type=int, default=40)
    arguments.add_argument("--fit", action="store_true")
    wanted = arguments.parse_args()
    with scratch_database():
        if wanted.fit:
            fit()
        else:
            measure(wanted.passages, wanted.questions)


def measure(passages: int, questions: int) -> None:
    from ai_answers import actions
    from ai_answers.evaluation import packaged_sets
    from ai_answers.indexing import index_passages
    from ai_answers.models import Answer, Passage
    from tests import factories

    world = factories.make_world()
    ada, noor = world.member("ada"), world.member("noor")
    found = packaged_sets()[0]
    copies = 0
    while Passage.objects.count() < passages:
        for number, document in enumerate(found.documents):
            text = "\n\n".join(text for _, text in document.passages) + f"\n\nCopy {copies}.\n"
            factories.make_material(ada, text, title=f"{document.title} {copies}.{number}"[:200])
        copies += 1
    keys = list(Passage.objects.order_by("pk").values_list("pk", flat=True))
    start = time.perf_counter()
    index_passages(keys)
    seconds = time.perf_counter() - start
    print(f"{len(keys)} passages indexed in {seconds:.0f} s: {len(keys) / seconds:.1f} a second")
    times = []
    for case in found.cases[: questions + 1]:
        thread = factories.make_thread(noor, f"{case.question} {uuid.uuid4().hex[:4]}", "I read the chapter twice.")
        answer = Answer.objects.get(thread=thread)
        start = time.perf_counter()
        actions.generate_answer(answer.pk)
        times.append(time.perf_counter() - start)
    # The first loads the model.
    first, *times = times
    print(
        f"first {1000 * first:.0f} ms; then p50 {1000 * percentile(times, 0.5):.0f}, p95 {1000 * percentile(times, 0.95):.0f} ms"
    )


def fit() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    from ai_answers.engines import default_engine
    from ai_answers.evaluation import Kind, evaluate_set, packaged_sets
    from ai_answers.evaluation.metrics import auroc, calibration_error

    outcomes: list[Outcome] = [o for found in packaged_sets() for o in evaluate_set(found, default_engine())]
    rows = [[outcome.features.get(name, 0.0) for name in FEATURES] for outcome in outcomes]
    truths = [outcome.kind == Kind.ANSWER for outcome in outcomes]
    model = LogisticRegression(C=1.0)
    held_out = cross_val_predict(model, rows, truths, cv=5, method="predict_proba")[:, 1]
    yes = [p for p, truth in zip(held_out, truths, strict=True) if truth]
    no = [p for p, outcome in zip(held_out, outcomes, strict=True) if outcome.kind == Kind.ABSTAIN]
    print(f"held out: AUROC {auroc(yes, no):.3f}, calibration error {calibration_error(list(held_out), truths):.3f}")
    model.fit(rows, truths)
    print({"bias": round(model.intercept_[0], 2)} | dict(zip(FEATURES, model.coef_[0].round(2), strict=True)))


if __name__ == "__main__":
    main()
