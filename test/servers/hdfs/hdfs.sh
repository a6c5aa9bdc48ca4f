# HDFS: a namenode and a datanode, as two plain Java processes.

# What a variant adds; of a setting that stands twice, the last counts.
hdfs_flags=()
core_settings=()
hdfs_settings=()

install_namenode() {
	fetch hdfs copy-dependencies -DincludeScope=runtime
	# The jars hold no web pages, and both servers refuse to start without a folder for them.
	mkdir -p "$dir/data/hdfs/conf/webapps/hdfs" "$dir/data/hdfs/conf/webapps/datanode"
	hdfs_site > "$dir/data/hdfs/conf/hdfs-site.xml"
	core_site > "$dir/data/hdfs/conf/core-site.xml"
	cp "$here/hdfs/log4j.properties" "$dir/data/hdfs/conf/"
}

install_datanode() { install_namenode; }

start_namenode() {
	free_port namenode "$HDFS_PORT" "$HDFS_HTTP_PORT"
	if [ ! -e "$dir/data/hdfs/name/current" ]; then
		hdfs_java 256m org.apache.hadoop.hdfs.server.namenode.NameNode -format -force -nonInteractive \
			> "$dir/data/hdfs/format.log" 2>&1 || { cat "$dir/data/hdfs/format.log" >&2; return 1; }
	fi
	java_server namenode "$HDFS_HEAP" "${hdfs_flags[@]}" -cp "$(hdfs_classpath)" org.apache.hadoop.hdfs.server.namenode.NameNode
}

start_datanode() {
	free_port datanode "$HDFS_DATA_PORT" "$HDFS_DATA_IPC_PORT" "$HDFS_DATA_HTTP_PORT"
	java_server datanode "$HDFS_HEAP" "${hdfs_flags[@]}" -cp "$(hdfs_classpath)" org.apache.hadoop.hdfs.server.datanode.DataNode
}

hdfs_classpath() { echo "$dir/data/hdfs/conf:$dir/dist/hdfs/*"; }

hdfs_java() {
	local heap=$1
	shift
	java "-Xmx$heap" "${hdfs_flags[@]}" -cp "$(hdfs_classpath)" "$@"
}

# The namenode answers when it accepts calls. While no datanode runs it may stay in safe mode: that is not its fault.
ready_namenode() { [[ $(namenode_state) == "HTTP/1."?" 200 "*'"FSState"'* ]]; }

# The datanode is ready when the namenode counts it, and lets files be written.
ready_datanode() {
	local state
	state=$(namenode_state)
	[[ $state == *'"FSState" : "Operational"'* && $state == *'"NumLiveDataNodes" : 1'* ]]
}

namenode_state() { http GET "$HDFS_HTTP_PORT" '/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState'; }

# make_archive_folder does what an administrator does before gantry starts: permissions are checked here, as they are
# on a cluster, and the user gantry may create nothing under /.
make_archive_folder() {
	local op answer
	for op in MKDIRS "SETOWNER&owner=gantry"; do
		answer=$(http PUT "$HDFS_HTTP_PORT" "/webhdfs/v1/traffic-data?user.name=$(id -un)&op=$op")
		[[ $answer == "HTTP/1."?" 200 "* ]] || { echo "HDFS folder /traffic-data: $op: $answer" >&2; return 1; }
	done
}

# safemode on|off changes the namenode's mode as an administrator does.
safemode() {
	local action
	case $1 in
		on) action=enter ;;
		off) action=leave ;;
		*) usage ;;
	esac
	hdfs_java 128m org.apache.hadoop.hdfs.tools.DFSAdmin -safemode "$action"
}

# quota BYTES|off bounds what may be stored below the archive's folder.
quota() {
	local bytes=$1 answer
	[ "$bytes" != off ] || bytes=-1
	answer=$(http PUT "$HDFS_HTTP_PORT" "/webhdfs/v1/traffic-data?user.name=$(id -un)&op=SETQUOTA&storagespacequota=$bytes")
	[[ $answer == "HTTP/1."?" 200 "* ]] || { echo "quota: $answer" >&2; return 1; }
}

core_site() {
	configuration "fs.defaultFS=hdfs://127.0.0.1:$HDFS_PORT" "hadoop.tmp.dir=$dir/tmp" "${core_settings[@]}"
}

hdfs_site() {
	configuration \
		"dfs.replication=1" \
		"dfs.namenode.rpc-address=127.0.0.1:$HDFS_PORT" \
		"dfs.namenode.http-address=127.0.0.1:$HDFS_HTTP_PORT" \
		"dfs.namenode.name.dir=file://$dir/data/hdfs/name" \
		"dfs.namenode.safemode.extension=0" \
		"dfs.datanode.data.dir=file://$dir/data/hdfs/data" \
		"dfs.datanode.hostname=127.0.0.1" \
		"dfs.datanode.address=127.0.0.1:$HDFS_DATA_PORT" \
		"dfs.datanode.ipc.address=127.0.0.1:$HDFS_DATA_IPC_PORT" \
		"dfs.datanode.http.address=127.0.0.1:$HDFS_DATA_HTTP_PORT" \
		"${hdfs_settings[@]}"
}

# configuration NAME=VALUE... writes a Hadoop configuration file.
configuration() {
	local setting
	echo '<configuration>'
	for setting in "$@"; do
		echo "  <property><name>${setting%%=*}</name><value>${setting#*=}</value></property>"
	done
	echo '</configuration>'
}
