"""Replacing the secrets of an installation, above all after somebody else may have them: `manage.py rotate_secrets`."""
