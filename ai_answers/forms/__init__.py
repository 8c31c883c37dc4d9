"""Forms of the machine's pages, a file per concept."""

from ai_answers.forms.consent import ConsentForm
from ai_answers.forms.conversations import MessageForm
from ai_answers.forms.materials import MaterialForm
from ai_answers.forms.reviewing import AnswerForm, CourseAIForm, FeedbackForm, ReviewForm, WithdrawForm

__all__ = [
    "AnswerForm",
    "ConsentForm",
    "CourseAIForm",
    "FeedbackForm",
    "MaterialForm",
    "MessageForm",
    "ReviewForm",
    "WithdrawForm",
]
