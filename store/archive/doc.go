// Package archive writes traffic-events to Parquet files, each reading and each revision of a window exactly once,
// although the topic may repeat records and although writers may crash, stall and overlap; and merges the files of
// hours that are over.
//
// # How a batch is committed
//
// A Partition collects rows and, when a batch is due, does this:
//
//  1. It writes the files of the batch, one for each table and hour of event time, under temporary names.
//  2. It creates the intent _intents/PPPPP-START, exclusively and with its whole content. This is the commit. The
//     intent holds the end offset, both names of each file, and what is needed to tell repeats.
//  3. It lists the intents of the partition. Only if its own is the newest, it goes on.
//  4. It renames the files to their final names.
//
// The next intent starts at the end of the newest one, so the intents of a partition form one chain, and two writers
// that go on from the same end contend for one name. Whoever opens a partition, loses a race, or does not know what
// became of its commit, does one and the same thing: it takes the newest intent for the end of the archive, repeats
// that intent's renames, and goes on from its end with its memory.
//
// # Why each record is archived once
//
// An intent is created only by a writer that has finished the renames of the intent before it. So a crash leaves at
// most the newest intent unfinished, and everybody finishes that one first. Renames can be repeated: a file that is no
// longer under its temporary name has been moved.
//
// Two writers of one partition (one was paused beyond its session, and another took over) each archive a range that
// begins at the end of the newest intent they know. One creates the intent; the other finds the name taken, keeps only
// the rows beyond the winner's end, and sweeps its files away.
//
// The interleavings that would break it, and what stands against each:
//
//   - The intent is created first and filled later. A creates the name and pauses; B finds an empty intent, takes A for
//     dead, and removes it; A's close succeeds just before. Both believe that they have committed. Therefore an intent
//     gets its name and its content in one step: by link(2) on a local disk, by renaming a folder that holds the
//     finished file on HDFS, which refuses to replace a folder that is not empty. There is no torn intent to be cleared
//     away, and one that cannot be read is damage, reported as ErrIntentCorrupt.
//   - Old intents are pruned. A sleeps while the chain moves on and the intent that it would contend for is removed; A
//     wakes and creates it. Step 3 finds the newer ones, which pruning keeps, and A renames nothing. Its intent, never
//     the newest, is one that nobody looks at, also if A dies before step 3; it is the next to be pruned.
//   - … and read. B lists the intents and pauses before it reads the newest; the chain moves on, the name is pruned, and
//     A, who slept through that, creates it anew. B would finish A's intent. So what was read counts only if a listing
//     afterwards still shows it as the newest: the newest is never pruned, so that it has always been the same. This
//     holds for whoever reads the newest intents: archivers, compactors, and Extents.
//   - Leftovers are swept. A writes its temporary files and pauses; B, opening the partition, removes files that no
//     intent names; A creates the intent, and its files are gone. So only files that start at or before the start of
//     the newest intent are swept: their writer cannot win any more.
//   - An answer is lost. The intent was created, the writer sees an error, deletes its files, and tries again. So after
//     an attempt to create an intent, whatever came of it, temporary files are removed by the sweep alone.
//
// # Repeats
//
// Readings are numbered per sensor (sequence), and so are windows (header gantry-ordinal), both without gaps. The
// archive takes number last + 1, drops what is not above the last, and leaves out what is beyond: a gap in the topic is
// followed by what is missing and by the same records again. The last numbers travel in the intent, so that they belong
// to exactly the offsets that are archived. Where retention has deleted records before they were archived (NoteHole),
// what is missing never comes; behind a hole the first number above the last is a new beginning.
//
// # While the file system is away
//
// Trouble with the file system never loses a batch and never grows one: Add refuses more rows than FlushRows, the feed
// waits, and the topic is the buffer. A row takes about 250 bytes, a batch that is being encoded some 20 MB besides, and
// no more of them are encoded at once than there are processors; Options.Bound keeps the sum for all partitions of a
// process. Files are built in memory: nothing is spooled to a disk.
//
// HDFS fails in more ways than by an error. Its servers may keep a connection and say nothing: each read and write of a
// connection has a time limit, and the first that fails closes the connection. If it were kept, the next call would read
// the late answer to the last one, and so would every call after it. A call whose answer was lost may still be carried
// out by a namenode that wakes up, behind all that was done since: a late rename of an intent finds its name taken, or
// an intent behind the newest, which counts for nothing; a late rename or removal of a temporary file concerns a name
// that no other attempt uses. A file is confirmed when the namenode has heard from its datanodes; one that is not within
// half a minute is removed and written again with its batch. What a dead client has left open is removed at once: HDFS
// asks for no lease of who deletes.
//
// # Compaction and seals
//
// A Compactor merges the files of an hour into one of each table, drops the revisions that a higher one follows, and
// seals the hour with a manifest. Readers of Parquet files know no manifest, and archivers know no compactor. It does
// this:
//
//  1. It finishes what others have committed: the renames of the newest intents, and the seal of the hour if there is
//     one (steps 4 and 5).
//  2. It lists the hour's folders. What stands there is committed and whole; these names, and no others, are its
//     inputs. It merges them, and writes the merged files under temporary names.
//  3. It creates the manifest _manifests/HOUR-GENERATION, exclusively and with its whole content. This is the commit.
//     It names the inputs and both names of each merged file.
//  4. It deletes the inputs.
//  5. It renames the merged files to their final names.
//
// An hour that is sealed is no hour that is closed. A redriven reading, a silence that comes late, a process that was
// away: whatever is archived later stands in a file beside the sealed one, the archive is exact all the time, and the
// next compaction merges both and creates the next generation. So when to seal is a matter of sense alone (Settling),
// and no clock can lose or double anything.
//
// Each row is committed once, because a file of an archiver is input of one generation at most: a compactor that
// creates a generation has read the one before it, finished it, and listed the folders then. Everybody can repeat steps
// 4 and 5 at any time later without effect, because no name is used again: neither that of an input, which says
// partition and offsets, nor a temporary one, which holds an id, nor that of a merged file, which says its generation.
//
// The interleavings that would break it, and what stands against each:
//
//   - Two compactors merge the same inputs. One creates the manifest; the other finds the name taken and deletes its
//     work. A compactor that was overtaken long ago finds its generation taken too: manifests are never removed.
//   - A manifest is created, and its compactor dies. Readers miss what was deleted until somebody finishes: the next
//     compaction, of any hours, does so first. ReadArchived finds the rows all the while.
//   - An archiver adds a file to the hour while it is merged, or while the files are exchanged. It is no input, since
//     inputs are names that were listed, and stays.
//   - An archiver dies before its renames, or sleeps and repeats them when its files are merged already. A file has its
//     temporary name only until the first rename, whoever does it, so that a later one moves nothing, and cannot bring
//     a deleted input back.
//   - A merged file is removed by a sweep before it has its name. A sweep takes files of generations that are
//     committed, after it has renamed those that the manifest names: their compactors have lost.
//   - Inputs are deleted, and the merged file is not there. Step 4 looks first.
//
// The inputs go before the merged file comes, since HDFS has no step that does both for single files, and an archiver
// may be adding to the folder, so that it cannot be exchanged as a whole. A reader that lists an hour in this moment (a
// few milliseconds for each input) sees a part of it, and never a row twice: a query that is run again is right, and
// one that counted twice would not have been noticed. Reading a file that was just merged fails, as files that are gone
// do.
//
// A damaged sealed file is not merged into the next generation: its SHA-256 is compared first; and where it is gone,
// nothing is merged without it. A merged file that somebody puts back doubles its rows for readers; since inputs go
// before the merged file comes, ReadArchived can tell it from one that is on its way out (Strays). Rows that should be
// there once and are there twice end a compaction with an error, and so does a data file that Gantry did not write.
//
// # One topic
//
// Where an archive goes on is an offset, which says nothing of another topic: behind it, the first records of a
// traffic-events that was created again would be passed over as archived. So an archive names the topic that it is made
// from, by cluster and id, in a file that is created exclusively by the first who binds it (Bind); two that begin at
// once with different topics cannot both win it. Whoever opens a partition binds the archive before, so that it never
// appends to one of another topic, and reads no end that is another topic's.
//
// # What it does not do
//
// It reads no topic: somebody feeds it, and says what was published. Rows of late readings go to the folder of their
// hour, however old. Silences are not archived.
package archive
