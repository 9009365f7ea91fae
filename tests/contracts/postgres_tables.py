"""Emptying tables of the PostgreSQL that all contracts share."""

from server.adapters.postgres.database import Database
from tests.harness.postgres import PostgresProcess


async def emptied(server: PostgresProcess, *tables: str) -> PostgresProcess:
    """Empty tables of the schema, which is made if it is missing."""
    async with Database(server.url) as db:
        for table in tables:
            await db.execute(f"DELETE FROM maru.{table}")
    return server
