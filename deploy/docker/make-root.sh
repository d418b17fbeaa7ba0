#!/bin/sh
# make-root.sh FOLDER: a root file system that runs Node.js and native modules, with tini, and nothing else.
set -eu
root=$1
mkdir -p "$root/usr/local/bin" "$root/etc" "$root/tmp" "$root/var/lib/dpkg/status.d"
chmod 1777 "$root/tmp"

cp /usr/local/bin/node "$root/usr/local/bin/"
cp /usr/bin/tini-static "$root/usr/local/bin/tini"
for package in libc6 libgcc-s1 libstdc++6; do
    dpkg -L "$package" | grep -E '/[^/]+\.so(\.[0-9]+)*$' | grep -v /gconv/ | xargs cp -d --parents -t "$root"
done
# What scanners and bills of materials read, as in Google's distroless images.
for package in libc6 libgcc-s1 libstdc++6 tini; do
    dpkg -s "$package" >"$root/var/lib/dpkg/status.d/$package"
done

cp /etc/os-release /etc/nsswitch.conf "$root/etc/"
echo 'node:x:1000:1000::/tmp:/sbin/nologin' >"$root/etc/passwd"
echo 'node:x:1000:' >"$root/etc/group"
