# Read by `sh -s RUN OFFSET HOW SECONDS BEAT_MS` from the stdin of an exec in helper: sends
# the log of a run as records, from OFFSET on. RUN may be newest; HOW is follow or now. It
# only reads: it takes no word from a FIFO, claims nothing and writes no file, so that it
# disturbs neither the run nor the run's own reader. docs/architecture.md says why.
#
#   #hello RUN SEAT      which run, and ROLE.SLOT that has it
#   #data, #beat, #fail  as of eci-remote
#   #end RUN STATUS LENGTH SHA256 none SHA256    STATUS running where the run has not ended
#
# It ends with its stdin, at the word bye, or after SECONDS, when the driver asks again.

ctl=/.eci/control
logs=/.eci/logs

clock() {
	read -r now _ </proc/uptime
	now=${now%%.*}
}

fail() {
	printf '#fail %s %s\n' "$1" "$2"
	farewell
	exit 1
}

# farewell: waits for the driver's bye, a minute at most, because some servers cut off what
# an exec prints just before it exits.
farewell() {
	left=600
	while [ $left -gt 0 ] && kill -0 "$listener"; do
		sleep 0.1 || sleep 1
		left=$((left - 1))
	done
	kill "$listener"
}

# newest: run and seat of the newest run that a seat has taken up.
newest() {
	run='' seat=''
	for file in "$ctl"/*.claim; do
		[ -e "$file" ] && read -r taker <"${file%.claim}.seat" && [ -n "$taker" ] && [ "$taker" != stop ] || continue
		later || continue
		seat=$taker run=${file##*/}
		run=${run%.claim}
	done
}

# later: $file, of the seat $taker, is a later claim than $run's. busybox compares whole
# seconds, and a job may have several runs in one: then of a container the one with the
# higher seat is later, and of two containers the one whose run has not ended.
later() {
	[ -z "$seat" ] || [ "$file" -nt "$ctl/$run.claim" ] && return 0
	[ "$ctl/$run.claim" -nt "$file" ] && return 1
	if [ "${taker%.*}" = "${seat%.*}" ]; then
		[ "${taker##*.}" -gt "${seat##*.}" ]
	else
		over
	fi
}

# over: the run has ended; sets status and, where it is known yet, length.
over() {
	word='' status='' length='' last=''
	[ -e "$ctl/$run.exit" ] && read -r word status _ length _ last _ <"$ctl/$run.exit"
	[ "$word $last" = "exit end" ] || return 1
	[ "$length" = - ] || return 0
	[ -e "$ctl/$run.final" ] && read -r length <"$ctl/$run.final"
	return 0
}

# emit UPTO: records up to that offset.
emit() {
	while [ "$offset" -lt "$1" ]; do
		n=$(($1 - offset))
		[ $n -gt 1048576 ] && n=1048576
		printf '#data %s %s\n' "$offset" $n
		dd bs=$n count=1 <&5
		offset=$((offset + n))
		printf '\n#ok %s\n' "$offset"
		quiet=0
	done
}

# send: sends the log, until the run has ended, or with HOW now as much as there is.
send() {
	quiet=0
	while :; do
		ended='' length=-
		if over; then ended=yes; else status=running length=-; fi
		size=$length
		[ "$size" = - ] && { size=$(stat -Lc %s /proc/self/fd/5) || size=$(stat -Lc %s "$log"); }
		[ "$size" -ge "$offset" ] || fail final "the job truncated its own log"
		emit "$size"
		[ -n "$ended" ] || [ "$how" = now ] && return
		kill -0 "$listener" || exit 1
		clock
		[ "$now" -lt "$until" ] || fail again "asked again from time to time"
		sleep 0.2 || sleep 1
		quiet=$((quiet + 200))
		[ $quiet -ge "$beat" ] && printf '#beat\n' && quiet=0
	done
}

tell() {
	offset=$2 how=$3 beat=$5
	exec 6<&0 2>/dev/null
	clock
	until=$((now + $4))
	(while read -r word && [ "$word" != bye ]; do :; done) <&6 &
	listener=$!
	newest
	[ "$1" = newest ] || { run=$1 seat='' && read -r seat <"$ctl/$run.seat"; }
	[ -n "$seat" ] || fail final "no script has run in this container group yet"
	printf '#hello %s %s\n' "$run" "$seat"
	log=$logs/$seat.log
	# exec alone would end this shell where it fails.
	command exec 5<"$log" || fail final "the job deleted its own log"
	if [ "$offset" -gt 0 ]; then
		dd bs=4096 skip=$((offset / 4096)) count=0 <&5
		dd bs=1 skip=$((offset % 4096)) count=0 <&5
	fi
	send
	sum=$(head -c "$size" "$log" | sha256sum)
	sum=${sum%% *}
	printf '#end %s %s %s %s none %s\n' "$run" "$status" "$size" "$sum" "$sum"
	farewell
}
