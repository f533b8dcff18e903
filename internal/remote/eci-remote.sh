#!/bin/sh
# Runs inside the container group: PID 1 of helper and build, and the process
# that each exec of the driver starts in helper. docs/architecture.md says why.
#
#   eci-remote helper BUILDS_DIR NAS_DIR...    PID 1 of helper: makes what build needs
#   eci-remote build                PID 1 of build: shell builtins alone
#   eci-remote warm ROLE SLOT       a shell of either that waits to become a script's
#   eci-remote attach RUN EXEC ROLE SHELL SIZE OFFSET NONCE BEAT_MS
#   eci-remote share ID             attach, for one run after the other: stdin has the words
#   eci-remote stop RUN ROLE        ends what the script of ROLE left running here
#   eci-remote sync ...             the same in pieces, for Sync execs: eci-remote-sync.sh
#
# Written for dash, bash and busybox ash. A run is one script; it takes a seat. PID 1 keeps
# the next seat ready, because forks are most of a run's cost: a keeper, a supervisor | cat
# pipeline and, in a session of its own, the warm shell that becomes the script's.
# On the control volume, by run id:
#   RUN.EXEC.script  the script as that exec uploaded it
#   RUN.ROLE.start   EXEC SHELL NONCE: that exec's script is to be started; first writer wins
#   RUN.claim        a seat has taken the run, or a stop has barred it; which of them is in
#   RUN.seat         ROLE.SLOT, or stop
#   RUN.done         claimed by whoever writes RUN.exit
#   RUN.exit         "exit STATUS NONCE LENGTH oom|none end"
#   RUN.final        length of the log where RUN.exit can't tell it: of the first tail to see it
#   RUN.owner        EXEC of the newest attach
#   RUN.ROLE.stop    SIGNAL SEQ asked of PID 1; RUN.ROLE.stopped: SEQ COUNT
#   tail.pid         pid of the attached exec that waits in the FIFO tail.wake
#   build.heard      what is written to a FIFO in build comes out in helper
#   build.ping, build.pong: where it doesn't, a time that helper asks by and build's answer
#   keep             SECONDS after which both PID 1s end; over: they do so now
#   notes            lines for the head of the job's log; notes.shown: they are in it
# and by seat, whose log is ROLE.SLOT.log on the log volume:
#   ROLE.SLOT.keeper, .super, .cat, .warm   their pids
#   ROLE.SLOT.run    RUN NONCE that the warm shell took
#   ROLE.seat        SLOT that is ready or running, and other pids that no stop may end
# ROLE.go wakes the warm shell, ROLE.wake PID 1, tail.wake the attached execs.
#
# A job may fill the control volume. What must still be written then is written over an older
# line, by 1<>, whose page of memory is there already; a claim is an empty file and needs none.

# The environment of the image and of [build] environment is for the script. A variable there
# that has the name of one of ours is put aside, or the script would get what we assign.
eci_ours="answer answered before born cat claimed count ctl dir eci events evict exec fifo file
	full gone grace id idle keep keeper key killer known last latest left length line lines
	logs name nonce now oom others own owner parent ping ponged ppid proc q reader role run
	script seat self seq setsid shell signal since sleep state status ticking tool top tries uid
	value verb version waits"
eci_aside=''
case $1 in build | helper | warm)
	for eci_our in $eci_ours; do
		eval "[ -n \"\${$eci_our+set}\" ]" && eval "eci_was_$eci_our=\$$eci_our" && unset "$eci_our" && eci_aside="$eci_aside $eci_our"
	done
	;;
esac

# restore: gives the script its variables back; after it none of ours can be relied on.
restore() {
	for eci_our in $eci_aside; do eval "export $eci_our=\"\$eci_was_$eci_our\""; done
}

