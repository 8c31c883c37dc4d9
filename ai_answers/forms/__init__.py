"""Forms of the machine's pages, a file per concept."""

from ai_answers.forms.consent import ConsentForm
from ai_answers.forms.materials import MaterialForm

__all__ = ["ConsentForm", "MaterialForm"]
