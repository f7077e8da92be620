#!/bin/sh
# Writes the secrets that docker-compose.yml mounts to secrets/, each of them unless it is there.
# The folder is closed to other users of this machine; the files are readable, because a container's user has another id.
set -eu
cd "$(dirname "$0")/.."
umask 022
mkdir -p secrets
chmod 700 secrets
cd secrets

keep() { # the standard input, in the file $1
    [ -s "$1" ] || cat > "$1"
}

random() {
    head -c 48 /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_'
}

for name in secret_key database_password postgres_password metrics_token grafana_password; do
    random | keep "$name"
done
password=$(cat database_password)
printf 'postgresql://fizzbuzz:%s@db/fizzbuzz' "$password" | keep database_url
printf 'postgresql://fizzbuzz:%s@pgbouncer:6432/fizzbuzz' "$password" | keep pgbouncer_url
printf 'postgresql://fizzbuzz:%s@citus/fizzbuzz' "$password" | keep citus_url
printf '"fizzbuzz" "%s"\n' "$password" | keep pgbouncer_users
