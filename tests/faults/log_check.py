"""Has the audit log verified by the program that shares no code with its writer."""

from __future__ import annotations

import asyncio
import subprocess

from tests.faults.processes import python
from tests.faults.world import World, environment


async def verified(world: World) -> str:
    """Empty when the log is intact, in the database and against the checkpoints outside it; else what it said."""
    audit = world.product_home / "audit"
    files = ("--key", str(audit / "verify.pub"), "--checkpoints", str(audit / "checkpoints.jsonl"))
    command = python("verifier", "log", world.database_url, *files)

    def run() -> str:
        told = {**environment(world.keeper.mark), "PYTHONPATH": str(world.wanted.tree)}
        done = subprocess.run(command, env=told, cwd=world.wanted.tree, capture_output=True, text=True, timeout=300)
        return "" if done.returncode == 0 else f"exit {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}"

    return await asyncio.to_thread(run)
