#!/usr/bin/env python3
"""Make a torch wheel from PyPI importable without NVIDIA's libraries.

PyPI's Linux wheel links against nine CUDA libraries (about 2.5 GB) that the CPU never calls. This writes an empty library in the place
of each: every function torch wants from it exists and aborts when called. Needs gcc and nm.

usage: torch_without_cuda.py SITE_PACKAGES/torch/lib
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

# The library's file name, and what the names of its functions begin with.
LIBRARIES = {
    "libcublas.so.13": r"cublas(?!Lt)",
    "libcublasLt.so.13": r"cublasLt",
    "libcudnn.so.9": r"cudnn",
    "libcufft.so.12": r"cufft",
    "libcusparse.so.12": r"cusparse(?!Lt)",
    "libcusparseLt.so.0": r"cusparseLt",
    "libnccl.so.2": r"p?nccl",
    "libnvrtc.so.13": r"nvrtc",
    "libnvshmem_host.so.3": r"nvshmem",
}


def undefined_symbols(folder):
    """Symbols that torch's own libraries expect elsewhere, without versions."""
    symbols = set()
    for library in folder.glob("*.so*"):
        if library.name in LIBRARIES:
            continue
        listing = subprocess.run(
            ["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True
        ).stdout
        symbols.update(line.split()[-1].split("@")[0] for line in listing.splitlines() if line.strip())
    return symbols


def main():
    folder = Path(sys.argv[1])
    wanted = undefined_symbols(folder)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "stub.c")
        for name, prefix in LIBRARIES.items():
            functions = sorted(symbol for symbol in wanted if re.match(prefix, symbol))
            source.write_text(
                "extern void abort(void);\n" + "".join(f"void {function}(void) {{ abort(); }}\n" for function in functions)
            )
            subprocess.run(
                ["gcc", "-w", "-shared", "-fPIC", "-fno-builtin", source, "-o", folder / name, f"-Wl,-soname,{name}"],
                check=True,
            )


if __name__ == "__main__":
    main()
