"""Machines that are network namespaces on one bridge, between which the network can be cut. Needs root."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# Everything made here begins with this, and is removed before and after.
PREFIX = "qqf"
SUBNET = "10.213.77"


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@dataclass
class Network:
    """Machines by name, each with an address; this process reaches them all, whatever is cut."""

    addresses: dict[str, str]
    _cuts: list[tuple[str, str]] = field(default_factory=list)

    def namespace(self, name: str) -> str:
        return f"{PREFIX}-{name}"

    def cut(self, one: str, *others: str) -> None:
        """Drop what goes between `one` and each of `others`, in both directions, without a word."""
        for other in others:
            for here, there in ((one, other), (other, one)):
                _run(
                    "ip", "netns", "exec", self.namespace(here),
                    "iptables", "-A", "INPUT", "-s", self.addresses[there], "-j", "DROP",
                )  # fmt: skip

    def heal(self, one: str = "", *others: str) -> None:
        """Mend what is cut between `one` and `others`; everything without names."""
        if not one:
            for name in self.addresses:
                _run("ip", "netns", "exec", self.namespace(name), "iptables", "-F", "INPUT")
        for other in others:
            for here, there in ((one, other), (other, one)):
                _run(
                    "ip", "netns", "exec", self.namespace(here),
                    "iptables", "-D", "INPUT", "-s", self.addresses[there], "-j", "DROP",
                )  # fmt: skip


def _remove(names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        # A namespace goes when the last that is in it has ended; the cable at once.
        _run("ip", "link", "delete", f"{PREFIX}-{number}", check=False)
        _run("ip", "netns", "delete", f"{PREFIX}-{name}", check=False)
    _run("ip", "link", "delete", f"{PREFIX}-bridge", check=False)


@contextmanager
def network(*names: str) -> Iterator[Network]:
    """Make machines that reach each other."""
    made = Network({name: f"{SUBNET}.{number}" for number, name in enumerate(names, 1)})
    _remove(names)
    try:
        _run("ip", "link", "add", f"{PREFIX}-bridge", "type", "bridge")
        _run("ip", "address", "add", f"{SUBNET}.254/24", "dev", f"{PREFIX}-bridge")
        _run("ip", "link", "set", f"{PREFIX}-bridge", "up")
        for number, (name, address) in enumerate(made.addresses.items()):
            inside, near = made.namespace(name), f"{PREFIX}-{number}"
            _run("ip", "netns", "add", inside)
            _run("ip", "link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", inside)
            _run("ip", "link", "set", near, "master", f"{PREFIX}-bridge", "up")
            _run("ip", "-n", inside, "address", "add", f"{address}/24", "dev", "eth0")
            _run("ip", "-n", inside, "link", "set", "eth0", "up")
            _run("ip", "-n", inside, "link", "set", "lo", "up")
        yield made
    finally:
        _remove(names)
