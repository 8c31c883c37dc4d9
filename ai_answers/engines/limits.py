"""How long anything may take, in seconds, and why: request < soft < hard < lease.

A web request that waits for an answer, a worker that writes one and a ledger that counts it all rely on this order: each
limit ends what is inside it before the next one gives up on the whole.
"""

# Nothing heard for this long, on connecting or between two pieces of a stream: this request is dead.
CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 20.0
# From here on no further attempt begins: another one could not end in time.
SOFT_SECONDS = 40.0
# The stream is cut, whatever it says. People have stopped waiting.
HARD_SECONDS = 60.0
# A call the ledger has heard nothing of for so long belongs to a process that died, and is settled as spent. A worker
# that dies is noticed after TASK_STALLED_AFTER_SECONDS without a heartbeat; one that lives keeps its job, so what bounds
# a call is HARD_SECONDS, and the lease has to be longer than that.
LEASE_SECONDS = 180.0

MAX_ATTEMPTS = 3
# Full jitter: a pause drawn evenly from 0 to min(LONGEST, FIRST * 2**n), so that many who failed together don't come
# back together (Exponential Backoff And Jitter, AWS Architecture Blog, 2015).
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0
# No model answers that long; what a hostile server sends beyond is not read.
MAX_RESPONSE_BYTES = 4_000_000

# After so many failures in a row an engine rests; then one call tries it.
BREAKER_FAILURES = 5
BREAKER_REST_SECONDS = 30.0
# Older failures say nothing about now.
BREAKER_MEMORY_SECONDS = 600.0
