"""The schema in the database: made by the first replica, checked by all."""

from hashlib import blake2b
from importlib import resources
from typing import NamedTuple

from asyncpg import Connection

from server.adapters.epochs import STORE_ID_BYTES
from server.adapters.postgres.transactions import transaction

VERSION = 1
"""The version of the files schema*.sql. A higher version needs statements that bring older tables there."""

LOCK = 0x4D415255
"""`MARU`: the advisory lock under which replicas make the schema, each alone."""


_FACTS = """
SELECT id, (pg_control_system()).system_identifier AS system, maru.timeline() AS timeline, maru.life() AS life,
NOT EXISTS (SELECT FROM maru.lives) AS is_new,
current_setting('fsync') = 'off' AS fsync, current_setting('synchronous_commit') = 'off' AS commits
FROM maru.store
"""


class SchemaUnusable(Exception):
    """The database can't be used until somebody changes something. The text is a single line."""


class AnotherLife(Exception):
    """PostgreSQL was started anew, or another server stands in for it, behind a connection that does not show it."""


class Identity(NamedTuple):
    """What tells a database from each other, and from what it was before a failover. `key` makes epochs."""

    store: bytes
    system: int
    timeline: int

    @property
    def key(self) -> bytes:
        """Return the id from which the epochs of channels are made: a new timeline makes new epochs."""
        life = self.system.to_bytes(8, "big", signed=True) + self.timeline.to_bytes(4, "big")
        return blake2b(life, key=self.store, digest_size=STORE_ID_BYTES).digest()


class Facts(NamedTuple):
    """What PostgreSQL says of itself. `life` changes with each start of the server, and each crash."""

    identity: Identity
    life: str
    lacking: tuple[str, ...]


async def prepare(connection: Connection) -> None:
    """Make the schema if it is missing. Raises `SchemaUnusable`, `errors.ERRORS`."""
    if await _version(connection) == VERSION:
        return
    # A replica may wait for another that makes it now, but not for longer than a command may take.
    async with transaction(connection):
        await connection.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")  # the caller's counts
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        found = await _version(connection)
        if found is not None and found > VERSION:
            raise SchemaUnusable(
                f"the database was written by a newer Maru (schema {found}, this one knows {VERSION}); "
                "start the newer version, or name another database"
            )
        if found != VERSION:
            for text in files():
                await connection.execute(text)
            await connection.execute("UPDATE maru.store SET schema = $1", VERSION)


async def facts(connection: Connection) -> Facts:
    """Return what PostgreSQL says of itself. Raises `errors.ERRORS`, so also if it is a standby."""
    row = await connection.fetchrow(_FACTS)
    assert row is not None  # the schema has it
    if row["is_new"]:
        await connection.execute("INSERT INTO maru.lives DEFAULT VALUES ON CONFLICT DO NOTHING")
        row = await connection.fetchrow(_FACTS)
        assert row is not None  # as above
    settings = {"fsync": row["fsync"], "synchronous_commit": row["commits"]}
    lacking = tuple(name for name, is_off in settings.items() if is_off)
    return Facts(Identity(row["id"], row["system"], row["timeline"]), row["life"], lacking)


def files() -> list[str]:
    """Return the texts of the schema, schema.sql first: the others may replace its functions."""
    folder = resources.files("server.adapters.postgres")
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(folder / name).read_text("utf-8") for name in names]


async def _version(connection: Connection) -> int | None:
    """Return the schema's version in the database; None if there is none."""
    if not await connection.fetchval("SELECT to_regclass('maru.store') IS NOT NULL"):
        return None
    version: int | None = await connection.fetchval("SELECT schema FROM maru.store")
    return version
