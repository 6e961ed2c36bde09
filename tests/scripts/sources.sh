#!/bin/sh
# Fetches upstream source archives with the host's own apt and unpacks the upstream part unchanged.
#
#   sources.sh FOLDER PACKAGE…      ->  FOLDER/PACKAGE/ holds the sources
#
# Uses a private apt configuration below FOLDER: the host's entries, turned into source entries, so
# it works where the host has none, needs no root, and changes nothing of the host. apt checks the
# archives against the signed index.
set -eu
folder=$1
shift
apt=$folder/.apt
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/parts" "$apt/files"

for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -f "$list" ] || continue
  sed -n -E 's/^[[:space:]]*deb[[:space:]]/deb-src /p' "$list" >"$apt/parts/$(basename "$list" .list).list"
done
for list in /etc/apt/sources.list.d/*.sources; do
  [ -f "$list" ] || continue
  sed -E 's/^Types:.*/Types: deb-src/' "$list" >"$apt/parts/$(basename "$list")"
done
cat >"$apt/apt.conf" <<CONF
Dir::State "$apt/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/parts";
APT::Sandbox::User "";
CONF
APT_CONFIG=$apt/apt.conf
export APT_CONFIG

# An entry of a third party may offer no sources; what counts is whether the packages are found.
apt-get -q update >"$apt/log" 2>&1 || :
cd "$apt/files"
for package in "$@"; do
  if ! apt-get -q --download-only --only-source source "$package" >>"$apt/log" 2>&1; then
    cat "$apt/log" >&2
    echo "sources: apt has no source package $package" >&2
    exit 6
  fi
  mkdir -p "$folder/$package"
  for archive in "$package"_*.orig.tar.*; do
    case $archive in *.asc) continue ;; esac
    echo "$package: $archive sha256:$(sha256sum "$archive" | cut -d' ' -f1)"
    tar -xf "$archive" --strip-components=1 --no-same-owner -C "$folder/$package"
  done
done
