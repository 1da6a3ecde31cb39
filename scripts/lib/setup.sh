# setup.sh - what scripts/demo and scripts/test share: messages, packages, builds.
#
# To be sourced by bash, with `top` set to the folder of the sources.

step()  { printf '\n==> %s\n' "$*"; }
note()  { printf '    %s\n' "$*"; }
error() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# need PACKAGE TEST...: note PACKAGE as missing unless the command TEST succeeds.
missing=()
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has() { command -v "$1"; }

# What a build takes.
need_build_packages() {
    need gcc has cc
    need libc6-dev test -e /usr/include/stdio.h
    need pkg-config has pkg-config
    need libglib2.0-dev pkg-config --exists glib-2.0 gmodule-2.0 gio-unix-2.0
    need libpng-dev pkg-config --exists libpng
    need libzstd-dev pkg-config --exists libzstd
    need zlib1g-dev pkg-config --exists zlib
    need libslirp-dev pkg-config --exists slirp
    need libjson-glib-dev pkg-config --exists json-glib-1.0
    need python3 has python3
    need meson has meson
    need ninja-build has ninja
}

# What scripts/guest takes, beyond what every Debian has.
need_guest_packages() {
    PATH=$PATH:/usr/sbin:/sbin
    need cpio has cpio
    need e2fsprogs has debugfs
    need mawk has awk
    need xz-utils has xz
    need ca-certificates test -e /etc/ssl/certs
}

# Install what need() found missing, after saying so.
install_packages() {
    local root=()
    if [ ${#missing[@]} = 0 ]; then
        note "nothing to install: all that is needed is there"
        return 0
    fi
    note "to be installed with apt: ${missing[*]}"
    if [ "$(id -u)" != 0 ]; then
        root=(sudo)
        note "which takes root: sudo may ask for your password"
        has sudo >/dev/null || { error "there is no sudo; as root: apt-get install ${missing[*]}"; return 1; }
    fi
    has apt-get >/dev/null || { error "this is no Debian; please install: ${missing[*]}"; return 1; }
    "${root[@]}" apt-get -q update </dev/null ||
        note "not every package list could be had; going on with those that apt has"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y --no-install-recommends install "${missing[@]}" </dev/null
}

# build FOLDER [MESON OPTION...]: configured once, built always.
build() {
    local folder=$1
    shift
    if ! [ -f "$top/$folder/build.ninja" ]; then
        rm -rf "${top:?}/$folder"   # the rest of a configuration that failed
        (cd "$top" && meson setup "$folder" "$@") || return
    fi
    ninja -C "$top/$folder"
}

# The Linux guest, in ./guest/x86_64 (or where VMRUN_GUEST says): sets `guest`.
make_guest() {
    guest=${VMRUN_GUEST:-$top/guest/x86_64}
    "$top/scripts/guest" x86_64 "$guest"
}
