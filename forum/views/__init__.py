"""The pages of a course's forum."""
