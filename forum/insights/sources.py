"""Numbers of other apps. The forum doesn't know who they are."""

from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import Exists


@dataclass(frozen=True)
class MachineAnswers:
    """Conditions on threads (`OuterRef("pk")`): a machine's answer is published there, or has an endorsement by staff."""

    published: Callable[[], Exists]
    endorsed: Callable[[], Exists]


_machines: list[MachineAnswers] = []


def register_machine_answers(source: MachineAnswers) -> None:
    """Count the answers of a machine in the insights."""
    if source not in _machines:
        _machines.append(source)


def machine_answers() -> list[MachineAnswers]:
    """Return every registered source."""
    return list(_machines)
