# A Kerberos KDC of its own, and HDFS that knows its users by it. nobody's /etc/krb5.conf is touched: every program is
# told where the configuration is.

kerberos=$dir/data/kerberos
export KRB5_CONFIG=$secure/krb5.conf KRB5_KDC_PROFILE=$kerberos/kdc.conf KRB5CCNAME=FILE:$kerberos/administrator.ccache

install_kdc() {
	[ -x /usr/sbin/krb5kdc ] || install_packages krb5-kdc krb5-admin-server krb5-user
	[ ! -e "$kerberos/principal" ] || return 0
	rm -rf "$kerberos"
	mkdir -p "$kerberos" "$secure"
	krb5_conf > "$KRB5_CONFIG"
	kdc_conf > "$KRB5_KDC_PROFILE"
	(
		umask 077
		kdb5_util create -s -r "$realm" -P "$(head -c 16 /dev/urandom | base64)"
		local principal
		for principal in nn/localhost dn/localhost HTTP/localhost gantry stranger; do
			kadmin.local -r "$realm" -q "addprinc -randkey $principal"
		done
		kadmin.local -r "$realm" -q "ktadd -norandkey -k $kerberos/hdfs.keytab nn/localhost dn/localhost HTTP/localhost"
		kadmin.local -r "$realm" -q "ktadd -norandkey -k $secure/gantry.keytab gantry"
		kadmin.local -r "$realm" -q "ktadd -norandkey -k $secure/stranger.keytab stranger"
	) > "$dir/data/kdc-create.log" 2>&1 || { cat "$dir/data/kdc-create.log" >&2; return 1; }
}

start_kdc() {
	free_port kdc "$KDC_PORT"
	detach kdc /usr/sbin/krb5kdc -n -r "$realm"
}

ready_kdc() { listening "$KDC_PORT"; }

krb5_conf() {
	cat << CONF
[libdefaults]
	default_realm = $realm
	dns_lookup_kdc = false
	dns_lookup_realm = false
	dns_canonicalize_hostname = false
	rdns = false
	udp_preference_limit = 1
[realms]
	$realm = {
		kdc = 127.0.0.1:$KDC_PORT
	}
CONF
}

kdc_conf() {
	cat << CONF
[kdcdefaults]
	kdc_listen = 127.0.0.1:$KDC_PORT
	kdc_tcp_listen = 127.0.0.1:$KDC_PORT
[realms]
	$realm = {
		database_name = $kerberos/principal
		key_stash_file = $kerberos/stash
		supported_enctypes = aes256-cts-hmac-sha1-96:normal
	}
CONF
}

# HDFS: calls by Kerberos, blocks by tokens, and SASL on the way to the datanode. A datanode without privileged ports
# wants TLS for its web pages; they are not used here, and the setting that tests have says so.
hdfs_flags=("-Djava.security.krb5.conf=$KRB5_CONFIG")
core_settings=(
	"fs.defaultFS=hdfs://localhost:$HDFS_PORT"
	"hadoop.security.authentication=kerberos"
	"hadoop.security.authorization=true"
)
hdfs_settings=(
	"dfs.namenode.rpc-address=localhost:$HDFS_PORT"
	"dfs.datanode.hostname=localhost"
	"dfs.namenode.kerberos.principal=nn/localhost@$realm"
	"dfs.namenode.keytab.file=$kerberos/hdfs.keytab"
	"dfs.datanode.kerberos.principal=dn/localhost@$realm"
	"dfs.datanode.keytab.file=$kerberos/hdfs.keytab"
	"dfs.web.authentication.kerberos.principal=HTTP/localhost@$realm"
	"dfs.web.authentication.kerberos.keytab=$kerberos/hdfs.keytab"
	"dfs.block.access.token.enable=true"
	"dfs.data.transfer.protection=${HDFS_PROTECTION:-privacy}"
	"dfs.encrypt.data.transfer.cipher.suites=AES/CTR/NoPadding"
	"ignore.secure.ports.for.testing=true"
)

make_archive_folder() {
	kinit -k -t "$kerberos/hdfs.keytab" nn/localhost
	hdfs_java 256m org.apache.hadoop.fs.FsShell -mkdir -p /traffic-data
	hdfs_java 256m org.apache.hadoop.fs.FsShell -chown gantry /traffic-data
}
