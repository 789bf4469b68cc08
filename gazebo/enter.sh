#!/usr/bin/env bash
# Runs a command in a file system that was unpacked into ROOT: enter.sh ROOT FOLDER COMMAND...
# FOLDER is /run/jepa in there. Mounts are seen by the command alone; users other than root get a user namespace.
set -euo pipefail
root=$(realpath "$1") folder=$(realpath "$2")
shift 2
mkdir -p "$root"/{dev,proc,run/jepa,tmp}
users=()
[ "$(id -u)" = 0 ] || users=(--map-root-user)
exec unshare --mount "${users[@]}" bash -c '
  root=$1 folder=$2
  shift 2
  mount --make-rprivate /
  mount --rbind /dev "$root/dev"
  mount --rbind /proc "$root/proc"
  mount --bind "$folder" "$root/run/jepa"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  exec chroot "$root" /usr/bin/env -i HOME=/tmp USER=root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
' enter "$root" "$folder" "$@"
