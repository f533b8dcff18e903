#!/bin/sh
# witness.sh DIR PROGRAM ARG...: runs PROGRAM ARG..., whose last argument is the stage
# or sub-stage, and notes in DIR/<job id> that it begins and how it ended:
# "begin STAGE", "end STAGE STATUS".
log=$1/$CUSTOM_ENV_CI_JOB_ID
shift
for stage; do :; done
# The runner signals the whole process group; stay until PROGRAM is gone.
trap : TERM
echo "begin $stage" >>"$log"
"$@"
status=$?
echo "end $stage $status" >>"$log"
exit $status
