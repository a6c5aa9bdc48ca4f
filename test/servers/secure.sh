#!/usr/bin/env bash
# The servers of servers.sh once more, secured, with the same commands: Kafka with TLS, SASL and ACLs, the registry with
# basic authentication, HDFS with Kerberos, and the Kerberos KDC that HDFS needs (kdc, one more name). They have a
# folder, ports and data of their own, and share what was downloaded.
#
# The folder data/secure holds what clients need: ca.pem, client.pem and client.key, krb5.conf, gantry.keytab. Users of
# Kafka are admin, who may do everything, and gantry, who may do nothing until somebody grants it; gantry is known to the
# registry too. Their passwords are admin-secret and gantry-secret.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

shared=${SERVERS_DIR:-$(cd "$here/../.." && pwd)/.servers}
export SERVERS_DIR=$shared/secure SERVERS_SECURE=yes
export KAFKA_PORT=${KAFKA_PORT:-19292} KAFKA_CONTROLLER_PORT=${KAFKA_CONTROLLER_PORT:-19293}
export REGISTRY_PORT=${REGISTRY_PORT:-18281}
export HDFS_PORT=${HDFS_PORT:-18120} HDFS_HTTP_PORT=${HDFS_HTTP_PORT:-18170} HDFS_DATA_PORT=${HDFS_DATA_PORT:-18166}
export HDFS_DATA_IPC_PORT=${HDFS_DATA_IPC_PORT:-18167} HDFS_DATA_HTTP_PORT=${HDFS_DATA_HTTP_PORT:-18164}

mkdir -p "$shared/dist" "$SERVERS_DIR"
ln -sfn ../dist "$SERVERS_DIR/dist"
exec "$here/servers.sh" "$@"
