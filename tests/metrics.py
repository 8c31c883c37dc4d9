"""What metrics moved by, while something happened."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY

# A metric with its labels, as Prometheus writes it: `name{label=value,…}`.
Moves = dict[str, float]
# What moves by itself, or with everything: statements, CPU, the interpreter's own.
NOISE = ("quokkaq_db_", "quokkaq_process_", "process_", "python_", "django_", "quokkaq_cache_")


def values() -> Moves:
    """Return all counters, and how many a histogram has seen."""
    return {
        f"{sample.name}{{{','.join(f'{name}={value}' for name, value in sample.labels.items())}}}": sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name.endswith(("_total", "_count"))
    }


@contextmanager
def moves(*watched: str) -> Iterator[Moves]:
    """Fill what it yields, at the end of the block, with what moved and by how much; of `NOISE` what is named only."""
    found: Moves = {}
    before = values()
    yield found
    for name, value in values().items():
        moved = value - before.get(name, 0)
        if moved and (name.startswith(watched) if watched else not name.startswith(NOISE)):
            found[name] = round(moved, 9)
