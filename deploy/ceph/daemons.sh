# Sourced by up.sh and down.sh: daemons in the directory $directory, each known by DIRECTORY/run/PROGRAM.pid.

# runs PROGRAM: is the process of that pid file alive, and still that program? (A process id is given out again,
# and a zombie has no /proc/PID/exe. /proc/PID/comm would not do: radosgw changes its own.)
runs() {
    local pid
    pid=$(cat "$directory/run/$1.pid" 2>/dev/null) || return 1
    [ "$(basename "$(readlink "/proc/$pid/exe")")" = "$1" ]
}

# start_daemon PROGRAM ARGUMENT...: start it in a session of its own unless it runs
start_daemon() {
    runs "$1" && return 0
    setsid "$@" -f >"$directory/log/$1.out" 2>&1 </dev/null &
    echo $! >"$directory/run/$1.pid"
}

# stop_daemon PROGRAM SIGNAL: signal it, wait 20 seconds, then kill it
stop_daemon() {
    local pid
    runs "$1" || return 0
    pid=$(cat "$directory/run/$1.pid")
    kill -"$2" "$pid" 2>/dev/null || true
    for _ in {1..200}; do
        runs "$1" || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}
