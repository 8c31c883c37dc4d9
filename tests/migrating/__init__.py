"""An app with a table of its own, for drills that change it while it is in use."""
