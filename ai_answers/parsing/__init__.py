"""Files become text with a structure: one module per format, all run in a child process with limits (`sandbox`).

Nothing here knows Django or the database: the child has neither.
"""

from ai_answers.parsing.base import MAX_TEXT, NOTES, SENTENCES, Parsed, Problem, Section, Unreadable
from ai_answers.parsing.sandbox import read_file

__all__ = [
    "MAX_TEXT",
    "NOTES",
    "SENTENCES",
    "Parsed",
    "Problem",
    "Section",
    "Unreadable",
    "read_file",
]
