"""What other apps may hear of. Sent inside the action's transaction: a receiver that enqueues does so with it, or not at all."""

from django.dispatch import Signal

# Arguments: thread, origin (where its text came from, as in `ask/?from=`; empty mostly). It may still wait for approval.
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
# Arguments: flag. Staff should hear of it; who flagged is told to nobody.
text_flagged = Signal()
# Arguments: writing (a Thread or Post). It waits for approval.
text_pending = Signal()
# Arguments: writing (a Thread or Post), by (the Member who decided). It was approved, refused, hidden, restored or noted.
text_decided = Signal()
# Arguments: merge. What a receiver carries over it notes in `merge.carried`, which is saved after the signal.
threads_merged = Signal()
# Arguments: merge. Everything noted in `merge.carried` goes back.
merge_undone = Signal()
# Arguments: thread, old_course. It stands in another course of the institution now.
thread_moved = Signal()
# Arguments: thread. Staff changed its kind or who may read it.
thread_refiled = Signal()
# Arguments: thread, to (the User who shall see to it), by (the Member who said so). Not when somebody takes it themselves.
thread_assigned = Signal()
# Arguments: thread. What it or a reply says was edited, deleted or restored, an endorsement or acceptance was taken back,
# or its asker opened it to the course.
thread_changed = Signal()
