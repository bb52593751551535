#!/bin/sh
# Runs every test: sets up what is missing, builds the binary, and runs all suites.
#
# The S3 clients the integration tests drive come from Debian packages when this is Debian and the
# user is root; otherwise the tests of the clients that are missing are skipped, and it says which.
set -eu
cd "$(dirname "$0")/.."
. scripts/bootstrap.sh

# Program and Debian package; boto3 is a Python module. wget is for install.sh without curl.
clients='aws:awscli rclone:rclone s3cmd:s3cmd boto3:python3-boto3 shellcheck:shellcheck wget:wget'

has_client() {
  case $1 in
    boto3) "${TAG_TEST_PYTHON:-python3}" -c 'import boto3' 2>/dev/null ;;
    *) has "$1" ;;
  esac
}

# The python3 first on PATH may be another than Debian's, for which the packages are.
choose_python() {
  for python in python3 /usr/bin/python3; do
    if "$python" -c 'import boto3' 2>/dev/null; then
      TAG_TEST_PYTHON=$python
      export TAG_TEST_PYTHON
      return
    fi
  done
}

missing_clients() {
  for pair in $clients; do
    has_client "${pair%%:*}" || printf '%s\n' "$pair"
  done
}

choose_python
missing=$(missing_clients)
if [ -n "$missing" ] && has apt-get && [ "$(id -u)" = 0 ]; then
  say "Installing the S3 clients the tests use ..."
  # shellcheck disable=SC2046 # one word per package
  set -- $(printf '%s\n' "$missing" | sed 's/.*://')
  if apt-get update -qq >&2 &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; then
    choose_python
  else
    say "apt-get could not install them."
  fi
  missing=$(missing_clients)
fi
for pair in $missing; do
  reason="not installed"
  [ "$(id -u)" = 0 ] || reason="not installed, and installing needs root (apt-get install ${pair##*:})"
  say "Skipping the tests that need ${pair%%:*}: $reason."
done

exec bun scripts/check.ts --full
