"""A process that starts self-verification, tells its child's id, and waits to be killed."""

import asyncio
import sys

from serving.confidence.self_verify.pool import SelfVerifier


async def main() -> None:
    async with SelfVerifier(
        command=(sys.executable, "-m", "tests.serving.confidence.self_verify.hanging_child")
    ) as pool:
        print(*pool.pids, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
