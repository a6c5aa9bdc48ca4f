package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/colinmarc/hdfs/v2"
)

// What a namenode calls its refusals, and what an operator can do about them.
const (
	safeModeException     = "org.apache.hadoop.hdfs.server.namenode.SafeModeException"
	retriableException    = "org.apache.hadoop.ipc.RetriableException"
	spaceQuotaException   = "org.apache.hadoop.hdfs.protocol.DSQuotaExceededException"
	namesQuotaException   = "org.apache.hadoop.hdfs.protocol.NSQuotaExceededException"
	fileNotFoundException = "java.io.FileNotFoundException"
)

// hdfsSaidMax bounds what is quoted of a server's message.
const hdfsSaidMax = 300

var hdfsAdvice = map[string]string{
	safeModeException:   "HDFS is in safe mode: see hdfs dfsadmin -safemode get",
	retriableException:  "HDFS is in safe mode: see hdfs dfsadmin -safemode get",
	spaceQuotaException: "the space quota of the archive's folder is used up: see hdfs dfs -count -q",
	namesQuotaException: "the quota of names of the archive's folder is used up: see hdfs dfs -count -q",
}

// explain adds to a refusal of HDFS what the server said: the client's error has the name of the exception alone.
func explain(err error) error {
	var refusal hdfs.Error
	if err == nil || !errors.As(err, &refusal) {
		return err
	}
	if refusal.Exception() == fileNotFoundException && !errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	said := hdfsAdvice[refusal.Exception()]
	if said == "" {
		said, _, _ = strings.Cut(refusal.Message(), "\n") // a stack trace follows
	}
	return fmt.Errorf("%w: %.*s", err, hdfsSaidMax, said)
}
