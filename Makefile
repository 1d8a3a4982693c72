# What people run. `make demo` shows it work, `make test` tests it; both install what is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
CARGO ?= cargo
ARGS ?=
SEEDS ?= 100
SEED ?= 1

# Debian packages: to build, and for the tests a real SSH server and client (openssh) and file systems
# as they are really made.
BUILD_PACKAGES := build-essential libsodium-dev libssl-dev pkg-config
TEST_PACKAGES := $(BUILD_PACKAGES) openssh-server openssh-client e2fsprogs xfsprogs btrfs-progs
# What people have who follow the README, and what pods are made with.
E2E_PACKAGES := $(BUILD_PACKAGES) iproute2 curl openssh-client
IMAGE_PACKAGES := $(BUILD_PACKAGES) python3
# Emulated machines, which find their programs in this machine's root, and what their initramfs is made of.
VM_PACKAGES := $(TEST_PACKAGES) qemu-system-x86 iproute2 busybox-static kmod cpio xz-utils
CLUSTER_PACKAGES := $(VM_PACKAGES) $(E2E_PACKAGES) runc

.PHONY: help demo test host-test bench simulate simulate-test chart manifests image image-test parts e2e check fmt
.PHONY: vm-parts vm-test conformance cluster-test
.PHONY: packages-build packages-test packages-e2e packages-vm packages-cluster packages-image

help: ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: packages-build ## the incident, replayed against a simulated box and cluster (ARGS=--once: and end)
	$(CARGO) run --quiet --features sandbox --bin rds-csi -- sandbox $(ARGS)

test: packages-test ## all tests
	$(CARGO) test --workspace --all-features

# Root's own mount namespace: what a failed test leaves mounted goes with it.
host-test: packages-test ## what the node asks of Linux, on real file systems and loop devices (root)
	@[ "$$(id -u)" = 0 ] || { echo "host-test mounts: run it as root"; exit 1; }
	$(CARGO) test --all-features --test host_linux --no-run
	unshare --mount --propagation private $(CARGO) test --quiet --offline --all-features \
	  --test host_linux -- --ignored --test-threads=1

# The binary is built first and by itself: with the features that are shipped, and no others.
bench: packages-build ## what it costs: execs, times, memory, against the goals (ARGS="--only memory --strict")
	$(CARGO) build --quiet --release --bin rds-csi
	$(CARGO) run --quiet --release -p rds-csi-bench -- $(ARGS)

# A build of its own: only so does tokio's generator take a seed, and a run can be repeated exactly.
# A seed that fails is printed with the command that repeats it.
SIMULATION := RUSTFLAGS="--cfg tokio_unstable" $(CARGO)
SIMULATED := --quiet --profile simulate --target-dir target/simulate -p rds-csi-simulate

simulate: packages-build ## the whole controller from SEEDS seeds, beginning with SEED (the seed of a failure repeats it)
	$(SIMULATION) run $(SIMULATED) -- --seeds $(SEEDS) --seed $(SEED) $(ARGS)

simulate-test: packages-build ## does the simulation repeat itself, and does it find bugs made on purpose?
	$(SIMULATION) test $(SIMULATED)

# helm is one of the parts, or one of your own: HELM=/usr/bin/helm.
HELM ?=
WITH_HELM := helm="$(HELM)"; [ -n "$$helm" ] || helm=$$(testbed/parts/build helm)/helm; HELM=$$helm

chart: packages-build ## lint the chart, render it in every way, compare it with deploy/manifests (needs Go)
	$(WITH_HELM) $(CARGO) test --quiet --workspace --all-features --test chart --test chart_rendered

manifests: ## render deploy/manifests anew from the chart (needs Go)
	$(WITH_HELM) deploy/render

image: packages-image ## an OCI archive with its bill of materials in target/image, without registry, daemon or root
	$(CARGO) build --release --locked --package rds-csi --bin rds-csi
	deploy/image/build --binary target/release/rds-csi --output target/image/rds-csi.tar --cache target/image/packages

image-test: image ## look into it, compare it with Debian's packages, copy it to a registry, run it by containerd
	deploy/image/test --archive target/image/rds-csi.tar --cache target/image/packages

