#!/bin/sh
# Makes the secrets of deploy/compose.yaml that are not there yet, in deploy/secrets, each readable by its own container's
# user and by nobody else. Compose hands files on with the owner that they have, so this needs root.
#   sudo deploy/make-secrets.sh [NAME]     the name of the self-signed certificate, localhost by default
# Keep a copy of master.key where the database's backups are not: without it no template can be opened again.
set -eu
umask 077
name=${1:-localhost}
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
node=10001 postgres=999 proxy=101
if [ "$(id -u)" -ne 0 ]; then
  echo "The containers' users have to own these files: run it as root." >&2
  exit 1
fi
mkdir -p "$here/secrets"
cd "$here/secrets"

keep() { # keep FILE OWNER: put FILE.new in its place, owned
  chown "$2:$2" "$1.new"
  chmod 0400 "$1.new"
  mv "$1.new" "$1"
}

rm -f ./*.new
if [ ! -e master.key ]; then
  head -c 32 /dev/urandom >master.key.new
  keep master.key "$node"
fi
if [ ! -e postgres.password ]; then
  # 192 bits in letters that mean nothing in a password file.
  head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >postgres.password.new
  keep postgres.password "$postgres"
fi
if [ ! -e pgpass ]; then
  printf 'postgres:5432:countenance:countenance:%s\n' "$(cat postgres.password)" >pgpass.new
  keep pgpass "$node"
fi
if [ ! -e tls.crt ] || [ ! -e tls.key ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=$name" \
    -addext "subjectAltName=DNS:$name" -keyout tls.key.new -out tls.crt.new 2>/dev/null
  keep tls.key "$proxy"
  keep tls.crt "$proxy"
  chmod 0444 tls.crt
  echo "tls.crt is self-signed, for $name: put a certificate of your authority in its place." >&2
fi
