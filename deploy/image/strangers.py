"""The image in the hands of others: containerd, skopeo and a registry, with the commands of README.md."""

import json
import os
import pathlib
import re
import subprocess
import time

import inside
import packages
from archive import demand

PROJECT = pathlib.Path(__file__).resolve().parents[2]
# Fetched, and not installed: nobody gets a daemon from a test.
PACKAGES = {"containerd", "runc", "docker-registry", "skopeo",
            "libassuan0", "libdevmapper1.02.1", "libgpgme11", "libseccomp2"}
PLACE = "registry.example.com"
REGISTRY = """
version: 0.1
storage: {filesystem: {rootdirectory: %s}}
http: {addr: "127.0.0.1:0"}
"""
# Without kubelet's part.
CONTAINERD = """
version = 2
root = "%(folder)s/root"
state = "%(folder)s/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "%(folder)s/socket"
[ttrpc]
address = "%(folder)s/socket.ttrpc"
"""


def take(path, archive, folder, cache):
    """Each of them takes it, and has the same image afterwards."""
    folder.mkdir()
    pool = packages.Pool(folder / "pool", cache)
    pool.add(PACKAGES)
    folders = [f"{folder}/pool/{name}/usr/lib/{pool.multiarch}" for name in PACKAGES]
    folders += [f"{folder}/pool/{name}/lib/{pool.multiarch}" for name in PACKAGES]
    tools = [f"{folder}/pool/{name}/usr/{bin}" for name in PACKAGES for bin in ("bin", "sbin")]
    variables = {
        "PATH": ":".join([str(folder), *tools, os.environ["PATH"]]),
        "LD_LIBRARY_PATH": ":".join(folders),
        "HOME": str(folder),
        "CONTAINERD_ADDRESS": f"{folder}/socket",
    }
    os.makedirs(folder / ".config/containers")
    trust = {"default": [{"type": "insecureAcceptAnything"}]}
    (folder / ".config/containers/policy.json").write_text(json.dumps(trust))
    sudo = folder / "sudo"
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    commands = of_readme(path)
    for work in (containerd, registry):
        work(archive, folder, variables, commands)


def of_readme(path):
    """What it says of handing the image on, by program."""
    text = (PROJECT / "README.md").read_text()
    lines = re.findall(r"^\$ (?:sudo )?((ctr|skopeo) .*)$", text, re.MULTILINE)
    return {program: re.sub(r"  +#.*", "", line).replace("target/image/rds-csi.tar", str(path))
            for line, program in lines}


def run(line, variables):
    ran = subprocess.run(line, shell=True, capture_output=True, text=True, check=False, env=variables)
    demand(ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}")
    return ran.stdout


class Daemon:
    """A process for the time of a block, once what it says shows that it serves."""

    def __init__(self, command, log, variables, sign):
        self.command, self.log, self.variables, self.sign = command, log, variables, sign

    def __enter__(self):
        with self.log.open("w") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.variables)
        end = time.monotonic() + 30
        while not (found := re.search(self.sign, self.log.read_text())):
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise SystemExit(f"{self.command[0]} does not serve:\n{self.log.read_text()}")
            time.sleep(0.05)
        return found

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def containerd(archive, folder, variables, commands):
    """`ctr images import`, as on a node; and a container of it, as a pod would have it."""
    if os.geteuid() != 0:
        print("containerd is left out: it needs root")
        return
    config = folder / "containerd.toml"
    config.write_text(CONTAINERD % {"folder": folder})
    serve = [f"{folder}/pool/containerd/usr/bin/containerd", "--config", str(config)]
    with Daemon(serve, folder / "containerd.log", variables, "containerd successfully booted"):
        # README.md's own: ctr --namespace k8s.io images import
        run(commands["ctr"], variables)
        there = run("ctr --namespace k8s.io images list", variables)
        demand(re.search(rf"{re.escape(archive.name)} .* {archive.digest} ", there), there)
        run(f"ctr --namespace k8s.io images check name=={archive.name} | grep complete", variables)
        runs(archive, variables)


def runs(archive, variables):
    """As nobody, on a root that it cannot write."""
    given = " ".join(f"--env {name}={value}" for name, value in inside.BOX.items())
    # Snapshots that every file system can hold.
    container = f"--snapshotter native --read-only --net-host {given} {archive.name}"
    look = f"{inside.BINARY} controller --check-config"
    said = run(f"ctr --namespace k8s.io run --rm {container} of-test {look}", variables)
    demand("renew_deadline" in said, said)
    run(f"ctr --namespace k8s.io containers create {container} of-nobody {look}", variables)
    spec = json.loads(run("ctr --namespace k8s.io containers info of-nobody", variables))["Spec"]
    user = spec["process"]["user"]
    demand(f"{user['uid']}:{user['gid']}" == inside.NOBODY, f"a container runs as {user}")


def registry(archive, folder, variables, commands):
    """`skopeo copy` to a registry, and what that has then."""
    config = folder / "registry.yml"
    config.write_text(REGISTRY % (folder / "registry"))
    serve = [f"{folder}/pool/docker-registry/usr/bin/docker-registry", "serve", str(config)]
    with Daemon(serve, folder / "registry.log", variables, r"listening on (127.0.0.1:\d+)") as found:
        place = found[1]
        plain = f'[[registry]]\nlocation = "{place}"\ninsecure = true\n'
        (folder / ".config/containers/registries.conf").write_text(plain)
        # README.md's own: skopeo copy oci-archive:
        line = commands["skopeo"].replace(PLACE, place)
        run(line, variables)
        seen = json.loads(run(f"skopeo inspect {line.split()[-1]}", variables))
        demand(seen["Digest"] == archive.digest, f"the registry has {seen['Digest']}")
        demand(seen["Labels"] == archive.config["config"]["Labels"], "other labels")
