#!/bin/sh
# kaniko's executor as far as the examples call it, by way of Debian's buildah, which
# works with the rights that ECI gives as long as a Dockerfile has no RUN: the last two
# variables keep it from making a user namespace, vfs from mounting.
set -eu
file=Dockerfile context=. destination=
while [ $# -gt 0 ]; do
	case $1 in
	--*=*) name=${1%%=*} value=${1#*=} && shift ;;
	*) name=$1 value=$2 && shift 2 ;;
	esac
	case $name in
	-f | --dockerfile) file=$value ;;
	-c | --context) context=$value ;;
	-d | --destination) destination=$value ;;
	*) echo "this stand-in for kaniko does not know $name" >&2 && exit 2 ;;
	esac
done
cd "$context"
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs _CONTAINERS_USERNS_CONFIGURED=done _CONTAINERS_ROOTLESS_UID=1
buildah bud --file "$file" --tag "$destination" .
buildah push "$destination"
