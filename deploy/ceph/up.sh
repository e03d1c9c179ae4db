#!/usr/bin/env bash
# A one-node Ceph with an S3 gateway on loopback: one monitor, one OSD in memory, one radosgw. For tests.
#
#   up.sh DIRECTORY PORT
#
# Starts what is not running and prints the endpoint and the administrator's key. Needs Debian's packages
# ceph-mon ceph-osd ceph-common radosgw; neither root's devices nor systemd. Ports on 127.0.0.1: PORT for S3,
# PORT+1 for the monitor, PORT+10 to PORT+29 for the OSD. The data is lost when the OSD is killed.
#
# Environment: CEPH_ACCESS_KEY and CEPH_SECRET_KEY, the key of the user to make (both required).
set -euo pipefail

directory=$(mkdir -p "${1:?directory}" && cd "$1" && pwd)
port=${2:?port}
: "${CEPH_ACCESS_KEY:?}" "${CEPH_SECRET_KEY:?}"
conf=$directory/ceph.conf
log=$directory/log

. "$(dirname "${BASH_SOURCE[0]}")/daemons.sh"

give_up() {
    echo "ceph: $1; see $log" >&2
    exit 1
}

# within SECONDS COMMAND...: repeat the command until it succeeds
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# once NAME COMMAND...: run the command unless it succeeded on an earlier start
once() {
    local done_file=$directory/$1.done
    [ -e "$done_file" ] && return 0
    "${@:2}" >>"$log/$1.out" 2>&1 || give_up "$1 failed"
    touch "$done_file"
}

write_configuration() {
    cat >"$conf" <<EOF
[global]
fsid = $(cat "$directory/fsid")
mon_initial_members = a
mon_host = [v2:127.0.0.1:$((port + 1))/0]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
ms_bind_port_min = $((port + 10))
ms_bind_port_max = $((port + 29))
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
# Without it radosgw insists on an encrypted monitor connection, which needs keys, and retries for ever.
ms_mon_client_mode = crc
run_dir = $directory/run
admin_socket = $directory/run/\$name.asok
log_file = $log/\$name.log
crash_dir = $log
keyring = $directory/keyring
mon_cluster_log_file = $log/cluster.log
mon_cluster_log_to_syslog = false
log_to_syslog = false
# One copy of everything, on one OSD, in few placement groups.
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 2000
# After radosgw died its watch would block the first change of metadata for half a minute.
osd_client_watch_timeout = 3

[mon]
mon_data = $directory/mon
mon_data_avail_crit = 1
mon_data_avail_warn = 2
# Each change waits for these: the start takes 13 seconds with the defaults and 2 with these.
paxos_propose_interval = 0.05
paxos_min_wait = 0.01

[osd]
osd_data = $directory/osd
osd_objectstore = memstore
memstore_device_bytes = 8589934592
# A slow shutdown writes the memory to osd_data, so that it is there after an orderly restart.
osd_fast_shutdown = false
osd_class_load_list = *
osd_class_default_list = *

[client.rgw.gw]
# Without tcp_nodelay every second small request waits 45 ms for a delayed acknowledgement.
rgw_frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw_data = $directory/rgw
rgw_dns_name = s3.localhost
rgw_crypt_require_ssl = false
rgw_run_sync_thread = false
rgw_dynamic_resharding = false
rgw_override_bucket_index_max_shards = 1
rgw_rados_pool_pg_num_min = 4
rgw_thread_pool_size = 64
# Deleted data would stay in memory for two hours.
rgw_gc_obj_min_wait = 30
rgw_gc_processor_period = 30
rgw_gc_processor_max_time = 30
admin_socket = $directory/run/\$name.\$pid.asok
EOF
}

make_monitor() {
    rm -rf "$directory/mon"
    mkdir "$directory/mon"
    monmaptool --create --clobber --fsid "$(cat "$directory/fsid")" \
        --addv a "[v2:127.0.0.1:$((port + 1))/0]" "$directory/monmap"
    ceph-mon -c "$conf" --mkfs -i a --monmap "$directory/monmap" --keyring "$directory/keyring"
}

make_osd() {
    rm -rf "$directory/osd"
    mkdir "$directory/osd"
    timeout 30 ceph -c "$conf" osd new "$(cat "$directory/osd-uuid")"
    ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$(cat "$directory/osd-uuid")"
}

make_user() {
    timeout 120 radosgw-admin -c "$conf" -n client.rgw.gw user create --uid=gateway --display-name=Gateway \
        --access-key="$CEPH_ACCESS_KEY" --secret-key="$CEPH_SECRET_KEY"
}

monitor_leads() { timeout 5 ceph --admin-daemon "$directory/run/mon.a.asok" mon_status | grep -q '"leader"'; }
osd_is_up() { timeout 10 ceph -c "$conf" osd stat | grep -q '1 up'; }
# bash's own TCP: curl need not be installed.
radosgw_answers() {
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
    printf 'GET / HTTP/1.0\r\n\r\n' >&3
    head -1 <&3 | grep -q ' 200 '
}

mkdir -p "$directory"/{run,log,rgw}
[ -s "$directory/fsid" ] || cat /proc/sys/kernel/random/uuid >"$directory/fsid"
[ -s "$directory/osd-uuid" ] || cat /proc/sys/kernel/random/uuid >"$directory/osd-uuid"
touch "$directory/keyring"
write_configuration

once monitor make_monitor
start_daemon ceph-mon -c "$conf" -i a
within 30 monitor_leads || give_up "the monitor does not lead"

once osd make_osd
start_daemon ceph-osd -c "$conf" -i 0
within 60 osd_is_up || give_up "the OSD is not up"

# The user before the gateway: each would make the zone, and two at a time fail.
once user make_user
start_daemon radosgw -c "$conf" -n client.rgw.gw
within 60 radosgw_answers || give_up "radosgw does not answer"

echo "endpoint=http://127.0.0.1:$port access_key=$CEPH_ACCESS_KEY"
