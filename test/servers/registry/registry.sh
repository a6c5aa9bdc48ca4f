# Apicurio Registry, which speaks the Confluent API. It keeps its schemas in memory: a restart forgets them.

registry_flags=() # what a variant adds

install_registry() { fetch registry unpack; }

start_registry() {
	free_port registry "$REGISTRY_PORT"
	local jars=("$dir"/dist/registry/apicurio-registry-app-*-runner.jar)
	QUARKUS_HTTP_HOST=127.0.0.1 QUARKUS_HTTP_PORT=$REGISTRY_PORT QUARKUS_HTTP_ACCESS_LOG_ENABLED=false \
		java_server registry "$REGISTRY_HEAP" "${registry_flags[@]}" -jar "${jars[0]}"
}

ready_registry() {
	[[ $(http GET "$REGISTRY_PORT" /apis/ccompat/v7/subjects) == "HTTP/1."?" 200 "* ]]
}
