# What is different about secured servers. It takes the place of the functions of the same name.

KAFKA_TLS_PORT=${KAFKA_TLS_PORT:-$((KAFKA_PORT + 2))}
KDC_PORT=${KDC_PORT:-$((KAFKA_PORT + 4))}
secure=$dir/data/secure
realm=GANTRY.TEST
all=(kdc kafka registry namenode datanode)

. "$here/secure/certificates.sh"
. "$here/secure/kerberos.sh"

# Kafka: SASL_SSL for clients and for the broker itself, and a listener that knows a client by its certificate. The
# controller's listener is not encrypted, on loopback, and the only place where somebody is ANONYMOUS.
install_kafka() {
	fetch kafka copy-dependencies -DincludeScope=runtime
	make_certificates
}

kafka_settings=(
	"listeners=SASL://127.0.0.1:$KAFKA_PORT,TLS://127.0.0.1:$KAFKA_TLS_PORT,CONTROLLER://127.0.0.1:$KAFKA_CONTROLLER_PORT"
	"advertised.listeners=SASL://127.0.0.1:$KAFKA_PORT,TLS://127.0.0.1:$KAFKA_TLS_PORT"
	"listener.security.protocol.map=SASL:SASL_SSL,TLS:SSL,CONTROLLER:PLAINTEXT"
	"inter.broker.listener.name=SASL"
	"sasl.mechanism.inter.broker.protocol=PLAIN"
	"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
	"listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username=admin password=admin-secret user_admin=admin-secret user_gantry=gantry-secret;"
	"listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
	"listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
	"listener.name.tls.ssl.client.auth=required"
	"ssl.keystore.type=PEM"
	"ssl.keystore.location=$secure/broker.pem"
	"ssl.truststore.type=PEM"
	"ssl.truststore.location=$secure/ca.pem"
	"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
	"super.users=User:admin;User:ANONYMOUS"
)

# SCRAM users are in the cluster's own log, so they are there from its first start.
kafka_format_flags=(
	--add-scram 'SCRAM-SHA-256=[name=gantry,password=gantry-secret]' --add-scram 'SCRAM-SHA-512=[name=gantry,password=gantry-secret]'
)

registry_flags=(
	-Dquarkus.http.auth.basic=true
	-Dquarkus.http.auth.permission.api.paths=/apis/* -Dquarkus.http.auth.permission.api.policy=authenticated
	-Dquarkus.security.users.embedded.plain-text=true
	-Dquarkus.security.users.embedded.users.gantry=gantry-secret -Dquarkus.security.users.embedded.roles.gantry=user
)

ready_registry() {
	[[ $(http GET "$REGISTRY_PORT" /apis/ccompat/v7/subjects) == "HTTP/1."?" 401 "* ]]
}

print_env() {
	echo "export GANTRY_SECURE_DIR=$secure"
	echo "export GANTRY_SECURE_BROKERS=127.0.0.1:$KAFKA_PORT"
	echo "export GANTRY_SECURE_BROKERS_TLS=127.0.0.1:$KAFKA_TLS_PORT"
	echo "export GANTRY_SECURE_REGISTRY=http://127.0.0.1:$REGISTRY_PORT/apis/ccompat/v7"
	echo "export GANTRY_SECURE_ARCHIVE=hdfs://localhost:$HDFS_PORT/traffic-data"
}
