#!/usr/bin/env bash
# Builds the Kafka Streams rival and the load generator into a folder, and prints their class path. It installs a JDK
# and Maven where there are none, and builds again only what has changed.
#
#   build.sh DIR
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)
. "$here/../../servers/install.sh"

stamp=$dir/classpath
if [ ! -s "$stamp" ] || [ -n "$(find "$here/pom.xml" "$here/src" -newer "$stamp" -print -quit)" ]; then
	missing=()
	command -v javac > /dev/null || missing+=(openjdk-17-jdk-headless)
	command -v mvn > /dev/null || missing+=(maven)
	install_packages "${missing[@]}" >&2
	mvn -B -q -ntp -Dstyle.color=never -f "$here/pom.xml" -Drace.build="$dir" compile \
		dependency:build-classpath -Dmdep.outputFile="$dir/dependencies" >&2
	echo "$dir/classes:$(< "$dir/dependencies")" > "$stamp"
fi
cat "$stamp"