eci=${0%/*/*}
ctl=$eci/control
gone="the job deleted the control volume of its container group"
full="the control volume of the container group is full"
grace=5 # seconds from TERM to KILL
logs=$eci/logs

# claim FILE [TEXT]: true for the one caller that created FILE.
claim() {
	set -C
	if [ -n "$2" ]; then { echo "$2" >"$1"; } 2>/dev/null; else { true >"$1"; } 2>/dev/null; fi
	claimed=$?
	set +C
	return $claimed
}

# clock: now = seconds since the host's start.
clock() {
	read -r now _ </proc/uptime
	now=${now%%.*}
}

die() {
	echo "$1" >/dev/termination-log
	echo "$1" >&2
	exit 70
}

# wake FIFO: writes a word into it. It is opened read-write, which never blocks.
wake() {
	[ -p "$ctl/$1" ] && echo wake 2>/dev/null 1<>"$ctl/$1"
	return 0
}

# A shell parses a file as it runs it: an attach, whose start a job waits for, leaves here.
case $1 in attach | share) . "$0-attach" && "$@"; exit ;; esac

# ---------------------------------------------------------------- processes

# look PID: name, state and ppid from /proc with builtins. The name may hold
# anything, parentheses too.
look() {
	name='' state='' ppid='' line=''
	[ -e "/proc/$1/stat" ] && read -r line 2>/dev/null <"/proc/$1/stat"
	name=${line#*(}
	name=${name%) *}
	line=${line##*) }
	state=${line%% *}
	line=${line#* }
	ppid=${line%% *}
	[ -n "$ppid" ]
}

# taken: the newest seat's warm shell has taken a run; sets run and nonce.
taken() {
	run='' nonce=''
	[ -e "$ctl/$role.$seat.run" ] && read -r run nonce <"$ctl/$role.$seat.run"
	[ -n "$run" ]
}

# family: whose processes are whose, for a stop: $others and the newest seat's $keeper with
# its children are ours, and of those $script is the job's, once the warm shell has a run.
family() {
	keeper='' script=''
	read -r seat others <"$ctl/$role.seat"
	[ -e "$ctl/$role.$seat.keeper" ] && read -r keeper <"$ctl/$role.$seat.keeper"
	taken && read -r script <"$ctl/$role.$seat.warm"
	return 0
}

# mortal PID: a stop may end PID: it lives, descends from $top, and is none of ours. What an
# exec has started descends from a process with parent 0 instead, and is left alone.
mortal() {
	look "$1" || return 1
	case $state in Z* | X*) return 1 ;; esac
	q=$1
	while :; do
		case " $top $others " in *" $q "*) return 1 ;; esac
		[ "$q" = "$script" ] && return 0
		[ "$q" = "$keeper" ] && return 1
		[ "$ppid" = "$top" ] && return 0
		case $ppid in 0 | 1) return 1 ;; esac
		q=$ppid
		look "$q" || return 1
	done
}

# evicted: a stop by an exec is too late: the next run has ended what was left (evict), and
# its own script may run by now. Asked right before each kill.
evicted() { [ -e "$answer" ] && read -r _ left <"$answer" && [ "$left" = 0 ]; }

# sweep SIGNAL: sends it to every mortal process; count = how many there were. It looks again
# where none was seen but loadavg's last number, the newest pid, has changed meanwhile.
sweep() {
	tries=0
	while :; do
		count=0
		family
		read -r _ _ _ _ born </proc/loadavg
		for proc in /proc/[0-9]*; do
			if mortal "${proc#/proc/}"; then
				count=$((count + 1))
				evicted && count=0 && return 0
				kill -s "$1" "${proc#/proc/}" 2>/dev/null
			fi
		done
		read -r _ _ _ _ last </proc/loadavg
		tries=$((tries + 1))
		if [ $count != 0 ] || [ "$last" = "$born" ] || [ $tries = 50 ]; then return 0; fi
	done
}

# ooms: oom = processes of this container that the kernel killed for memory.
ooms() {
	oom=0
	events=/sys/fs/cgroup/memory.events
	[ -r $events ] || events=/sys/fs/cgroup/memory/memory.oom_control
	[ -r $events ] || return 0
	while read -r key value; do
		[ "$key" = oom_kill ] && oom=$value
	done <$events
	return 0
}

# ------------------------------------------------------------- a seat

# finish RUN STATUS NONCE LENGTH KILLER: writes the exit record, if nobody has.
finish() {
	claim "$ctl/$1.done" || return 0
	echo "exit $2 $3 $4 $5 end" 1<>"$ctl/$1.exit"
	wake tail.wake
}

# itself: self = the pid of this very (sub)shell, which $$ is not.
itself() { read -r self _ </proc/self/stat; }

# notes: what helper has to say about its mounts, before its first script.
notes() {
	[ -e "$ctl/notes" ] && claim "$ctl/notes.shown" && cat "$ctl/notes"
}

# quoting SCRIPT: shell = sh, or bash where sh does not know $'...', which dash lacks and the
# runner writes into scripts for either unless FF_POSIXLY_CORRECT_ESCAPES is on.
quoting() {
	shell=sh
	eval "known=\$'a'"
	[ "$known" = a ] && return 0
	command -v bash >/dev/null && shell=bash && return 0
	lines=0
	while [ $lines -lt 10 ] && read -r line; do
		lines=$((lines + 1))
		case $line in
		*"eval \$'"*)
			echo "eci-executor: this image has no bash, and its sh can't read the runner's script; set the variable FF_POSIXLY_CORRECT_ESCAPES to true"
			return 0
			;;
		esac
	done <"$1"
}

# warm: waits for a run, claims it, and becomes its script.
warm() {
	itself
	echo "$self" 1<>"$ctl/$role.$seat.warm"
	listen "$role.go"
	while :; do
		for file in "$ctl"/*."$role".start; do
			run=${file##*/}
			run=${run%%.*}
			[ -s "$file" ] && [ ! -e "$ctl/$run.claim" ] && claim "$ctl/$run.claim" || continue
			read -r exec shell nonce <"$file"
			echo "$run $nonce" 1<>"$ctl/$role.$seat.run"
			echo "$role.$seat" 1<>"$ctl/$run.seat"
			[ "$shell" = bash ] && command -v bash >/dev/null || quoting "$ctl/$run.$exec.script"
			[ "$role" = helper ] && notes
			set -- "$shell" "$ctl/$run.$exec.script"
			restore
			exec "$@" 2>&1 3>&-
		done
		hear
	done
}

