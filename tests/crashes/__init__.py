"""Seeded faults under a generated workload, and every promise checked afterwards.

    python -m tests.crashes --seed 7 --faults 1000        # 25 to 40 minutes on two cores; Linux, as root for `disk_full_*`

QuokkaQ runs as shipped: gunicorn with its workers and two task workers as processes, kept running as systemd would; a
PostgreSQL cluster with durable settings, where the web isn't the owner; Redis, clamd, an S3 endpoint, a mail server and a
model server. A dozen people of two institutions ask, reply, edit, vote, upload and moderate over HTTP (`workload`), while
things are killed, frozen, filled up and cut off (`faults`). After each batch of faults everything is let settle, and what
people were told is held against what there is (`invariants`). What people saw is a ledger:

- acknowledged (a redirect to where the act leads): it must be there, exactly once;
- refused (4xx, or a form that is shown again): it must not be there;
- unknown (5xx, time-out, broken connection): both is right, but never twice. As a browser's user would, most send the
  same form again.

A failure prints the seed, the faults until then and the lines of the ledger that are concerned, and ends with status 1.
The same `--seed` and `--faults` make the same faults at the same moments and the same choices of each person. What meets
what in the processes is up to the machine: a failure that needs a race may take several runs to be seen again.

docs/adr/0030 says what is promised; `tests/services/test_crashes_drill.py` runs a few of them in CI.
"""
