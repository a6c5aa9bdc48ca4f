# A Kerberos KDC.
install_kdc() { :; }