# supervise: starts a warm shell on our stdout and records the end of its run.
supervise() {
	itself
	echo "$self" 1<>"$ctl/$role.$seat.super"
	ooms
	before=$oom
	if [ -n "$setsid" ]; then
		(set -- "$role" "$seat" && restore && exec setsid sh "$0" warm "$@" </dev/null 3>&- 8>&-)
	else
		(warm) </dev/null 8>&-
	fi
	status=$?
	taken || return 0
	killer=none
	[ $status = 137 ] && ooms && [ "$oom" -gt "$before" ] && killer=oom
	[ -z "$cat" ] || drained || status=lost
	exec >/dev/null
	position
	finish "$run" "$status" "$nonce" "$length" $killer
	# cat waits for background children of the script, and keep for cat.
	[ -n "$cat" ] && kill -s KILL "$reader"
}

# drained: waits until cat has written what the script left in the pipe. The pipe's end
# would be too late, as a background child may hold it open; but when cat (once it is cat,
# and not the shell that will exec it) sleeps for the pipe, that is empty. False where cat
# has not done so by $latest, and where it has ended: we hold the pipe, so the job has
# killed it, and the end of the log is lost.
drained() {
	reader='' idle=0 before=''
	until { read -r reader <"$ctl/$role.$seat.cat" && [ -n "$reader" ]; } || late; do :; done # read is false for half a line
	while look "$reader" && ! late; do
		case $state in
		S*) [ "$name" != "$own" ] && emptied && return 0 ;;
		T* | t*) kill -s CONT "$reader" ;; # stopped by the job
		Z* | X*) break ;;
		*) idle=0 ;;
		esac
	done
	return 1
}

# late: it is $latest, if that is set, a second of clock's.
late() { [ -n "$latest" ] && clock && [ "$now" -ge "$latest" ]; }

# emptied: cat sleeps because the pipe is empty, and not in a write to the log, which shows
# the same state on FUSE or virtiofs. Where the kernel does not tell what it sleeps for, the
# log must have stayed at one position for 200 looks.
emptied() {
	waits=''
	[ -r "/proc/$reader/wchan" ] && read -r waits 2>/dev/null <"/proc/$reader/wchan"
	case $waits in
	*pipe*) return 0 ;;
	'' | 0) ;;
	*) idle=0 && return 1 ;;
	esac
	position
	[ "$length" = "$before" ] || idle=0
	before=$length idle=$((idle + 1))
	[ $idle -ge 200 ]
}

# position: length = where descriptor 8, the log's only writer, stands.
position() {
	length=-
	while read -r key value; do
		[ "$key" = pos: ] && length=$value && break
	done </proc/self/fdinfo/8
	return 0
}

# keep: the life of a seat, from making its log to the end of its run. Descriptor 8 is the
# log's only writer, so its position is the log's length. Where there is cat, it stands
# between script and log: a script that writes >/dev/stderr would truncate a plain file.
keep() {
	exec 8>>"$logs/$role.$seat.log"
	if [ -n "$cat" ]; then
		supervise | {
			itself
			echo "$self" 1<>"$ctl/$role.$seat.cat"
			exec cat >&8 8>&-
		}
	else
		(supervise >&8)
	fi
	# A supervisor that was killed from inside leaves no record.
	taken && finish "$run" lost "$nonce" - none
}

