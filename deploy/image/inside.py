"""Runs the programs of an image within its tree."""

import os
import subprocess
import sys

import contents

# As whom the image runs, and nobody else's root where that takes no privilege.
NOBODY = "65532:65532"
BINARY = f"/{contents.BINARY}"
BOX = {
    "RDSCSI__BACKENDS__MAIN__ADDRESS": "192.0.2.1",
    "RDSCSI__BACKENDS__MAIN__USER": "rds-csi",
    "RDSCSI__BACKENDS__MAIN__KEY_PATH": "/key",
    "RDSCSI__BACKENDS__MAIN__HOST_KEY": "SHA256:x",
    "RDSCSI__BACKENDS__MAIN__VOLUME_PATHS": "pool/volumes",
}


def run(tree, *command, variables=()):
    enter = ["unshare", "--map-root-user", "chroot"]
    if os.geteuid() == 0:
        enter = ["chroot", f"--userspec={NOBODY}"]
    return subprocess.run(
        [*enter, str(tree), *command],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/usr/sbin", **dict(variables)},
    )


def version(tree):
    """What the binary says of itself."""
    ran = run(tree, BINARY, "--version")
    if ran.returncode != 0:
        sys.exit(f"the binary does not run in the image: {ran.stderr}")
    return ran.stdout.split()[-1]


def check(tree):
    """The binary knows its configuration in there, and every program finds its libraries."""
    look = [BINARY, "controller", "--check-config"]
    good = run(tree, *look, variables=BOX)
    if good.returncode != 0 or "renew_deadline" not in good.stdout:
        sys.exit(f"--check-config refuses the default configuration with a box: {good.stderr}")
    none = run(tree, *look)
    if none.returncode != 64 or "no box is configured" not in none.stderr:
        sys.exit(f"--check-config takes a configuration without a box: {none.stdout}{none.stderr}")
    for program, argument in contents.PROGRAMS.items():
        ran = run(tree, f"/{program}", argument)
        if ran.returncode not in (0, 1) or "error while loading" in ran.stderr:
            sys.exit(f"{program} {argument} does not run in the image: {ran.stderr}")
