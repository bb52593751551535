# shellcheck shell=sh
# Sourced by quickstart.sh and test.sh from the root of the checkout: puts the pinned Bun on PATH
# and installs the dependencies. Needs a POSIX shell and either that Bun, or npm, or curl.
#
# Everything lands inside the checkout (.bun/, node_modules/), nothing is changed outside it.

bun_version=$(sed -n 's/^ *"packageManager": "bun@\([^"]*\)".*/\1/p' package.json)
private_bun=$PWD/.bun

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

is_pinned_bun() { [ "$("$1" --version 2>/dev/null)" = "$bun_version" ]; }

# Prints the folder that holds the pinned bun, or fails.
find_bun() {
  if has bun && is_pinned_bun bun; then
    dirname "$(command -v bun)"
    return
  fi
  for folder in "$private_bun/node_modules/.bin" "$private_bun/bin"; do
    if [ -x "$folder/bun" ] && is_pinned_bun "$folder/bun"; then
      printf '%s\n' "$folder"
      return
    fi
  done
  return 1
}

install_bun() {
  mkdir -p "$private_bun"
  if has npm; then
    say "Installing Bun $bun_version with npm into .bun/ ..."
    npm install --prefix "$private_bun" --no-save --no-audit --no-fund --loglevel=error \
      "bun@$bun_version" >&2 && return
    say "npm could not install it."
  fi
  if has curl && has bash && has unzip; then
    say "Installing Bun $bun_version with its own installer into .bun/ ..."
    # The installer offers to edit the shell's start-up files; without SHELL it leaves them alone.
    curl -fsSL https://bun.sh/install | SHELL='' BUN_INSTALL="$private_bun" bash -s "bun-v$bun_version" >&2 &&
      return
    say "The installer failed."
  fi
  die "cannot get Bun $bun_version: install it, or npm, or curl with bash and unzip, and run this again"
}

[ -n "$bun_version" ] || die "package.json names no bun version (packageManager)"
bun_folder=$(find_bun) || {
  install_bun
  bun_folder=$(find_bun) || die "Bun $bun_version was installed but does not run on this machine"
}
PATH=$bun_folder:$PATH
export PATH

bun install --frozen-lockfile --silent || die "bun install failed; see above"
