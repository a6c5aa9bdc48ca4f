#!/usr/bin/env bash
# Real servers for the suites of test/real, on loopback, from packages alone: Apache Kafka (KRaft, one process), a
# schema registry with the Confluent API (Apicurio, in memory) and HDFS (a namenode and a datanode).
#
#   servers.sh start [NAME...]   install what is missing, start what does not run, wait until it answers
#   servers.sh stop [NAME...]    end what was started here: TERM, and KILL after 20 s
#   servers.sh kill NAME...      end it at once, as a crash does
#   servers.sh pause NAME...     stop it without ending it: connections stay and nothing answers
#   servers.sh resume NAME...    let it go on
#   servers.sh safemode on|off   let HDFS refuse every change, or not
#   servers.sh quota BYTES|off   let HDFS refuse to store more than so many bytes below the archive's folder, or not
#   servers.sh wipe              stop everything and remove its data and logs; what was downloaded stays
#   servers.sh status            what runs
#   servers.sh env               the settings of gantry that reach these servers
#
# Names are kafka, registry, namenode and datanode. Settings by environment, with their defaults below: ports, heaps,
# flags of the JVMs, and the folder SERVERS_DIR, which holds everything that is written. Ports lie below the range from
# which the kernel takes those of outgoing connections, so that none of these is in the way of a restart.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

SERVERS_DIR=${SERVERS_DIR:-$(cd "$here/../.." && pwd)/.servers}
KAFKA_PORT=${KAFKA_PORT:-19192}
KAFKA_CONTROLLER_PORT=${KAFKA_CONTROLLER_PORT:-19193}
KAFKA_HEAP=${KAFKA_HEAP:-512m}
REGISTRY_PORT=${REGISTRY_PORT:-18181}
REGISTRY_HEAP=${REGISTRY_HEAP:-384m}
HDFS_PORT=${HDFS_PORT:-18020}
HDFS_HTTP_PORT=${HDFS_HTTP_PORT:-18070}
HDFS_DATA_PORT=${HDFS_DATA_PORT:-18066}
HDFS_DATA_IPC_PORT=${HDFS_DATA_IPC_PORT:-18067}
HDFS_DATA_HTTP_PORT=${HDFS_DATA_HTTP_PORT:-18064}
HDFS_HEAP=${HDFS_HEAP:-256m}
JVM_FLAGS=${JVM_FLAGS:--XX:+UseSerialGC}

mkdir -p "$SERVERS_DIR"
dir=$(cd "$SERVERS_DIR" && pwd)
all=(kafka registry namenode datanode)

. "$here/install.sh"
. "$here/process.sh"
. "$here/kafka/kafka.sh"
. "$here/registry/registry.sh"
. "$here/hdfs/hdfs.sh"

# start_all starts servers side by side, since each takes seconds to come up, and then waits for each in turn.
start_all() {
	local name waiting=()
	install_java
	for name in "$@"; do
		if running "$name"; then
			if "ready_$name"; then
				echo "$name: already running, pid $(pid_of "$name")"
				continue
			fi
		else
			"install_$name"
			"start_$name"
		fi
		waiting+=("$name")
	done
	for name in "${waiting[@]}"; do
		wait_ready "$name"
		[ "$name" != datanode ] || make_archive_folder
	done
}

print_env() {
	echo "export GANTRY_KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT"
	echo "export GANTRY_REGISTRY_URL=http://127.0.0.1:$REGISTRY_PORT/apis/ccompat/v7"
	echo "export GANTRY_ARCHIVE_URL=hdfs://127.0.0.1:$HDFS_PORT/traffic-data"
}

usage() {
	sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
	exit 2
}

main() {
	local command=${1:-} name argument=
	shift || true
	case $command in
		safemode | quota)
			argument=${1:-}
			[ $# -eq 1 ] || usage
			shift
			;;
	esac
	local names=("$@")
	[ ${#names[@]} -gt 0 ] || [[ $command =~ ^(kill|pause|resume)$ ]] || names=("${all[@]}")
	for name in "${names[@]}"; do
		[[ " ${all[*]} " == *" $name "* ]] || usage
	done
	# One command at a time. Nothing that is started inherits the lock: see detach.
	exec 9> "$dir/lock"
	flock -w 600 9 || { echo "another servers.sh holds $dir/lock" >&2; exit 1; }
	case $command in
		start) start_all "${names[@]}" ;;
		stop) for name in "${names[@]}"; do stop "$name"; done ;;
		kill) for name in "${names[@]}"; do crash "$name"; done ;;
		pause) for name in "${names[@]}"; do signal STOP "$name"; done ;;
		resume) for name in "${names[@]}"; do signal CONT "$name"; done ;;
		safemode) safemode "$argument" ;;
		quota) quota "$argument" ;;
		wipe)
			for name in "${all[@]}"; do stop "$name"; done
			rm -rf "${dir:?}/data" "${dir:?}/log" "${dir:?}/pid"
			;;
		status) for name in "${names[@]}"; do status "$name"; done ;;
		env) print_env ;;
		*) usage ;;
	esac
}

[ -z "${SERVERS_SECURE:-}" ] || . "$here/secure/secure.sh" # see secure.sh, which sets it
main "$@"
