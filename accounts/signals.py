"""What others may want to know of people, courses and files."""

from django.dispatch import Signal

# A file was released or refused. Arguments: upload (locked; sent inside the transaction that says so).
upload_checked = Signal()
