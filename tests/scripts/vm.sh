#!/bin/sh
# Runs the sandbox's attacks, and kiln's own builds, in a small virtual machine: Debian's kernel (6.1) with
# control groups of version 2, which is what users have and what the machine of the other tests may not
# have; then with version 1, and with none.
#
#   vm.sh [WORDS...]     WORDS, or VM_TESTS, choose tests by their names, `all` takes every one; without
#                        any, those run that depend on the kind of control group or the kernel
#   VM_GROUPS="v2"       boots in these ways only; without it in all three: v2 v1 none
#
# The machine is made here from this host's own packages: a kernel fetched by apt and never installed,
# a root of the essential packages and a compiler, and what cargo built. It has no network and no
# disk of the host's. What runs in it stands in tests/vm/: `init` and `checks`. Each test says how it ended
# over the serial line; a line that is missing is a failure, so a machine that hangs or dies is one too.
set -eu
. "$(dirname "$0")/project.sh"

words=${*:-${VM_TESTS:-}}
groups=${VM_GROUPS:-v2 v1 none}
# The emulated machine: two processors, since one would hide races; memory for the largest attack.
processors=2
memory_mib=1536
# Emulation is slow; a machine that hangs must not hang the caller. In seconds, for each boot.
longest=2400
[ "$words" != all ] || longest=7200

# The attacks of a part, where none are chosen: names, or parts of names.
limits="s_d01 s_d02 processor_time_is leaves_no_control_group s_d06 s_d07 interrupted what_held the_probe"
here="s_d03_disk_is s_d05 s_d08_open s_a10 s_a21 nested_ the_control_group views_on_the_disk side_by_side umask"
chosen() { # part
  if [ -n "$words" ]; then echo "$words"; return; fi
  case $1 in
    root-v2) echo "$limits $here" ;;
    user-v2-delegated) echo "$limits s_a10 s_a21 nested_ the_control_group views_on_the_disk side_by_side umask" ;;
    user-v2-not-delegated) echo "$limits s_d05 s_d08_open nested_changes" ;;
    root-v1) echo "$limits nested_changes the_control_group" ;;
    root-without-groups) echo "s_d01 s_d02 processor_time_is s_d07 interrupted what_held the_probe nested_changes" ;;
  esac
}
parts() { # way to boot
  case $1 in
    v2) echo root-v2 user-v2-delegated user-v2-not-delegated ;;
    v1) echo root-v1 ;;
    none) echo root-without-groups ;;
    *) fail "no way to boot: $1" ;;
  esac
}

build_kiln
make_scratch
start=$(date +%s)

heading "Kernel"
package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p')
cache=$target/vm/$package
if [ ! -e "$cache/boot" ]; then
  mkdir -p "$scratch/fetched" "$target/vm"
  (cd "$scratch/fetched" && apt-get -q download "$package" 2>/dev/null)
  dpkg-deb -x "$scratch"/fetched/*.deb "$scratch/kernel"
  mv "$scratch/kernel" "$cache"
fi
release=$(basename "$cache"/lib/modules/*)
echo "$release"

heading "Machine"
busybox=$(command -v busybox)
initramfs=$scratch/initramfs
modules=$initramfs/lib/modules/$release
mkdir -p "$initramfs/bin" "$initramfs/dev" "$initramfs/proc" "$initramfs/new" "$modules"
cp "$busybox" "$initramfs/bin/busybox"
[ -e "$cache/lib/modules/$release/modules.dep" ] || "$busybox" depmod -b "$cache" "$release"
# Copies a module and what it needs, the needed first, and notes the order.
take_modules() {
  for module in "$@"; do
    line=$(grep "/$module\.ko:" "$cache/lib/modules/$release/modules.dep")
    needs=
    for needed in ${line#*:}; do needs="$needed $needs"; done
    for file in $needs "${line%%:*}"; do
      name=$(basename "$file")
      [ ! -e "$modules/$name" ] || continue
      cp "$cache/lib/modules/$release/$file" "$modules/$name"
      echo "$name" >>"$modules/order"
    done
  done
}
take_modules virtio_pci virtio_blk crc32c_generic ext4 overlay loop
cat >"$initramfs/init" <<INIT
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox ifconfig lo up
while read -r module; do /bin/busybox insmod /lib/modules/$release/\$module; done </lib/modules/$release/order
/bin/busybox mount -t ext4 /dev/vda /new
/bin/busybox mount --move /dev /new/dev
exec /bin/busybox switch_root /new /kiln/init
INIT
chmod 755 "$initramfs/init"
(cd "$initramfs" && find . | "$busybox" cpio -o -H newc 2>/dev/null) | gzip -1 >"$scratch/initramfs.gz"

# The root: the essential packages and the compiler of this host with all they need, as they are
# installed here, and what dpkg knows of them: kiln makes an environment of them there.
closure() { # package…
  apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts \
    --no-breaks --no-replaces --no-enhances "$@" | grep '^[a-z0-9]' | sort -u
}
essential=$(dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p')
# shellcheck disable=SC2086 # a list of names
packages=$(closure $essential gcc libc6-dev make mount e2fsprogs)
# What provides a name that is no package, such as awk.
# shellcheck disable=SC2086 # a list of names
dpkg-query -W -f '${Depends}, ${Pre-Depends}\n' $packages 2>/dev/null | tr ',|' '\n\n' |
  sed -n 's/^ *\([a-z0-9][a-z0-9.+-]*\).*/\1/p' | sort -u >"$scratch/needed"