parts: ## etcd, Kubernetes, sidecars, kwok, helm, CRDs from their Go modules, kept in target/parts
	testbed/parts/build

# In a network namespace of its own, which needs root: containers get users, mounts and addresses. Built
# as `make test` builds, so that nothing is built twice; dependency_rule stands for the tests that bring
# the binary. RDS_CSI_DRIVER names another binary, such as that of an image.
# Stories wait more than they work: several are told at a time, each in a cluster of its own.
STORIES ?= 4
E2E := $(CARGO) test --quiet --workspace --all-features
e2e: packages-e2e parts ## the driver in a real Kubernetes, as plain processes (ARGS=life: only what is called so)
	@[ "$$(id -u)" = 0 ] || { echo "e2e makes namespaces: run it as root"; exit 1; }
	$(E2E) --test e2e --test rights --test dependency_rule --no-run
	rm -rf target/e2e
	unshare --net $(E2E) --offline --test e2e -- --ignored --test-threads=$(STORIES) --nocapture $(ARGS)
	[ -n "$(ARGS)" ] || $(E2E) --test rights -- --ignored

vm-parts: packages-vm ## Debian's kernels for virtual machines, kept in target/vm/kernels
	testbed/vm/kernels

# Each teller of stories has a world of three machines, which without KVM take a processor to boot and
# little of one later: two fit two processors. dependency_rule and program stand for the tests that
# bring the binaries.
WORLDS ?= 2
VM := $(E2E) --test vm
vm-test: vm-parts ## the driver on real kernels, with a real NVMe/TCP target, in virtual machines (ARGS=life)
	@[ "$$(id -u)" = 0 ] || { echo "vm-test makes namespaces: run it as root"; exit 1; }
	$(VM) --test dependency_rule --test program --no-run
	unshare --net $(VM) --offline -- --ignored --test-threads=$(WORLDS) --nocapture --skip conformance $(ARGS)

conformance: vm-parts ## csi-sanity in a virtual machine, again and again on one box (needs Go)
	@[ "$$(id -u)" = 0 ] || { echo "conformance makes namespaces: run it as root"; exit 1; }
	testbed/parts/build sanity
	$(VM) --test dependency_rule --test program --no-run
	unshare --net $(VM) --offline -- --ignored --test-threads=1 --nocapture conformance

# The image that people get is what runs in it; RDS_CSI_IMAGE names another archive (an absolute path).
CLUSTER := $(E2E) --test cluster
cluster-test: packages-cluster parts vm-parts image ## image and chart in a cluster of machines: a node loses its power
	@[ "$$(id -u)" = 0 ] || { echo "cluster-test makes namespaces: run it as root"; exit 1; }
	$(CLUSTER) --test dependency_rule --test program --no-run
	unshare --net $(CLUSTER) --offline -- --ignored --test-threads=1 --nocapture $(ARGS)

check: packages-build ## formatting, lints, documentation, dependency rule
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet
	$(CARGO) test --quiet --all-features --test dependency_rule

fmt: ## format everything
	$(CARGO) fmt --all

# Installs only what is missing, and says so; needs root or sudo for that.
define install
	@missing=; for package in $(1); do \
	  dpkg-query --show --showformat='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' \
	    || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "installing:$$missing"; \
	  as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo; \
	  $$as_root apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

packages-build:
	$(call install,$(BUILD_PACKAGES))

packages-test:
	$(call install,$(TEST_PACKAGES))

packages-e2e:
	$(call install,$(E2E_PACKAGES))

# Packages are fetched without being installed; for that apt must know where they are.
define know
	@apt-get download --print-uris $(1) >/dev/null 2>&1 || { \
	  as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo; $$as_root apt-get update -qq; }
endef

packages-vm:
	$(call install,$(VM_PACKAGES))
	$(call know,linux-image-amd64)

packages-cluster:
	$(call install,$(CLUSTER_PACKAGES))

packages-image:
	$(call install,$(IMAGE_PACKAGES))
	$(call know,xfsprogs)