# detach: starts a keeper in the foreground of a shell that it then kills. Started in the
# background by a shell without job control it would ignore SIGINT and SIGQUIT for ever,
# and so would the job's programs; and if PID 1 waited for it, SIGTERM would wait too.
detach() {
	(
		itself
		parent=$self
		(
			itself
			echo "$self" 1<>"$ctl/$role.$seat.keeper"
			kill -s KILL "$parent"
			keep
		) 3>&- 4>&-
		: # else some shells exec the inner one in place of the outer
	) </dev/null 2>/dev/null
}

# ------------------------------------------------------------- PID 1 of both

# goes_on PID: it lives, not as a zombie that is still to be reaped, and is stopped no more.
goes_on() {
	[ -n "$1" ] && look "$1" || return 1
	case $state in Z* | X*) return 1 ;; esac
	kill -s CONT "$1" 2>/dev/null
}

# unnamed: proc = cat, which the script has stopped before its pid was written: the keeper's
# other child.
unnamed() {
	read -r keeper <"$ctl/$role.$seat.keeper"
	read -r last <"$ctl/$role.$seat.super"
	for q in /proc/[0-9]*; do
		q=${q#/proc/}
		look "$q" && [ "$ppid" = "$keeper" ] && [ "$q" != "$last" ] && proc=$q
	done
	echo "$proc" 1<>"$ctl/$role.$seat.cat"
}

# ready: there is a seat whose run has not ended. Whom the job has stopped, as by
# kill -STOP -1, goes on; where nobody is left to record the end, nobody knows that.
ready() {
	if ! taken || [ ! -e "$ctl/$run.done" ]; then
		left=''
		for file in keeper super cat warm; do
			[ -e "$ctl/$role.$seat.$file" ] && read -r proc <"$ctl/$role.$seat.$file" || proc=''
			case $file$run in warm?*) continue ;; esac # it is the script's by now
			[ -n "$proc" ] || [ "$file" != "$cat" ] || [ -z "$run" ] || unnamed
			goes_on "$proc" && left=$left$file
		done
		case $left in
		keeper* | super*) return 0 ;;
		*warm) kill -s KILL "$proc" ;; # it would take a run all the same
		esac
		[ -z "$run" ] || finish "$run" lost "$nonce" - none
	fi
	# Where the control volume is full there is none; the next pass tries again.
	for file in keeper super warm cat run; do echo >"$ctl/$role.$((seat + 1)).$file" || return; done
	seat=$((seat + 1))
	echo "$seat $others" 1<>"$ctl/$role.seat"
	{ detach; } 2>/dev/null
}

# halt RUN: one pass of a stop; the asker repeats its request until the count is 0. A request
# that was answered is not done again, and after a 0 no request of the run is, whoever asks:
# it would end what later stages have started.
halt() {
	read -r signal seq <"$ctl/$1.$role.stop" || return 0
	answered='' left=''
	[ -e "$ctl/$1.$role.stopped" ] && read -r answered left <"$ctl/$1.$role.stopped"
	if [ "$seq" = "$answered" ] || [ "$left" = 0 ]; then return 0; fi
	claim "$ctl/$1.claim" && echo stop 1<>"$ctl/$1.seat"
	sweep "$signal"
	if [ $count = 0 ]; then
		nonce=stopped
		[ -e "$ctl/$1.$role.start" ] && read -r _ _ nonce <"$ctl/$1.$role.start"
		finish "$1" 143 "$nonce" - none
		echo "$seq 0" >"$ctl/$1.$role.stopped"
		wake tail.wake
		return 0
	fi
	# No wake: the asker counts its passes by the time that they take.
	echo "$seq $count" >"$ctl/$1.$role.stopped"
}

# A home directory as /etc/passwd has it, where the image's environment names none.
home() {
	[ -n "$HOME" ] && [ "$HOME" != / ] && return 0
	uid=0
	while read -r key value _; do
		[ "$key" = Uid: ] && uid=$value
	done </proc/self/status
	HOME=/
	[ "$uid" = 0 ] && HOME=/root
	if [ -r /etc/passwd ]; then
		while IFS=: read -r _ _ id _ _ dir _; do
			[ "$id" = "$uid" ] && [ -n "$dir" ] && HOME=$dir && break
		done </etc/passwd
	fi
	export HOME
}

