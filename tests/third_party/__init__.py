"""Tests against third-party servers; `.ci/run` installs them, and in CI none of the tests is skipped."""
