"""Leaf modules that know no app: anything here may be imported from anywhere and imports no app."""
