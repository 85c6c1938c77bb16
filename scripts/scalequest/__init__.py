"""The library that the stage scripts share: pure functions over rows, and the doors to disk and engine."""

# Raised when sampling itself changes, so that stored rows of the older way are not found again.
SAMPLING_VERSION = 2
