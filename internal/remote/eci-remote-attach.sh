# shellcheck shell=sh
# The driver's execs in helper, read in by eci-remote, whose head lists the files: they take
# a script in, have it started, and send its log and its end.

# say FORMAT WORD...: a line to the driver. Where a child ends while busybox ash waits for
# room in the pipe, its printf writes nothing and fails: so it is tried again.
say() {
	# shellcheck disable=SC2059
	printf "$@" || printf "$@" || printf "$@"
}

# fail KIND TEXT: KIND final (no other exec can do better) or again.
fail() {
	say '#fail %s %s\n' "$1" "$2"
	farewell
	exit 1
}

# furnished: waits until helper has made what runs need, as long as 20 beats.
furnished() {
	clock
	since=$now told=$now
	until [ -e "$ctl/helper.ready" ]; do
		[ -e "$eci/ready" ] && [ ! -e "$ctl/helper.ready" ] && fail final "$gone" # made in the other order
		sleep 0.05 || sleep 1
		clock
		[ $(((now - told) * 1000)) -lt ${beat:-15000} ] || { say '#beat\n' && told=$now; }
		[ $(((now - since) * 50)) -lt ${beat:-15000} ] || fail final "helper does not get ready: does a NAS that it mounts not answer?"
	done
}

# upload: takes exactly $size bytes from the exec's stdin. The nonce must follow: had bytes
# been lost or doubled on the way, it would stand elsewhere. That none was changed the
# digest in the end record shows.
upload() {
	true >"$logs/$run.probe" || fail final "the log can't be made: is the disk of the container group full?"
	[ -e "$ctl/$run.exit" ] || { echo >"$ctl/$run.seat" && printf '%-127s\n' pending >"$ctl/$run.exit"; } || fail final "$full"
	# An earlier exec of the run has had it started, or has left a part of it.
	for file in "$ctl/$run".*.script; do
		[ -s "$ctl/$run.$role.start" ] && rest=script && return
		[ -e "$file" ] && true >"$file"
	done
	file=$ctl/$run.$exec.script
	dd bs="$size" count=1 iflag=fullblock <&6 >"$file" 2>/dev/null ||
		while have=$(stat -c %s "$file") && [ "$have" -lt "$size" ]; do
			dd bs=$((size - have)) count=1 <&6 >>"$file" 2>/dev/null || fail final "$full"
			[ "$(stat -c %s "$file")" = "$have" ] && break
		done
	mark=''
	read -r mark <&6
	[ "$mark" = "$nonce" ] || fail again "the script arrived damaged"
	evict
	# A start that is empty is of an older exec, which supersede has killed before it could
	# write. Any other stays: it may have been taken, and names the script for the digest.
	claim "$ctl/$run.$role.start" "$exec $shell $nonce" || [ -s "$ctl/$run.$role.start" ] ||
		echo "$exec $shell $nonce" >"$ctl/$run.$role.start" || fail final "$full"
	wake "$role.go"
}