# git refuses a checkout that another uid made; here that is the normal case.
trust() {
	count=${GIT_CONFIG_COUNT:-0}
	export "GIT_CONFIG_KEY_$count=safe.directory" "GIT_CONFIG_VALUE_$count=*"
	export "GIT_CONFIG_COUNT=$((count + 1))"
}

# hear: waits for a word in the FIFO on descriptor 3, or for a second. False after a signal,
# and at the end of a tick. Without sleep in the image nothing would tick until words are known
# to come through: it returns at once then, and its caller looks all the time.
hear() {
	if [ -n "$fifo" ] && { [ -n "$sleep" ] || [ -e "$ctl/build.heard" ]; }; then
		read -r _ <&3
	elif [ -n "$sleep" ]; then
		sleep 1 || :
	fi
}

# listen NAME: opens the FIFO NAME, which hear then reads.
listen() {
	fifo='' sleep=''
	command -v sleep >/dev/null && sleep=yes
	[ -p "$ctl/$1" ] && exec 3<>"$ctl/$1" && fifo=yes
}

# expire: once somebody has written to keep in how many seconds both PID 1s end.
expire() {
	[ -s "$ctl/keep" ] && claim "$ctl/keep.taken" "" && read -r keep <"$ctl/keep" || return 0
	(
		sleep "$keep"
		true >"$ctl/over"
		wake build.wake
		wake helper.wake
	) >/dev/null 2>&1 3>&- &
	others="$others $!"
}

# pong: answers helper's ping: build's only sign of life where FIFOs don't join the two.
pong() {
	if [ -e "$ctl/build.heard" ] || [ ! -e "$ctl/build.ping" ]; then return 0; fi
	read -r ping <"$ctl/build.ping"
	[ "$ping" = "$ponged" ] || echo "$ping" 1<>"$ctl/build.pong"
	ponged=$ping
}

# ticks: until helper has met build in a FIFO, a sleep in the background ticks, because nobody
# documents that a FIFO on an EmptyDir joins two containers. True where it has ended, or the
# job has killed it; another one has begun then. It alone holds the FIFO open for writing: so
# its end is an end of file to hear, while the signal of it may come just before the read.
ticks() {
	[ -n "$fifo" ] && [ "$role" = build ] && [ -n "$sleep" ] || return 1
	[ -z "$ticking" ] && [ -e "$ctl/build.heard" ] && return 1
	goes_on "$others" && return 1
	command exec 3<>/proc/self/fd/3
	others='' ticking=''
	if [ ! -e "$ctl/build.heard" ]; then
		sleep 1 >&3 3<&- 4>&- &
		others=$! ticking=yes
		command exec 3</proc/self/fd/3
		wake build.go
	fi
	[ "$seat" = 0 ] || echo "$seat $others" 1<>"$ctl/$role.seat"
}

# serve: the life of PID 1.
serve() {
	setsid='' cat='' seat=0 top=$$ answer='' ponged='' latest='' ticking=''
	command -v setsid >/dev/null && setsid=setsid
	command -v cat >/dev/null && cat=cat
	look $$ # the name of a shell that has not yet exec'd
	own=$name
	home
	trust
	listen "$role.wake"
	[ "$role" = build ] && [ -p "$ctl/build.life" ] && exec 4<>"$ctl/build.life"
	trap : CHLD
	while :; do
		[ -e "$ctl/over" ] && exit 0
		ticks 2>/dev/null
		if [ "$role" = helper ]; then expire; else pong; fi
		ready
		for file in "$ctl"/*."$role".stop; do
			[ -e "$file" ] || continue
			file=${file##*/}
			halt "${file%%.*}"
		done
		# The end of a child only wants to be reaped: a stage's last steps have the
		# processor for themselves, its exec says when the next seat is wanted.
		until hear || { jobs; ticks; }; do :; done >/dev/null 2>&1
	done
}

# leave: ECI, or the job itself, ends build's PID 1, and with it the pipe to the log. What is
# in the pipe goes into the log first; of a script that prints without pause, for 2 s at most.
leave() {
	trap : TERM INT
	[ "$seat" = 0 ] && exit 143
	clock
	latest=$((now + 2))
	[ -z "$cat" ] || drained
	exit 143
}

pid1_build() {
	role=build others='' seat=0
	trap leave TERM INT
	until [ -e "$ctl/helper.ready" ]; do
		command -v sleep >/dev/null && { sleep 0.05 2>/dev/null || sleep 1; }
	done
	claim "$ctl/build.boot" || die "the build container was started a second time; its job can't go on"
	serve
}

