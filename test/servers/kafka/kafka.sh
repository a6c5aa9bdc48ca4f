# Apache Kafka: broker and controller in one process.

# What a variant adds; of a setting that stands twice, the last counts.
kafka_format_flags=()
kafka_settings=()

install_kafka() { fetch kafka copy-dependencies -DincludeScope=runtime; }

start_kafka() {
	local data=$dir/data/kafka
	free_port kafka "$KAFKA_PORT" "$KAFKA_CONTROLLER_PORT"
	mkdir -p "$data"
	kafka_properties > "$data/server.properties"
	if [ ! -e "$data/log/meta.properties" ]; then
		# 16 random bytes in URL-safe base64; an id that begins with - would be taken for a flag.
		local id
		id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
		java -Xmx256m -XX:TieredStopAtLevel=1 -cp "$here/kafka:$dir/dist/kafka/*" kafka.tools.StorageTool format \
			--config "$data/server.properties" --cluster-id "G${id:1}" "${kafka_format_flags[@]}" > "$data/format.log" 2>&1 ||
			{ cat "$data/format.log" >&2; return 1; }
	fi
	java_server kafka "$KAFKA_HEAP" -cp "$here/kafka:$dir/dist/kafka/*" kafka.Kafka "$data/server.properties"
}

# The listener accepts when the broker is ready to serve.
ready_kafka() { listening "$KAFKA_PORT"; }

# One broker cannot hold three copies, so that every internal topic needs its replication factor.
kafka_properties() {
	cat << PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$KAFKA_CONTROLLER_PORT
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT
advertised.listeners=PLAINTEXT://127.0.0.1:$KAFKA_PORT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data/kafka/log
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=33554432
log.cleaner.backoff.ms=1000
PROPERTIES
	[ ${#kafka_settings[@]} -eq 0 ] || printf '%s\n' "${kafka_settings[@]}"
}
