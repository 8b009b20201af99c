#!/bin/sh
# The dead-man of a rented machine: ends it once its lease has passed. Nothing but sh, coreutils and
# /proc. The agent writes the lease (runtime_agent/host.py): seconds of uptime, padded, a newline.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
lease=/root/.byoc/lease
known=/run/byoc-deadline
look=2
pause=20
patience=90
echo -1000 2>/dev/null >/proc/$$/oom_score_adj
trap '' HUP INT
# Only a whole machine may be switched off by the kernel's own key: never the host of a namespace.
whole=
[ "$(readlink /proc/$$/ns/pid)" = 'pid:[4026531836]' ] && whole=1

# Sets "found" to the whole seconds of the deadline in file $1, to nothing when it has none: a torn
# file has no end of line, and ten digits are three centuries.
deadline_in() {
  found=
  [ -f "$1" ] && read -r text rest <"$1" && [ -z "$rest" ] || return 0
  case $text in *[!0-9.]* | *.*.*) return 0 ;; esac
  found=${text%%.*}
  case $found in ??????????*) found= ;; esac
}

deadline_in "$known"
deadline=${found:-0}
while :; do
  read -r up rest </proc/uptime
  now=${up%.*}
  deadline_in "$lease"
  if [ "${found:-$deadline}" -ne "$deadline" ] && [ "$found" -lt $((now + 604800)) ]; then
    deadline=$found
    echo "$deadline" >"$known"
  fi
  [ "$now" -le "$deadline" ] || break
  sleep $look
done

echo 'byoc: the lease of this machine has passed, it ends now'
while :; do
  for try in 1 2 3; do
    timeout -k 10 300 byoc-end && sleep $patience && break
    sleep $pause
  done
  echo 'byoc: byoc-end did not end this machine'
  shutdown -h now
  sleep $patience
  poweroff -f
  sleep $pause
  [ "$whole" ] && echo o >/proc/sysrq-trigger
  sleep $pause
done
