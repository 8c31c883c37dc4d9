"""Measures retrieval, answers and abstention on questions whose right answer is known (docs/evaluation.md)."""

from ai_answers.evaluation.baseline import drops, read_baseline
from ai_answers.evaluation.metrics import Outcome, summarise
from ai_answers.evaluation.running import ask_all, directly, evaluate_course, evaluate_set, keep_run
from ai_answers.evaluation.sets import Case, Document, Kind, QuestionSet, packaged_sets, shared_sets

__all__ = [
    "Case",
    "Document",
    "Kind",
    "Outcome",
    "QuestionSet",
    "ask_all",
    "directly",
    "drops",
    "evaluate_course",
    "evaluate_set",
    "keep_run",
    "packaged_sets",
    "read_baseline",
    "shared_sets",
    "summarise",
]
