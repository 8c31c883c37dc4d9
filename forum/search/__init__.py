"""Finding things in a course: one interface over threads, posts, and what other apps add.

`find()` answers a typed query, `suggest()` completes one, `similar_threads()` finds what was asked before. All of them
see only what the member may see.
"""

from forum.search.finding import PAGE_SIZE, Hit, Request, Results, find, register_source
from forum.search.query import Query, parse_query
from forum.search.similar import Likeness, Similar, similar_threads, suggest

__all__ = [
    "PAGE_SIZE", "Hit", "Likeness", "Query", "Request", "Results", "Similar", "find", "parse_query", "register_source",
    "similar_threads", "suggest",
]  # fmt: skip
