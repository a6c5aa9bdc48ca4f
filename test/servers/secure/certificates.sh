# An authority and what it signs, in PEM, which every program here reads. broker.pem holds key and certificate.

make_certificates() {
	[ ! -e "$secure/broker.pem" ] || return 0
	command -v openssl > /dev/null || install_packages openssl
	mkdir -p "$secure"
	(
		umask 077
		cd "$secure"
		openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=Gantry test authority" -keyout ca.key -out ca.pem
		certificate broker "subjectAltName=IP:127.0.0.1,DNS:localhost"
		certificate client "extendedKeyUsage=clientAuth"
		cat broker.key broker.crt > broker.pem
		cat client.crt > client.pem
	) 2> "$dir/log.certificates" || { cat "$dir/log.certificates" >&2; return 1; }
	rm -f "$dir/log.certificates"
}

# certificate NAME EXTENSION signs NAME.key as NAME.crt, for CN=NAME.
certificate() {
	openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr"
	openssl x509 -req -in "$1.csr" -days 3650 -CA ca.pem -CAkey ca.key -CAcreateserial -out "$1.crt" \
		-extfile <(echo "$2")
	rm "$1.csr"
}
