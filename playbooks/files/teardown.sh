#!/bin/sh
# Removes OKOME from a host, and names what it removed. Packages of the distribution stay.
set -eu

units=$(cd /etc/systemd/system && ls -1d okome-*.service okome-*.timer 2>/dev/null || true)
ours=""
for unit in $units; do
    # Only what a playbook has written.
    if grep -q 'Put here by Ansible' "/etc/systemd/system/$unit" 2>/dev/null; then ours="$ours $unit"; fi
done

# The distribution's services that run with a configuration of ours have nothing left to do.
theirs=""
if [ -e /etc/systemd/system/haproxy.service.d/okome.conf ]; then theirs="haproxy.service"; fi
if [ -e /usr/local/lib/okome/check-ingress ]; then theirs="keepalived.service $theirs"; fi
for unit in $theirs $ours; do
    echo "unit $unit"
    # At once: a broker would wait for those who cannot come back. Not keepalived, which takes
    # the VIP off the interface as it ends.
    case $unit in
        okome-*) systemctl kill --signal=KILL "$unit" 2>/dev/null || true ;;
    esac
    systemctl disable --quiet --now "$unit" 2>/dev/null || true
done

remove() {
    for path in "$@"; do
        if [ -e "$path" ] || [ -L "$path" ]; then
            rm -rf "$path"
            echo "$path"
        fi
    done
}
for unit in $ours; do remove "/etc/systemd/system/$unit"; done
if [ -n "$theirs" ]; then remove /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf; fi
remove /etc/systemd/system/haproxy.service.d/okome.conf
rmdir /etc/systemd/system/haproxy.service.d 2>/dev/null || true
if [ -e /etc/okome/redis ] && [ -L /etc/systemd/system/redis-server.service ]; then
    systemctl unmask --quiet redis-server.service
    systemctl disable --quiet redis-server.service 2>/dev/null || true
    echo "the mask of redis-server.service"
fi
remove /opt/okome /etc/okome /usr/local/bin/okome /usr/local/lib/okome /etc/sysctl.d/60-okome.conf
remove /var/lib/okome-* /var/lib/private/okome-* /var/cache/okome-* /var/log/okome-*
if id keepalived_script >/dev/null 2>&1 && [ -n "$theirs" ]; then
    userdel keepalived_script
    echo "the user keepalived_script"
fi
systemctl daemon-reload
systemctl reset-failed 'okome-*' 2>/dev/null || true
