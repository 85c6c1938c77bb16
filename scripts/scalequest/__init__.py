"""The library that the programs share: functions over rows, and all use of disk and engine."""

# Raised when sampling itself changes, so that stored rows of the older way are not found again.
SAMPLING_VERSION = 2
