"""What can go wrong with the embedded stores.

EmbeddedStoreError      a store does not start; the message says why and what to do
├─ FolderInUse          another Interalpha holds the data folder
└─ NotOurs              the folder is somebody else's, and was not touched
"""

from pathlib import Path


class EmbeddedStoreError(Exception):
    """An embedded store cannot be had; the message ends with what to do about it."""


class FolderInUse(EmbeddedStoreError):
    """Another Interalpha runs on the same data folder."""

    def __init__(self, folder: Path, holder: str, remedy: str) -> None:
        super().__init__(f"{folder} is in use by another Interalpha (process {holder or 'unknown'}). {remedy}")


class NotOurs(EmbeddedStoreError):
    """The folder is not one of Interalpha's."""
