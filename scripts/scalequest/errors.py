"""The one exception that a user is meant to read."""


class ScaleQuestError(Exception):
    """What was wrong, with which value in which file or key, and what to do. Shown without a traceback."""
