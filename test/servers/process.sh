# Processes that outlive the command which starts them. A server NAME has the log log/NAME.log, the pid file pid/NAME.

ready_seconds=120 # a loaded machine needs long for the first start of four JVMs
stop_seconds=20

# birth prints when a process was started, in clock ticks since boot; nothing if there is no such process. With its
# number this names a process for good: numbers come round again.
birth() {
	local stat
	{ stat=$(< "/proc/$1/stat"); } 2> /dev/null || return 0
	stat=${stat##*) } # the name before may hold spaces
	# shellcheck disable=SC2086
	set -- $stat
	[ "$1" = Z ] || echo "${20}"
}

pid_of() { read -r pid _ < "$dir/pid/$1" && echo "$pid"; }

# running tells whether the process that was started here as NAME still lives.
running() {
	local pid born
	[ -s "$dir/pid/$1" ] && read -r pid born < "$dir/pid/$1" && [ -n "$born" ] && [ "$(birth "$pid")" = "$born" ]
}

# detach NAME COMMAND... starts a server in a session of its own. It keeps none of the caller's open files: started
# under a lock or in a pipe, it would otherwise hold that for as long as it lives.
detach() {
	local name=$1 pid
	shift
	mkdir -p "$dir/log" "$dir/pid" "$dir/tmp"
	(
		cd "$dir"
		for fd in /proc/"$BASHPID"/fd/*; do
			fd=${fd##*/}
			[ "$fd" -le 2 ] || eval "exec $fd>&-"
		done
		exec setsid "$@"
	) > "$dir/log/$name.log" 2>&1 < /dev/null &
	pid=$!
	echo "$pid $(birth "$pid")" > "$dir/pid/$name"
	date +%s%N > "$dir/pid/$name.started"
}

# java_server NAME HEAP CLASSPATH CLASS ARGS... starts a JVM. Temporary files stay in the one folder too.
java_server() {
	local name=$1 heap=$2
	shift 2
	# shellcheck disable=SC2086
	detach "$name" java "-Xmx$heap" $JVM_FLAGS "-Djava.io.tmpdir=$dir/tmp" "$@"
}

# wait_ready waits until NAME answers, and says how long it took.
wait_ready() {
	local name=$1 deadline=$((SECONDS + ready_seconds)) started
	until "ready_$name"; do
		if ! running "$name"; then
			tail -n 20 "$dir/log/$name.log" >&2
			echo "$name ended while it started; its log is $dir/log/$name.log" >&2
			return 1
		fi
		if ((SECONDS > deadline)); then
			echo "$name does not answer after ${ready_seconds}s; its log is $dir/log/$name.log" >&2
			return 1
		fi
		sleep 0.1
	done
	started=$(< "$dir/pid/$name.started")
	awk -v name="$name" -v pid="$(pid_of "$name")" -v from="$started" -v to="$(date +%s%N)" \
		'BEGIN { printf "%s: ready after %.1f s, pid %d\n", name, (to - from) / 1e9, pid }'
}

# free_port fails if something listens on a port that NAME is about to take, before its data are touched. A server that
# was killed a moment ago may still have its port: its last threads end after it.
free_port() {
	local name=$1 port deadline=$((SECONDS + 5))
	shift
	for port in "$@"; do
		while listening "$port"; do
			if ((SECONDS > deadline)); then
				echo "$name: port $port is taken by another process; see the settings of $here/servers.sh" >&2
				return 1
			fi
			sleep 0.1
		done
	done
}

# http METHOD PORT PATH prints the whole answer; nothing where there is none within 5 s.
http() {
	(
		exec 3<> "/dev/tcp/127.0.0.1/$2"
		printf '%s %s HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n' "$1" "$3" >&3
		timeout 5 cat <&3
	) 2> /dev/null || true
}

listening() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

stop() {
	local name=$1 pid deadline=$((SECONDS + stop_seconds))
	if running "$name"; then
		pid=$(pid_of "$name")
		kill -CONT "$pid" # a stopped one would not hear
		kill -TERM "$pid"
		while running "$name"; do
			if ((SECONDS > deadline)); then
				echo "$name: does not stop, killed"
				crash "$name"
				return
			fi
			sleep 0.1
		done
		echo "$name: stopped"
	fi
	rm -f "$dir/pid/$name" "$dir/pid/$name.started"
}

crash() {
	local name=$1
	if running "$name"; then
		kill -KILL "$(pid_of "$name")"
		while running "$name"; do sleep 0.05; done
	fi
	rm -f "$dir/pid/$name" "$dir/pid/$name.started"
}

signal() {
	if running "$2"; then kill "-$1" "$(pid_of "$2")"; fi
}

status() {
	if running "$1"; then echo "$1: running, pid $(pid_of "$1")"; else echo "$1: not running"; fi
}
