"""The other Interalpha of these tests: a program that starts the stores in a folder, says where, and stays."""

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
        process._leash = lambda signal_name: ()  # as on a system that cannot tie a child's life to ours
    asyncio.run(run_stores(Path(sys.argv[1])))
