"""Words as PostgreSQL's text search sees them, and Okapi BM25 to weigh them.

BM25: Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009. PostgreSQL finds (its GIN
indexes are fast) and stems; it doesn't rank: `ts_rank` knows no inverse document frequency (docs/adr/0004).
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.contrib.postgres.search import SearchVectorField
from django.db import connections
from django.db.models import Lookup

from quokkaq.lib import replica

# The text-search configuration of everything that is written and asked: one stemmer for both.
LANGUAGE = "english"
K1 = 1.2
B = 0.75
_RUN = 4
_NOT_LETTERS = re.compile(r"[\W_]+")


def inverse_document_frequency(documents: int, containing: int) -> float:
    """Return ln(1 + (N - n + 0.5) / (n + 0.5)), which is never negative."""
    return math.log(1 + (documents - containing + 0.5) / (containing + 0.5))


def saturation(count: float, length: float, mean_length: float) -> float:
    """Return the BM25 weight of a term that occurs `count` times in a document of `length` words."""
    return count * (K1 + 1) / (count + K1 * (1 - B + B * length / mean_length))


def analyse(texts: Sequence[str]) -> list[Counter[str]]:
    """Return the lexemes of each text (stemmed, without stop words) with how often they occur. One query."""
    with connections[replica.reading()].cursor() as cursor:
        cursor.execute(
            """
            SELECT t.place, l.lexeme, cardinality(l.positions)
            FROM unnest(%s::text[]) WITH ORDINALITY AS t(content, place),
                 LATERAL unnest(to_tsvector(%s::regconfig, t.content)) AS l
            """,
            [list(texts), LANGUAGE],
        )
        lexemes: list[Counter[str]] = [Counter() for _ in texts]
        for place, lexeme, count in cursor.fetchall():
            lexemes[place - 1][lexeme] = count
    return lexemes


def letter_runs(title: str) -> frozenset[str]:
    """Return every run of four letters or blanks of a title."""
    text = f" {' '.join(_NOT_LETTERS.sub(' ', title.lower()).split())} "
    return frozenset(text[start : start + _RUN] for start in range(len(text) - _RUN + 1))


def dice(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the Dice coefficient of two sets (Dice 1945, "Measures of the amount of ecologic association")."""
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 0.0


def quote_lexeme(lexeme: str) -> str:
    """Return a lexeme as a literal of PostgreSQL's `tsquery` input syntax."""
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"


@SearchVectorField.register_lookup
class Matches(Lookup[Any]):
    """`vector__matches="'word' & 'other'"`: the vector fits a query in PostgreSQL's `tsquery` input syntax.

    Unlike Django's `SearchQuery`, which hands everything to a parser first, it takes lexemes as they are.
    """

    lookup_name = "matches"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        vector, before = self.process_lhs(compiler, connection)
        return f"{vector} @@ %s::tsquery", (*before, self.rhs)


def parse(text: str) -> str:
    """Return what somebody typed as a `tsquery`: words are wanted, "phrases" too, -words aren't, OR means either.

    Empty when nothing is left to look for: without stop words, or because words are only taken away. One query.
    """
    with connections[replica.reading()].cursor() as cursor:
        cursor.execute(
            "SELECT q::text, querytree(q) FROM (SELECT websearch_to_tsquery(%s::regconfig, %s) AS q) AS parsed",
            [LANGUAGE, text],
        )
        query, indexable = cursor.fetchone()
    # `T` is PostgreSQL's for "an index can't help": everything that isn't something.
    return "" if indexable in ("", "T") else str(query)
