#!/usr/bin/env bash
# A SLURM of one node on this machine, with two GPUs that are none: to try the workflow, and for tests/cluster.
#
#     sudo apt-get install slurmctld slurmd slurm-client munge      # slurmdbd mariadb-server too, for --accounting
#     sudo tests/cluster/slurm.sh up /tmp/slurm                     # with accounting: up /tmp/slurm --accounting
#     sudo tests/cluster/slurm.sh down /tmp/slurm
#
# All of it lies in that folder and listens on the loopback interface, but for links in /etc/slurm: the executor drops
# SLURM_CONF from a job's environment. A SLURM that the machine already has is left alone; links that a killed one of
# this script left behind are not.
set -euo pipefail

usage() {
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

fail() {
    echo "slurm.sh: $*" >&2
    exit 1
}

# By its name too: after a restart of the machine another process may have the number.
started() { [[ -s $1 && $(cat "/proc/$(<"$1")/comm" 2>/dev/null) == "$(basename "$1" .pid)" ]]; }

# Whether a link leads to a folder of this script in which nothing runs any more.
abandoned() {
    local folder
    [[ -L $1 ]] || return
    folder=$(dirname "$(readlink "$1")")
    [[ -e $folder/munged.log ]] && ! started "$folder/slurmctld.pid" && ! started "$folder/slurmd.pid"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

wait_for() {
    local what=$1 seconds=$2
    shift 2
    for ((i = 0; i < seconds * 5; i++)); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    fail "$what is not there after $seconds s; see the logs in $dir"
}

node_is_idle() { [[ $(sinfo -h -o %t) =~ idle|mix ]]; }

memory_limits() {
    # The kernel kills a job that takes more than it asked for, where its first kind of control groups is at hand.
    if [[ -w /sys/fs/cgroup/memory/cgroup.procs && -w /sys/fs/cgroup/freezer ]]; then
        cat >"$dir/cgroup.conf" <<EOF
CgroupPlugin=cgroup/v1
CgroupAutomount=no
ConstrainRAMSpace=yes
ConstrainSwapSpace=yes
AllowedSwapSpace=0
EOF
        echo "TaskPlugin=task/cgroup"
        echo "ProctrackType=proctrack/cgroup"
    else
        echo "TaskPlugin=task/none"
        echo "ProctrackType=proctrack/linuxproc"
        echo "JobAcctGatherType=jobacct_gather/linux"
        echo "JobAcctGatherParams=OverMemoryKill"
        echo "JobAcctGatherFrequency=1"
    fi
}

accounting() {
    if [[ ! $with_accounting ]]; then
        echo "AccountingStorageType=accounting_storage/none"
        return
    fi
    local port sql=$dir/mysql
    port=$(free_port)
    mkdir -p "$sql/data"
    mariadb-install-db --no-defaults --user=root --datadir="$sql/data" --auth-root-authentication-method=normal >"$dir/mysql.log" 2>&1
    setsid mariadbd --no-defaults --user=root --datadir="$sql/data" --socket="$sql/socket" --pid-file="$dir/mariadbd.pid" \
        --bind-address=127.0.0.1 --port="$port" --innodb-buffer-pool-size=128M >>"$dir/mysql.log" 2>&1 &
    wait_for mariadbd 60 mariadb --no-defaults --socket="$sql/socket" -e "select 1"
    mariadb --no-defaults --socket="$sql/socket" -e \
        "create database slurm; create user slurm@localhost identified by 'slurm'; grant all on slurm.* to slurm@localhost"
    cat >"$dir/slurmdbd.conf" <<EOF
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$dbd_port
SlurmUser=root
LogFile=$dir/slurmdbd.log
PidFile=$dir/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$port
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
EOF
    chmod 600 "$dir/slurmdbd.conf"
    echo "AccountingStorageType=accounting_storage/slurmdbd"
    echo "AccountingStorageHost=127.0.0.1"
    echo "AccountingStoragePort=$dbd_port"
    # Where clients of slurmdbd find munge.
    echo "AccountingStoragePass=$dir/munge.socket"
    echo "AccountingStoreFlags=job_comment"
}

start() {
    slurmctld -i >>"$dir/start.log" 2>&1 || fail "slurmctld does not start: $(tail -3 "$dir/slurmctld.log")"
    wait_for slurmctld 30 scontrol ping
    slurmd >>"$dir/start.log" 2>&1 || fail "slurmd does not start: $(tail -3 "$dir/slurmd.log")"
    wait_for "an idle node" 60 node_is_idle
}

up() {
    [[ $(id -u) == 0 ]] || fail "SLURM's daemons are started by root"
    local missing=()
    for program in munged slurmctld slurmd sbatch ${with_accounting:+slurmdbd mariadbd}; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    for name in slurm gres cgroup; do
        [[ ! -e $etc/$name.conf || $(readlink "$etc/$name.conf") == "$dir/$name.conf" ]] || abandoned "$etc/$name.conf" ||
            fail "this machine has a SLURM already: $(realpath "$etc/$name.conf"); if it is one of this script: slurm.sh down DIR"
    done
    [[ ${#missing[@]} == 0 ]] || fail "not installed: ${missing[*]} (Debian: apt-get install slurmctld slurmd slurm-client munge" \
        "${with_accounting:+slurmdbd mariadb-server})"
    ! started "$dir/slurmctld.pid" || fail "$dir has a SLURM that runs: slurm.sh down $dir"
    mkdir -p "$dir"/{state,spool,devices}
    local host cores mebibytes dbd_port=
    # Not nproc, which says 1 where OMP_NUM_THREADS does.
    host=$(hostname -s) cores=$(getconf _NPROCESSORS_ONLN)
    mebibytes=$(awk '/MemTotal/ { print int($2 / 1024 * 0.9) }' /proc/meminfo)
    [[ ! $with_accounting ]] || dbd_port=$(free_port)

    head -c 1024 /dev/urandom >"$dir/munge.key"
    chmod 600 "$dir/munge.key"
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/munged.log" --seed-file="$dir/munge.seed" 2>>"$dir/start.log" ||
        fail "munged does not start: $(tail -3 "$dir/start.log")"

    # SLURM shows a GPU to a job only if its file is a device; these are two of /dev/null.
    for number in 0 1; do
        [[ -e $dir/devices/nvidia$number ]] || mknod "$dir/devices/nvidia$number" c 1 3
    done
    printf '%s\n' AutoDetect=off \
        "NodeName=$host Name=gpu Type=fake File=$dir/devices/nvidia[0-1] Flags=nvidia_gpu_env" >"$dir/gres.conf"
    {
        cat <<EOF
ClusterName=try
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=2
ReturnToService=2
# Without accounting, what a job came to is known for so long.
MinJobAge=3600
KillWait=5
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$mebibytes Gres=gpu:fake:2 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=gpu Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1
# Jobs of this one take the place of the others', which go back into the queue.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
EOF
        memory_limits
        accounting
    } >"$dir/slurm.conf"
    for name in slurm gres cgroup; do
        touch "$dir/$name.conf"
        ln -sfn "$dir/$name.conf" "$etc/$name.conf"
    done
    if [[ $with_accounting ]]; then
        SLURM_CONF=$dir/slurm.conf slurmdbd >>"$dir/start.log" 2>&1 || fail "slurmdbd does not start: $(tail -3 "$dir/slurmdbd.log")"
        wait_for slurmdbd 60 sacctmgr -i add cluster try
    fi
    start
}

down() {
    # What still runs is killed with its node.
    for name in slurmd slurmctld slurmdbd munged mariadbd; do
        if started "$dir/$name.pid"; then
            [[ $name != slurmd ]] || scancel --state=RUNNING,PENDING --user=root --full 2>/dev/null || true
            kill "$(<"$dir/$name.pid")"
            for ((i = 0; i < 100; i++)); do
                started "$dir/$name.pid" || break
                sleep 0.1
            done
        fi
    done
    for name in slurm gres cgroup; do
        [[ $(readlink "$etc/$name.conf") != "$dir/$name.conf" ]] || rm "$etc/$name.conf"
    done
}

[[ $# -ge 2 && $2 == /* ]] || usage
dir=$2 with_accounting= etc=/etc/slurm
[[ ${3-} != --accounting ]] || with_accounting=yes
case $1 in
up) up ;;
down) down ;;
# The controller dies and comes back, as on a bad day.
restart)
    kill -9 "$(<"$dir/slurmctld.pid")"
    slurmctld >>"$dir/start.log" 2>&1
    wait_for slurmctld 30 scontrol ping
    ;;
# The node loses its power: nothing of it is left, and the controller notices. `back` switches it on again.
lose)
    kill -9 "$(<"$dir/slurmd.pid")"
    pkill -9 slurmstepd || true
    # A machine that starts again has neither its jobs' processes nor their control groups.
    find /sys/fs/cgroup/*/slurm* -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | xargs -r kill -9 || true
    sleep 1
    find /sys/fs/cgroup/*/slurm* -depth -type d -path '*/job_*' -exec rmdir {} + 2>/dev/null || true
    scontrol update NodeName="$(hostname -s)" State=DOWN Reason="no answer"
    ;;
back)
    slurmd >>"$dir/start.log" 2>&1
    # A node that has already come back by itself cannot be resumed.
    scontrol update NodeName="$(hostname -s)" State=RESUME 2>>"$dir/start.log" || true
    wait_for "an idle node" 60 node_is_idle
    ;;
*) usage ;;
esac
