#!/usr/bin/env bash
# Gazebo Classic 11 of Debian 11, unpacked into FOLDER/root for machines whose distribution no longer has it, and the
# plugin compiled for it. Nothing is installed: unpack.sh FOLDER
#
# DEBIAN_MIRROR, DEBIAN_SUITE and DEBIAN_KEYRING say where from; a mirror in the local network is as good.
set -euo pipefail
folder=$(realpath -m "$1")
here=$(realpath "$(dirname "$0")")
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
suite=${DEBIAN_SUITE:-bullseye}
keyring=${DEBIAN_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
runtime=(gazebo gazebo-plugin-base libgl1-mesa-dri xvfb bash coreutils libc-bin grep sed procps x11-xkb-utils xkb-data)
development=(libgazebo-dev g++ pkg-config)

for program in apt-get dpkg-deb unshare chroot; do
  command -v $program > /dev/null || { echo "expected the program $program: unpacking Gazebo needs a Debian or Ubuntu"; exit 1; }
done
[ -e "$keyring" ] || { echo "expected Debian's keyring in $keyring: apt-get install debian-archive-keyring"; exit 1; }

apt=$folder/apt root=$folder/root
rm -rf "$root" "$folder/libjepa_gazebo.so"
mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,etc/preferences.d} "$root"
touch "$apt/status"
echo "deb [signed-by=$keyring] $mirror $suite main" > "$apt/etc/sources.list"
cat > "$apt/apt.conf" << CONFIGURATION
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/etc/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferencesparts "$apt/etc/preferences.d";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "";
CONFIGURATION
export APT_CONFIG=$apt/apt.conf
apt-get -qq update
apt-get -qq install --yes --download-only --no-install-recommends -o Debug::NoLocking=true "${runtime[@]}" "${development[@]}"
for package in "$apt"/cache/archives/*.deb; do dpkg-deb --extract "$package" "$root"; done

# What the packages' own scripts would have done.
ln -sf bash "$root/bin/sh"
mkdir -p "$root"/etc/ld.so.conf.d
printf '%s\n' /usr/lib/x86_64-linux-gnu/blas /usr/lib/x86_64-linux-gnu/lapack > "$root/etc/ld.so.conf.d/alternatives.conf"
echo 'include /etc/ld.so.conf.d/*.conf' > "$root/etc/ld.so.conf"
echo 'root:x:0:0:root:/root:/bin/bash' > "$root/etc/passwd" # without it Gazebo ends: basic_string::_M_construct null
echo 'root:x:0:' > "$root/etc/group"
echo '127.0.0.1 localhost' > "$root/etc/hosts"
printf 'passwd: files\nhosts: files\n' > "$root/etc/nsswitch.conf"
cp "$here/jepa_gazebo.cc" "$here/compile.sh" "$folder/"
"$here/enter.sh" "$root" "$folder" /sbin/ldconfig
"$here/enter.sh" "$root" "$folder" CXX=g++ bash /run/jepa/compile.sh /run/jepa/jepa_gazebo.cc /run/jepa/libjepa_gazebo.so
rm -rf "$apt" "$folder"/{jepa_gazebo.cc,compile.sh} "$root"/usr/{include,lib/gcc,share/doc,share/man,share/locale}
find "$root/usr/lib" -name '*.a' -delete
