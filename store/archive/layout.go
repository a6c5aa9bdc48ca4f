package archive

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// Table is one of the data sets of an archive.
type Table uint8

// The tables, in the order of their files in an intent.
const (
	TableRaw Table = iota
	TableAggregates

	tableCount = iota
)

// Tables lists them.
var Tables = [tableCount]Table{TableRaw, TableAggregates}

var (
	tableNames = [tableCount]string{"raw", "aggregates"}
	tableDirs  = [tableCount]string{"raw", "processed/aggregates"}
)

func (t Table) String() string { return tableNames[t] }

// Dir is the table's folder below the archive's root.
func (t Table) Dir() string { return tableDirs[t] }

// Folders that hold no data: readers of data sets skip names that begin with "_".
const (
	intentDir   = "_intents"
	manifestDir = "_manifests"
	tempDir     = "_temporary"

	dataExt = ".parquet"
	tempExt = ".tmp" // DuckDB reads whatever ends in .parquet, finished or not
)

const hourMillis = int64(time.Hour / time.Millisecond)

// hourOf numbers the hours since the epoch; it rounds down.
func hourOf(ms int64) int64 {
	h := ms / hourMillis
	if ms%hourMillis < 0 {
		h--
	}
	return h
}

// hourDirFormat names folders as Hive partitions.
const hourDirFormat = "year=2006/month=01/day=02/hour=15"

// hourOfDir is the inverse of HourDir.
func hourOfDir(t Table, dir string) (time.Time, bool) {
	below, ok := strings.CutPrefix(dir, t.Dir()+"/")
	if !ok {
		return time.Time{}, false
	}
	hour, err := time.Parse(hourDirFormat, below)
	return hour, err == nil
}

// HourDir is the folder of a table's rows of one hour of event time, in UTC.
func HourDir(t Table, hour time.Time) string {
	return path.Join(t.Dir(), hour.UTC().Format(hourDirFormat))
}

// finalName names a data file by what it holds, so that whoever repeats a commit gives it the same name: the rows of
// one hour among the offsets start ≤ offset < end of a partition.
func finalName(t Table, hour int64, partition int32, start, end int64) string {
	name := fmt.Sprintf("p%05d-%020d-%020d%s", partition, start, end, dataExt)
	return path.Join(HourDir(t, time.UnixMilli(hour*hourMillis)), name)
}

// tempName is where a file of a batch waits for the batch's intent. The id tells attempts apart.
func tempName(partition int32, start int64, id intentID, n int) string {
	return path.Join(tempDir, fmt.Sprintf("p%05d-%020d-%x-%d%s", partition, start, id, n, tempExt))
}

// intentName holds the start offset alone: two writers that go on from one point contend for one name.
func intentName(partition int32, start int64) string {
	return path.Join(intentDir, fmt.Sprintf("%05d-%020d", partition, start))
}

// parseStart reads the partition and start offset from the beginning of the base name of an intent or, after "p", of a
// temporary file. rest is what follows.
func parseStart(base string) (partition int32, start int64, rest string, ok bool) {
	p, after, ok := strings.Cut(base, "-")
	if !ok || len(p) != 5 || len(after) < 20 {
		return 0, 0, "", false
	}
	pn, err := strconv.ParseUint(p, 10, 31)
	if err != nil {
		return 0, 0, "", false
	}
	sn, err := strconv.ParseUint(after[:20], 10, 63)
	if err != nil {
		return 0, 0, "", false
	}
	return int32(pn), int64(sn), after[20:], true
}
