"""Backups that are proven: written with a manifest, read back, kept by age, restored into a scratch database and compared."""
