"""Superset's settings: each of its DuckDB connections has the views of views.sql.

In: FILO_RUNS, an output folder of `filo score` or a glob of several, and if need be FILO_DUCKDB, SQL that
runs first (`INSTALL httpfs; LOAD httpfs; CREATE SECRET …` for a bucket).
"""

import os
from pathlib import Path

from duckdb_engine import ConnectionWrapper
from sqlalchemy import event
from sqlalchemy.engine import Engine

SET_RUNS = "SET VARIABLE runs = '" + os.environ["FILO_RUNS"].replace("'", "''") + "'"
VIEWS = (Path(__file__).resolve().parent.parent / "views.sql").read_text()


@event.listens_for(Engine, "connect")
def make_views(connection, _record):
    """Makes the views in a new connection, whose database is in memory and its own."""
    if isinstance(connection, ConnectionWrapper):
        for sql in [os.environ.get("FILO_DUCKDB"), SET_RUNS, VIEWS]:
            if sql:
                connection.execute(sql)
