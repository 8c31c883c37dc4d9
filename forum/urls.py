"""Routes of the forum, inside a course (`c/<slug>/`)."""

from django.urls import path

from forum.views import drafts, lists, notes, posts, threads

app_name = "forum"
urlpatterns = [
    path("", lists.thread_list, name="list"),
    path("ask/", threads.ask, name="ask"),
    path("preview/", threads.preview, name="preview"),
    path("draft/", drafts.save_draft, name="draft-thread"),
    path("views/", drafts.save_view, name="save-view"),
    path("views/<uuid:view_id>/delete/", drafts.delete_view, name="delete-view"),
    path("<int:number>/", threads.thread, name="thread"),
    path("<int:number>/edit/", threads.edit_thread, name="edit-thread"),
    path("<int:number>/history/", threads.thread_history, name="thread-history"),
    path("<int:number>/vote/", threads.vote_thread, name="vote-thread"),
    path("<int:number>/same/", threads.same_question, name="same-question"),
    path("<int:number>/follow/", threads.follow_thread, name="follow-thread"),
    path("<int:number>/notes/", notes.add_note, name="add-note"),
    path("<int:number>/notes/<uuid:note_id>/delete/", notes.delete_note, name="delete-note"),
    path("<int:number>/draft/", drafts.save_draft, name="draft-reply"),
    path("<int:number>/resolve/", threads.resolve_thread, name="resolve-thread"),
    path("<int:number>/pin/", threads.pin_thread, name="pin-thread"),
    path("<int:number>/lock/", threads.lock_thread, name="lock-thread"),
    path("<int:number>/delete/", threads.delete_thread, name="delete-thread"),
    path("<int:number>/restore/", threads.restore_thread, name="restore-thread"),
    path("<int:number>/reply/", posts.reply, name="reply"),
    path("<int:number>/posts/<uuid:post_id>/comment/", posts.reply, name="comment"),
    path("<int:number>/posts/<uuid:post_id>/draft/", drafts.save_draft, name="draft-comment"),
    path("<int:number>/posts/<uuid:post_id>/edit/", posts.edit_post, name="edit-post"),
    path("<int:number>/posts/<uuid:post_id>/history/", posts.post_history, name="post-history"),
    path("<int:number>/posts/<uuid:post_id>/vote/", posts.vote_post, name="vote-post"),
    path("<int:number>/posts/<uuid:post_id>/endorse/", posts.endorse_post, name="endorse-post"),
    path("<int:number>/posts/<uuid:post_id>/accept/", posts.accept_post, name="accept-post"),
    path("<int:number>/posts/<uuid:post_id>/delete/", posts.delete_post, name="delete-post"),
    path("<int:number>/posts/<uuid:post_id>/restore/", posts.restore_post, name="restore-post"),
]
