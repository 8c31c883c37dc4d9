"""What other apps may hear of. Sent inside the action's transaction: a receiver that enqueues does so with it, or not at all."""

from django.dispatch import Signal

# Arguments: thread.
thread_started = Signal()
