"""What the insights of a course count of the machine's answers."""

from django.db.models import Exists, OuterRef

from ai_answers.models import SHOWN, Answer
from forum.insights.sources import MachineAnswers


def _published(**conditions: int) -> Exists:
    """Return the condition that a thread has a published answer."""
    return Exists(Answer.objects.filter(thread=OuterRef("pk"), status__in=SHOWN, **conditions))


MACHINE_ANSWERS = MachineAnswers(published=_published, endorsed=lambda: _published(endorsement_count__gt=0))
