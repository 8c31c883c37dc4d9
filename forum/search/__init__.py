"""Finding things in a course: one interface over threads, posts, and what other apps add.

`find()` answers a typed query, `threads_with()` filters the list by one, `suggest()` completes one, and
`similar_threads()` finds what was asked before. All of them see only what the member may see.
"""

from forum.search.finding import (
    PAGE_SIZE,
    Hit,
    Request,
    Results,
    dated,
    find,
    rank_rows,
    register_source,
    threads_with,
)
from forum.search.query import MAX_QUERY, PLACES, STATES, Query, parse_query
from forum.search.similar import Likeness, Similar, similar_threads
from forum.search.suggesting import Suggestion, suggest

__all__ = [
    "MAX_QUERY", "PAGE_SIZE", "PLACES", "STATES", "Hit", "Likeness", "Query", "Request", "Results", "Similar",
    "Suggestion", "dated", "find", "parse_query", "rank_rows", "register_source", "similar_threads",
    "suggest", "threads_with",
]  # fmt: skip
