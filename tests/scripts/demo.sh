#!/bin/sh
# The story of one build in seven acts, in a scratch folder: build kiln, ask the host, make a key,
# build examples/hello sealed, tell its provenance, verify it, break it and see it refused.
set -eu
. "$(dirname "$0")/project.sh"

heading "1. Build kiln (development profile, optimised where it hashes: the shortest wait)"
build_kiln
make_scratch
own_home home
"$kiln" version

mkdir "$scratch/hello"
cp "$root"/examples/hello/* "$scratch/hello"
cd "$scratch/hello"
commit_all "hello"

heading "2. What can this host enforce?   kiln doctor"
"$kiln" doctor

heading "3. A signing key, held by the attestor process alone   kiln key generate"
"$kiln" key generate

heading "4. A sealed build of one commit   kiln build"
"$kiln" build --locked
ls -l kiln-out

heading "5. What went in, what came out   kiln inspect"
"$kiln" inspect kiln-out/hello

heading "6. The decision   kiln verify"
"$kiln" verify kiln-out/hello
chmod +x kiln-out/hello 2>/dev/null || :
./kiln-out/hello

heading "7. One byte changed   kiln verify must refuse with exit 4"
cp kiln-out/hello kiln-out/hello.sound
size=$(wc -c <kiln-out/hello)
chmod u+w kiln-out/hello
byte=$(od -An -tu1 -j $((size / 2)) -N 1 kiln-out/hello | tr -d ' ')
# shellcheck disable=SC2059 # the format is the byte
printf "$(printf '\\%03o' $((byte ^ 1)))" |
  dd of=kiln-out/hello bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
cmp -s kiln-out/hello kiln-out/hello.sound && fail "the byte was not changed"
expect_exit 4 "$kiln" verify kiln-out/hello

heading "Done: refused with exit 4, as it must be"
