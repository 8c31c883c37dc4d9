"""What other apps may hear of. Sent inside the action's transaction: a receiver that enqueues does so with it, or not at all."""

from django.dispatch import Signal

# Arguments: thread. It may still wait for approval.
thread_started = Signal()
# Arguments: post. Others see a reply or comment now: it was written, or approved.
post_added = Signal()
# Arguments: post, by (the Member who endorsed). Only the first time, not when it is taken back.
post_endorsed = Signal()
# Arguments: post, by (the Member who accepted).
answer_accepted = Signal()
# Arguments: thread, post (None when it is the thread's own text), people (list of User), by (the Member who wrote).
people_mentioned = Signal()
# Arguments: thread, by (the Member who has the same question).
same_question_asked = Signal()
# Arguments: thread, to (the User who shall see to it), by (the Member who said so). Not when somebody takes it themselves.
thread_assigned = Signal()
