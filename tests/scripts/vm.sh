#!/bin/sh
# Runs the sandbox's attacks in a small virtual machine: Debian's kernel (6.1) with control groups of
# version 2, which is what users have and what the machine of the other tests may not have.
#
#   vm.sh [WORDS...]     WORDS choose attacks by their names; without any, the chosen subset runs
#
# The machine is made here from this host's own packages: a kernel fetched by apt and never installed,
# a root of the essential packages, the attacks and kiln as cargo built them. It has no network and no
# disk of the host's. As root and as an ordinary user with a delegated control group, it says how each
# attack ended over its serial line; a line that is missing is a failure.
set -eu
. "$(dirname "$0")/project.sh"

# What is run without words: what depends on the kind of control group or on the kernel.
words=${*:-s_d0 limits disk views view_takes writable held probe interrupted side_by_side runs_leave umask}
# The emulated machine: two processors, since one would hide races; memory for the largest attack.
processors=2
memory_mib=1536
# Emulation is slow; a machine that hangs must not hang the caller. In seconds.
longest=1500

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

# The root: the essential packages of this host with all they need, as they are installed here.
essential=$(dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p')
# shellcheck disable=SC2086 # a list of names
packages=$(apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts \
  --no-breaks --no-replaces --no-enhances $essential mount e2fsprogs | grep '^[a-z0-9]' | sort -u)
tree=$scratch/tree
mkdir -p "$tree/kiln" "$tree/srv" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/tmp" "$tree/run"
for name in bin sbin lib lib64; do
  [ -L "/$name" ] || continue
  mkdir -p "$tree/usr/$name"
  ln -s "usr/$name" "$tree/$name"
done
# shellcheck disable=SC2086 # a list of names
dpkg -L $packages 2>/dev/null | sort -u |
  grep -v -e '^/usr/share/\(doc\|man\|locale\|info\)/' -e '^/\(bin\|sbin\|lib\|lib64\)$' |
  while read -r path; do if [ -f "$path" ] || [ -L "$path" ]; then echo "$path"; fi; done |
  tar -C / -cf - --no-recursion -h -T - 2>/dev/null |
  tar -C "$tree" -xf - --no-same-owner
cp -P /etc/ld.so.cache /etc/passwd /etc/group "$tree/etc/"
[ -e "$tree/usr/bin/awk" ] || ln -s mawk "$tree/usr/bin/awk"
attacks=$(cd "$root" && cargo test -q -p sandbox --test attacks --no-run --message-format=json 2>/dev/null |
  sed -n 's/.*"executable":"\([^"]*attacks-[^"]*\)".*/\1/p' | tail -1)
[ -x "$attacks" ] || fail "cargo named no test program"
install -m 755 "$attacks" "$tree/kiln/attacks"
install -m 755 "$kiln" "$tree/kiln/kiln"
strip "$tree/kiln/attacks" "$tree/kiln/kiln"

cat >"$tree/kiln/init" <<INIT
#!/bin/sh
# The first process of the machine: runs the attacks and ends it.
export PATH=/usr/sbin:/usr/bin LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs -o mode=1777 tmp /run
echo 1 >/proc/sys/kernel/printk
chmod 1777 /tmp /srv
hostname kiln-vm
head -1 /proc/version
# Half of the memory is the default limit of a step, as on any machine; swap there is none.
ids='--reuid 1000 --regid 1000 --clear-groups'
printf '+pids +memory +cpu' >/sys/fs/cgroup/cgroup.subtree_control
echo "vm: root, version 2"
KILN_ATTACKS_ONCE=1 TMPDIR=/srv /kiln/attacks $words
# As systemd delegates: a subtree that the user owns, with its controllers handed on, the user's
# program in a group of its own beside those that kiln will make.
mkdir -p /sys/fs/cgroup/user/own
chown 1000:1000 /sys/fs/cgroup/user /sys/fs/cgroup/user/own /sys/fs/cgroup/user/cgroup.* \
  /sys/fs/cgroup/user/own/cgroup.*
printf '+pids +memory +cpu' >/sys/fs/cgroup/user/cgroup.subtree_control
mkdir /srv/user && chown 1000:1000 /srv/user
echo "vm: user, version 2, delegated"
(echo 0 >/sys/fs/cgroup/user/own/cgroup.procs && TMPDIR=/srv/user exec setpriv \$ids /kiln/attacks $words)
# Without delegation, and so without control groups: what is left are the limits of a process.
echo "vm: user, nothing delegated"
(TMPDIR=/srv/user exec setpriv \$ids /kiln/attacks $words)
echo "vm: doctor"
HOME=/run TMPDIR=/srv /kiln/kiln doctor || :
echo "vm: over"
sync
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
INIT
chmod 755 "$tree/kiln/init"
truncate -s 3G "$scratch/disk"
mke2fs -q -F -t ext4 -E root_owner=0:0 -d "$tree" "$scratch/disk"
echo "$(du -sm "$tree" | cut -f1) MiB of root, $(echo "$packages" | wc -w) packages, $(($(date +%s) - start)) s to make"

heading "Attacks on version 2"
booted=$(date +%s)
log=$target/vm/console
# Emulated even where /dev/kvm exists: inside another machine that one may hang without a word.
timeout "$longest" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max \
  -smp "$processors" -m "$memory_mib" -display none -serial stdio -monitor none -no-reboot -nic none \
  -kernel "$cache/boot/vmlinuz-$release" -initrd "$scratch/initramfs.gz" \
  -append 'console=ttyS0 quiet panic=-1' \
  -drive "file=$scratch/disk,format=raw,if=virtio,cache=unsafe" </dev/null 2>"$scratch/qemu.err" |
  sed -u 's/\r$//' | tee "$log" || :
echo "$(($(date +%s) - booted)) s in the machine"

heading "Is every line there?"
wrong=0
for part in 'vm: root, version 2' 'vm: user, version 2, delegated' 'vm: user, nothing delegated' 'vm: doctor' 'vm: over'; do
  grep -qx "$part" "$log" || { echo "missing: $part"; wrong=1; }
done
chosen=$("$tree/kiln/attacks" --list | sed -n 's/: test$//p')
for name in $chosen; do
  wanted=no
  for word in $words; do case $name in *"$word"*) wanted=yes ;; esac; done
  [ "$wanted" = yes ] || continue
  ran=$(grep -c -E "^test $name \.\.\. (ok|ignored)" "$log" || :)
  [ "$ran" -eq 3 ] || { echo "not well in every part: $name ($ran of 3)"; wrong=1; }
done
[ "$(grep -c '^test result: ok' "$log" || :)" -eq 3 ] || { echo "not every part ended well"; wrong=1; }
[ "$wrong" -eq 0 ] || { cat "$scratch/qemu.err" >&2; fail "the virtual machine told of a failure, or told too little"; }
echo "$(grep -c -E '^test .* \.\.\. ok$' "$log") passed, $(grep -c -E '^test .* \.\.\. ignored' "$log") ignored"
