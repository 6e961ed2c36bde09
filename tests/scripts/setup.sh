#!/bin/sh
# Makes sure that what the named groups need is installed.
#
#   setup.sh build [example] [test] [real] [interop] [interop-go] [bench] [vm]
#
# As root on a Debian-like host it installs what is missing; anybody else is told the names and gets
# exit 2. A package is needed as a package where a host environment is made of it (groups `example`
# and `test`); elsewhere the command it brings is enough.
set -eu

# group | package | command that shows it is there ("-": the package itself is needed) | reason
needs() {
  cat <<'TABLE'
build|gcc|cc|links every Rust program and compiles the C part of zstd
build|libc6-dev|-|headers and start files for that
example|git|git|the examples are built from a commit
example|gcc|-|compiler inside the step
example|libc6-dev|-|headers inside the step
example|make|-|runs inside the step
test|git|git|test projects are repositories
test|gcc|-|compiler inside the steps
test|libc6-dev|-|headers inside the steps
test|make|-|runs inside the steps
test|python3|-|attacks are written in it and run inside the steps
test|util-linux|setpriv|runs kiln as an unprivileged user
test|strace|strace|shows that verifying opens no socket
test|openssl|openssl|checks signatures by itself
test|openssh-client|ssh-agent|holds a key that signs
test|softhsm2|softhsm2-util|is a token that holds a key
test|opensc|pkcs11-tool|makes keys in that token
real|apt|apt-get|fetches the upstream sources
real|util-linux|setpriv|runs the unprivileged half
real|python3|python3|compares the statements
interop|openssl|openssl|checks the signature by itself
interop|python3|python3|drives the other tools
interop|openssh-client|ssh-agent|holds a key that signs
interop|softhsm2|softhsm2-util|is a token that holds a key
interop|opensc|pkcs11-tool|makes keys in that token
interop|python3-venv|-|keeps them in a folder of their own
interop|nodejs|node|runs a verifier that is written for it
interop|npm|npm|installs that verifier
interop-go|golang-go|go|builds the verifiers and servers that are written in Go; it has to be 1.26 or later
bench|bubblewrap|bwrap|what the start of a step is compared with
bench|openssl|openssl|what hashing is compared with
bench|git|git|what a no-op build is compared with
fuzz|g++|c++|compiles libFuzzer
vm|qemu-system-x86|qemu-system-x86_64|is the virtual machine
vm|busybox-static|-|starts it: a shell and tools in one file
vm|e2fsprogs|mke2fs|makes its disk
vm|apt|apt-cache|fetches its kernel and names the packages of its root
vm|binutils|strip|makes the test program small
TABLE
}

dpkg_host() { command -v dpkg-query >/dev/null 2>&1; }

installed() { # package
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

present() { # package command
  if [ "$2" != - ] && command -v "$2" >/dev/null 2>&1; then return 0; fi
  if dpkg_host; then installed "$1"; else [ "$2" = - ]; fi
}

if ! command -v cargo >/dev/null 2>&1; then
  echo "setup: cargo is missing: kiln is written in Rust 1.89 or later" >&2
  exit 2
fi

missing=$(
  needs | while IFS='|' read -r group package command reason; do
    for wanted in "$@"; do
      [ "$group" = "$wanted" ] || continue
      present "$package" "$command" || printf '%s|%s\n' "$package" "$reason"
    done
  done
)

# The backends docker and confined are tested with a container engine where one can be had. Without it
# their tests say that they did not run, so it is no reason to stop.
package=docker.io
for wanted in "$@"; do
  [ "$wanted" = test ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 || continue
  command -v dockerd >/dev/null 2>&1 && command -v docker >/dev/null 2>&1 && continue
  echo "setup: installing $package" >&2
  { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$package"; } >/dev/null ||
    echo "setup: $package cannot be installed: the backends docker and confined will not be tested" >&2
done
[ -n "$missing" ] || exit 0

names=$(printf '%s\n' "$missing" | cut -d'|' -f1 | sort -u | tr '\n' ' ')
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "setup: installing $names" >&2
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # a list of package names
  apt-get -q update >/dev/null && apt-get -q install -y --no-install-recommends $names >/dev/null
  exit 0
fi
echo "setup: missing packages:" >&2
printf '%s\n' "$missing" | sort -u | while IFS='|' read -r package reason; do
  printf '  %-14s %s\n' "$package" "$reason" >&2
done
echo "install them:  apt-get install $names" >&2
exit 2
