"""The journal's tables, and the steps from each older form to the newest.

``MIGRATIONS[n]`` leads from schema version n to n + 1; a released step is never edited. SQLite's
``user_version`` holds the version, ``application_id`` marks the file as ours.
"""

from __future__ import annotations

APPLICATION_ID = 0x62796F63
"""The letters ``byoc``."""

_V1 = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE intents (
        token TEXT PRIMARY KEY, provider TEXT NOT NULL, offer TEXT NOT NULL, tags TEXT NOT NULL,
        host_key TEXT NOT NULL, run TEXT NOT NULL, created REAL NOT NULL, deadline REAL NOT NULL,
        state TEXT NOT NULL, instance_id TEXT NOT NULL, detail TEXT NOT NULL)""",
    "CREATE INDEX intents_state ON intents (state)",
    """CREATE TABLE instances (
        provider TEXT NOT NULL, id TEXT NOT NULL, offer TEXT NOT NULL, token TEXT NOT NULL,
        host_key TEXT NOT NULL, address TEXT NOT NULL, port INTEGER NOT NULL, user TEXT NOT NULL,
        price REAL, run TEXT NOT NULL, state TEXT NOT NULL, started REAL NOT NULL,
        reached REAL NOT NULL, ended REAL NOT NULL, idle_until REAL NOT NULL, detail TEXT NOT NULL,
        PRIMARY KEY (provider, id))""",
    "CREATE INDEX instances_state ON instances (state)",
    """CREATE TABLE attempts (
        run TEXT NOT NULL, seq INTEGER NOT NULL, provider TEXT NOT NULL, offer TEXT NOT NULL,
        at REAL NOT NULL, outcome TEXT NOT NULL, code TEXT NOT NULL, error TEXT NOT NULL,
        message TEXT NOT NULL, request_id TEXT NOT NULL, scope TEXT NOT NULL, hint TEXT NOT NULL,
        instance_id TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (run, seq))""",
    """CREATE TABLE runs (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, command TEXT NOT NULL, cwd TEXT NOT NULL,
        name TEXT NOT NULL, pid INTEGER NOT NULL, started REAL NOT NULL, ended REAL NOT NULL,
        status TEXT NOT NULL, exit_code INTEGER, instances TEXT NOT NULL, log TEXT NOT NULL,
        detached INTEGER NOT NULL, error TEXT)""",
    "CREATE INDEX runs_started ON runs (started)",
    """CREATE TABLE stages (
        run TEXT NOT NULL, seq INTEGER NOT NULL, name TEXT NOT NULL, seconds REAL NOT NULL,
        detail TEXT NOT NULL, PRIMARY KEY (run, seq))""",
)

_V2 = (
    "ALTER TABLE attempts ADD COLUMN bucket TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE attempts ADD COLUMN remembered REAL NOT NULL DEFAULT 0",
    "ALTER TABLE attempts ADD COLUMN reason TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE attempts ADD COLUMN step TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE attempts ADD COLUMN console TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX attempts_at ON attempts (at)",
    """CREATE TABLE refusals (
        key TEXT PRIMARY KEY, cloud TEXT NOT NULL, scope TEXT NOT NULL, region TEXT NOT NULL,
        zone TEXT NOT NULL, type TEXT NOT NULL, market TEXT NOT NULL, bucket TEXT NOT NULL,
        amount REAL NOT NULL, error TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
        request_id TEXT NOT NULL, hint TEXT NOT NULL, zones TEXT NOT NULL, at REAL NOT NULL,
        until REAL NOT NULL, times INTEGER NOT NULL)""",
)

_V3 = (
    "ALTER TABLE intents ADD COLUMN node INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE intents ADD COLUMN missing INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE intents ADD COLUMN missed REAL NOT NULL DEFAULT 0",
    "CREATE INDEX intents_run ON intents (run)",
    "ALTER TABLE instances ADD COLUMN node INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE instances ADD COLUMN orphaned REAL NOT NULL DEFAULT 0",
    "ALTER TABLE instances ADD COLUMN missing INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE instances ADD COLUMN missed REAL NOT NULL DEFAULT 0",
    "CREATE INDEX instances_token ON instances (token)",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_V1, _V2, _V3)
TABLES = frozenset({"meta", "intents", "instances", "attempts", "runs", "stages", "refusals"})
