#!/bin/sh
# local.sh DIR STAGE [SCRIPT SUBSTAGE]: the smallest custom executor. It runs
# each script on the host with DIR/builds/<job id> and DIR/cache, to check the scenarios
# and the coordinator without the driver under test.
set -eu
dir=$1 stage=$2
case $stage in
config)
	printf '{"builds_dir":"%s/builds/%s","cache_dir":"%s/cache","shell":"bash","driver":{"name":"local","version":"1"}}\n' "$dir" "$CUSTOM_ENV_CI_JOB_ID" "$dir"
	;;
prepare)
	mkdir -p "$dir/builds" "$dir/cache"
	;;
run)
	rm -f "$BUILD_EXIT_CODE_FILE"
	# Git locks the global configuration: two jobs with one home fail each other.
	export HOME="$dir/home/$CUSTOM_ENV_CI_JOB_ID"
	mkdir -p "$HOME"
	# The runner signals the whole process group; stay until the script is gone.
	trap : TERM
	status=0
	bash "$3" || status=$?
	if [ "$status" -ne 0 ]; then
		echo "$status" >"$BUILD_EXIT_CODE_FILE"
		exit "$BUILD_FAILURE_EXIT_CODE"
	fi
	;;
cleanup) ;;
*)
	echo "local.sh: unknown stage $stage" >&2
	exit "$SYSTEM_FAILURE_EXIT_CODE"
	;;
esac
