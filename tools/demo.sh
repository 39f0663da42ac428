#!/bin/sh
# demo.sh - the three calls, from Python, Go and C, against a devnet that is real underneath; says in words what happened. Called by ./dev demo.
# It uses a devnet of its own (own runtime directory), so that it neither meets nor disturbs one that is up.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
build=${EE_BUILD:-$root/build}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/ee-demo.XXXXXX")
chmod 700 "$scratch"
unset EE_URL EE_API_KEY EE_API_KEY_FILE EE_PROFILE EE_POLICY EE_BUDGET EE_NETWORK_ID EE_REGISTRY 2>/dev/null || true
export XDG_RUNTIME_DIR="$scratch" XDG_CONFIG_HOME="$scratch/config"
export PATH="$build/bin:$PATH" LD_LIBRARY_PATH="$build/lib" PYTHONPATH="$build/python" PKG_CONFIG_PATH="$build/lib/pkgconfig"

say() { printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi; }
failed=1
finish() {
    code=$?
    if [ "$failed" = 1 ] && [ -d "$scratch/easyenclave/devnet/logs" ]; then
        echo "--- the end of each log ---" >&2
        for log in "$scratch"/easyenclave/devnet/logs/*.log; do echo "== $(basename "$log")" >&2; tail -n 15 "$log" >&2; done
    fi
    ee -q devnet down >/dev/null 2>&1 || true
    rm -rf "$scratch"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

say "1. A network on this machine: control plane, three agents, an uptime server, a registry"
ee devnet up
ee nodes 2>/dev/null

say "2. Who is the coordinator? It proves itself before anything is asked of it"
ee verify control

say "3. The three calls from Python (examples/python/headline.py)"
python3 examples/python/headline.py

say "4. The three calls from Go (examples/go/headline)"
(cd examples/go/headline && go run .)

say "5. The three calls from C (examples/c/headline.c)"
"$build/bin/example_headline"

say "6. The same by hand: what ran, what it cost, what is left. (The jobs before took milliseconds: less than a millionth of a dollar)"
SECRET=value ee run myapp:latest -e SECRET -- sh -c '/app/hello; sleep 1'
ee jobs ls
ee curl app-name/api/private
for account in dev contractor-id; do
    (eval "$(ee devnet env "$account")" && ee balance)
done

say "7. Taken down again"
ee devnet down
left=$(pgrep -f "$scratch" || true)
if [ -n "$left" ]; then
    echo "these processes are left: $left" >&2
    exit 1
fi
failed=0
say "All three calls worked from Python, Go and C. Nothing is left running."
echo 'To go on by hand:  eval "$(./dev env)"; ee devnet up   and docs/quickstart.md'