# evict: ends what is left of earlier runs whose driver is gone. While such a script runs PID
# 1 has no seat for ours, and a stop of it that goes on would end ours too. A run that ended
# by itself may have left a daemon, for our script to find. One not yet started never will.
evict() {
	for file in "$ctl"/*."$role".start; do
		other=${file%".$role.start"}
		[ -e "$file" ] && [ "$other" != "$ctl/$run" ] || continue
		claim "$other.claim" && echo stop 1<>"$other.seat" && claim "$other.done" &&
			echo "exit 143 stopped - none end" 1<>"$other.exit"
		asked=0
		clock
		since=$now
		until settled; do
			asked=$((asked + 1))
			echo "KILL evict$asked" >"$other.$role.stop"
			wake "$role.wake"
			sleep 0.05 || sleep 1
			clock
			[ $((now - since)) -lt $((3 * grace)) ] ||
				fail final "an earlier script of this job was stopped, but its processes can't be ended"
		done
	done
}

# settled: the run $other has ended, and where a stop was asked for, it was answered by 0
# processes: a request that is not answered yet would end our script.
settled() {
	[ -e "$other.done" ] || return 1
	[ -e "$other.stopping" ] || [ -e "$other.$role.stop" ] || return 0
	left=''
	[ -e "$other.$role.stopped" ] && read -r _ left <"$other.$role.stopped"
	[ "$left" = 0 ]
}

# words: reads stdin behind the script, or from within it where upload has left the $rest of
# it, up to the nonce. stop asks for a stop. bye ends this exec's work for the run, as does
# the end of stdin, and the next run's attach where bye was damaged.
words() {
	while read -r word; do
		case $rest$word in
		script*"$nonce") rest='' ;;
		stop) true >"$ctl/$run.stopping" && wake tail.wake ;;
		bye | attach\ *) break ;;
		esac
	done
	[ $sleeper = read ] && echo "bye $exec" >&7
}

# supersede: kills older execs of this run, as one whose connection is lost does not end by
# itself. A shared exec has another id for each run: its own, a -, and some digits.
supersede() {
	older=''
	read -r older <"$ctl/$run.owner"
	older=${older%%-*}
	for proc in /proc/[0-9]*; do
		[ "${proc#/proc/}" = $$ ] && continue
		line=''
		read -r line 2>/dev/null <"$proc/cmdline"
		case $line in
		*"$exec"*) ;;
		*attach*"$run"* | *share*"${older:-none}"*) kill -s KILL "${proc#/proc/}" 2>/dev/null ;;
		esac
	done
}

# waits: sleeper = how this shell can wait for a moment and yet be woken. read -t needs no
# fork; dash does not have it, and says so by status 2.
waits() {
	sleeper=sleep ticking=''
	if [ ! -p "$ctl/tail.wake" ] || followed; then
		sleep 0.001 || sleeper=second
		return 0
	fi
	echo $$ >"$ctl/tail.pid"
	exec 7<>"$ctl/tail.wake"
	read -r -t 0 _ </dev/null
	if [ $? = 2 ]; then sleeper=tick; else sleeper=read; fi
}

# followed: another exec waits in tail.wake: its driver was killed, and it follows a script
# of the other container. Two readers of a FIFO would take each other's words, or parts of
# them, and might wait for ever.
followed() {
	pid='' line=''
	[ -e "$ctl/tail.pid" ] && read -r pid <"$ctl/tail.pid"
	[ -n "$pid" ] && [ "$pid" != $$ ] && [ -e "/proc/$pid/stat" ] && read -r line <"/proc/$pid/stat"
	case $line in '' | *') Z '*) return 1 ;; esac
}

# up: the script is there and asked to be started, and how digests are taken.
up() {
	summer=sha256sum kind=sha256
	[ -e "$eci/crc" ] && summer=cksum kind=crc
	say '#up %s\n' $kind
}

# digests: prints two lines, with the digest of the script and of the first $final bytes of
# the log. At first it takes the whole log, which needs one process less, and is wrong only
# where a background child has written on: the driver then finds that they disagree and
# comes again, with an offset. A log that was empty has none, so that is cut in any case.
digests() {
	read -r starter _ <"$ctl/$run.$role.start"
	if [ "$begun" = 0 ] && [ "$final" != 0 ]; then
		exec $summer "$ctl/$run.$starter.script" - <"$log" # no process more for it
	else
		$summer "$ctl/$run.$starter.script"
		head -c "$final" "$log" | $summer
	fi
}

# digest: sets proof and sum to them.
digest() {
	both=$(digests)
	proof=${both%% *}
	sum=${both#*
}
	sum=${sum%% *}
}

# pause: until woken, or the tick has passed; slower the longer nothing happens.
pause() {
	tick=50 nap=0.05
	[ $quiet -ge 1000 ] && tick=100 nap=0.1
	[ $quiet -ge 10000 ] && tick=500 nap=0.5
	quiet=$((quiet + tick)) silent=$((silent + tick))
	case $sleeper in
	read) read -r -t $nap _ <&7 ;;
	tick)
		[ -n "$ticking" ] || { sleep $nap || sleep 1; echo "tick $exec" >&7; } </dev/null >/dev/null 6<&- &
		ticking=yes
		# What another exec left ticking is not for us.
		until read -r word <&7 && { [ "$word" = wake ] || [ "$word" = "tick $exec" ]; }; do :; done
		[ "$word" = wake ] || ticking=''
		;;
	sleep) sleep $nap || sleep 1 ;;
	*) sleep 1 && quiet=$((quiet + 1000)) silent=$((silent + 1000)) ;;
	esac
}

# ended: the exit record is there and whole; sets status, length and killer.
ended() {
	word='' status='' mark='' length='' killer='' last=''
	read -r word status mark length killer last _ 2>/dev/null <"$ctl/$run.exit" || return 1
	[ "$word $last" = "exit end" ] && { [ "$mark" = "$nonce" ] || [ "$mark" = stopped ]; }
}

# emit UPTO [LAST]: sends the log up to that offset, in records of up to 64 KiB, later 4 MiB,
# as each costs a process. With LAST, the digest is computed beside the last record.
emit() {
	while [ "$offset" -lt "$1" ]; do
		n=$(($1 - offset)) blocks=1
		# Small at first: a connection that is soon lost again gets on.
		[ $n -gt $most ] && n=$most
		[ $most -lt 4194304 ] && most=$((2 * most))
		# Blocks of what a pipe holds stay in the processor's cache.
		[ $n -gt 65536 ] && blocks=$((n / 65536)) n=$((n / 65536 * 65536))
		say '#data %s %s\n' "$offset" $n
		if [ -n "$2" ] && [ $((offset + n)) -ge "$1" ]; then
			dd bs=$((n / blocks)) count=$blocks <&5 2>/dev/null &
			digest
			wait $!
		else
			dd bs=$((n / blocks)) count=$blocks <&5 2>/dev/null
		fi
		offset=$((offset + n))
		say '\n#ok %s\n' "$offset"
		quiet=0 silent=0
	done
}

# found: the log is known, because a seat has taken the run. Opens it at $offset.
found() {
	[ -n "$log" ] && return 0
	seat=''
	[ -e "$ctl/$run.seat" ] && { read -r seat <"$ctl/$run.seat" || seat=''; } # half of a line
	case $seat in
	'')
		# PID 1 may not know that its seat was killed, nor the warm shell that there is a
		# run for it, should the exec that wrote the start have been killed before its wake.
		wake "$role.wake"
		[ -e "$ctl/$run.claim" ] || wake "$role.go"
		return 1
		;;
	stop) log=/dev/null ;;
	*) log=$logs/$seat.log ;;
	esac
	# exec alone would end this shell where it fails.
	command exec 5<"$log" || fail final "the job deleted its own log"
	if [ "$offset" -gt 0 ]; then
		dd bs=4096 skip=$((offset / 4096)) count=0 <&5 2>/dev/null
		dd bs=1 skip=$((offset % 4096)) count=0 <&5 2>/dev/null
	fi
}

# measure: size = that of the log. A stamp file of this exec that is newer than the log says,
# without a process, that nothing came since; one of the same clock tick says nothing, nor
# does an earlier exec's: what that has sent may have been lost.
measure() {
	size=$offset
	found || return 0
	[ $log = /dev/null ] && return 0
	if [ -z "$over" ] && [ -e "$log" ]; then
		[ -n "$stamped" ] && [ "$stamp" -nt "$log" ] && return 0
		[ "$offset" = 0 ] && [ ! -s "$log" ] && return 0
	fi
	true >"$stamp" && stamped=yes
	size=$(stat -Lc %s /proc/self/fd/5) || size=$(stat -Lc %s "$log") || fail final "the job deleted its own log"
	[ "$size" -lt "$offset" ] && fail final "the job truncated its own log"
	return 0
}

# halting: where a stop is wanted, asks PID 1 of $role for one more pass, until it counts 0.
halting() {
	[ -e "$ctl/$run.stopping" ] || return 0
	seq=0 left=''
	[ -e "$ctl/$run.$role.stopped" ] && read -r seq left <"$ctl/$run.$role.stopped"
	if [ "$left" = 0 ]; then
		[ -n "$told" ] || say '#stopped\n'
		told=yes
		return 0
	fi
	quiet=0 silent=0 passes=$((passes + 1))
	signal=TERM
	clock
	[ $passes = 1 ] && since=$now
	[ $((now - since)) -ge $grace ] && signal=KILL
	if [ "$seq" = "$asked" ] || [ -z "$asked" ]; then
		asked=$((seq + 1))
		# The driver asks in another way when it hears nothing for a while.
		echo "$signal $asked" >"$ctl/$run.$role.stop" && say '#stopping\n'
	fi
	wake "$role.wake"
}

# mute: build's PID 1 may be dead. Where no FIFO would tell, it is pinged each second and
# answers within one: true where a ping has had no answer for two.
mute() {
	[ "$role" = build ] && [ ! -e "$ctl/build.heard" ] || return 1
	ping='' pong=''
	read -r ping <"$ctl/build.ping"
	read -r pong <"$ctl/build.pong"
	case x$ping$pong in x | *[!x0-9]*) return 1 ;; esac
	read -r now _ </proc/uptime
	now=${now%.*}${now#*.} # in hundredths
	if [ "$ping" = "$pong" ]; then
		[ $((now - ping)) -lt 100 ] || echo "$now" 1<>"$ctl/build.ping"
		return 1
	fi
	[ $((now - ping)) -ge 200 ]
}

# ask: has the driver ask the API whether a mute build is dead or only slow.
ask() {
	mute && [ "$now" -ge "$due" ] || return 0
	say '#ask\n'
	due=$((now + 500)) silent=0
}

tail_log() {
	stamp=$logs/$run.$exec.stamp stamped=''
	log='' most=65536 quiet=0 silent=0 passes=0 asked='' told='' due=0 begun=$offset was=$offset
	while :; do
		# After a large record more may be there by now.
		[ $((offset - was)) -ge 65536 ] || pause
		was=$offset
		over='' dead=''
		[ "$role" = build ] && [ -e "$ctl/build.dead" ] && dead=yes
		ended && over=yes
		[ -n "$over" ] && [ "$length" != - ] && size=$length && found && break
		measure
		[ -e "$ctl/$run.exit" ] || fail final "$gone"
		[ -n "$over" ] && break
		emit "$size"
		[ -n "$dead" ] && say '#gone\n' && return
		ask
		halting
		if [ $silent -ge "$beat" ]; then
			say '#beat\n'
			silent=0 stamped='' # the clock may have been set back since
			wake "$role.wake"
		fi
	done
	settle
	ending
}

# settle: final = length of the log of a run that is over.
settle() {
	final=$size
	if [ "$length" = - ]; then
		# The first exec to see the end decides, if it was not killed before it wrote.
		claim "$ctl/$run.final" "$size"
		read -r final <"$ctl/$run.final" || final=$size
	fi
}

# ending: the rest of the log, and the end record.
ending() {
	sum='' sums=$logs/$run.$exec.sums
	if [ $((final - offset)) -gt 1048576 ]; then
		# A long log is read by the other core from its beginning on.
		digests >"$sums" &
		reader=$!
		emit "$final"
		wait $reader
		read -r proof _ <"$sums" && { read -r _; read -r sum _; } <"$sums"
	else
		emit "$final" last
	fi
	[ -n "$sum" ] || digest
	echo probe >"$logs/$run.probe" || fail final "the disk of the container group is full: the log may have lost its end"
	[ -e "$ctl/$run.stopping" ] && [ -z "$told" ] && halting
	say '#end %s %s %s %s %s %s\n' "$run" "$status" "$final" "$sum" "$killer" "$proof"
	wake "$role.wake"
}

# farewell: waits for the driver's bye, because some servers cut off what an exec prints just
# before it exits. False where none has come in a minute.
farewell() {
	[ -n "$listener" ] || return 0
	if [ $sleeper = read ]; then
		until [ "$word" = "bye $exec" ]; do read -r -t 60 word <&7 || break; done
		kill "$listener"
		[ "$word" = "bye $exec" ]
		return
	fi
	sleep 60 <&- >/dev/null 2>&1 6<&- &
	napper=$!
	trap : CHLD # so that wait returns when either has ended
	while kill -0 "$listener" && kill -0 "$napper"; do wait "$listener"; done
	trap - CHLD
	kill "$listener"
	kill "$napper"
}

attach() {
	exec 6<&0 </dev/null 2>/dev/null
	umask 0
	shared=''
	carry "$@"
}

# share: serves one run after the other. Each begins with the words of its attach, in two
# equal lines, which differ where bytes were lost or doubled on the way. After any doubt
# this exec ends, and the driver goes on by one of the run's own.
share() {
	exec 6<&0 </dev/null 2>/dev/null
	umask 0
	shared=yes listener=''
	while read -r line <&6; do
		again=''
		read -r again <&6
		case $line in
		attach\ *) [ "$line" = "$again" ] || fail again "the command arrived damaged" ;;
		*) fail again "the command arrived damaged" ;;
		esac
		# shellcheck disable=SC2086 # they are its words
		carry ${line#attach } || return
		listener=''
	done
}

# carry: the work of an attach for its run. False where the driver has not said bye.
carry() {
	run=$1 exec=$2 role=$3 shell=$4 size=$5 offset=$6 nonce=$7 beat=$8
	listener='' rest=''
	say '#hello %s %s\n' "$run" "$exec"
	furnished
	if ! claim "$ctl/$run.owner" "$exec"; then
		# A driver that has given the shared exec up has opened another one meanwhile.
		[ -n "$shared" ] && return 1
		supersede
		echo "$exec" >"$ctl/$run.owner"
	fi
	[ "$size" -gt 0 ] && upload
	[ -s "$ctl/$run.$role.start" ] || fail again "the script is not there"
	up
	waits
	words <&6 &
	listener=$!
	tail_log
	farewell
	bidden=$?
	[ "$sleeper" = sleep ] || echo >"$ctl/tail.pid" # a shared exec lives on, but waits there no more
	return $bidden
}
