"""What all nouns together contribute, for tests that work below the composition root."""

from api.nouns import contributions

CONTRIBUTED = contributions()
EVENT_TYPES = CONTRIBUTED.events
SUBJECTS = CONTRIBUTED.subjects
PERSONAL_DATA = CONTRIBUTED.personal_data