providers=$(dpkg-query -W -f '${Package} ${Provides}\n' | tr -d ',' |
  awk 'NR == FNR { needed[$1]; next } { for (i = 2; i <= NF; i++) if ($i in needed) { print $1; next } }' \
    "$scratch/needed" -)
# shellcheck disable=SC2086 # a list of names
packages=$(closure $packages $providers)
tree=$scratch/tree
mkdir -p "$tree/kiln/parts" "$tree/kiln/projects" "$tree/srv" "$tree/proc" "$tree/sys" "$tree/dev" \
  "$tree/tmp" "$tree/run"
for name in bin sbin lib lib64; do
  [ -L "/$name" ] || continue
  mkdir -p "$tree/usr/$name"
  ln -s "usr/$name" "$tree/$name"
done
{
  # shellcheck disable=SC2086 # a list of names
  dpkg -L $packages 2>/dev/null | sort -u |
    grep -v -e '^/usr/share/\(doc\|man\|locale\|info\)/' -e '^/\(bin\|sbin\|lib\|lib64\)$'
  for package in $packages; do
    ls -d "/var/lib/dpkg/info/$package".* "/var/lib/dpkg/info/$package":* 2>/dev/null || :
  done
  find /etc/alternatives /var/lib/dpkg/alternatives
  for name in status arch diversions; do echo "/var/lib/dpkg/$name"; done
  printf '/etc/%s\n' ld.so.cache passwd group
} | while read -r path; do if [ -f "$path" ] || [ -L "$path" ] || [ -d "$path" ]; then echo "$path"; fi; done |
  sort -u | tar -C / -cf - --no-recursion -T - 2>/dev/null |
  tar -C "$tree" -xf - --no-same-owner
[ -e "$tree/usr/bin/awk" ] || ln -s mawk "$tree/usr/bin/awk"

# Puts a test program of the sandbox into the machine.
take_tests() { # name in the machine, arguments of cargo that name it, start of its file's name
  built=$(cd "$root" && cargo test -q -p sandbox "$2" ${4:+"$4"} --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*'"$3"'-[^"]*\)".*/\1/p' | tail -1)
  [ -x "$built" ] || fail "cargo named no test program for $1"
  install -m 755 "$built" "$tree/kiln/$1"
}
take_tests attacks --test attacks attacks
take_tests units --lib sandbox
install -m 755 "$kiln" "$tree/kiln/kiln"
strip "$tree/kiln/attacks" "$tree/kiln/units" "$tree/kiln/kiln"
install -m 755 "$root/tests/vm/init" "$root/tests/vm/checks" "$tree/kiln"
# The projects: the example as it is, and three small ones on the same environment.
project() { # name, options of its step, script
  mkdir "$tree/kiln/projects/$1"
  cat >"$tree/kiln/projects/$1/kiln.yaml" <<YAML
kiln: 1
name: $1
environment:
  host: {packages: [gcc, libc6-dev, make]}
steps:
  - name: build
    run: |
      $3
    outputs: {out: out}
    $2
artifacts:
  - {file: build.out}
YAML
}
# shellcheck disable=SC2016 # a program, not words of this shell
project memory 'resources: {memory: 64Mi}' 'perl -e '\''my $x = "x" x (200 << 20); print length $x'\'' >out'
project processes 'resources: {pids: 20}' \
  "sh -c 'for i in 1 2 3 4 5; do for j in 1 2 3 4 5 6 7 8; do sleep 3 & done; done'; exit 3"
project nested 'nested: true' \
  'unshare --user --map-root-user --mount --cgroup cat /proc/self/cgroup >out'
cp -r "$root/examples/hello" "$tree/kiln/projects/hello"
(
  own_home home
  for name in memory processes nested hello; do
    cd "$tree/kiln/projects/$name"
    [ "$name" = hello ] || "$kiln" lock -q
    commit_all "$name"
  done
)
# What each part runs; each name has to come back as a line. Words choose among all three kinds.
filter() { # words…
  while read -r name; do
    for word in "$@"; do
      case $word:$name in all:* | *:*"$word"*) echo "$name"; break ;; esac
    done
  done
}
expected=$scratch/expected
for way in $groups; do
  for part in $(parts "$way"); do
    file=$tree/kiln/parts/$part
    chosen "$part" >"$file.attacks"
    # shellcheck disable=SC2046 # a list of words
    "$tree/kiln/attacks" --list | sed -n 's/: test$//p' | filter $(cat "$file.attacks") >"$scratch/attacks"
    # shellcheck disable=SC2086 # a list of words
    case $part in
      *-not-delegated | *-without-groups) ;; # there are no control groups to try
      *) "$tree/kiln/units" --list native::cgroup | sed -n 's/: test$//p' | filter ${words:-all} ;;
    esac >"$file.units"
    # shellcheck disable=SC2086 # a list of words
    "$tree/kiln/checks" --list "$part" | filter ${words:-all} >"$file.checks"
    cat "$scratch/attacks" "$file.units" "$file.checks" | sed "s/^/$part /" >>"$expected"
  done
