"""Prints as JSON what a reader of Parquet finds in a folder: read.py pyarrow|duckdb|spark FOLDER...

Of each folder the number of rows, and of each column the number of nulls and, of numbers, the sum. Times count as
milliseconds since the first of March 2026, so that their sums are exact. A map counts as the sum of its values.
"""

import json
import sys


def number(value):
    return 0 if value is None else value


def with_pyarrow(folder):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    partitioning = ds.partitioning(pa.schema([(k, pa.int32()) for k in PARTITIONS]), flavor="hive")
    table = ds.dataset(folder, partitioning=partitioning, format="parquet").to_table()
    columns = {}
    for name in table.column_names:
        column = table.column(name)
        nulls = column.null_count
        if pa.types.is_map(column.type):
            values = pc.list_flatten(column.cast(pa.list_(pa.struct([("key", pa.string()), ("value", pa.int32())]))))
            column = pc.struct_field(values, "value")
        elif pa.types.is_timestamp(column.type):
            column = pc.subtract(column.cast(pa.int64()), BASE)
        elif pa.types.is_string(column.type):
            column = None
        columns[name] = {"nulls": nulls, "sum": None if column is None else float(number(pc.sum(column).as_py()))}
    return {"rows": table.num_rows, "columns": columns}


def with_duckdb(folder):
    import duckdb

    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    types = ", ".join(f"'{k}': INTEGER" for k in PARTITIONS)
    source = f"read_parquet('{folder}/*/*/*/*/*.parquet', hive_partitioning = true, hive_types = {{{types}}})"
    columns = {}
    for name, kind, *_ in db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall():
        quoted = f'"{name}"'
        if kind.startswith("MAP"):
            total = f"sum(list_sum(map_values({quoted})))"
        elif kind.startswith("TIMESTAMP"):
            total = f"sum(epoch_ms({quoted}) - {BASE})"
        elif kind == "VARCHAR":
            total = "NULL"
        else:
            total = f"sum({quoted})"
        nulls, value = db.execute(f"SELECT count(*) - count({quoted}), {total} FROM {source}").fetchone()
        columns[name] = {"nulls": nulls, "sum": None if total == "NULL" else float(number(value))}
    return {"rows": db.execute(f"SELECT count(*) FROM {source}").fetchone()[0], "columns": columns}


def with_spark(folder):
    from pyspark.sql import SparkSession, functions as f

    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "1g")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    frame = session.read.parquet(folder)
    wanted, texts = [f.count(f.lit(1)).alias("rows")], set()
    for field in frame.schema.fields:
        column, kind = f.col(field.name), field.dataType.typeName()
        wanted.append(f.sum(column.isNull().cast("int")).alias(field.name + ".nulls"))
        if kind == "map":
            column = f.aggregate(f.map_values(column), f.lit(0), lambda a, b: a + b)
        elif kind == "timestamp":
            column = f.unix_millis(column) - BASE
        elif kind == "string":
            texts.add(field.name)
            column = f.lit(0)
        wanted.append(f.sum(column).alias(field.name + ".sum"))
    row = frame.agg(*wanted).collect()[0].asDict()
    columns = {
        name: {"nulls": row[name + ".nulls"], "sum": None if name in texts else float(number(row[name + ".sum"]))}
        for name in frame.columns
    }
    return {"rows": row["rows"], "columns": columns}


BASE = 1772323200000
PARTITIONS = ("year", "month", "day", "hour")
READERS = {"pyarrow": with_pyarrow, "duckdb": with_duckdb, "spark": with_spark}

if __name__ == "__main__":
    read = READERS[sys.argv[1]]
    print(json.dumps([read(folder) for folder in sys.argv[2:]]))
