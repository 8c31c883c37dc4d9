"""Health: whether this process answers, and whether what it stands on does.

`look()` asks every configured check, in bounded time and however many ask at once; apps add theirs with `register()`.
`settings.HEALTH_NEEDED` names what QuokkaQ can't serve people without; all else leaves it degraded.
"""

from quokkaq.lib.health.watching import Check, Outcome, State, configured, is_ready, look, register, states

__all__ = ["Check", "Outcome", "State", "configured", "is_ready", "look", "register", "states"]
