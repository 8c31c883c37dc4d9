"""Forms of the machine's pages, a file per concept."""

from ai_answers.forms.conversations import MessageForm
from ai_answers.forms.materials import MaterialForm

__all__ = ["MaterialForm", "MessageForm"]
