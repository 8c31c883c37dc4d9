"""The pages of the machine's answers, a file per concept."""

from ai_answers.views.answers import answer, answer_panel, endorse_answer, retry_answer
from ai_answers.views.materials import (
    add_material,
    delete_material,
    dismiss_import,
    imports,
    material,
    material_file,
    material_versions,
    materials,
    restore_material,
    retry_import,
)

__all__ = [
    "add_material",
    "answer",
    "answer_panel",
    "delete_material",
    "dismiss_import",
    "endorse_answer",
    "imports",
    "material",
    "material_file",
    "material_versions",
    "materials",
    "restore_material",
    "retry_answer",
    "retry_import",
]
