"""Writes the rows of Parquet files again with pyarrow on one core, and prints what it took as JSON.

    write.py FOLDER SCRATCH

Reading is not measured: the tables are in memory, sorted, when the clock starts.
"""

import json
import pathlib
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq

pa.set_cpu_count(1)
pa.set_io_thread_count(1)

tables = [pq.ParquetFile(file).read() for file in sorted(pathlib.Path(sys.argv[1]).rglob("*.parquet"))]
target = pathlib.Path(sys.argv[2]) / "pyarrow.parquet"
size = 0
began = time.process_time()
for table in tables:
    pq.write_table(table, target, compression="zstd", row_group_size=65536)
    size += target.stat().st_size
print(json.dumps({
    "rows": sum(table.num_rows for table in tables),
    "bytes": size,
    "cpu_s": time.process_time() - began,
}))
