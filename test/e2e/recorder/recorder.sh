#!/bin/sh
# recorder.sh OUT STAGE [SCRIPT SUBSTAGE]: a custom executor that runs nothing
# and keeps what a runner hands to it, in OUT/<job id>: response.json (the
# JOB_RESPONSE_FILE as prepare sees it) and NN-<sub-stage>.sh in call order.
set -eu
out=$1 stage=$2
dir=$out/$CUSTOM_ENV_CI_JOB_ID
case $stage in
config)
	echo '{"builds_dir":"/builds","cache_dir":"/cache","shell":"bash","driver":{"name":"recorder","version":"1"}}'
	;;
prepare)
	mkdir -p "$dir"
	cp "$JOB_RESPONSE_FILE" "$dir/response.json"
	;;
run)
	set -- "$3" "$4" "$dir"/*.sh
	count=$(($# - 2))
	# With no match the pattern itself is left.
	[ -e "$3" ] || count=0
	cp "$1" "$dir/$(printf %02d $((count + 1)))-$2.sh"
	;;
esac
