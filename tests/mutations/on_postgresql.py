"""The catalogue's mechanisms that PostgreSQL alone has: roles and locks, which SQLite's one writer does without."""

from __future__ import annotations

from tests.mutations.tree import Edit, Mutation

ROW_LEVEL_SECURITY = Mutation(
    name="row_level_security",
    invariant="I7",
    meaning="on PostgreSQL a query without its tenant sees every tenant's rows",
    edits=(
        Edit(
            "storage/tenancy.py", '{"role": ROLE if tenant is not None else None, "tenant"', '{"role": None, "tenant"'
        ),
    ),
    tests=("tests/storage/test_tenancy.py",),
)

RECORDER_TENANT_ROLE = Mutation(
    name="recorder_tenant_role",
    invariant="I7",
    meaning="what the gateway reads and writes for a tenant runs as the system, which sees every tenant's rows",
    edits=(
        Edit(
            "gateway/recorder.py",
            "return await self._readers.read(read, tenant, always=always)",
            "return await self._readers.read(read, None, always=always)",
        ),
        Edit(
            "gateway/recorder.py",
            "                        tenancy.act_for(connection, job.tenant)\n",
            "                        pass\n",
        ),
        Edit(
            "gateway/recorder.py",
            "            tenancy.act_for(connection, tenant)  # also back",
            "            pass  # also back",
        ),
    ),
    tests=("tests/gateway/test_recorders_tenants.py",),
)

SKIP_LOCKED = Mutation(
    name="skip_locked",
    invariant="I9",
    meaning="claims, relays and sweeps wait for whoever holds the next row",
    edits=(
        Edit("storage/review_guards.py", "_BY_ID.with_for_update(skip_locked=True)", "_BY_ID.with_for_update()"),
        Edit("storage/outbox.py", "with_for_update(skip_locked=True)", "with_for_update()"),
        Edit("storage/review_sweeps.py", "with_for_update(skip_locked=True)", "with_for_update()"),
    ),
    tests=("tests/storage/test_skip_locked.py",),
)

ON_POSTGRESQL = (ROW_LEVEL_SECURITY, RECORDER_TENANT_ROLE, SKIP_LOCKED)