done
chmod -R u+rwX,go+rX "$tree/kiln"
truncate -s 4G "$scratch/disk"
mke2fs -q -F -t ext4 -E root_owner=0:0 -d "$tree" "$scratch/disk"
echo "$(du -sm "$tree" | cut -f1) MiB of root, $(echo "$packages" | wc -w) packages, $(($(date +%s) - start)) s to make"
chmod -R u+w "$tree"
rm -rf "$tree"

# Boots the machine once and shows a line for each test; all that it says is kept.
boot() { # way
  log=$target/vm/console-$1
  heading "Control groups: $1 (all it says: target/vm/console-$1)"
  booted=$(date +%s)
  # Emulated even where /dev/kvm exists: inside another machine that one may hang without a word.
  timeout "$longest" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max \
    -smp "$processors" -m "$memory_mib" -display none -serial stdio -monitor none -no-reboot -nic none \
    -kernel "$cache/boot/vmlinuz-$release" -initrd "$scratch/initramfs.gz" \
    -append "console=ttyS0 quiet panic=-1 kiln.groups=$1" \
    -drive "file=$scratch/disk,format=raw,if=virtio,cache=unsafe,snapshot=on" </dev/null 2>"$scratch/qemu.err" |
    sed -u 's/\r$//' | tee "$log" | sed -un -e 's/^vm: /-- /p' -e '/^test .* \.\.\. /p' -e '/^  | /p' || :
  echo "$(($(date +%s) - booted)) s in the machine"
}
for way in $groups; do boot "$way"; done

heading "Is every line there?"
wrong=0
for way in $groups; do
  log=$target/vm/console-$way
  grep -qx 'vm: over' "$log" || { echo "the machine did not come to its end: $way"; wrong=1; }
  ! grep -q -E '^test .* FAILED$|^test result: FAILED' "$log" || wrong=1
  cat "$log"
done >"$scratch/log"
grep '^the machine did not' "$scratch/log" || :
# Gives each test the part it ran in.
awk '/^vm: /{part=$2} /^test .* \.\.\. (ok|ignored)/{print part, $2}' "$scratch/log" |
  sort -u >"$scratch/told"
sort -u "$expected" | comm -23 - "$scratch/told" >"$scratch/missing"
sed 's/^/not well: /' "$scratch/missing"
[ ! -s "$scratch/missing" ] || wrong=1
# Whoever built, built the same bytes.
bytes=$(sed -n 's/^vm-bytes: //p' "$scratch/log" | sort -u | wc -l)
[ "$bytes" -le 1 ] || { echo "the builds differ"; wrong=1; }
if [ "$wrong" -ne 0 ]; then
  cat "$scratch/qemu.err" >&2
  fail "the virtual machine told of a failure, or told too little"
fi
count() { grep -c -E "^test .* \.\.\. $1" "$scratch/log" || :; }
echo "all well: $(count ok) passed, $(count ignored) ignored, $(($(date +%s) - start)) s"
