"""A program that starts the stores in a folder, prints their URLs, and runs until its stdin ends."""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from devkit.embedded import process
from devkit.embedded.stores import Stores


async def run_stores(folder: Path) -> None:
    async with Stores(folder) as urls:
        sys.stdout.write(json.dumps(asdict(urls)) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    if "--unleashed" in sys.argv:
        process._leash = lambda signal_name: ()  # as on a system where a child does not end with its parent
    asyncio.run(run_stores(Path(sys.argv[1])))
