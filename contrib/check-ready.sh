#!/bin/sh
# For keepalived: is this node fit to take over? Succeeds on the node that holds the addresses, so
# that its own health never hangs on its peer's; elsewhere when `conntrackd -s ready` does.
#
#   vrrp_script conntrackd_ready {
#       script "/etc/keepalived/check-ready.sh 192.0.2.1"   # one of the virtual addresses
#       interval 3
#       timeout 3
#       fall 2
#       rise 1
#       weight -50       # behind a node that is ready; but never out of the election: a node that
#   }                    # is not ready is still better than none
#   vrrp_instance ... {
#       track_script { conntrackd_ready }
#   }
#
# READY_UNKNOWN=0 in the environment takes "cannot say" (status 2: a C daemon as peer, NOTRACK,
# ALARM) for ready; the default is to take it for not ready.

address=$1
conntrackd=${CONNTRACKD_BIN:-/usr/local/sbin/conntrackd}
config=${CONNTRACKD_CONFIG:-/etc/conntrackd/conntrackd.conf}

if [ -n "$address" ] && ip -o addr show | grep -qF " $address/"; then
	exit 0
fi

"$conntrackd" -C "$config" -s ready >/dev/null 2>&1
status=$?
[ $status -eq 2 ] && status=${READY_UNKNOWN:-2}
exit $status
