# shellcheck shell=sh
# What one Sync exec does, which has no stdin and whose output comes back at its end,
# as text. eci-remote reads this file in for its verb sync and lends it all functions.
#
#   sync put RUN EXEC N WORD...          the N-th piece of the script, in helper
#   sync attach RUN EXEC ROLE SHELL NONCE SIZE BOUND HOLD_MS COUNT SHA256 WORD...
#                                        the last piece; joins and starts, then polls
#   sync poll RUN EXEC ROLE NONCE OFFSET BOUND HOLD_MS tail|stop
#   sync sweep RUN ROLE SIGNAL           in the container of ROLE, by builtins alone
#
# The pieces together are, in base64, a gzip stream of what an attach reads from stdin: the
# script, NONCE, a newline. Any of these may come twice; a newer attach kills an older one. A
# poll prints the records that an attach would, with at most BOUND bytes of log, as soon as
# there are any and after HOLD_MS at the latest. All exit with 0: for another status some
# servers answer with an error in place of the output.
# On the control volume: RUN.piece.N, and RUN.stopped.since with the clock of the first
# poll that asked for a stop.

# answer FUNCTION ARG...: prints the function's records in an envelope, by which the driver
# sees what was cut off or damaged on the way. A variable can hold them in base64 only.
answer() {
	text=$("$@" | base64)
	proof=$(printf '%s' "$text" | sha256sum)
	printf '#sync %s %s\n%s\n#done\n' ${#text} "${proof%% *}" "$text"
}

# hello: what every answer begins with.
hello() {
	listener='' rest='' log='' most=65536
	printf '#hello %s %s\n' "$run" "$exec"
	for tool in base64 gzip; do
		command -v $tool >/dev/null || fail final "the helper image lacks $tool, which scripts need without a WebSocket; set [helper] image to a gitlab-runner-helper image"
	done
	furnished
}

# piece N WORD...: its words as one file, whole or not at all.
piece() {
	part=$ctl/$run.piece.$1
	shift
	IFS=''
	echo "$*" >"$part.$exec" && mv "$part.$exec" "$part" || fail final "$full"
	unset IFS
}

put() {
	hello
	piece "$@"
}

# join: opens the joined pieces on descriptor 6; false where they are not what was sent.
join() {
	joined=$ctl/$run.$exec.joined
	i=0
	while [ $i -lt "$count" ]; do
		i=$((i + 1))
		cat "$ctl/$run.piece.$i"
	done | base64 -d | gzip -dc >"$joined"
	got=$(sha256sum "$joined")
	[ "${got%% *}" = "$digest" ] && exec 6<"$joined"
	rm -f "$joined"
}

attach_sync() {
	hello
	[ -e "$ctl/$run.owner" ] && supersede
	echo "$exec" >"$ctl/$run.owner"
	if [ ! -s "$ctl/$run.$role.start" ]; then
		piece "$count" "$@"
		join || fail again "the script arrived damaged"
		upload
		exec 6<&-
	fi
	rm -f "$ctl/$run".piece.*
	tail_some
}

poll() {
	hello
	tail_some
}

# tail_some: the log from $offset on, or a beat.
tail_some() {
	[ -s "$ctl/$run.$role.start" ] || fail again "the script is not there"
	up
	waits
	# Two polls may run, one of which the driver has given up. Neither may take the ticks of
	# the other, or go by its stamp.
	[ $sleeper != tick ] || sleeper=sleep
	rm -f "$logs/$run".*.stamp
	stamp=$logs/$run.$exec.stamp stamped=''
	quiet=0 silent=0 passes=1 asked='' told=no begun=$offset waited=0
	# Only the poll that was asked to stop does so: it has the time for it.
	[ "$what" = stop ] && told='' && stopping
	clock
	latest=$((now + hold / 1000 + 1))
	until some; do
		was=$quiet
		pause
		waited=$((waited + quiet - was))
	done
	if [ -n "$over" ]; then
		settle
		[ $((final - offset)) -gt "$bound" ] || { ending && return; }
		size=$final
	fi
	upto=$size
	[ $((size - offset)) -gt "$bound" ] && upto=$((offset + bound))
	emit $upto
	[ -n "$dead" ] && [ -z "$over" ] && [ "$upto" = "$size" ] && printf '#gone\n' && return
	due=0
	ask
	printf '#beat\n'
	wake "$role.wake"
}

# stopping: asks for a stop; the time until KILL counts from the first poll that did.
stopping() {
	true >"$ctl/$run.stopping"
	clock
	claim "$ctl/$run.stopped.since" "$now"
	read -r since <"$ctl/$run.stopped.since" || since=$now
}

# some: there is something to tell, or that was waited for long enough. What became of a stop
# is told before more of the log.
some() {
	over='' dead=''
	[ "$role" = build ] && [ -e "$ctl/build.dead" ] && dead=yes
	ended && over=yes
	[ -n "$over" ] && [ "$length" != - ] && size=$length && found || measure
	[ -e "$ctl/$run.exit" ] || fail final "$gone"
	[ -n "$over$dead" ] && return 0
	mute && return 0
	[ "$told" = no ] || halting
	# By the clock too: a tick may take longer than pause counts for it.
	clock
	[ $waited -lt "$hold" ] && [ "$now" -le $latest ] || return 0
	if [ "$what" = stop ]; then [ -n "$told" ]; else [ "$size" -gt "$offset" ]; fi
}

# sweep_some: a stop_here of about a second, which the driver repeats until 0 are left.
sweep_some() {
	bar "$@"
	for pass in 1 2 3 4 5 6 7 8 9 10; do
		swept "$3" && break
	done
	printf '#left %s\n' $count
}

verb=$1
shift
umask 0
exec 2>/dev/null
case $verb in
put)
	run=$1 exec=$2
	shift 2
	answer put "$@"
	;;
attach)
	run=$1 exec=$2 role=$3 shell=$4 nonce=$5 size=$6 bound=$7 hold=$8 offset=0 what=tail
	shift 8
	count=$1 digest=$2
	shift 2
	answer attach_sync "$@"
	;;
poll)
	run=$1 exec=$2 role=$3 nonce=$4 offset=$5 bound=$6 hold=$7 what=$8
	answer poll
	;;
sweep) sweep_some "$@" ;;
esac
