# Sourced by quickstart, uninstall and check: where things are, and how the agent starts and stops.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(dirname "$here")

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }

# fail WHAT [HINT...]: say what failed and where to look, then end.
fail() {
    printf '\nFAILED: %s\n' "$1" >&2
    shift
    local line
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}

need_root() { [ "$(id -u)" = 0 ] || fail "this needs root" "try: sudo $0 $*"; }

# place [PREFIX]: the paths of the installation; with PREFIX everything lies below it, systemd
# is not used, and several can stand beside each other, each in its own network namespace.
place() {
    if [ -n "${1:-}" ]; then
        mkdir -p "$1" || fail "cannot make $1"
        PREFIX=$(cd "$1" && pwd) PRIVATE=yes
        ROOT=$PREFIX/lib RUN=$PREFIX/run CONFIG=$PREFIX/etc/nodeagent.toml BIN=$PREFIX/bin LOG=$PREFIX/nodeagent.log
    else
        PREFIX=/opt/nodeagent PRIVATE=
        ROOT=/var/lib/nodeagent RUN=/run/nodeagent CONFIG=/etc/nodeagent/nodeagent.toml BIN=/usr/local/bin
        LOG=/var/log/nodeagent.log
    fi
    UNIT=/etc/systemd/system/nodeagent.service
    VENV=$PREFIX/venv PIDFILE=$RUN/nodeagent.pid SOCKET=$RUN/nodeagent.sock
    export NODEAGENT_HOST=unix://$SOCKET
}

agent() { "$VENV/bin/nodeagent" "$@"; }

has_systemd() { [ -z "$PRIVATE" ] && [ -d /run/systemd/system ]; }

where_log() {
    if has_systemd; then say "log: journalctl -u nodeagent"; else say "log: $LOG"; fi
}

# --- Debian packages --------------------------------------------------------------------------

packages_in() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$1" | awk '{print $1}'; }

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

installed_now() { dpkg-query -W -f '${db:Status-Status} ${Package}\n' | awk '$1 == "installed" {print $2}' | sort -u; }

apt_log=${TMPDIR:-/tmp}/nodeagent-apt.$$

# What apt said is kept only when it failed.
apt_quiet() {
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -q -y -o DPkg::Lock::Timeout=120 "$@" >"$apt_log" 2>&1 && rm -f "$apt_log"
}

# install_packages FILE [RECORD]: install what FILE names and is not there yet; what was added is
# appended to RECORD, so that uninstall knows what to take away.
install_packages() {
    local missing=() name before
    for name in $(packages_in "$1"); do is_installed "$name" || missing+=("$name"); done
    if [ ${#missing[@]} = 0 ]; then
        say "Debian packages: all there"
        return
    fi
    say "Debian packages: installing ${missing[*]}"
    before=$(installed_now)
    # The lists of a fresh host may be absent or old: fetch them only when the first try fails.
    if ! apt_quiet install --no-install-recommends "${missing[@]}"; then
        apt_quiet update || { tail -n 5 "$apt_log" >&2; fail "apt-get update" "log: $apt_log"; }
        apt_quiet install --no-install-recommends "${missing[@]}" ||
            { tail -n 15 "$apt_log" >&2; fail "apt-get install ${missing[*]}" "log: $apt_log"; }
    fi
    if [ -n "${2:-}" ]; then comm -13 <(printf '%s\n' "$before") <(installed_now) >>"$2"; fi
}

# --- the agent's process ----------------------------------------------------------------------

# agent_pid: print the pid of the running agent of this place; nothing and false if there is none.
agent_pid() {
    local pid
    if has_systemd; then
        pid=$(systemctl show -p MainPID --value nodeagent 2>/dev/null)
    else
        pid=$(cat "$PIDFILE" 2>/dev/null)
    fi
    [ -n "$pid" ] && [ "$pid" != 0 ] && is_our_agent "$pid" && printf '%s\n' "$pid"
}

# The agent writes its pid, also one that took over by hand; later it may be somebody else's: believe
# only the command line.
is_our_agent() {
    local words
    words=$({ tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null)
    case $words in *" serve "*"--run $RUN "* | *" serve "*"--run=$RUN "*) ;; *) false ;; esac
}

is_gone() { [ ! -d "/proc/$1" ] || grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"; }

# wait_until SECONDS COMMAND...: run COMMAND until it succeeds; false after SECONDS.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.1
    done
}

# launch_agent [FLAG...]: start the agent's process, LAUNCHED, without systemd.
launch_agent() {
    setsid "$VENV/bin/nodeagent" serve --config "$CONFIG" --root "$ROOT" --run "$RUN" "$@" </dev/null >>"$LOG" 2>&1 &
    disown # or bash tells of its end in the middle of our words
    LAUNCHED=$!
}

# Exchange the running agent for the installed one, under its containers and clients. Under systemd
# its restart does it: the unit's descriptor store keeps the sockets. Without, the new agent takes
# over, or fails, and then the old one runs on. One that is too old to hand over is stopped first.
replace_agent() {
    local old
    old=$(agent_pid) || return 0
    if has_systemd; then
        systemctl restart nodeagent || { journalctl -u nodeagent -n 20 --no-pager >&2; fail "systemctl restart nodeagent" "$(where_log)"; }
    elif [ -S "$RUN/takeover.sock" ]; then
        launch_agent --takeover
        wait_until 90 is_replaced "$old"
        if is_gone "$old"; then return; fi
        tail -n 10 "$LOG" >&2
        fail "the new agent did not take over; the old one (pid $old) runs on" "$(where_log)"
    else
        stop_agent
    fi
}

# The old one has ended, or the new one has, without success.
is_replaced() { is_gone "$1" || is_gone "$LAUNCHED"; }

start_agent() {
    if has_systemd; then
        systemctl start nodeagent || { journalctl -u nodeagent -n 20 --no-pager >&2; fail "systemctl start nodeagent" "$(where_log)"; }
    elif ! agent_pid >/dev/null; then
        mkdir -p "$RUN"
        launch_agent
    fi
    wait_until 60 is_ready_or_dead
    if ! is_ready; then
        [ -r "$LOG" ] && tail -n 10 "$LOG" >&2
        fail "the agent did not become ready" "$(where_log)"
    fi
}

is_ready() { agent system ping >/dev/null 2>&1; }

is_ready_or_dead() {
    is_ready && return
    if has_systemd; then systemctl is-failed -q nodeagent; else [ -n "${LAUNCHED:-}" ] && is_gone "$LAUNCHED"; fi
}

# Stop the agent; its containers run on.
stop_agent() {
    local pid
    if has_systemd; then systemctl stop nodeagent 2>/dev/null; fi
    pid=$(agent_pid) || return 0
    kill -TERM "$pid" 2>/dev/null
    wait_until 60 is_gone "$pid" || { warn "the agent did not stop in 60 s: killing it"; kill -KILL "$pid"; wait_until 10 is_gone "$pid"; }
}

# Kill the agent as a crash would.
kill_agent() {
    local pid
    pid=$(agent_pid) || fail "there is no running agent to kill" "$(where_log)"
    kill -KILL "$pid"
    wait_until 10 is_gone "$pid" || fail "the agent survived kill -9 (pid $pid)"
    rm -f "$PIDFILE"
}
