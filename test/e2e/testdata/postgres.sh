#!/bin/sh
# The entrypoint of the image postgres:15 of TestRealServers, above Debian's package:
# a new cluster with one user, whose password comes as that of Docker's image.
set -e
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
"$bin/initdb" --pgdata /tmp/data --username "$POSTGRES_USER" --pwfile /tmp/password --auth scram-sha-256 --no-sync --no-locale --encoding UTF8 >/tmp/initdb.log 2>&1 || {
	cat /tmp/initdb.log
	exit 1
}
echo "initialized as $(id -un) for $POSTGRES_USER with password $POSTGRES_PASSWORD"
exec "$bin/postgres" -D /tmp/data -k /tmp -c fsync=off -c shared_buffers=8MB
