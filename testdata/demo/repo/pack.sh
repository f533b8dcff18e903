#!/bin/sh
# pack.sh OUT: "compiles" the sources into OUT/app, a runnable script.
set -eu
out=$1
mkdir -p "$out"
{
	echo '#!/bin/sh'
	while IFS= read -r line; do
		printf "echo '%s'\n" "$line"
	done <src/greeting.txt
} >"$out/app"
chmod 755 "$out/app"
cp VERSION "$out/VERSION"
echo "compiled src/greeting.txt into $out/app"
