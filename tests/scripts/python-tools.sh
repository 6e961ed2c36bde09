# Read by the interop scripts: the Python tools, in target/tools/venv, in the versions and with the digests
# of requirements.txt.

python_tools() {
  venv=$target/tools/venv
  wanted=$root/tests/interop/requirements.txt
  if ! cmp -s "$wanted" "$venv/installed"; then
    heading "Tools, in $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes \
      --cache-dir "$target/tools/pip-cache" --requirement "$wanted"
    cp "$wanted" "$venv/installed"
  fi
}
