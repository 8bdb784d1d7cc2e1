#!/bin/sh
# Removes OKOME from a host, and names what it removed. Packages of the distribution stay.
#
#     teardown.sh [ROOT]      another root of the file system than /, for tests
#
# A second run finishes what one that was broken off has left.
set -eu
root=${1-}
units=$root/etc/systemd/system

remove() {
    for path in "$@"; do
        if [ -e "$path" ] || [ -L "$path" ]; then
            rm -rf "$path"
            echo "${path#"$root"}"
        fi
    done
}

is_masked() { [ "$(readlink "$units/$1" 2>/dev/null)" = /dev/null ]; }

# Looked for first: what follows takes the signs away.
here=""
for sign in "$root/etc/okome" "$root/opt/okome" "$root/usr/local/lib/okome"; do
    if [ -e "$sign" ]; then here=yes; fi
done

# The proof of a firewall that is just under way would put the rules back.
systemctl stop okome-firewall-back.timer 2>/dev/null || true

ours=""
for unit in $(cd "$units" && ls -1d okome-*.service okome-*.timer 2>/dev/null || true); do
    # Only what a playbook has written.
    if grep -q 'Put here by Ansible' "$units/$unit" 2>/dev/null; then ours="$ours $unit"; fi
done
# The distribution's services that run with a configuration of ours have nothing left to do.
theirs=""
if [ -e "$units/haproxy.service.d/okome.conf" ]; then theirs="haproxy.service"; fi
if [ -e "$root/usr/local/lib/okome/check-ingress" ]; then theirs="keepalived.service $theirs"; fi
for unit in $theirs $ours; do
    echo "unit $unit"
    # At once: a broker would wait for those who cannot come back. Not keepalived, which takes
    # the VIP off the interface as it ends.
    case $unit in
        okome-*) systemctl kill --signal=KILL "$unit" 2>/dev/null || true ;;
    esac
    systemctl disable --quiet --now "$unit" 2>/dev/null || true
done

# Left by a firewall whose unit had not been started yet.
if nft list table inet okome >/dev/null 2>&1; then
    nft delete table inet okome
    echo "the table inet okome of nftables"
fi

for place in "$root"/etc/postgresql/*/okome; do
    if [ ! -e "$place" ]; then continue; fi
    version=$(basename "$(dirname "$place")")
    systemctl disable --quiet --now "postgresql@$version-okome.service" 2>/dev/null || true
    # By the distribution's tool, which knows of more than these; what it cannot take any more,
    # because a run before was broken off, is taken by hand.
    pg_dropcluster --stop "$version" okome 2>/dev/null || true
    remove "$place" "$root/var/lib/postgresql/$version/okome"
    remove "$root/var/log/postgresql/postgresql-$version-okome.log"*
    # Only those that are empty now: there may be databases of others.
    rmdir "$root/etc/postgresql/$version" "$root/var/lib/postgresql/$version" 2>/dev/null || true
    echo "the database okome of PostgreSQL $version"
done
if grep -qs 'Put here by Ansible' "$root/etc/postgresql-common/createcluster.conf"; then
    remove "$root/etc/postgresql-common/createcluster.conf"
fi

# Of the distribution's own; unmasked they would be started at the next boot.
for name in redis-server prometheus prometheus-alertmanager prometheus-node-exporter \
    prometheus-redis-exporter prometheus-postgres-exporter; do
    if [ -n "$here" ] && is_masked "$name.service"; then
        systemctl unmask --quiet "$name.service"
        systemctl disable --quiet "$name.service" 2>/dev/null || true
        echo "the mask of $name.service"
    fi
done

for unit in $ours; do remove "$units/$unit"; done
for file in "$root/etc/haproxy/haproxy.cfg" "$root/etc/keepalived/keepalived.conf"; do
    # A deployment that was broken off may have left the distribution's own there.
    if grep -qsi okome "$file"; then remove "$file"; fi
done
if [ -e "$root/usr/local/lib/okome/check-ingress" ] && id keepalived_script >/dev/null 2>&1; then
    userdel keepalived_script
    echo "the user keepalived_script"
fi
remove "$units/haproxy.service.d/okome.conf"
rmdir "$units/haproxy.service.d" 2>/dev/null || true
remove "$root/etc/sysctl.d/60-okome.conf" "$root/usr/local/bin/okome"
remove "$root"/var/lib/okome-* "$root"/var/lib/private/okome-*
remove "$root"/var/cache/okome-* "$root"/var/log/okome-*
# Last: by these a run that comes after one which was broken off knows where it is.
remove "$root/opt/okome" "$root/usr/local/lib/okome" "$root/etc/okome"
systemctl daemon-reload
systemctl reset-failed 'okome-*' 2>/dev/null || true
