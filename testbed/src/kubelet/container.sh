# Starts one container: a root of its own out of the machine's programs and the volumes of its pod.
# $1 name of its host, $2 root, $3 program, $4 read-only or not (ro, rw), $5 file of mounts:
# source<TAB>target<TAB>ro|rw.
# What follows "--" is run. Each step execs the next, so the process keeps its id.
set -eu
host=$1 root=$2 program=$3 mode=$4 mounts=$5
shift 6
echo "$host" >/proc/sys/kernel/hostname
mkdir -p "$root"
mount -t tmpfs -o mode=755 root "$root"
mkdir "$root/usr" "$root/etc" "$root/proc" "$root/dev" "$root/tmp"
mount --rbind /usr "$root/usr" && mount -o remount,bind,ro "$root/usr"
# Copies: the folder itself takes mounts of the pod.
for file in ld.so.cache nsswitch.conf passwd group; do
  if [ -e "/etc/$file" ]; then cp "/etc/$file" "$root/etc/$file"; fi
done
mount --bind /proc "$root/proc"
for link in bin sbin lib lib64; do
  if [ -L "/$link" ]; then cp -P "/$link" "$root/$link"; fi
done
for device in null zero random urandom; do
  touch "$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device"
done
entry=$(basename "$program")
touch "$root/$entry" && mount --bind "$program" "$root/$entry"
while IFS="$(printf '\t')" read -r source target access; do
  mkdir -p "$root$target"
  mount --bind "$source" "$root$target"
  if [ "$access" = ro ]; then mount -o remount,bind,ro "$root$target"; fi
done < "$mounts"
if [ "$mode" = ro ]; then mount -o remount,ro "$root"; fi
exec chroot "$root" "$@"
