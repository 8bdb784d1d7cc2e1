"""What takes a deployed cluster apart and puts it together again, and looks whether it is whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lab.drills import holder, settle
from lab.lab import ROOT, Lab
from lab.pair import one_of_the_pair
from lab.plays import Report, play, program, upgrade
from lab.refusals import locked_out, unfit_hosts
from lab.shell import LabError, run

_USER = "lab-user"
# By an API key of the lab's user: one short answer through the VIP.
_ASK = """
import json, ssl, sys, urllib.request
url, authority, key = sys.argv[1:]
body = json.dumps({"model": "drill", "messages": [{"role": "user", "content": "count"}],
                   "max_tokens": 8}).encode()
head = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
request = urllib.request.Request(f"{url}/v1/chat/completions", body, head)
context = ssl.create_default_context(cafile=authority)
try:
    answer = urllib.request.urlopen(request, timeout=20, context=context)
    print(answer.status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
_TRIES = 30
# What a run changes that is killed half way, and where it is.
OTHERWISE = {"heartbeat": 14.0}
KILLED_AT = ("broker", "Wait until they take jobs")
_KILLED = -9
# Of the lab, and how it looks.
_NOT_OURS = ("sshd:", "okome-drill", "/srv/lab/")


def rolling_upgrade(lab: Lab, report: Report) -> None:
    """upgrade.yml brings every node to another release"""
    before = _releases(lab)
    _green(upgrade(lab, report, None), "upgrade")
    after = _releases(lab)
    if len(set(after.values())) != 1 or set(after.values()) & set(before.values()):
        raise LabError(f"after an upgrade nodes run {after}; before it {before}")


def sick_upgrade(lab: Lab, report: Report) -> None:
    """an upgrade stops at the first sick node, and that one runs its old release again"""
    before = _releases(lab)
    if upgrade(lab, report, "node-04") == 0:
        raise LabError("an upgrade went on past a node whose new release does not run")
    after = _releases(lab)
    kept = [name for name in before if after[name] == before[name]]
    if kept != ["okome-node-04", "okome-node-05", "okome-node-06"]:
        raise LabError(f"an upgrade that met a sick node left {after}; before it {before}")
    settle(lab)


def interrupted_run(lab: Lab, report: Report) -> None:
    """a site.yml that is killed half way is made good by the next"""
    changed = ["-e", json.dumps({"okome_settings": OTHERWISE})]
    role, task = KILLED_AT
    status = play(lab, "site", report, *changed, until=f"TASK [{role} : {task}]")
    if status != _KILLED:
        raise LabError(f"site.yml ended before it could be killed ({status})")
    _green(play(lab, "site", report, *changed), "site")
    _green(play(lab, "verify", report), "verify")
    told = "grep -q 'heartbeat: 14' /etc/okome/settings.yml"
    newer = (
        "[ /proc/$(systemctl show --value -p MainPID okome-broker-0)/ -nt /etc/okome/settings.yml ]"
    )
    for node in lab.cluster.role("stream"):
        run(*lab.ssh(node.name, f"{told} && {newer}"))


def restored_control_plane(lab: Lab, report: Report) -> None:
    """a new .25 has the users, keys and usage of the backup"""
    _admin(lab, "user", "add", _USER)
    key = str(json.loads(_admin(lab, "key", "add", _USER, "--json"))["key"])
    _expect(lab, key, "200")
    usage = _usage(lab)
    _green(play(lab, "backup", report), "backup")
    (backup,) = lab.backups.iterdir()
    lab.replace(lab.host("control"))
    _green(play(lab, "site", report), "site")
    _expect(lab, key, "401")
    _green(play(lab, "restore", report, "-e", f"okome_backup={backup}"), "restore")
    _expect(lab, key, "200")
    if _USER not in _admin(lab, "user", "list"):
        raise LabError(f"{_USER} is not among the users of the restored control plane")
    if (now := _usage(lab)) <= usage - 1 or usage == 0:
        raise LabError(f"usage was {usage} jobs at the backup, and is {now} after it was restored")


def taken_down(lab: Lab, report: Report) -> None:
    """teardown.yml asks first, and leaves nothing of OKOME"""
    if play(lab, "teardown", report) == 0:
        raise LabError("teardown.yml did not ask")
    _ = holder(lab)
    _green(play(lab, "teardown", report, "-e", f"okome_teardown={lab.cluster.name}"), "teardown")
    left = (
        "ls -d /opt/okome /etc/okome /usr/local/bin/okome "
        "/var/lib/okome-* /var/lib/private/okome-* "
        "/etc/systemd/system/okome-* /etc/postgresql/*/okome /etc/sysctl.d/60-okome.conf "
        "2>/dev/null | grep -v okome-drill; sudo nft list tables 2>/dev/null | grep okome; "
        "systemctl list-unit-files --state=masked --no-legend | grep -E 'redis|prometheus'; "
        "ps -eo args | grep -E '[o]kome|[h]aproxy|[k]eepalived|[r]edis-server|[p]rometheus|"
        "[p]ostgres'; true"
    )
    for node in lab.cluster.role("ingress"):
        if run(*lab.ssh(node.name, f"ip -o addr show to {lab.cluster.vip}")):
            raise LabError(f"{node.name} still has the VIP")
    for node in lab.cluster.nodes:
        lines = run(*lab.ssh(node.name, left)).splitlines()
        said = [line for line in lines if not any(word in line for word in _NOT_OURS)]
        if said:
            raise LabError(f"{node.name} still has {'; '.join(said)}")


PROOFS: dict[str, Callable[[Lab, Report], None]] = {
    "preflight": unfit_hosts,
    "lockout": locked_out,
    "pair": one_of_the_pair,
    "upgrade": rolling_upgrade,
    "sick-upgrade": sick_upgrade,
    "interrupted": interrupted_run,
    "restore": restored_control_plane,
    "teardown": taken_down,
}


def _releases(lab: Lab) -> dict[str, str]:
    """What each broker process runs, by the node's name."""
    ask = "ps -o args= -p $(systemctl show --value -p MainPID okome-broker-0)"
    return {
        node.name: Path(run(*lab.ssh(node.name, ask)).split()[0]).parts[4]
        for node in lab.cluster.role("stream")
    }


def _admin(lab: Lab, group: str, *words: str) -> str:
    control = lab.cluster.role("control")[0]
    where = [f"--url=https://{control.address}:{control.port}"]
    where += [f"--credentials={lab.secrets / 'operator'}"]
    return run(*lab.outside(program("okome"), group, *where, *words))


def _usage(lab: Lab) -> int:
    """Jobs of the lab's user, once all of them are settled."""
    control = lab.cluster.role("control")[0]
    where = [f"--url=https://{control.address}:{control.port}"]
    where += [f"--credentials={lab.secrets / 'operator'}"]
    said = run(
        *lab.outside(program("okome"), "usage", *where, "--jobs", "--json", f"--user={_USER}")
    )
    return len(json.loads(said))


def _expect(lab: Lab, key: str, status: str) -> None:
    """The VIP answers so to that key. Brokers learn of keys every 2 s."""
    authority = str(lab.secrets / "authority/certificate.pem")
    said = ""
    for _ in range(_TRIES):
        command = lab.outside(sys.executable, "-c", _ASK, lab.cluster.url, authority, key)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        said = done.stdout.strip() or done.stderr.strip().splitlines()[-1]
        if said == status:
            return
    raise LabError(f"the VIP answers {said}, expected {status}")


def _green(status: int, name: str) -> None:
    if status != 0:
        raise LabError(f"playbooks/{name}.yml failed ({status})")