# open_nas DIR: lets a job of any uid write to a NAS directory that is new. One that holds
# something is left as its owner wants it. What root may not do there is only told in the
# job's log, as the job may not need it. touch tells whether it may be written to: busybox's
# test -w says so of everything that root asks about.
open_nas() {
	if ! touch -c "$1" 2>/dev/null; then
		note "Warning: root may not write to the NAS directory $1: its permission group squashes root, or allows reading alone"
		return 0
	fi
	[ -z "$(ls -A "$1")" ] || return 0
	owner=$(stat -c %u "$1")
	[ "$owner" = 0 ] || note "Warning: the new NAS directory $1 belongs to uid $owner, not to root: where its permission group squashes root, files there can't change their owner"
	chmod 0777 "$1" || note "Warning: the NAS directory $1 can't be opened to jobs that don't run as root: choose no_squash in its permission group, or make it with mode 0777"
}

note() { echo "$1" >>"$ctl/notes"; }

pid1_helper() {
	role=helper
	trap 'exit 143' TERM INT
	umask 0
	claim "$ctl/helper.boot" || die "the helper container was started a second time; its job can't go on"
	chmod 0777 "$ctl" "$logs" || die "helper can't open the control volume to the build container"
	# On a NAS that squashes root it may be writable all the same.
	mkdir -p "$1" && { chmod 0777 "$1" || touch -c "$1"; } || die "helper can't open builds_dir $1 to the build container"
	shift
	for dir; do open_nas "$dir"; done
	mkdir -p /usr/local/bin
	command -v gitlab-runner >/dev/null || ln -s "$(command -v gitlab-runner-helper)" /usr/local/bin/gitlab-runner ||
		die "the helper image has neither gitlab-runner nor gitlab-runner-helper on PATH; set [helper] image to a gitlab-runner-helper image"
	PATH=$PATH:/usr/local/bin
	version=$(gitlab-runner --version 2>&1) || die "gitlab-runner of the helper image does not run: $version"
	for tool in dd stat sha256sum head git; do
		command -v $tool >/dev/null || die "the helper image lacks $tool; set [helper] image to a gitlab-runner-helper image"
	done
	# GNU's cksum computes as fast as it reads, other ones slower than sha256sum may.
	cksum -a crc </dev/null >/dev/null 2>&1 && true >"$eci/crc"
	others=''
	echo 0 >"$ctl/build.ping" && echo 0 >"$ctl/build.pong"
	if mkfifo "$ctl/helper.go" "$ctl/helper.wake" "$ctl/build.go" "$ctl/build.wake" "$ctl/tail.wake" "$ctl/build.life" 2>/dev/null; then
		# Opened for reading alone: blocks until build has it open, ends with build.
		(
			exec 4<"$ctl/build.life" && true >"$ctl/build.heard"
			read -r _ <&4
			echo dead >"$ctl/build.dead"
			wake tail.wake
		) &
		others=$!
	fi
	echo ready >"$ctl/helper.ready"
	true >"$eci/ready" # where build can't delete it
	serve
}

# stop_here RUN ROLE: a stop by an exec in the container itself, without the stream.
stop_here() {
	bar "$@"
	clock
	since=$now
	while :; do
		signal=TERM
		clock
		[ $((now - since)) -ge $grace ] && signal=KILL
		swept $signal && break
		[ $((now - since)) -ge $((3 * grace)) ] && break
	done
	printf '#left %s\n' $count
}

# bar RUN ROLE: a run that has not started never will.
bar() {
	role=$2 top=1 answer=$ctl/$1.$2.stopped
	umask 0
	true >"$ctl/$1.stopping" # for evict, should the asker be killed
	claim "$ctl/$1.claim" && echo stop 1<>"$ctl/$1.seat"
}

# swept SIGNAL: one pass. Where processes are left it is false, after a moment for them to end.
swept() {
	sweep "$1"
	[ $count = 0 ] && return
	{ command -v sleep >/dev/null && { sleep 0.1 2>/dev/null || sleep 1; }; }
	return 1
}

verb=$1
shift
case $verb in
build) pid1_build ;;
helper) pid1_helper "$@" ;;
stop) stop_here "$@" ;;
warm) role=$1 seat=$2 && warm ;;
sync) . "$0-attach" && . "$0-sync" ;;
*) die "eci-remote: unknown verb $verb" ;;
esac
