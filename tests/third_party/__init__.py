"""Tests against servers that we did not write; `.ci/run` installs them, and under CI none of them is skipped."""
