"""Whether this web server is about to stop: its balancer is told before it takes no more connections.

The mark lies in memory that gunicorn's master shares with its workers: `ops/gunicorn.conf.py` imports this before it forks.
"""

import mmap

_mark = mmap.mmap(-1, 1)


def begin() -> None:
    """Have `/api/v1/ready` answer 503 from now on, in all workers."""
    _mark[0] = 1


def has_begun() -> bool:
    return _mark[0] == 1
