#!/bin/sh
# Called by keepalived when a firewall changes its role: primary-backup.sh primary|backup|fault
#
#   vrrp_sync_group firewall {
#       group { inside outside }
#       notify_master "/etc/conntrackd/primary-backup.sh primary"
#       notify_backup "/etc/conntrackd/primary-backup.sh backup"
#       notify_fault  "/etc/conntrackd/primary-backup.sh fault"
#   }
#
# A step that fails is logged and the next one is taken all the same: half a take-over is better than
# none. The exit status is that of the worst step. docs/operations.md explains the steps.

CONNTRACKD=${CONNTRACKD:-/usr/local/sbin/conntrackd}
CONFIG=${CONNTRACKD_CONFIG:-/etc/conntrackd/conntrackd.conf}
LOCK=${CONNTRACKD_LOCK:-/var/lock/conntrackd.lock}

status=0

# step WHAT OPTION...: one call of the client
step() {
    what=$1
    shift
    if "$CONNTRACKD" -C "$CONFIG" "$@"; then
        return 0
    fi
    status=1
    logger -t conntrackd -p daemon.err "$role: could not $what (conntrackd $*)"
    return 1
}

answers() {
    "$CONNTRACKD" -C "$CONFIG" -s >/dev/null 2>&1
}

role=$1
case $role in
primary | master)
    step 'commit the flows of the other firewall' -c
    step 'flush the caches' -f
    step 'read the kernel table' -R
    step 'send the flows to the other firewall' -B
    ;;
backup)
    if ! answers; then
        # Harmless with our daemon, which knows a stale file; a C daemon would refuse to start.
        rm -f "$LOCK"
        step 'start the daemon' -d || exit 1
    fi
    step 'schedule the flush of the kernel table' -t
    step 'ask the other firewall for its flows' -n
    ;;
fault)
    step 'schedule the flush of the kernel table' -t
    ;;
*)
    echo "usage: $0 primary|backup|fault" >&2
    logger -t conntrackd -p daemon.err "unknown role: $role"
    exit 1
    ;;
esac
exit $status
