#!/bin/sh
# Makes a Python for 64-bit Arm that runs on this machine: make_root.sh FOLDER PYTHON
#   FOLDER/root     Debian's arm64 Python and C libraries, unpacked, not installed
#   FOLDER/site     the aarch64 wheels of ai-edge-litert and numpy, of the versions in constraints/
#   FOLDER/python   the program to call; EDGE_DEEPLAB_ARM64_CPU names another core
# PYTHON has pip. Needs mmdebstrap and qemu-user; what is there already is kept.
set -eu
folder=$1 pip_python=$2
here=$(cd "$(dirname "$0")/../.." && pwd)
for program in mmdebstrap qemu-aarch64; do
    command -v "$program" >/dev/null || { echo "needs $program: apt install mmdebstrap qemu-user" >&2; exit 1; }
done
[ ! -e "$folder/made" ] || exit 0
rm -rf "$folder/root" "$folder/site"
mkdir -p "$folder"

# Bookworm has Python 3.11, the reference version. "extract" unpacks packages and runs nothing of them.
mmdebstrap --quiet --variant=extract --architectures=arm64 \
    --include=python3-minimal,libpython3-stdlib,libstdc++6 bookworm "$folder/root"

"$pip_python" -m pip install --quiet --disable-pip-version-check --target "$folder/site" --python-version 3.11 \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
    --platform manylinux2014_aarch64 --only-binary=:all: --constraint "$here/constraints/constraints.txt" \
    ai-edge-litert numpy

# XNNPACK picks its kernels by what /proc/cpuinfo says, and qemu does not make one up: it has to name the core that
# -cpu names. With another core results are silently wrong, as test_arm64.py shows; without the file it crashes.
mkdir -p "$folder/root/proc"
for number in 0 1; do
    printf '%s\n' "processor	: $number" "BogoMIPS	: 100.00" \
        "Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs" \
        "CPU implementer	: 0x41" "CPU architecture: 8" "CPU variant	: 0x4" "CPU part	: 0xd0b" "CPU revision	: 1" ""
done >"$folder/root/proc/cpuinfo"

# -0: Python takes sys.executable from it, and processes it starts come through here again.
cat >"$folder/python" <<'END'
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here/site${PYTHONPATH:+:$PYTHONPATH}"
exec qemu-aarch64 -cpu "${EDGE_DEEPLAB_ARM64_CPU:-cortex-a76}" -L "$here/root" -0 "$here/python" \
    "$here/root/usr/bin/python3.11" "$@"
END
chmod 755 "$folder/python"
"$folder/python" -c 'import numpy, ai_edge_litert.interpreter, platform; assert platform.machine() == "aarch64"'
touch "$folder/made"
