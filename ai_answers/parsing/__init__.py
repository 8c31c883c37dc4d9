"""Files become text with a structure: one module per format, all run in a child process with limits (`sandbox`).

Nothing here knows Django or the database: the child has neither.
"""

from ai_answers.parsing.base import MAX_FILE, MAX_TEXT, NOTES, SENTENCES, Parsed, Problem, Section, Unreadable
from ai_answers.parsing.sandbox import read_file
from ai_answers.parsing.sniffing import Mismatch, sniff

__all__ = [
    "MAX_FILE",
    "MAX_TEXT",
    "NOTES",
    "SENTENCES",
    "Mismatch",
    "Parsed",
    "Problem",
    "Section",
    "Unreadable",
    "read_file",
    "sniff",
]
