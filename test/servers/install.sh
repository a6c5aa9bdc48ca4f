# What the servers are made of: a Java, Maven, and what Maven fetches. Everything is fetched once.

# Later versions read the registry's own pom too, and the parent that it names was never published.
maven_plugin=org.apache.maven.plugins:maven-dependency-plugin:2.8

# install_java installs a Java where there is none. 17 is the oldest on which all servers run.
install_java() {
	local missing=()
	command -v java > /dev/null || missing+=(openjdk-17-jre-headless)
	command -v flock > /dev/null && command -v setsid > /dev/null || missing+=(util-linux)
	install_packages "${missing[@]}"
}

install_packages() {
	[ $# -gt 0 ] || return 0
	command -v apt-get > /dev/null || { echo "please install: $*" >&2; return 1; }
	DEBIAN_FRONTEND=noninteractive apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

# fetch NAME GOAL ARGS... runs a goal of Maven's dependency plugin on NAME/pom.xml, with the result in dist/NAME. It is
# done again when the pom has changed, and appears whole or not at all.
fetch() {
	local name=$1 goal=$2 pom=$here/$1/pom.xml dist=$dir/dist/$1
	shift 2
	if [ -e "$dist/pom.xml" ] && cmp -s "$pom" "$dist/pom.xml"; then return; fi
	command -v mvn > /dev/null || install_packages maven
	echo "$name: fetching"
	rm -rf "$dist" "$dist.part"
	mkdir -p "$dist.part"
	mvn -B -q -ntp -Dstyle.color=never -f "$pom" "$maven_plugin:$goal" -DoutputDirectory="$dist.part" "$@"
	cp "$pom" "$dist.part/pom.xml"
	mv "$dist.part" "$dist"
}
