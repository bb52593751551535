#!/bin/sh
# Installs TAG: downloads the binary for this machine, verifies it, and puts it in place.
#
#     curl -fsSL https://…/install.sh | sh
#
# Environment:
#   TAG_RELEASE_URL   folder of the releases; the files lie in $TAG_RELEASE_URL/$TAG_VERSION/
#   TAG_VERSION       version to install, such as v0.1.0, or "latest"
#   INSTALL_DIR       folder for the binary (/usr/local/bin)
#   TAG_CONFIG        configuration to write when none exists (/etc/tag/config.yaml), or "none"
#
# Nothing is changed before the download is verified and known to run here; then the binary is
# renamed into place, so a running copy is never half overwritten. An existing configuration is
# kept. Any failure is one line on standard error, exit code 1, and leaves everything as it was.
set -eu

# scripts/build.ts --release writes both into the copy it publishes.
default_version=latest
default_release_url=

# Everything is inside functions, so that a download of this script that broke off runs nothing.
main() {
  version=${TAG_VERSION:-$default_version}
  release_url=${TAG_RELEASE_URL:-$default_release_url}
  install_dir=${INSTALL_DIR:-/usr/local/bin}
  config=${TAG_CONFIG:-/etc/tag/config.yaml}
  staged_binary='' staged_config='' made_install_dir='' made_config_dir=''
  trap undo EXIT
  trap 'exit 130' INT
  trap 'exit 143' HUP TERM

  [ -n "$release_url" ] || fail "no release server is known: set TAG_RELEASE_URL to the folder that holds the releases"
  choose_tools
  file=tag-$(platform)
  from=${release_url%/}/$version

  stage_binary
  stage_config
  publish
  report
}

fail() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}

# Runs at every exit: removes what was prepared but not published.
undo() {
  [ -z "$staged_binary" ] || rm -rf "$staged_binary"
  [ -z "$staged_config" ] || rm -f "$staged_config"
  [ -z "$made_config_dir" ] || rmdir "$made_config_dir" 2>/dev/null || :
  [ -z "$made_install_dir" ] || rmdir "$made_install_dir" 2>/dev/null || :
}

has() { command -v "$1" >/dev/null 2>&1; }

choose_tools() {
  if has curl; then
    download() { curl -fsSL --retry 2 -o "$2" "$1" 2>/dev/null; }
  elif has wget; then
    download() { wget -q -O "$2" "$1" 2>/dev/null; }
  else
    fail "needs curl or wget to download"
  fi
  if has sha256sum; then
    sha256() { sha256sum <"$1"; }
  elif has shasum; then
    sha256() { shasum -a 256 <"$1"; }
  else
    fail "needs sha256sum or shasum to verify the download"
  fi
}

# Prints the platform as the published files are named.
platform() {
  os=$(uname -s) cpu=$(uname -m)
  case $cpu in
    x86_64 | amd64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) arch=$cpu ;;
  esac
  case $os-$arch in
    Linux-amd64 | Linux-arm64) echo "linux-$arch" ;;
    Darwin-arm64) echo darwin-arm64 ;;
    *) fail "there is no build for $os on $cpu (there is for Linux x86-64 and arm64, and macOS arm64)" ;;
  esac
}

# Downloads next to the final place, so that publishing is a rename within one file system.
stage_binary() {
  target=$install_dir/tag
  [ ! -d "$target" ] || fail "$target is a folder: remove it, or choose another place with INSTALL_DIR"
  if [ ! -d "$install_dir" ]; then
    mkdir -p "$install_dir" 2>/dev/null || cannot_write "$install_dir" INSTALL_DIR
    made_install_dir=$install_dir
  fi
  staged_binary=$(mktemp -d "$install_dir/.tag-install.XXXXXX" 2>/dev/null) || cannot_write "$install_dir" INSTALL_DIR

  sums=$staged_binary/SHA256SUMS
  download "$from/SHA256SUMS" "$sums" || fail "cannot download $from/SHA256SUMS"
  expected=$(awk -v file="$file" '$2 == file || $2 == "*" file { print $1 }' "$sums")
  [ -n "$expected" ] || fail "$from/SHA256SUMS does not list $file"
  download "$from/$file" "$staged_binary/tag" || fail "cannot download $from/$file"
  actual=$(sha256 "$staged_binary/tag" | cut -d' ' -f1)
  [ "$actual" = "$expected" ] || fail "$from/$file is damaged or not the published one: SHA-256 is $actual, expected $expected"

  chmod 755 "$staged_binary/tag"
  installed=$("$staged_binary/tag" --version 2>/dev/null | awk '$1 == "Version:" { print $2 }') || installed=''
  [ -n "$installed" ] || fail "$file does not run on this machine"
}

# The binary itself knows its options, so it writes the default configuration.
stage_config() {
  if [ "$config" = none ]; then
    config_state=none
    return
  fi
  if [ -e "$config" ]; then
    config_state=kept
    return
  fi
  config_dir=$(dirname "$config")
  if [ ! -d "$config_dir" ]; then
    mkdir -p "$config_dir" 2>/dev/null || cannot_write "$config_dir" TAG_CONFIG
    made_config_dir=$config_dir
  fi
  staged_config=$(mktemp "$config_dir/.tag-config.XXXXXX" 2>/dev/null) || cannot_write "$config_dir" TAG_CONFIG
  "$staged_binary/tag" config init - >"$staged_config" 2>/dev/null || fail "$file could not write the default configuration"
  chmod 644 "$staged_config"
  config_state=written
}

cannot_write() {
  fail "cannot write to $1: run as a user who may, or choose another place with $2"
}

publish() {
  mv -f "$staged_binary/tag" "$target" 2>/dev/null || cannot_write "$target" INSTALL_DIR
  made_install_dir=''
  if [ "$config_state" = written ]; then
    mv "$staged_config" "$config" 2>/dev/null || cannot_write "$config" TAG_CONFIG
    made_config_dir=''
  fi
}

report() {
  echo "Installed TAG $installed as $target"
  case $config_state in
    kept) echo "Kept your configuration $config" ;;
    written) echo "Wrote a default configuration to $config" ;;
  esac
  tag=tag
  [ "$(command -v tag 2>/dev/null)" = "$target" ] || tag=$target
  serve="$tag serve"
  [ "$config_state" = none ] || serve="$serve --config $config"
  cat <<END

Try it without an account:
  $tag dev

Put it in front of your object store:
  export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...
  $serve
and point your S3 client at http://localhost:8080
END
}

main "$@"
