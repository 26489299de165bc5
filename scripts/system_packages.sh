#!/usr/bin/env bash
# Makes sure that one thing of the system is there: system_packages.sh make|ffmpeg|osmesa|chromium
# Installs it with apt-get as root (or with password-less sudo); otherwise says what to install, and fails.
set -euo pipefail

has_library() { # by the loader's own list; /sbin is not on everybody's PATH
    { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } | grep -c "$1" >/dev/null
}

is_there() {
    case $1 in
        osmesa) has_library libOSMesa.so ;;
        chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
        *) command -v "$1" ;;
    esac >/dev/null
}

install_hint() {
    case $1 in
        make) echo "Debian, Ubuntu: apt-get install make; macOS: xcode-select --install" ;;
        ffmpeg) echo "Debian, Ubuntu: apt-get install ffmpeg; macOS: brew install ffmpeg" ;;
        osmesa) echo "Debian, Ubuntu: apt-get install libosmesa6; Fedora: dnf install mesa-compat-libOSMesa" ;;
        chromium) echo "Debian: apt-get install chromium; others: Chromium or Google Chrome on the PATH" ;;
    esac
}

case ${1:-} in
    make | ffmpeg | chromium) package=$1 ;;
    osmesa) package=libosmesa6 ;;
    *)
        echo "usage: $0 make|ffmpeg|osmesa|chromium" >&2
        exit 2
        ;;
esac

is_there "$1" && exit 0

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
if command -v apt-get >/dev/null && { [ -z "$sudo" ] || sudo -n true 2>/dev/null; }; then
    echo "Installing $package with apt-get …"
    $sudo apt-get -qq update || true # a stale list may still serve
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$package" </dev/null || true
    is_there "$1" && exit 0
fi

echo "This step needs $1, which could not be installed from here. $(install_hint "$1")." >&2
exit 1
