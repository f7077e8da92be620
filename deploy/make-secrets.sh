#!/bin/sh
# Writes the secrets that docker-compose.yml mounts to secrets/, each of them unless it is there.
# The folder is closed to other users of this machine; the files are readable, because a container's user has another id.
set -eu
cd "$(dirname "$0")/.."
umask 022
mkdir -p secrets
chmod 700 secrets
cd secrets

keep() { # the standard input in the file $1, unless it has content
    [ -s "$1" ] || cat > "$1"
}

random() {
    head -c 48 /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_'
}

encode() { # $1 for a URL
    case $1 in
        *[!A-Za-z0-9_-]*) printf %s "$1" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g' ;;
        *) printf %s "$1" ;;
    esac
}

bom=$(printf '\357\273\277')
for name in secret_key database_password postgres_password metrics_token grafana_password; do
    random | keep "$name"
    # One of your own, without what editors add: line ends, a byte order mark.
    own=$(tr -d '\r\n' < "$name")
    printf %s "${own#"$bom"}" > "$name"
done
password=$(cat database_password)
encoded=$(encode "$password")
printf 'postgresql://fizzbuzz:%s@db/fizzbuzz' "$encoded" | keep database_url
printf 'postgresql://fizzbuzz:%s@pgbouncer:6432/fizzbuzz' "$encoded" | keep pgbouncer_url
printf 'postgresql://fizzbuzz:%s@citus/fizzbuzz' "$encoded" | keep citus_url
printf '"fizzbuzz" "%s"\n' "$(printf %s "$password" | sed 's/"/""/g')" | keep pgbouncer_users
